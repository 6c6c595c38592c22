"""Writes a map as one HTML file to move about in, which opens without a network.

Checks what is given and hands it to Bokeh, whose script is part of the file. What the page does is in
``plot_html_page.js``, how it looks in ``plot_html_page.html``. Still pictures are drawn elsewhere.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsne_backends.errors import FileFormatError
from tsne_backends.files import import_optional, whole_or_not_at_all
from tsne_backends.label_columns import LabelColumn, as_labels

#: Colours that can be told apart; the categories beyond share a grey.
MAX_COLOURS = 40
#: Quantiles between which a scale of quantities is stretched.
QUANTILES = (0.01, 0.99)
#: Ending of the files.
ENDINGS = (".html", ".htm")


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
        more, the first two are drawn, and the page says so.
    path : str or Path
        A file ending in ``.html`` or ``.htm``; an existing one is replaced, whole or not at all.
    labels : array-like of shape (n_samples,), mapping of names to such, data frame or None, default=None
        One column of labels, or several to choose from. Floats are quantities; all others are
        categories, of which the 40 most frequent have a colour and the rest share a grey. Quantities are
        kept in single precision.
    ids : array-like of shape (n_samples,) or None, default=None
        Shown on hover, and listed for the points inside a lasso. Row numbers from 0 by default.
    title : str or None, default=None
        Title of the page.

    Raises
    ------
    FileFormatError
        The ending is not that of a page.
    FileNotFoundError
        The folder does not exist.
    ImportError
        Bokeh is not installed.
    OSError
        Writing failed; an existing file is untouched.
    ValueError
        The map is not a matrix of finite numbers or all its points are in one place; labels or ids
        are not one per row, or missing: some ids, or all labels of a column.
    """
    path = Path(path)
    _check_path(path)
    positions, n_components = _check_embedding(embedding)
    columns = _columns(labels, len(positions))
    names = _check_ids(ids, len(positions))
    title = title or "t-SNE map"
    if n_components > 2:
        title = f"{title} (first 2 of {n_components} dimensions)"
    import_optional("bokeh", "interactive", "Interactive maps")

    page = _page(positions, columns, names, title)
    with whole_or_not_at_all(path) as temporary:
        temporary.write_text(page, encoding="utf-8")


def _check_path(path: Path) -> None:
    if path.suffix.lower() not in ENDINGS:
        raise FileFormatError(
            f'An interactive map cannot be written to "{path}", whose ending is "{path.suffix}"; use '
            f"{' or '.join(ENDINGS)}."
        )
    if path.is_dir():
        raise IsADirectoryError(f'"{path}" is a folder; give the name of a file.')
    if not path.parent.is_dir():
        raise FileNotFoundError(f'There is no folder "{path.parent}"; create it first.')


def _check_embedding(embedding: ArrayLike) -> tuple[NDArray[np.float64], int]:
    """Return positions of shape (n_samples, 2) within [-1, 1], and the dimensions of the map."""
    try:
        values = np.asarray(embedding, dtype=np.float64)
    except (TypeError, ValueError) as error:
        raise ValueError(f"A map is a matrix of numbers, which this is not: {error}.") from error
    if values.ndim != 2 or 0 in values.shape:
        raise ValueError(
            f"A map is a matrix, samples × dimensions; got an array of shape {values.shape}."
        )
    bad = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if len(bad):
        raise ValueError(
            f"{len(bad):,} of {len(values):,} rows of the map hold values that are not finite, the "
            f"first of them row {bad[0]}; leave these rows out."
        )
    drawn = values[:, :2] / max(np.abs(values[:, :2]).max(), np.finfo(float).tiny)
    low, high = drawn.min(axis=0), drawn.max(axis=0)
    half = float((high - low).max()) / 2
    if half == 0:
        raise ValueError(
            f"All {len(values):,} points of the map are in one place; there is nothing to draw."
        )
    # Single precision is then enough wherever the map lies; nobody sees the coordinates.
    positions = (drawn - (low + high) / 2) / half
    if values.shape[1] == 1:
        across = np.random.default_rng(0).uniform(-0.1, 0.1, len(values))
        positions = np.column_stack([positions[:, 0], across])
    return positions, values.shape[1]


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
        raise ValueError("ids is one text; give a sequence with one id for every row of the map.")
    known = list(ids)
    if len(known) != n_samples:
        raise ValueError(
            f"There are {len(known):,} ids for {n_samples:,} rows of the map; give one for every row, "
            "in the same order."
        )
    column = as_labels([None if value is None else str(value) for value in known], n_samples, "ids")
    missing = column.missing | np.array([value != value for value in known], dtype=bool)
    if missing.any():
        raise ValueError(
            f"{missing.sum():,} of {n_samples:,} ids are missing, the first of them that of row "
            f"{int(missing.argmax())}; give every row an id, or no ids to use row numbers."
        )
    return [str(value) for value in known]


def _page(
    positions: NDArray[np.float64],
    columns: Sequence[LabelColumn],
    ids: list[str] | None,
    title: str,
) -> str:
    """Return the page as text."""
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.models import BooleanFilter, ColumnDataSource, CustomJS
    from bokeh.resources import INLINE

    # Drawn in the order of the file, the last class would cover the others.
    order = np.random.default_rng(0).permutation(len(positions))
    data: dict[str, NDArray[Any]] = {
        "x": positions[order, 0].astype(np.float32),
        "y": positions[order, 1].astype(np.float32),
        "row": order.astype(np.int32),
        # Filled by the page; as a column because Bokeh colours points by one.
        "colour": np.zeros(len(order), dtype=np.uint32),
    }
    described = []
    for number, column in enumerate(columns):
        description, values = _describe(column)
        described.append(description)
        data[f"label{number}"] = values[order]
    source = ColumnDataSource(data)
    found = ColumnDataSource({"x": np.empty(0, np.float32), "y": np.empty(0, np.float32)})
    shown = BooleanFilter()
    figure = _figure(source, shown, found, [column.name for column in columns])
    meta = json.dumps({"ids": ids, "columns": described, "title": title})
    document = Document()
    document.add_root(figure)
    document.title = title
    document.js_on_event(
        "document_ready",
        CustomJS(
            args={"source": source, "shown": shown, "found": found, "figure": figure, "meta": meta},
            code="tsneMap.start(source, shown, found, figure, JSON.parse(meta))",
        ),
    )
    return file_html(
        document,
        INLINE,
        title,
        template=_part("html"),
        template_variables={"page_script": _part("js"), "n_samples": len(positions)},
    )


def _part(ending: str) -> str:
    return files(__package__).joinpath(f"plot_html_page.{ending}").read_text(encoding="utf-8")


def _figure(source: Any, shown: Any, found: Any, names: Sequence[str]) -> Any:
    """Return Bokeh's figure: the points, a ring round what was searched for, and the tools."""
    from bokeh import models
    from bokeh.plotting import figure

    # $index is the only thing the page needs to look up; what follows says what to look up.
    rows = [("id", "$index{id}")]
    rows += [(name, f"$index{{{number}}}") for number, name in enumerate(names)]
    lookup = models.CustomJSHover(code="return tsneMap.describe(value, format)")
    wheel = models.WheelZoomTool(zoom_on_axis=False)
    plot = figure(
        output_backend="webgl",
        sizing_mode="stretch_both",
        x_range=(-1.05, 1.05),
        y_range=(-1.05, 1.05),
        tools=[
            models.PanTool(),
            models.LassoSelectTool(continuous=False),
            models.BoxSelectTool(),
            models.BoxZoomTool(match_aspect=True),
            wheel,
            models.SaveTool(filename="map"),
            models.ResetTool(description="Whole map"),
        ],
        toolbar_location="above",
        min_border=0,
        outline_line_color=None,
    )
    plot.toolbar.active_scroll = wheel
    plot.toolbar.logo = None
    plot.axis.visible = False
    plot.grid.visible = False
    size = float(np.clip(7 * (1_000 / len(source.data["x"])) ** 0.22, 2, 10))  # pixels
    points = plot.scatter(
        "x",
        "y",
        source=source,
        view=models.CDSView(filter=shown),
        size=size,
        fill_color="colour",
        line_color=None,
        fill_alpha=0.8,
        nonselection_fill_alpha=0.08,
    )
    plot.scatter(
        "x",
        "y",
        source=found,
        size=size + 14,
        fill_color=None,
        line_color="#202020",
        line_width=2,
    )
    plot.add_tools(
        models.HoverTool(
            renderers=[points],
            tooltips=rows,
            formatters={"$index": lookup},
            limit=3,
            visible=False,
        )
    )
    return plot


def _describe(column: LabelColumn) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return what the page must know of a column, and its values in as few bytes as will do."""
    if column.is_quantity:
        known = column.values[~column.missing]
        low, high = (float(end) for end in np.quantile(known, QUANTILES))
        if low == high:  # nearly all are the same, as counts of a rare gene are
            low, high = float(known.min()), float(known.max())
        description = {
            "name": column.name,
            "low": low,
            "high": high,
            "clippedLow": bool(known.min() < low),
            "clippedHigh": bool(known.max() > high),
            "colours": _scale(),
        }
        return description, column.values.astype(np.float32)

    missing = column.missing
    found, codes, counts = np.unique(
        column.values[~missing].astype(str), return_inverse=True, return_counts=True
    )
    ranks = np.argsort(-counts, kind="stable")
    n_kept = len(found) if len(found) <= MAX_COLOURS else MAX_COLOURS - 1
    # The legend is in order of names; what shares the grey comes last.
    places = np.concatenate([np.sort(ranks[:n_kept]), np.sort(ranks[n_kept:])])
    new_code = np.empty(len(found), dtype=np.intp)
    new_code[places] = np.arange(len(found))
    all_codes = np.full(len(missing), len(found), dtype=np.min_scalar_type(len(found)))
    all_codes[~missing] = new_code[codes]
    description = {
        "name": column.name,
        "names": found[places].tolist(),
        "colours": _palette(n_kept),
    }
    return description, all_codes


def _palette(n: int) -> list[str]:
    """Return ``n`` colours, at most 40, as ``"#rrggbb"``."""
    from bokeh.palettes import Category20, Category20b

    colours = Category20[20][::2] + Category20[20][1::2] + Category20b[20]
    return list(colours[:n])


def _scale() -> list[str]:
    """Return the colours of a scale from low to high."""
    from bokeh.palettes import Viridis256

    return list(Viridis256)
