"""What each row has found so far: candidates, and the limit beyond which no more are taken.

Candidates come from products of single precision and are told apart by distances computed anew,
when all are there. Which rows are compared is in ``rounds`` and ``scan``.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import (
    F0,
    F1,
    U0,
    U1,
    U32,
    F,
    U,
    finite_kernel,
    finite_part,
    inner_finite_kernel,
)
from tsne_backends.native.products import FAR, PANEL, TILE, compare, lowest_bit

#: How many candidates more than those wanted may be left when their number is cut.
SPARE = 16
#: How often a bar between candidates is guessed by interpolation, two times of three, and how often
#: at all: by halving alone, two values of single precision meet within 300 guesses.
GUESSES, MOST_GUESSES = 12, 400
#: Added to the largest value to be above it: so much of it, or so much.
ABOVE, TINY = 1e-6, 1e-30


class Held(NamedTuple):
    """Candidates of some rows, with room for whole tiles of them.

    Attributes
    ----------
    near : ndarray of shape (n_rows, room), float32
        Products, in no order.
    names : ndarray of shape (n_rows, room), uint32
        Which points these are.
    fill : ndarray of shape (n_rows,), uint32
        How many there are.
    limit : ndarray of shape (n_rows,), float32
        What is not below is no candidate.
    """

    near: NDArray[np.float32]
    names: NDArray[np.uint32]
    fill: NDArray[np.uint32]
    limit: NDArray[np.float32]

    def forget(self, n_rows: int) -> None:
        """Hold nothing, for so many rows; where there is no row, nothing is below the limit."""
        self.fill[:] = 0
        self.limit[:n_rows], self.limit[n_rows:] = FAR, -FAR


def nothing_held(n_rows: int, wanted: int) -> Held:
    """Return room for twice as many candidates as wanted, so that they are seldom cut, and more."""
    assert SPARE <= PANEL
    n, room = -(-n_rows // TILE) * TILE, 2 * wanted + 2 * PANEL
    values, limit = np.empty((n, room), np.float32), np.empty(n, np.float32)
    held = Held(values, np.empty((n, room), np.uint32), np.empty(n, np.uint32), limit)
    held.forget(n_rows)
    return held


@finite_part
def absorb(
    tiles: Any,
    panels: Any,
    start: Any,
    stop: Any,
    number: Any,
    products: Any,
    nearer: Any,
    near: Any,
    names: Any,
    fill: Any,
    limit: Any,
    wanted: Any,
) -> Any:
    """Add to each row's candidates the points nearer than its limit; shrink where they overflow.

    Parameters
    ----------
    tiles, panels : ndarray
        The rows, and the points; see `compare`.
    start, stop : int
        Which points.
    number : int
        What the first of all points is called.
    products, nearer : ndarray
        Scratch; see `compare`.
    near, names, fill, limit
        See `Held`.
    wanted : int
        Candidates per row that are needed.

    Returns
    -------
    uint64
        Candidates that were added, to all rows together.
    """
    added = U0
    first, last = U(start) // U(PANEL), (U(stop) - U1) // U(PANEL)
    every = U32((1 << PANEL) - 1)
    for tile in range(U(len(tiles))):
        for panel in range(first, last + U1):
            if compare(tiles, tile, panels, panel, limit, products, nearer) == 0:
                continue
            among = every
            if panel == first:
                among &= every << U32(U(start) % U(PANEL))
            if panel == last:
                among &= every >> U32(U(PANEL - 1) - (U(stop) - U1) % U(PANEL))
            name = U(number) + panel * U(PANEL)
            for r in range(U(TILE)):
                bits = U32(nearer[r]) & among
                if bits == U32(0):
                    continue
                i = tile * U(TILE) + r
                bar, count = limit[i], U(fill[i])
                if count + U(PANEL) > U(near.shape[1]):
                    count, bar = _shrink(near[i], names[i], count, U(wanted), U(SPARE))
                before = count
                while bits != U32(0):
                    hit = U(lowest_bit(bits))
                    bits &= bits - U32(1)
                    near[i, count] = products[r, hit]
                    names[i, count] = name + hit
                    count += U(products[r, hit] < bar)
                added += count - before
                limit[i], fill[i] = bar, count
    return added


@inner_finite_kernel
def _shrink(values: Any, names: Any, count: Any, wanted: Any, spare: Any) -> Any:
    """Move the smallest values to the front, and their names with them.

    What is left out is told by a bar that is found by counting how many values are below a guess:
    a loop in vectors, which sorting values apart is not.

    Parameters
    ----------
    values, names : ndarray of shape (at least count,)
    count, wanted, spare : uint64
        How many values there are, more than are wanted; and how many more than those may be left.

    Returns
    -------
    tuple of uint64 and float32
        How many were moved, and a bar: all others are at it or above it.
    """
    low, high = values[U0], values[U0]
    for j in range(U1, count):
        low, high = min(low, values[j]), max(high, values[j])
    high += max(F(ABOVE) * abs(high), F(TINY))
    # How many are below low, fewer than wanted, and below high.
    under, over = U32(0), U32(count)
    for guess in range(U(MOST_GUESSES)):
        share = F(0.5)
        if guess < U(GUESSES) and guess % U(3) != U(2):  # as if they lay evenly between the two
            share = min(F1, (F(wanted) + F(0.5) * F(spare) - F(under)) / (F(over) - F(under)))
        bar = low + share * (high - low)
        if bar <= low or bar >= high:
            bar = low + F(0.5) * (high - low)
        if bar <= low or bar >= high:
            break
        below = U32(0)
        for j in range(U0, count):
            below += U32(values[j] < bar)
        if below < U32(wanted):
            low, under = bar, below
        elif below > U32(wanted + spare):
            high, over = bar, below
        else:
            kept = U0
            for j in range(U0, count):
                value = values[j]
                values[kept], names[kept] = value, names[j]
                kept += U(value < bar)
            return kept, bar
    # No value lies between low and high: all that are below high, but not below low, equal low.
    kept, equal = U0, wanted - U(under)
    for j in range(U0, count):
        value = values[j]
        values[kept], names[kept] = value, names[j]
        if value < low or (value < high and equal > U0):
            kept += U1
            equal -= U(value >= low)
    return kept, low


@finite_kernel
def finish(
    rows: Any,
    at_row: Any,
    points: Any,
    at_point: Any,
    scale: Any,
    start: int,
    m: int,
    among: bool,
    near: Any,
    names: Any,
    fill: Any,
    wanted: int,
    indices: Any,
    squared: Any,
) -> None:
    """Reduce candidates to the k nearest by distances computed anew, without cancellation.

    Parameters
    ----------
    rows, at_row, points, at_point, scale
        See `features.both_as_read`.
    start, m : int
        First row, and how many.
    among : bool
        Whether rows and points are the same, so that a row is no neighbour of its own.
    near, names, fill
        See `Held`; of these rows.
    wanted : int
        Candidates per row.
    indices, squared : ndarray of shape (n_rows, k), uint32 and float32
        Filled for these rows.
    """
    k = U(indices.shape[1])
    for q in range(U(m)):
        i = U(start) + q
        count = U(fill[q])
        if count > U(wanted + SPARE):
            count, _ = _shrink(near[q], names[q], count, U(wanted), U(SPARE))
        others = U0
        for c in range(count):
            j = U(names[q, c])
            if among and j == i:
                continue
            total, own, other = F0, U(at_row[i]), U(at_point[j])
            for axis in range(U(points.shape[1])):
                step = rows[own, axis] - points[other, axis]
                total += step * step
            near[q, others] = scale * total
            names[q, others] = j
            others += U1
        if others > k:
            _shrink(near[q], names[q], others, k, U0)
        for c in range(k):
            indices[i, c] = names[q, c]
            squared[i, c] = near[q, c]
