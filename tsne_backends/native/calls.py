"""Calls of kernels that compiled code makes, without Python.

Python takes 5 to 10 µs to call a kernel of many arrays, and one thread some 50 µs to hand work to
another, because both want the interpreter's lock. What an iteration does is therefore made ready
once, as calls that hold their arguments, and made by ``crew`` as often as is needed.
"""

from __future__ import annotations

from functools import cache
from typing import Any

import llvmlite.binding as llvm
import numpy as np
from llvmlite import ir
from numba import typeof, types
from numba.core.compiler_lock import global_compiler_lock
from numba.core.registry import cpu_target
from numba.np.numpy_support import from_dtype

_WORD = ir.IntType(64)
#: What compiled code calls: a first and a last tile, and where the other arguments lie.
ENTRY = ir.FunctionType(ir.VoidType(), [_WORD] * 3)


class Call:
    """A kernel and its arguments, to be called for tiles in any order and on any thread.

    Parameters
    ----------
    kernel : callable
        See `jit.inner_kernel`: ``kernel(first, stop, *arguments)``. It must not raise: nobody would
        know.
    n_tiles : int
    *arguments
        Contiguous arrays, which are kept and whose values count at the time of the call, and
        numbers, which count as they are now.

    Attributes
    ----------
    n_tiles : int
    entry, place : int
        Addresses of what compiled code calls, and of the arguments.
    """

    def __init__(self, kernel: Any, n_tiles: int, *arguments: Any) -> None:
        self.n_tiles = n_tiles
        self.entry = _entry(kernel, tuple(_key_of(argument) for argument in arguments))
        self._kept = arguments
        self._words = np.array([w for a in arguments for w in _words(a)], dtype=np.uint64)
        self.place = self._words.ctypes.data


def _words(argument: Any) -> list[int]:
    """Return an argument as compiled functions take it, every part as a word of 64 bits."""
    if isinstance(argument, np.ndarray):
        owner = [0, 0]  # nobody counts references: `Call` keeps the array
        data = [argument.size, argument.itemsize, argument.ctypes.data]
        return [*owner, *data, *argument.shape, *argument.strides]
    if isinstance(argument, int):
        return [int(argument) % 2**64]
    raw = np.asarray(argument).tobytes()
    return [int.from_bytes(raw, "little")]


def _key_of(argument: Any) -> Any:
    """Return what tells types of arguments apart; numba's own types take far longer to make."""
    if isinstance(argument, np.ndarray):
        if not argument.flags.c_contiguous:
            raise ValueError("Compiled code takes arrays to be contiguous; one of a call was not.")
        return argument.dtype, argument.ndim, argument.flags.writeable
    return type(argument)


def _kind_of(key: Any) -> Any:
    """Return numba's type of such arguments."""
    if isinstance(key, tuple):
        dtype, dimensions, writeable = key
        return types.Array(from_dtype(dtype), dimensions, "C", readonly=not writeable)
    return typeof(key())


@cache
@global_compiler_lock
def _entry(kernel: Any, keys: tuple[Any, ...]) -> int:
    """Return the address of a function that takes a kernel's arguments from memory and calls it."""
    kinds = [_kind_of(key) for key in keys]
    signature = (types.int64, types.int64, *kinds)
    kernel.compile(signature)
    compiled = kernel.overloads[signature]
    address = compiled.library.get_pointer_to_function(compiled.fndesc.llvm_func_name)
    assert address, f"{kernel.__name__} has no address."
    convention = cpu_target.target_context.call_conv
    called = convention.get_function_type(compiled.fndesc.restype, compiled.fndesc.argtypes)

    module = ir.Module()
    function = ir.Function(module, ENTRY, "entry")
    builder = ir.IRBuilder(function.append_basic_block())
    first, stop, place = function.args
    place = builder.inttoptr(place, _WORD.as_pointer())
    results = [builder.alloca(kind.pointee) for kind in called.args[:2]]
    values = [
        _as(builder, builder.load(builder.gep(place, [ir.Constant(_WORD, at)])), kind)
        for at, kind in enumerate(called.args[4:])
    ]
    target = builder.inttoptr(ir.Constant(_WORD, address), called.as_pointer())
    builder.call(target, [*results, first, stop, *values])
    builder.ret_void()
    return _address_of(module)


#: What holds the code of entries.
_engines: list[Any] = []


def _address_of(module: Any) -> int:
    """Return the address of a module's ``entry``, compiled as it is: there is nothing to gain."""
    target = llvm.Target.from_triple(llvm.get_process_triple()).create_target_machine(opt=0)
    engine = llvm.create_mcjit_compiler(llvm.parse_assembly(str(module)), target)
    engine.finalize_object()
    _engines.append(engine)
    return int(engine.get_function_address("entry"))


def _as(builder: Any, word: Any, kind: Any) -> Any:
    """Return a word of 64 bits as a value of another kind."""
    if isinstance(kind, ir.PointerType):
        return builder.inttoptr(word, kind)
    if kind == _WORD:
        return word
    if isinstance(kind, ir.DoubleType):
        return builder.bitcast(word, kind)
    if isinstance(kind, ir.FloatType):
        return builder.bitcast(builder.trunc(word, ir.IntType(32)), kind)
    return builder.trunc(word, kind)
