"""Each neighbour search on each kind of data: seconds and recall.

The crossovers in `tsne_backends.neighbors` come from this table. Run
``python -m benchmarks.neighbors``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import data, harness
from tsne_backends.machine import usable_cores
from tsne_backends.searches import find_neighbors, true_neighbors

K = 90
SAMPLE = 500


def main() -> None:
    """Time every search and write neighbors.csv."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[20_000, 50_000])
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    sizes = [2_000] if options.quick else options.sizes
    options.out.mkdir(parents=True, exist_ok=True)
    harness.write_machine(options.out / "neighbors.json")
    rows: list[dict[str, Any]] = []
    for name in ("mixture10", "noise20", "patches48", "patches192", "patches768"):
        for n in sizes:
            rows += _measure(name, n)
            harness.write_rows(options.out / "neighbors.csv", rows)
    print(harness.markdown(rows))


def _measure(name: str, n: int) -> list[dict[str, Any]]:
    X = data.load(name, n)
    sample = np.random.RandomState(1).choice(n, SAMPLE, replace=False)
    truth = true_neighbors(X, sample, K)
    # A tree in many dimensions takes minutes; one example of that is enough.
    searches = ["brute", "hnsw", "hnsw repeatable"]
    searches += ["tree"] if X.shape[1] <= 10 or (X.shape[1] == 20 and n <= 20_000) else []
    rows = []
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
        rows.append(row | {"seconds": f"{seconds:.2f}", "recall": f"{recall:.4f}", "how": words})
        print(rows[-1], flush=True)
    return rows


if __name__ == "__main__":
    main()
