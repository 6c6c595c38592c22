"""How good a map is: KL divergence and neighbour preservation, from exact neighbours.

These are the judges of every engine, so they share nothing with an engine's approximations: the
neighbours are exact and the normalisation is summed pair by pair.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

from tsne_backends.machine import thread_count
from tsne_backends.neighbors import NeighborsGraph, choose_search
from tsne_backends.preservation import SAMPLE, SampledNeighbors, sample_of, share_kept
from tsne_backends.problem import Problem
from tsne_backends.searches import find_neighbors

#: Pairs handled at once; 8 bytes each, a handful of arrays.
BLOCK_PAIRS = 4_000_000
#: Bandwidths that are looked for, as logarithms in units of a row's mean squared distance, which
#: one neighbour 10¹⁵ times as far as the others makes large; how often their interval is halved.
MAX_LOG_BETA, HALVINGS = 80.0, 60
#: What is wider than this, and than its data, is no map of them.
MOST_COMPONENTS = 3


def exact_graph(X: NDArray[Any], k: int, n_jobs: int | None = None) -> NeighborsGraph:
    """Find the exact k nearest neighbours of every row, to be handed to the functions below.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    k : int
        Neighbours per row, fewer than n_samples.
    n_jobs : int, optional
        Threads; None is every usable core.

    Returns
    -------
    NeighborsGraph

    Raises
    ------
    ValueError
        A row has no k neighbours.
    """
    n, d = X.shape
    _check_k(k, n)
    problem = Problem(n, d, n_threads=thread_count(n_jobs))
    search = choose_search(problem, "exact")
    return NeighborsGraph(
        *find_neighbors(X, k, "euclidean", {}, search, repeatable=True, n_threads=problem.n_threads)
    )


def kl_divergence(
    X: NDArray[Any],
    embedding: NDArray[Any],
    perplexity: float = 30.0,
    *,
    graph: NeighborsGraph | None = None,
    sample: int | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> float:
    """Return the KL divergence between the affinities of X and of its map.

    The affinities of X are Gaussian over the 3 × perplexity nearest neighbours, symmetrised and
    normalised (van der Maaten 2014); those of the map are Student's t with
    max(n_components - 1, 1) degrees of freedom (van der Maaten 2009).

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Data; Euclidean distances are used.
    embedding : ndarray of shape (n_samples, n_components)
        The map.
    perplexity : float, default=30.0
    graph : NeighborsGraph, optional
        Exact neighbours of X (`exact_graph`), at least 3 × perplexity of them.
    sample : int, optional
        Rows from which the normalisation is estimated, without bias; None sums over all pairs,
        which takes n² operations.
    random_state : int, default=0
        Seed of the sample.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    float

    Raises
    ------
    ValueError
        The map does not fit X, or holds values that are not finite; or the graph holds too few
        neighbours.
    """
    return kl_with_error(
        X,
        embedding,
        perplexity,
        graph=graph,
        sample=sample,
        random_state=random_state,
        n_jobs=n_jobs,
    )[0]


def kl_with_error(
    X: Any,
    embedding: NDArray[Any],
    perplexity: float = 30.0,
    *,
    graph: NeighborsGraph | None = None,
    sample: int | None = None,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> tuple[float, float]:
    """Return the KL divergence as `kl_divergence` does, and its standard error.

    The error is that of the logarithm of the sampled normalisation, by the delta method; 0 where
    all pairs are summed.
    """
    Y = checked_embedding(X, embedding)
    n, d = X.shape
    k = Problem(n, d, perplexity=perplexity).n_neighbors
    graph = _sufficient(graph, X, k, n_jobs)
    P = _joint_probabilities(graph.indices[:, :k], graph.distances[:, :k], perplexity)
    freedom = max(Y.shape[1] - 1, 1)
    sums = _kernel_sums(Y, freedom, sample_of(n, sample, random_state))
    kernel = _kernel(((Y[P.row] - Y[P.col]) ** 2).sum(axis=1), freedom)
    positive = P.data > 0
    p, q = P.data[positive], kernel[positive] / (n * sums.mean())
    divergence = float((p * np.log(p / np.maximum(q, np.finfo(np.float64).tiny))).sum())
    return divergence, error_of_mean(sums, n) / float(sums.mean())


def _joint_probabilities(
    indices: NDArray[Any], distances: NDArray[Any], perplexity: float
) -> sp.coo_matrix:
    """Return the affinities of neighbours, every row's bandwidth found by bisection.

    openTSNE's own search ends too early for a few rows of some data, whose perplexity is then up to
    three times as high (measured with 1.0.4 on image patches), and the KL divergence 0.1 % lower.
    """
    n, k = indices.shape
    p = np.empty((n, k))
    step = max(1, BLOCK_PAIRS // k)
    for start in range(0, n, step):
        rows = slice(start, start + step)
        p[rows] = _conditional(np.square(distances[rows], dtype=np.float64), np.log(perplexity))
    starts = np.arange(0, n * k + 1, k)
    conditional = sp.csr_matrix((p.ravel(), indices.ravel(), starts), shape=(n, n))
    return ((conditional + conditional.T) / (2 * n)).tocoo()


def _conditional(squared: NDArray[np.float64], entropy: float) -> NDArray[np.float64]:
    squared = squared - squared.min(axis=1, keepdims=True)
    squared /= np.maximum(squared.mean(axis=1, keepdims=True), np.finfo(np.float64).tiny)
    low, high = (np.full((len(squared), 1), bound) for bound in (-MAX_LOG_BETA, MAX_LOG_BETA))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        beta = np.exp(middle)
        p = np.exp(-beta * squared)
        total = p.sum(axis=1, keepdims=True)
        p *= squared
        is_flat = np.log(total) + beta * p.sum(axis=1, keepdims=True) / total > entropy
        low, high = np.where(is_flat, middle, low), np.where(is_flat, high, middle)
    p = np.exp(-np.exp(low) * squared)
    conditional: NDArray[np.float64] = p / p.sum(axis=1, keepdims=True)
    return conditional


def error_of_mean(values: NDArray[np.float64], n: int) -> float:
    """Return the standard error of the mean of a sample drawn without replacement from n values.

    The finite population correction makes it 0 where all n are in the sample (Cochran, *Sampling
    Techniques*, 3rd ed., section 2.6).
    """
    m = len(values)
    return 0.0 if m >= n else float(values.std(ddof=1)) * ((1 - m / n) / m) ** 0.5


def neighbor_preservation(
    X: NDArray[Any],
    embedding: NDArray[Any],
    k: int = 15,
    *,
    graph: NeighborsGraph | None = None,
    sample: int | None = SAMPLE,
    random_state: int = 0,
    n_jobs: int | None = None,
) -> float:
    """Return the share of each row's k nearest neighbours that stay among its k nearest on the map.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
        Data; Euclidean distances are used.
    embedding : ndarray of shape (n_samples, n_components)
        The map.
    k : int, default=15
    graph : NeighborsGraph, optional
        Exact neighbours of X, at least k of them.
    sample : int or None, default=5000
        Rows over which the share is averaged; None takes all.
    random_state : int, default=0
        Seed of the sample.
    n_jobs : int, optional
        Threads.

    Returns
    -------
    float
        From 0 to 1; a random map scores k / (n_samples - 1).

    Raises
    ------
    ValueError
        The map does not fit X, holds values that are not finite, k is not less than n_samples, or
        the graph holds fewer than k neighbours.
    """
    Y = checked_embedding(X, embedding)
    _check_k(k, len(X))
    graph = _sufficient(graph, X, k, n_jobs)
    rows = sample_of(len(X), sample, random_state)
    return share_kept(SampledNeighbors(rows, graph.indices[rows, :k]), Y, n_jobs)


def checked_embedding(X: Any, embedding: Any) -> NDArray[np.float64]:
    """Return a map as float64; refuse one that does not fit X or is not finite."""
    Y = np.asarray(embedding, dtype=np.float64)
    if Y.ndim != 2 or len(Y) != X.shape[0]:
        raise ValueError(
            f"The embedding must have one row for each of the {X.shape[0]} rows of X; its shape is "
            f"{Y.shape}. Pass the data that the map was made of."
        )
    if Y.shape[1] > max(X.shape[1], MOST_COMPONENTS):
        raise ValueError(
            f"The embedding has {Y.shape[1]} columns and X has {X.shape[1]}, so they seem to be "
            "exchanged; pass the data first, and then their map."
        )
    if not np.isfinite(Y).all():
        raise ValueError(
            "The embedding holds values that are not finite and cannot be judged; leave such rows "
            "out of it and of X."
        )
    return Y


def _check_k(k: int, n: int) -> None:
    if not 1 <= k < n:
        raise ValueError(f"k must be from 1 to n_samples - 1 ({n - 1}); it was {k}.")


def _sufficient(graph: NeighborsGraph | None, X: Any, k: int, n_jobs: int | None) -> NeighborsGraph:
    """Return the graph that was given, if it holds k neighbours of each row, or find one."""
    if graph is None:
        return exact_graph(X, k, n_jobs)
    held = graph.indices.shape[1]
    if held < k:
        raise ValueError(
            f"graph holds {held} neighbours per row, but {k} are needed; pass exact_graph(X, {k})."
        )
    return graph


def _kernel(squared: NDArray[np.float64], freedom: int) -> NDArray[np.float64]:
    if freedom == 1:
        return 1 / (1 + squared)
    student: NDArray[np.float64] = (1 + squared / freedom) ** (-(freedom + 1) / 2)
    return student


def _kernel_sums(
    Y: NDArray[np.float64], freedom: int, rows: NDArray[np.int64]
) -> NDArray[np.float64]:
    """Sum the kernel of some rows with all other rows."""
    step = max(1, BLOCK_PAIRS // len(Y))
    sums = []
    for start in range(0, len(rows), step):
        block = Y[rows[start : start + step]]
        squared = np.zeros((len(block), len(Y)))
        for axis in range(Y.shape[1]):
            squared += (block[:, axis, None] - Y[None, :, axis]) ** 2
        sums.append(_kernel(squared, freedom).sum(axis=1) - 1)  # less the row with itself
    return np.concatenate(sums)
