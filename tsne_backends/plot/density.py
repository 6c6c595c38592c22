"""Pictures of very many points: what lies in each pixel is added up, instead of drawing each point.

Colours mix by the share of their points, and opacity tells how many there are, on a logarithmic
scale. The sums come from numpy, or from datashader where it is installed and worth loading: pixel
by pixel the same.
"""

from __future__ import annotations

from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

import numpy as np
from numpy.typing import NDArray

Extent = tuple[float, float, float, float]

#: Opacity of a pixel that holds one point.
FAINTEST = 0.3
#: Quantile of the counts of pixels that are not empty, at which a pixel is fully opaque.
FULL = 0.99
#: Pixels per inch, and most pixels along a side. A lone point must still be seen.
PIXELS_PER_INCH, MOST_PIXELS = 120.0, 3000
#: From this many points on, datashader is used where it is installed. Loading, compiling it takes
#: 3 s, once per process; after that it needs 0.16 s for 5 million points where numpy needs 0.18 s
#: and copies of the coordinates, and 0.05 s for a million where numpy needs 0.03 s.
DATASHADER_FROM = 5_000_000


def grid(width: float, height: float) -> tuple[int, int]:
    """Return columns and rows of pixels for a frame of so many inches."""
    columns, rows = (
        int(np.clip(round(side * PIXELS_PER_INCH), 16, MOST_PIXELS)) for side in (width, height)
    )
    return columns, rows


def mixed_colours(
    xy: NDArray[np.float64], colours: NDArray[np.float64], extent: Extent, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Draw points as an image, in which each pixel has the mean colour of its points.

    Parameters
    ----------
    xy : ndarray of shape (n_points, 2), float64
        Coordinates, all inside the frame.
    colours : ndarray of shape (n_points, 3), float64
        Red, green and blue in [0, 1].
    extent : tuple of float
        Left, right, bottom and top of the frame.
    shape : tuple of int
        Columns and rows of pixels.

    Returns
    -------
    ndarray of shape (rows, columns, 4), float64
        Red, green, blue and opacity; the first row is the lowest.
    """
    counts, *sums = sums_per_pixel(xy, colours, extent, shape)
    means = [channel / np.maximum(counts, 1) for channel in sums]
    return np.clip(np.stack([*means, opacity(counts)], axis=-1), 0, 1)


def mean_values(
    xy: NDArray[np.float64],
    values: NDArray[np.float64],
    colours_of: Callable[[NDArray[np.float64]], NDArray[np.float64]],
    extent: Extent,
    shape: tuple[int, int],
) -> NDArray[np.float64]:
    """Draw points as an image, in which each pixel has the colour of its points' mean value.

    Parameters
    ----------
    xy, extent, shape
        See `mixed_colours`.
    values : ndarray of shape (n_points,), float64
        Finite.
    colours_of : callable
        From an array of values to one of colours, with a last axis of four.

    Returns
    -------
    ndarray of shape (rows, columns, 4), float64
        Red, green, blue and opacity; the first row is the lowest.
    """
    counts, sums = sums_per_pixel(xy, values[:, None], extent, shape)
    image = np.array(colours_of(sums / np.maximum(counts, 1)), dtype=np.float64)
    image[..., 3] = opacity(counts)
    return image


def opacity(counts: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how opaque pixels with so many points are: 0 without any, then by their logarithm."""
    filled = counts > 0
    most = float(np.quantile(counts[filled], FULL)) if filled.any() else 1.0
    if most <= 1:  # no pixel tells of more than one point, so there is nothing to compare
        return filled.astype(np.float64)
    share = np.clip(np.log(np.maximum(counts, 1)) / np.log(most), 0, 1)
    return np.where(filled, FAINTEST + (1 - FAINTEST) * share, 0)


def sums_per_pixel(
    xy: NDArray[np.float64],
    weights: NDArray[np.float64],
    extent: Extent,
    shape: tuple[int, int],
) -> list[NDArray[np.float64]]:
    """Add up the points in each pixel.

    Parameters
    ----------
    xy : ndarray of shape (n_points, 2), float64
        Coordinates, all inside the frame.
    weights : ndarray of shape (n_points, n_weights), float64
        What else to add up.
    extent : tuple of float
        Left, right, bottom and top of the frame.
    shape : tuple of int
        Columns and rows of pixels.

    Returns
    -------
    list of ndarray of shape (rows, columns), float64
        Numbers of points, then the sum of each weight.
    """
    if len(xy) >= DATASHADER_FROM and find_spec("datashader") is not None:
        return _by_datashader(xy, weights, extent, shape)
    return _by_numpy(xy, weights, extent, shape)


def _by_datashader(
    xy: NDArray[np.float64], weights: NDArray[np.float64], extent: Extent, shape: tuple[int, int]
) -> list[NDArray[np.float64]]:
    import datashader
    import pandas

    names = [f"weight{number}" for number in range(weights.shape[1])]
    frame = pandas.DataFrame(
        {"x": xy[:, 0], "y": xy[:, 1]} | dict(zip(names, weights.T, strict=True))
    )
    canvas = datashader.Canvas(*shape, x_range=extent[:2], y_range=extent[2:])
    wanted: dict[str, Any] = {"counts": datashader.count()}
    wanted |= {name: datashader.sum(name) for name in names}
    sums = canvas.points(frame, "x", "y", datashader.summary(**wanted))
    return [np.nan_to_num(sums[name].to_numpy().astype(np.float64)) for name in wanted]


def _by_numpy(
    xy: NDArray[np.float64], weights: NDArray[np.float64], extent: Extent, shape: tuple[int, int]
) -> list[NDArray[np.float64]]:
    places = []
    for axis, cells in enumerate(shape):
        low, high = extent[2 * axis : 2 * axis + 2]
        place = (xy[:, axis] - low) * (cells / (high - low))
        places.append(np.clip(place.astype(np.intp), 0, cells - 1))
    flat = places[1] * shape[0] + places[0]
    size = shape[0] * shape[1]
    counts: NDArray[np.float64] = np.bincount(flat, minlength=size).astype(np.float64)
    sums: list[NDArray[Any]] = [np.bincount(flat, weight, minlength=size) for weight in weights.T]
    return [values.reshape(shape[::-1]) for values in (counts, *sums)]
