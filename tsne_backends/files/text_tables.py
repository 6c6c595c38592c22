"""Reads .csv and .tsv files as rows of cells, and finds out what the first row and column are.

What the cells mean is for ``readers`` (a data matrix) and ``columns`` (one of labels) to say.
"""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, islice
from pathlib import Path

from tsne_backends.errors import FileFormatError

DELIMITERS = {".csv": ",", ".tsv": "\t"}
#: How R, pandas and spreadsheets write a value that is not there, in lower case.
MISSING = frozenset({"", "na", "n/a", "#n/a", "null", "none", "?"})


@dataclass(frozen=True)
class TextTable:
    """A text table that is open for reading.

    Attributes
    ----------
    names : list of str
        Of all columns, the first included; counted from 1 where the file has no header.
    has_ids : bool
        Whether the first column names the rows.
    rows : iterator of (int, list of str)
        Number of the line and its cells, as many as there are names.
    """

    names: list[str]
    has_ids: bool
    rows: Iterator[tuple[int, list[str]]]


@contextmanager
def open_text_table(
    path: Path, delimiter: str, *, has_header: bool | None = None
) -> Iterator[TextTable]:
    """Open a text table, and find out what its first row and its first column are.

    The first row is a header if it holds text after the first column, if it counts the columns
    from 0 as pandas does for an array, or if only its first cell is text where the second row has
    a number. The first column names the rows if its header is empty or missing, as pandas and R
    write it, or is "id", as `tsne_backends.files.write_embedding` writes it, or if it begins with
    text.

    Parameters
    ----------
    path : Path
    delimiter : str
        One character.
    has_header : bool, optional
        Whether the first row is a header; found out where not given.

    Yields
    ------
    TextTable

    Raises
    ------
    FileFormatError
        The file is empty, has no row, or seems to have another delimiter; while reading, a row
        with another number of cells.
    """
    with open(path, encoding="utf-8-sig", newline="") as file:
        reader = csv.reader(file, delimiter=delimiter)
        rows = ((reader.line_num, cells) for cells in reader if cells)
        head = list(islice(rows, 2))
        if not head:
            raise FileFormatError(f'"{path}" is empty; it should hold one row per sample.')
        first = head[0][1]
        _check_delimiter(path, first, delimiter)
        if has_header is None:
            has_header = _is_header([cells for _, cells in head])
        names = first if has_header else [str(number) for number in range(1, len(first) + 1)]
        yield _with_names(path, chain(head[has_header:], rows), names, has_header)


def is_number(cell: str) -> bool:
    """Whether a cell is a number; Python's "12_3" for 123 is a name in data."""
    try:
        float(cell)
    except ValueError:
        return False
    return "_" not in cell


def is_text(cell: str) -> bool:
    """Whether a cell is neither a number nor missing."""
    return not is_number(cell) and cell.strip().lower() not in MISSING


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


def _is_header(head: list[list[str]]) -> bool:
    first = head[0]
    if any(is_text(cell) for cell in first[1:]):
        return True
    counted = first if is_number(first[0]) else first[1:]
    if len(counted) > 2 and counted == [str(number) for number in range(len(counted))]:
        return True
    return len(head) > 1 and is_text(first[0]) and not is_text(head[1][0])


def _with_names(
    path: Path, body: Iterator[tuple[int, list[str]]], names: list[str], has_header: bool
) -> TextTable:
    first = next(body, None)
    if first is None:
        raise FileFormatError(f'"{path}" has a header but no rows; it should have one per sample.')
    if has_header and len(names) == len(first[1]) - 1:  # as R's write.table leaves it
        names = ["", *names]
    has_ids = (has_header and names[0].strip() in ("", "id")) or is_text(first[1][0])
    return TextTable(names, has_ids, _even_rows(path, chain([first], body), len(names)))


def _even_rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], n_columns: int
) -> Iterator[tuple[int, list[str]]]:
    for line, cells in rows:
        if len(cells) != n_columns:
            raise FileFormatError(
                f'Line {line} of "{path}" has {len(cells)} values, but the table has '
                f"{n_columns} columns; give every row the same number of values."
            )
        yield line, cells
