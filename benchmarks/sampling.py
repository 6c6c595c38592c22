"""A map of a sample, with the other rows placed on it, against the map of all rows.

Run ``python -m benchmarks.sampling``; ``--quick`` ends in about a minute. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

import argparse
from functools import cache
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks import data, harness
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

PERPLEXITY = 30.0
#: Beyond this the exact normalisation takes minutes; 10,000 sampled rows err by about 0.1 %.
EXACT_Z_MAX, Z_SAMPLE = 20_000, 10_000
DATA = ("mixture10", "patches48")
QUALITIES = ("kl", "preservation")


def _full(X: NDArray[Any], seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    tsne = _estimator(len(X), seed).fit(X)
    return tsne.embedding_, {"fitted_rows": len(X), "fit_s": round(tsne.timings_["total"], 2)}


def _sampled(X: NDArray[Any], seed: int, divisor: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import sample_rows
    from tsne_backends.sampled_fit import fit_sample

    rows = sample_rows(X, len(X) // divisor, random_state=seed)
    tsne = _estimator(len(rows), seed)
    placed = fit_sample(tsne, X, rows, place_rest=True)
    facts = {"fitted_rows": len(rows), "fit_s": round(tsne.timings_["total"], 2)}
    return placed.embedding, facts


def _estimator(n: int, seed: int) -> Any:
    from tsne_backends import ServerlessTSNE

    return ServerlessTSNE(backend="native", random_state=seed, perplexity=_perplexity(n))


def _perplexity(n: int) -> float:
    return min(PERPLEXITY, n / 4)


#: The harness calls these with the seed of the job.
SEEDED = {
    "full": _full,
    "sample 1/2": lambda X, seed: _sampled(X, seed, 2),
    "sample 1/10": lambda X, seed: _sampled(X, seed, 10),
}


def main() -> None:
    """Measure what is missing in the table, and summarise it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[200_000])
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--repeats", type=int, default=1)
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.sizes = [4_000]
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / ("sampling-quick.csv" if options.quick else "sampling.csv")
    harness.write_machine(path.with_suffix(".json"))
    rows = harness.read_rows(path)
    for name in options.data:
        for n in options.sizes:
            _measure(name, n, options.repeats, rows, path)
    table = harness.markdown(_summary(rows))
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def _measure(name: str, n: int, repeats: int, rows: list[dict[str, Any]], path: Path) -> None:
    """Measure every way on one data set; ``rows`` and the table grow."""
    known = {(row["data"], int(row["n"]), row["engine"], int(row["seed"])) for row in rows}
    for seed, engine in harness.alternate(list(SEEDED), repeats):
        if (name, n, engine, seed) in known:
            continue
        job = {"engine": engine, "data": name, "n": n, "seed": seed}
        facts, Y = harness.run_in_process("benchmarks.sampling", job)
        rows.append({**job, **facts, **_quality(name, n, seed, Y)})
        print(rows[-1], flush=True)
        harness.write_rows(path, rows)


@cache
def _judge(name: str, n: int, seed: int) -> tuple[Any, Any]:
    """Return data and exact neighbours; the last ones asked for are kept."""
    _judge.cache_clear()
    X = data.load(name, n, seed)
    return X, exact_graph(X, int(3 * PERPLEXITY))


def _quality(name: str, n: int, seed: int, Y: NDArray[Any]) -> dict[str, float]:
    X, graph = _judge(name, n, seed)
    sample = None if n <= EXACT_Z_MAX else Z_SAMPLE
    return {
        "kl": round(kl_divergence(X, Y, _perplexity(n), graph=graph, sample=sample), 5),
        "preservation": round(neighbor_preservation(X, Y, graph=graph), 4),
    }


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return medians over the repeats, and how many times as fast as the map of all rows."""
    table = harness.medians(
        rows, ["data", "n", "engine"], ["seconds", "fit_s", "peak_mb", *QUALITIES]
    )
    full = {(line["data"], line["n"]): line for line in table if line["engine"] == "full"}
    for line in table:
        whole = full.get((line["data"], line["n"]))
        line["full / this"] = f"{whole['seconds'] / line['seconds']:.1f}" if whole else ""
    return table


if __name__ == "__main__":
    main()
