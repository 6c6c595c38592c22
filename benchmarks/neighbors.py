"""Each neighbour search on each kind of data: seconds and recall.

The crossovers in `tsne_backends.neighbors` come from this table. Run
``python -m benchmarks.neighbors``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from benchmarks import data, harness
from benchmarks.tables import markdown
from tsne_backends.machine import usable_cores
from tsne_backends.searches import find_neighbors, true_neighbors

K = 90
SAMPLE = 500


def main() -> None:
    """Time every search and write neighbors.csv."""
    names = ("mixture10", "noise20", "patches48", "patches192", "patches768")
    parser = harness.parser(__doc__, sizes=[20_000, 50_000], data=names)
    options = harness.parsed(parser, sizes=[2_000])
    results = harness.results_of("neighbors", options)
    for name in options.data:
        for n in options.sizes:
            if not results.knows({"data": name, "n": n}):
                for row in _measure(name, n):
                    results.add(row)
    results.finish(markdown(results.rows))


def _measure(name: str, n: int) -> Iterator[dict[str, Any]]:
    X = data.load(name, n)
    sample = np.random.RandomState(1).choice(n, SAMPLE, replace=False)
    truth = true_neighbors(X, sample, K)
    # A tree in many dimensions takes minutes; one example of that is enough.
    searches = ["brute", "hnsw", "hnsw repeatable"]
    searches += ["tree"] if X.shape[1] <= 10 or (X.shape[1] == 20 and n <= 20_000) else []
    for search in searches:
        start = time.perf_counter()
        indices, _, words = find_neighbors(
            X,
            K,
            "euclidean",
            {},
            search.partition(" ")[0],
            repeatable=search.endswith("repeatable"),
            n_threads=usable_cores(),
        )
        seconds = time.perf_counter() - start
        pairs = zip(indices[sample], truth, strict=True)
        recall = np.mean([len(np.intersect1d(a, b)) / K for a, b in pairs])
        row = {"data": name, "n": n, "d": X.shape[1], "search": search}
        yield row | {"seconds": f"{seconds:.2f}", "recall": f"{recall:.4f}", "how": words}


if __name__ == "__main__":
    main()
