"""Comparing many rows with many points: products that are compared where they are made.

|x|² - 2qx orders the points x by their distance from a row q. It is computed for a tile of rows
and a panel of points at a time, in registers, and only looked at again where one of them is below
its row's bar. Written to memory, and read again to compare it, it would take twice the time for
10 features, and a third more for 80.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tsne_backends.native import simd
from tsne_backends.native.jit import F
from tsne_backends.native.threads import Team

#: Points of a panel and rows of a tile. Their products fill the registers of processors with 16
#: vectors of 8 values, and nearly reach the speed of those with 32 of 16: 108 of 115 GFLOP/s
#: with 20 features, and 103 when told to do without the longer ones, where 8 rows reach 68.
PANEL, TILE = 16, 6
#: Panels that are made at once.
PANELS_TOGETHER = 64

#: Farther than any point.
FAR = F(3.0e38)


def panels_of(
    narrow: NDArray[np.float32], whole: NDArray[np.float32], team: Team
) -> NDArray[np.float32]:
    """Return points as `compare` reads them.

    Parameters
    ----------
    narrow : ndarray of shape (n, width), float32
        The points along some axes, or ``whole`` itself.
    whole : ndarray of shape (n, d), float32
        Points, whose squares these are: what is left out of two of them is as good as at right
        angles, so that its squares add to their distance.
    team : Team

    Returns
    -------
    ndarray of shape (ceil(n / PANEL), 1 + width, PANEL), float32
        First the squares, then axis by axis. Beyond the last point, points that are far.
    """
    n, width = narrow.shape
    panels = np.empty((-(-n // PANEL), 1 + width, PANEL), dtype=np.float32)

    def work(first: int, stop: int) -> None:
        for at in range(first, stop):
            some = slice(at * PANELS_TOGETHER * PANEL, (at + 1) * PANELS_TOGETHER * PANEL)
            fill_panels(
                narrow[some], whole[some], panels[at * PANELS_TOGETHER : (at + 1) * PANELS_TOGETHER]
            )

    team.run(work, -(-len(panels) // PANELS_TOGETHER))
    return panels


def fill_panels(
    narrow: NDArray[np.float32], whole: NDArray[np.float32], panels: NDArray[np.float32]
) -> None:
    """Write points to the panels they fill; see `panels_of`."""
    filled = len(narrow) // PANEL
    rest = len(narrow) - filled * PANEL
    squares = np.einsum("ij,ij->i", whole, whole)
    panels[:filled, 0] = squares[: filled * PANEL].reshape(filled, PANEL)
    by_panel = narrow[: filled * PANEL].reshape(filled, PANEL, narrow.shape[1])
    panels[:filled, 1:] = by_panel.transpose(0, 2, 1)
    if rest:
        panels[filled, 0] = FAR
        panels[filled, 0, :rest] = squares[filled * PANEL :]
        panels[filled, 1:] = 0
        panels[filled, 1:, :rest] = narrow[filled * PANEL :].T


def tiles_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return rows as `compare` reads them.

    Parameters
    ----------
    rows : ndarray of shape (m, width), float32

    Returns
    -------
    ndarray of shape (ceil(m / TILE), width, TILE), float32
        -2 times the rows, axis by axis; the last tile is filled up with 0.
    """
    m, width = rows.shape
    tiles = np.zeros((-(-m // TILE), TILE, width), dtype=np.float32)
    np.multiply(rows, F(-2), out=tiles.reshape(-1, width)[:m])
    return np.ascontiguousarray(tiles.transpose(0, 2, 1))


def room_for_products() -> tuple[NDArray[np.float32], NDArray[np.uint16]]:
    """Return room for what `compare` finds of one tile and one panel."""
    return np.empty((TILE, PANEL), dtype=np.float32), np.empty(TILE, dtype=np.uint16)


@intrinsic
def compare(
    _typing: Any,
    tiles: Any,
    tile: Any,
    panels: Any,
    panel: Any,
    bars: Any,
    products: Any,
    nearer: Any,
) -> Any:
    """Compute |x|² - 2qx of one tile and one panel; say which points are below their row's bar.

    Parameters
    ----------
    tiles, panels : ndarray, float32
        See `tiles_of` and `panels_of`; of the same width, which is not 0.
    tile, panel : uint64
    bars : ndarray of shape (at least TILE for every tile,), float32
    products : ndarray of shape (TILE, PANEL), float32
        Gets the products.
    nearer : ndarray of shape (TILE,), uint16
        Gets a bit for each point of a row; the lowest speaks of the first.

    Returns
    -------
    uint16
        The same for all rows together: 0 where there is nothing to look at.
    """
    for array in (tiles, panels, bars, products):
        simd.must_be(array, types.float32)
    simd.must_be(nearer, types.uint16)
    signature = types.uint16(tiles, tile, panels, panel, bars, products, nearer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, points, bars, out, bits = (
            context.make_array(signature.args[at])(context, builder, arguments[at])
            for at in (0, 2, 4, 5, 6)
        )
        tile, panel = arguments[1], arguments[3]
        word, width = tile.type, cgutils.unpack_tuple(builder, rows.shape)[1]
        first = builder.mul(tile, word(TILE))
        row = builder.gep(rows.data, [builder.mul(first, width)])
        values = builder.mul(builder.add(width, word(1)), word(PANEL))
        point = builder.gep(points.data, [builder.mul(panel, values)])
        any_row = None
        for r, total in enumerate(_multiplied(builder, row, point, width)):
            simd.store(builder, out.data, word(r * PANEL), total)
            bar = builder.load(builder.gep(bars.data, [builder.add(first, word(r))]))
            hits = builder.fcmp_ordered("<", total, simd.splat(builder, bar, PANEL))
            hits = builder.bitcast(hits, ir.IntType(PANEL))
            builder.store(hits, builder.gep(bits.data, [word(r)]))
            any_row = hits if any_row is None else builder.or_(any_row, hits)
        return any_row

    return signature, generate


def _multiplied(builder: Any, row: Any, point: Any, width: Any) -> list[Any]:
    """Return the products of the tile and the panel that begin at two pointers, row by row."""
    kind, word = simd.floats(PANEL), width.type
    squares = simd.load(builder, point, word(0), kind)
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("axis", "multiplied"))
    builder.branch(loop)
    builder.position_at_end(loop)
    axis, sums = builder.phi(word), [builder.phi(kind) for _ in range(TILE)]
    following = builder.add(axis, word(1))
    values = simd.load(builder, point, builder.mul(following, word(PANEL)), kind)
    first = builder.mul(axis, word(TILE))
    totals = []
    for r, total in enumerate(sums):
        value = builder.load(builder.gep(row, [builder.add(first, word(r))]))
        product = simd.multiply(builder, simd.splat(builder, value, PANEL), values)
        totals.append(simd.add(builder, total, product))
    begun = ((axis, word(0), following), *zip(sums, [squares] * TILE, totals, strict=True))
    for one, at_first, later in begun:
        one.add_incoming(at_first, before)
        one.add_incoming(later, loop)
    builder.cbranch(builder.icmp_unsigned("<", following, width), loop, after)
    builder.position_at_end(after)
    return totals


@intrinsic
def lowest_bit(_typing: Any, bits: Any) -> Any:
    """Return the place of the lowest bit that is set, of a uint32 that has one."""
    signature = types.uint32(types.uint32)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate
