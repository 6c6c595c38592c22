"""Nearest-neighbour graphs: which search to use, and what is kept of it.

Engines that have no search of their own and the placement of new points get their neighbours here.
The search is the one that ``cost`` expects to be quickest; the searches are in ``searches``.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends import cost
from tsne_backends.cache import Cache
from tsne_backends.errors import EmbeddingError
from tsne_backends.problem import Problem
from tsne_backends.searches import (
    RECALL_SAMPLE,
    centred,
    find_neighbors,
    nearest_precomputed,
    sklearn_search,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class NeighborsGraph:
    """The k nearest neighbours of every row, the row itself left out.

    Attributes
    ----------
    indices : ndarray of shape (n_samples, k), int64
        Neighbours, nearest first.
    distances : ndarray of shape (n_samples, k), float64
        Their distances in the metric asked for.
    search : str
        Which search found them, in words.
    """

    indices: NDArray[np.int64]
    distances: NDArray[np.float64]
    search: str

    def unit_distances(self) -> NDArray[np.float64]:
        """Return the distances divided by the largest, so that no square over- or underflows.

        t-SNE does not notice: the width of each row's kernel scales along.

        Raises
        ------
        EmbeddingError
            A distance is not finite.
        """
        largest = float(self.distances.max())
        if not np.isfinite(largest):
            raise EmbeddingError(
                "Some distances between rows are not finite in this metric; check X and metric."
            )
        return self.distances / (largest or 1.0)


def neighbors_graph(
    problem: Problem, X: Any, search: str = "auto", cache: Cache | None = None
) -> NeighborsGraph:
    """Find the ``problem.n_neighbors`` nearest neighbours of every row of X.

    Parameters
    ----------
    problem : Problem
        Metric, number of neighbours, threads, and whether the run must be repeatable.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Data; distances or a sparse neighbours graph where the metric is ``"precomputed"``.
    search : {"auto", "exact", "approximate"}
        ``"auto"`` is exact wherever that is quickest.
    cache : Cache, optional
        Where given, the graph is looked up there first; see `tsne_backends.cache`.

    Returns
    -------
    NeighborsGraph

    Raises
    ------
    ValueError
        A sparse matrix of distances holds too few neighbours of a row, or scikit-learn cannot
        compute the metric on X.
    """
    k, metric, params = problem.n_neighbors, problem.metric, dict(problem.metric_params)
    is_kept = cache is not None and cache.is_on

    def find() -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
        # What is kept must not depend on how threads happened to run.
        repeatable = problem.repeatable or is_kept
        chosen = choose_search(problem, search)
        n_threads = problem.n_threads
        return find_neighbors(
            X, k, metric, params, chosen, repeatable=repeatable, n_threads=n_threads
        )

    if cache is not None and isinstance(metric, str):  # a function has no content to compare
        key = (metric, sorted(params.items()), search)
        indices, distances, words = cache.graph(X, key, k, find, nearest_of)
    else:
        indices, distances, words = find()
    logger.debug("neighbours graph: %s", words)
    return NeighborsGraph(indices, distances, words)


def choose_search(problem: Problem, search: str = "auto") -> str:
    """Return which search `neighbors_graph` will use: of those that serve, the quickest.

    "Quickest" on the reference machine, or a seed would not repeat where a speed is measured anew.
    """
    return min(
        searches_for(problem, search),
        key=lambda name: cost.search_seconds(name, problem, cost.REFERENCE),
    )


def searches_for(problem: Problem, search: str = "auto") -> tuple[str, ...]:
    """Return the searches that serve a problem.

    Returns
    -------
    tuple of str
        Of ``"tree"``, ``"brute"`` and ``"hnsw"``; or only ``"precomputed"``; or only
        ``"sklearn"`` for what nothing else can do (sparse data, other metrics).
    """
    if problem.metric == "precomputed":
        return ("precomputed",)
    if not is_plain(problem):
        return ("sklearn",)
    can_sample = problem.n_samples > problem.n_neighbors + RECALL_SAMPLE
    if search == "approximate" and can_sample:
        return ("hnsw",)
    return ("brute", "tree", "hnsw") if search == "auto" and can_sample else ("brute", "tree")


def is_plain(problem: Problem) -> bool:
    """Say whether rows are dense and compared in Euclidean space or by cosine."""
    return (
        not problem.is_sparse
        and not problem.metric_params
        and problem.metric in ("euclidean", "l2", "cosine")
    )


def neighbors_of_new(
    problem: Problem, X: Any, X_new: Any, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
    """Find the k nearest rows of X for every row of X_new.

    Parameters
    ----------
    problem : Problem
        The problem X was fitted with.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Fitted data; ignored where the metric is ``"precomputed"``.
    X_new : ndarray or CSR matrix of shape (n_new, n_features)
        New rows; their distances to the fitted rows where the metric is ``"precomputed"``.
    k : int
        Neighbours per row.

    Returns
    -------
    indices : ndarray of shape (n_new, k), int64
    distances : ndarray of shape (n_new, k), float64
    """
    if problem.metric == "precomputed":
        indices, distances = nearest_precomputed(X_new, k)
    else:
        if problem.metric in ("euclidean", "l2") and not problem.is_sparse:
            X, X_new = centred(X, X, X_new)
        parameters = dict(problem.metric_params)
        searcher = sklearn_search(k, problem.metric, parameters, problem.n_threads)
        distances, indices = searcher.fit(X).kneighbors(X_new)
    return indices.astype(np.int64), distances.astype(np.float64)


def nearest_of(graph: tuple[Any, Any, str], k: int) -> tuple[Any, Any, str]:
    """Return the k nearest of a graph (indices, distances, words) of more, nearest first."""
    indices, distances, words = graph
    return np.ascontiguousarray(indices[:, :k]), np.ascontiguousarray(distances[:, :k]), words
