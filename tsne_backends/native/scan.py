"""Comparing rows with rows, list by list, by products of rows and points.

A list's rows are searched together: compared with each of the lists nearest to it, in that order,
until enough rows were seen. Lists that cannot improve any row are skipped, by the triangle
inequality. Searching *every* list is exact, and since near lists come first, limits are tight early
and most pairs cost one comparison.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.candidates import absorb, finish, nothing_held, reach_of
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
from tsne_backends.native.threads import Team

#: Candidates to keep beyond those wanted, because products of single precision misplace near ties.
SLACK = 4
#: Rows searched together at most: the candidates of more would not stay in the cache.
MOST_TOGETHER = 85 * TILE
#: The nearest lists are searched in rounds of so many, so many in all; then all others. Within a
#: round the order is that of memory, so that adjacent lists become one stretch.
ROUND_LISTS, NEAR_LISTS = 8, 32


@dataclass(frozen=True)
class Grouped:
    """Rows in the order of their lists.

    Attributes
    ----------
    whole : ndarray of shape (n, d), float32
        What decides which rows are nearest.
    narrow : ndarray of shape (n, width), float32
        What finds candidates: the rows along some axes, or ``whole`` itself.
    lists : Lists
        Of the narrow rows.
    """

    whole: NDArray[np.float32]
    narrow: NDArray[np.float32]
    lists: Lists


def scan(
    rows: Grouped,
    points: Grouped,
    which: NDArray[np.int64],
    k: int,
    spare: int,
    seen: int,
    team: Team,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Find the k nearest points of rows, through the lists near to each until ``seen`` points.

    Parameters
    ----------
    rows : Grouped
        By the centroids of the points. The points themselves (the same object) leave out, of each
        row's neighbours, the row.
    points : Grouped
    which : ndarray of int64
        Lists whose rows are searched for.
    k, spare, seen : int
        Neighbours per row, candidates kept beyond them, and points to look at at least.
    team : Team

    Returns
    -------
    indices : ndarray of shape (n_rows, k), uint32
        Numbers of the neighbours among the points, in no order; not filled for other lists.
    squared : ndarray of shape (n_rows, k), float32
    """
    lists, among, n_rows = points.lists, rows is points, len(rows.whole)
    wanted = min(len(points.whole), k + among + spare)  # a row is among its own candidates
    indices = np.empty((n_rows, k), dtype=np.uint32)
    squared = np.empty((n_rows, k), dtype=np.float32)
    panels = panels_of(points.narrow, points.whole, team)
    squares = np.einsum("ij,ij->i", lists.centroids, lists.centroids)
    sizes = np.diff(lists.starts)
    blocks = _blocks(rows.lists, which)
    longest = max((end - start for _, start, end in blocks), default=0)
    at_once = points_at_once(points.narrow.shape[1])

    def work(first: int, stop: int) -> None:
        held = nothing_held(longest, wanted)
        scratch = room_for_products()
        for one, start, end in blocks[first:stop]:
            m = end - start
            held.forget(m)
            tiles = tiles_of(rows.narrow[start:end])
            centre = lists.centroids[one]
            apart = squares + squares[one] - 2 * (lists.centroids @ centre)
            apart = np.sqrt(np.maximum(apart, 0))
            nearest = np.argsort(apart, kind="stable")
            enough = int(np.searchsorted(np.cumsum(sizes[nearest]), seen)) + 1
            least = apart - rows.lists.radii[one] - lists.radii
            for few in np.split(nearest[:enough], range(ROUND_LISTS, NEAR_LISTS + 1, ROUND_LISTS)):
                reach = reach_of(rows.narrow[start:end], held.limit)
                for a, b in _stretches(few[least[few] <= reach], lists.starts, at_once):
                    if team.interrupted:
                        return
                    absorb(tiles, panels, a, b, 0, *scratch, *held, wanted)
            found = held.near, held.names, held.fill, wanted
            finish(rows.whole, start, m, points.whole, among, *found, indices, squared)

    team.run(work, len(blocks))
    return indices, squared


def distances_to_nearest(
    rows: NDArray[np.float32], points: NDArray[np.float32], k: int, spare: int, team: Team
) -> NDArray[np.float32]:
    """Return the squared distance of each row's k-th nearest point, from 1, comparing with all.

    Parameters
    ----------
    rows : ndarray of shape (n_rows, d), float32
    points : ndarray of shape (n, d), float32
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
    width = points.shape[1]
    at_once = points_at_once(width)
    # As few blocks as keep all threads busy, because each makes panels of all points anew; what a
    # row finds does not depend on the others.
    together = TILE * max(1, -(-len(rows) // (TILE * team.n_threads)))

    def work(first: int, stop: int) -> None:
        panels = np.empty((at_once // PANEL, 1 + width, PANEL), dtype=np.float32)
        scratch, held = room_for_products(), nothing_held(together, wanted)
        for start in range(first * together, min(stop * together, len(rows)), together):
            m = min(together, len(rows) - start)
            held.forget(m)
            tiles = tiles_of(rows[start : start + m])
            for a in range(0, len(points), at_once):
                if team.interrupted:
                    return
                some = points[a : a + at_once]
                fill_panels(some, some, panels)
                absorb(tiles, panels, 0, len(some), a, *scratch, *held, wanted)
            found = held.near, held.names, held.fill, wanted
            finish(rows, start, m, points, False, *found, indices, squared)

    team.run(work, -(-len(rows) // together))
    farthest: NDArray[np.float32] = squared.max(axis=1)
    return farthest


def _blocks(lists: Lists, which: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return list, first row and end of the rows that are searched together."""
    blocks = []
    for one in which:
        start, end = int(lists.starts[one]), int(lists.starts[one + 1])
        for at in range(start, end, MOST_TOGETHER):
            blocks.append((int(one), at, min(at + MOST_TOGETHER, end)))
    return blocks


def _stretches(
    some: NDArray[np.int64], starts: NDArray[np.int64], most: int
) -> Iterator[tuple[int, int]]:
    """Yield the points of some lists as stretches of memory, of at most so many points.

    They are cut where a panel ends, because one that is in two stretches is compared twice.
    """
    ranges: list[tuple[int, int]] = []
    for one in np.sort(some):
        start, end = int(starts[one]), int(starts[one + 1])
        if ranges and ranges[-1][1] == start:
            ranges[-1] = ranges[-1][0], end
        else:
            ranges.append((start, end))
    for start, end in ranges:
        while start < end:
            stop = min(start - start % PANEL + most, end)
            yield start, stop
            start = stop
