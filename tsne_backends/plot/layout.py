"""Where on the sheet a map, its title and its legend go, in inches, so that nothing is cut off.

One panel or several in a grid, the title above all, one column for legend or scale at the right.
"""

from __future__ import annotations

import math
import textwrap
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tsne_backends.plot.points import Points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: All lengths here are in inches: the edge of the sheet, what is between panels and before a
#: legend, a line of the title, the line above each of several panels.
EDGE, GAP, TITLE_LINE, PANEL_TITLE = 0.15, 0.12, 0.26, 0.24
#: Side of a square panel where the caller asks for no size: alone, among others, and a strip's.
ALONE, AMONG, STRIP_ALONE = 6.0, 2.4, 4.0
#: Narrowest panel that shows anything, and range of the sheet's sides.
NARROWEST, SIDES = 0.8, (1.0, 100.0)
#: Flattest and steepest frame, width by height; maps beyond are drawn with room around them.
FLATTEST, STEEPEST = 2.0, 0.5
STRIP = 3.5
TITLE_SIZE, PANEL_TITLE_SIZE = 13, 9


@dataclass(frozen=True)
class Sheet:
    """The plan of a picture; lengths are in inches.

    Attributes
    ----------
    columns, rows : int
        Of panels.
    ratio : float
        Width of a panel by its height.
    width, height : float or None
        Of the sheet, where the caller asked for it.
    title : str
        In lines that fit.
    panel_lines : int
        Lines above each panel.
    """

    columns: int
    rows: int
    ratio: float
    width: float | None
    height: float | None
    title: str
    panel_lines: int = 1

    @property
    def title_height(self) -> float:
        """Room for the title."""
        lines = self.title.count("\n") + 1 if self.title else 0
        return lines * TITLE_LINE + 0.08 * (lines > 0)

    @property
    def panel_title(self) -> float:
        """Room above each panel."""
        is_several = self.columns * self.rows > 1 or self.panel_lines > 1
        return self.panel_lines * PANEL_TITLE if is_several else 0.0

    def panel(self, side: float) -> tuple[float, float]:
        """Return width and height of a panel beside a legend of so many inches."""
        width_left = height_left = None
        if self.width is not None:
            width_left = self.width - 2 * EDGE - side - (self.columns - 1) * GAP
            width_left /= self.columns
        if self.height is not None:
            height_left = self.height - 2 * EDGE - self.title_height - (self.rows - 1) * GAP
            height_left = height_left / self.rows - self.panel_title
        if width_left is None and height_left is None:
            alone = STRIP_ALONE if self.ratio == STRIP else ALONE
            length = alone if self.columns * self.rows == 1 else AMONG
            width_left = length * math.sqrt(self.ratio)
        panel_width = width_left if width_left is not None else (height_left or 0) * self.ratio
        panel_height = height_left if height_left is not None else panel_width / self.ratio
        if min(panel_width, panel_height) < NARROWEST / (2 if self.ratio == STRIP else 1):
            raise ValueError(
                f"A picture of {_inches(self.width)} × {_inches(self.height)} inches leaves "
                f"{max(panel_width, 0):.1f} × {max(panel_height, 0):.1f} of them for each map; "
                "choose a larger one, or a shorter title or legend."
            )
        return panel_width, panel_height

    def panels_height(self, side: float) -> float:
        """Return the height of all rows of panels together."""
        return self.rows * (self.panel(side)[1] + self.panel_title) + (self.rows - 1) * GAP


def plan_sheet(
    points: Points,
    n_panels: int,
    title: str | None,
    width: float | None,
    height: float | None,
) -> Sheet:
    """Plan a picture of so many panels; width and height are in inches, None follows the map.

    Raises
    ------
    ValueError
        Width or height is out of range.
    """
    for name, length in (("width", width), ("height", height)):
        if length is not None and not SIDES[0] <= length <= SIDES[1]:
            raise ValueError(
                f"{name} is {length:g}; choose from {SIDES[0]:g} to {SIDES[1]:g} inches."
            )
    left, right, bottom, top = points.extent
    ratio = min(max((right - left) / (top - bottom), STEEPEST), FLATTEST)
    columns = n_panels if n_panels <= 3 else 2 if n_panels == 4 else 3 if n_panels <= 9 else 4
    ratio = STRIP if points.is_strip else ratio
    plain = Sheet(columns, -(-n_panels // columns), ratio, width, height, "")
    if points.n_components > 2:
        title = f"{title or 'Map'} (first 2 of {points.n_components} dimensions)"
    if not title:
        return plain
    known = width or columns * plain.panel(0)[0]
    letters = max(int(known * 72 / (TITLE_SIZE * 0.56)), 12)
    wrapped = "\n".join(textwrap.wrap(" ".join(title.split()), letters))
    return Sheet(columns, plain.rows, ratio, width, height, wrapped)


def arrange(
    figure: Figure, sheet: Sheet, panels: Sequence[Axes], side: tuple[float, float]
) -> tuple[float, float]:
    """Give the figure its size and the panels their places.

    Parameters
    ----------
    figure : Figure
    sheet : Sheet
    panels : sequence of Axes
        In reading order.
    side : tuple of float
        Width and height of the legend, zeros for none.

    Returns
    -------
    tuple of float
        Left and upper edge of the room for the legend, as shares of the figure from bottom left.
    """
    room = side[0] + (GAP if side[0] else 0)
    panel_width, panel_height = sheet.panel(room)
    panels_width = sheet.columns * panel_width + (sheet.columns - 1) * GAP
    width = sheet.width or 2 * EDGE + panels_width + room
    content = max(sheet.panels_height(room), side[1])
    height = sheet.height or 2 * EDGE + sheet.title_height + content
    figure.set_size_inches(width, height)
    top = height - EDGE - sheet.title_height
    for number, axes in enumerate(panels):
        row, column = divmod(number, sheet.columns)
        left = EDGE + column * (panel_width + GAP)
        bottom = top - (row + 1) * (panel_height + sheet.panel_title) - row * GAP
        axes.set_position(
            (left / width, bottom / height, panel_width / width, panel_height / height)
        )
    if sheet.title and not figure.texts:
        figure.text(0, 0, sheet.title, fontsize=TITLE_SIZE, ha="left", va="top", color="#222222")
    if sheet.title:
        figure.texts[0].set_position((EDGE / width, 1 - EDGE / height))
    return (EDGE + panels_width + GAP) / width, top / height


def painter_of(figure: Any) -> Any:
    """Return what texts must be measured with: how large they come out is known to no one else."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    canvas: Any = FigureCanvasAgg(figure)
    return canvas.get_renderer()


def _inches(length: float | None) -> str:
    return "free" if length is None else f"{length:g}"
