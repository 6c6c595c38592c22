"""Each neighbour search on each kind of data: seconds and recall.

Which search `tsne_backends.cost` should expect to be quicker follows from such a table. Run
``python -m benchmarks.neighbors``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness
from benchmarks.tables import markdown
from tsne_backends.machine import usable_cores
from tsne_backends.searches import find_neighbors, true_neighbors

K = 90
SAMPLE = 500


def _searched(X: NDArray[Any], search: str) -> tuple[NDArray[Any], dict[str, Any]]:
    """Return the neighbours that a search finds, and how it did."""
    if len(X) <= SAMPLE:  # the harness's first run, of fewer rows than a recall is measured on
        X = np.resize(X, (2 * SAMPLE, X.shape[1]))
    indices, _, words = find_neighbors(
        X,
        K,
        "euclidean",
        {},
        search.partition(" ")[0],
        repeatable=search.endswith("repeatable"),
        n_threads=usable_cores(),
    )
    return indices, {"d": X.shape[1], "how": words}


#: The harness runs each in a process of its own.
ENGINES = {
    "brute": lambda X: _searched(X, "brute"),
    "hnsw": lambda X: _searched(X, "hnsw"),
    "hnsw repeatable": lambda X: _searched(X, "hnsw repeatable"),
    "tree": lambda X: _searched(X, "tree"),
}


def main() -> None:
    """Time every search and write neighbors.csv."""
    names = ("mixture10", "noise20", "patches48", "patches192", "patches768")
    parser = harness.parser(__doc__, sizes=[20_000, 50_000], data=names, repeats=1)
    options = harness.parsed(parser, sizes=[2_000])
    results = harness.results_of("neighbors", options)
    for name in options.data:
        for n in options.sizes:
            # A tree in many dimensions takes minutes; one example of that is enough.
            has_tree = name == "mixture10" or (name == "noise20" and n <= 20_000)
            searches = [one for one in ENGINES if has_tree or one != "tree"]
            jobs = harness.jobs_of(searches, name, n, options.repeats)
            harness.measure("benchmarks.neighbors", results, jobs, _judged)
    results.finish(markdown(results.rows))


def _judged(job: dict[str, Any], indices: NDArray[Any]) -> dict[str, Any]:
    sample, truth = _truth(job["data"], job["n"])
    pairs = zip(indices[sample], truth, strict=True)
    recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs])
    return {"recall": f"{recall:.4f}"}


@cache
def _truth(name: str, n: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return some rows and their exact neighbours; only those asked for last are kept."""
    _truth.cache_clear()
    sample = np.random.RandomState(1).choice(n, SAMPLE, replace=False)
    return sample, true_neighbors(data.load(name, n), sample, K)


if __name__ == "__main__":
    main()
