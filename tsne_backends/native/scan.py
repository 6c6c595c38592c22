"""Comparing rows with rows, list by list, by blocks of matrix products.

A list's rows are searched together: product of the list with each of the lists nearest to it, in
that order, until enough rows were seen. Lists that cannot improve any row are skipped, by the
triangle inequality. Searching *every* list is exact, and since near lists come first, thresholds
are tight early and most pairs cost one comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, U0, U1, F, U, finite_kernel
from tsne_backends.native.lists import FAR, Lists, augmented, queries_of
from tsne_backends.native.threads import Team

#: Candidates to keep beyond those wanted, because products of single precision misplace near ties.
SLACK = 4
#: Rows searched together at most: the candidates of more would not stay in the cache.
MOST_TOGETHER = 512
#: The nearest lists are searched in rounds of so many, so many in all; then all others. Within a
#: round the order is that of memory, so that adjacent lists are multiplied at once, up to this many
#: rows.
ROUND_LISTS, NEAR_LISTS, STRETCH_ROWS = 8, 32, 1024


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
    columns = augmented(points.narrow, points.whole)
    transposed = np.ascontiguousarray(augmented(lists.centroids).T)
    sizes = np.diff(lists.starts)
    blocks = _blocks(rows.lists, which)
    longest = max((end - start for _, start, end in blocks), default=0)

    def work(first: int, stop: int) -> None:
        held = np.empty((longest, 2 * wanted + 64), dtype=np.float32)
        names = np.empty(held.shape, dtype=np.uint32)
        fill = np.empty(longest, dtype=np.uint32)
        limit = np.empty(longest, dtype=np.float32)
        products = np.empty(longest * STRETCH_ROWS, dtype=np.float32)
        for one, start, end in blocks[first:stop]:
            m = end - start
            fill[:m], limit[:m] = 0, FAR
            queries = queries_of(rows.narrow[start:end])
            centre = lists.centroids[one]
            apart = np.sqrt(
                np.maximum(queries_of(centre[None]) @ transposed + float(centre @ centre), 0)
            )[0]
            nearest = np.argsort(apart, kind="stable")
            enough = int(np.searchsorted(np.cumsum(sizes[nearest]), seen)) + 1
            least = apart - rows.lists.radii[one] - lists.radii
            for few in np.split(nearest[:enough], range(ROUND_LISTS, NEAR_LISTS + 1, ROUND_LISTS)):
                reach = _reach(rows.narrow[start:end], limit)
                for a, b in _stretches(few[least[few] <= reach], lists.starts):
                    if team.interrupted:
                        return
                    out = products[: m * (b - a)].reshape(m, b - a)
                    np.dot(queries, columns[a:b].T, out=out)
                    _absorb(out, a, held, names, fill, limit, wanted)
            found = held, names, fill, wanted
            _finish(rows.whole, start, m, points.whole, among, *found, indices, squared)

    team.run(work, len(blocks))
    return indices, squared


def _blocks(lists: Lists, which: NDArray[np.int64]) -> list[tuple[int, int, int]]:
    """Return list, first row and end of the rows that are searched together."""
    blocks = []
    for one in which:
        start, end = int(lists.starts[one]), int(lists.starts[one + 1])
        for at in range(start, end, MOST_TOGETHER):
            blocks.append((int(one), at, min(at + MOST_TOGETHER, end)))
    return blocks


def _stretches(some: NDArray[np.int64], starts: NDArray[np.int64]) -> list[tuple[int, int]]:
    """Return the rows of some lists as stretches of memory: a few lists each, or a part of one."""
    stretches: list[tuple[int, int]] = []
    for one in np.sort(some):
        start, end = int(starts[one]), int(starts[one + 1])
        if stretches and stretches[-1][1] == start and end - stretches[-1][0] <= STRETCH_ROWS:
            stretches[-1] = stretches[-1][0], end
            continue
        for at in range(start, end, STRETCH_ROWS):
            stretches.append((at, min(at + STRETCH_ROWS, end)))
    return stretches


@finite_kernel
def _absorb(
    products: Any, offset: int, held: Any, names: Any, fill: Any, limit: Any, wanted: int
) -> None:
    """Add to each row's candidates what is nearer than its limit; shrink where they overflow."""
    n, capacity = U(products.shape[1]), U(held.shape[1])
    for i in range(U(len(products))):
        bar, count = limit[i], U(fill[i])
        for block in range(U0, n, U(32)):
            end = min(block + U(32), n)
            low = FAR
            for j in range(block, end):
                low = min(low, products[i, j])
            if low >= bar:
                continue
            if count + U(32) > capacity:
                _select(held[i], names[i], count, U(wanted))
                count = U(wanted)
                bar = F0
                bar = held[i, U0]
                for j in range(U1, count):
                    bar = max(bar, held[i, j])
            for j in range(block, end):
                if products[i, j] < bar:
                    held[i, count] = products[i, j]
                    names[i, count] = U(offset) + j
                    count += U1
        if bar == FAR and count >= U(2 * wanted):
            _select(held[i], names[i], count, U(wanted))
            count = U(wanted)
            bar = held[i, U0]
            for j in range(U1, count):
                bar = max(bar, held[i, j])
        limit[i], fill[i] = bar, count


@finite_kernel
def _select(values: Any, names: Any, count: Any, wanted: Any) -> None:
    """Move the ``wanted`` smallest of ``count`` values to the front (Hoare's quickselect)."""
    low, high = U0, count - U1
    while low < high:
        # Median of three as the pivot: runs of equal or ordered values are common here.
        a, b, c = values[low], values[(low + high) // U(2)], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += U1
            while values[j] > pivot:
                j -= U1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                names[i], names[j] = names[j], names[i]
                i += U1
                if j == U0:
                    break
                j -= U1
        if wanted <= j + U1 and j < high:
            high = j
        elif wanted > i:
            low = i
        else:
            return


@finite_kernel
def _reach(rows: Any, limit: Any) -> Any:
    """Return the largest distance within which a row of the list may still find a neighbour."""
    most = F0
    for i in range(U(len(rows))):
        if limit[i] == FAR:
            return FAR
        norm = F0
        for j in range(U(rows.shape[1])):
            norm += rows[i, j] * rows[i, j]
        most = max(most, norm + limit[i])
    return F(math.sqrt(most)) * F(1.0001)


@finite_kernel
def _finish(
    rows: Any,
    start: int,
    m: int,
    points: Any,
    among: bool,
    held: Any,
    names: Any,
    fill: Any,
    wanted: int,
    indices: Any,
    squared: Any,
) -> None:
    """Reduce candidates to the k nearest by distances computed anew, without cancellation."""
    k = U(indices.shape[1])
    for q in range(U(m)):
        i = U(start) + q
        count = U(fill[q])
        if count > U(wanted):
            _select(held[q], names[q], count, U(wanted))
            count = U(wanted)
        others = U0
        for c in range(count):
            j = U(names[q, c])
            if among and j == i:
                continue
            total = F0
            for axis in range(U(points.shape[1])):
                step = rows[i, axis] - points[j, axis]
                total += step * step
            held[q, others] = total
            names[q, others] = j
            others += U1
        if others > k:
            _select(held[q], names[q], others, k)
        for c in range(k):
            indices[i, c] = names[q, c]
            squared[i, c] = held[q, c]
