"""One run on one GPU: the device is chosen, trouble gets a name, and memory is given back."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager, suppress

from tsne_backends.errors import BackendError, BackendUnavailableError, GpuMemoryError

#: What the libraries' errors say when memory runs out, each in words of its own.
MEMORY_WORDS = ("out of memory", "bad_alloc", "out_of_memory", "cudaerrormemoryallocation")
#: What they say when there is no GPU to work with, or its driver does not fit.
DEVICE_WORDS = (
    "cudaerrornodevice",
    "cudaerrorinsufficientdriver",
    "cudaerrorinvaliddevice",
    "no cuda-capable device",
    "driver version is insufficient",
    "invalid device ordinal",
)


@contextmanager
def gpu_session(device: int, too_large: str) -> Iterator[None]:
    """Run the enclosed work on one GPU.

    Parameters
    ----------
    device : int
        Number of the GPU.
    too_large : str
        What to say where its memory runs out.

    Raises
    ------
    BackendUnavailableError
        A library cannot be loaded, or finds no device.
    GpuMemoryError
        Memory ran out; what was taken is given back, and the GPU can be used again.
    """
    try:
        import cupy
        import cuvs  # noqa: F401 — here, where a failure still has no consequences
    except Exception as error:  # a library of CUDA may be missing in any way
        raise BackendUnavailableError(
            "The GPU engine is installed but cannot be loaded "
            f"({type(error).__name__}: {error}); reinstall it as docs/gpu.md says."
        ) from error
    try:
        with cupy.cuda.Device(device):
            yield
    except BackendError:
        raise
    except Exception as error:
        named = _named(error, too_large)
        if named is None:
            raise
        # Frames of the traceback hold arrays on the GPU, and would keep them as long as it lives.
        error.__traceback__ = None
        gc.collect()
        raise named from error
    finally:
        _release(device)


def _named(error: Exception, too_large: str) -> Exception | None:
    """Return our error for one of the libraries', None for any other."""
    words = f"{type(error).__name__} {error}".lower()
    if isinstance(error, MemoryError) or any(word in words for word in MEMORY_WORDS):
        return GpuMemoryError(too_large)
    if any(word in words for word in DEVICE_WORDS):
        return BackendUnavailableError(f"The GPU cannot be used: {error}.")
    return None


def _release(device: int) -> None:
    """Give memory back that CuPy keeps for later."""
    import cupy

    with suppress(Exception), cupy.cuda.Device(device):  # the error on its way matters more
        cupy.get_default_memory_pool().free_all_blocks()
        cupy.get_default_pinned_memory_pool().free_all_blocks()
