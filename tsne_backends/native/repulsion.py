"""Repulsion of all points by all others on a grid: spread, transform, read back.

With the kernel k(r) = 1 / (1 + r²) and the potential φ(y) = Σ_j k(|y - y_j|), one charge and one
kernel give all that t-SNE needs: Z = Σ_i φ(y_i) - n, and the force Σ_j k² (y_i - y_j), which is
-∇φ(y_i) / 2.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.grid import Grid, make_grid, own_terms
from tsne_backends.native.jit import F
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
#: Complex values in one chunk of a transform, and what the number of chunks is a multiple of, so
#: that two or four threads get equal shares. The grid alone decides, because libraries round by how
#: many lines they get.
CHUNK_VALUES, CHUNKS = 32_768, 4
#: What the kernels cost per point, and a transform per value and halving, in seconds of one core
#: (Zen 4); they only decide what is shared out among threads.
ASSIGN_SECONDS, SORT_SECONDS, SPREAD_SECONDS, READ_SECONDS = 1.2e-9, 2e-9, 4.7e-9, 1.7e-8
VALUE_SECONDS = 4.4e-10


def tile_size(n: int) -> int:
    """Return points per tile, the same for every number of threads."""
    return max(TILE_POINTS, -(-n // MAX_TILES))


def _chunk_of(lines: int, length: int) -> int:
    """Return how many lines of a length are transformed at once."""
    chunks = CHUNKS * round(lines * length / (CHUNKS * CHUNK_VALUES))
    if chunks == 0 and lines * length > CHUNK_VALUES // CHUNKS:
        chunks = CHUNKS
    return -(-lines // max(chunks, 1))


class GridRepulsion:
    """Repulsion by FFT; keeps its grid and buffers from one iteration to the next.

    Parameters
    ----------
    n : int
        Points.
    team : Team

    Attributes
    ----------
    grid : Grid or None
        The grid of the last call.
    field : ndarray
        The potential at its nodes.
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
        grid, run, n = self.grid, self._team.run, len(Y)
        place = (F(grid.origin[0]), F(grid.origin[1]), F(1 / grid.h))
        counts, starts, order = self._counts, self._starts, self._order
        tiles = (self._n_tiles, self._tile)
        counts[:] = 0
        run(assign, *tiles, Y, *place, self._stripe, counts, seconds=n * ASSIGN_SECONDS)
        offsets(counts, starts)
        run(sort_by_stripe, *tiles, self._stripe, counts, order, seconds=n * SORT_SECONDS)
        self._charge[:] = 0
        to_grid = (Y, *place, order, starts, self._charge)
        for parity in (0, 1):
            stripes = (len(starts) - parity) // 2
            run(spread, stripes, parity, *to_grid, seconds=n * SPREAD_SECONDS)
        self._convolve()
        from_grid = (Y, *place, self.field, self._own, out, self._potential)
        run(read, *tiles, *from_grid, seconds=n * READ_SECONDS)
        return max(float(self._potential.sum()), LEAST_PAIR * len(Y))

    def _adopt(self, grid: Grid) -> None:
        self.grid = grid
        self.grids_made += 1
        self._own = own_terms(grid)
        rows, columns = grid.shape
        n_stripes = -(-rows // STRIPE_ROWS)
        self._counts = np.empty((self._n_tiles, n_stripes), dtype=np.uint32)
        self._starts = np.empty(n_stripes + 1, dtype=np.uint32)
        self._charge = np.empty((rows, columns), dtype=np.float32)
        self.field = np.empty((rows, columns), dtype=np.float32)
        self._half = np.empty((rows, columns + 1), dtype=np.complex64)
        self._row_chunk = _chunk_of(rows, columns)
        self._column_chunk = _chunk_of(columns + 1, 2 * rows)

    def _convolve(self) -> None:
        """Turn charges at the nodes into the potential at the nodes."""
        assert self.grid is not None
        rows, columns = self.grid.shape
        n_row_chunks = -(-rows // self._row_chunk)
        n_column_chunks = -(-(columns + 1) // self._column_chunk)
        seconds = VALUE_SECONDS * rows * columns * math.log2(2 * columns)
        self._team.run(self._forward_rows, n_row_chunks, seconds=seconds)
        self._team.run(self._columns, n_column_chunks, seconds=4 * seconds)
        self._team.run(self._inverse_rows, n_row_chunks, seconds=seconds)

    # Only the quarter of the padded plane that holds charges, or is read back, is ever transformed
    # along the rows; along the columns forward, product and inverse share a chunk in the cache.

    def _forward_rows(self, first: int, stop: int) -> None:
        from scipy.fft import rfft

        for chunk in range(first, stop):
            rows = slice(chunk * self._row_chunk, (chunk + 1) * self._row_chunk)
            self._half[rows] = rfft(self._charge[rows], 2 * self._charge.shape[1], axis=1)

    def _columns(self, first: int, stop: int) -> None:
        from scipy.fft import fft, ifft

        assert self.grid is not None
        n_rows = self.grid.shape[0]
        for chunk in range(first, stop):
            columns = slice(chunk * self._column_chunk, (chunk + 1) * self._column_chunk)
            spectrum = fft(self._half[:, columns], 2 * n_rows, axis=0)
            spectrum *= self.grid.transform[:, columns]
            self._half[:, columns] = ifft(spectrum, axis=0, overwrite_x=True)[:n_rows]

    def _inverse_rows(self, first: int, stop: int) -> None:
        from scipy.fft import irfft

        n_columns = self.field.shape[1]
        for chunk in range(first, stop):
            rows = slice(chunk * self._row_chunk, (chunk + 1) * self._row_chunk)
            self.field[rows] = irfft(self._half[rows], 2 * n_columns, axis=1)[:, :n_columns]
