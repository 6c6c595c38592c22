"""Between points and the nodes of a grid: spreading charges, and reading potential and force.

Spreading is shared out by stripes of grid rows, which are the same for every number of threads, and
within a stripe points add their weights in their own order: sums are then always rounded alike.
"""

from __future__ import annotations

from typing import Any

from tsne_backends.native.jit import F0, F1, U0, U1, U2, U3, U32, F, U, inner_kernel
from tsne_backends.native.splitting import SUPPORT
from tsne_backends.native.vectors import interpolate

#: Grid rows in one stripe. Stripes of even number are spread at once, then those of odd number:
#: a stripe reaches three rows into the next, so no two threads ever write to one node.
STRIPE_ROWS = 8

SIXTH, TWO_THIRDS, HALF = F(1 / 6), F(2 / 3), F(0.5)


@inner_kernel
def assign(
    first: int,
    stop: int,
    tile: int,
    Y: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    stripe: Any,
    counts: Any,
) -> None:
    """Write the stripe of every point, and how many points of each tile each stripe has."""
    for t in range(U(first), U(stop)):
        for s in range(U(counts.shape[1])):
            counts[t, s] = U32(0)
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(Y)))):
            row = U((Y[i, U0] - x0) * inverse) - U1
            at = row // U(STRIPE_ROWS)
            stripe[i] = at
            counts[t, at] += U32(1)


@inner_kernel
def offsets(first: int, stop: int, counts: Any, starts: Any) -> None:
    """Turn counts into the place where each tile's points of each stripe begin; one tile."""
    total = U32(0)
    for s in range(U(counts.shape[1])):
        starts[s] = total
        for t in range(U(counts.shape[0])):
            n = counts[t, s]
            counts[t, s] = total
            total += n
    starts[U(counts.shape[1])] = total


@inner_kernel
def sort_by_stripe(first: int, stop: int, tile: int, stripe: Any, places: Any, order: Any) -> None:
    """List the points stripe by stripe, within a stripe in their own order."""
    for t in range(U(first), U(stop)):
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(stripe)))):
            s = U(stripe[i])
            order[U(places[t, s])] = i
            places[t, s] += U32(1)


@inner_kernel
def clear(first: int, stop: int, charge: Any) -> None:
    """Take all charges from the nodes of stripes."""
    for i in range(U(first) * U(STRIPE_ROWS), min(U(stop) * U(STRIPE_ROWS), U(len(charge)))):
        for j in range(U(charge.shape[1])):
            charge[i, j] = F0


@inner_kernel
def spread(
    first: int,
    stop: int,
    parity: int,
    Y: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    order: Any,
    starts: Any,
    charge: Any,
) -> None:
    """Add the B-spline weights of the points of every second stripe to the nodes."""
    for half in range(U(first), U(stop)):
        s = U2 * half + U(parity)
        for at in range(U(starts[s]), U(starts[s + U1])):
            i = U(order[at])
            u = (Y[i, U0] - x0) * inverse
            v = (Y[i, U1] - y0) * inverse
            row, column = U(u), U(v)
            f = u - F(row)
            g = v - F(column)
            row -= U1
            column -= U1
            e = F1 - g
            b0 = e * e * e * SIXTH
            b1 = TWO_THIRDS - g * g * (F1 - HALF * g)
            b2 = TWO_THIRDS - e * e * (F1 - HALF * e)
            b3 = g * g * g * SIXTH
            e = F1 - f
            for a in range(U(SUPPORT)):
                if a == U0:
                    w = e * e * e * SIXTH
                elif a == U1:
                    w = TWO_THIRDS - f * f * (F1 - HALF * f)
                elif a == U2:
                    w = TWO_THIRDS - e * e * (F1 - HALF * e)
                else:
                    w = f * f * f * SIXTH
                charge[row + a, column] += w * b0
                charge[row + a, column + U1] += w * b1
                charge[row + a, column + U2] += w * b2
                charge[row + a, column + U3] += w * b3


@inner_kernel
def read(
    first: int,
    stop: int,
    tile: int,
    Y: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    field: Any,
    own: Any,
    out: Any,
    potential: Any,
) -> None:
    """Interpolate the field and its gradient at every point; sum the potential of each tile."""
    half_inverse = HALF * inverse  # of -∇φ / 2; the sign is in the order of the differences
    for t in range(U(first), U(stop)):
        total: Any = 0.0
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(Y)))):
            u = (Y[i, U0] - x0) * inverse
            v = (Y[i, U1] - y0) * inverse
            row, column = U(u), U(v)
            f = u - F(row)
            g = v - F(column)
            row -= U1
            column -= U1
            phi, dx, dy = interpolate(field, row, column, f, g)
            # Less what the point's own charge does to it; see `splitting.own_terms`.
            p, q = f * (F1 - f), g * (F1 - g)
            out[i, U0] = dx * half_inverse - (own[U0] + own[U1] * q) * p * (F1 - f - f)
            out[i, U1] = dy * half_inverse - (own[U0] + own[U1] * p) * q * (F1 - g - g)
            mine = own[U2] + own[U3] * (p + q) + own[U(4)] * p * q + own[U(5)] * (p * p + q * q)
            total += phi - mine
        potential[t] = total


@inner_kernel
def add_up(first: int, stop: int, parts: Any, times: float, least: float, total: Any) -> None:
    """Write the sum of all tiles' parts, a number of times, or the least it can be; one tile."""
    sum_of_parts = 0.0
    for t in range(U(len(parts))):
        sum_of_parts += parts[t]
    total[U0] = max(times * sum_of_parts, least)
