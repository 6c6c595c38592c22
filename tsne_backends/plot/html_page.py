"""Puts the page of an interactive map together with Bokeh, whose script becomes part of it.

What happens on the page is in ``html_page.js``, how it looks in ``html_page.html``. Nothing is
checked or written here.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from importlib.resources import files
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.labels import LabelColumn
from tsne_backends.plot.colors import (
    MAX_CATEGORIES,
    MISSING,
    OTHERS,
    PALETTE,
    clipped_range,
    natural_order,
)
from tsne_backends.plot.points import Points, shuffled

#: Smallest and largest diameter of a point, and that of one in a thousand, in pixels of CSS.
SMALLEST, LARGEST, AT_THOUSAND = 2.0, 10.0, 7.0
#: Diameter falls with this power of the number of points: 7 pixels at 1,000, 2.5 at 100,000.
SHRINKING = 0.22
#: Opacity of points, and of those outside a selection.
ALPHA, FADED = 0.8, 0.15
#: How many points under the pointer are described at once.
MOST_HOVERED = 3


def page(points: Points, columns: Sequence[LabelColumn], ids: list[str] | None, title: str) -> str:
    """Return the page as text.

    Parameters
    ----------
    points : Points
    columns : sequence of LabelColumn
        What the points can be coloured by; the first is shown at first.
    ids : list of str or None
        One per point; None takes row numbers.
    title : str
        Shown above the legend and in the window's bar.

    Returns
    -------
    str
        HTML that asks for nothing outside itself.
    """
    from bokeh.document import Document
    from bokeh.embed import file_html
    from bokeh.models import BooleanFilter, ColumnDataSource, CustomJS
    from bokeh.resources import INLINE

    order = shuffled(len(points.xy))
    described = [_describe(column) for column in columns]
    xy = _in_unit_square(points.xy[order]).astype(np.float32)
    source = ColumnDataSource(
        {
            "x": xy[:, 0],
            "y": xy[:, 1],
            "row": order.astype(np.int32),
            # Filled on the page; a column, because that is what Bokeh colours points by.
            "colour": np.zeros(len(order), dtype=np.uint32),
            **{f"label{place}": values[order] for place, (_, values) in enumerate(described)},
        }
    )
    found = ColumnDataSource({"x": xy[:0, 0], "y": xy[:0, 1]})
    shown = BooleanFilter()
    meta = {
        "ids": ids,
        "columns": [description for description, _ in described],
        "plain": PALETTE[0],
        "missing": MISSING,
        "others": OTHERS,
    }
    figure = _figure(source, shown, found, [column.name for column in columns])
    document = Document()
    document.add_root(figure)
    document.js_on_event(
        "document_ready",
        CustomJS(
            args={
                "source": source,
                "shown": shown,
                "found": found,
                "figure": figure,
                "meta": json.dumps(meta),
            },
            code="tsneMap.start(source, shown, found, figure, JSON.parse(meta))",
        ),
    )
    text: str = file_html(
        document,
        INLINE,
        title,
        template=_part("html"),
        template_variables={"page_script": _part("js"), "n_samples": len(order)},
    )
    return text


def _part(ending: str) -> str:
    return files("tsne_backends.plot").joinpath(f"html_page.{ending}").read_text(encoding="utf-8")


def _in_unit_square(xy: NDArray[np.float64]) -> NDArray[np.float64]:
    """Move and shrink a map to [-1, 1], where single precision is enough wherever it was."""
    low, high = xy.min(axis=0), xy.max(axis=0)
    half = float((high / 2 - low / 2).max()) or 1.0
    inside: NDArray[np.float64] = (xy - (low / 2 + high / 2)) / half
    return inside


def _describe(column: LabelColumn) -> tuple[dict[str, Any], NDArray[Any]]:
    """Return what the page must know of a column, and its values in few bytes."""
    if column.is_quantity:
        low, high, extend = clipped_range(column.values)
        scale = {"low": low, "high": high, "extend": extend, "colours": _scale()}
        return {"name": column.name, **scale}, column.values.astype(np.float32)

    missing = column.missing
    found, found_codes, counts = np.unique(
        column.values[~missing].astype(str), return_inverse=True, return_counts=True
    )
    n_coloured = len(found) if len(found) <= MAX_CATEGORIES else MAX_CATEGORIES - 1
    common = set(np.argsort(-counts, kind="stable")[:n_coloured].tolist())
    # In the order of the legend; categories that share the grey come after all others.
    places = sorted(
        range(len(found)), key=lambda place: (place not in common, natural_order(str(found[place])))
    )
    new_code = np.empty(len(found), dtype=np.intp)
    new_code[places] = np.arange(len(found))
    # One code more than there are names stands for a missing label.
    codes = np.full(len(missing), len(found), dtype=np.min_scalar_type(len(found)))
    codes[~missing] = new_code[found_codes]
    names = [str(found[place]) for place in places]
    return {"name": column.name, "names": names, "colours": _palette(n_coloured)}, codes


def _palette(n: int) -> list[str]:
    return list(PALETTE[:n])


def _scale() -> list[str]:
    """Return the colours of matplotlib's viridis, from low to high."""
    from bokeh.palettes import Viridis256

    return list(Viridis256)


def _figure(source: Any, shown: Any, found: Any, names: Sequence[str]) -> Any:
    """Return Bokeh's figure: the points, a ring round what was searched for, and the tools."""
    from bokeh import models
    from bokeh.plotting import figure

    wheel = models.WheelZoomTool(zoom_on_axis=False)
    plot = figure(
        output_backend="webgl",
        sizing_mode="stretch_both",
        x_range=(-1, 1),
        y_range=(-1, 1),
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

    shrunk = AT_THOUSAND * (1_000 / len(source.data["x"])) ** SHRINKING
    size = float(np.clip(shrunk, SMALLEST, LARGEST))
    dots = plot.scatter(
        "x",
        "y",
        source=source,
        view=models.CDSView(filter=shown),
        size=size,
        fill_color="colour",
        line_color=None,
        fill_alpha=ALPHA,
        nonselection_fill_alpha=FADED,
    )
    ring = {"fill_color": None, "line_color": "#202020", "line_width": 2}
    plot.scatter("x", "y", source=found, size=size + 14, **ring)
    plot.add_tools(_hover(dots, names))
    return plot


def _hover(dots: Any, names: Sequence[str]) -> Any:
    """Return a tool that asks the page what to say: Bokeh escapes the answer, so it stays text."""
    from bokeh import models

    rows = [("id", "$index{id}")]
    rows += [(name, f"$index{{{place}}}") for place, name in enumerate(names)]
    return models.HoverTool(
        renderers=[dots],
        tooltips=rows,
        formatters={"$index": models.CustomJSHover(code="return tsneMap.describe(value, format)")},
        limit=MOST_HOVERED,
        visible=False,
    )
