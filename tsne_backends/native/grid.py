"""The grids on which repulsion is computed: where their nodes lie.

The finest lies under the map; each of the others has twice the spacing of the one before. What they
carry is in ``splitting``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.splitting import SUPPORT

#: Fewest nodes along an axis, and finest spacing. A map at the start is smaller than a unit; with
#: all points in one cell of h = 1/2 the forces, small as they are, would be a quarter too low.
MIN_NODES, FINEST = 32, 1 / 8
#: Nodes along an axis on which all points share one position.
FLAT_NODES = 8
#: Most nodes in all. A map of 50,000 rows has 160,000 at h = 1/2; where points fly apart, h grows
#: instead of the grid (45 MB of charges and potentials at this limit). Lengths that transform
#: quickly, or halve, can be a little more.
MAX_NODES = 2**22
#: Room for the map to grow before the next grid is made, as a share of its width.
ROOM = 0.06
#: A grid is given up where the map would do with this share of its nodes.
SHRUNK = 0.4
#: A grid of fewer nodes in all, or along an axis, is transformed: another would save nothing.
LEAST_SPLIT, LEAST_SIDE = 56**2, 16


@dataclass(frozen=True)
class Grid:
    """Nodes at ``origin + h × (i, j)``, and coarser ones.

    Node (i, j) of a coarser grid lies on node (2i - 2, 2j - 2) of the finer: splines twice as wide
    reach beyond it.

    Attributes
    ----------
    origin : tuple of float
        Position of node (0, 0), in units of the map.
    h : float
        Spacing of the nodes, the same along both axes, in units of the map.
    shapes : tuple of tuple of int
        Nodes along each axis, from the finest grid, whose spacing is ``h``, to the coarsest.
        All but the last are even.
    wanted : float
        Spacing that was asked for; ``h`` is larger where the grid would have been too large.
    """

    origin: tuple[float, float]
    h: float
    shapes: tuple[tuple[int, int], ...]
    wanted: float

    @property
    def shape(self) -> tuple[int, int]:
        """Nodes along each axis of the finest grid."""
        return self.shapes[0]

    def fits(self, low: NDArray[np.float64], high: NDArray[np.float64], wanted: float) -> bool:
        """Say whether this grid serves a map within ``low`` and ``high``.

        Parameters
        ----------
        low, high : ndarray of shape (2,), float64
            Corners of the map.
        wanted : float
            Spacing asked for.
        """
        if wanted != self.wanted:
            return False
        smallest = 1.0
        for axis in range(2):
            first = (low[axis] - self.origin[axis]) / self.h
            last = (high[axis] - self.origin[axis]) / self.h
            # Half a node more than the support reaches: kernels compute in single precision.
            if not (first >= 1.5 and last < self.shape[axis] - 2.5):
                return False
            needed = max(MIN_NODES, last - first + SUPPORT)
            smallest *= min(1.0, needed / self.shape[axis])
        return smallest > SHRUNK or self.shape[0] * self.shape[1] <= 64**2


def make_grid(low: NDArray[np.float64], high: NDArray[np.float64], wanted: float) -> Grid:
    """Lay a grid under a map.

    Parameters
    ----------
    low, high : ndarray of shape (2,), float64
        Corners of the map, finite.
    wanted : float
        Spacing of the nodes; more where the grid would exceed `MAX_NODES`.

    Returns
    -------
    Grid
    """
    span = np.asarray(high, dtype=np.float64) - np.asarray(low, dtype=np.float64)
    h = min(wanted, max(FINEST, float(span.max()) / (MIN_NODES - 2 * SUPPORT)))
    while _side(span[0], h) * _side(span[1], h) > MAX_NODES:
        h *= 1.25
    shapes = _shapes((_side(span[0], h), _side(span[1], h)))
    # The middle falls on a node, where nothing is interpolated: maps of one dimension lie there.
    origin = tuple(
        float((low[axis] + high[axis]) / 2 - h * (shapes[0][axis] // 2)) for axis in range(2)
    )
    return Grid((origin[0], origin[1]), h, shapes, wanted)


def far_middle(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the middle of points that lie farther from 0 than they lie apart, else zeros.

    Single precision could not tell such points apart, or on which node of a grid they lie.

    Parameters
    ----------
    positions : ndarray of shape (n, n_components), floating

    Returns
    -------
    ndarray of shape (n_components,), float64
    """
    low = positions.min(axis=0).astype(np.float64)
    high = positions.max(axis=0).astype(np.float64)
    middle = (low + high) / 2
    is_far = np.abs(middle).max() > (high - low).max()
    return middle if is_far else np.zeros_like(middle)


def _side(span: float, h: float) -> int:
    """Return nodes along an axis, with room for the map to grow."""
    if span == 0:
        return FLAT_NODES
    return max(MIN_NODES, math.ceil(span * (1 + ROOM) / h) + SUPPORT + 1)


def _shapes(needed: tuple[int, int]) -> tuple[tuple[int, int], ...]:
    """Return nodes along each axis of the grids, of which the finest has at least those needed."""
    shapes = []
    while needed[0] * needed[1] > LEAST_SPLIT and min(needed) >= LEAST_SIDE:
        shape = (needed[0] + needed[0] % 2, needed[1] + needed[1] % 2)
        shapes.append(shape)
        needed = coarser_shape(shape)
    shapes.append((smooth_at_least(needed[0]), smooth_at_least(needed[1])))
    return tuple(shapes)


def coarser_shape(shape: tuple[int, int]) -> tuple[int, int]:
    """Return how many nodes of twice the spacing have splines that reach nodes of a grid.

    Parameters
    ----------
    shape : tuple of int
        Nodes along each axis of the finer grid; even.
    """
    return shape[0] // 2 + 2, shape[1] // 2 + 2


def smooth_at_least(length: int) -> int:
    """Return the smallest number with no prime factor above 5 that is at least ``length``."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1
