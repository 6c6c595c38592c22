"""Kernels between a grid and the coarser one beside it, and among near nodes of one grid.

A cubic B-spline twice as wide is (1, 4, 6, 4, 1) / 8 narrow ones, which is how charges get to the
coarser grid and potentials back. Arrays of all grids but the coarsest have a margin of
`splitting.RADIUS` nodes on every side, and lines of a multiple of `vectors.LANES` values.
"""

from __future__ import annotations

from typing import Any

from tsne_backends.native.jit import U0, U1, U2, U3, F, U, inner_kernel, part
from tsne_backends.native.splitting import RADIUS
from tsne_backends.native.vectors import LANES, sum_rows

#: Rows of nodes in one tile.
TILE_ROWS = 8

assert RADIUS == 7, "`gather` adds up the seven columns to each side of a node one by one"

EIGHTH, HALF, THREE_QUARTERS = F(0.125), F(0.5), F(0.75)
U4, U5, U6, U7 = U(4), U(5), U(6), U(7)


@inner_kernel
def restrict(
    first: int, stop: int, charge: Any, columns: int, scratch: Any, coarse: Any, margin: int
) -> None:
    """Write the charges of a grid as the coarser one has them."""
    rows = U(charge.shape[0] - 2 * RADIUS) // U2 + U2
    line = U(first) * U(RADIUS + 1)  # no two portions that run at once begin with the same tile
    for t in range(U(first), U(stop)):
        for row in range(t * U(TILE_ROWS), min((t + U1) * U(TILE_ROWS), rows)):
            i: Any = U2 * row + U(RADIUS - 2)
            for j in range(U(charge.shape[1])):
                far = charge[i - U2, j] + charge[i + U2, j]
                near = charge[i - U1, j] + charge[i + U1, j]
                scratch[line, j] = EIGHTH * far + HALF * near + THREE_QUARTERS * charge[i, j]
            for column in range(U(columns) // U2 + U2):
                at: Any = U2 * column + U(RADIUS - 2)
                far = scratch[line, at - U2] + scratch[line, at + U2]
                near = scratch[line, at - U1] + scratch[line, at + U1]
                value = EIGHTH * far + HALF * near + THREE_QUARTERS * scratch[line, at]
                coarse[row + U(margin), column + U(margin)] = value


@inner_kernel
def gather(
    first: int,
    stop: int,
    charge: Any,
    columns: int,
    scratch: Any,
    stencil: Any,
    coarse: Any,
    margin: int,
    field: Any,
) -> None:
    """Write the potential: the coarser grid's, and the sum over near charges."""
    rows = U(charge.shape[0] - 2 * RADIUS)
    line = U(first) * U(RADIUS + 1)  # no two portions that run at once begin with the same tile
    for t in range(U(first), U(stop)):
        for row in range(t * U(TILE_ROWS), min((t + U1) * U(TILE_ROWS), rows)):
            i = row + U(RADIUS)
            _prolong(row, U(columns), coarse, U(margin), line, scratch, field)
            for block in range(U(charge.shape[1]) // U(LANES)):
                sum_rows(charge, i, block * U(LANES), stencil, scratch, line)
            for j in range(U(RADIUS), U(RADIUS) + U(columns)):
                field[i, j] += (
                    scratch[line, j]
                    + (scratch[line + U1, j - U1] + scratch[line + U1, j + U1])
                    + (scratch[line + U2, j - U2] + scratch[line + U2, j + U2])
                    + (scratch[line + U3, j - U3] + scratch[line + U3, j + U3])
                    + (scratch[line + U4, j - U4] + scratch[line + U4, j + U4])
                    + (scratch[line + U5, j - U5] + scratch[line + U5, j + U5])
                    + (scratch[line + U6, j - U6] + scratch[line + U6, j + U6])
                    + (scratch[line + U7, j - U7] + scratch[line + U7, j + U7])
                )


@part
def _prolong(
    row: Any, columns: Any, coarse: Any, margin: Any, line: Any, scratch: Any, field: Any
) -> None:
    """Write a row of the coarser grid's potential as the finer one has it."""
    i, a = row + U(RADIUS), row // U2 + margin
    if row % U2 == U0:  # on a row of the coarser grid
        for b in range(columns // U2 + U2):
            j = b + margin
            sides = coarse[a, j] + coarse[a + U2, j]
            scratch[line, b] = THREE_QUARTERS * coarse[a + U1, j] + EIGHTH * sides
    else:  # between two
        for b in range(columns // U2 + U2):
            j = b + margin
            scratch[line, b] = HALF * (coarse[a + U1, j] + coarse[a + U2, j])
    for b in range(columns // U2):
        j = U2 * b + U(RADIUS)
        sides = scratch[line, b] + scratch[line, b + U2]
        field[i, j] = THREE_QUARTERS * scratch[line, b + U1] + EIGHTH * sides
        field[i, j + U1] = HALF * (scratch[line, b + U1] + scratch[line, b + U2])
