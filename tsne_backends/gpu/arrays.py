"""Arrays that lie on a GPU: how to tell, check and cut them, and hand results back in kind.

CuPy arrays, cuDF frames, and whatever speaks DLPack or the CUDA array interface (torch tensors,
say) are used where they are. Nothing here loads a GPU library unless there is such an array.
"""

from __future__ import annotations

import importlib.util
import sys
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: DLPack's numbers of memory that CUDA can use: of a GPU, and managed.
CUDA_MEMORY = (2, 13)
#: Entries of temporary matrices, 4 bytes each.
BLOCK_ENTRIES = 1 << 25


def is_on_gpu(X: Any) -> bool:
    """Say whether data lie on an NVIDIA GPU; sparse matrices there do not count."""
    if hasattr(X, "tocsr"):
        return False
    if _is_cudf(X):
        return True
    if callable(getattr(type(X), "__dlpack_device__", None)):
        return int(X.__dlpack_device__()[0]) in CUDA_MEMORY
    return hasattr(type(X), "__cuda_array_interface__")


def has_cupy() -> bool:
    """Whether CuPy is installed, without which arrays on a GPU can only be fetched from it."""
    return importlib.util.find_spec("cupy") is not None


def on_host(X: Any) -> Any:
    """Return an array in the memory of the processor; one that is there comes back as it is."""
    cupy = sys.modules.get("cupy")
    return X if cupy is None or not isinstance(X, cupy.ndarray) else cupy.asnumpy(X)


def from_gpu(X: Any) -> Any:
    """Return data of any kind in the processor's memory; what is there comes back as it is.

    Frames stay frames, so that their columns keep their names.
    """
    module = type(X).__module__
    if _is_cudf(X):
        return X.to_pandas()
    if hasattr(X, "tocsr") and module.startswith("cupyx."):
        return X.get()
    if not is_on_gpu(X):
        return X
    if callable(getattr(X, "cpu", None)):  # torch needs no CuPy for this
        return X.detach().cpu().numpy()
    return on_host(_as_cupy(X))


def dense_on_gpu(X: Any) -> Any:
    """Return a dense array on the GPU; one that is there comes back as it is."""
    import cupy

    return cupy.asarray(X)


def blocks(n: int, entries_per_row: int, entries: int = BLOCK_ENTRIES) -> list[slice]:
    """Return slices over n rows whose temporary matrices stay small."""
    size = max(1, entries // max(1, entries_per_row))
    return [slice(start, min(n, start + size)) for start in range(0, n, size)]


def device_name() -> str:
    """Return the name of the GPU in use: the driver's list may be in another order than CUDA's."""
    import cupy

    number = cupy.cuda.Device().id
    name: str = cupy.cuda.runtime.getDeviceProperties(number)["name"].decode()
    return name


def device_of(X: Any) -> int | None:
    """Return the number of the GPU that an array lies on, None for the processor's memory."""
    cupy = sys.modules.get("cupy")
    return None if cupy is None or not isinstance(X, cupy.ndarray) else int(X.device.id)


def check_gpu_data(X: Any) -> Any:
    """Validate data on a GPU as scikit-learn does data in memory.

    Parameters
    ----------
    X : cupy.ndarray, cudf.DataFrame, or an array that speaks DLPack, on a GPU

    Returns
    -------
    cupy.ndarray of shape (n_samples, n_features), float32 or float64
        The very memory of X where its type allows.

    Raises
    ------
    ValueError
        X has not two dimensions, less than 2 rows or no feature, is complex, or not finite.
    ImportError
        CuPy is not installed.
    """
    X = _as_cupy(X)
    with X.device:
        return _checked(X)


def _checked(X: Any) -> Any:
    import cupy

    if X.ndim != 2:
        raise ValueError(
            f"Expected 2D array, got {X.ndim}D array of shape {X.shape} instead. Reshape it into "
            "rows by features."
        )
    if X.shape[0] < 2 or X.shape[1] < 1:
        raise ValueError(
            f"Found array with {X.shape[0]} sample(s) and {X.shape[1]} feature(s); t-SNE needs at "
            "least 2 samples and 1 feature."
        )
    if X.dtype.kind == "c":
        raise ValueError("Complex data not supported; X on the GPU is complex.")
    if X.dtype not in (np.float32, np.float64):
        X = X.astype(np.float32)
    if not bool(cupy.isfinite(X).all()):
        raise ValueError("Input X contains NaN or infinity; drop or impute such rows.")
    return X


def feature_names_of(X: Any) -> NDArray[Any] | None:
    """Return the names of a frame's columns where all of them are strings, else None."""
    names = list(getattr(X, "columns", []))
    whole = bool(names) and all(isinstance(name, str) for name in names)
    return np.asarray(names, dtype=object) if whole else None


def in_kind(coordinates: NDArray[np.float32], given: Any) -> Any:
    """Return a map as the kind of array that was given, on the same GPU.

    Parameters
    ----------
    coordinates : ndarray of shape (n_samples, n_components), float32
    given : object
        Data on a GPU, as the user passed them.

    Returns
    -------
    cupy.ndarray, torch.Tensor or cudf.DataFrame
        CuPy's where the kind is another.
    """
    import cupy

    kind = type(given).__module__.partition(".")[0]
    if kind == "cudf":
        frame = sys.modules["cudf"]
        return frame.DataFrame(cupy.asarray(coordinates), index=given.index)
    if kind == "torch":
        return sys.modules["torch"].as_tensor(coordinates, device=given.device)
    with cupy.cuda.Device(device_of(_as_cupy(given))):
        return cupy.asarray(coordinates)


def _is_cudf(X: Any) -> bool:
    return type(X).__module__.partition(".")[0] == "cudf"


def _as_cupy(X: Any) -> Any:
    import cupy

    if isinstance(X, cupy.ndarray):
        return X
    if _is_cudf(X):
        return X.to_cupy()
    if callable(getattr(X, "detach", None)):
        X = X.detach()  # torch hands out no tensor that is part of a graph of gradients
    if hasattr(X, "__dlpack__"):
        return cupy.from_dlpack(X)
    return cupy.asarray(X)
