"""Vectors of the processor, in the compiler's own language.

What kernels that are written in vectors are made of; processors whose vectors are shorter take
several for one.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any

from llvmlite import ir
from numba.core import cgutils, config
from numba.core.codegen import get_host_cpu_features
from numba.core.errors import TypingError

#: Sums may be reordered into vectors, products added without rounding and divisions done by
#: reciprocals: the same on every run and for every number of threads on one machine, but not on
#: machines with other vector units. NaN and infinity keep their meaning, because the optimiser has
#: to notice them.
FLAGS = ("reassoc", "contract", "nsz", "arcp", "afn")


def must_be(array: Any, dtype: Any) -> None:
    """Refuse an array in which vectors would be read from wrong places."""
    if array.layout != "C" or array.dtype != dtype:
        raise TypingError(f"Vectors are of contiguous {dtype}; an array was {array}.")


class Lines:
    """Vectors in the lines of a matrix of float32, in the order of memory.

    Attributes
    ----------
    width : uint64
        Columns of the matrix.
    """

    def __init__(self, context: Any, builder: Any, kind: Any, array: Any, lanes: int) -> None:
        matrix = context.make_array(kind)(context, builder, array)
        self._builder, self._data = builder, matrix.data
        self.width = cgutils.unpack_tuple(builder, matrix.shape)[1]
        self._kind = floats(lanes)

    def load(self, line: Any, column: Any) -> Any:
        """Return the vector that begins at a column."""
        return load(self._builder, self._data, self._offset(line, column), self._kind)

    def store(self, line: Any, column: Any, value: Any) -> None:
        """Write a vector that begins at a column."""
        store(self._builder, self._data, self._offset(line, column), value)

    def value(self, line: Any, column: Any) -> Any:
        """Return the single value at a line and column."""
        return self._builder.load(self._builder.gep(self._data, [self._offset(line, column)]))

    def increase(self, line: Any, column: Any, by: Any) -> None:
        """Add to the single value at a line and column."""
        at = self._builder.gep(self._data, [self._offset(line, column)])
        self._builder.store(add(self._builder, self._builder.load(at), by), at)

    def _offset(self, line: Any, column: Any) -> Any:
        return self._builder.add(self._builder.mul(line, self.width), column)


def _pointer(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    """Return a pointer to the vector of a kind that begins so many values after another."""
    return builder.bitcast(builder.gep(data, [offset]), kind.as_pointer())


def load(builder: Any, data: Any, offset: Any, kind: Any) -> Any:
    """Return the vector of a kind that begins so many values after a pointer."""
    return builder.load(_pointer(builder, data, offset, kind), align=4)


def store(builder: Any, data: Any, offset: Any, value: Any) -> None:
    """Write a vector so many values after a pointer."""
    builder.store(value, _pointer(builder, data, offset, value.type), align=4)


def floats(lanes: int) -> Any:
    """Return the kind of vectors of so many float32."""
    return ir.VectorType(ir.FloatType(), lanes)


def integers(lanes: int) -> Any:
    """Return the kind of vectors of so many int32."""
    return ir.VectorType(ir.IntType(32), lanes)


def all_are(kind: Any, value: float) -> Any:
    """Return the vector of a kind all of whose values are one number."""
    return ir.Constant(kind, [value] * kind.count)


@cache
def pairs_at_once() -> int:
    """Return to how many sums the processor adds products of pairs in one step, or 0."""
    chosen = config.CPU_FEATURES
    features = str(get_host_cpu_features() if chosen is None else chosen).split(",")
    if "+avx512vnni" in features:
        return 16
    return 8 if "+avxvnni" in features else 0


def add_products_of_pairs(builder: Any, totals: Any, some: Any, others: Any) -> Any:
    """Add to each of 16 sums the products of two int16 and two others, each pair as one int32.

    Only where the processor does that in one step; see `pairs_at_once`.
    """
    lanes = pairs_at_once()
    kind = integers(lanes)
    add_pairs = cgutils.get_or_insert_function(
        builder.module,
        ir.FunctionType(kind, [kind] * 3),
        f"llvm.x86.avx512.vpdpwssd.{32 * lanes}",
    )
    sums = [
        builder.call(
            add_pairs, [shuffled(builder, vector, side) for vector in (totals, some, others)]
        )
        for side in (range(at, at + lanes) for at in range(0, totals.type.count, lanes))
    ]
    if len(sums) == 1:
        return sums[0]
    every = ir.Constant(integers(totals.type.count), list(range(totals.type.count)))
    return builder.shuffle_vector(*sums, every)


def add(builder: Any, a: Any, b: Any) -> Any:
    """Return the sum of two vectors, or of two values."""
    return builder.fadd(a, b, flags=FLAGS)


def subtract(builder: Any, a: Any, b: Any) -> Any:
    """Return what two vectors are apart."""
    return builder.fsub(a, b, flags=FLAGS)


def multiply(builder: Any, a: Any, b: Any) -> Any:
    """Return the product of two vectors, value by value."""
    return builder.fmul(a, b, flags=FLAGS)


def divide(builder: Any, a: Any, b: Any) -> Any:
    """Return the quotient of two vectors, value by value."""
    return builder.fdiv(a, b, flags=FLAGS)


def shuffled(builder: Any, vector: Any, places: Sequence[int]) -> Any:
    """Return the values at some places of a vector, in that order."""
    mask = ir.Constant(ir.VectorType(ir.IntType(32), len(places)), list(places))
    return builder.shuffle_vector(vector, ir.Constant(vector.type, ir.Undefined), mask)


def splat(builder: Any, value: Any, lanes: int) -> Any:
    """Return a vector all of whose values are one."""
    undefined = ir.Constant(ir.VectorType(value.type, lanes), ir.Undefined)
    first = builder.insert_element(undefined, value, ir.Constant(ir.IntType(32), 0))
    return one_of(builder, first, 0)


def one_of(builder: Any, vector: Any, place: int) -> Any:
    """Return a vector all of whose values are the one at a place of another."""
    return shuffled(builder, vector, [place] * vector.type.count)


def sum_of(builder: Any, vector: Any) -> Any:
    """Return the sum of a vector's values, a power of two many."""
    while vector.type.count > 1:
        half = vector.type.count // 2
        sides = (range(half), range(half, 2 * half))
        vector = add(builder, *(shuffled(builder, vector, side) for side in sides))
    return builder.extract_element(vector, ir.Constant(ir.IntType(32), 0))
