"""Whether single precision can order the neighbours of data, and where and how large they are.

The search itself is in ``search``, which gives up where the answer here is no.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Rounding error of the products, relative to the squared size of the data, that is allowed in the
#: squared distance of the k-th neighbour: beyond it, single precision cannot order neighbours.
MAX_ERROR = 0.02
#: Rows that show where the data lie, at least, and the largest entry, in units of a common one,
#: whose squares single precision can add up.
PLACING_ROWS, LARGEST = 500, 1e16
#: Rows of up to so many features are copied into the order of a search, so that what is near in
#: space is near in memory. Wider ones are read where they are: of 192 features the search of 50,000
#: rows takes 9 % longer; of 768 that of 10,000 rows 6 % and of 50,000 1 % longer, of 200,000 9 %
#: less, as nothing is copied.
MOST_COPIED = 96
#: Where the data lie and how large they are: their middle, and the size of a common entry about it.
Place = tuple[NDArray[Any], float]


def place_of(X: NDArray[Any]) -> Place:
    """Return the place of the bulk of the data, which far outliers do not move."""
    sample = X[:: max(1, len(X) // PLACING_ROWS)]
    # In single precision if X is: its resolution is lost anyway.
    middle = np.median(sample, axis=0).astype(X.dtype)
    entries = np.abs(sample - middle)
    unit = float(np.median(entries)) or float(entries.max()) or extent_of(X, (middle, 1.0))
    return middle, unit or 1.0


def extent_of(X: NDArray[Any], place: Place) -> float:
    """Return how far the farthest entry lies from the middle."""
    middle = place[0].astype(np.float64)
    above, below = X.max(axis=0) - middle, middle - X.min(axis=0)
    return float(max(above.max(), below.max()))


def is_precise_enough(
    squared: NDArray[np.float32], squares: NDArray[np.float32], n_features: int
) -> bool:
    """Say whether rounding is small beside the distances to tell apart, for nearly all rows.

    Products of a row with rows near to it err by the resolution of its own square, or more where
    there are many features, because roundings of one sum add up: about an eighth of it times the
    square root of their number.

    Parameters
    ----------
    squared : ndarray of shape (n, k), float32
        Squared distances of each row's neighbours.
    squares : ndarray of shape (n,), float32
        Each row's own square.
    n_features : int
    """
    kth = squared.max(axis=1)
    apart = kth > 0  # duplicates are as near as can be, however the others are rounded
    unit = 2.0**-23 * max(1.0, math.sqrt(n_features) / 8)
    errors = unit * squares[apart] / kth[apart]
    return len(errors) == 0 or float(np.quantile(errors, 0.95)) <= MAX_ERROR
