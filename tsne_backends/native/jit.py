"""The one way in which this engine compiles its inner loops.

Kernels hold no Python object and call no numpy function: both multiply the time to compile. They
release the interpreter's lock and take a range of tiles, so that `threads.Team`, or within an
iteration `crew.Crew`, can share them out; numba's own parallel loops are not used, because its
portable threading layer ends the process when two threads of a program fit at once, and because
each such loop takes seconds to compile.

Indices are unsigned wherever an array is read inside a loop: a signed index might be negative,
which numba must then handle as "from the end", and that keeps the compiler from vector loads (3.2
million affinities: 7.8 ms signed, 3.9 ms unsigned).

What is kept on disk is compared with the kernel's own file only. After an edit of a function that
is compiled into kernels of other files (``simd``, ``vectors``, ``products``, ``pairs``,
``candidates``, ``board``, ``graph``, constants), ``__pycache__`` must go; the tests see to that,
and installing another version renews all files.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np
from llvmlite import ir
from numba import types
from numba.extending import intrinsic
from numpy.typing import NDArray

from tsne_backends.native.simd import FLAGS

Function = TypeVar("Function", bound=Callable[..., Any])

#: Unsigned numbers for indices; a plain integer literal beside them would make a float64.
U = np.uint64
U0, U1, U2, U3 = U(0), U(1), U(2), U(3)
U32 = np.uint32

#: Single-precision constants; a plain literal would turn the arithmetic to double precision.
F = np.float32
F0, F1 = F(0), F(1)


def as_points(Y: NDArray[np.float32]) -> NDArray[np.uint64]:
    """Return a view of positions in which each point is one number.

    Points read at random are then loaded once and not twice, which is what a loop over neighbours
    spends most of its time on (3.5 million affinities: 1.02 ns each as two loads, 0.73 as one).

    Parameters
    ----------
    Y : ndarray of shape (n, 2), float32
        Contiguous.

    Returns
    -------
    ndarray of shape (n,), uint64
    """
    return Y.view(np.uint64).reshape(-1)


@intrinsic
def coordinates(_typing: Any, point: Any) -> Any:
    """Return x and y of a point of `as_points`, in a kernel; ``vectors`` reads several at once."""
    signature = types.UniTuple(types.float32, 2)(types.uint64)

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        (both,) = arguments
        word, single = ir.IntType(32), ir.FloatType()
        above = builder.lshr(both, ir.Constant(both.type, 32))
        halves = [builder.bitcast(builder.trunc(half, word), single) for half in (both, above)]
        return context.make_tuple(builder, signature.return_type, halves)

    return signature, generate


def kernel(function: Function) -> Function:
    """Compile a function for the types it is first called with, and keep the result on disk."""
    return _compiled(function, set(FLAGS))


def inner_kernel(function: Function) -> Function:
    """Compile a function that only compiled code calls: other kernels, and `calls.Call`.

    It has no way in from Python, which takes time to compile: the process crashes if Python calls
    it nevertheless.
    """
    return _compiled(function, set(FLAGS), no_cpython_wrapper=True)


def finite_kernel(function: Function) -> Function:
    """Compile a function that is never given NaN or infinity: its minima become vectors, too."""
    return _compiled(function, True)


def inner_finite_kernel(function: Function) -> Function:
    """Compile a finite kernel that only compiled code calls; see `inner_kernel`."""
    return _compiled(function, True, no_cpython_wrapper=True)


def part(function: Function) -> Function:
    """Let a function be a part of kernels, which costs less than to compile it beside."""
    return _compiled(function, set(FLAGS), inline="always")


def finite_part(function: Function) -> Function:
    """Let a function be a part of finite kernels."""
    return _compiled(function, True, inline="always")


#: What kernels do without: a way in from C, and counting who holds an array, since nothing is made
#: in a kernel and all it is given outlives it. With `inner_kernel`, a sixth less to compile.
_SPARED = {"no_cfunc_wrapper": True, "_nrt": False}


def _compiled(function: Function, fastmath: Any, **further: Any) -> Function:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy", **_SPARED, **further}
    try:
        compiled: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's can be written to
        compiled = numba.njit(**options)(function)
    return compiled
