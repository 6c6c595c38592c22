"""Writes maps to files, whole or not at all.

What stands in the way of writing is found out by `check_output`, before any work starts.
"""

from __future__ import annotations

import csv
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files.h5ad import OBSM_KEY, add_to_obsm
from tsne_backends.files.reading import require_format
from tsne_backends.files.replacing import check_replaceable, whole_or_not_at_all
from tsne_backends.files.text_tables import DELIMITERS

WRITABLE = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".h5ad")


def check_output(path: Path, source: Path | None = None, *, force: bool = False) -> None:
    """Refuse, before any work starts, an output that `write_embedding` could not write.

    Parameters
    ----------
    path : Path
        The file to be written.
    source : Path or None, default=None
        The file the data come from.
    force : bool, default=False
        Allow taking the place of an existing file.

    Raises
    ------
    FileFormatError
        The ending is not known; or ``.h5ad`` is asked for from data that are not; or the output
        is the input.
    FileExistsError, FileNotFoundError, IsADirectoryError, PermissionError
        The file is there, its folder is not, or it may not be written.
    ImportError
        A library for this format is not installed.
    """
    suffix = path.suffix.lower()
    if suffix not in WRITABLE:
        raise FileFormatError(
            f'A map cannot be written to "{path}", whose ending is "{suffix}"; use one of '
            f"{', '.join(WRITABLE)}.{did_you_mean(suffix, WRITABLE)}"
        )
    if suffix == ".h5ad" and (source is None or source.suffix.lower() != ".h5ad"):
        raise FileFormatError(
            f'"{path}" would be a copy of the input with the map added to it, so the input must be '
            "an .h5ad file too; choose another ending for the output, such as .csv or .npy."
        )
    if source is not None and path.exists() and source.exists() and path.samefile(source):
        if suffix != ".h5ad":
            raise FileFormatError(
                f'"{path}" is the input, which the map would replace; choose another output.'
            )
        if not force:
            raise FileExistsError(
                f'"{path}" is the input; pass --force to add the map to it, or choose another '
                "output to get a copy."
            )
    check_replaceable(path, force=force)
    require_format(suffix)


def write_embedding(
    path: Path,
    embedding: NDArray[np.float32],
    row_names: Sequence[str] | None = None,
    source: Path | None = None,
    obsm_key: str = OBSM_KEY,
    rows: NDArray[np.int64] | None = None,
) -> None:
    """Write a map, whole or not at all.

    Columns are named tsne1, tsne2 and so on; row names come first, in a column ``id``, in formats
    that hold names. ``.h5ad`` becomes a copy of the source with the map added to its ``obsm``.

    Parameters
    ----------
    path : Path
        A file whose ending is in `WRITABLE`.
    embedding : ndarray of shape (n_samples, n_components), float32
        The map.
    row_names : sequence of str of length n_samples or None, default=None
        Names of the rows.
    source : Path or None, default=None
        The file the data come from; needed for ``.h5ad``.
    obsm_key : str, default="X_tsne"
        Where ``.h5ad`` keeps the map.
    rows : ndarray of int64 or None, default=None
        Row numbers in the source, from 0, for ``.npz``.

    Raises
    ------
    FileFormatError, ImportError, OSError
        Writing failed; an existing file, which `check_output` would have refused, is untouched.
    """
    check_output(path, source, force=True)
    suffix = path.suffix.lower()
    columns = [f"tsne{number}" for number in range(1, embedding.shape[1] + 1)]
    with whole_or_not_at_all(path) as temporary:
        if suffix in DELIMITERS:
            _write_text(temporary, embedding, columns, row_names, DELIMITERS[suffix])
        elif suffix == ".parquet":
            _write_parquet(temporary, embedding, columns, row_names)
        elif suffix == ".h5ad":
            assert source is not None  # by check_output
            _write_h5ad(temporary, embedding, source, obsm_key)
        else:
            # A handle, because numpy appends its own ending to a name it does not like.
            with open(temporary, "wb") as file:
                if suffix == ".npy":
                    np.save(file, embedding, allow_pickle=False)
                else:
                    arrays: dict[str, Any] = {"embedding": embedding}
                    if row_names is not None:
                        arrays["row_names"] = np.array(row_names, dtype=str)
                    if rows is not None:
                        arrays["rows"] = rows
                    np.savez(file, **arrays)


def _write_text(
    path: Path,
    embedding: NDArray[np.float32],
    columns: list[str],
    row_names: Sequence[str] | None,
    delimiter: str,
) -> None:
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, delimiter=delimiter, lineterminator="\n")
        writer.writerow(columns if row_names is None else ["id", *columns])
        # str() of a numpy number is the shortest text that reads back as the same float32.
        rows: Iterator[list[str]] = (list(map(str, row)) for row in embedding)
        if row_names is not None:
            rows = ([name, *row] for name, row in zip(row_names, rows, strict=True))
        writer.writerows(rows)


def _write_parquet(
    path: Path,
    embedding: NDArray[np.float32],
    columns: list[str],
    row_names: Sequence[str] | None,
) -> None:
    import pyarrow
    import pyarrow.parquet

    names: dict[str, Any] = {} if row_names is None else {"id": pyarrow.array(row_names)}
    # Arrow takes columns of memory that lie together.
    values = dict(zip(columns, np.ascontiguousarray(embedding.T), strict=True))
    pyarrow.parquet.write_table(pyarrow.table({**names, **values}), path)


def _write_h5ad(path: Path, embedding: NDArray[np.float32], source: Path, obsm_key: str) -> None:
    import h5py

    # A copy of the file, not of what anndata makes of it, keeps layout and compression.
    shutil.copyfile(source, path)
    with h5py.File(path, "r+") as file:
        add_to_obsm(file, obsm_key, embedding)
