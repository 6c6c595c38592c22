"""Orders in which what is near in the plane is near in memory.

Nothing is moved here: ``engine`` sorts the points of a map by such an order, and ``lists`` its
centroids.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import U, kernel

#: Levels of the curve: a side of 1,024 cells is finer than any cache line needs.
LEVELS = 10


def hilbert_order(positions: NDArray[Any]) -> NDArray[np.int64]:
    """Return the rows in the order in which a Hilbert curve passes them.

    Parameters
    ----------
    positions : ndarray of shape (n, 2)
        Finite positions.

    Returns
    -------
    ndarray of shape (n,), int64
        ``positions[order]`` is in the curve's order; equal cells keep their order.
    """
    low = positions.min(axis=0).astype(np.float64)
    span = float((positions.max(axis=0).astype(np.float64) - low).max()) or 1.0
    cells = ((positions - low) * ((2**LEVELS - 1) / span)).astype(np.uint32)
    keys = np.empty(len(positions), dtype=np.uint32)
    _keys(cells, keys)
    return np.argsort(keys, kind="stable")


@kernel
def _keys(cells: Any, keys: Any) -> None:
    """Write the position along the curve of every cell, two bits per level from the top."""
    one = np.uint32(1)
    for i in range(U(len(cells))):
        x, y = cells[i, U(0)], cells[i, U(1)]
        key = np.uint32(0)
        for level in range(LEVELS):
            bit = np.uint32(LEVELS - 1 - level)
            right, up = (x >> bit) & one, (y >> bit) & one
            quarter = np.uint32(3) * right ^ up
            key = (key << np.uint32(2)) | quarter
            if up == 0:
                # Enter the quarter turned, so that the curve goes on where it left the last.
                if right == 1:
                    x, y = ~x, ~y
                x, y = y, x
        keys[i] = key
