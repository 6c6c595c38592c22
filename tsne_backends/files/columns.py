"""Finds and reads one column of a file, and matches its rows; `tsne_backends.labels` asks for it.

What the values are, quantities or categories, is decided here for text, which does not say; other
formats know the type of a column.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files.readers import (
    SIGNS_OF_DAMAGE,
    check_h5ad,
    listed,
    parquet_index,
    unreadable,
)
from tsne_backends.files.reading import check_readable
from tsne_backends.files.text_tables import DELIMITERS, MISSING, is_number, is_text, open_text_table

TABLES = (*DELIMITERS, ".parquet", ".h5ad")
#: Files of nothing but labels, one per row, without a name for them.
PLAIN = (".npy", ".txt")
#: Whole numbers of at most as many values are taken for classes, of more for quantities.
MAX_INTEGER_CLASSES = 40


@dataclass(frozen=True)
class Column:
    """Values of one column as they lie in the file, and what may name its rows.

    Attributes
    ----------
    values : array-like
        For `tsne_backends.labels.as_labels`.
    row_names : sequence of str or None
        The index, or the first column where it is another than the one asked for.
    are_names : bool
        Whether the file says that these are names, or they begin with text.
    """

    values: Any
    row_names: Sequence[str] | None = None
    are_names: bool = False


def find_column(spec: str, source: Path) -> tuple[Path, str | None]:
    """Tell file from column in a spec, and refuse what cannot be read; see `read_label_column`."""
    path, column = split_spec(spec)
    if path is None:
        if source.suffix.lower() not in TABLES:
            raise FileFormatError(
                f'"{source}" has no column "{spec}", because {source.suffix or "such"} files have '
                f"no columns with names; give FILE:COLUMN with a file of {', '.join(TABLES)}, or "
                f"a file of {' or '.join(PLAIN)} with one label per row."
            )
        return source, column
    if path.suffix.lower() in PLAIN and column:
        raise FileFormatError(
            f'"{path}" holds labels alone, so leave ":{column}" out after its name.'
        )
    if path.suffix.lower() in TABLES and not column:
        raise FileFormatError(f'Say which column of "{path}" holds the labels, as "{path}:COLUMN".')
    check_readable(path)
    return path, column


def read_column(path: Path, column: str | None) -> Column:
    """Read a column of a file in `TABLES`, or all of a file in `PLAIN`.

    Raises
    ------
    FileFormatError
        The file is damaged, or has no such column.
    """
    suffix = path.suffix.lower()
    try:
        if suffix == ".npy":
            return Column(_read_npy(path))
        if suffix == ".txt":
            return Column(text_values(path.read_text("utf-8-sig").splitlines()))
        assert column is not None  # by label_columns
        if suffix in DELIMITERS:
            return _read_text(path, column, DELIMITERS[suffix])
        return _read_parquet(path, column) if suffix == ".parquet" else _read_h5ad(path, column)
    except FileFormatError:
        raise
    except SIGNS_OF_DAMAGE as error:
        raise unreadable(path, error) from error


def order_of(read: Column, row_names: Sequence[str], path: Path) -> NDArray[np.int64]:
    """Return which rows of a column belong to the rows of the data: by name if names fit.

    Else in order, or by number where the data are a sample whose rows have numbers for names.

    Raises
    ------
    FileFormatError
        Some, but not all, of the data's names are there.
    """
    as_they_are = np.arange(len(read.values))
    if are_numbers(row_names, len(read.values)):
        as_they_are = np.array(row_names, dtype=np.int64)
    if read.row_names is None:
        return as_they_are
    places = {name: place for place, name in enumerate(read.row_names)}
    if len(places) < len(read.row_names):  # no names, if two rows share one
        return as_they_are
    missing = [name for name in row_names if name not in places]
    if len(missing) == len(row_names):
        if read.are_names and len(read.values) == len(row_names):
            warnings.warn(
                f'No row of "{path}" has the name of a row of the data (such as '
                f'"{read.row_names[0]}" and "{row_names[0]}"), so labels are taken in order.',
                stacklevel=3,
            )
        return as_they_are
    if missing:
        shown = ", ".join(f'"{name}"' for name in missing[:3])
        raise FileFormatError(
            f'"{path}" has no label for {len(missing)} of {len(row_names)} rows of the data: '
            f"{shown}{' and more' if len(missing) > 3 else ''}; add them, or leave these rows out."
        )
    return np.array([places[name] for name in row_names], dtype=np.int64)


def are_numbers(row_names: Sequence[str], n: int) -> bool:
    """Say whether names are the numbers of some of n rows, as a sample's are that had no names."""
    return len(row_names) < n and all(
        name.isascii() and name.isdecimal() and int(name) < n for name in row_names
    )


def text_values(cells: Sequence[str]) -> list[float] | list[int] | list[str | None]:
    """Make numbers of cells that are all numbers or missing, else leave them text.

    Numbers of which one has a decimal point or an exponent are quantities. Whole numbers are
    classes where at most `MAX_INTEGER_CLASSES` differ and each stands for two rows on average.
    """
    stripped = [cell.strip() for cell in cells]
    present = [cell for cell in stripped if not _is_missing(cell)]
    if not present or not all(map(is_number, present)):
        return [None if _is_missing(cell) else cell for cell in stripped]
    distinct = set(present)
    if all(cell.lstrip("+-").isdecimal() for cell in distinct) and _are_classes(
        len(distinct), len(present)
    ):
        return [None if _is_missing(cell) else cell for cell in stripped]
    return [float("nan") if _is_missing(cell) else float(cell) for cell in stripped]


def split_spec(spec: str) -> tuple[Path | None, str | None]:
    """Split at the last colon after a known ending; a column's name may hold colons too."""
    known = (*TABLES, *PLAIN)
    for colon in reversed([place for place, letter in enumerate(spec) if letter == ":"]):
        if spec[:colon].lower().endswith(known):
            return Path(spec[:colon]), spec[colon + 1 :]
    return (Path(spec), None) if spec.lower().endswith(known) else (None, spec)


def _is_missing(cell: str) -> bool:
    return cell.lower() == "nan" or cell.lower() in MISSING


def _are_classes(n_distinct: int, n_rows: int) -> bool:
    return n_distinct <= MAX_INTEGER_CLASSES and 2 * n_distinct <= n_rows


def _read_npy(path: Path) -> Any:
    with open(path, "rb") as file:
        values = np.lib.format.read_array(file, allow_pickle=False)
    if values.ndim != 1:
        raise FileFormatError(
            f'"{path}" holds values of shape {values.shape}; labels have one dimension, with one '
            "value per row."
        )
    return values


def _read_text(path: Path, column: str, delimiter: str) -> Column:
    # A column is asked for by name, so the first row has the names.
    with open_text_table(path, delimiter, has_header=True) as table:
        position = _position(path, column, table.names)
        rows = [(cells[position], cells[0]) for _, cells in table.rows]
    cells, first = zip(*rows, strict=True)
    if position == 0:
        return Column(text_values(cells))
    return Column(text_values(cells), first, table.has_ids or is_text(first[0]))


def _read_parquet(path: Path, column: str) -> Column:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    _position(path, column, schema.names)
    index = parquet_index(schema)
    names = index if len(index) == 1 else schema.names[:1]
    wanted = [column] if column in names else [column, *names]
    table = pyarrow.parquet.read_table(path, columns=wanted, use_pandas_metadata=False)
    values = _whole_numbers(table.column(column).to_pandas())
    if column in names:
        return Column(values)
    return Column(values, tuple(map(str, table.column(names[0]).to_pylist())), bool(index))


def _read_h5ad(path: Path, column: str) -> Column:
    import h5py
    from anndata.io import read_elem

    with h5py.File(path, "r") as file:
        check_h5ad(path, file)
        obs = file["obs"]
        index = obs.attrs["_index"]
        known = [name for name in obs if name not in (index, "__categories")]
        _position(path, column, known)
        names = tuple(map(str, read_elem(obs[index])))
        # Before anndata 0.8, categories lay beside the columns, which hold their codes.
        is_coded = column in obs.get("__categories", ())
        values = read_elem(obs)[column] if is_coded else read_elem(obs[column])
    return Column(_whole_numbers(values), names, True)


def _position(path: Path, column: str, known: Sequence[str]) -> int:
    if column not in known:
        shown = listed(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
        raise FileFormatError(
            f'"{path}" has no column "{column}", only {shown}.{did_you_mean(column, known)}'
        )
    return list(known).index(column)


def _whole_numbers(values: Any) -> Any:
    """Make quantities of a column of integers that has too many values for classes."""
    kind = getattr(getattr(values, "dtype", None), "kind", "")
    if kind in "iu" and not hasattr(values, "categories"):
        numbers = np.asarray(values)
        if not _are_classes(len(np.unique(numbers)), len(numbers)):
            return numbers.astype(np.float64)
    return values
