"""From labels to colours: a palette for categories, a scale for quantities, greys for the rest.

Nothing here draws, and nothing loads matplotlib.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.labels import LabelColumn, as_labels

#: Forty colours in the order they are used, made by ``docs/make_palette.py``: the first seven are
#: of M. Petroff's palette (arXiv:2107.02270), the others were chosen one by one to be as far as can
#: be from all before, also as seen without red or without green receptors. The least distance of
#: two is 7 in CAM02-UCS, where 1 can just be seen; forty colours of glasbey 0.3 or colorcet 3 come
#: to less than 3.
PALETTE = (
    *("#3f90da", "#ffa90e", "#bd1f01", "#832db6", "#a96b59", "#b9ac70", "#92dadd", "#990a5c"),
    *("#0a667a", "#eb6600", "#a3b8ff", "#00adb8", "#5c291f", "#99e0a3", "#47148f", "#ff5ca3"),
    *("#5c5cff", "#1f3d3d", "#007029", "#ad52a3", "#00f566", "#66005c", "#5ca33d", "#1f00ff"),
    *("#a3475c", "#851400", "#474785", "#eb8fd6", "#3d523d", "#e0a3a3", "#5ca37a", "#a3d6ff"),
    *("#5c7a85", "#660a33", "#d666ff", "#52475c", "#85a3a3", "#e07070", "#9952cc", "#e00029"),
)
MAX_CATEGORIES = len(PALETTE)
#: Points without a label, those of merged categories, and the whole map behind a facet.
MISSING, OTHERS, BACKDROP = "#c4c4c4", "#858585", "#e2e2e2"
#: matplotlib's name of the scale of quantities: even steps to the eye, colour-blind or not.
SCALE = "viridis"
#: Quantiles between which a scale is stretched, and how far beyond them, as a share of what lies
#: between, the extremes may lie for the scale to end at them instead.
QUANTILES, SLACK = (0.01, 0.99), 0.1
#: Letters of a category's name that are shown.
LONGEST_NAME = 32


@dataclass(frozen=True)
class Categories:
    """Labels that are names.

    Attributes
    ----------
    title : str
        What the labels tell, for the legend.
    names : tuple of str
        As shown, in the order of the legend; the greys come last.
    colours : tuple of str
        One per name, as ``"#rrggbb"``.
    codes : ndarray of shape (n_samples,), intp
        Index into ``names``.
    has_others, has_missing : bool
        Whether the last names are those of merged categories, and of rows without a label.
    """

    title: str
    names: tuple[str, ...]
    colours: tuple[str, ...]
    codes: NDArray[np.intp]
    has_others: bool = False
    has_missing: bool = False

    @property
    def n_coloured(self) -> int:
        """How many names have a colour of their own."""
        return len(self.names) - self.has_others - self.has_missing

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where there is no label."""
        return np.equal(self.codes, len(self.names) - 1 if self.has_missing else -1)


@dataclass(frozen=True)
class Quantity:
    """Labels that are numbers.

    Attributes
    ----------
    title : str
        What the labels tell, for the scale.
    values : ndarray of shape (n_samples,), float64
        NaN where there is none.
    low, high : float
        Ends of the scale.
    extend : {"neither", "min", "max", "both"}
        At which ends values lie beyond the scale.
    """

    title: str
    values: NDArray[np.float64]
    low: float
    high: float
    extend: str

    @property
    def missing(self) -> NDArray[np.bool_]:
        """Where there is no value."""
        return np.isnan(self.values)


def colouring(
    labels: Any, n_samples: int, name: str | None = None, max_categories: int | None = None
) -> Categories | Quantity | None:
    """Decide on the colours of the points.

    Parameters
    ----------
    labels : LabelColumn, array-like of shape (n_samples,) or None
        Floating-point labels are quantities; all others are categories.
    n_samples : int
        Rows of the map.
    name : str or None, default=None
        What the labels tell; a `LabelColumn` or a pandas Series knows by itself.
    max_categories : int or None, default=None
        Merge the rarest categories into a grey one, so that no more than this many names remain.

    Returns
    -------
    Categories, Quantity or None
        None where there are no labels.

    Raises
    ------
    ValueError
        The labels are not one per row, all missing or infinite, or there are more than forty
        categories.
    """
    if max_categories is not None and not 2 <= max_categories <= MAX_CATEGORIES:
        raise ValueError(
            f"max_categories is {max_categories}, but from 2 to {MAX_CATEGORIES} colours can be "
            "told apart; choose a number in that range."
        )
    if labels is None:
        return None
    column = as_column(labels, n_samples, name)
    if not column.is_quantity:
        known = categories(column, max_categories)
        if known.n_coloured > MAX_CATEGORIES:
            raise ValueError(
                f'"{column.name or "labels"}" has {known.n_coloured:,} categories, but at most '
                f"{MAX_CATEGORIES} colours can be told apart; merge the rarest ones "
                "(max_categories), or pass quantities as floating-point numbers."
            )
        return known
    return Quantity(column.name, column.values, *clipped_range(column.values))


def as_column(labels: Any, n_samples: int, name: str | None = None) -> LabelColumn:
    """Take labels of any kind for a column, whose name is empty where nobody knows one."""
    known = name if name is not None else getattr(labels, "name", None)
    column = as_labels(labels, n_samples, known)
    return column if known is not None else LabelColumn("", column.values)


def clipped_range(values: NDArray[np.float64]) -> tuple[float, float, str]:
    """Return the ends of a scale that a few extreme values cannot stretch.

    Parameters
    ----------
    values : ndarray of float64
        NaN is left out.

    Returns
    -------
    low, high : float
        The 1st and 99th percentile, or the extremes where they are not far beyond.
    extend : {"neither", "min", "max", "both"}
        At which ends values are clipped.
    """
    known = values[~np.isnan(values)]
    least, most = float(known.min()), float(known.max())
    low, high = (float(quantile) for quantile in np.quantile(known, QUANTILES))
    if low == high:  # nearly all values are the same, as counts of a rare gene are
        low, high = least, most
    slack = SLACK * (high - low)
    low = least if least >= low - slack else low
    high = most if most <= high + slack else high
    if low == high:  # all values are the same; the scale still needs two ends
        return low - 0.5, high + 0.5, "neither"
    ends = {(False, False): "neither", (True, False): "min", (False, True): "max"}
    return low, high, ends.get((least < low, most > high), "both")


def categories(column: LabelColumn, most: int | None = None) -> Categories:
    """Number the categories of a column, merge the rarest, and give them colours.

    Parameters
    ----------
    column : LabelColumn
        Of categories.
    most : int or None, default=None
        Names that may remain; None merges nothing.

    Returns
    -------
    Categories
        Named in natural order, then "others (n categories)" where some were merged, then
        "missing (n)" where some rows have no label. Colours repeat after the fortieth.
    """
    missing = column.missing
    unique, codes_found = np.unique(column.values[~missing].astype(str), return_inverse=True)
    found: list[str] = unique.tolist()
    kept = sorted(range(len(found)), key=lambda number: natural_order(found[number]))
    if most is not None and len(found) > most:
        counts = np.bincount(codes_found)
        common = set(np.argsort(-counts, kind="stable")[: most - 1].tolist())
        kept = [number for number in kept if number in common]
    names = [shorten(found[number]) for number in kept]
    colours = [PALETTE[number % MAX_CATEGORIES] for number in range(len(kept))]
    has_others = len(kept) < len(found)
    if has_others:
        names.append(f"others ({len(found) - len(kept):,} categories)")
        colours.append(OTHERS)
    new_code = np.full(len(found), len(kept))
    new_code[kept] = np.arange(len(kept))
    codes = np.full(len(missing), len(names), dtype=np.intp)
    codes[~missing] = new_code[codes_found]
    if missing.any():
        names.append(f"missing ({missing.sum():,})")
        colours.append(MISSING)
    return Categories(
        column.name, tuple(names), tuple(colours), codes, has_others, bool(missing.any())
    )


def shorten(name: str, longest: int = LONGEST_NAME) -> str:
    """Cut a long name in its middle, where names that differ seldom do."""
    name = " ".join(name.split())
    if len(name) <= longest:
        return name
    kept = longest - 1
    return f"{name[: kept - kept // 2]}…{name[len(name) - kept // 2 :]}"


def literal(text: str) -> str:
    r"""Keep matplotlib from reading what stands between two dollar signs as mathematics."""
    return text.replace("$", r"\$")


def natural_order(name: str) -> list[tuple[int, float, str]]:
    """Return a key that sorts "2" before "10", and "T2" before "T10"."""
    parts = enumerate(re.split(r"(\d+)", name))
    return [(0, float(part), "") if place % 2 else (1, 0.0, part) for place, part in parts if part]
