"""Comparing rows with rows, list by list, by products of rows and points.

A list's rows are searched together: compared with the lists nearest to it, in rounds of ever more
of them, until a round adds next to nothing to what was found. Lists that cannot improve any row are
skipped, by the triangle inequality. Searching *every* list is exact, and since near lists come
first, limits are tight early and most pairs cost one comparison.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.candidates import finish, nothing_held
from tsne_backends.native.codes import Codes
from tsne_backends.native.features import Features, Rows, both_as_read
from tsne_backends.native.jit import F
from tsne_backends.native.lists import Lists
from tsne_backends.native.products import (
    PANEL,
    TILE,
    fill_panels,
    panels_of,
    points_at_once,
    room_for_products,
    tiles_of,
)
from tsne_backends.native.rounds import FIRST_SEEN, LEAST_SEEN, look_around
from tsne_backends.native.threads import Team

#: Candidates to keep beyond those wanted, because products of single precision misplace near ties.
SLACK = 4
#: Tiles searched together at most: the candidates of more would not stay in the cache.
MOST_TOGETHER = 85
#: Pairs of rows and points, times features, that are compared in one call at most: nothing
#: interrupts it, and it takes up to a second.
LONGEST_CALL = 10**11


@dataclass(frozen=True)
class Grouped:
    """Rows in the order of their lists.

    Attributes
    ----------
    whole : Features
        What decides which rows are nearest.
    narrow : Features, ndarray of shape (n, width), float32, or Codes
        What finds candidates: the rows along some axes, or ``whole`` itself, or codes of these.
    lists : Lists
        Of the narrow rows, or of the rows along fewer axes.
    """

    whole: Features
    narrow: Rows | Codes
    lists: Lists

    def some(self, which: NDArray[np.int64], team: Team) -> Grouped:
        """Return some rows, which must be in order, in their lists (but for their places)."""
        starts = np.searchsorted(which, self.lists.starts).astype(np.int64)
        lists = replace(self.lists, starts=starts)
        return Grouped(self.whole.in_order(which, team), self.narrow[which], lists)

    def panels(self, team: Team) -> NDArray[Any]:
        """Return all rows as points for `compare`."""
        if isinstance(self.narrow, Codes):
            return self.narrow.panels
        return panels_of(self.narrow, self.whole, team)

    def tiles(self, start: int, end: int) -> tuple[NDArray[Any], NDArray[np.float32], np.float32]:
        """Return some rows for `compare`, and what makes its products squares along narrow axes.

        Returns
        -------
        tiles : ndarray
        added : ndarray of shape (end - start,), float32
            What must be added.
        factor : float32
            What they must be multiplied by before.
        """
        if isinstance(self.narrow, Codes):
            codes = self.narrow
            return codes.tiles(start, end), codes.added[start:end], codes.scale
        some = self.narrow[start:end]
        return tiles_of(some), np.einsum("ij,ij->i", some, some), F(1)


def scan(
    rows: Grouped,
    points: Grouped,
    panels: NDArray[Any],
    k: int,
    spare: int,
    patience: float,
    team: Team,
) -> tuple[NDArray[np.uint32], NDArray[np.float32], float]:
    """Find the k nearest points of rows, through the lists near to each.

    Parameters
    ----------
    rows : Grouped
        By the centroids of the points. The points themselves (the same object) leave out, of each
        row's neighbours, the row.
    points : Grouped
    panels : ndarray
        All points; see `Grouped.panels`.
    k, spare : int
        Neighbours per row, and candidates kept beyond them.
    patience : float
        A list's rows are done when a round adds less than this share of their candidates (see
        `look_around`); with 0, when they have been compared with every list.
    team : Team

    Returns
    -------
    indices : ndarray of shape (n_rows, k), uint32
        Numbers of the neighbours among the points, in no order.
    squared : ndarray of shape (n_rows, k), float32
    seen : float
        Points that a row was compared with, on average.
    """
    lists, among, n_rows = points.lists, rows is points, len(rows.whole)
    wanted = min(len(points.whole), k + among + spare)  # a row is among its own candidates
    indices = np.empty((n_rows, k), dtype=np.uint32)
    squared = np.empty((n_rows, k), dtype=np.float32)
    squares = np.einsum("ij,ij->i", lists.centroids, lists.centroids)
    longest_call = LONGEST_CALL // (len(points.whole) * panels.shape[1])
    together = TILE * min(MOST_TOGETHER, max(1, longest_call // TILE))
    blocks = _blocks(rows.lists, together)
    compared = np.zeros(len(blocks), dtype=np.int64)
    longest = max((end - start for _, start, end in blocks), default=0)
    first_seen = max(FIRST_SEEN * (k + among), LEAST_SEEN)
    at_once = points_at_once(panels.shape[1] - 1)
    read = both_as_read(rows.whole, points.whole)

    def work(first: int, stop: int) -> None:
        held, scratch = nothing_held(longest, wanted), room_for_products()
        chosen = np.zeros(len(lists.starts), dtype=bool)
        for block in range(first, stop):
            if team.interrupted:
                return
            one, start, end = blocks[block]
            m = end - start
            held.forget(m)
            apart = squares + squares[one] - 2 * (lists.centroids @ lists.centroids[one])
            apart = np.sqrt(np.maximum(apart, 0))
            around = np.argsort(apart, kind="stable"), apart - rows.lists.radii[one] - lists.radii
            compared[block] = m * look_around(
                *rows.tiles(start, end),
                panels,
                0,
                lists.starts,
                *around,
                chosen,
                first_seen,
                F(patience),
                at_once,
                *scratch,
                *held,
                wanted,
            )
            found = held.near, held.names, held.fill, wanted
            finish(*read, start, m, among, *found, indices, squared)

    team.run(work, len(blocks))
    return indices, squared, float(compared.sum()) / n_rows


def distances_to_nearest(
    rows: Features, points: Features, k: int, spare: int, team: Team
) -> NDArray[np.float32]:
    """Return the squared distance of each row's k-th nearest point, from 1, comparing with all.

    Parameters
    ----------
    rows, points : Features
    k, spare : int
        Which of the nearest, and candidates kept beyond it.
    team : Team

    Returns
    -------
    ndarray of shape (n_rows,), float32
    """
    wanted = min(len(points), k + spare)
    indices = np.empty((len(rows), k), dtype=np.uint32)
    squared = np.empty((len(rows), k), dtype=np.float32)
    read = both_as_read(rows, points)
    width = points.shape[1]
    at_once = points_at_once(width)
    # As few blocks as keep all threads busy, because each makes panels of all points anew; what a
    # row finds does not depend on the others.
    together = TILE * max(1, -(-len(rows) // (TILE * team.n_threads)))

    def work(first: int, stop: int) -> None:
        panels = np.empty((at_once // PANEL, 1 + width, PANEL), dtype=np.float32)
        scratch, held = room_for_products(), nothing_held(together, wanted)
        # There is one list, at no distance.
        alone = np.zeros(1, dtype=np.int64), np.zeros(1, dtype=np.float32), np.zeros(2, dtype=bool)
        for start in range(first * together, min(stop * together, len(rows)), together):
            m = min(together, len(rows) - start)
            held.forget(m)
            tiles, nothing = tiles_of(rows[start : start + m]), np.zeros(m, dtype=np.float32)
            for a in range(0, len(points), at_once):
                if team.interrupted:
                    return
                some = points[a : a + at_once]
                fill_panels(some, some, panels)
                first_seen, patience = 1, F(0)
                look_around(
                    tiles,
                    nothing,
                    F(1),
                    panels,
                    a,
                    np.array([0, len(some)], dtype=np.int64),
                    *alone,
                    first_seen,
                    patience,
                    at_once,
                    *scratch,
                    *held,
                    wanted,
                )
            found = held.near, held.names, held.fill, wanted
            finish(*read, start, m, False, *found, indices, squared)

    team.run(work, -(-len(rows) // together))
    farthest: NDArray[np.float32] = squared.max(axis=1)
    return farthest


def _blocks(lists: Lists, together: int) -> list[tuple[int, int, int]]:
    """Return list, first row and end of the rows that are searched together."""
    blocks = []
    for one in range(len(lists.radii)):
        start, end = int(lists.starts[one]), int(lists.starts[one + 1])
        for at in range(start, end, together):
            blocks.append((int(one), at, min(at + together, end)))
    return blocks
