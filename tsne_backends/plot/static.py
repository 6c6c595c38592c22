"""Maps as matplotlib figures: one map, or small multiples of it.

Colours, room and places of names are found elsewhere; here everything is put together.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from numpy.typing import ArrayLike

from tsne_backends.errors import did_you_mean
from tsne_backends.optional import import_optional
from tsne_backends.plot.colors import (
    Categories,
    Quantity,
    as_column,
    categories,
    colouring,
    literal,
)
from tsne_backends.plot.drawing import draw_map, set_frame
from tsne_backends.plot.layout import PANEL_TITLE_SIZE, Sheet, arrange, plan_sheet
from tsne_backends.plot.legends import Side, add_legend, add_scale
from tsne_backends.plot.placing_labels import places, put_names
from tsne_backends.plot.points import Points, as_points

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Where the names of categories can go.
PLACEMENTS = ("auto", "on-map", "legend", "none")
#: Most panels of `facets`, those of merged and missing categories not counted.
MAX_FACETS = 12
#: Sizes of letters tried for names on the map, in points, and up to how many names each is used:
#: forty names in large letters would hide the map.
NAME_SIZES = {11.0: 12, 10.0: 18, 9.0: 26, 8.0: 40, 7.0: 40}


def scatter(
    embedding: ArrayLike,
    labels: Any = None,
    title: str | None = None,
    *,
    label_name: str | None = None,
    placement: str = "auto",
    max_categories: int | None = None,
    width: float | None = None,
    height: float | None = None,
    density: bool | None = None,
) -> Figure:
    """Draw a map.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, n_components)
        The map. One dimension is drawn as a strip, spread out at random across it; of three or
        more, the first two are drawn, and the title says so.
    labels : array-like of shape (n_samples,), LabelColumn or None, default=None
        Floating-point labels are quantities, shown on a colour scale between their 1st and 99th
        percentile; all others are categories. Missing labels are drawn in grey, and named.
    title : str or None, default=None
        Written above the map.
    label_name : str or None, default=None
        What the labels tell, for legend or scale; a pandas Series knows by itself.
    placement : {"auto", "on-map", "legend", "none"}, default="auto"
        Where the names of categories go: at their clusters, into a legend, or nowhere. "auto"
        takes the map if every category has a place of its own there and all names find room.
        With "on-map", names that find no room go into a legend.
    max_categories : int or None, default=None
        Merge the rarest categories into a grey one, so that no more than this many names remain.
    width, height : float or None, default=None
        Of the figure, in inches; None follows the shape of the map and the room a legend needs.
    density : bool or None, default=None
        Add up what lies in each pixel instead of drawing single points; None does so above
        200,000 points.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot: it is freed with its last reference.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The map is not a matrix of finite numbers or has no extent, the labels are not one per row
        or all missing, there are more than 40 categories, or the figure is too small.
    """
    _check_placement(placement)
    points = as_points(embedding)
    colours = colouring(labels, len(points.xy), label_name, max_categories)
    sheet = plan_sheet(points, 1, title, width, height)
    figure = new_figure()
    axes = figure.add_subplot()
    if placement in ("auto", "on-map") and isinstance(colours, Categories):
        side = _names_on_map(figure, axes, sheet, points, colours, placement)
    else:
        side = add_side(figure, sheet, colours, placement)
        settle(figure, sheet, [axes], side)
    draw_map(axes, points, colours, density=density)
    return figure


def facets(
    embedding: ArrayLike,
    by: Any,
    labels: Any = None,
    title: str | None = None,
    *,
    label_name: str | None = None,
    placement: str = "auto",
    max_categories: int | None = None,
    max_facets: int | None = None,
    width: float | None = None,
    height: float | None = None,
    density: bool | None = None,
) -> Figure:
    """Draw a map once for each category of ``by``, each over the whole map in light grey.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, n_components)
        The map; see `scatter`.
    by : array-like of shape (n_samples,) or LabelColumn
        Categories, of which each gets a panel; rows without one get a last panel.
    labels, title, label_name, max_categories, width, height, density
        See `scatter`. Colours mean the same in all panels.
    placement : {"auto", "on-map", "legend", "none"}, default="auto"
        "none" leaves the legend out; panels are too small for names, so all others draw it.
    max_facets : int or None, default=None
        Merge the rarest categories of ``by`` into one panel, so that no more than this many
        remain.

    Returns
    -------
    matplotlib.figure.Figure
        With one axes per panel, in reading order; all show the same range.

    Raises
    ------
    ImportError, ValueError
        See `scatter`; besides, ``by`` is a quantity or has more than 12 categories.
    """
    _check_placement(placement)
    points = as_points(embedding)
    colours = colouring(labels, len(points.xy), label_name, max_categories)
    groups = _facet_groups(by, len(points.xy), max_facets)
    sheet = plan_sheet(points, len(groups.names), title, width, height)
    figure = new_figure()
    panels = [figure.add_subplot() for _ in groups.names]
    side = add_side(figure, sheet, colours, placement)
    settle(figure, sheet, panels, side)
    for code, (axes, name) in enumerate(zip(panels, groups.names, strict=True)):
        chosen = groups.codes == code
        draw_map(axes, points, colours, chosen=chosen, density=density)
        count = "" if code >= groups.n_coloured else f" ({chosen.sum():,})"
        axes.set_title(literal(name + count), fontsize=PANEL_TITLE_SIZE, loc="left", pad=3)
    return figure


def _check_placement(placement: str) -> None:
    if placement not in PLACEMENTS:
        raise ValueError(
            f'placement is "{placement}"; choose one of {", ".join(PLACEMENTS)}.'
            f"{did_you_mean(str(placement), PLACEMENTS)}"
        )


def _facet_groups(by: Any, n_samples: int, max_facets: int | None) -> Categories:
    if max_facets is not None and not 2 <= max_facets <= MAX_FACETS:
        raise ValueError(f"max_facets is {max_facets}; choose from 2 to {MAX_FACETS} panels.")
    column = as_column(by, n_samples)
    name = column.name or "by"
    if column.is_quantity:
        raise ValueError(
            f'"{name}" is a quantity, but panels are made of categories; cut it into a few ranges, '
            "or colour by it."
        )
    groups = categories(column, max_facets)
    if groups.n_coloured > MAX_FACETS:
        raise ValueError(
            f'"{name}" has {groups.n_coloured:,} categories, but at most {MAX_FACETS} panels can '
            "be compared; merge the rarest with max_facets, or choose another column."
        )
    return groups


def new_figure() -> Figure:
    """Return an empty figure that pyplot knows nothing of."""
    import_optional("matplotlib", "plot", "Pictures")
    from matplotlib.figure import Figure

    return Figure(facecolor="white")


def add_side(
    figure: Figure, sheet: Sheet, colours: Categories | Quantity | None, placement: str
) -> Side:
    """Add a legend or scale as high as the maps."""
    # How wide it will be is not known yet; with a fixed width, that makes the maps a bit lower.
    height = sheet.panels_height(0.0 if sheet.width is None else 0.25 * sheet.width)
    if isinstance(colours, Quantity):
        return add_scale(figure, colours, height)
    if colours is None or placement == "none":
        return Side(figure)
    return add_legend(figure, colours, list(range(len(colours.names))), height, sheet.width)


def settle(figure: Figure, sheet: Sheet, panels: list[Axes], side: Side) -> None:
    """Give panels and legend their places, and the figure its size."""
    side.place(*arrange(figure, sheet, panels, (side.width, side.height)))


def _names_on_map(
    figure: Figure,
    axes: Axes,
    sheet: Sheet,
    points: Points,
    colours: Categories,
    placement: str,
) -> Side:
    """Write the names at the clusters where they can be read there, and the others in a legend."""
    known = ~colours.missing
    where = places(points.xy[known], colours.codes[known], colours.n_coloured)
    order = sorted(range(len(where)), key=lambda code: -where[code].own * where[code].held)
    greys = set(range(colours.n_coloured, len(colours.names)))

    def put(in_legend: set[int], font_size: float) -> tuple[Side, set[int]]:
        height = sheet.panels_height(0.0)
        side = add_legend(figure, colours, sorted(in_legend), height, sheet.width)
        settle(figure, sheet, [axes], side)
        set_frame(axes, points)
        codes = [code for code in order if code not in in_legend]
        names = [colours.names[code] for code in codes]
        left_over = put_names(axes, names, [where[code] for code in codes], font_size)
        return side, {codes[number] for number in left_over}

    def take_back(side: Side) -> None:
        side.remove()
        for artist in [*axes.texts, *axes.lines]:
            artist.remove()

    is_clear = not points.is_strip and all(place.is_clear for place in where)
    if is_clear or placement == "on-map":
        sizes = [size for size, most in NAME_SIZES.items() if len(where) <= most]
        for font_size in sizes:
            side, left_over = put(greys, font_size)
            if not left_over:
                return side
            take_back(side)
        in_legend = greys
        while placement == "on-map":  # a longer legend leaves the map less room for names
            in_legend = in_legend | left_over
            side, left_over = put(in_legend, sizes[-1])
            if not left_over:
                return side
            take_back(side)
    side = add_side(figure, sheet, colours, "legend")
    settle(figure, sheet, [axes], side)
    return side
