"""The searches behind the neighbours graphs of the GPU, by cuVS and cuML.

Each returns, for every row, k other rows and their squared Euclidean distances (`by_cuml`: plain
distances in its metric), nearest first, and in words what it did; or None where it fell short.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import numpy as np

from tsne_backends.gpu.arrays import blocks, dense_on_gpu, on_host
from tsne_backends.gpu.kernels import launch
from tsne_backends.searches import MIN_RECALL

logger = logging.getLogger(__name__)

#: Cells that are searched for each cell, at first; doubled until the recall suffices.
PROBES = (16, 32, 64)
#: Rows on which a recall is measured, and the least of a search that is called exact.
SAMPLE_ROWS, EXACT_RECALL = 100, 0.995


def by_brute_force(points: Any, k: int) -> tuple[Any, Any, str]:
    """Compare all pairs; cell by cell where rounding makes neighbours of far rows uncertain.

    cuVS computes |a|² + |b|² - 2ab in single precision, which loses the distances within clusters
    that are narrow for how far they lie apart.
    """
    truth = _Truth(points, k)
    indices, squared = _without_self(points, _all_pairs(points, k + 1))
    recall = truth.recall(squared)
    if recall >= EXACT_RECALL:
        return indices, squared, _words("brute force", recall)
    cells = _Cells(points)
    indices, squared = _without_self(points, cells.search(k + 1, cells.n_cells))
    return indices, squared, _words("brute force cell by cell", truth.recall(squared))


def by_cells(points: Any, k: int) -> tuple[Any, Any, str] | None:
    """Compare the pairs in near cells, of more and more of them until the recall suffices."""
    cells, truth, recall = _Cells(points), _Truth(points, k), 0.0
    for probes in PROBES:
        found = cells.search(k + 1, probes) if probes <= cells.n_cells else None
        if found is None:
            continue
        indices, squared = _without_self(points, found)
        recall = truth.recall(squared)
        if recall >= MIN_RECALL:
            return indices, squared, _words(f"{probes} of {cells.n_cells} cells", recall)
    logger.warning(
        "The approximate neighbour search on the GPU found %.0f %% of the true neighbours; "
        "comparing all pairs instead, which takes longer.",
        100 * recall,
    )
    return None


def _all_pairs(points: Any, width: int) -> Any:
    """Return the indices of the nearest rows of every row, (n_samples, width), int64, by cuVS."""
    import cupy
    from cuvs.common import Resources
    from cuvs.neighbors import all_neighbors

    params = all_neighbors.AllNeighborsParams(algo="brute_force", metric="sqeuclidean")
    indices = cupy.empty((len(points), width), dtype=cupy.int64)
    distances = cupy.empty((len(points), width), dtype=cupy.float32)
    resources = Resources()
    # What CuPy keeps for later, cuVS cannot have, and it needs much at once.
    cupy.get_default_memory_pool().free_all_blocks()
    with _in_order(resources):
        all_neighbors.build(
            points, width, params, indices=indices, distances=distances, resources=resources
        )
    return indices


@contextmanager
def _in_order(resources: Any) -> Iterator[None]:
    """Let cuVS, which works on a stream of its own, wait for CuPy, and CuPy for it."""
    import cupy

    cupy.cuda.get_current_stream().synchronize()
    yield
    resources.sync()


class _Cells:
    """Rows in cells around randomly chosen rows; near cells are searched pair by pair.

    The same rows give the same cells, and so the same graph, every time.
    """

    def __init__(self, points: Any) -> None:
        import cupy

        self._points = points
        n = len(points)
        self.n_cells = max(1, int(n**0.5))
        chosen = np.sort(np.random.RandomState(0).choice(n, self.n_cells, replace=False))
        self._centres = centres = points[cupy.asarray(chosen)]
        cell = cupy.empty(n, dtype=cupy.int32)
        for rows in blocks(n, self.n_cells):
            cell[rows] = _squared_distances(points[rows], centres).argmin(axis=1)
        self._order = cupy.argsort(cell)
        counts = on_host(cupy.bincount(cell, minlength=self.n_cells))
        self._starts = np.concatenate([[0], np.cumsum(counts)])
        self._near = on_host(cupy.argsort(_squared_distances(centres, centres), axis=1))

    def search(self, width: int, probes: int) -> Any:
        """Return the nearest rows in the nearest cells; None if these hold too few."""
        import cupy
        from cuvs.common import Resources

        # What CuPy keeps for later, cuVS cannot have; giving it back for every cell takes long.
        cupy.get_default_memory_pool().free_all_blocks()
        resources = Resources()  # one for all cells: with each come handles, which take a while
        found = cupy.empty((len(self._points), width), dtype=cupy.int64)
        for cell in range(self.n_cells):
            rows = self._rows(cell)
            candidates = cupy.concatenate([self._rows(near) for near in self._near[cell][:probes]])
            if len(candidates) < width:
                return None
            if len(rows):
                centre = self._centres[cell][None, :]  # from here, near rows are told apart
                queries, points = self._points[rows] - centre, self._points[candidates] - centre
                found[rows] = candidates[_nearest_of(queries, points, width, resources)]
        return found

    def _rows(self, cell: int) -> Any:
        return self._order[int(self._starts[cell]) : int(self._starts[cell + 1])]


def _nearest_of(queries: Any, points: Any, width: int, resources: Any) -> Any:
    """Return, for every query, the indices of the nearest points, by cuVS."""
    import cupy
    from cuvs.neighbors import brute_force

    nearest = cupy.empty((len(queries), width), dtype=cupy.int64)
    distances = cupy.empty((len(queries), width), dtype=cupy.float32)
    with _in_order(resources):
        index = brute_force.build(points, metric="sqeuclidean", resources=resources)
        brute_force.search(
            index, queries, width, neighbors=nearest, distances=distances, resources=resources
        )
    return nearest


def by_cuml(X: Any, k: int, metric: str, params: Mapping[str, Any]) -> tuple[Any, Any, str]:
    """Compare all pairs by cuML, in metrics and for sparse rows that cuVS's graphs do not take."""
    import cupy
    from cuml.neighbors import NearestNeighbors

    if not hasattr(X, "tocsr"):
        X = dense_on_gpu(X)
    searcher = NearestNeighbors(
        n_neighbors=k + 1,
        algorithm="brute",
        metric=metric,
        p=float(params.get("p", 2)),
        output_type="cupy",
    )
    distances, indices = searcher.fit(X).kneighbors(X)
    indices = cupy.ascontiguousarray(cupy.asarray(indices), dtype=cupy.int64)
    distances = cupy.ascontiguousarray(cupy.asarray(distances), dtype=cupy.float32)
    return *_settled(indices, distances), "cuML's brute force on the GPU"


def _without_self(points: Any, found: Any) -> tuple[Any, Any]:
    """Return the neighbours with exact squared distances, sorted, without the row itself.

    Searches by products of matrices lose digits between near rows.
    """
    import cupy

    n, width = found.shape
    squared = cupy.empty((n, width), dtype=cupy.float32)
    shape = (cupy.int32(n), cupy.int32(width), cupy.int32(points.shape[1]))
    launch("distances", n * width, points, found, squared, *shape)
    return _settled(found, squared)


def _settled(found: Any, distances: Any) -> tuple[Any, Any]:
    """Sort by distance and then number, and drop the row itself, or the last where it is not there.

    Searches place equal distances in any order; a seed would not repeat without one.
    """
    import cupy

    n, width = found.shape
    indices = cupy.empty((n, width - 1), dtype=cupy.int32)
    nearest = cupy.empty((n, width - 1), dtype=cupy.float32)
    launch("settle", n, found, distances, indices, nearest, cupy.int32(n), cupy.int32(width))
    return indices, nearest


class _Truth:
    """The exact distance of the k-th neighbour of some rows, without products of matrices."""

    def __init__(self, points: Any, k: int) -> None:
        import cupy

        n = len(points)
        self._sample = np.random.RandomState(0).permutation(n)[:SAMPLE_ROWS]
        self._farthest = cupy.empty((len(self._sample), 1), dtype=cupy.float32)
        for place, row in enumerate(self._sample.tolist()):
            squared = cupy.empty(n, dtype=cupy.float32)
            for rows in blocks(n, points.shape[1]):
                squared[rows] = ((points[rows] - points[row][None, :]) ** 2).sum(axis=1)
            squared[row] = cupy.inf
            self._farthest[place] = cupy.sort(squared)[k - 1]

    def recall(self, squared: Any) -> float:
        """Return the share of found neighbours that are as near as the true k-th one."""
        import cupy

        found = squared[cupy.asarray(self._sample)]
        within = found <= self._farthest * cupy.float32(1 + 1e-5)
        return float(within.sum()) / float(within.size)


def _words(search: str, recall: float) -> str:
    return f"{search} on the GPU (sampled recall {recall:.3f})"


def _squared_distances(A: Any, B: Any) -> Any:
    """Return all squared distances between two sets of points, good to about six digits."""
    return (A * A).sum(axis=1)[:, None] - 2 * (A @ B.T) + (B * B).sum(axis=1)[None, :]
