"""Rows whose true neighbours are known, on which searches are tried before all rows are searched.

What a search is, is in ``scan``; which ones are tried, in ``search``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F
from tsne_backends.native.products import TILE
from tsne_backends.native.scan import Grouped, distances_to_nearest, scan
from tsne_backends.native.threads import Team

#: Rows that are tried, in tiles, each of a list: one row costs as much as a tile. A tile stops when
#: it finds nothing new, all rows of a list when most of them do not, so that a list's few rows that
#: need more find some more in the trial.
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
        Later ones must be in the same order.
    k : int
        How many neighbours are wanted.
    team : Team
    rng : RandomState
        Draws the rows.
    """

    def __init__(
        self, rows: Grouped, points: Grouped, k: int, team: Team, rng: np.random.RandomState
    ) -> None:
        self._drawn, self._team = _drawn(rows.lists.starts, rng), team
        # A row among the points is its own nearest.
        self._k, self._known = k + (rows is points), int(rows is points)
        some = rows.whole.in_order(self._drawn, team)
        self._kth = distances_to_nearest(some, points.whole, self._k, CLOSE_CALLS, team)

    def nearest(self) -> float:
        """Return a distance that nearly all k-th neighbours are beyond, other than duplicates."""
        apart = self._kth[self._kth > 0]
        return float(np.sqrt(np.quantile(apart, 0.01))) if len(apart) else 0.0

    def patience(
        self, rows: Grouped, points: Grouped, panels: NDArray[Any], spare: int, most: float
    ) -> tuple[float, float]:
        """Return how patient a search must be, and the share of true neighbours that it finds.

        Parameters
        ----------
        rows, points : Grouped
        panels : ndarray
            All points; see `Grouped.panels`.
        spare : int
            Candidates that are kept beyond the neighbours wanted.
        most : float
            Points that a row may be compared with, on average.

        Returns
        -------
        patience, recall : float
            See `scan`; the recall is 0 where no search compares so few.
        """
        some = rows.some(self._drawn, self._team)
        learnt, recall = 0.0, 0.0
        for patience in PATIENCE:
            _, squared, seen = scan(some, points, panels, self._k, spare, patience, self._team)
            if seen > most:
                break
            found = share_found(squared, self._kth, self._known)
            if found - recall < LEAST_GAIN and not recall < LEAST_RECALL <= found:
                break  # what is missing is not among the candidates, however many points are seen
            learnt, recall = patience, found
            if recall >= GOOD_RECALL:
                break
        return learnt, recall

    def recall(self, squared: NDArray[np.float32]) -> float:
        """Return the share of true neighbours among those that were found for all rows.

        Parameters
        ----------
        squared : ndarray of shape (n, k), float32
            Their squared distances; a row is not among its own neighbours.
        """
        return share_found(squared[self._drawn], self._kth, 0)


def _drawn(starts: NDArray[np.int64], rng: np.random.RandomState) -> NDArray[np.int64]:
    """Return rows in order, as many tiles from each list as rows of it are drawn first."""
    rows = rng.permutation(int(starts[-1]))[: TRIED_ROWS // TILE]
    lists, counts = np.unique(np.searchsorted(starts, rows, side="right") - 1, return_counts=True)
    some = []
    for one, count in zip(lists, counts, strict=True):
        members = rng.permutation(np.arange(starts[one], starts[one + 1]))
        some.append(np.sort(members[: count * TILE]))
    return np.concatenate(some)


def share_found(squared: NDArray[np.float32], kth: NDArray[np.float32], known: int) -> float:
    """Return the share of neighbours that are as near as the true ones.

    Parameters
    ----------
    squared : ndarray of shape (n_rows, known + k), float32
        Squared distances of the neighbours found.
    kth : ndarray of shape (n_rows,), float32
        Of the true last neighbour.
    known : int
        How many of them are found without a search: 1 where rows are among their own.
    """
    at = squared.shape[1]
    beyond = kth[:, None] * F(1 + ROUNDING)
    return float((at * (squared <= beyond).mean() - known) / (at - known))
