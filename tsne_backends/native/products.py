"""Comparing many rows with many points: products that are compared where they are made.

|x|² - 2qx orders the points x by their distance from a row q. It is computed for a tile of rows
and a panel of points at a time, compared with each row's bar while it is in registers, and looked
at again only where it is below; what is written of it stays in the nearest cache. As a product of
matrices, which is written to memory and read again, the same takes about twice the time for 10 to
20 features.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import reduce
from typing import Any

import numpy as np
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic
from numpy.typing import NDArray

from tsne_backends.native import simd
from tsne_backends.native.features import Rows, by_blocks
from tsne_backends.native.jit import F
from tsne_backends.native.threads import Team

#: Points of a panel and rows of a tile. Their products fill the registers of processors that have
#: 16 vectors of 8 values. On those with 32 vectors of 16, taller tiles are no quicker; on those
#: with 16 of 4, from before AVX, some sums are kept in memory.
PANEL, TILE = 16, 6
#: Points that are compared at once at most, and values of their panels that stay in the cache.
MOST_AT_ONCE, CACHED_VALUES = 1024, 2**18

#: Farther than any point.
FAR = F(3.0e38)


def points_at_once(width: int) -> int:
    """Return how many points of a width are best compared with many rows before the next are.

    Returns
    -------
    int
        A multiple of `PANEL`.
    """
    cached = CACHED_VALUES // (1 + width)
    return max(PANEL, min(cached, MOST_AT_ONCE) // PANEL * PANEL)


def panels_of(narrow: Rows, whole: Rows, team: Team) -> NDArray[np.float32]:
    """Return points as `compare` reads them.

    Parameters
    ----------
    narrow : Features or ndarray of shape (n, width), float32
        The points along some axes, or ``whole`` itself.
    whole : Features or ndarray of shape (n, d), float32
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

    def work(some: slice) -> None:
        points = narrow[some]
        squared = points if narrow is whole else whole[some]
        fill_panels(points, squared, panels[some.start // PANEL :])

    by_blocks(work, n, whole.shape[1], team, PANEL)
    return panels


def fill_panels(
    narrow: NDArray[np.float32], whole: NDArray[np.float32], panels: NDArray[np.float32]
) -> None:
    """Write points to the first of some panels; see `panels_of`."""
    transpose(np.einsum("ij,ij->i", whole, whole)[:, None], panels[:, :1], FAR)
    transpose(narrow, panels[:, 1:], F(0))


def transpose(rows: NDArray[Any], blocks: NDArray[Any], rest: Any) -> None:
    """Write rows to the first of some blocks, axis by axis; fill up the last of these blocks.

    Parameters
    ----------
    rows : ndarray of shape (n, width)
    blocks : ndarray of shape (n_blocks, width, size)
    rest : scalar
        What is written where there is no row.
    """
    (n, width), size = rows.shape, blocks.shape[2]
    full, left = divmod(n, size)
    blocks[:full] = rows[: full * size].reshape(full, size, width).transpose(0, 2, 1)
    if left:
        blocks[full, :, :left] = rows[full * size :].T
        blocks[full, :, left:] = rest


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
    tiles = np.empty((-(-m // TILE), width, TILE), dtype=np.float32)
    transpose(rows, tiles, F(0))
    tiles *= F(-2)
    return tiles


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

    Of codes, half of the squared distance is computed: what is near is then a small number, which
    single precision holds better.

    Parameters
    ----------
    tiles, panels : ndarray, float32 or int32
        See `tiles_of` and `panels_of`, or ``codes``; of the same width, which is not 0.
    tile, panel : uint64
    bars : ndarray of shape (at least TILE × number of tiles,), float32
    products : ndarray of shape (TILE, PANEL), float32
        Gets the products, where any point is below.
    nearer : ndarray of shape (TILE,), uint16
        Gets a bit for each point of a row, then; the lowest speaks of the first.

    Returns
    -------
    uint16
        The same for all rows together: 0 where there is nothing to look at.
    """
    coded = tiles.dtype == types.int32
    for array in (tiles, panels):
        simd.must_be(array, types.int32 if coded else types.float32)
    for array in (bars, products):
        simd.must_be(array, types.float32)
    simd.must_be(nearer, types.uint16)
    signature = types.uint16(tiles, tile, panels, panel, bars, products, nearer)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        rows, points, bars, out, bits = (
            context.make_array(signature.args[at])(context, builder, arguments[at])
            for at in (0, 2, 4, 5, 6)
        )
        tile, panel = arguments[1], arguments[3]
        word = tile.type
        lines = {
            at: cgutils.unpack_tuple(builder, array.shape)[1]
            for at, array in (("tile", rows), ("panel", points))
        }
        first = builder.mul(tile, word(TILE))
        row = builder.gep(rows.data, [builder.mul(first, lines["tile"])])
        point = builder.gep(
            points.data, [builder.mul(panel, builder.mul(lines["panel"], word(PANEL)))]
        )
        width = builder.sub(lines["panel"], word(1))
        totals = (_coded if coded else _multiplied)(builder, row, point, width)
        hits = []
        for r, total in enumerate(totals):
            bar = builder.load(builder.gep(bars.data, [builder.add(first, word(r))]))
            below = builder.fcmp_ordered("<", total, simd.splat(builder, bar, PANEL))
            hits.append(builder.bitcast(below, ir.IntType(PANEL)))
        any_row = reduce(builder.or_, hits)
        with builder.if_then(builder.icmp_unsigned("!=", any_row, any_row.type(0))):
            for r, total in enumerate(totals):
                simd.store(builder, out.data, word(r * PANEL), total)
                builder.store(hits[r], builder.gep(bits.data, [word(r)]))
        return any_row

    return signature, generate


def _multiplied(builder: Any, row: Any, point: Any, width: Any) -> list[Any]:
    """Return the products of the tile and the panel that begin at two pointers, row by row."""
    squares = simd.load(builder, point, width.type(0), simd.floats(PANEL))

    def add_product(total: Any, value: Any, values: Any) -> Any:
        return simd.add(builder, total, simd.multiply(builder, value, values))

    return _summed(builder, row, point, width, [squares] * TILE, add_product)


def _coded(builder: Any, row: Any, point: Any, width: Any) -> list[Any]:
    """Return half of the squared distances of a tile and a panel of codes, row by row."""
    word, kind = width.type, simd.integers(PANEL)
    squares = simd.load(builder, point, word(0), kind)
    halves = [builder.load(builder.gep(row, [word(r)])) for r in range(TILE)]
    begun = [builder.add(squares, simd.splat(builder, half, PANEL)) for half in halves]

    def add_product(total: Any, value: Any, values: Any) -> Any:
        return simd.add_products_of_pairs(builder, total, value, values)

    totals = _summed(builder, builder.gep(row, [word(TILE)]), point, width, begun, add_product)
    return [builder.sitofp(total, simd.floats(PANEL)) for total in totals]


def _summed(
    builder: Any,
    row: Any,
    point: Any,
    width: Any,
    begun: list[Any],
    add_product: Callable[..., Any],
) -> list[Any]:
    """Add the products of each axis to what was begun, row by row, in a loop over the axes."""
    kind, word = begun[0].type, width.type
    before = builder.block
    loop, after = (builder.append_basic_block(name) for name in ("axis", "summed"))
    builder.branch(loop)
    builder.position_at_end(loop)
    axis, sums = builder.phi(word), [builder.phi(kind) for _ in range(TILE)]
    following = builder.add(axis, word(1))
    values = simd.load(builder, point, builder.mul(following, word(PANEL)), kind)
    first = builder.mul(axis, word(TILE))
    totals = []
    for r, total in enumerate(sums):
        value = builder.load(builder.gep(row, [builder.add(first, word(r))]))
        totals.append(add_product(total, simd.splat(builder, value, PANEL), values))
    variables = ((axis, word(0), following), *zip(sums, begun, totals, strict=True))
    for one, at_first, later in variables:
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
