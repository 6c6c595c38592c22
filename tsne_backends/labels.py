"""Labels of samples: classes or quantities, from Python objects or from a column of a file.

What is done with labels, colours and strata, is no matter of this module; how a column of each
format is read is in ``files.columns``.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import FileFormatError


@dataclass(frozen=True)
class LabelColumn:
    """One label per sample.

    Attributes
    ----------
    name : str
        For titles and legends.
    values : ndarray of shape (n_samples,)
        Quantities are float64 with NaN where missing; categories are an object array of str with
        None where missing.
    """

    name: str
    values: NDArray[Any]

    @property
    def is_quantity(self) -> bool:
        """Whether the labels are quantities; else they are categories."""
        return bool(self.values.dtype.kind == "f")

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where a sample has no label; of shape (n_samples,)."""
        if self.is_quantity:
            return np.asarray(np.isnan(self.values), dtype=np.bool_)
        absent = self.values == None  # noqa: E711 — element by element
        return np.asarray(absent, dtype=np.bool_)


def as_labels(labels: Any, n_samples: int, name: str | None = None) -> LabelColumn:
    """Take labels from Python.

    Floats are quantities; integers, booleans, strings, dates and pandas' or polars' categories are
    categories. None, NaN, NaT and empty strings are missing.

    Parameters
    ----------
    labels : array-like of shape (n_samples,), or LabelColumn
        A list, array, or series of pandas or polars.
    n_samples : int
        Rows of the data that the labels belong to.
    name : str or None, default=None
        Name of the column; None leaves it to the labels, and is "labels" where they have none.

    Returns
    -------
    LabelColumn

    Raises
    ------
    ValueError
        The labels do not have one dimension, are more or fewer than the samples, all missing, or
        one of them is infinite.
    """
    known = name or getattr(labels, "name", None) or "labels"
    values = labels.values if isinstance(labels, LabelColumn) else _values(labels)
    column = LabelColumn(str(known), values)
    if len(column.values) != n_samples:
        raise ValueError(
            f'"{column.name}" has {len(column.values)} values, but the data have {n_samples} rows; '
            "give one label per row."
        )
    if column.missing.all():
        raise ValueError(f'Every value of "{column.name}" is missing, so there are no labels.')
    if column.is_quantity and np.isinf(column.values).any():
        raise ValueError(
            f'"{column.name}" holds infinite values; replace them by finite ones or by NaN.'
        )
    return column


def class_codes(column: LabelColumn) -> tuple[NDArray[np.int64], NDArray[Any]]:
    """Number the classes of a column.

    Parameters
    ----------
    column : LabelColumn
        Categories, or quantities that are whole numbers, each of which is a class then.

    Returns
    -------
    codes : ndarray of shape (n_samples,), int64
        From 0; -1 where missing.
    names : ndarray of shape (n_classes,)
        The labels, sorted.

    Raises
    ------
    ValueError
        The column holds quantities that are not whole numbers.
    """
    present = ~column.missing
    values = column.values[present]
    if column.is_quantity and not (np.isfinite(values) & (values == np.round(values))).all():
        raise ValueError(
            f'"{column.name}" holds quantities, such as {values[0]:g}, where classes are needed; '
            "cut them into classes first, for example with pandas.cut."
        )
    codes = np.full(len(column.values), -1, dtype=np.int64)
    names, codes[present] = np.unique(values, return_inverse=True)
    return codes, names


def check_label_spec(spec: str, source: Path) -> str | None:
    """Refuse what `read_label_column` would refuse of the spec, before the data are read.

    Returns
    -------
    str or None
        The column, where it is one of the source itself, and so lies among its data.
    """
    from tsne_backends.files.columns import find_column

    path, column = find_column(spec, source)
    return column if path == source else None


def with_files(specs: Sequence[str], source: Path) -> list[str]:
    """Complete specs that name a column alone, where the source has no columns.

    Parameters
    ----------
    specs : sequence of str
        As `read_label_column` takes them.
    source : Path
        The file the data came from.

    Returns
    -------
    list of str
        A column alone is of the first table that another spec names, if there is one.
    """
    from tsne_backends.files.columns import TABLES, split_spec

    files = [split_spec(spec)[0] for spec in specs]
    tables = [file for file in files if file is not None and file.suffix.lower() in TABLES]
    if source.suffix.lower() in TABLES or not tables:
        return list(specs)
    pairs = zip(specs, files, strict=True)
    return [spec if file is not None else f"{tables[0]}:{spec}" for spec, file in pairs]


def read_label_column(
    spec: str, source: Path, row_names: Sequence[str] | None, n_samples: int
) -> LabelColumn:
    """Read the labels of a data matrix from a file.

    Rows are matched by name where the data have names and the file has unique ones (its index, or
    its first column) of which any is a name of the data; the file may hold more rows then.
    Otherwise they are taken in order, or by number where the data are fewer and named by numbers,
    as the map of a sample is. In text, numbers with a decimal point are quantities; whole
    numbers are categories where few differ, in text and tables alike.

    Parameters
    ----------
    spec : str
        ``FILE:COLUMN``, with a ``.csv``, ``.tsv``, ``.parquet`` or ``.h5ad`` file (a column of
        ``obs``); or ``FILE`` ending in ``.npy`` or ``.txt`` (one label per line); or ``COLUMN`` of
        the source itself.
    source : Path
        The file the data came from.
    row_names : sequence of str or None
        Names of the rows of the data.
    n_samples : int
        Rows of the data.

    Returns
    -------
    LabelColumn

    Raises
    ------
    FileFormatError
        The file cannot be read, or has no such column, or not every row's name.
    ValueError
        The labels do not fit the data; see `as_labels`.
    FileNotFoundError, ImportError
        There is no such file, or no library for its format.
    """
    from tsne_backends.files.columns import find_column, order_of, read_column

    path, column = find_column(spec, source)
    read = read_column(path, column)
    name = column or path.stem
    values = _values(read.values)
    if path != source and row_names is not None:
        values = values[order_of(read, row_names, path)]
    if len(values) != n_samples:
        raise FileFormatError(
            f'"{path}" has {len(values)} rows, but the data have {n_samples}; give one label per '
            "row, in the same order."
        )
    return as_labels(LabelColumn(name, values), n_samples)


def _values(labels: Any) -> NDArray[Any]:
    """Return float64 or an object array of str and None; see `LabelColumn`."""
    if hasattr(labels, "columns"):
        raise ValueError(
            "Labels are one column with one value per row; they were a table of "
            f"{len(labels.columns)}. Choose one of it, such as "
            f"labels[{next(iter(labels.columns), 'name')!r}]."
        )
    if isinstance(labels, str | bytes | dict) or not isinstance(labels, Iterable):
        raise ValueError(
            f"Labels must be a list, an array or a series with one value per row; they were of "
            f"type {type(labels).__name__}."
        )
    array = _as_array(labels)
    if array.ndim != 1:
        raise ValueError(
            f"Labels must have one dimension, with one value per row; their shape is {array.shape}."
        )
    if array.dtype.kind == "f":
        return array.astype(np.float64)
    if array.dtype.kind in "biu":
        distinct, which = np.unique(array, return_inverse=True)
        return distinct.astype(str).astype(object)[which]
    if array.dtype.kind == "S":
        array = np.char.decode(array, "utf-8")
    # Dates become strings as numpy writes them; Python's own objects say what they are.
    objects = array.astype(str if array.dtype.kind in "Mm" else object).astype(object)
    missing = np.fromiter(map(_is_missing, objects), dtype=bool, count=len(objects))
    if _are_quantities(objects[~missing]):
        return np.where(missing, np.nan, objects).astype(np.float64)
    categories = np.full(len(objects), None, dtype=object)
    categories[~missing] = [str(value) for value in objects[~missing]]
    return categories


def _as_array(labels: Any) -> NDArray[Any]:
    if isinstance(labels, np.ndarray) and not np.ma.isMA(labels):
        return labels
    kind = getattr(getattr(labels, "dtype", None), "kind", "O")
    if hasattr(labels, "to_numpy") and kind in "biuf" and not _may_lack_integers(labels):
        return np.asarray(labels.to_numpy())
    values = labels.tolist() if np.ma.isMA(labels) else list(labels)  # None where masked
    array = np.empty(len(values), dtype=object)
    array[:] = values
    return array


def _may_lack_integers(labels: Any) -> bool:
    """Whether these are pandas' nullable numbers, whose `to_numpy` would turn some into floats."""
    return not isinstance(labels.dtype, np.dtype)


def _is_missing(value: Any) -> bool:
    if isinstance(value, str):
        return not value.strip() or value == "NaT"
    return value is None or str(value) in ("nan", "NaT", "<NA>")


def _are_quantities(values: NDArray[Any]) -> bool:
    kinds = {type(value) for value in values}
    floats = {kind for kind in kinds if issubclass(kind, float | np.floating)}
    whole = {kind for kind in kinds if issubclass(kind, int | np.integer) and kind is not bool}
    return bool(floats) and kinds == floats | whole
