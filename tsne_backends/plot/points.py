"""From an embedding to points that can be drawn: two finite coordinates, their extent, their size.

Nothing here knows about colours, and nothing loads matplotlib.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike, NDArray

#: From this many points on, single ones are no longer drawn; see ``density``.
DENSITY_FROM = 200_000
#: Empty room around the points, as a share of their range.
MARGIN = 0.03
#: Share of the frame that the points cover where they are neither at their largest nor smallest.
INK = 0.1
#: Smallest and largest area of a point's square, in square points (1/72 inch).
SMALLEST, LARGEST = 0.4, 36.0


@dataclass(frozen=True)
class Points:
    """What is drawn of a map.

    Attributes
    ----------
    xy : ndarray of shape (n_samples, 2), float64
        Coordinates. A map of one dimension is spread out at random across it.
    n_components : int
        Dimensions of the map itself.
    """

    xy: NDArray[np.float64]
    n_components: int

    @property
    def is_strip(self) -> bool:
        """Whether the second coordinate carries no meaning."""
        return self.n_components == 1

    @property
    def extent(self) -> tuple[float, float, float, float]:
        """Left, right, bottom and top of the frame, with the margin around the points."""
        low, high = self.xy.min(axis=0), self.xy.max(axis=0)
        size = high - low
        # A map on a line, or of one point, still needs a frame with an area.
        size = np.where(size > 0, size, size.max() or 1.0)
        middle = low / 2 + high / 2
        reach = size * (0.5 + MARGIN)
        return (
            float(middle[0] - reach[0]),
            float(middle[0] + reach[0]),
            float(middle[1] - reach[1]),
            float(middle[1] + reach[1]),
        )


def as_points(embedding: ArrayLike) -> Points:
    """Check a map, and take from it what can be drawn.

    Parameters
    ----------
    embedding : array-like of shape (n_samples, n_components)
        Of more than two dimensions, the first two are drawn.

    Returns
    -------
    Points

    Raises
    ------
    ValueError
        The map is not a matrix of finite numbers, or all its points lie at one place.
    """
    values = np.asarray(embedding)
    if values.ndim != 2 or 0 in values.shape or values.dtype.kind not in "biuf":
        raise ValueError(
            "A map is a matrix of finite numbers, samples × dimensions; got an array of shape "
            f"{values.shape} and type {values.dtype}."
        )
    values = values[:, :2].astype(np.float64)
    broken = np.flatnonzero(~np.isfinite(values).all(axis=1))
    if broken.size:
        raise ValueError(
            f"{broken.size:,} of the {len(values):,} points of the map have coordinates that are "
            f"not finite, the first in row {broken[0]} (counted from 0); leave these rows out, or "
            "compute the map again."
        )
    if len(values) > 1 and not np.ptp(values, axis=0).any():
        raise ValueError(
            f"All {len(values):,} points of the map lie at the same place, so there is nothing to "
            "see; compute the map again, for example with another start (init)."
        )
    n_components = np.shape(embedding)[1]
    if n_components == 1:
        heights = np.random.default_rng(0).uniform(-1, 1, len(values))
        values = np.column_stack([values[:, 0], heights])
    return Points(values, n_components)


def shuffled(n_points: int) -> NDArray[np.intp]:
    """Return an order to draw in: in the order of the file, the last class would hide others."""
    return np.random.default_rng(0).permutation(n_points)


def size_and_alpha(n_points: int, area: float) -> tuple[float, float]:
    """Return the area of a point and its opacity, so that few and many both show their density.

    Parameters
    ----------
    n_points : int
        Points in the frame.
    area : float
        Of the frame, in square points (1/72 inch).

    Returns
    -------
    size : float
        Area of the point's square, in square points, as matplotlib's ``s``.
    alpha : float
        Opacity; it falls once points cannot become smaller and cover more than their share.
    """
    size = float(np.clip(INK * area / n_points, SMALLEST, LARGEST))
    covered = n_points * size / area
    return size, float(np.clip(0.9 * np.sqrt(INK / max(covered, INK)), 0.2, 0.9))
