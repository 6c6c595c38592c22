"""Neighbours graphs on the GPU: which search, the search by cuVS, and how good it was.

Of few rows every pair is compared. Of many, that would be most of a run's time, and a search by
cells takes its place, whose recall is checked on a sample. cuVS's NN-descent was tried: it took
longer, found fewer neighbours, and another graph each time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_backends import neighbors as on_cpu
from tsne_backends.cache import Cache
from tsne_backends.errors import EmbeddingError
from tsne_backends.gpu.arrays import blocks, dense_on_gpu, device_name, on_host
from tsne_backends.gpu.searches import by_brute_force, by_cells, by_cuml
from tsne_backends.machine import thread_count
from tsne_backends.problem import Problem
from tsne_backends.searches import RECALL_SAMPLE
from tsne_backends.transfer import GPU_EUCLIDEAN_METRICS, kind_of, quicker_gpu_search

#: Metrics that scikit-learn and cuML both know, by the same name and with the same meaning; sparse
#: rows take all but one.
METRICS = (*GPU_EUCLIDEAN_METRICS, "manhattan", "cityblock", "l1", "chebyshev", "minkowski")
SPARSE_METRICS = tuple(metric for metric in METRICS if metric != "correlation")


@dataclass(frozen=True)
class GpuGraph:
    """The k nearest other rows of every row, on the GPU.

    Attributes
    ----------
    indices : cupy.ndarray of shape (n_samples, k), int32
        Nearest first.
    squared : cupy.ndarray of shape (n_samples, k), float32
        Squares of the distances, of which the largest is 1.
    search : str
        Which search found them, in words.
    """

    indices: Any
    squared: Any
    search: str


def gpu_graph(
    problem: Problem, X: Any, k: int, search: str = "auto", cache: Cache | None = None
) -> GpuGraph:
    """Find the k nearest neighbours of every row of X.

    Parameters
    ----------
    problem : Problem
        Metric and size.
    X : ndarray, cupy.ndarray or CSR matrix of shape (n_samples, n_features)
    k : int
        Neighbours of a row, itself not counted.
    search : {"auto", "exact", "approximate"}
    cache : Cache, optional
        Where given, the graph is looked up there first; see `tsne_backends.cache`.

    Returns
    -------
    GpuGraph

    Raises
    ------
    EmbeddingError
        A distance is not finite.
    """
    import cupy

    chosen = choose_search(problem, k, search)
    metric, params = (
        str(problem.metric),
        dict(problem.metric_params),
    )  # only names come here

    def find() -> tuple[Any, Any, str]:
        return _find(X, k, metric, params, chosen)

    def find_for_host() -> tuple[Any, Any, str]:
        # What is kept for another run must not fill the GPU.
        indices, distances, words = find()
        return on_host(indices), on_host(distances), words

    if cache is None or not cache.is_on or isinstance(X, cupy.ndarray):
        indices, distances, words = find()
    else:
        key = ("gpu", metric, sorted(params.items()), search)
        indices, distances, words = cache.graph(X, key, k, find_for_host, on_cpu.nearest_of)
    indices = cupy.asarray(indices, dtype=cupy.int32)
    distances = cupy.asarray(distances, dtype=cupy.float32)
    largest = float(distances.max())
    if not np.isfinite(largest):
        raise EmbeddingError(
            "Some distances between rows are not finite in this metric; check X and metric."
        )
    return GpuGraph(indices, (distances / cupy.float32(largest or 1.0)) ** 2, words)


def choose_search(problem: Problem, k: int, search: str = "auto") -> str:
    """Return ``"brute"``, ``"cells"``, or ``"cuml"`` where only cuML can.

    Parameters
    ----------
    problem : Problem
    k : int
        Neighbours of a row.
    search : {"auto", "exact", "approximate"}
    """
    if problem.is_sparse or problem.metric not in GPU_EUCLIDEAN_METRICS:
        return "cuml"
    can_sample = problem.n_samples > 4 * (k + RECALL_SAMPLE)
    is_quicker = quicker_gpu_search(problem, kind_of(device_name())) == "cells"
    if search == "exact" or not can_sample or not (search == "approximate" or is_quicker):
        return "brute"
    return "cells"


def _find(
    X: Any, k: int, metric: str, params: Mapping[str, Any], search: str
) -> tuple[Any, Any, str]:
    import cupy

    if search == "cuml":
        return by_cuml(X, k, metric, params)
    points = _euclidean_points(dense_on_gpu(X), metric)
    if points is None:  # rows without a direction: scikit-learn knows what they are to others
        graph = on_cpu.neighbors_graph(
            Problem(
                n_samples=len(X),
                n_features=X.shape[1],
                perplexity=(k + 0.5) / 3,  # `Problem` speaks of perplexity; 3 of it are k
                metric=metric,
                n_threads=thread_count(None),
            ),
            on_host(X),
        )
        return graph.indices, graph.distances, graph.search
    found = by_cells(points, k) if search == "cells" else None
    indices, squared, words = found or by_brute_force(points, k)
    # For unit vectors |a - b|² = 2 (1 - cos).
    is_angle = metric in ("cosine", "correlation")
    return indices, squared / 2 if is_angle else cupy.sqrt(squared), words


def _euclidean_points(X: Any, metric: str) -> Any:
    """Return points whose Euclidean neighbours are X's in the metric; None if rows are zero."""
    import cupy

    if metric in ("euclidean", "l2"):
        mean = X.mean(axis=0, dtype=cupy.float64).astype(X.dtype)
        points = cupy.empty(X.shape, dtype=cupy.float32)
        for rows in blocks(len(X), 2 * X.shape[1]):
            points[rows] = X[rows] - mean[None, :]  # or squares lose their digits
        return points
    points = cupy.empty(X.shape, dtype=cupy.float32)
    for rows in blocks(len(X), 2 * X.shape[1]):
        block = X[rows].astype(cupy.float64)
        if metric == "correlation":
            block -= block.mean(axis=1)[:, None]
        norms = cupy.sqrt((block * block).sum(axis=1))
        if not bool((norms > 0).all()):
            return None
        points[rows] = block / norms[:, None]
    return points
