"""New rows on a fitted map: our kernels against openTSNE's transform, in alternation.

Each process fits one half of the data and places the other. Run ``python -m benchmarks.transform``;
``--quick`` ends in under a minute.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness

#: Nearest fitted rows, of which a good place keeps most near.
K = 15

Result = tuple[NDArray[Any], dict[str, Any]]


def _timed(fitted: Any, map_of_fitted: NDArray[Any], X_new: NDArray[Any]) -> Result:
    started = time.perf_counter()
    placed = np.asarray(fitted.transform(X_new))
    seconds = time.perf_counter() - started
    return np.vstack([map_of_fitted, placed]), {"transform_s": round(seconds, 3)}


def _ours(X: NDArray[Any]) -> Result:
    from tsne_backends import ServerlessTSNE

    half = len(X) // 2
    tsne = ServerlessTSNE(backend="native", max_iter=750, random_state=0).fit(X[:half])
    return _timed(tsne, tsne.embedding_, X[half:])


def _opentsne(X: NDArray[Any]) -> Result:
    import joblib
    import openTSNE

    half = len(X) // 2
    perplexity = min(30.0, half / 4)
    tsne = openTSNE.TSNE(random_state=0, n_jobs=joblib.cpu_count(), perplexity=perplexity)
    fitted = tsne.fit(X[:half])
    return _timed(fitted, np.asarray(fitted), X[half:])


ENGINES = {"native": _ours, "openTSNE": _opentsne}


def main() -> None:
    """Time both and write transform.csv and transform.md."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 40_000])
    parser.add_argument("--data", nargs="+", default=["mixture10", "patches48"])
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.repeats = [4_000], 1
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / ("transform-quick.csv" if options.quick else "transform.csv")
    harness.write_machine(path.with_suffix(".json"))
    rows: list[dict[str, Any]] = []
    for name in options.data:
        for n in options.sizes:
            for repeat, engine in harness.alternate(list(ENGINES), options.repeats):
                job = {"engine": engine, "data": name, "n": n}
                facts, Y = harness.run_in_process("benchmarks.transform", job)
                kept = _kept(data.load(name, n), Y)
                rows.append({**job, "repeat": repeat, **facts, "kept": round(kept, 4)})
                print(rows[-1], flush=True)
                harness.write_rows(path, rows)
    table = harness.markdown(
        harness.medians(rows, ["data", "n", "engine"], ["transform_s", "kept"])
    )
    path.with_suffix(".md").write_text(table, encoding="utf-8")
    print(table)


def _kept(X: NDArray[Any], Y: NDArray[Any]) -> float:
    """Return the share of each new row's nearest fitted rows that are nearest on the map, too."""
    from sklearn.neighbors import NearestNeighbors

    half = len(X) // 2
    near, near_on_map = (
        NearestNeighbors(n_neighbors=K).fit(Z[:half]).kneighbors(Z[half:], return_distance=False)
        for Z in (X, Y)
    )
    return float(
        np.mean([len(np.intersect1d(*pair)) for pair in zip(near, near_on_map, strict=True)]) / K
    )


if __name__ == "__main__":
    main()
