"""`Outline`: what a plan needs to know of data, found without looking at a value of them.

Values are looked at, and parameters with them, in ``validation``.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass(frozen=True)
class Outline:
    """What a plan needs to know of X.

    Attributes
    ----------
    n_samples, n_features : int
        Shape of X.
    dtype : str
        Its type after validation, ``"float32"`` or ``"float64"``.
    n_bytes : int
        Bytes of it in memory, as that type; of a sparse matrix, those of what is stored.
    is_sparse : bool
    """

    n_samples: int
    n_features: int
    dtype: str
    n_bytes: int
    is_sparse: bool = False


def check_is_matrix(X: Any) -> None:
    """Refuse what is not a data matrix but stands for one: the name of a file, an AnnData object.

    Raises
    ------
    TypeError
        It is one of these; the message says how to get at the matrix.
    """
    if isinstance(X, str | os.PathLike):
        raise TypeError(
            f'X must be a data matrix; it was the name of a file, "{os.fspath(X)}". Read the file '
            "first, for example with numpy.load or pandas.read_csv, or run `serverless-tsne embed`."
        )
    if hasattr(X, "obsm") and hasattr(X, "obs"):
        raise TypeError(
            "X must be a data matrix; it was an AnnData object. Pass one of its matrices, such as "
            'adata.obsm["X_pca"], or call tsne_backends.anndata.tsne(adata).'
        )


def outline(X: Any) -> Outline:
    """Return the shape and kind of data without looking at its values.

    Raises
    ------
    ValueError
        X has no two dimensions.
    TypeError
        It is no data matrix; see `check_is_matrix`.
    """
    check_is_matrix(X)
    if hasattr(X, "tocsr"):
        stored = X.nnz * (_floating(X.dtype).itemsize + 4) + 4 * (X.shape[0] + 1)
        n, d = X.shape
        return Outline(n, d, _floating(X.dtype).name, stored, is_sparse=True)
    if not hasattr(X, "shape"):
        X = np.asarray(X)
    if len(X.shape) != 2:
        raise ValueError(
            f"A plan needs data of two dimensions, rows by features; X has shape {X.shape}."
        )
    types = [X.dtype] if hasattr(X, "dtype") else list(getattr(X, "dtypes", []))
    kind = np.result_type(*map(_floating, types)) if types else np.dtype(np.float64)
    return given_outline(X.shape, kind.name)


def given_outline(shape: tuple[int, int], dtype: str = "float32") -> Outline:
    """Return the outline of dense data of which only shape and type are known.

    Raises
    ------
    ValueError
        The shape is not two positive integers, or the type is another.
    """
    if dtype not in ("float32", "float64"):
        raise ValueError(f'dtype must be "float32" or "float64"; it was {dtype!r}.')
    sides: list[object] = list(shape)
    whole = len(sides) == 2 and all(isinstance(side, (int, np.integer)) for side in sides)
    if not whole or min(shape) < 1:
        raise ValueError(
            f"shape must be (n_samples, n_features), two positive integers; it was {shape!r}."
        )
    n, d = (int(side) for side in shape)
    return Outline(n, d, dtype, n * d * np.dtype(dtype).itemsize)


def _floating(dtype: Any) -> np.dtype[Any]:
    """Return the type that validation turns a type into: float64 stays, all else is float32."""
    return np.dtype(np.float64 if str(dtype).lower() == "float64" else np.float32)
