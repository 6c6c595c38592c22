"""Draws one map on matplotlib axes: its points, or the pixels they fill; no title, no legend.

Figures are put together in ``static``; what is drawn where is decided by its callers.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from tsne_backends.plot.colors import BACKDROP, MISSING, PALETTE, Categories, Quantity
from tsne_backends.plot.density import grid, mean_values, mixed_colours
from tsne_backends.plot.legends import shades_of
from tsne_backends.plot.points import DENSITY_FROM, LARGEST, Points, shuffled, size_and_alpha

if TYPE_CHECKING:
    from matplotlib.axes import Axes

#: Points of a facet are drawn larger than those of the map behind them, by area.
EMPHASIS = 2.0


def draw_map(
    axes: Axes,
    points: Points,
    colours: Categories | Quantity | None = None,
    *,
    chosen: NDArray[np.bool_] | None = None,
    density: bool | None = None,
) -> None:
    """Draw a map on axes that have their final size; no title, no legend.

    Parameters
    ----------
    axes : matplotlib.axes.Axes
    points : Points
        From `as_points`.
    colours : Categories, Quantity or None, default=None
        From `colouring`.
    chosen : ndarray of shape (n_samples,), bool, or None, default=None
        Which points to draw; the others are drawn below them, in light grey.
    density : bool or None, default=None
        Add up what lies in each pixel; None does so above 200,000 points.
    """
    n_points = len(points.xy)
    if density is None:
        density = n_points > DENSITY_FROM
    set_frame(axes, points, framed=chosen is not None)
    everything = np.ones(n_points, dtype=bool) if chosen is None else chosen
    missing = np.zeros(n_points, dtype=bool) if colours is None else colours.missing
    layers = [(missing & everything, None, MISSING), (~missing & everything, colours, PALETTE[0])]
    if chosen is not None:
        layers.insert(0, (~chosen, None, BACKDROP))
    for members, shades, plain in layers:
        if not members.any():
            continue
        if density:
            _draw_pixels(axes, points, members, shades, plain)
        else:
            larger = EMPHASIS if chosen is not None and plain != BACKDROP else 1.0
            _draw_points(axes, points, members, shades, plain, larger)


def set_frame(axes: Axes, points: Points, framed: bool = False) -> None:
    """Show the whole map, both axes alike; positions on a map mean nothing, so without ticks."""
    left, right, bottom, top = points.extent
    axes.set(xlim=(left, right), ylim=(bottom, top), xticks=[], yticks=[])
    axes.set_aspect("auto" if points.is_strip else "equal", adjustable="box")
    axes.apply_aspect()  # names are placed, and points sized, before matplotlib would do it
    for spine in axes.spines.values():
        spine.set(visible=framed, color=BACKDROP, linewidth=0.8)


def _draw_points(
    axes: Axes,
    points: Points,
    members: NDArray[np.bool_],
    colours: Categories | Quantity | None,
    plain: str,
    larger: float,
) -> None:
    width, height = _size_in_inches(axes)
    size, alpha = size_and_alpha(len(points.xy), width * height * 72**2)
    order = shuffled(len(points.xy))
    order = order[members[order]]
    x, y = points.xy[order].T
    axes.scatter(
        x,
        y,
        c=plain if colours is None else _rgb(colours, order),
        s=min(size * larger, LARGEST),
        alpha=alpha,
        linewidths=0,
        rasterized=True,  # as shapes, they would make a PDF or SVG that no viewer likes
    )


def _draw_pixels(
    axes: Axes,
    points: Points,
    members: NDArray[np.bool_],
    colours: Categories | Quantity | None,
    plain: str,
) -> None:
    from matplotlib.colors import to_rgb

    xy, extent = points.xy[members], points.extent
    shape = grid(*_size_in_inches(axes))
    if isinstance(colours, Quantity):
        image = mean_values(xy, colours.values[members], shades_of(colours), extent, shape)
    elif colours is None:
        one = np.broadcast_to(to_rgb(plain), (len(xy), 3))
        image = mixed_colours(xy, one, extent, shape)
    else:
        image = mixed_colours(xy, _rgb(colours, np.flatnonzero(members)), extent, shape)
    axes.imshow(
        image,
        extent=extent,
        origin="lower",
        aspect=axes.get_aspect(),
        interpolation="nearest",
        rasterized=True,
    )


def _rgb(colours: Categories | Quantity, rows: NDArray[np.intp]) -> NDArray[np.float64]:
    from matplotlib.colors import to_rgb

    if isinstance(colours, Quantity):
        return np.asarray(shades_of(colours)(colours.values[rows]))[:, :3]
    return np.array([to_rgb(colour) for colour in colours.colours])[colours.codes[rows]]


def _size_in_inches(axes: Axes) -> tuple[float, float]:
    return axes.bbox.width / axes.figure.dpi, axes.bbox.height / axes.figure.dpi
