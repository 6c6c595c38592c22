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
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path
from typing import Any

import numpy as np

from tsne_backends.errors import FileFormatError, did_you_mean

DELIMITERS = {".csv": ",", ".tsv": "\t"}

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
#: How R, pandas and spreadsheets write a value that is not there, in lower case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "?"})


@dataclass(frozen=True)
class Table:
    """A data matrix and, where the file names its rows, the names.

    Attributes
    ----------
    matrix : ndarray or CSR matrix of shape (n_samples, n_features)
        Real numbers in the precision of the file; text tables give float64.
    row_names : tuple of str or None
        One per row.
    """

    matrix: Any
    row_names: tuple[str, ...] | None = None


def read(path: Path, rep: str | None, key: str | None) -> Table:
    """Read a file whose ending is known and whose library is installed; see `read_table`."""
    suffix = path.suffix.lower()
    try:
        if suffix in DELIMITERS:
            table = _read_text(path, DELIMITERS[suffix])
        elif suffix == ".parquet":
            table = _read_parquet(path)
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
        raise _unreadable(path, error) from error
    return _checked(table, path)


def _unreadable(path: Path, error: Exception) -> FileFormatError:
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
    return Table(matrix, table.row_names)


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
                f'"{path}" has no array "{key}", only {_listed(names)}.{did_you_mean(key, names)}'
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
        if not isinstance(file.get("obs"), h5py.Group):
            raise FileFormatError(
                f'"{path}" has no table of observations in the layout of anndata 0.7 or newer; '
                "open it with a current anndata and save it again."
            )
        representations = sorted(file.get("obsm", {}))
        known = [*(["X"] if "X" in file else []), *representations]
        if rep is None and "X" not in file:
            raise FileFormatError(
                f'"{path}" has no X; choose what to embed with --rep: {_listed(known)}.'
            )
        if rep is not None and rep not in known:
            raise FileFormatError(
                f'"{path}" has no representation "{rep}", only {_listed(known)}.'
                f"{did_you_mean(rep, known)}"
            )
        matrix = read_elem(file["obsm"][rep] if rep in representations else file["X"])
        names = read_elem(file["obs"][file["obs"].attrs["_index"]])
    if hasattr(matrix, "to_numpy"):  # obsm may hold data frames
        matrix = matrix.to_numpy()
    return Table(matrix, tuple(map(str, names)))


def _read_parquet(path: Path) -> Table:
    import pyarrow.parquet

    table = pyarrow.parquet.read_table(path)
    metadata = table.schema.pandas_metadata or {}
    index = [name for name in metadata.get("index_columns", []) if isinstance(name, str)]
    if not index and table.num_columns and _is_text_type(table.schema.types[0]):
        index = table.column_names[:1]
    columns = []
    for name, column in zip(table.column_names, table.columns, strict=True):
        if name in index:
            continue
        if not _is_number_type(column.type):
            raise _text_column(path, name, f"values of type {column.type}")
        if column.null_count:
            raise _missing_value(path, name, f"in {column.null_count} rows")
        columns.append(column.to_numpy())
    if not columns:
        raise FileFormatError(f'"{path}" has no column of numbers to embed.')
    ids = tuple(map(str, table.column(index[0]).to_pylist())) if len(index) == 1 else None
    return Table(np.column_stack(columns), ids)


def _is_text_type(kind: Any) -> bool:
    from pyarrow import types

    value = kind.value_type if types.is_dictionary(kind) else kind
    return bool(types.is_string(value) or types.is_large_string(value))


def _is_number_type(kind: Any) -> bool:
    from pyarrow import types

    return bool(types.is_integer(kind) or types.is_floating(kind) or types.is_boolean(kind))


def _read_text(path: Path, delimiter: str) -> Table:
    """Read a table of numbers, and find out what its first row and its first column are.

    The first row is a header if it holds text after the first column, if it counts the columns
    from 0 as pandas does for an array, or if only its first cell is text where the second row has
    a number. The first column names the rows if its header is empty or missing, as pandas and R
    write it, or if it begins with text.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        rows = ((reader.line_num, cells) for cells in reader if cells)
        head = list(islice(rows, 2))
        if not head:
            raise FileFormatError(f'"{path}" is empty; it should hold one row per sample.')
        first = head[0][1]
        _check_delimiter(path, first, delimiter)
        has_header = _is_header([cells for _, cells in head])
        names = first if has_header else [str(number) for number in range(1, len(first) + 1)]
        return _read_body(path, chain(head[has_header:], rows), names, has_header)


def _read_body(
    path: Path, body: Iterator[tuple[int, list[str]]], names: list[str], has_header: bool
) -> Table:
    first = next(body, None)
    if first is None:
        raise FileFormatError(f'"{path}" has a header but no rows; it should have one per sample.')
    if has_header and len(names) == len(first[1]) - 1:  # as R's write.table leaves it
        names = ["", *names]
    has_ids = (has_header and not names[0].strip()) or _is_text(first[1][0])
    if len(names) == has_ids:
        raise FileFormatError(f'"{path}" has row names but no column of numbers to embed.')
    values, ids = array("d"), []
    for line, cells in chain([first], body):
        if len(cells) != len(names):
            raise FileFormatError(
                f'Line {line} of "{path}" has {len(cells)} values, but the table has '
                f"{len(names)} columns; give every row the same number of values."
            )
        if has_ids:
            ids.append(cells[0])
        numbers = cells[has_ids:]
        try:
            # float() takes "12_3" for 123, but in data it is a name.
            if "_" in "".join(numbers):
                raise ValueError
            values.extend(map(float, numbers))
        except ValueError:
            raise _not_a_number(path, line, names[has_ids:], numbers) from None
    matrix = np.frombuffer(values).reshape(-1, len(names) - has_ids)
    return Table(matrix, tuple(ids) if has_ids else None)


def _is_header(head: list[list[str]]) -> bool:
    first = head[0]
    if any(_is_text(cell) for cell in first[1:]):
        return True
    counted = first if _is_number(first[0]) else first[1:]
    if len(counted) > 2 and counted == [str(number) for number in range(len(counted))]:
        return True
    return len(head) > 1 and _is_text(first[0]) and not _is_text(head[1][0])


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def _is_text(cell: str) -> bool:
    return not _is_number(cell) and cell.strip().lower() not in MISSING


def _check_delimiter(path: Path, first: Sequence[str], delimiter: str) -> None:
    if len(first) > 1:
        return
    names = {",": "commas", ";": "semicolons", "\t": "tabs"}
    for other in names.keys() - {delimiter}:
        if other in first[0]:
            raise FileFormatError(
                f'"{path}" seems to be separated by {names[other]}, but a file ending in '
                f'"{path.suffix}" is read with {names[delimiter]} between values; convert it first.'
            )


def _not_a_number(
    path: Path, line: int, names: Sequence[str], cells: Sequence[str]
) -> FileFormatError:
    name, cell = next(
        (name, cell) for name, cell in zip(names, cells, strict=True) if not _is_number(cell)
    )
    if _is_text(cell):
        return _text_column(path, name, f'text ("{cell}" on line {line})')
    return _missing_value(path, name, f"on line {line}")


def _text_column(path: Path, column: str, what: str) -> FileFormatError:
    return FileFormatError(
        f'Column "{column}" of "{path}" holds {what}, but t-SNE needs numbers: remove it or '
        "encode it as numbers. Row names belong in the first column, under an empty header."
    )


def _missing_value(path: Path, column: str, where: str) -> FileFormatError:
    return FileFormatError(
        f'Column "{column}" of "{path}" has no value {where}: fill in what is missing, or '
        "remove the rows or the column."
    )


def _listed(names: list[str]) -> str:
    return ", ".join(f'"{name}"' for name in names) or "nothing else"
