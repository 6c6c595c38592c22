"""Nearest neighbours in Euclidean space, of all rows among themselves and of new rows.

Rows are grouped into lists; how many lists must be looked at is learnt from the neighbours that a
sample of rows finds. What looking at lists is, is in ``scan``; whether single precision serves, in
``precision``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.axes import along, principal_axes
from tsne_backends.native.jit import F
from tsne_backends.native.lists import group, make_lists
from tsne_backends.native.precision import in_single_precision, is_precise_enough, place_of
from tsne_backends.native.products import TILE
from tsne_backends.native.scan import SLACK, Grouped, distances_to_nearest, scan
from tsne_backends.native.threads import Team

#: Exact search takes at most this many multiplications and comparisons; beyond, lists are left out.
#: Where that loses too many neighbours, all lists are searched up to the second number (270,000
#: rows of noise in 20 dimensions); beyond it a search by a graph should be quicker. It was beyond
#: 200,000 when comparing all pairs took three times as long; where it is since was not measured.
EXACT_WORK, LAST_WORK = 4e10, 3e12
#: Fewer rows than this are always searched exactly.
SMALLEST_LISTED = 4096
#: Principal axes along which candidates are looked for first, and how many more than those wanted
#: are kept, in neighbours wanted; tried where there are so many times more features. All features
#: then decide among the candidates.
WIDTHS, LEAST_NARROWED = ((80, (1.75, 3.0)), (192, (1.0, 2.0))), 2.4
#: What comparing one pair costs, in multiplications.
PAIR_WORK = 20
#: Share of new candidates at which the rows of a list are done, attempt by attempt.
PATIENCE = (0.1, 0.05, 0.025, 0.012, 0.006)
#: Lists are of no use where they take more than this share of the work of searching everything.
MOST_WORK = 0.4
#: Rows on which the recall is measured, a tile from each of some lists.
RECALL_SAMPLE = 512
#: The share of true neighbours at which no more are looked for, and the share that will do where
#: looking further adds next to nothing.
GOOD_RECALL, LEAST_RECALL = 0.995, 0.985
#: Recall that half as much patience must add, or less is not tried.
LEAST_GAIN = 0.003
#: Candidates beyond the k-th that the rounding of products may have misplaced.
CLOSE_CALLS = 32
#: What is as near as the k-th neighbour and a rounding more counts as found: which of several
#: equally near rows was taken does not matter.
ROUNDING = 1e-5


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
    X: NDArray[Any], k: int, team: Team, exact: bool | None = None
) -> Neighbors | None:
    """Find the k nearest neighbours of every row of X.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Finite data.
    k : int
        Neighbours per row, less than n.
    team : Team
    exact : bool or None, default=None
        Whether to search every list; None does so where it is affordable.

    Returns
    -------
    Neighbors or None
        None where single precision cannot tell the neighbours apart, or where lists cannot find
        them with less work than searching everything, and that is not wanted or takes too long:
        another search is then the better one.
    """
    points = in_single_precision(X, place_of(X))
    if points is None:
        return None
    search = _Search(points, points, k, team)
    del points  # or they would be held in both orders
    found = search.run(exact)
    if found is None or not is_precise_enough(found[1], search.rows):
        return None
    indices, squared, places, _, words = found
    return Neighbors(indices, squared, places, words)


def find_nearest(
    X: NDArray[Any], X_new: NDArray[Any], k: int, team: Team
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

    Returns
    -------
    indices : ndarray of shape (n_new, k), int64
        Rows of X, in no order.
    squared : ndarray of shape (n_new, k), float32
        Their squared distances, up to one common factor; 0 for equal rows of one type.
    None
        Instead, where `find_neighbors` would return None.
    """
    place = place_of(X)
    points = in_single_precision(X, place)
    # Of one type first: equal values must stay equal.
    rows = in_single_precision(X_new.astype(X.dtype, copy=False), place)
    if points is None or rows is None:
        return None
    search = _Search(points, rows, k, team)
    del points, rows  # or they would be held in both orders
    found = search.run()
    if found is None or not is_precise_enough(found[1], search.rows):
        return None
    indices, squared, places, of_rows, _ = found
    in_order = np.empty_like(squared)
    in_order[of_rows] = squared
    nearest = np.empty(indices.shape, dtype=np.int64)
    nearest[of_rows] = places[indices]
    return nearest, in_order


#: Neighbours, squared distances, rows of X and of what was searched for in their order, and words.
_Found = tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint32], str]


class _Search:
    """Finds how little must be looked at, and looks at it.

    Every attempt leaves points and rows in the order of its lists, in place of an earlier order.

    Attributes
    ----------
    rows : ndarray of shape (n_rows, d), float32
        What is searched for, in the order in which it was found.
    """

    def __init__(
        self,
        points: NDArray[np.float32],
        rows: NDArray[np.float32],
        k: int,
        team: Team,
    ) -> None:
        self._points, self.rows, self._among = points, rows, rows is points
        self._places = np.arange(len(points), dtype=np.uint32)
        self._of_rows = np.arange(len(rows), dtype=np.uint32)
        self._k = k
        self._team = team
        # What centroids are learnt from and recall is measured on: the same for every run.
        self._rng = np.random.RandomState(0)

    def run(self, exact: bool | None = None) -> _Found | None:
        """Return what was found, or None where that would take too long."""
        n, d = self._points.shape
        work = float(n) * len(self.rows) * (d + PAIR_WORK)
        if n >= SMALLEST_LISTED and not (work <= EXACT_WORK if exact is None else exact):
            found = self._narrowly()
            if found is not None:
                return found
            if exact is False or work > LAST_WORK:
                return None
        points, rows = self._arrange(self._points.shape[1])
        return self._scan(points, rows, 0.0, SLACK, "inverted lists (exact)")

    def _narrowly(self) -> _Found | None:
        """Search a few lists along some axes; None if that cannot find enough."""
        d = self._points.shape[1]
        for width, shares in (*WIDTHS, (d, (0.0,))):
            if width != d and d < LEAST_NARROWED * width:
                continue
            points, rows = self._arrange(width)
            for share in shares:
                spare = SLACK + int(share * self._k)
                patience, recall = self._learn(points, rows, spare)
                if recall >= (LEAST_RECALL if share == shares[-1] else GOOD_RECALL):
                    axes = "" if width == d else f", {width} principal axes"
                    words = f"inverted lists (sampled recall {recall:.3f}{axes})"
                    return self._scan(points, rows, patience, spare, words)
            del points, rows  # or the next attempt would hold the data twice
        return None

    def _learn(self, points: Grouped, rows: Grouped, spare: int) -> tuple[float, float]:
        """Return how patient a search must be, learnt on a few lists, and its recall."""
        sample, trial = self._sample(rows)
        # A row among the points is its own nearest.
        at = self._k + self._among
        kth = distances_to_nearest(self.rows[sample], self._points, at, CLOSE_CALLS, self._team)
        kth *= F(1 + ROUNDING)
        n, d = self._points.shape
        most = MOST_WORK * n * (d + PAIR_WORK)
        learnt, recall = 0.0, 0.0
        for patience in PATIENCE:
            every = np.arange(len(trial.lists.starts) - 1)
            _, squared, seen = scan(trial, points, every, at, spare, patience, self._team)
            found = share_found(squared, kth)
            if seen * (points.narrow.shape[1] + PAIR_WORK) > most:
                break
            if found - recall < LEAST_GAIN and not recall < LEAST_RECALL <= found:
                break  # what is missing is not among the candidates, however many points are seen
            learnt, recall = patience, found
            if recall >= GOOD_RECALL:
                break
        return learnt, recall

    def _sample(self, rows: Grouped) -> tuple[NDArray[np.int64], Grouped]:
        """Return some rows of many lists, as numbers and grouped."""
        starts = rows.lists.starts
        drawn = self._rng.permutation(len(self.rows))[: RECALL_SAMPLE // TILE]
        lists = np.unique(np.searchsorted(starts, drawn, side="right") - 1)
        members = [np.arange(starts[one], starts[one + 1]) for one in lists]
        some = [np.sort(self._rng.permutation(of_one)[:TILE]) for of_one in members]
        sizes = np.zeros(len(starts), dtype=np.int64)
        sizes[lists + 1] = [len(of_one) for of_one in some]
        sample = np.concatenate(some)
        fewer = replace(rows.lists, starts=np.cumsum(sizes))
        return sample, Grouped(self.rows[sample], rows.narrow[sample], fewer)

    def _arrange(self, width: int) -> tuple[Grouped, Grouped]:
        """Put points and rows in the order of lists along some axes; all of them are the data's."""
        axes = None
        if width < self._points.shape[1]:
            axes = principal_axes(self._points, width, self._rng)
        narrow = along(self._points, axes, self._team)
        lists = make_lists(narrow, self._team, self._rng)
        theirs, narrow_rows = lists, narrow
        if not self._among:
            narrow_rows = along(self.rows, axes, self._team)
            theirs = group(narrow_rows, lists.centroids, self._team)
            self.rows = self.rows[theirs.places]
            self._of_rows = self._of_rows[theirs.places]
        self._points = self._points[lists.places]
        self._places = self._places[lists.places]
        points = Grouped(
            self._points, self._points if axes is None else narrow[lists.places], lists
        )
        if self._among:
            self.rows, self._of_rows = self._points, self._places
            return points, points
        return points, Grouped(
            self.rows, self.rows if axes is None else narrow_rows[theirs.places], theirs
        )

    def _scan(
        self, points: Grouped, rows: Grouped, patience: float, spare: int, words: str
    ) -> _Found:
        every = np.arange(len(rows.lists.starts) - 1)
        indices, squared, _ = scan(rows, points, every, self._k, spare, patience, self._team)
        return indices, squared, self._places, self._of_rows, words


def share_found(squared: NDArray[np.float32], kth: NDArray[np.float32]) -> float:
    """Return the share of neighbours that are as near as the true ones.

    Parameters
    ----------
    squared : ndarray of shape (n_rows, k), float32
        Squared distances of the neighbours found.
    kth : ndarray of shape (n_rows,), float32
        Of the true k-th neighbour.
    """
    return float((squared <= kth[:, None]).mean())
