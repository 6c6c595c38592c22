"""Nearest neighbours in Euclidean space, of all rows among themselves and of new rows.

Rows are grouped into lists; how patient a search of these must be is learnt in a trial (``trial``).
What looking at lists is, is in ``scan``; whether single precision serves, in ``precision``.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.axes import along, principal_axes
from tsne_backends.native.codes import Codes, coded, step_of
from tsne_backends.native.features import Features, Rows, features_of
from tsne_backends.native.graph import rows_that_missed, without_itself
from tsne_backends.native.lists import Lists, group, make_lists
from tsne_backends.native.precision import LARGEST, extent_of, is_precise_enough, place_of
from tsne_backends.native.scan import SLACK, Grouped, scan
from tsne_backends.native.simd import pairs_at_once
from tsne_backends.native.threads import Team
from tsne_backends.native.trial import GOOD_RECALL, LEAST_RECALL, Trial

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
#: Lists are of no use where they take more than this share of the work of searching everything.
MOST_WORK = 0.4
#: How often rows are searched again; what a second time adds to is a twentieth of the first. And of
#: how many at once there is a copy.
MOST_LOOKS, AGAIN_AT_ONCE = 2, 4096
#: Codes find candidates where the last neighbours wanted are so many steps away, for nearly all
#: rows: there squared distances err by 1.3 % (standard deviation), and less beyond. From the second
#: number on that is 0.02 %, which misplaces fewer than are kept to spare: codes order candidates
#: like the rows.
CODED_STEPS, EXACT_STEPS = 64, 4000


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
    place = place_of(X)
    extent = extent_of(X, place)
    if not extent <= LARGEST * place[1]:
        return None
    (points,) = features_of(place, extent, X)
    found = _Search(points, points, k, team).run(exact)
    if found is None:
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
    # Of one type: equal values must stay equal.
    X_new = X_new.astype(X.dtype, copy=False)
    extent = max(extent_of(X, place), extent_of(X_new, place))
    if not extent <= LARGEST * place[1]:
        return None
    points, rows = features_of(place, extent, X, X_new)
    found = _Search(points, rows, k, team).run()
    if found is None:
        return None
    indices, squared, places, of_rows, _ = found
    in_order = np.empty_like(squared)
    in_order[of_rows] = squared
    nearest = np.empty(indices.shape, dtype=np.int64)
    nearest[of_rows] = places[indices]
    return nearest, in_order


#: Neighbours, squared distances, rows of X and of what was searched for in their order; and words.
_Scanned = tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint32]]
_Found = tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.uint32], NDArray[np.uint32], str]


class _Search:
    """Finds how little must be looked at, and looks at it.

    Points and rows are put in the order of lists.
    """

    def __init__(self, points: Features, rows: Features, k: int, team: Team) -> None:
        self._points, self._rows, self._among = points, rows, rows is points
        # What the rows were called before they were put in the order of lists, and these.
        self._places: NDArray[np.uint32]
        self._of_rows: NDArray[np.uint32]
        self._lists: tuple[Lists, Lists] | None = None
        self._k = k
        self._team = team
        # What centroids are learnt from and recall is measured on: the same for every run.
        self._rng = np.random.RandomState(0)
        # How many steps of codes a neighbour is away; 0 before a trial, and where codes do not pay.
        self._step = self._steps = 0.0

    def run(self, exact: bool | None = None) -> _Found | None:
        """Return what was found, or None where that would take too long or is not precise."""
        found = self._look(exact)
        if found is None:
            return None
        width = self._rows.shape[1]
        return found if is_precise_enough(found[1], self._squares, width) else None

    def _look(self, exact: bool | None) -> _Found | None:
        n, d = self._points.shape
        work = float(n) * len(self._rows) * (d + PAIR_WORK)
        if n >= SMALLEST_LISTED and not (work <= EXACT_WORK if exact is None else exact):
            found = self._narrowly()
            if found is not None:
                return found
            if exact is False or work > LAST_WORK:
                return None
        points, rows = self._coded(*self._along(d), EXACT_STEPS)
        panels = points.panels(self._team)
        return *self._scan(points, rows, panels, 0.0, SLACK), "inverted lists (exact)"

    def _narrowly(self) -> _Found | None:
        """Search a few lists along some axes; None if that cannot find enough."""
        (n, d), trial = self._points.shape, None
        for width, shares in (*WIDTHS, (d, (0.0,))):
            if width != d and d < LEAST_NARROWED * width:
                continue
            points, rows = self._along(width)
            if trial is None:
                trial = Trial(rows, points, self._k, self._team, self._rng)
                self._learn_steps(trial)
            points, rows = self._coded(points, rows, CODED_STEPS)
            panels = points.panels(self._team)
            work = min(MOST_WORK * n * (d + PAIR_WORK), LAST_WORK / len(rows.whole))
            most = work / (width + PAIR_WORK)
            for share in shares:
                spare = SLACK + int(share * self._k)
                patience, recall = trial.patience(rows, points, panels, spare, most)
                if recall >= (LEAST_RECALL if share == shares[-1] else GOOD_RECALL):
                    found = self._scan(points, rows, panels, patience, spare)
                    if self._among:
                        recall = trial.recall(found[1])
                    axes = "" if width == d else f", {width} principal axes"
                    return *found, f"inverted lists (sampled recall {recall:.3f}{axes})"
            del points, rows, panels  # or the next attempt would hold the data twice
        return None

    @cached_property
    def _squares(self) -> NDArray[np.float32]:
        """Squares of the rows, in the order of lists: once they have it."""
        return self._rows.squares(self._team)

    def _learn_steps(self, trial: Trial) -> None:
        """Learn how long a step of codes must be, and how many steps neighbours are away."""
        if pairs_at_once():
            of_points = self._squares if self._among else self._points.squares(self._team)
            self._step = step_of(self._squares, of_points)
            self._steps = trial.nearest() / (self._step or 1.0)

    def _coded(self, points: Grouped, rows: Grouped, steps: int) -> tuple[Grouped, Grouped]:
        """Return both with codes where neighbours are at least so many steps away."""
        if self._steps < steps:
            return points, rows
        both = []
        for some in (points,) if self._among else (points, rows):
            assert not isinstance(some.narrow, Codes)
            codes = coded(some.narrow, some.whole, self._step, self._team)
            both.append(replace(some, narrow=codes))
        return both[0], both[-1]

    def _along(self, width: int) -> tuple[Grouped, Grouped]:
        """Return points and rows along some axes; the first time, put both in the order of lists.

        Lists of the first axes serve for others, because what is so far away along some axes is as
        far away at least along all; along other axes nearly so, and what that loses is in the
        recall that is measured.
        """
        axes = None
        if width < self._points.shape[1]:
            axes = principal_axes(self._points, width, self._rng)
        narrow = along(self._points, axes, self._team)
        narrow_rows = narrow if self._among else along(self._rows, axes, self._team)
        if self._lists is None:
            narrow, narrow_rows = self._group(narrow, narrow_rows)
        assert self._lists is not None
        of_points, of_rows = self._lists
        points = Grouped(self._points, narrow, of_points)
        if self._among:
            return points, points
        return points, Grouped(self._rows, narrow_rows, of_rows)

    def _group(self, narrow: Rows, narrow_rows: Rows) -> tuple[Rows, Rows]:
        """Put points and rows in the order of lists, and return what was given in that order."""
        lists = theirs = make_lists(narrow, self._team, self._rng)
        is_whole = narrow is self._points
        self._points, self._places = self._points.in_order(lists.places, self._team), lists.places
        narrow = self._points if is_whole else narrow[lists.places]
        if self._among:
            self._rows, self._of_rows, narrow_rows = self._points, self._places, narrow
        else:
            theirs = group(narrow_rows, lists.centroids, self._team)
            self._of_rows = theirs.places
            self._rows = self._rows.in_order(self._of_rows, self._team)
            narrow_rows = self._rows if is_whole else narrow_rows[theirs.places]
        self._lists = lists, theirs
        return narrow, narrow_rows

    def _scan(
        self, points: Grouped, rows: Grouped, panels: NDArray[Any], patience: float, spare: int
    ) -> _Scanned:
        found = scan(rows, points, panels, self._k, spare, patience, self._team)
        if self._among and patience > 0:
            self._look_again(points, panels, spare, *found)
        return *found[:2], self._places, self._of_rows

    def _look_again(
        self,
        points: Grouped,
        panels: NDArray[Any],
        spare: int,
        indices: NDArray[np.uint32],
        squared: NDArray[np.float32],
        seen: float,
    ) -> None:
        """Search every list for rows that have missed some that have found them.

        Few rows miss most of what is missed: those whose neighbours lie in lists far from their
        own. These, searched from their own lists, find such a row sooner than it finds them.
        """
        which = np.arange(len(indices))
        for _ in range(MOST_LOOKS):
            which = rows_that_missed(indices, squared, which, self._team)
            if not len(which):
                break
            # Not so many that more pairs would be compared than before: then some of them, evenly.
            which = np.ascontiguousarray(which[:: 1 + int(len(which) / seen)])
            for some in np.array_split(which, 1 + len(which) // AGAIN_AT_ONCE):
                again = points.some(some, self._team)
                found = scan(again, points, panels, self._k + 1, spare, 0.0, self._team)
                indices[some], squared[some] = without_itself(some, *found[:2])
