"""Seconds a picture takes, from 1,000 to 1,000,000 points: ``python -m benchmarks.plots``.

Each picture is drawn and written as .png in a process of its own, so that loading matplotlib is
paid for and shown: `load` is importing the package and matplotlib, `draw` and `write` follow it.
"""

from __future__ import annotations

import json
import tempfile
import time
from pathlib import Path

import numpy as np

from benchmarks import harness
from benchmarks.tables import markdown, medians

SIZES = (1_000, 10_000, 100_000, 200_000, 300_000, 1_000_000)
PICTURES = ("categories", "quantity", "facets")
N_CATEGORIES, N_FACETS = 20, 6


def main() -> None:
    """Draw every kind of picture at every size, and write a table."""
    parser = harness.parser(__doc__, sizes=SIZES, repeats=3)
    options = harness.parsed(parser, sizes=[1_000, 100_000], repeats=1)
    results = harness.results_of("plots", options)
    for n in options.sizes:
        for repeat, picture in harness.alternate(PICTURES, options.repeats):
            job = {"picture": picture, "n": n, "repeat": repeat}
            if not results.knows(job):
                code = f"from benchmarks.plots import draw; draw({picture!r}, {n})"
                results.add({**job, **harness.facts_of("-c", code)})
    values = ("load", "draw", "write", "total", "kilobytes")
    summary = medians(results.rows, ("n", "picture"), values)
    for row in summary:
        row["n"] = f"{row['n']:,}"
        row |= {value: f"{row[value]:.2f} s" for value in values[:-1]}
        row["kilobytes"] = round(row["kilobytes"])
    results.finish(markdown(summary))


def draw(picture: str, n: int) -> None:
    """Draw one picture in this process, and print what it took."""
    random = np.random.default_rng(0)
    group = random.integers(0, N_CATEGORIES, n)
    Y = random.normal(size=(N_CATEGORIES, 2))[group] * 10 + random.normal(size=(n, 2))
    names = np.array([f"type {number}" for number in range(N_CATEGORIES)])[group]
    start = time.perf_counter()
    import matplotlib.figure  # noqa: F401

    from tsne_backends.plot import facets, save_figure, scatter

    loaded = time.perf_counter()
    if picture == "facets":
        figure = facets(Y, group % N_FACETS, names)
    else:
        figure = scatter(Y, Y[:, 0] if picture == "quantity" else names)
    drawn = time.perf_counter()
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "map.png"
        save_figure(figure, path)
        written, size = time.perf_counter(), path.stat().st_size
    seconds = {"load": loaded - start, "draw": drawn - loaded, "write": written - drawn}
    facts = {name: round(value, 3) for name, value in seconds.items()}
    print(json.dumps({**facts, "total": round(written - start, 3), "kilobytes": size // 1000}))


if __name__ == "__main__":
    main()
