"""Nearest neighbours in Euclidean space, of all rows among themselves and of new rows.

Rows are grouped into lists; how many lists must be looked at is learnt from the neighbours that a
sample of rows finds. What looking at lists is, is in ``scan``.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, F1, F, U, finite_kernel
from tsne_backends.native.lists import Lists, group, make_lists
from tsne_backends.native.scan import scan
from tsne_backends.native.threads import Team

#: Exact search takes at most this many multiplications and comparisons; beyond, lists are left out.
#: Where that loses too many neighbours, all lists are searched up to the second number; beyond it a
#: search by a graph is quicker (200,000 rows of noise in 20 dimensions).
EXACT_WORK, LAST_WORK = 6e10, 3e12
#: Fewer rows than this are always searched exactly.
SMALLEST_LISTED = 4096
#: What comparing one pair costs, in multiplications.
PAIR_WORK = 40
#: Rows seen per row, in neighbours wanted, at the first attempt; each further one sees twice that.
FIRST_SEEN = 24
#: Rows on which the recall is measured, the share of true neighbours that must be found, and from
#: how many lists the rows are taken.
RECALL_SAMPLE, MIN_RECALL, TRIAL_LISTS = 512, 0.97, 24
#: Rounding error of the products, relative to the squared size of the data, that is allowed in the
#: squared distance of the k-th neighbour: beyond it, single precision cannot order neighbours.
MAX_ERROR = 0.02


@dataclass(frozen=True)
class Neighbors:
    """The k nearest neighbours of every row, the row itself left out.

    Attributes
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours, in no order; numbers are *places*, see ``places``.
    squared : ndarray of shape (n, k), float32
        Their squared distances, up to one common factor.
    places : ndarray of shape (n,), uint32
        ``places[i]`` is the row of X that row i of the other arrays speaks of: rows near to one
        another in space are near in memory.
    words : str
        How they were found.
    """

    indices: NDArray[np.uint32]
    squared: NDArray[np.float32]
    places: NDArray[np.uint32]
    words: str


def find_neighbors(
    X: NDArray[Any], k: int, team: Team, seed: int = 0, exact: bool | None = None
) -> Neighbors | None:
    """Find the k nearest neighbours of every row of X.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Finite data.
    k : int
        Neighbours per row, less than n.
    team : Team
    seed : int, default=0
        Of the sample that centroids are learnt from and recall is measured on.
    exact : bool or None, default=None
        Whether to search every list; None does so where it is affordable.

    Returns
    -------
    Neighbors or None
        None where single precision cannot tell the neighbours apart, or where lists cannot find
        them with less work than searching everything, and that is not wanted or takes too long:
        another search is then the better one.
    """
    n = len(X)
    points, size, _ = _scaled(X)
    rng = np.random.RandomState(seed)
    lists = make_lists(points, team, rng)
    points = points[lists.places]  # a copy; the first is let go
    work = float(n) ** 2 * (points.shape[1] + PAIR_WORK)
    seen, words = n, "inverted lists (exact)"
    if not (work <= EXACT_WORK if exact is None else exact) and n >= SMALLEST_LISTED:
        enough, recall = _learn_seen(points, lists, points, lists, k, team, rng)
        if recall >= MIN_RECALL:
            seen, words = enough, f"inverted lists (sampled recall {recall:.3f})"
        elif exact is False or work > LAST_WORK:
            return None
    indices, squared = scan(points, lists, points, lists, _all(lists), k, seen, team)
    if not _precise_enough(squared, size):
        return None
    return Neighbors(indices, squared, lists.places, words)


def find_nearest(
    X: NDArray[Any], X_new: NDArray[Any], k: int, team: Team, seed: int = 0
) -> tuple[NDArray[np.int64], NDArray[np.float32]] | None:
    """Find the k nearest rows of X for every row of X_new.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Finite data.
    X_new : ndarray of shape (n_new, d), float32 or float64
        Finite data.
    k : int
        Neighbours per row, at most n.
    team : Team
    seed : int, default=0
        Of the sample that centroids are learnt from and recall is measured on.

    Returns
    -------
    indices : ndarray of shape (n_new, k), int64
        Rows of X, in no order.
    squared : ndarray of shape (n_new, k), float32
        Their squared distances, up to one common factor; 0 for equal rows of one type.
    None
        Instead, where `find_neighbors` would return None.
    """
    points, size, place = _scaled(X)
    # Equal values of another type must stay equal.
    rows, new_size, _ = _scaled(X_new.astype(X.dtype, copy=False), place)
    rng = np.random.RandomState(seed)
    lists = make_lists(points, team, rng)
    theirs = group(rows, lists.centroids, team)
    points, rows = points[lists.places], rows[theirs.places]
    seen, work = len(X), float(len(X)) * len(X_new) * (points.shape[1] + PAIR_WORK)
    if work > EXACT_WORK and len(X) >= SMALLEST_LISTED:
        enough, recall = _learn_seen(rows, theirs, points, lists, k, team, rng)
        if recall >= MIN_RECALL:
            seen = enough
        elif work > LAST_WORK:
            return None
    indices, squared = scan(rows, theirs, points, lists, _all(lists), k, seen, team)
    if not _precise_enough(squared, max(size, new_size)):
        return None
    in_order = np.empty_like(squared)
    in_order[theirs.places] = squared
    found = np.empty(indices.shape, dtype=np.int64)
    found[theirs.places] = lists.places[indices]
    return found, in_order


def _all(lists: Lists) -> NDArray[np.int64]:
    return np.arange(len(lists.starts) - 1)


def _learn_seen(
    rows: NDArray[np.float32],
    theirs: Lists,
    points: NDArray[np.float32],
    lists: Lists,
    k: int,
    team: Team,
    rng: np.random.RandomState,
) -> tuple[int, float]:
    """Return how many points must be looked at for each row, and the recall that was reached.

    Learnt on a few lists, so that nothing is searched twice.
    """
    filled = np.flatnonzero(np.diff(theirs.starts))
    trial = np.sort(rng.permutation(filled)[:TRIAL_LISTS])
    members = np.concatenate([np.arange(*theirs.starts[one : one + 2]) for one in trial])
    sample = np.sort(rng.permutation(members)[:RECALL_SAMPLE])
    # A row among the points is its own nearest.
    kth = _kth_distances(rows[sample], points, k - (rows is not points), team)
    recall = 0.0
    for seen in _attempts(len(points), k):
        _, squared = scan(rows, theirs, points, lists, trial, k, seen, team)
        recall = float((squared[sample] <= kth[:, None]).mean())
        if recall >= MIN_RECALL:
            return seen, recall
    return len(points), recall


def _attempts(n: int, k: int) -> list[int]:
    """Return how many rows each attempt looks at; a quarter of all at most."""
    attempts, seen = [], max(FIRST_SEEN * k, 512)
    while seen <= n // 4:
        attempts.append(seen)
        seen *= 2
    return attempts


#: The mean of the data and their largest entry about it.
_Place = tuple[NDArray[Any], float]


def _scaled(
    X: NDArray[Any], place: _Place | None = None
) -> tuple[NDArray[np.float32], float, _Place]:
    """Return X about its mean with its largest entry at 1, the largest squared row, and where."""
    # In single precision if X is: its resolution is lost anyway.
    middle = X.mean(axis=0, dtype=np.float64).astype(X.dtype) if place is None else place[0]
    points = X - middle
    largest = float(max(points.max(), -points.min())) if place is None else place[1]
    if largest > 0:
        points /= points.dtype.type(largest)
    points = np.ascontiguousarray(points, dtype=np.float32)
    return points, float(np.einsum("ij,ij->i", points, points).max()), (middle, largest)


def _precise_enough(squared: NDArray[np.float32], size: float) -> bool:
    """Say whether rounding is small beside the distances to tell apart."""
    error = 2.0**-23 * size
    kth = squared.max(axis=1)
    apart = kth[kth > 0]  # duplicates are as near as can be, however the others are rounded
    return len(apart) == 0 or error <= MAX_ERROR * float(np.quantile(apart, 0.05))


def _kth_distances(
    rows: NDArray[np.float32], points: NDArray[np.float32], at: int, team: Team
) -> NDArray[np.float32]:
    """Return the squared distance of each row's point number ``at``, from 0, and a rounding more.

    What is as near as that counts as found: which of several equally near rows was taken does not
    matter.
    """
    kth = np.empty(len(rows), dtype=np.float32)

    def work(first: int, stop: int) -> None:
        exact = np.empty(len(points), dtype=np.float32)
        for i in range(first, stop):
            _distances(rows[i], points, exact)
            kth[i] = np.partition(exact, at)[at]

    team.run(work, len(rows))
    return kth * F(1 + 1e-5)


@finite_kernel
def _distances(row: Any, points: Any, out: Any) -> None:
    for j in range(U(len(points))):
        total = F0
        for axis in range(U(points.shape[1])):
            step = row[axis] - points[j, axis]
            total += step * step
        out[j] = total * F1
