"""Inner loops written in vectors, where the compiler would go value by value.

It does not use vectors where it cannot know that arrays do not overlap, and only partly where a
short loop reads and sums in several ways at once. These functions are called in kernels, like
`jit.coordinates`, and write the compiler's own language; processors whose vectors are shorter take
several for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.core.errors import TypingError
from numba.extending import intrinsic

from tsne_backends.native.splitting import RADIUS, SLOPES, SUPPORT, WEIGHTS

#: Charges of a row that `sum_rows` takes at once, affinities of a row that `attract` does, and
#: values that `below` compares.
LANES, PULLS, COMPARED = 16, 8, 32
#: Sums may be reordered, products added without rounding and divisions done by reciprocals, as in
#: every kernel of ``jit``.
_FLAGS = ("reassoc", "contract", "nsz", "arcp", "afn")
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
        _must_be(array, types.float32)
    signature = types.void(charge, i, j, stencil, scratch, line)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, column, weights, sums, first = arguments
        kinds = signature.args
        charges = _Lines(context, builder, kinds[0], array, LANES)
        weights = context.make_array(kinds[3])(context, builder, weights)
        lines = _Lines(context, builder, kinds[4], sums, LANES)
        totals: list[Any] = []
        for a in range(RADIUS + 1):
            values = charges.load(row, a, column)
            if a:
                values = _sum(builder, values, charges.load(row, -a, column))
            for b in range(RADIUS + 1):
                at = ir.Constant(row.type, a * (RADIUS + 1) + b)
                weight = builder.load(builder.gep(weights.data, [at]))
                product = builder.fmul(_splat(builder, weight, LANES), values, flags=_FLAGS)
                if a:
                    totals[b] = _sum(builder, totals[b], product)
                else:
                    totals.append(product)
        for b, total in enumerate(totals):
            lines.store(first, b, column, total)
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
    _must_be(field, types.float32)
    signature = types.UniTuple(types.float32, 3)(field, row, column, f, g)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, column, f, g = arguments
        nodes = _Lines(context, builder, signature.args[0], array, SUPPORT)
        f, g = (_splat(builder, place, SUPPORT) for place in (f, g))
        weights, slopes, across, slopes_across = (
            _polynomials(builder, place, terms) for place in (f, g) for terms in (WEIGHTS, SLOPES)
        )
        level, slope = None, None
        for a in range(SUPPORT):
            values = nodes.load(row, a, column)
            by_weight = builder.fmul(_one_of(builder, weights, a), values, flags=_FLAGS)
            by_slope = builder.fmul(_one_of(builder, slopes, a), values, flags=_FLAGS)
            level = by_weight if level is None else _sum(builder, level, by_weight)
            slope = by_slope if slope is None else _sum(builder, slope, by_slope)
        pairs = ((level, across), (slope, across), (level, slopes_across))
        sums = [_total(builder, builder.fmul(*pair, flags=_FLAGS)) for pair in pairs]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


@intrinsic
def attract(
    _typing: Any, points: Any, x: Any, y: Any, columns: Any, values: Any, first: Any, stop: Any
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
    columns, values : ndarray, uint32 and float32
        See `affinities.SparseRows`.
    first, stop : uint64
        The row's entries; a multiple of `PULLS` many.

    Returns
    -------
    tuple of two float32
    """
    _must_be(points, types.uint64)
    _must_be(columns, types.uint32)
    _must_be(values, types.float32)
    signature = types.UniTuple(types.float32, 2)(points, x, y, columns, values, first, stop)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        kinds = signature.args
        points, columns, values = (
            context.make_array(kinds[at])(context, builder, arguments[at]).data for at in (0, 3, 4)
        )
        x, y = (_splat(builder, own, PULLS) for own in arguments[1:3])
        first, stop = arguments[5:]
        one = ir.Constant(x.type, [1.0] * PULLS)
        totals = [
            cgutils.alloca_once_value(builder, ir.Constant(x.type, [0.0] * PULLS)) for _ in "xy"
        ]
        step = ir.Constant(first.type, PULLS)
        with cgutils.for_range_slice(builder, first, stop, step, inc=True) as (entry, _):
            places = _load(builder, columns, entry, ir.VectorType(ir.IntType(32), PULLS))
            values = _load(builder, values, entry, x.type)
            apart = [
                builder.fsub(own, other, flags=_FLAGS)
                for own, other in zip((x, y), _points_at(builder, points, places), strict=True)
            ]
            squares = [builder.fmul(side, side, flags=_FLAGS) for side in apart]
            farness = _sum(builder, _sum(builder, one, squares[0]), squares[1])
            weights = builder.fdiv(values, farness, flags=_FLAGS)
            for total, side in zip(totals, apart, strict=True):
                product = builder.fmul(weights, side, flags=_FLAGS)
                builder.store(_sum(builder, builder.load(total), product), total)
        sums = [_total(builder, builder.load(total)) for total in totals]
        return context.make_tuple(builder, signature.return_type, sums)

    return signature, generate


def _points_at(builder: Any, points: Any, places: Any) -> list[Any]:
    """Return x and y of the points at `PULLS` places, each as a vector."""
    word = ir.IntType(64)
    found = ir.Constant(ir.VectorType(word, PULLS), ir.Undefined)
    for lane in range(PULLS):
        at = ir.Constant(ir.IntType(32), lane)
        place = builder.zext(builder.extract_element(places, at), word)
        found = builder.insert_element(found, builder.load(builder.gep(points, [place])), at)
    both = builder.bitcast(found, _vector(2 * PULLS))
    return [_shuffled(builder, both, range(axis, 2 * PULLS, 2)) for axis in range(2)]


@intrinsic
def below(_typing: Any, values: Any, row: Any, column: Any, bar: Any) -> Any:
    """Return which of `COMPARED` values of a row, from a column on, are below a bar, as bits.

    Parameters
    ----------
    values : ndarray of shape (rows, columns), float32
    row, column : uint64
    bar : float32

    Returns
    -------
    uint32
        The lowest bit speaks of the first value.
    """
    _must_be(values, types.float32)
    signature = types.uint32(values, row, column, bar)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        array, row, column, bar = arguments
        lines = _Lines(context, builder, signature.args[0], array, COMPARED)
        some = lines.load(row, 0, column)
        hits = builder.fcmp_ordered("<", some, _splat(builder, bar, COMPARED))
        return builder.bitcast(hits, ir.IntType(COMPARED))

    return signature, generate


@intrinsic
def lowest_bit(_typing: Any, bits: Any) -> Any:
    """Return the place of the lowest bit that is set, of a uint32 that has one."""
    signature = types.uint32(types.uint32)

    def generate(_context: Any, builder: Any, _signature: Any, arguments: Any) -> Any:
        return builder.cttz(arguments[0], ir.Constant(ir.IntType(1), 1))

    return signature, generate


def _must_be(array: Any, dtype: Any) -> None:
    """Refuse an array in which vectors would be read from wrong places."""
    if array.layout != "C" or array.dtype != dtype:
        raise TypingError(f"Vectors are of contiguous {dtype}; an array was {array}.")


class _Lines:
    """Vectors in the lines of a matrix of float32, in the order of memory."""

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, lanes: int) -> None:
        matrix = context.make_array(kind)(context, builder, array)
        self._builder, self._data = builder, matrix.data
        self._width = cgutils.unpack_tuple(builder, matrix.shape)[1]
        self._kind = _vector(lanes)

    def load(self, line: Any, further: int, column: Any) -> Any:
        offset = self._offset(line, further, column)
        return _load(self._builder, self._data, offset, self._kind)

    def store(self, line: Any, further: int, column: Any, value: Any) -> None:
        offset = self._offset(line, further, column)
        pointer = _pointer(self._builder, self._data, offset, self._kind)
        self._builder.store(value, pointer, align=4)

    def _offset(self, line: Any, further: int, column: Any) -> Any:
        line = self._builder.add(line, ir.Constant(line.type, further))
        return self._builder.add(self._builder.mul(line, self._width), column)


def _pointer(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())


def _load(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    """Return the vector of a kind that begins so many values after a pointer."""
    return builder.load(_pointer(builder, data, offset, kind), align=4)


def _vector(lanes: int) -> Any:
    return ir.VectorType(ir.FloatType(), lanes)


def _sum(builder: Any, a: Any, b: Any) -> Any:
    return builder.fadd(a, b, flags=_FLAGS)


def _shuffled(builder: Any, vector: Any, places: Sequence[int]) -> Any:
    """Return the values at some places of a vector, in that order."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def _splat(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector all of whose values are one."""
    undefined = ir.Constant(_vector(lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return _one_of(builder, first, 0)


def _one_of(builder: Any, vector: Any, place: int) -> Any:
    """Return a vector all of whose values are the one at a place of another."""
    return _shuffled(builder, vector, [place] * vector.type.count)


def _total(builder: Any, vector: Any) -> Any:
    """Return the sum of a vector's values, a power of two many."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        sides = (range(half), range(half, 2 * half))
        vector = _sum(builder, *(_shuffled(builder, vector, side) for side in sides))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))


def _polynomials(builder: Any, place: Any, terms: Sequence[Sequence[int]]) -> Any:
    """Return a sixth of four polynomials, by Horner's scheme."""
    constants = [ir.Constant(place.type, [_SIXTH * term for term in power]) for power in terms]
    value = constants[-1]
    for constant in constants[-2::-1]:
        value = _sum(builder, builder.fmul(value, place, flags=_FLAGS), constant)
    return value
