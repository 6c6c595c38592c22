"""Repulsion of all points by all others on a grid: spread, convolve, read back.

With the kernel k(r) = 1 / (1 + r²) and the potential φ(y) = Σ_j k(|y - y_j|), one charge and one
kernel give all that t-SNE needs: Z = Σ_i φ(y_i) - n, and the force Σ_j k² (y_i - y_j), which is
-∇φ(y_i) / 2.
"""

from __future__ import annotations

import operator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.calls import Call
from tsne_backends.native.convolution import Convolution, convolution
from tsne_backends.native.crew import Work
from tsne_backends.native.grid import Grid, make_grid
from tsne_backends.native.jit import F
from tsne_backends.native.splitting import own_terms
from tsne_backends.native.spreading import (
    STRIPE_ROWS,
    add_up,
    assign,
    clear,
    offsets,
    read,
    sort_by_stripe,
    spread,
)

#: Points in one tile, and most tiles: the counts per tile and stripe must stay small.
TILE_POINTS, MAX_TILES = 512, 256
#: Least Z per point: beyond, points are so far apart that single precision cannot tell.
LEAST_PAIR = 1e-6


def tile_size(n: int) -> int:
    """Return points per tile, the same for every number of threads."""
    return max(TILE_POINTS, -(-n // MAX_TILES))


class GridRepulsion:
    """Repulsion on a grid; keeps its grid and buffers from one iteration to the next.

    Parameters
    ----------
    n : int
        Points.

    Attributes
    ----------
    grid : Grid or None
        The one that was laid last.
    convolution : Convolution
        Of that grid; holds the potential at its nodes.
    grids_made : int
    """

    def __init__(self, n: int) -> None:
        self._tile = tile_size(n)
        self._n_tiles = -(-n // self._tile)
        self._order = np.empty(n, dtype=np.uint32)
        self._stripe = np.empty(n, dtype=np.uint32)
        self._potential = np.empty(self._n_tiles, dtype=np.float64)
        self._arrays: tuple[NDArray[Any], ...] | None = None
        self._work: Work | None = None
        self.grid: Grid | None = None
        self.convolution: Convolution
        self.grids_made = 0

    def serves(self, low: NDArray[np.float64], high: NDArray[np.float64], h: float) -> bool:
        """Say whether the grid serves a map; see `grid.Grid.fits`."""
        return self.grid is not None and self.grid.fits(low, high, h)

    def lay(self, low: NDArray[np.float64], high: NDArray[np.float64], h: float) -> None:
        """Lay a new grid under a map.

        Parameters
        ----------
        low, high : ndarray of shape (2,), float64
            Corners of the map.
        h : float
            Spacing of the grid in units of the map.
        """
        if self.grid is not None:
            self.grid = self._arrays = self._work = None
            del self.convolution  # its buffers go before there are new ones
        grid = make_grid(low, high, h)
        self.convolution = convolution(grid)
        self.grid = grid
        self.grids_made += 1

    def work(
        self, Y: NDArray[np.float32], out: NDArray[np.float32], Z: NDArray[np.float64]
    ) -> Work:
        """Return what computes the forces on the grid: the same object for the same arrays.

        Parameters
        ----------
        Y : ndarray of shape (n, 2), float32
            Positions, all within the corners that the grid was laid under.
        out : ndarray of shape (n, 2), float32
            To be filled with Σ_j k² (y_i - y_j) of every point.
        Z : ndarray of shape (1,), float64
            To be filled with the sum of the kernel over all ordered pairs of different points.

        Returns
        -------
        Work
        """
        arrays = Y, out, Z
        if self._arrays is None or any(map(operator.is_not, self._arrays, arrays)):
            self._work = self._made_ready(*arrays)
            self._arrays = arrays
        assert self._work is not None
        return self._work

    def _made_ready(
        self, Y: NDArray[np.float32], out: NDArray[np.float32], Z: NDArray[np.float64]
    ) -> Work:
        assert self.grid is not None
        charge, chain = self.convolution.charge, self.convolution.work
        n_stripes = -(-len(charge) // STRIPE_ROWS)
        counts = np.empty((self._n_tiles, n_stripes), dtype=np.uint32)
        starts = np.empty(n_stripes + 1, dtype=np.uint32)
        tiles, to_node = (self._n_tiles, self._tile), (Y, *self.place)
        to_grid = (*to_node, self._order, starts, charge)
        from_grid = (self.convolution.field, own_terms(self.grid.h), out, self._potential)
        before = (
            Call(assign, *tiles, *to_node, self._stripe, counts),
            Call(offsets, 1, counts, starts),
            Call(sort_by_stripe, *tiles, self._stripe, counts, self._order),
            Call(clear, n_stripes, charge),
            *(Call(spread, (n_stripes + 1 - side) // 2, side, *to_grid) for side in (0, 1)),
        )
        after = (
            Call(read, *tiles, *to_node, *from_grid),
            Call(add_up, 1, self._potential, 1.0, LEAST_PAIR * len(Y), Z),
        )
        return Work((*before, *chain.before), chain.between, (*chain.after, *after))

    @property
    def place(self) -> tuple[F, F, F]:
        """Position of the first element of charge and potential, and elements per unit."""
        assert self.grid is not None
        reach = self.convolution.margin * self.grid.h
        x0, y0 = self.grid.origin
        return F(x0 - reach), F(y0 - reach), F(1 / self.grid.h)
