"""The maps of a sweep side by side, as one matplotlib figure.

A single map, and several views of one map, are drawn in ``static``.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_backends.plot.colors import colouring, literal
from tsne_backends.plot.drawing import draw_map
from tsne_backends.plot.layout import PANEL_TITLE_SIZE, STRIP, Sheet
from tsne_backends.plot.points import as_points
from tsne_backends.plot.static import add_side, new_figure, settle

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tsne_backends.sweeps.result import Sweep, SweepRow

#: Most maps in a row where all differ in one parameter.
MOST_COLUMNS = 6


def plot_sweep(
    result: Sweep,
    labels: Any = None,
    *,
    label_name: str | None = None,
    max_categories: int | None = None,
    width: float | None = None,
) -> Figure:
    """Draw every map of a sweep in a grid.

    Rows are the values of the first parameter, columns those of the others; maps that differ in
    one parameter alone follow each other. Above each map stand its values and its KL divergence;
    in the place of a map that failed stands why.

    Parameters
    ----------
    result : Sweep
    labels, label_name, max_categories
        See `scatter`. Colours mean the same in all maps.
    width : float or None, default=None
        Of the figure, in inches.

    Returns
    -------
    matplotlib.figure.Figure
        With one axes per map, in the order of the sweep; not known to pyplot.

    Raises
    ------
    ImportError, ValueError
        See `scatter`.
    """
    maps = [None if row.embedding is None else as_points(row.embedding) for row in result]
    first = next(points for points in maps if points is not None)
    colours = colouring(labels, len(first.xy), label_name, max_categories)
    columns = _columns(result)
    ratio = STRIP if first.is_strip else 1.0
    sheet = Sheet(columns, -(-len(maps) // columns), ratio, width, None, "", panel_lines=2)
    figure = new_figure()
    panels = [figure.add_subplot() for _ in maps]
    settle(figure, sheet, panels, add_side(figure, sheet, colours, "auto"))
    for axes, points, row in zip(panels, maps, result, strict=True):
        axes.set_title(literal(_title(row)), fontsize=PANEL_TITLE_SIZE, loc="left", pad=3)
        if points is not None:
            axes.set_anchor("NW")  # maps of different shapes begin below their titles
            draw_map(axes, points, colours)
            continue
        axes.set_axis_off()
        words = literal(f"{type(row.error).__name__}:\n{row.error}")
        axes.text(0.5, 0.5, words, ha="center", va="center", wrap=True, transform=axes.transAxes)
    return figure


def _columns(result: Sweep) -> int:
    if len(result.grid) > 1:
        return math.ceil(len(result) / len(next(iter(result.grid.values()))))
    n_rows = math.ceil(len(result) / MOST_COLUMNS)
    return math.ceil(len(result) / n_rows)


def _title(row: SweepRow) -> str:
    values = ", ".join(f"{name} {_short(value)}" for name, value in row.parameters.items())
    return values if row.error is not None else f"{values}\nKL {row.kl_divergence:.3f}"


def _short(value: Any) -> str:
    if isinstance(value, np.ndarray):
        return f"array {value.shape}"
    return f"{value:g}" if isinstance(value, float) else str(value)
