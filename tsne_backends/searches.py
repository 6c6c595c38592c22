"""The searches for neighbours: each one's library, and its result in one form.

KD-tree, blocked brute force, usearch's HNSW index, whose recall is checked on a sample of the rows,
and scikit-learn's for everything else. Which one serves a problem is decided in ``neighbors``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.libraries import library_threads

logger = logging.getLogger(__name__)

#: Least share of true neighbours an approximate search must find; 0.95 leaves the KL divergence
#: and the 15-neighbour preservation of the map unchanged to three digits.
MIN_RECALL = 0.95
#: Rows on which the recall is measured; its standard error is then below 0.002.
RECALL_SAMPLE = 256


def find_neighbors(
    X: Any,
    k: int,
    metric: Any,
    metric_params: Mapping[str, Any],
    search: str,
    *,
    repeatable: bool,
    n_threads: int,
) -> tuple[NDArray[np.int64], NDArray[np.float64], str]:
    """Find the k nearest other rows of every row.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Data, or distances where they are given.
    k : int
        Neighbours per row.
    metric : str or callable
    metric_params : mapping
        Further arguments of the metric.
    search : {"tree", "brute", "hnsw", "precomputed", "sklearn"}
        As `tsne_backends.neighbors.searches_for` names them.
    repeatable : bool
        Whether the result must not depend on how threads happened to run.
    n_threads : int

    Returns
    -------
    indices : ndarray of shape (n_samples, k), int64
        Nearest first.
    distances : ndarray of shape (n_samples, k), float64
    words : str
        Which search found them.

    Raises
    ------
    ValueError
        A sparse matrix of distances holds fewer than k of a row.
    """
    with library_threads(n_threads):  # scikit-learn's brute force takes every core otherwise
        indices, distances, words = _found_by(
            search, X, k, metric, metric_params, 1 if repeatable else n_threads, n_threads
        )
    return indices.astype(np.int64), distances.astype(np.float64), words


def _found_by(
    search: str,
    X: Any,
    k: int,
    metric: Any,
    metric_params: Mapping[str, Any],
    build_threads: int,
    n_threads: int,
) -> tuple[Any, Any, str]:
    if search == "precomputed":
        return *_nearest_fitted_precomputed(X, k), "given distances"
    if search == "sklearn" or (metric == "cosine" and not X.any(axis=1).all()):
        # Rows of zeros have no direction; scikit-learn gives them the distance 1 to everything.
        searcher = sklearn_search(k, metric, metric_params, n_threads)
        distances, indices = searcher.fit(X).kneighbors()
        return indices, distances, f"scikit-learn ({searcher._fit_method})"
    points = unit_rows(X) if metric == "cosine" else centred(X, X)[0]
    if search == "tree":
        indices, distances, words = _tree(points, k, n_threads)
    elif search == "brute":
        indices, distances, words = _brute(points, k)
    else:
        indices, distances, words = _hnsw(points, k, build_threads, n_threads)
    if metric == "cosine":  # for unit vectors |a - b|² = 2 (1 - cos)
        distances = distances**2 / 2
    return indices, distances, words


def sklearn_search(k: int, metric: Any, metric_params: Mapping[str, Any], n_jobs: int) -> Any:
    """Return scikit-learn's search in any metric, to be fitted to rows."""
    from sklearn.neighbors import NearestNeighbors

    others = dict(metric_params)
    # scikit-learn warns of an order among the parameters of the metric; it has a place of its own.
    order = {"p": others.pop("p")} if metric == "minkowski" and "p" in others else {}
    return NearestNeighbors(
        n_neighbors=k, metric=metric, metric_params=others or None, n_jobs=n_jobs, **order
    )


def centred(X: NDArray[Any], *matrices: NDArray[Any]) -> tuple[NDArray[Any], ...]:
    """Move all matrices by the mean of X where X is so far from zero that precision is lost.

    Squared distances as |a|² + |b|² - 2ab cancel there. The decision is X's alone: matrices that
    are compared with one another must be moved together or not at all.
    """
    middle = X.mean(axis=0, dtype=np.float64)
    spread = float(np.abs(X[:1_000] - middle).max())
    if float(np.abs(middle).max()) <= 10 * spread:
        return matrices
    return tuple((matrix - middle).astype(matrix.dtype) for matrix in matrices)


def unit_rows(X: NDArray[Any]) -> NDArray[Any]:
    """Return every row divided by its length: their Euclidean neighbours are those by cosine."""
    from sklearn.preprocessing import normalize

    unit: NDArray[Any] = normalize(X)
    return unit


def _tree(X: NDArray[Any], k: int, n_threads: int) -> tuple[Any, Any, str]:
    from scipy.spatial import cKDTree

    distances, indices = cKDTree(X).query(X, k + 1, workers=n_threads)
    indices, distances = _drop_self(indices, distances)
    return indices, distances, "KD-tree (exact)"


def _brute(X: NDArray[Any], k: int) -> tuple[Any, Any, str]:
    from sklearn.neighbors import NearestNeighbors

    searcher = NearestNeighbors(n_neighbors=k, algorithm="brute").fit(X)
    distances, indices = searcher.kneighbors()
    return indices, distances, "blocked brute force (exact)"


def _hnsw(X: NDArray[Any], k: int, build_threads: int, n_threads: int) -> tuple[Any, Any, str]:
    """Approximate search, widened until the sampled recall suffices; brute force if it never does.

    Building with several threads makes the graph depend on their timing, so a fixed
    ``random_state`` builds with one (twice the time) and searches with all.
    """
    from usearch.index import Index

    X = np.ascontiguousarray(X, dtype=np.float32)
    sample = np.random.RandomState(0).choice(len(X), RECALL_SAMPLE, replace=False)
    truth = true_neighbors(X, sample, k)
    width = max(128, k + k // 2)
    index = Index(
        ndim=X.shape[1],
        metric="l2sq",
        dtype="f32",
        connectivity=16,
        expansion_add=128,
        expansion_search=width,
    )
    index.add(np.arange(len(X)), X, threads=build_threads)
    for attempt in (width, 2 * width, 4 * width):
        index.expansion_search = attempt
        probe = index.search(X[sample], k + 1, threads=n_threads)
        recall = _recall(np.asarray(probe.keys, dtype=np.int64), truth, sample, k)
        if recall >= MIN_RECALL:
            break
    else:
        logger.warning(
            "The approximate neighbour search found %.0f %% of the true neighbours; "
            "searching exactly instead, which takes longer.",
            100 * recall,
        )
        return _brute(X, k)
    found = index.search(X, k + 1, threads=n_threads)
    if np.asarray(found.counts).min() < k + 1:  # an unreachable corner of the graph
        return _brute(X, k)
    squared = np.maximum(np.asarray(found.distances), 0)
    indices, distances = _drop_self(np.asarray(found.keys).astype(np.int64), np.sqrt(squared))
    return indices, distances, f"HNSW (usearch, sampled recall {recall:.3f})"


def true_neighbors(X: NDArray[Any], rows: NDArray[Any], k: int) -> NDArray[np.int64]:
    """Return the k nearest other rows, by Euclidean distance, of some rows; shape (n_rows, k)."""
    from sklearn.neighbors import NearestNeighbors

    searcher = NearestNeighbors(n_neighbors=k + 1, algorithm="brute").fit(X)
    found = searcher.kneighbors(X[rows], return_distance=False)
    return without_self(found, rows)


def _recall(found: NDArray[Any], truth: NDArray[Any], rows: NDArray[Any], k: int) -> float:
    others = without_self(found, rows)
    hits = sum(len(np.intersect1d(a, b)) for a, b in zip(others, truth, strict=True))
    return hits / (k * len(rows))


def without_self(indices: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.int64]:
    """Return the k nearest others of some rows, from their k + 1 nearest, themselves among these.

    Parameters
    ----------
    indices : ndarray of shape (n_rows, k + 1)
        Nearest first.
    rows : ndarray of shape (n_rows,)
        The rows they are the nearest of.

    Returns
    -------
    ndarray of shape (n_rows, k)
        Nearest first. Where enough duplicates have pushed the row itself out, the last is dropped.
    """
    others: NDArray[np.int64] = indices[~_is_self(indices, rows)]
    return others.reshape(len(rows), indices.shape[1] - 1)


def _is_self(indices: NDArray[Any], rows: NDArray[Any]) -> NDArray[np.bool_]:
    """Mark, in each row of k + 1 neighbours, the row itself, or the last where it is not there."""
    mark: NDArray[np.bool_] = indices == rows[:, None]
    mark[~mark.any(axis=1), -1] = True  # duplicates of a row can push the row itself out
    return mark


def _drop_self(indices: NDArray[Any], distances: NDArray[Any]) -> tuple[Any, Any]:
    keep = ~_is_self(indices, np.arange(len(indices)))
    shape = (len(indices), indices.shape[1] - 1)
    return indices[keep].reshape(shape), distances[keep].reshape(shape)


def _nearest_fitted_precomputed(D: Any, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return the k nearest other rows, whether or not a sparse graph lists each row itself."""
    if not hasattr(D, "tocsr"):
        return _drop_self(*nearest_precomputed(D, k + 1))
    off_diagonal = D.tocoo()
    keep = off_diagonal.row != off_diagonal.col
    rows, columns = off_diagonal.row[keep], off_diagonal.col[keep]
    # Built by hand, because arithmetic would lose explicit zeros: they are duplicated rows.
    return nearest_precomputed(type(D)((off_diagonal.data[keep], (rows, columns)), D.shape), k)


def nearest_precomputed(D: Any, k: int) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return columns and values of the k smallest entries of every row, dense or sparse."""
    indices = np.empty((D.shape[0], k), dtype=np.int64)
    distances = np.empty((D.shape[0], k))
    if not hasattr(D, "tocsr"):
        for row, values in enumerate(D):  # by row, because all at once would double the memory
            nearest = np.argpartition(values, k - 1)[:k]
            indices[row] = nearest[np.argsort(values[nearest], kind="stable")]
            distances[row] = values[indices[row]]
        return indices, distances
    D = D.tocsr()
    for row, (start, stop) in enumerate(zip(D.indptr[:-1], D.indptr[1:], strict=True)):
        if stop - start < k:
            raise ValueError(
                f"Row {row} of the sparse distance matrix holds {stop - start} neighbours, but "
                f"{k} are needed. Store at least {k} per row, or lower the perplexity."
            )
        nearest = start + np.argsort(D.data[start:stop], kind="stable")[:k]
        indices[row], distances[row] = D.indices[nearest], D.data[nearest]
    return indices, distances
