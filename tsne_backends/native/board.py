"""Numbers that threads share without a lock, and calls by address: what ``crew`` is made of.

Every function takes an array of int64 and a place in it. What a thread wrote before it has put,
replaced or increased a number is seen by every thread that has looked at the number since.
"""

from __future__ import annotations

from typing import Any

import llvmlite.binding as llvm
from llvmlite import ir
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic

from tsne_backends.native.calls import ENTRY


def _where(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    """Return a pointer to the number that the first two arguments name."""
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.gep(array.data, [arguments[1]])


@intrinsic
def look(_typing: Any, board: Any, at: Any) -> Any:
    """Return a number."""
    signature = types.int64(board, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where = _where(context, builder, signature, arguments)
        return builder.load_atomic(where, "acquire", 8)

    return signature, generate


@intrinsic
def put(_typing: Any, board: Any, at: Any, value: Any) -> Any:
    """Write a number."""
    signature = types.void(board, types.uint64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where = _where(context, builder, signature, arguments)
        builder.store_atomic(arguments[2], where, "seq_cst", 8)
        return context.get_dummy_value()

    return signature, generate


@intrinsic
def replace(_typing: Any, board: Any, at: Any, old: Any, new: Any) -> Any:
    """Write a number where another was, and say whether it was that."""
    signature = types.boolean(board, types.uint64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where = _where(context, builder, signature, arguments)
        found = builder.cmpxchg(where, arguments[2], arguments[3], "seq_cst", "seq_cst")
        return builder.extract_value(found, 1)

    return signature, generate


@intrinsic
def increase(_typing: Any, board: Any, at: Any) -> Any:
    """Add one to a number."""
    signature = types.void(board, types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        where = _where(context, builder, signature, arguments)
        builder.atomic_rmw("add", where, ir.Constant(ir.IntType(64), 1), "seq_cst")
        return context.get_dummy_value()

    return signature, generate


def waiting(triple: str) -> tuple[str, list[Any]]:
    """Return the compiler's name for an instruction that waits a little, and its arguments."""
    if triple.startswith(("x86_64", "i386", "i686")):
        return "llvm.x86.sse2.pause", []
    if triple.startswith(("aarch64", "arm64")):
        return "llvm.aarch64.isb", [ir.Constant(ir.IntType(32), 15)]  # "yield" does not wait
    return "", []


@intrinsic
def pause(_typing: Any) -> Any:
    """Wait some tens of cycles, and leave the core's units to its other thread meanwhile."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        name, given = waiting(llvm.get_process_triple())
        if name:
            kind = ir.FunctionType(ir.VoidType(), [value.type for value in given])
            builder.call(cgutils.get_or_insert_function(builder.module, kind, name), given)
        return context.get_dummy_value()

    return types.void(), generate


@intrinsic
def call(_typing: Any, entry: Any, tile: Any, place: Any) -> Any:
    """Make a call for one tile; see `calls.Call`."""
    signature = types.void(types.int64, types.int64, types.int64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        entry, tile, place = arguments
        target = builder.inttoptr(entry, ENTRY.as_pointer())
        builder.call(target, [tile, builder.add(tile, tile.type(1)), place])
        return context.get_dummy_value()

    return signature, generate
