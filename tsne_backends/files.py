"""Reading data matrices and writing maps, for the command line.

Nothing here unpickles. An output file appears whole or not at all; what stands in the way of
writing it is found out before any work starts.
"""

from __future__ import annotations

import csv
import importlib
import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tsne_backends.errors import BackendError, did_you_mean

OBSM_KEY = "X_tsne"  # where scanpy keeps and looks for a t-SNE map


class FileFormatError(BackendError, ValueError):
    """A file cannot be read or written as asked."""


@dataclass(frozen=True)
class Table:
    """A data matrix and, where the file names its rows, the names.

    Attributes
    ----------
    matrix : ndarray or sparse matrix of shape (n_samples, n_features)
    row_names : tuple of str or None
        One per row.
    """

    matrix: Any
    row_names: tuple[str, ...] | None = None


def read_table(path: Path, *, rep: str | None = None, key: str | None = None) -> Table:
    """Read a data matrix.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz`` (dense, or SciPy sparse), ``.csv``, ``.tsv``, ``.parquet``, ``.h5ad`` or
        ``.mtx``.
    rep : str, optional
        For ``.h5ad``: the key in ``obsm`` to read instead of ``X``, which is then not loaded.
    key : str, optional
        For ``.npz``: the name of the array, where there are several.

    Returns
    -------
    Table

    Raises
    ------
    FileNotFoundError
        There is no such file.
    FileFormatError
        The ending is not known, or the file does not hold what its ending says.
    """
    if not path.is_file():
        raise FileNotFoundError(f"There is no file {path}; check the path.")
    reader = _READERS.get(_known_suffix(path, _READERS, "read"))
    for given, option, suffix in ((rep, "--rep", ".h5ad"), (key, "--key", ".npz")):
        if given is not None and path.suffix.lower() != suffix:
            raise FileFormatError(f"{option} is for {suffix} files; {path.name} is none.")
    assert reader is not None
    try:
        return reader(path, rep or key)
    except (FileFormatError, ImportError):
        raise
    except (ValueError, OSError, KeyError, EOFError) as error:
        raise FileFormatError(
            f"{path.name} could not be read as {path.suffix}: {error}. Check that the file is "
            "complete and its ending right."
        ) from error


def check_output(path: Path, source: Path | None = None, *, force: bool = False) -> None:
    """Refuse an output that could not be written, before any work starts.

    Parameters
    ----------
    path : Path
        The file to be written.
    source : Path, optional
        The input file.
    force : bool, default=False
        Allow replacing an existing file.

    Raises
    ------
    FileExistsError
        The file exists and ``force`` is not set.
    FileNotFoundError
        Its folder does not exist.
    FileFormatError
        The ending is not known, or does not go with the input.
    """
    suffix = _known_suffix(path, _WRITERS, "written")
    if not path.parent.is_dir():
        raise FileNotFoundError(f"The folder {path.parent} does not exist; create it first.")
    if path.is_dir():
        raise FileFormatError(f"{path} is a folder; give the name of a file.")
    if suffix == ".h5ad" and (source is None or source.suffix.lower() != ".h5ad"):
        raise FileFormatError(
            f"{path.name} would be a copy of the input with the map added, so the input must be "
            ".h5ad too; choose .npy or .csv instead."
        )
    same = source is not None and path.exists() and path.samefile(source)
    if same and suffix != ".h5ad":
        raise FileFormatError(f"{path} is the input itself; choose another output file.")
    if path.exists() and not force:
        raise FileExistsError(f"{path} exists already; add --force to replace it.")


def write_embedding(
    path: Path,
    embedding: NDArray[np.float32],
    row_names: tuple[str, ...] | None = None,
    source: Path | None = None,
) -> None:
    """Write a map; the file appears whole or not at all.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz``, ``.csv``, ``.tsv``, ``.parquet``, or ``.h5ad``: a copy of ``source``
        with the map in ``obsm["X_tsne"]``.
    embedding : ndarray of shape (n_samples, n_components), float32
    row_names : tuple of str, optional
        Written as a first column ``id`` where the format has columns.
    source : Path, optional
        The input file.

    Raises
    ------
    FileFormatError
        The ending is not known.
    OSError
        The file cannot be written; an existing one is untouched.
    """
    writer = _WRITERS[_known_suffix(path, _WRITERS, "written")]
    with whole_or_not_at_all(path) as unfinished:
        writer(unfinished, embedding, row_names, source)


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Yield a temporary name beside ``path``, which takes its place only if nothing goes wrong.

    Parameters
    ----------
    path : Path
        The file to appear. An existing one stays as it is until then.
    """
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".unfinished-", suffix=path.suffix)
    os.close(handle)
    unfinished = Path(name)
    try:
        yield unfinished
        with unfinished.open("rb+") as written:
            os.fsync(written.fileno())
        # mkstemp makes a private file; the result gets the permissions any new file would.
        umask = os.umask(0)
        os.umask(umask)
        unfinished.chmod(0o666 & ~umask)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def _known_suffix(path: Path, table: dict[str, Any], verb: str) -> str:
    suffix = path.suffix.lower()
    if suffix not in table:
        raise FileFormatError(
            f'Files ending in "{suffix}" cannot be {verb} ({path.name}); known endings: '
            f"{', '.join(table)}.{did_you_mean(suffix, table)}"
        )
    return suffix


def _need(module: str, extra: str) -> Any:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise FileFormatError(
            f"This file format needs {module.partition('.')[0]}, which is not installed; run "
            f'`pip install "serverless-tsne[{extra}]"`.'
        ) from error


def _read_npy(path: Path, _: str | None) -> Table:
    return Table(np.load(path, allow_pickle=False))


def _read_npz(path: Path, key: str | None) -> Table:
    with np.load(path, allow_pickle=False) as archive:
        names = list(archive.files)
        if {"format", "shape", "data"} <= set(names):
            from scipy.sparse import load_npz

            return Table(load_npz(path))
        if key is None and len(names) != 1:
            raise FileFormatError(
                f"{path.name} holds several arrays ({', '.join(names)}); choose one with --key."
            )
        name = key if key is not None else names[0]
        if name not in names:
            raise FileFormatError(
                f'{path.name} holds no array "{name}", only: {", ".join(names)}.'
                f"{did_you_mean(name, names)}"
            )
        return Table(archive[name])


def _read_mtx(path: Path, _: str | None) -> Table:
    from scipy.io import mmread

    matrix = mmread(path)
    return Table(matrix.tocsr() if hasattr(matrix, "tocsr") else matrix)


def _read_text(path: Path, _: str | None) -> Table:
    layout: dict[str, Any] = {
        "delimiter": "\t" if path.suffix.lower() == ".tsv" else ",",
        "encoding": "utf-8-sig",
        "quotechar": '"',
        "comments": None,
    }
    with path.open(newline="", encoding="utf-8-sig") as file:
        head = list(itertools.islice(csv.reader(file, delimiter=layout["delimiter"]), 2))
    if not head:
        raise FileFormatError(f"{path.name} is empty.")
    has_header = not any(_is_number(cell) for cell in head[0][1:] or head[0])
    if has_header and len(head) < 2:
        raise FileFormatError(f"{path.name} holds no rows of numbers.")
    layout["skiprows"] = int(has_header)
    row = head[-1]
    first = 0 if _is_number(row[0]) else 1
    text = [number for number, cell in enumerate(row) if number >= first and not _is_number(cell)]
    if text or len(row) == first:
        which = f'column "{head[0][text[0]]}"' if text else "every column"
        raise FileFormatError(
            f"In {path.name}, {which} holds text. Only the first column may, as the names of the "
            "rows; remove the others."
        )
    matrix = np.loadtxt(path, usecols=range(first, len(row)), ndmin=2, **layout)
    if not first:
        return Table(matrix)
    return Table(matrix, tuple(np.loadtxt(path, usecols=0, dtype=str, ndmin=1, **layout).tolist()))


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _read_parquet(path: Path) -> DataFile:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    metadata = table.schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", []) if isinstance(name, str)]
    if not index and table.num_columns and _is_text(table.schema.types[0]):
        index = table.column_names[:1]
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in index:
            continue
        if not _is_number(column.type):
            raise text_column(path, name, f"values of type {column.type}")
        if column.null_count:
            raise missing_value(path, name, f"in {column.null_count} rows")
        columns.append(column.to_numpy())
    if not columns:
        raise FileFormatError(f'"{path}" has no column of numbers to embed.')
    ids = tuple(map(str, table.column(index[0]).to_pylist())) if len(index) == 1 else None
    return DataFile(np.column_stack(columns), ids)


def _is_text(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _is_number(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def text_column(path: Path, column: str, what: str) -> FileFormatError:
    """Return the error for a column that t-SNE cannot use, naming it."""
    return FileFormatError(
        f'Column "{column}" of "{path}" holds {what}, but t-SNE needs numbers: remove the column or '
        "encode it as numbers. Row names belong in the first column, under an empty header."
    )


def missing_value(path: Path, column: str, where: str) -> FileFormatError:
    """Return the error for a value that is not there, naming the column and the place."""
    return FileFormatError(
        f'Column "{column}" of "{path}" has no value {where}: fill in the missing values, or remove '
        "the rows or the column."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "nothing else"
