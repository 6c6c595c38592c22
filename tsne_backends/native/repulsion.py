"""Repulsion of all points by all others on a grid: spread, transform, read back.

With the kernel k(r) = 1 / (1 + r²) and the potential φ(y) = Σ_j k(|y - y_j|), one charge and one
kernel give all that t-SNE needs: Z = Σ_i φ(y_i) - n, and the force Σ_j k² (y_i - y_j) = -∇φ(y_i) / 2.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.grid import SUPPORT, Grid, make_grid
from tsne_backends.native.jit import F0, F1, U0, U1, U2, U3, F, U, kernel
from tsne_backends.native.threads import Team

#: Grid rows in one stripe. Stripes of even number are spread at once, then those of odd number:
#: a stripe reaches three rows into the next, so no two threads ever write to one node.
STRIPE_ROWS = 8
#: Points in one tile, and most tiles: the counts per tile and stripe must stay small.
TILE_POINTS, MAX_TILES = 1024, 256
#: Values in one chunk of a transform; fixed, because libraries round by how many lines they get.
CHUNK_VALUES = 32_768

SIXTH, TWO_THIRDS, HALF = F(1 / 6), F(2 / 3), F(0.5)


def tile_size(n: int) -> int:
    """Return points per tile, the same for every number of threads."""
    return max(TILE_POINTS, -(-n // MAX_TILES))


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
        grid, run = self.grid, self._team.run
        place = (F(grid.origin[0]), F(grid.origin[1]), F(1 / grid.h))
        self._counts[:] = 0
        run(_assign, self._n_tiles, self._tile, Y, *place, self._stripe, self._counts)
        _offsets(self._counts, self._starts)
        run(_sort, self._n_tiles, self._tile, self._stripe, self._counts, self._order)
        self._charge[:] = 0
        n_stripes = len(self._starts) - 1
        for parity in (0, 1):
            n = (n_stripes + 1 - parity) // 2
            run(_spread, n, parity, Y, *place, self._order, self._starts, self._charge)
        self._convolve()
        run(_read, self._n_tiles, self._tile, Y, *place, self._field, out, self._potential)
        # Each point's own charge is in its potential: k(0) = 1.
        return float(self._potential.sum()) - len(Y)

    def _adopt(self, grid: Grid) -> None:
        self.grid = grid
        self.grids_made += 1
        rows, columns = grid.shape
        n_stripes = -(-rows // STRIPE_ROWS)
        self._counts = np.empty((self._n_tiles, n_stripes), dtype=np.uint32)
        self._starts = np.empty(n_stripes + 1, dtype=np.uint32)
        self._charge = np.empty((rows, columns), dtype=np.float32)
        self._field = np.empty((rows, columns), dtype=np.float32)
        self._half = np.empty((rows, columns + 1), dtype=np.complex64)
        self._row_chunk = max(1, CHUNK_VALUES // (2 * columns))
        self._column_chunk = max(4, CHUNK_VALUES // (2 * rows))

    def _convolve(self) -> None:
        """Turn charges at the nodes into the potential at the nodes."""
        assert self.grid is not None
        rows, columns = self.grid.shape
        n_row_chunks = -(-rows // self._row_chunk)
        n_column_chunks = -(-(columns + 1) // self._column_chunk)
        self._team.run(self._forward_rows, n_row_chunks)
        self._team.run(self._columns, n_column_chunks)
        self._team.run(self._inverse_rows, n_row_chunks)

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

        n_columns = self._field.shape[1]
        for chunk in range(first, stop):
            rows = slice(chunk * self._row_chunk, (chunk + 1) * self._row_chunk)
            self._field[rows] = irfft(self._half[rows], 2 * n_columns, axis=1)[:, :n_columns]


@kernel
def _assign(
    first: int, stop: int, tile: int, Y: Any, x0: Any, y0: Any, inverse: Any, stripe: Any, counts: Any
) -> None:
    """Write the stripe of every point, and how many points of each tile each stripe has."""
    for t in range(U(first), U(stop)):
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(Y)))):
            row = U((Y[i, U0] - x0) * inverse) - U1
            s = row // U(STRIPE_ROWS)
            stripe[i] = s
            counts[t, s] += np.uint32(1)


@kernel
def _offsets(counts: Any, starts: Any) -> None:
    """Turn counts into the place where each tile's points of each stripe begin."""
    total = np.uint32(0)
    for s in range(U(counts.shape[1])):
        starts[s] = total
        for t in range(U(counts.shape[0])):
            n = counts[t, s]
            counts[t, s] = total
            total += n
    starts[U(counts.shape[1])] = total


@kernel
def _sort(first: int, stop: int, tile: int, stripe: Any, places: Any, order: Any) -> None:
    """List the points stripe by stripe, within a stripe in their own order."""
    for t in range(U(first), U(stop)):
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(stripe)))):
            s = U(stripe[i])
            order[U(places[t, s])] = i
            places[t, s] += np.uint32(1)


@kernel
def _spread(
    first: int,
    stop: int,
    parity: int,
    Y: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    order: Any,
    starts: Any,
    charge: Any,
) -> None:
    """Add the B-spline weights of the points of every second stripe to the nodes."""
    for half in range(U(first), U(stop)):
        s = U2 * half + U(parity)
        for at in range(U(starts[s]), U(starts[s + U1])):
            i = U(order[at])
            u = (Y[i, U0] - x0) * inverse
            v = (Y[i, U1] - y0) * inverse
            row, column = U(u), U(v)
            f = u - F(row)
            g = v - F(column)
            row -= U1
            column -= U1
            e = F1 - g
            b0 = e * e * e * SIXTH
            b1 = TWO_THIRDS - g * g * (F1 - HALF * g)
            b2 = TWO_THIRDS - e * e * (F1 - HALF * e)
            b3 = g * g * g * SIXTH
            e = F1 - f
            for a in range(U(SUPPORT)):
                if a == U0:
                    w = e * e * e * SIXTH
                elif a == U1:
                    w = TWO_THIRDS - f * f * (F1 - HALF * f)
                elif a == U2:
                    w = TWO_THIRDS - e * e * (F1 - HALF * e)
                else:
                    w = f * f * f * SIXTH
                charge[row + a, column] += w * b0
                charge[row + a, column + U1] += w * b1
                charge[row + a, column + U2] += w * b2
                charge[row + a, column + U3] += w * b3


@kernel
def _read(
    first: int,
    stop: int,
    tile: int,
    Y: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    field: Any,
    out: Any,
    potential: Any,
) -> None:
    """Interpolate the field and its gradient at every point; sum the potential of each tile."""
    half_inverse = HALF * inverse  # of -∇φ / 2; the sign is in the order of the differences
    for t in range(U(first), U(stop)):
        total = 0.0
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(Y)))):
            u = (Y[i, U0] - x0) * inverse
            v = (Y[i, U1] - y0) * inverse
            row, column = U(u), U(v)
            f = u - F(row)
            g = v - F(column)
            row -= U1
            column -= U1
            e = F1 - g
            b0 = e * e * e * SIXTH
            b1 = TWO_THIRDS - g * g * (F1 - HALF * g)
            b2 = TWO_THIRDS - e * e * (F1 - HALF * e)
            b3 = g * g * g * SIXTH
            # Derivatives of the weights, with their sign turned.
            d0 = HALF * e * e
            d1 = g * (F(2) - F(1.5) * g)
            d2 = -e * (F(2) - F(1.5) * e)
            d3 = -HALF * g * g
            e = F1 - f
            phi, dx, dy = F0, F0, F0
            for a in range(U(SUPPORT)):
                if a == U0:
                    w = e * e * e * SIXTH
                    d = HALF * e * e
                elif a == U1:
                    w = TWO_THIRDS - f * f * (F1 - HALF * f)
                    d = f * (F(2) - F(1.5) * f)
                elif a == U2:
                    w = TWO_THIRDS - e * e * (F1 - HALF * e)
                    d = -e * (F(2) - F(1.5) * e)
                else:
                    w = f * f * f * SIXTH
                    d = -HALF * f * f
                p0 = field[row + a, column]
                p1 = field[row + a, column + U1]
                p2 = field[row + a, column + U2]
                p3 = field[row + a, column + U3]
                inner = b0 * p0 + b1 * p1 + b2 * p2 + b3 * p3
                phi += w * inner
                dx += d * inner
                dy += w * (d0 * p0 + d1 * p1 + d2 * p2 + d3 * p3)
            out[i, U0] = dx * half_inverse
            out[i, U1] = dy * half_inverse
            total += phi
        potential[t] = total
