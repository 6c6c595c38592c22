"""New rows on a fitted map: our kernels against openTSNE's transform, in alternation.

Each process fits one half of the data and places the other. Run ``python -m benchmarks.transform``;
``--quick`` ends in under a minute.
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, engines, harness
from benchmarks.tables import markdown, medians

#: Nearest fitted rows, of which a good place keeps most near.
K = 15


def _timed(fitted: Any, map_of_fitted: NDArray[Any], X_new: NDArray[Any]) -> engines.Result:
    started = time.perf_counter()
    placed = np.asarray(fitted.transform(X_new))
    seconds = time.perf_counter() - started
    return np.vstack([map_of_fitted, placed]), {"transform_s": round(seconds, 3)}


def _ours(X: NDArray[Any]) -> engines.Result:
    half = len(X) // 2
    tsne = engines.fit_ours(X[:half], "native", max_iter=750)
    return _timed(tsne, tsne.embedding_, X[half:])


def _opentsne(X: NDArray[Any]) -> engines.Result:
    half = len(X) // 2
    fitted = engines.fit_opentsne(X[:half])
    return _timed(fitted, np.asarray(fitted), X[half:])


ENGINES = {"native": _ours, "openTSNE": _opentsne}


def main() -> None:
    """Time both and write transform.csv and transform.md."""
    parser = harness.parser(
        __doc__, sizes=[10_000, 40_000], data=["mixture10", "patches48"], repeats=3
    )
    options = harness.parsed(parser, sizes=[4_000], repeats=1)
    results = harness.results_of("transform", options)
    for name in options.data:
        for n in options.sizes:
            jobs = harness.jobs_of(list(ENGINES), name, n, options.repeats)
            harness.measure("benchmarks.transform", results, jobs, _judged)
    values = ["transform_s", "kept"]
    results.finish(markdown(medians(results.rows, ["data", "n", "engine"], values)))


def _judged(job: dict[str, Any], Y: NDArray[Any]) -> dict[str, Any]:
    return {"kept": round(_kept(data.load(job["data"], job["n"]), Y), 4)}


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
