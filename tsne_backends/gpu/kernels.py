"""Compiles ``kernels.cu`` for the GPU at hand, once a process, and launches its loops.

What a loop computes is said in that file. Which is launched when, and on what, is decided in
``affinities``, ``repulsion`` and ``descent``.
"""

from __future__ import annotations

import os
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any

#: Threads of one block.
BLOCK = 128


def is_compiled() -> bool:
    """Say whether CuPy has compiled anything on this machine: ours and its own take a while."""
    chosen = os.environ.get("CUPY_CACHE_DIR")
    try:
        folder = Path(chosen or os.path.expanduser("~/.cupy/kernel_cache"))
        return any(folder.glob("*.cubin"))
    except OSError:
        return False


def source() -> str:
    """Return the text of the kernels."""
    return files(__package__).joinpath("kernels.cu").read_text(encoding="utf-8")


def launch(name: str, n_threads: int, *arguments: Any) -> None:
    """Run one kernel with at least ``n_threads`` threads on the current device and stream.

    Parameters
    ----------
    name : str
        A kernel of ``kernels.cu``.
    n_threads : int
        Rows or edges, one thread for each.
    *arguments : cupy.ndarray or NumPy scalar
        In the order and of the types the kernel has; arrays contiguous.
    """
    import cupy

    if n_threads > 0:
        kernel = _module(cupy.cuda.Device().id).get_function(name)
        kernel((-(-n_threads // BLOCK),), (BLOCK,), arguments)


@cache
def _module(device: int) -> Any:
    """Return the kernels compiled for one device; CuPy keeps them on disk for the next process."""
    import cupy

    return cupy.RawModule(code=source(), options=("--std=c++17",))
