"""The scores of a quality report, from a sample of rows that are judged against all rows.

No n × n matrix is made: distances come in blocks of rows. Each score comes with its standard error.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.preservation import sample_of
from tsne_backends.quality import BLOCK_PAIRS, error_of_mean
from tsne_backends.searches import without_self

#: Pairs of rows that distances are compared on; fewer pairs than that are taken all.
CORRELATION_PAIRS = 100_000
#: Disjoint parts of the pairs, from whose spread the standard error follows.
CORRELATION_PARTS = 25
#: The silhouette takes the distances of its rows to all rows: with 2 × 10⁹ of them, some 10 s.
SILHOUETTE_PAIRS, SILHOUETTE_MIN_ROWS = 2_000_000_000, 500


def neighbour_scores(
    X: Any, Y: NDArray[np.float64], rows: NDArray[np.int64], k: int, n_threads: int
) -> tuple[tuple[float, float], tuple[float, float]]:
    """Return neighbour preservation and trustworthiness, each with its standard error.

    Trustworthiness is 1 less the mean, over rows, of how far beyond k the neighbours on the map
    rank in the data, in units of the largest possible (Venna and Kaski 2001; the definition of
    ``sklearn.manifold.trustworthiness``).

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    Y : ndarray of shape (n_samples, n_components)
    rows : ndarray of int64
        The rows to judge.
    k : int
        Neighbours per row, less than half the rows.
    n_threads : int

    Returns
    -------
    preservation, trustworthiness : tuple of (float, float)
    """
    from scipy.spatial import cKDTree

    n = X.shape[0]
    _, found = cKDTree(Y).query(Y[rows], k + 1, workers=n_threads)
    near = without_self(found, rows)
    kept, penalty = np.empty(len(rows)), np.empty(len(rows))
    at = 0
    for squared in _blocks_of_distances(X, rows):
        for distances in squared:
            row = rows[at]
            distances[row] = np.inf
            ranks = _ranks(distances, near[at])
            kept[at] = (ranks <= k).mean()
            penalty[at] = np.maximum(ranks - k, 0).sum()
            at += 1
    unit = 2 / (k * (2 * n - 3 * k - 1))
    trust = 1 - unit * float(penalty.mean())
    return (
        (float(kept.mean()), error_of_mean(kept, n)),
        (trust, unit * error_of_mean(penalty, n)),
    )


def distance_correlation(
    X: Any, Y: NDArray[np.float64], random_state: int
) -> tuple[float, float, int]:
    """Return Spearman's rank correlation of the distances of pairs of rows in data and map.

    Pairs are drawn independently of one another from all pairs. Their standard error is the
    standard deviation of the correlations of `CORRELATION_PARTS` disjoint parts over the root of
    their number, which needs no assumption on the distances.

    Returns
    -------
    correlation : float
    standard_error : float
        0 where all pairs were taken.
    n_pairs : int
    """
    n = len(Y)
    if n * (n - 1) // 2 <= CORRELATION_PAIRS:
        first, second = np.triu_indices(n, 1)
        return _rank_correlation(X, Y, first, second), 0.0, len(first)
    rng = np.random.RandomState(random_state)
    first = rng.randint(n, size=CORRELATION_PAIRS)
    second = (first + rng.randint(1, n, size=CORRELATION_PAIRS)) % n  # never the row itself
    parts = [
        _rank_correlation(X, Y, *part)
        for part in zip(
            np.split(first, CORRELATION_PARTS), np.split(second, CORRELATION_PARTS), strict=True
        )
    ]
    error = float(np.std(parts, ddof=1)) / CORRELATION_PARTS**0.5
    return _rank_correlation(X, Y, first, second), error, CORRELATION_PAIRS


def silhouette(
    Y: NDArray[np.float64], codes: NDArray[np.int64], sample: int | None, random_state: int
) -> tuple[float, float, int]:
    """Return the mean silhouette of a sample of rows among all rows of the map.

    The silhouette of a row compares its mean distance to its own class, a, with that to the
    nearest other one, b: (b - a) / max(a, b); 0 in a class of one (Rousseeuw 1987).

    Parameters
    ----------
    Y : ndarray of shape (n_samples, n_components)
    codes : ndarray of shape (n_samples,)
        Classes, two or more, from 0.
    sample : int or None
        Rows to judge; fewer where there are so many rows that it would take long.
    random_state : int

    Returns
    -------
    silhouette, standard_error : float
    n_rows : int
        Rows that were judged.
    """
    from scipy.sparse import csr_matrix
    from scipy.spatial.distance import cdist

    n = len(Y)
    if sample is not None:
        sample = min(sample, max(SILHOUETTE_MIN_ROWS, SILHOUETTE_PAIRS // n))
    rows = sample_of(n, sample, random_state)
    sizes = np.bincount(codes)
    members = csr_matrix((np.ones(n), (codes, np.arange(n))), shape=(len(sizes), n))
    values = np.empty(len(rows))
    step = max(1, BLOCK_PAIRS // n)
    for start in range(0, len(rows), step):
        block = rows[start : start + step]
        sums = np.asarray(members @ cdist(Y[block], Y).T).T
        own, every = codes[block], np.arange(len(block))
        a = sums[every, own] / np.maximum(sizes[own] - 1, 1)
        means = sums / sizes
        means[every, own] = np.inf
        b = means.min(axis=1)
        apart = (b - a) / np.maximum(np.maximum(a, b), np.finfo(np.float64).tiny)
        values[start : start + step] = np.where(sizes[own] > 1, apart, 0.0)
    return float(values.mean()), error_of_mean(values, n), len(rows)


def _blocks_of_distances(X: Any, rows: NDArray[np.int64]) -> Any:
    """Yield squared distances of some rows to all rows, a block of rows at a time."""
    from sklearn.metrics.pairwise import euclidean_distances

    if not hasattr(X, "tocsr"):  # far from the origin, the differences of large squares are lost
        X = X - X.mean(axis=0, dtype=np.float64).astype(X.dtype)
    step = max(1, BLOCK_PAIRS // X.shape[0])
    for start in range(0, len(rows), step):
        yield euclidean_distances(X[rows[start : start + step]], X, squared=True)


def _ranks(distances: NDArray[Any], near: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return the ranks, from 1, of some entries, nearest first.

    Of entries of the same distance, those asked for come first and share no rank.
    """
    wanted = np.sort(distances[near])
    below = distances[distances < wanted[-1]]
    # Two passes over what is nearer than the last one take a quarter of the time of sorting it.
    first_above = np.searchsorted(wanted, below, side="right")
    smaller = np.cumsum(np.bincount(first_above, minlength=len(wanted)))
    ties = np.arange(len(wanted)) - np.searchsorted(wanted, wanted, side="left")
    return smaller + ties + 1


def _rank_correlation(
    X: Any, Y: NDArray[np.float64], first: NDArray[np.int64], second: NDArray[np.int64]
) -> float:
    from scipy.stats import spearmanr

    if hasattr(X, "tocsr"):
        difference = X[first] - X[second]
        in_data = np.sqrt(np.asarray(difference.multiply(difference).sum(axis=1)).ravel())
    else:
        step = max(1, BLOCK_PAIRS // X.shape[1])
        in_data = np.concatenate(
            [
                np.linalg.norm(
                    X[first[at : at + step]].astype(np.float64) - X[second[at : at + step]], axis=1
                )
                for at in range(0, len(first), step)
            ]
        )
    on_map = np.linalg.norm(Y[first] - Y[second], axis=1)
    if not (np.ptp(in_data) and np.ptp(on_map)):
        return 0.0  # equal distances have no order
    return float(spearmanr(in_data, on_map).statistic)
