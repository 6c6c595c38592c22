"""Draws maps with matplotlib, which is loaded on the first call, and without pyplot's global state.

Size, transparency and order of the points follow from their number, so that a map of a hundred
points and one of a million both show their density.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files import import_optional, whole_or_not_at_all

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

#: Ten colours that stay apart under colour blindness: M. Petroff, arXiv:2107.02270.
PALETTE = (
    "#3f90da",
    "#ffa90e",
    "#bd1f01",
    "#94a4a2",
    "#832db6",
    "#a96b59",
    "#e76300",
    "#b9ac70",
    "#717581",
    "#92dadd",
)
#: Shapes tell apart what shares a colour where there are more than ten categories.
MARKERS = "osD^vP*<>X"
#: Rows of a legend column that fit beside the map.
LEGEND_ROWS = 20
#: Most categories that colour and shape can tell apart.
MAX_CATEGORIES = len(PALETTE) * len(MARKERS)


def scatter(embedding: ArrayLike, labels: Any = None, title: str | None = None) -> Figure:
    """Draw a map.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, n_components)
        The map. One dimension is drawn as a strip, spread out at random across it; of three or
        more, the first two are drawn, and the title says so.
    labels : array-like of shape (n_samples,) or None, default=None
        Floating-point labels are quantities, shown on a colour scale, grey where they are not
        finite; all others are categories, with a legend.
    title : str or None, default=None
        Written above the map.

    Returns
    -------
    matplotlib.figure.Figure
        Not known to pyplot: it is freed with its last reference.

    Raises
    ------
    ImportError
        matplotlib is not installed.
    ValueError
        The map is not a matrix of finite numbers, the labels are not one per row, or there are
        more than 100 categories.
    """
    import_optional("matplotlib", "plot", "Pictures")
    from matplotlib.figure import Figure

    values = np.asarray(embedding, dtype=float)
    if values.ndim != 2 or 0 in values.shape or not np.isfinite(values).all():
        raise ValueError(
            f"A map is a matrix of finite numbers, samples × dimensions; got an array of shape "
            f"{values.shape}{' with values that are not finite' if values.size else ''}."
        )
    n_samples, n_components = values.shape
    known = None if labels is None else _check_labels(labels, n_samples)

    # Drawn in the order of the file, the last class would cover the others.
    random = np.random.default_rng(0)
    order = random.permutation(n_samples)
    if n_components == 1:
        points = np.column_stack([values[:, 0], random.uniform(-1, 1, n_samples)])
    else:
        points = values[:, :2]
    if n_components > 2:
        title = f"{title or 'Map'} (first 2 of {n_components} dimensions)"

    figure = Figure(figsize=(7, 2.2 if n_components == 1 else 6), layout="constrained")
    axes = figure.add_subplot()
    _draw(axes, points[order], None if known is None else known[order])
    axes.set(xticks=[], yticks=[])
    if n_components > 1:
        axes.set_aspect("equal", adjustable="datalim")
    if title:
        axes.set_title(title)
    return figure


def save_figure(figure: Figure, path: str | Path) -> None:
    """Write a figure, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path
        The ending decides the format: .png, .pdf, .svg and what else matplotlib writes.

    Raises
    ------
    FileFormatError
        matplotlib does not write this ending.
    OSError
        Writing failed; an existing file is untouched.
    """
    path = Path(path)
    kind = path.suffix.lower().lstrip(".")
    known = figure.canvas.get_supported_filetypes()
    if kind not in known:
        raise FileFormatError(
            f'A picture cannot be written to "{path}", whose ending is "{path.suffix}"; use one of '
            f"{', '.join(f'.{name}' for name in sorted(known))}.{did_you_mean(kind, known)}"
        )
    with whole_or_not_at_all(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=150)


def _check_labels(labels: Any, n_samples: int) -> NDArray[Any]:
    known = np.asarray(labels)
    if known.shape != (n_samples,):
        raise ValueError(
            f"labels has shape {known.shape}, but the map has {n_samples} rows; pass one label "
            "for every row."
        )
    # Objects of several types have no order to sort the legend by; their names have.
    return known.astype(str) if known.dtype.kind == "O" else known


def _draw(axes: Axes, points: NDArray[Any], labels: NDArray[Any] | None) -> None:
    n_samples = len(points)
    style: dict[str, Any] = {
        "s": float(np.clip(20_000 / n_samples, 0.5, 40)),  # square points
        "alpha": float(np.clip(8 / n_samples**0.25, 0.2, 0.9)),
        "linewidths": 0,
        # As shapes, more points than this make a PDF or SVG that no viewer likes.
        "rasterized": n_samples > 5_000,
    }
    if labels is None:
        axes.scatter(*_xy(points), color=PALETTE[0], **style)
    elif labels.dtype.kind == "f":
        finite = np.isfinite(labels)
        axes.scatter(*_xy(points[~finite]), color="lightgrey", **style)
        drawn = axes.scatter(*_xy(points[finite]), c=labels[finite], cmap="viridis", **style)
        axes.figure.colorbar(drawn, ax=axes)
    else:
        _draw_categories(axes, points, labels, style)


def _draw_categories(
    axes: Axes, points: NDArray[Any], labels: NDArray[Any], style: dict[str, Any]
) -> None:
    from matplotlib.lines import Line2D

    names, codes = np.unique(labels, return_inverse=True)
    if len(names) > MAX_CATEGORIES:
        raise ValueError(
            f"labels has {len(names)} categories, but at most {MAX_CATEGORIES} can be told apart; "
            "merge some, or pass quantities as floating-point numbers."
        )
    colours = np.array(PALETTE)[codes % len(PALETTE)]
    shapes = codes // len(PALETTE)
    for number in range(math.ceil(len(names) / len(PALETTE))):
        chosen = shapes == number
        axes.scatter(*_xy(points[chosen]), c=colours[chosen], marker=MARKERS[number], **style)
    handles = [
        Line2D(
            [],
            [],
            linestyle="",
            marker=MARKERS[code // len(PALETTE)],
            color=PALETTE[code % len(PALETTE)],
            label=str(name),
        )
        for code, name in enumerate(names)
    ]
    axes.figure.legend(
        handles=handles,
        loc="outside right upper",
        frameon=False,
        ncols=math.ceil(len(names) / LEGEND_ROWS),
    )


def _xy(points: NDArray[Any]) -> tuple[NDArray[Any], NDArray[Any]]:
    return points[:, 0], points[:, 1]
