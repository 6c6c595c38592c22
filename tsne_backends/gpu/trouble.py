"""One run on one GPU: the device is chosen, trouble gets a name, and memory is given back.

What the run computes is passed in and not looked at. What is missing on a machine is said
beforehand in ``hardware``, and what no GPU computes in ``refusals``.
"""

from __future__ import annotations

import gc
import importlib
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import TypeVar

from tsne_backends.errors import BackendError, BackendUnavailableError, GpuMemoryError
from tsne_backends.gpu.hardware import INSTALL, installed_release

T = TypeVar("T")

#: What every run needs; loaded before any work.
LIBRARIES = ("cupy", "cuvs.common", "cuvs.neighbors.all_neighbors", "cuvs.neighbors.brute_force")

#: What the libraries' errors say when memory runs out, each in words of its own.
MEMORY_WORDS = (
    "out of memory",
    "out_of_memory",
    "bad_alloc",
    "alloc_failed",
    "cudaerrormemoryallocation",
)
#: What they say when there is no GPU to work with, its driver does not fit, or code cannot be made
#: for it.
DEVICE_WORDS = (
    "cudaerrornodevice",
    "cudaerrorinsufficientdriver",
    "cudaerrorinvaliddevice",
    "cudaerrordevicesunavailable",
    "cudaerrornokernelimagefordevice",
    "cudaerrorinitializationerror",
    "cudaerrorsystemdrivermismatch",
    "no cuda-capable device",
    "driver version is insufficient",
    "invalid device ordinal",
    "compileexception",
    "nvrtc",
)


def run_on_gpu(
    work: Callable[[], T], device: int, too_large: str, more_libraries: Sequence[str] = ()
) -> T:
    """Return what ``work()`` returns, run on one GPU.

    Parameters
    ----------
    work : callable
    device : int
        Number of the GPU.
    too_large : str
        What to say where its memory runs out.
    more_libraries : sequence of str
        Modules that this run needs besides `LIBRARIES`.

    Raises
    ------
    BackendUnavailableError
        A library cannot be loaded, or finds no device it can use.
    GpuMemoryError
        Memory ran out; what was taken is given back, and the GPU can be used again.
    """
    _load((*LIBRARIES, *more_libraries))
    import cupy

    pool = cupy.get_default_memory_pool()
    named = None
    try:
        # cuML and cuDF set an allocator that asks the driver each time; ours keeps what it has.
        with cupy.cuda.Device(device), cupy.cuda.using_allocator(pool.malloc):
            return work()
    except BackendError:
        raise
    except Exception as error:
        named = _named(error, too_large)
        if named is None:
            raise
        # Frames hold arrays on the GPU, and would keep them as long as the error is remembered.
        traceback.clear_frames(error.__traceback__)
        named.__notes__ = [f"The library said: {type(error).__name__}: {error}"]
    finally:
        _release(device)
    gc.collect()
    _release(device)
    raise named


def _load(modules: Sequence[str]) -> None:
    try:
        for name in modules:
            importlib.import_module(name)
    except Exception as error:  # a library of CUDA may be missing in any way
        raise BackendUnavailableError(
            "The GPU engine is installed but cannot be loaded "
            f"({type(error).__name__}: {error}); reinstall it: `{_reinstall()}`."
        ) from error


def _reinstall() -> str:
    """Return the command that puts the installed packages in place once more."""
    release = installed_release()
    command = INSTALL[(release.cuda if release else None) or 13]
    return command.replace("install", "install --force-reinstall")


def _named(error: Exception, too_large: str) -> Exception | None:
    """Return our error for one of the libraries', None for any other."""
    words = f"{type(error).__name__} {error}".lower()
    if isinstance(error, MemoryError) or any(word in words for word in MEMORY_WORDS):
        return GpuMemoryError(too_large)
    if isinstance(error, (ImportError, OSError)) or any(word in words for word in DEVICE_WORDS):
        return BackendUnavailableError(f"The GPU cannot be used: {type(error).__name__}: {error}.")
    return None


def _release(device: int) -> None:
    """Give memory back that CuPy keeps for later."""
    import cupy

    with suppress(Exception), cupy.cuda.Device(device):  # the error on its way matters more
        cupy.fft.config.get_plan_cache().clear()
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
