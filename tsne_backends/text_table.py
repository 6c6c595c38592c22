"""Reads comma- and tab-separated tables of numbers without pandas.

What is decided here is which row is the header and whether the first column names the rows;
everything that is neither must be a number.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterator, Sequence
from itertools import chain
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from tsne_backends.files import FileFormatError, missing_value, text_column

#: How R, pandas and spreadsheets write a value that is not there, in lower case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "?"})


def read_text_table(
    path: Path, delimiter: str
) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
    """Read a table of numbers.

    The first row is a header if it holds text after the first column, if it counts the columns
    from 0 as pandas does for an array, or if only its first cell is text where the second row has
    a number. The first column names the rows if its header is empty or missing, as pandas and R
    write it, or if it begins with text.

    Parameters
    ----------
    path : Path
        UTF-8 text, with or without a byte order mark.
    delimiter : str
        One character.

    Returns
    -------
    matrix : ndarray of shape (n_samples, n_features), float64
    row_ids : tuple of str or None
        The first column where it names the rows.

    Raises
    ------
    FileFormatError
        The table is empty, has rows of different lengths, text in a column of numbers, or a value
        missing; the message names column and line.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        rows = _numbered_rows(csv.reader(file, delimiter=delimiter))
        head = [row for _, row in zip(range(2), rows, strict=False)]
        if not head:
            raise FileFormatError(f'"{path}" is empty; it should hold one row per sample.')
        first = head[0][1]
        _check_delimiter(path, first, delimiter)
        has_header = _is_header([cells for _, cells in head])
        names = first if has_header else [str(number) for number in range(1, len(first) + 1)]
        body = chain(head[1:] if has_header else head, rows)
        return _read_body(path, body, names, has_header)


def _read_body(
    path: Path, body: Iterator[tuple[int, list[str]]], names: list[str], has_header: bool
) -> tuple[NDArray[np.float64], tuple[str, ...] | None]:
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
    return matrix, tuple(ids) if has_ids else None


def _numbered_rows(reader: Iterator[list[str]]) -> Iterator[tuple[int, list[str]]]:
    """Yield every row that is not blank with the number of its last line, from 1."""
    for cells in reader:
        if cells:
            yield reader.line_num, cells  # type: ignore[attr-defined]


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
        return text_column(path, name, f'text ("{cell}" on line {line})')
    return missing_value(path, name, f"on line {line}")
