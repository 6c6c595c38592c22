"""Rows whose true neighbours are known, on which searches are tried before all rows are searched.

What a search is, is in ``scan``; which ones are tried, in ``search``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F
from tsne_backends.native.products import TILE
from tsne_backends.native.scan import Grouped, distances_to_nearest, scan
from tsne_backends.native.threads import Team

#: Rows that are tried, a tile from each of some lists: rows of one list are alike.
TRIED_ROWS = 512
#: Candidates beyond the k-th that the rounding of products may have misplaced.
CLOSE_CALLS = 32
#: What is as near as the k-th neighbour and a rounding more counts as found: which of several
#: equally near rows was taken does not matter.
ROUNDING = 1e-5
#: Share of new candidates at which the rows of a list are done, attempt by attempt.
PATIENCE = (0.1, 0.05, 0.025, 0.012, 0.006)
#: The share of true neighbours at which no more are looked for, and the share that will do where
#: looking further adds next to nothing.
GOOD_RECALL, LEAST_RECALL = 0.995, 0.985
#: Recall that half as much patience must add, or less is not tried.
LEAST_GAIN = 0.0015


class Trial:
    """Some rows of what is searched for.

    Parameters
    ----------
    rows, points : Grouped
    numbers : ndarray of shape (n_rows,), uint32
        What the rows are called, in any order of them.
    k : int
        How many neighbours are wanted.
    team : Team
    rng : RandomState
        Draws the rows.
    """

    def __init__(
        self,
        rows: Grouped,
        points: Grouped,
        numbers: NDArray[np.uint32],
        k: int,
        team: Team,
        rng: np.random.RandomState,
    ) -> None:
        drawn = _drawn(rows.lists.starts, rng)
        self._names, self._team = numbers[drawn], team
        # A row among the points is its own nearest.
        self._k = k + (rows is points)
        some = rows.whole[drawn]
        self._kth = distances_to_nearest(some, points.whole, self._k, CLOSE_CALLS, team)

    def nearest(self) -> float:
        """Return a distance that nearly all k-th neighbours are beyond, other than duplicates."""
        apart = self._kth[self._kth > 0]
        return float(np.sqrt(np.quantile(apart, 0.01))) if len(apart) else 0.0

    def patience(
        self, rows: Grouped, points: Grouped, numbers: NDArray[np.uint32], spare: int, most: float
    ) -> tuple[float, float]:
        """Return how patient a search must be, and the share of true neighbours that it finds.

        Parameters
        ----------
        rows, points : Grouped
        numbers : ndarray of shape (n_rows,), uint32
            What the rows are called, in the order they have now.
        spare : int
            Candidates that are kept beyond the neighbours wanted.
        most : float
            Points that a row may be compared with, on average.

        Returns
        -------
        patience, recall : float
            See `scan`; the recall is 0 where no search compares so few.
        """
        places = np.empty(len(numbers), dtype=np.int64)
        places[numbers] = np.arange(len(numbers))
        order = np.argsort(places[self._names])
        tried = places[self._names][order]
        some = rows.some(tried)
        beyond = self._kth[order] * F(1 + ROUNDING)
        learnt, recall = 0.0, 0.0
        for patience in PATIENCE:
            _, squared, seen = scan(some, points, self._k, spare, patience, self._team)
            found = share_found(squared, beyond)
            if seen > most:
                break
            if found - recall < LEAST_GAIN and not recall < LEAST_RECALL <= found:
                break  # what is missing is not among the candidates, however many points are seen
            learnt, recall = patience, found
            if recall >= GOOD_RECALL:
                break
        return learnt, recall


def _drawn(starts: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return some rows of some lists, of which large ones are drawn more often."""
    rows = rng.permutation(int(starts[-1]))[: TRIED_ROWS // TILE]
    lists = np.unique(np.searchsorted(starts, rows, side="right") - 1)
    members = (np.arange(starts[one], starts[one + 1]) for one in lists)
    return np.concatenate([np.sort(rng.permutation(of_one)[:TILE]) for of_one in members])


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
