"""How each file format becomes a data matrix; `tsne_backends.files.read_table` is the door.

What is not a matrix of real numbers is refused with a sentence that says what to do about it. Text
tables need no pandas, and nothing here unpickles.
"""

from __future__ import annotations

import csv
import inspect
import zipfile
import zlib
from array import array
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files.h5ad import default_representation
from tsne_backends.files.text_tables import DELIMITERS, is_number, is_text, open_text_table

#: What the libraries raise for a file that is cut short, or is not of its format at all.
SIGNS_OF_DAMAGE = (
    ValueError,
    TypeError,
    KeyError,
    EOFError,
    OSError,
    zipfile.BadZipFile,
    zlib.error,
    csv.Error,
)


@dataclass(frozen=True)
class Table:
    """A data matrix and, where the file names its rows, the names.

    Attributes
    ----------
    matrix : ndarray or CSR matrix of shape (n_samples, n_features)
        Real numbers in the precision of the file; text tables give float64.
    row_names : tuple of str or None
        One per row.
    part : str or None
        What was read, in words, where the file holds more.
    """

    matrix: Any
    row_names: tuple[str, ...] | None = None
    part: str | None = None


class TextColumnError(FileFormatError):
    """A column holds text where numbers are needed."""


def read(path: Path, rep: str | None, key: str | None, without: str | None) -> Table:
    """Read a file whose ending is known and whose library is installed; see `read_table`."""
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITERS:
            table = _read_text(path, DELIMITERS[suffix], without)
        elif suffix == ".parquet":
            table = _read_parquet(path, without)
        elif suffix == ".h5ad":
            table = _read_h5ad(path, rep)
        elif suffix == ".mtx":
            table = Table(_read_mtx(path))
        elif suffix == ".npz":
            table = Table(_read_npz(path, key))
        else:
            with open(path, "rb") as file:
                table = Table(np.lib.format.read_array(file, allow_pickle=False))
    except FileFormatError:
        raise
    except SIGNS_OF_DAMAGE as error:
        raise unreadable(path, error) from error
    return _checked(table, path)


def unreadable(path: Path, error: Exception) -> FileFormatError:
    """Return the error to raise for one of `SIGNS_OF_DAMAGE`."""
    if "allow_pickle" in str(error):
        return FileFormatError(
            f'"{path}" holds Python objects, and loading them could run any program, so it is '
            'not done; save numbers instead, for example X.astype("float32").'
        )
    return FileFormatError(
        f'"{path}" cannot be read as {path.suffix}: {str(error).rstrip(".")}. Check that the file '
        "is complete and that its ending tells what is in it."
    )


def _checked(table: Table, path: Path) -> Table:
    matrix = table.matrix
    shape = getattr(matrix, "shape", ())  # an .h5ad may hold anything, text too
    if len(shape) != 2:
        raise FileFormatError(
            f'"{path}" holds values of shape {shape}; a data matrix has two dimensions, '
            "samples × features."
        )
    if matrix.dtype.kind not in "biuf":
        raise FileFormatError(
            f'"{path}" holds values of type {matrix.dtype}; t-SNE needs real numbers, so convert '
            "them before saving."
        )
    matrix = matrix.tocsr() if hasattr(matrix, "tocsr") else np.asarray(matrix)
    return replace(table, matrix=matrix)


def _read_mtx(path: Path) -> Any:
    """Read a Matrix Market file; which kind of sparse matrix SciPy makes of it does not matter."""
    from scipy.io import mmread

    # SciPy 1.18 warns where the kind is left open; before 1.16 there is but one.
    kind = {"spmatrix": False} if "spmatrix" in inspect.signature(mmread).parameters else {}
    return mmread(path, **kind)


def _read_npz(path: Path, key: str | None) -> Any:
    if not zipfile.is_zipfile(path):  # numpy would take it for a pickle
        raise zipfile.BadZipFile("it is not a zip archive")
    with np.load(path, allow_pickle=False) as archive:
        names = archive.files
        if {"format", "shape", "data"} <= set(names) and key is None:
            from scipy.sparse import load_npz

            return load_npz(path)
        if key is not None and key not in names:
            raise FileFormatError(
                f'"{path}" has no array "{key}", only {listed(names)}.{did_you_mean(key, names)}'
            )
        if key is not None or len(names) == 1:
            return archive[key or names[0]]
        arrays = {name: archive[name] for name in names}
    matrices = [name for name, values in arrays.items() if values.ndim == 2]
    if len(matrices) != 1:
        shapes = ", ".join(f'"{name}" {values.shape}' for name, values in arrays.items())
        raise FileFormatError(
            f'"{path}" holds {len(matrices)} arrays of two dimensions, so choose one with --key; '
            f"it has: {shapes or 'nothing'}."
        )
    return arrays[matrices[0]]


def _read_h5ad(path: Path, rep: str | None) -> Table:
    import h5py
    from anndata.io import read_elem

    # Element by element, where even anndata's backed mode would load every layer and table.
    with h5py.File(path, "r") as file:
        check_h5ad(path, file)
        representations = sorted(file.get("obsm", {}))
        known = [*(["X"] if "X" in file else []), *representations]
        if rep is None:
            rep = _default_in(path, file, known)
        if rep not in known:
            raise FileFormatError(
                f'"{path}" has no representation "{rep}", only {listed(known)}.'
                f"{did_you_mean(rep, known)}"
            )
        in_obsm = rep in representations
        matrix = read_elem(file["obsm"][rep] if in_obsm else file["X"])
        names = read_elem(file["obs"][file["obs"].attrs["_index"]])
    if hasattr(matrix, "to_numpy"):  # obsm may hold data frames
        matrix = matrix.to_numpy()
    return Table(matrix, tuple(map(str, names)), f'obsm["{rep}"]' if in_obsm else "X")


def _default_in(path: Path, file: Any, known: Sequence[str]) -> str:
    """Return what is read where nobody says: the same as `tsne_backends.anndata.tsne` embeds."""
    variables = file["var"]
    n_variables = len(variables[variables.attrs["_index"]])
    rep = default_representation(n_variables)
    if rep in known:
        return rep
    if rep == "X":
        raise FileFormatError(
            f'"{path}" has no X; choose what to embed with --rep: {listed(known)}.'
        )
    raise FileFormatError(
        f'X of "{path}" has {n_variables} variables and obsm has no "{rep}"; run sc.pp.pca first, '
        f"or choose with --rep what to embed, X as it is or another: {listed(known)}."
    )


def check_h5ad(path: Path, file: Any) -> None:
    """Refuse an open HDF5 file without anndata's table of observations."""
    import h5py

    if not isinstance(file.get("obs"), h5py.Group):
        raise FileFormatError(
            f'"{path}" has no table of observations in the layout of anndata 0.7 or newer; '
            "open it with a current anndata and save it again."
        )


def _read_parquet(path: Path, without: str | None) -> Table:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    index = parquet_index(table.schema)
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in index or name == without:
            continue
        if not _is_number_type(column.type):
            raise _text_column(path, name, f"values of type {column.type}")
        if column.null_count:
            raise _missing_value(path, name, f"in {column.null_count} rows")
        columns.append(column.to_numpy())
    if not columns:
        raise FileFormatError(f'"{path}" has no column of numbers to embed.')
    ids = tuple(map(str, table.column(index[0]).to_pylist())) if len(index) == 1 else None
    left_out = without in table.column_names and without not in index
    return Table(np.column_stack(columns), ids, _all_but(without) if left_out else None)


def parquet_index(schema: Any) -> list[str]:
    """Return the columns that name the rows: pandas' index, else a first column of text."""
    metadata = schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", []) if isinstance(name, str)]
    if not index and len(schema) and _is_text_type(schema.types[0]):
        index = schema.names[:1]
    return index


def _is_text_type(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _is_number_type(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _read_text(path: Path, delimiter: str, without: str | None) -> Table:
    with open_text_table(path, delimiter) as table:
        names = table.names[table.has_ids :]
        left_out = None
        if without is not None and without in names:
            left_out = table.has_ids + names.index(without)
            names.remove(without)
        if not names:
            raise FileFormatError(f'"{path}" has no column of numbers to embed.')
        values, ids = array("d"), []
        for line, cells in table.rows:
            if left_out is not None:
                del cells[left_out]
            if table.has_ids:
                ids.append(cells[0])
            numbers = cells[table.has_ids :]
            try:
                # float() takes "12_3" for 123, but in data it is a name.
                if "_" in "".join(numbers):
                    raise ValueError
                values.extend(map(float, numbers))
            except ValueError:
                raise _not_a_number(path, line, names, numbers) from None
    part = None if left_out is None else _all_but(without)
    matrix = np.frombuffer(values).reshape(-1, len(names))
    return Table(matrix, tuple(ids) if table.has_ids else None, part)


def _all_but(column: str | None) -> str:
    return f'all columns but "{column}"'


def _not_a_number(
    path: Path, line: int, names: Sequence[str], cells: Sequence[str]
) -> FileFormatError:
    name, cell = next(
        (name, cell) for name, cell in zip(names, cells, strict=True) if not is_number(cell)
    )
    if is_text(cell):
        return _text_column(path, name, f'text ("{cell}" on line {line})')
    return _missing_value(path, name, f"on line {line}")


def _text_column(path: Path, column: str, what: str) -> FileFormatError:
    place = "the first column, under an empty header"
    if path.suffix.lower() == ".parquet":
        place = "the index or the first column"
    return TextColumnError(
        f'Column "{column}" of "{path}" holds {what}, but t-SNE needs numbers: remove it or '
        f"encode it as numbers. Row names belong in {place}."
    )


def _missing_value(path: Path, column: str, where: str) -> FileFormatError:
    return FileFormatError(
        f'Column "{column}" of "{path}" has no value {where}: fill in what is missing, or '
        "remove the rows or the column."
    )


def listed(names: Sequence[str]) -> str:
    """Return names in quotation marks for a sentence."""
    return ", ".join(f'"{name}"' for name in names) or "nothing else"
