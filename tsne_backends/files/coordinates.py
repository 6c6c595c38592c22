"""Reads finished maps from files: only the coordinates, where a table holds labels beside them.

Data matrices are read in ``reading``; labels in ``columns``.
"""

from __future__ import annotations

import re
import zipfile
from array import array
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from tsne_backends.errors import FileFormatError
from tsne_backends.files.h5ad import OBSM_KEY
from tsne_backends.files.readers import (
    SIGNS_OF_DAMAGE,
    Table,
    TextColumnError,
    parquet_index,
    unreadable,
)
from tsne_backends.files.reading import read_table, require_format
from tsne_backends.files.text_tables import DELIMITERS, open_text_table

#: How `tsne_backends.files.write_embedding` names the columns of a map, and the array in an .npz.
_COLUMN, _ARRAY = re.compile(r"tsne\d+"), "embedding"
#: A matrix with more columns than this is taken for data, and not for a map of them.
MOST_DIMENSIONS = 10


def read_coordinates(path: Path, *, rep: str | None = None, key: str | None = None) -> Table:
    """Read a map.

    Parameters
    ----------
    path : Path
        What `tsne_backends.files.write_embedding` writes, or another file of numbers that
        `tsne_backends.files.read_table` reads. Of a table that has columns tsne1, tsne2 and so on,
        only these are read.
    rep : str or None, default=None
        For ``.h5ad``: the key in ``obsm``; None takes ``X_tsne``.
    key : str or None, default=None
        For ``.npz``: the name of the array; None takes ``embedding`` or the only one there is.

    Returns
    -------
    Table
        Its matrix is dense.

    Raises
    ------
    FileFormatError
        The ending is not known, the file is damaged, or it does not hold a map.
    ImportError
        A library for this format is not installed.
    OSError
        There is no such file, or it may not be read.
    """
    suffix = path.suffix.lower()
    if suffix == ".h5ad" and rep is None:
        rep = OBSM_KEY
    table = _read_written(path, suffix) if rep is None and key is None and path.exists() else None
    if table is None:
        try:
            table = read_table(path, rep=rep, key=key)
        except TextColumnError as error:
            raise FileFormatError(
                f'"{path}" is no map: it has no columns tsne1, tsne2, and it has columns of text. '
                "Give a file that `serverless-tsne embed` has written, or another of coordinates "
                "alone."
            ) from error
    columns = table.matrix.shape[1]
    if columns > MOST_DIMENSIONS or not isinstance(table.matrix, np.ndarray):
        raise FileFormatError(
            f'"{path}" holds {columns} columns, so it seems to be data and not a map of them; '
            "make one first: serverless-tsne embed."
        )
    return table


def _read_written(path: Path, suffix: str) -> Table | None:
    """Read what we wrote ourselves, with its row names; None for anything else."""
    try:
        if suffix in DELIMITERS:
            return _read_text(path, DELIMITERS[suffix])
        if suffix == ".parquet":
            require_format(suffix)
            return _read_parquet(path)
        if suffix == ".npz" and zipfile.is_zipfile(path):
            return _read_npz(path)
    except FileFormatError:
        raise
    except SIGNS_OF_DAMAGE as error:
        raise unreadable(path, error) from error
    return None


def _read_text(path: Path, delimiter: str) -> Table | None:
    with open_text_table(path, delimiter) as table:
        where = [place for place, name in enumerate(table.names) if _COLUMN.fullmatch(name)]
        if not where:
            return None
        values, names = array("d"), []
        for line, cells in table.rows:
            try:
                values.extend([float(cells[place]) for place in where])
            except ValueError:
                raise FileFormatError(
                    f'Line {line} of "{path}" has a coordinate that is not a number; fill it in, '
                    "or leave the row out."
                ) from None
            names.append(cells[0])
    named = table.has_ids and where[0] > 0
    return Table(np.frombuffer(values).reshape(-1, len(where)), _distinct(names) if named else None)


def _read_parquet(path: Path) -> Table | None:
    import pyarrow.parquet

    schema = pyarrow.parquet.read_schema(path)
    columns = [name for name in schema.names if _COLUMN.fullmatch(name)]
    if not columns:
        return None
    index = parquet_index(schema)
    if not index and schema.names[0] == "id":
        index = ["id"]
    table = pyarrow.parquet.read_table(path, columns=[*columns, *index])
    matrix = np.column_stack([table.column(name).to_numpy().astype(float) for name in columns])
    names = list(map(str, table.column(index[0]).to_pylist())) if len(index) == 1 else None
    return Table(matrix, _distinct(names))


def _read_npz(path: Path) -> Table | None:
    with np.load(path, allow_pickle=False) as archive:
        if _ARRAY not in archive.files or archive[_ARRAY].ndim != 2:
            return None
        # Numbers stand for the names that a sample's rows did not have.
        known = [name for name in ("row_names", "rows") if name in archive.files]
        names = list(map(str, archive[known[0]].tolist())) if known else None
        return Table(archive[_ARRAY], _distinct(names))


def _distinct(names: Sequence[str] | None) -> tuple[str, ...] | None:
    """Return the names if they can name rows, which takes that all are different."""
    return tuple(names) if names is not None and len(set(names)) == len(names) else None
