"""Loops over maps and affinities in vectors, where the compiler would go value by value.

It does not use vectors where it cannot know that arrays do not overlap, and only partly where a
short loop reads and sums in several ways at once. These functions are called in kernels, like
`jit.coordinates`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tsne_backends.native import simd
from tsne_backends.native.splitting import RADIUS, SLOPES, SUPPORT, WEIGHTS

#: Charges of a row that `sum_rows` takes at once, and neighbours of a row that others do.
LANES, PULLS = 16, 8
_SIXTH = 1 / 6


@intrinsic
def sum_rows(
    _typing: Any, charge: Any, i: Any, j: Any, stencil: Any, scratch: Any, line: Any
) -> Any:
    """Sum rows near row i, each times its part of a column of the stencil, for `LANES` columns.

    Line ``line + b`` of the scratch gets, from column j on, what the stencil's column b has at
    these charges. A row's charges are loaded once and serve all columns of the stencil (15 × 15
    nodes: 0.21 ms for 320 × 320 charges, 0.44 in the best order of plain loops).
    """
    for array in (charge, stencil, scratch):
        simd.must_be(array, types.float32)
    signature = types.void(charge, i, j, stencil, scratch, line)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, column, weights, sums, first = arguments
        kinds = signature.args
        charges = simd.Lines(context, builder, kinds[0], array, LANES)
        weights = context.make_array(kinds[3])(context, builder, weights)
        lines = simd.Lines(context, builder, kinds[4], sums, LANES)
        totals: list[Any] = []
        for a in range(RADIUS + 1):
            values = charges.load(builder.add(row, row.type(a)), column)
            if a:
                values = simd.add(
                    builder, values, charges.load(builder.sub(row, row.type(a)), column)
                )
            for b in range(RADIUS + 1):
                at = ir.Constant(row.type, a * (RADIUS + 1) + b)
                weight = builder.load(builder.gep(weights.data, [at]))
                product = simd.multiply(builder, simd.splat(builder, weight, LANES), values)
                if a:
                    totals[b] = simd.add(builder, totals[b], product)
                else:
                    totals.append(product)
        for b, total in enumerate(totals):
            lines.store(builder.add(first, first.type(b)), column, total)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def interpolate(_typing: Any, field: Any, row: Any, column: Any, f: Any, g: Any) -> Any:
    """Return the field and the negative of its slope, per node, at a point in a cell.

    Parameters
    ----------
    field : ndarray of shape (rows, columns), float32
    row, column : uint64
        First of the four nodes along each axis.
    f, g : float32
        Place of the point between the second node and the third.

    Returns
    -------
    tuple of three float32
        The field, and the negative of its slope along each axis.
    """
    simd.must_be(field, types.float32)
    signature = types.UniTuple(types.float32, 3)(field, row, column, f, g)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, column, f, g = arguments
        nodes = simd.Lines(context, builder, signature.args[0], array, SUPPORT)
        f, g = (simd.splat(builder, place, SUPPORT) for place in (f, g))
        weights, slopes, across, slopes_across = (
            _polynomials(builder, place, terms) for place in (f, g) for terms in (WEIGHTS, SLOPES)
        )
        level, slope = None, None
        for a in range(SUPPORT):
            values = nodes.load(builder.add(row, row.type(a)), column)
            by_weight = simd.multiply(builder, simd.one_of(builder, weights, a), values)
            by_slope = simd.multiply(builder, simd.one_of(builder, slopes, a), values)
            level = by_weight if level is None else simd.add(builder, level, by_weight)
            slope = by_slope if slope is None else simd.add(builder, slope, by_slope)
        pairs = ((level, across), (slope, across), (level, slopes_across))
        sums = [simd.sum_of(builder, simd.multiply(builder, *pair)) for pair in pairs]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


@intrinsic
def attract(
    _typing: Any, points: Any, x: Any, y: Any, words: Any, bits: Any, first: Any, stop: Any
) -> Any:
    """Sum affinity times kernel times (x, y) less a neighbour, over one row of affinities.

    Neighbours are loaded one by one, which takes less time than the processor's own gathering
    (50,000 rows of 71 affinities: 0.62 ns for each, with gathering 0.80, as a plain loop 0.77).

    Parameters
    ----------
    points : ndarray of shape (n,), uint64
        Positions; see `jit.as_points`.
    x, y : float32
        The row's own position.
    words, bits : ndarray, uint32, and uint64
        See `layout.SparseRows`.
    first, stop : uint64
        The row's entries; a multiple of `PULLS` many.

    Returns
    -------
    tuple of two float32
        In the row's steps.
    """

    def terms(builder: Any, values: Any, farness: Any, apart: Any) -> list[Any]:
        weights = simd.divide(builder, values, farness)
        return [simd.multiply(builder, weights, side) for side in apart]

    kinds = (points, x, y, words, types.uint64, first, stop)
    return _over_row(types.UniTuple(types.float32, 2)(*kinds), 2, terms)


@intrinsic
def log_distances(
    _typing: Any, points: Any, x: Any, y: Any, words: Any, bits: Any, first: Any, stop: Any
) -> Any:
    """Sum affinity times log(1 + squared distance to a neighbour), over one row of affinities.

    Parameters
    ----------
    points, x, y, words, bits, first, stop
        See `attract`.

    Returns
    -------
    float32
        In the row's steps; off by up to 2·10⁻⁶ of itself and of the sum of the affinities.
    """

    def terms(builder: Any, values: Any, farness: Any, _apart: Any) -> list[Any]:
        return [simd.multiply(builder, values, _logarithm(builder, farness))]

    return _over_row(types.float32(points, x, y, words, types.uint64, first, stop), 1, terms)


def _over_row(signature: Any, n_sums: int, terms: Callable[..., list[Any]]) -> Any:
    """Return what makes sums over one row of affinities of terms in these, farness and distances.

    Parameters
    ----------
    signature
        Of `attract` or `log_distances`.
    n_sums : int
    terms : callable
        ``terms(builder, affinities, farness, distances along each axis)`` are vectors, one for each
        sum; see `_farness`.
    """
    simd.must_be(signature.args[0], types.uint64)
    simd.must_be(signature.args[3], types.uint32)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        points, words = (
            context.make_array(signature.args[at])(context, builder, arguments[at]).data
            for at in (0, 3)
        )
        x, y = (simd.splat(builder, own, PULLS) for own in arguments[1:3])
        bits, first, stop = arguments[4:]
        one, none = (simd.all_are(x.type, value) for value in (1.0, 0.0))
        totals = [cgutils.alloca_once_value(builder, none) for _ in range(n_sums)]
        step = ir.Constant(first.type, PULLS)
        with cgutils.for_range_slice(builder, first, stop, step, inc=True) as (entry, _):
            values = _shares_at(builder, words, bits, entry)
            others = _points_at(builder, points, _columns_at(builder, words, bits, entry))
            farness, apart = _farness(builder, one, (x, y), others)
            for total, term in zip(totals, terms(builder, values, farness, apart), strict=True):
                builder.store(simd.add(builder, builder.load(total), term), total)
        sums = [simd.sum_of(builder, builder.load(total)) for total in totals]
        if n_sums == 1:
            return sums[0]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


def _farness(builder: Any, one: Any, own: Any, others: Any) -> tuple[Any, list[Any]]:
    """Return 1 + squared distances, and the distances along each axis."""
    apart = [simd.subtract(builder, *sides) for sides in zip(own, others, strict=True)]
    squares = [simd.multiply(builder, side, side) for side in apart]
    return simd.add(builder, simd.add(builder, one, squares[0]), squares[1]), apart


def _logarithm(builder: Any, values: Any) -> Any:
    """Return the logarithms of float32 from 1 on; what is no finite number is returned as it is.

    That of a mantissa m, from 1 to 2, is 2 (s + s³/3 + s⁵/5 + ...) with s = (m - 1) / (m + 1);
    what is left out from s¹¹ on is 1.2·10⁻⁶ at most.
    """
    kind, whole = values.type, simd.integers(values.type.count)
    bits = builder.bitcast(values, whole)
    exponent = builder.sub(builder.lshr(bits, simd.all_are(whole, 23)), simd.all_are(whole, 127))
    mantissa = builder.or_(
        builder.and_(bits, simd.all_are(whole, 2**23 - 1)), simd.all_are(whole, 127 * 2**23)
    )
    mantissa, one = builder.bitcast(mantissa, kind), simd.all_are(kind, 1.0)
    s = simd.divide(
        builder, simd.subtract(builder, mantissa, one), simd.add(builder, mantissa, one)
    )
    square, series = simd.multiply(builder, s, s), simd.all_are(kind, 2 / 9)
    for power in (7, 5, 3, 1):
        series = simd.multiply(builder, series, square)
        series = simd.add(builder, series, simd.all_are(kind, 2 / power))
    exponent = builder.sitofp(exponent, kind)
    whole_part = simd.multiply(builder, exponent, simd.all_are(kind, math.log(2)))
    logarithms = simd.add(builder, whole_part, simd.multiply(builder, s, series))
    is_finite = builder.fcmp_ordered("<", values, simd.all_are(kind, math.inf))
    return builder.select(is_finite, logarithms, values)


def _shares_at(builder: Any, words: Any, bits: Any, entry: Any) -> Any:
    """Return the affinities of `PULLS` words, in steps, as a vector of float32."""
    kind = simd.integers(PULLS)
    one = ir.Constant(kind.element, 1)
    most = builder.sub(builder.shl(one, builder.trunc(bits, kind.element)), one)
    shares = builder.and_(simd.load(builder, words, entry, kind), simd.splat(builder, most, PULLS))
    return builder.sitofp(shares, simd.floats(PULLS))


def _columns_at(builder: Any, words: Any, bits: Any, entry: Any) -> list[Any]:
    """Return the columns of `PULLS` words, read in pairs: a load and three steps for two."""
    word, half = ir.IntType(64), ir.IntType(32)
    columns = []
    for pair in range(0, PULLS, 2):
        at = builder.gep(words, [builder.add(entry, ir.Constant(entry.type, pair))])
        both = builder.load(builder.bitcast(at, word.as_pointer()), align=4)
        low, high = builder.trunc(both, half), builder.add(bits, ir.Constant(word, 32))
        columns += [builder.lshr(builder.zext(low, word), bits), builder.lshr(both, high)]
    return columns


def _points_at(builder: Any, points: Any, places: Sequence[Any]) -> list[Any]:
    """Return x and y of the points at `PULLS` places, each as a vector."""
    found = ir.Constant(ir.VectorType(ir.IntType(64), PULLS), ir.Undefined)
    for lane, place in enumerate(places):
        point = builder.load(builder.gep(points, [place]))
        found = builder.insert_element(found, point, ir.Constant(ir.IntType(32), lane))
    both = builder.bitcast(found, simd.floats(2 * PULLS))
    return [simd.shuffled(builder, both, range(axis, 2 * PULLS, 2)) for axis in range(2)]


def _polynomials(builder: Any, place: Any, terms: Sequence[Sequence[int]]) -> Any:
    """Return a sixth of four polynomials, by Horner's scheme."""
    constants = [ir.Constant(place.type, [_SIXTH * term for term in power]) for power in terms]
    value = constants[-1]
    for constant in constants[-2::-1]:
        value = simd.add(builder, simd.multiply(builder, value, place), constant)
    return value
