"""Repulsion of all points by all others on a grid: spread, convolve, read back.

With the kernel k(r) = 1 / (1 + r²) and the potential φ(y) = Σ_j k(|y - y_j|), one charge and one
kernel give all that t-SNE needs: Z = Σ_i φ(y_i) - n, and the force Σ_j k² (y_i - y_j), which is
-∇φ(y_i) / 2.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.convolution import Convolution, convolution
from tsne_backends.native.grid import Grid, make_grid
from tsne_backends.native.jit import F
from tsne_backends.native.splitting import own_terms
from tsne_backends.native.spreading import (
    STRIPE_ROWS,
    assign,
    offsets,
    read,
    sort_by_stripe,
    spread,
)
from tsne_backends.native.threads import Team

#: Points in one tile, and most tiles: the counts per tile and stripe must stay small.
TILE_POINTS, MAX_TILES = 1024, 256
#: Least Z per point: beyond, points are so far apart that single precision cannot tell.
LEAST_PAIR = 1e-6
#: What the kernels cost per point, in seconds of one core (Zen 4); they only decide what is shared
#: out among threads.
ASSIGN_SECONDS, SORT_SECONDS, SPREAD_SECONDS, READ_SECONDS = 1.2e-9, 1.4e-9, 4.7e-9, 1.2e-8


def tile_size(n: int) -> int:
    """Return points per tile, the same for every number of threads."""
    return max(TILE_POINTS, -(-n // MAX_TILES))


class GridRepulsion:
    """Repulsion on a grid; keeps its grid and buffers from one iteration to the next.

    Parameters
    ----------
    n : int
        Points.
    team : Team

    Attributes
    ----------
    grid : Grid or None
        The grid of the last call.
    convolution : Convolution
        Of that grid; holds the potential at its nodes.
    grids_made : int
    """

    def __init__(self, n: int, team: Team) -> None:
        self._team = team
        self._tile = tile_size(n)
        self._n_tiles = -(-n // self._tile)
        self._order = np.empty(n, dtype=np.uint32)
        self._stripe = np.empty(n, dtype=np.uint32)
        self._potential = np.empty(self._n_tiles, dtype=np.float64)
        self.grid: Grid | None = None
        self.convolution: Convolution
        self.grids_made = 0

    def forces(
        self,
        Y: NDArray[np.float32],
        low: NDArray[np.float64],
        high: NDArray[np.float64],
        h: float,
        out: NDArray[np.float32],
    ) -> float:
        """Write Σ_j k² (y_i - y_j) of every point to ``out`` and return Z.

        Parameters
        ----------
        Y : ndarray of shape (n, 2), float32
            Positions, all within ``low`` and ``high``.
        low, high : ndarray of shape (2,), float64
            Corners of the map.
        h : float
            Spacing of the grid in units of the map.
        out : ndarray of shape (n, 2), float32
            Filled.

        Returns
        -------
        float
            Z, the sum of the kernel over all ordered pairs of different points.
        """
        if self.grid is None or not self.grid.fits(low, high, h):
            self._adopt(make_grid(low, high, h))
        assert self.grid is not None
        place, run, n = self.place, self._team.run, len(Y)
        charge, field = self.convolution.charge, self.convolution.field
        counts, starts, order = self._counts, self._starts, self._order
        tiles = (self._n_tiles, self._tile)
        counts[:] = 0
        run(assign, *tiles, Y, *place, self._stripe, counts, seconds=n * ASSIGN_SECONDS)
        offsets(counts, starts)
        run(sort_by_stripe, *tiles, self._stripe, counts, order, seconds=n * SORT_SECONDS)
        charge[:] = 0
        to_grid = (Y, *place, order, starts, charge)
        for parity in (0, 1):
            stripes = (len(starts) - parity) // 2
            run(spread, stripes, parity, *to_grid, seconds=n * SPREAD_SECONDS / 2)
        self.convolution.run()
        from_grid = (Y, *place, field, self._own, out, self._potential)
        run(read, *tiles, *from_grid, seconds=n * READ_SECONDS)
        return max(float(self._potential.sum()), LEAST_PAIR * len(Y))

    def _adopt(self, grid: Grid) -> None:
        if self.grid is not None:
            del self.convolution  # its buffers go before there are new ones
        self.grid = grid
        self.grids_made += 1
        self.convolution = convolution(grid, self._team)
        self._own = own_terms(grid.h)
        n_stripes = -(-len(self.convolution.charge) // STRIPE_ROWS)
        self._counts = np.empty((self._n_tiles, n_stripes), dtype=np.uint32)
        self._starts = np.empty(n_stripes + 1, dtype=np.uint32)

    @property
    def place(self) -> tuple[F, F, F]:
        """Position of the first element of charge and potential, and elements per unit."""
        assert self.grid is not None
        reach = self.convolution.margin * self.grid.h
        x0, y0 = self.grid.origin
        return F(x0 - reach), F(y0 - reach), F(1 / self.grid.h)
