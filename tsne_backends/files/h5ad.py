"""Adds maps to ``.h5ad`` files, in place or in a copy; other formats are in ``writing``.

What is in such a file is read in ``readers``; objects in memory are the business of ``anndata``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import FileFormatError
from tsne_backends.files.in_place import changed_in_place, check_changeable

#: Where scanpy keeps and looks for a t-SNE map.
OBSM_KEY = "X_tsne"
#: And for principal components, which it takes where X has more variables than this
#: (``scanpy.settings.N_PCS``) and nobody names a representation.
PCA_KEY, FEW_VARIABLES = "X_pca", 50


def default_representation(n_variables: int) -> str:
    """Return what is embedded where nobody names a representation: ``"X"`` or ``"X_pca"``."""
    return "X" if n_variables <= FEW_VARIABLES else PCA_KEY


def check_in_place(path: Path, obsm_key: str = OBSM_KEY, *, force: bool = False) -> None:
    """Refuse, before any work starts, a file to which `add_in_place` could not add a map.

    Raises
    ------
    FileFormatError
        It is no ``.h5ad`` file.
    FileExistsError
        It has a map of that name, and ``force`` is not set.
    OSError
        It is not there, may not be written to, or is open in another program.
    """
    if path.suffix.lower() != ".h5ad":
        raise FileFormatError(
            f'Only .h5ad files can be changed in place, which "{path}" is not; use --output.'
        )
    if not path.exists():
        return  # `read_table` has the better words for it
    check_changeable(path)
    import h5py

    try:
        with h5py.File(path, "r") as file:
            taken = obsm_key in file.get("obsm", {})
    except OSError:
        return  # and for what is damaged
    if taken and not force:
        raise FileExistsError(
            f'"{path}" has obsm["{obsm_key}"] already; pass --force to replace it, or choose '
            "another name with --key-added."
        )


def add_in_place(path: Path, embedding: NDArray[np.float32], obsm_key: str = OBSM_KEY) -> None:
    """Add a map to an ``.h5ad`` file without copying the file; see `in_place`.

    Parameters
    ----------
    path : Path
    embedding : ndarray of shape (n_samples, n_components), float32
        The map.
    obsm_key : str, default="X_tsne"
        Its key in ``obsm``; what is there is replaced.

    Raises
    ------
    OSError
        The file cannot be changed now; it is as it was.
    """
    with changed_in_place(path) as file:
        add_to_obsm(file, obsm_key, embedding)


def add_to_obsm(file: Any, obsm_key: str, embedding: NDArray[np.float32]) -> None:
    """Add a map to an open ``.h5ad`` file, in the place of what has its key."""
    from anndata.io import write_elem

    if "obsm" not in file:
        write_elem(file, "obsm", {})
    write_elem(file["obsm"], obsm_key, embedding)
