"""Writing figures to files: which formats there are, and how many dots a picture may have.

Figures are drawn in ``static`` and ``sweeps``, and pages are written by ``html``. That a file
appears whole or not at all is seen to in `tsne_backends.files`.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files import check_replaceable, whole_or_not_at_all

if TYPE_CHECKING:
    from matplotlib.figure import Figure

#: Endings of the pictures written here.
PICTURES = (".png", ".pdf", ".svg")
#: Dots per inch, and how many a picture may have along a side (the limit of matplotlib's painter).
DPI, MOST_DOTS = 200, 32_000
#: In PDF and SVG the points are an image among shapes, and seen closer than a whole PNG is.
DPI_OF_POINTS = 300


def save_figure(figure: Figure, path: str | Path, dpi: int | None = None) -> None:
    """Write a figure, whole or not at all; an existing file is replaced.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
    path : str or Path
        The ending decides the format: .png, .pdf or .svg.
    dpi : int or None, default=None
        Dots per inch; in .pdf and .svg, those of the points. None takes 200, and 300 there.

    Raises
    ------
    FileFormatError
        Pictures are not written to this ending.
    OSError
        Writing failed; an existing file is untouched.
    """
    path = Path(path)
    _check_ending(path)
    kind = path.suffix.lower().lstrip(".")
    if dpi is None:
        dpi = DPI if kind == "png" else DPI_OF_POINTS
    width, height = figure.get_size_inches()
    check_dots(width, height, dpi)
    # Without a date, and with fixed ids in SVG, the same figure gives the same file.
    undated = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}.get(kind, {})
    with whole_or_not_at_all(path) as temporary:
        figure.savefig(temporary, format=kind, dpi=dpi, metadata=undated)


def check_picture(path: Path, *, force: bool = False) -> None:
    """Refuse, before any work starts, a picture that `save_figure` could not write.

    Parameters
    ----------
    path : Path
        The file to be written.
    force : bool, default=False
        Allow taking the place of an existing file.

    Raises
    ------
    FileFormatError
        Pictures are not written to this ending.
    FileExistsError, FileNotFoundError, IsADirectoryError, PermissionError
        The file is there, its folder is not, or it may not be written.
    """
    _check_ending(path)
    check_replaceable(path, force=force)


def check_dots(width: float, height: float, dpi: int) -> None:
    """Raise ValueError where a picture of so many inches has more dots than can be painted."""
    if not 10 <= dpi <= 2400:
        raise ValueError(f"dpi is {dpi}; choose from 10 to 2,400 dots per inch.")
    if max(width, height) * dpi > MOST_DOTS:
        raise ValueError(
            f"{width:g} × {height:g} inches at {dpi} dots per inch are more than {MOST_DOTS:,} "
            "dots along a side; choose a smaller picture or fewer dots per inch."
        )


def _check_ending(path: Path) -> None:
    suffix = path.suffix.lower()
    if suffix not in PICTURES:
        raise FileFormatError(
            f'A picture cannot be written to "{path}", whose ending is "{path.suffix}"; use one of '
            f"{', '.join(PICTURES)}.{did_you_mean(suffix, PICTURES)}"
        )
