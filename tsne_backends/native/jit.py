"""The one way in which this engine compiles its inner loops.

Kernels hold no Python object and call no numpy function: both multiply the time to compile. They
release the interpreter's lock and take a range of tiles, so that `threads.Team` can share them out;
numba's own parallel loops are not used, because its portable threading layer ends the process when
two threads of a program fit at once, and because each such loop takes seconds to compile.

Indices are unsigned wherever an array is read inside a loop: a signed index might be negative,
which numba must then handle as "from the end", and that keeps the compiler from vector loads (3.2
million affinities: 7.8 ms signed, 3.9 ms unsigned).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import numba
import numpy as np

Function = TypeVar("Function", bound=Callable[..., Any])

#: Unsigned numbers for indices; a plain integer literal beside them would make a float64.
U = np.uint64
U0, U1, U2, U3 = U(0), U(1), U(2), U(3)
U32 = np.uint32

#: Single-precision constants; a plain literal would turn the arithmetic to double precision.
F = np.float32
F0, F1 = F(0), F(1)


#: Sums may be reordered into vectors and divisions done by reciprocals: the same on every run and
#: for every number of threads on one machine, but not on machines with other vector units. NaN and
#: infinity keep their meaning, because the optimiser has to notice them.
_FAST = {"reassoc", "contract", "arcp", "nsz", "afn"}


def kernel(function: Function) -> Function:
    """Compile a function for the types it is first called with, and keep the result on disk."""
    return _compiled(function, _FAST)


def finite_kernel(function: Function) -> Function:
    """Compile a function that is never given NaN or infinity: its minima become vectors, too."""
    return _compiled(function, True)


def _compiled(function: Function, fastmath: Any) -> Function:
    options = {"nogil": True, "fastmath": fastmath, "error_model": "numpy"}
    try:
        compiled: Function = numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither this folder nor the user's can be written to
        compiled = numba.njit(**options)(function)
    return compiled
