"""Writes a map as one HTML file to move about in, which opens without a network.

What is given is checked here, before anything is built. The page itself is put together in
``html_page``.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tsne_backends.errors import FileFormatError
from tsne_backends.files import check_replaceable, whole_or_not_at_all
from tsne_backends.labels import LabelColumn, as_labels
from tsne_backends.optional import import_optional
from tsne_backends.plot.points import as_points

#: Endings of the files written here.
PAGES = (".html", ".htm")
#: Title of a page that is given none.
TITLE = "t-SNE map"


def write_html(
    embedding: ArrayLike,
    path: str | Path,
    *,
    labels: Any = None,
    ids: Any = None,
    title: str | None = None,
) -> None:
    """Write a map as a page with pan, zoom, hover, colour by column, search and lasso.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, n_components)
        The map. One dimension is drawn as a strip, spread out at random across it; of three or
        more, the first two are drawn, and the title says so.
    path : str or Path
        A file ending in ``.html`` or ``.htm``; an existing one is replaced, whole or not at all.
    labels : array-like of shape (n_samples,), mapping, data frame or None, default=None
        One column of labels, or several by name, to choose from on the page. Floats are
        quantities, kept in single precision. All others are categories; of more than 40, the 39
        most frequent have a colour, and the rest share a grey.
    ids : array-like of shape (n_samples,) or None, default=None
        Shown on hover, searched for, and listed for the points inside a lasso. Row numbers from 0
        by default.
    title : str or None, default=None
        Title of the page; None makes it "t-SNE map".

    Raises
    ------
    FileFormatError
        The ending is not that of a page.
    FileNotFoundError, IsADirectoryError, PermissionError
        The folder does not exist or is closed, or ``path`` is a folder.
    ImportError
        Bokeh is not installed.
    OSError
        Writing failed; an existing file is untouched.
    ValueError
        The map is not a matrix of finite numbers, or all its points lie at one place; labels or
        ids are not one per row; some ids are missing, or all labels of a column.
    """
    path = Path(path)
    _check_path(path)
    points = as_points(embedding)
    columns = _columns(labels, len(points.xy))
    known_ids = _check_ids(ids, len(points.xy))
    title = title or TITLE
    if points.n_components > 2:
        title = f"{title} (first 2 of {points.n_components} dimensions)"
    import_optional("bokeh", "interactive", "Interactive maps")
    from tsne_backends.plot.html_page import page

    text = page(points, columns, known_ids, title)
    with whole_or_not_at_all(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in PAGES:
        raise FileFormatError(
            f'An interactive map cannot be written to "{path}", whose ending is "{path.suffix}"; '
            f"use {' or '.join(PAGES)}."
        )
    check_replaceable(path, force=True)


def _columns(labels: Any, n_samples: int) -> list[LabelColumn]:
    """Return every column of labels there is to choose from."""
    if labels is None:
        return []
    if isinstance(labels, LabelColumn):
        return [as_labels(labels.values, n_samples, labels.name)]
    if isinstance(labels, Mapping):
        return [as_labels(labels[name], n_samples, str(name)) for name in labels]
    if hasattr(labels, "columns"):  # a data frame of pandas or polars
        return [as_labels(labels[name], n_samples, str(name)) for name in labels.columns]
    name = getattr(labels, "name", None)
    return [as_labels(labels, n_samples, "labels" if name is None else str(name))]


def _check_ids(ids: Any, n_samples: int) -> list[str] | None:
    if ids is None:
        return None
    if isinstance(ids, str | bytes):
        raise ValueError("ids is a single text; give one id for every row of the map.")
    known = list(ids)
    if len(known) != n_samples:
        raise ValueError(
            f"There are {len(known):,} ids for the {n_samples:,} rows of the map; give one for "
            "every row, in the same order."
        )
    # As labels, integers keep their digits, and what is missing is known by its kind.
    missing = as_labels([*known, "an id"], n_samples + 1, "ids").missing[:-1]
    if missing.any():
        raise ValueError(
            f"{missing.sum():,} of {n_samples:,} ids are missing, the first that of row "
            f"{int(np.argmax(missing))} (counted from 0); give every row an id, or leave ids out "
            "to use row numbers."
        )
    return [str(value) for value in known]
