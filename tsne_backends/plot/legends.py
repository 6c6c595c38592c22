"""Legends of categories and scales of quantities, made as small as they must be to fit.

Both stand at the right of the maps; ``layout`` decides where exactly.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from tsne_backends.plot.colors import MISSING, SCALE, Categories, Quantity, literal, shorten
from tsne_backends.plot.layout import painter_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
    from matplotlib.legend import Legend

#: Sizes of letters tried, in points, until a legend fits.
FONT_SIZES = (9.0, 8.0, 7.0, 6.0, 5.0)
#: Share of a sheet of fixed width that a legend may take.
WIDEST = 0.5
INK = "#222222"
#: Width and greatest height of a scale, and room below it, in inches.
BAR_WIDTH, BAR_HEIGHT, BELOW_BAR = 0.16, 2.6, 0.12


@dataclass
class Side:
    """A legend, or a scale with a legend of what is missing below it.

    Attributes
    ----------
    figure : Figure
    width, height : float
        In inches; zeros where there is nothing.
    legend : Legend or None
    bar : Axes or None
        Of the scale.
    """

    figure: Figure
    width: float = 0.0
    height: float = 0.0
    legend: Legend | None = None
    bar: Axes | None = None

    def place(self, left: float, top: float) -> None:
        """Put it where there is room for it: shares of the figure, which has its final size."""
        if self.bar is not None:
            figure_width, figure_height = self.figure.get_size_inches()
            above, length = _bar_lengths(self.height, self.legend is not None)
            self.bar.set_position(
                (
                    left,
                    top - (above + length) / figure_height,
                    BAR_WIDTH / figure_width,
                    length / figure_height,
                )
            )
            top -= (above + length + BELOW_BAR) / figure_height
        if self.legend is not None:
            self.legend.set_bbox_to_anchor((left, top))

    def remove(self) -> None:
        """Take it off the figure."""
        for part in (self.legend, self.bar):
            if part is not None:
                part.remove()


def add_legend(
    figure: Figure,
    categories: Categories,
    shown: list[int],
    height: float,
    width: float | None,
) -> Side:
    """Add a legend of some categories.

    Parameters
    ----------
    figure : Figure
    categories : Categories
    shown : list of int
        Which of their names.
    height : float
        Room, in inches.
    width : float or None
        Of the whole sheet, in inches, where the caller asked for it.

    Returns
    -------
    Side

    Raises
    ------
    ValueError
        No size of letters makes it fit.
    """
    if not shown:
        return Side(figure)
    entries = [(categories.names[number], categories.colours[number]) for number in shown]
    title = shorten(categories.title) if len(shown) > 1 else ""
    needed = (0.0, 0.0)
    for font_size in FONT_SIZES:
        lines = max(int(height * 72 / (font_size * 1.55)) - bool(title), 1)
        legend = _legend(figure, entries, title, font_size, math.ceil(len(entries) / lines))
        needed = _inches(legend, figure)
        if needed[1] <= height and (width is None or needed[0] <= WIDEST * width):
            return Side(figure, *needed, legend=legend)
        legend.remove()
    raise ValueError(
        f"The legend of {len(entries)} names needs {needed[0]:.1f} × {needed[1]:.1f} inches, which "
        "is too much of the picture; make it larger, merge the rarest categories, or leave the "
        "legend out."
    )


def add_scale(figure: Figure, quantity: Quantity, height: float) -> Side:
    """Add a scale of colours, with arrows where values lie beyond its ends.

    Parameters
    ----------
    figure : Figure
    quantity : Quantity
    height : float
        Room, in inches.

    Returns
    -------
    Side
    """
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    n_missing = int(quantity.missing.sum())
    legend = None
    if n_missing:
        legend = _legend(figure, [(f"missing ({n_missing:,})", MISSING)], "", 8.0, 1)
    above, length = _bar_lengths(height, legend is not None)
    figure_width, figure_height = figure.get_size_inches()
    bar = figure.add_axes((0, 0, BAR_WIDTH / figure_width, length / figure_height))
    shades = ScalarMappable(Normalize(quantity.low, quantity.high), SCALE)
    scale = figure.colorbar(shades, cax=bar, extend=quantity.extend, extendfrac=0.05)
    scale.outline.set_visible(False)
    scale.locator = MaxNLocator(5)
    scale.formatter = FuncFormatter(lambda value, _: f"{value:.10g}".replace("-", "−"))
    scale.update_ticks()
    bar.tick_params(labelsize=8, length=2, color="#888888", labelcolor=INK)
    if quantity.title:
        title = literal(shorten(quantity.title))
        bar.set_title(title, fontsize=9, loc="left", pad=9, color=INK)
    box: Any = bar.get_tightbbox(painter_of(figure))
    width = (box.x1 - bar.get_window_extent().x0) / figure.dpi
    if legend is not None:
        width = max(width, _inches(legend, figure)[0])
    needed = above + length + _below(legend is not None)
    return Side(figure, width, min(height, needed), legend, bar)


def shades_of(quantity: Quantity) -> Any:
    """Return a function from values to colours: an array with a last axis of four."""
    import matplotlib
    from matplotlib.colors import Normalize

    scale, colours = Normalize(quantity.low, quantity.high, clip=True), matplotlib.colormaps[SCALE]
    return lambda values: colours(np.asarray(scale(values)))


def _legend(
    figure: Figure, entries: list[tuple[str, str]], title: str, font_size: float, columns: int
) -> Legend:
    from matplotlib.lines import Line2D

    style: dict[str, Any] = {"linestyle": "", "marker": "o", "markeredgewidth": 0}
    style["markersize"] = font_size * 0.8
    legend = figure.legend(
        handles=[Line2D([], [], color=colour, label=name, **style) for name, colour in entries],
        labels=[literal(name) for name, _ in entries],
        title=literal(title) or None,
        loc="upper left",
        bbox_to_anchor=(0, 1),
        ncols=columns,
        fontsize=font_size,
        labelcolor=INK,
        frameon=False,
        borderpad=0,
        borderaxespad=0,
        handletextpad=0.3,
        handlelength=1.2,
        columnspacing=1.2,
        labelspacing=0.35,
        alignment="left",
        title_fontproperties={"size": font_size, "weight": "bold"},
    )
    legend.get_title().set_color(INK)
    return legend


def _inches(legend: Legend, figure: Figure) -> tuple[float, float]:
    box = legend.get_window_extent(painter_of(figure))
    return box.width / figure.dpi, box.height / figure.dpi


def _bar_lengths(height: float, has_legend: bool) -> tuple[float, float]:
    """Return the room above a scale and its length, in inches."""
    above = 0.3
    return above, max(min(BAR_HEIGHT, height - above - _below(has_legend)), 0.3)


def _below(has_legend: bool) -> float:
    return BELOW_BAR + 0.2 * has_legend
