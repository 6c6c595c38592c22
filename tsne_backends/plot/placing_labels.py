"""Names at the clusters of a map: where each category has its place, and how names keep apart.

A category whose points lie all over the map, or under those of others, has no place of its own; its
name belongs into the legend.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.plot.colors import literal, shorten
from tsne_backends.plot.layout import painter_of

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.text import Text

#: Cells along each side of the grid on which clumps are looked for: least, most, and how many for
#: the root of the number of points; cells of smoothing.
FEWEST_CELLS, MOST_CELLS, CELLS_PER_ROOT, SMOOTHING = 16, 96, 1.0, 1.5
#: A clump ends where a category's density falls below this share of its highest.
EDGE = 0.15
#: A name may stand for its category if its biggest clump holds this share of its points, and this
#: share of the points there are its own.
HELD, OWN = 0.35, 0.5
#: Letters of a name on the map.
LONGEST_NAME = 24
#: Distances from its place at which a name is tried, in heights of its letters.
RINGS = (0.0, 0.9, 1.6, 2.4, 3.4, 4.6)
#: From this distance on, a line leads from the name to its place.
LEADER_FROM = 1.6
#: Dots between two names, of a hundred per inch.
BETWEEN = 3.0
INK, HALO, HALO_WIDTH = "#222222", "white", 3.0


@dataclass(frozen=True)
class Place:
    """Where the biggest clump of a category lies.

    Attributes
    ----------
    x, y : float
        A point of the category amid its clump.
    held : float
        Share of the category's points that lie in the clump.
    own : float
        Share of the clump's points that are of the category.
    """

    x: float
    y: float
    held: float
    own: float

    @property
    def is_clear(self) -> bool:
        """Whether a name here would be taken for that of the category."""
        return self.held >= HELD and self.own >= OWN


def places(xy: NDArray[np.float64], codes: NDArray[np.intp], n_names: int) -> list[Place]:
    """Find the place of each category: the medoid of its biggest clump.

    Parameters
    ----------
    xy : ndarray of shape (n_points, 2), float64
        Coordinates.
    codes : ndarray of shape (n_points,), intp
        Category of each point.
    n_names : int
        Categories to look for: 0, 1 and so on, each with a point at least.

    Returns
    -------
    list of Place
    """
    low, size = xy.min(axis=0), np.ptp(xy, axis=0)
    cells = int(np.clip(CELLS_PER_ROOT * np.sqrt(len(xy)), FEWEST_CELLS, MOST_CELLS))
    column, row = ((xy - low) * (cells / np.where(size > 0, size, 1))).astype(np.intp).T
    flat = np.minimum(row, cells - 1) * cells + np.minimum(column, cells - 1)
    everyone = _smooth(flat, cells)
    return [_place(xy[codes == code], flat[codes == code], everyone) for code in range(n_names)]


def put_names(
    axes: Axes, names: Sequence[str], where: Sequence[Place], font_size: float
) -> list[int]:
    """Write names on a map, none over another or over the edge.

    Parameters
    ----------
    axes : Axes
        At its final size, with its final limits.
    names : sequence of str
        The clearest places should come first: who comes later makes room.
    where : sequence of Place
        One per name.
    font_size : float
        In points.

    Returns
    -------
    list of int
        Which names found no room; they are not on the map.
    """
    from matplotlib.patheffects import withStroke

    renderer = painter_of(axes.figure)
    frame = axes.get_window_extent(renderer)
    anchors = axes.transData.transform([(place.x, place.y) for place in where])
    taken: list[Any] = []
    left_over = []
    for number, name in enumerate(names):
        text = axes.text(
            anchors[number][0],
            anchors[number][1],
            literal(shorten(name, LONGEST_NAME)),
            transform=None,
            ha="center",
            va="center",
            fontsize=font_size,
            color=INK,
            fontweight="bold",
            path_effects=[withStroke(linewidth=HALO_WIDTH, foreground=HALO)],
            zorder=5,
        )
        box = text.get_window_extent(renderer)
        found = _free_offset(box, frame, taken)
        if found is None:
            text.remove()
            left_over.append(number)
            continue
        taken.append(box.translated(*found).padded(BETWEEN))
        _fix(axes, text, anchors[number], anchors[number] + found, box)
    return left_over


def _smooth(flat: NDArray[np.intp], cells: int) -> NDArray[np.float64]:
    from scipy.ndimage import gaussian_filter

    counts = np.bincount(flat, minlength=cells**2).reshape(cells, cells)
    smooth: NDArray[np.float64] = gaussian_filter(counts.astype(float), SMOOTHING)
    return smooth


def _place(
    own: NDArray[np.float64], flat: NDArray[np.intp], everyone: NDArray[np.float64]
) -> Place:
    from scipy.ndimage import label

    density = _smooth(flat, len(everyone))
    clumps, n_clumps = label(density > EDGE * density.max())
    members_of = clumps.ravel()[flat]
    held = np.bincount(members_of, minlength=n_clumps + 1)
    held[0] = 0
    biggest = int(held.argmax())
    members = own[members_of == biggest]
    middle = np.median(members, axis=0)
    # A point of the category, because the middle of a ring belongs to whatever is inside it.
    x, y = members[((members - middle) ** 2).sum(axis=1).argmin()]
    inside = clumps == biggest
    # Weighted by where the category's points are: what lies at the rim of its clump counts little.
    share = (density[inside] ** 2).sum() / (density[inside] * everyone[inside]).sum()
    return Place(float(x), float(y), float(held[biggest] / len(own)), float(share))


def _free_offset(box: Any, frame: Any, taken: Sequence[Any]) -> NDArray[np.float64] | None:
    """Return by how many dots to move a box so that it is inside the frame and over no other."""
    for ring in RINGS:
        turns = 1 if ring == 0 else 16
        for turn in range(turns):
            angle = 2 * np.pi * turn / turns
            reach = np.array([box.height * ring + box.width / 2 * (ring > 0), box.height * ring])
            offset = reach * (np.cos(angle), np.sin(angle))
            moved = box.translated(*offset)
            inside = frame.x0 <= moved.x0 and moved.x1 <= frame.x1
            inside = inside and frame.y0 <= moved.y0 and moved.y1 <= frame.y1
            if inside and not any(moved.overlaps(other) for other in taken):
                return offset
    return None


def _fix(axes: Axes, text: Text, anchor: Any, position: Any, box: Any) -> None:
    """Hand a text placed in dots over to the data's coordinates, which outlive a change of dpi."""
    to_data = axes.transData.inverted()
    text.set_transform(axes.transData)
    x, y = to_data.transform(position)
    text.set_position((x, y))
    if np.abs(position - anchor)[1] >= LEADER_FROM * box.height or (
        np.abs(position - anchor)[0] >= box.width / 2 + LEADER_FROM * box.height
    ):
        ends = to_data.transform([anchor, position])
        axes.plot(*ends.T, color=INK, linewidth=0.6, alpha=0.7, zorder=4, solid_capstyle="round")
