"""How many of its neighbours each row keeps on a map, averaged over a sample of rows.

The true neighbours are found once, and any number of maps of the same data judged against them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.machine import thread_count
from tsne_backends.neighbors import neighbors_of_new
from tsne_backends.problem import Problem
from tsne_backends.searches import without_self

#: Rows over which preservation is averaged, where nobody asks for another number.
SAMPLE = 5_000


@dataclass(frozen=True)
class SampledNeighbors:
    """The exact neighbours of some rows of X, against which many maps of X can be judged.

    Attributes
    ----------
    rows : ndarray of shape (n_rows,), int64
        The rows of X.
    indices : ndarray of shape (n_rows, k), int64
        Their k nearest other rows, nearest first.
    """

    rows: NDArray[np.int64]
    indices: NDArray[np.int64]


def sampled_neighbors(problem: Problem, X: Any, k: int = 15) -> SampledNeighbors:
    """Find the exact neighbours of at most 5,000 rows, in the metric of ``problem``.

    They are the rows that `neighbor_preservation` averages over.

    Parameters
    ----------
    problem : Problem
        Metric and threads.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Data, or their distances where the metric is ``"precomputed"``.
    k : int, default=15
        Neighbours per row, fewer than n_samples.

    Returns
    -------
    SampledNeighbors
    """
    rows = sample_of(X.shape[0], SAMPLE, 0)
    found, _ = neighbors_of_new(problem, X, X[rows], k + 1)
    return SampledNeighbors(rows, without_self(found, rows))


def share_kept(true: SampledNeighbors, embedding: NDArray[Any], n_jobs: int | None = None) -> float:
    """Return the mean share of each row's true neighbours that are among its nearest on a map.

    Parameters
    ----------
    true : SampledNeighbors
    embedding : ndarray of shape (n_samples, n_components)
        A finite map.
    n_jobs : int, optional
        Threads; None is every usable core.

    Returns
    -------
    float
        From 0 to 1.
    """
    from scipy.spatial import cKDTree

    k, Y = true.indices.shape[1], np.asarray(embedding, dtype=np.float64)
    _, found = cKDTree(Y).query(Y[true.rows], k + 1, workers=thread_count(n_jobs))
    near = without_self(found, true.rows)
    shares = [len(np.intersect1d(a, b)) for a, b in zip(true.indices, near, strict=True)]
    return float(np.mean(shares) / k)


def sample_of(n: int, sample: int | None, random_state: int) -> NDArray[np.int64]:
    """Draw row numbers without replacement; all of them, in order, where no sample is asked for."""
    if sample is None or sample >= n:
        return np.arange(n)
    return np.random.RandomState(random_state).choice(n, sample, replace=False).astype(np.int64)
