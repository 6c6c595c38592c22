"""From charges at the nodes of a grid to the potential there.

`convolution` makes the chain of grids: all but the coarsest sum their own part of the kernel over
near nodes and leave the rest to the next (``splitting`` says which part that is); the coarsest is
transformed. What a tile of rows computes never depends on who computes the others.
"""

from __future__ import annotations

import math
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.grid import Grid, coarser_shape
from tsne_backends.native.jit import U0, U1, U2, U3, F, U, kernel
from tsne_backends.native.splitting import CUT, RADIUS, kernel_transform, stencil
from tsne_backends.native.threads import Team

#: Rows of nodes in one tile.
TILE_ROWS = 8
#: Complex values in one chunk of a transform, and what the number of chunks is a multiple of, so
#: that two or four threads get equal shares. The grid alone decides, because libraries round by how
#: many lines they get.
CHUNK_VALUES, CHUNKS = 32_768, 4
#: What a node costs on the way to a coarser grid and with what is summed near it, and a transform
#: per value and halving, in seconds of one core (Zen 4); they only decide what is shared out among
#: threads.
RESTRICT_SECONDS, GATHER_SECONDS = 4e-10, 4.5e-9
VALUE_SECONDS = 4.4e-10


class Convolution(Protocol):
    """What turns the charges at the nodes of a grid into the potential there.

    Attributes
    ----------
    charge, field : ndarray of shape (rows + 2 × margin, columns + 2 × margin), float32
        To be filled, and the result. Only nodes within the margin count; the charge of the others
        must be zero.
    margin : int
    """

    charge: NDArray[np.float32]
    field: NDArray[np.float32]
    margin: int

    def run(self) -> None:
        """Write the potential of `charge` to `field`."""


def convolution(grid: Grid, team: Team) -> Convolution:
    """Return the convolution with the kernel on a grid.

    Parameters
    ----------
    grid : Grid
    team : Team

    Returns
    -------
    Convolution
    """
    spacings = [grid.h * 2**level for level in range(len(grid.shapes))]
    cuts = [0.0, *(CUT * h for h in spacings[:-1])]
    chain: Convolution = Transformed(grid.shapes[-1], spacings[-1], cuts[-1], team)
    for shape, h, cut in list(zip(grid.shapes, spacings, cuts, strict=True))[-2::-1]:
        chain = Summed(shape, stencil(h, cut), chain, team)
    return chain


class Summed:
    """A grid that sums its part of the kernel over near nodes and leaves the rest to a coarser one.

    Parameters
    ----------
    shape : tuple of int
        Nodes along each axis; even.
    stencil : ndarray of shape (RADIUS + 1, RADIUS + 1), float32
        Its part.
    coarser : Convolution
        Of nodes of twice the spacing, at least `grid.coarser_shape` of them.
    team : Team

    Attributes
    ----------
    charge, field, margin
        See `Convolution`.
    """

    margin = RADIUS

    def __init__(
        self,
        shape: tuple[int, int],
        stencil: NDArray[np.float32],
        coarser: Convolution,
        team: Team,
    ) -> None:
        self._shape, self._coarser, self._team = shape, coarser, team
        self._stencil = stencil.copy()
        self._stencil[0] /= 2  # the row itself is added to itself
        padded = (shape[0] + 2 * RADIUS, shape[1] + 2 * RADIUS)
        self.charge = np.zeros(padded, dtype=np.float32)
        self.field = np.zeros(padded, dtype=np.float32)
        tiles = -(-max(shape[0], coarser_shape(shape)[0]) // TILE_ROWS)
        self._scratch = np.empty((tiles, padded[1]), dtype=np.float32)

    def run(self) -> None:
        """Write the potential of `charge` to `field`."""
        team, coarser, nodes = self._team, self._coarser, self._shape[0] * self._shape[1]
        rows = coarser_shape(self._shape)[0]
        charges = (self.charge, self._scratch, coarser.charge, coarser.margin)
        team.run(restrict, -(-rows // TILE_ROWS), *charges, seconds=nodes * RESTRICT_SECONDS)
        coarser.run()
        fields = (coarser.field, coarser.margin, self._scratch, self.field)
        near = (self.charge, self._stencil)
        tiles = -(-self._shape[0] // TILE_ROWS)
        team.run(gather, tiles, *near, *fields, seconds=nodes * GATHER_SECONDS)


QUARTER, HALF, THREE_QUARTERS, EIGHTH = F(0.25), F(0.5), F(0.75), F(0.125)


@kernel
def restrict(first: int, stop: int, charge: Any, scratch: Any, coarse: Any, margin: int) -> None:
    """Write the charges that splines twice as wide have at the nodes of the coarser grid.

    A wide spline is (1, 4, 6, 4, 1) / 8 narrow ones.
    """
    rows = U(charge.shape[0] - 2 * RADIUS) // U2 + U2
    columns = U(charge.shape[1] - 2 * RADIUS) // U2 + U2
    for t in range(U(first), U(stop)):
        for row in range(t * U(TILE_ROWS), min((t + U1) * U(TILE_ROWS), rows)):
            i = U2 * row + U(RADIUS - 2)
            for j in range(U(charge.shape[1])):
                far = charge[i - U2, j] + charge[i + U2, j]
                near = charge[i - U1, j] + charge[i + U1, j]
                scratch[t, j] = EIGHTH * far + HALF * near + THREE_QUARTERS * charge[i, j]
            for column in range(columns):
                j = U2 * column + U(RADIUS - 2)
                far = scratch[t, j - U2] + scratch[t, j + U2]
                near = scratch[t, j - U1] + scratch[t, j + U1]
                coarse[row + U(margin), column + U(margin)] = (
                    EIGHTH * far + HALF * near + THREE_QUARTERS * scratch[t, j]
                )


@kernel
def gather(
    first: int,
    stop: int,
    charge: Any,
    stencil: Any,
    coarse: Any,
    margin: int,
    scratch: Any,
    field: Any,
) -> None:
    """Write the potential: the coarser grid's, and the sum over near charges."""
    rows = U(charge.shape[0] - 2 * RADIUS)
    columns = U(charge.shape[1] - 2 * RADIUS)
    for t in range(U(first), U(stop)):
        for row in range(t * U(TILE_ROWS), min((t + U1) * U(TILE_ROWS), rows)):
            i, a = row + U(RADIUS), row // U2 + U(margin)
            if row % U2 == U0:  # on a row of the coarser grid
                for b in range(columns // U2 + U2):
                    j = b + U(margin)
                    sides = coarse[a, j] + coarse[a + U2, j]
                    scratch[t, b] = THREE_QUARTERS * coarse[a + U1, j] + EIGHTH * sides
            else:  # between two
                for b in range(columns // U2 + U2):
                    j = b + U(margin)
                    scratch[t, b] = HALF * (coarse[a + U1, j] + coarse[a + U2, j])
            for b in range(columns // U2):
                j = U2 * b + U(RADIUS)
                sides = scratch[t, b] + scratch[t, b + U2]
                field[i, j] = THREE_QUARTERS * scratch[t, b + U1] + EIGHTH * sides
                field[i, j + U1] = HALF * (scratch[t, b + U1] + scratch[t, b + U2])
            _add_near(t, i, columns, charge, stencil, scratch, field)


@kernel
def _add_near(
    t: Any, i: Any, columns: Any, charge: Any, stencil: Any, scratch: Any, field: Any
) -> None:
    """Add the sum over near charges to a row; rows as far above as below are added up first."""
    for a in range(U(RADIUS + 1)):
        for j in range(U(charge.shape[1])):
            scratch[t, j] = charge[i - a, j] + charge[i + a, j]
        s0, s1, s2, s3 = stencil[a, U0], stencil[a, U1], stencil[a, U2], stencil[a, U3]
        s4, s5, s6, s7 = stencil[a, U(4)], stencil[a, U(5)], stencil[a, U(6)], stencil[a, U(7)]
        for j in range(U(RADIUS), U(RADIUS) + columns):
            field[i, j] += (
                s0 * scratch[t, j]
                + s1 * (scratch[t, j - U1] + scratch[t, j + U1])
                + s2 * (scratch[t, j - U2] + scratch[t, j + U2])
                + s3 * (scratch[t, j - U3] + scratch[t, j + U3])
                + s4 * (scratch[t, j - U(4)] + scratch[t, j + U(4)])
                + s5 * (scratch[t, j - U(5)] + scratch[t, j + U(5)])
                + s6 * (scratch[t, j - U(6)] + scratch[t, j + U(6)])
                + s7 * (scratch[t, j - U(7)] + scratch[t, j + U(7)])
            )


class Transformed:
    """The coarsest grid: charges are multiplied by the kernel's transform.

    Parameters
    ----------
    shape : tuple of int
        Nodes along each axis; of lengths that transform quickly.
    h : float
        Their spacing.
    cut : float
        What finer grids have left to this one begins here; 0 where there is none.
    team : Team

    Attributes
    ----------
    charge, field, margin
        See `Convolution`.
    """

    margin = 0

    def __init__(self, shape: tuple[int, int], h: float, cut: float, team: Team) -> None:
        self._team = team
        quadrant = kernel_transform(shape, h, cut)
        # Free space: transforms are twice as long as the grid. Along the first axis they are laid
        # out as by `scipy.fft.fft`, along the second as by `scipy.fft.rfft`.
        self._transform = np.concatenate([quadrant, quadrant[-2:0:-1]]).astype(np.float32)
        rows, columns = shape
        self.charge = np.zeros(shape, dtype=np.float32)
        self.field = np.zeros(shape, dtype=np.float32)
        self._half = np.empty((rows, columns + 1), dtype=np.complex64)
        self._row_chunk = _chunk_of(rows, columns)
        self._column_chunk = _chunk_of(columns + 1, 2 * rows)

    def run(self) -> None:
        """Write the potential of `charge` to `field`."""
        rows, columns = self.charge.shape
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
            self._half[rows] = rfft(self.charge[rows], 2 * self.charge.shape[1], axis=1)

    def _columns(self, first: int, stop: int) -> None:
        from scipy.fft import fft, ifft

        n_rows = len(self.charge)
        for chunk in range(first, stop):
            columns = slice(chunk * self._column_chunk, (chunk + 1) * self._column_chunk)
            spectrum = fft(self._half[:, columns], 2 * n_rows, axis=0)
            spectrum *= self._transform[:, columns]
            self._half[:, columns] = ifft(spectrum, axis=0, overwrite_x=True)[:n_rows]

    def _inverse_rows(self, first: int, stop: int) -> None:
        from scipy.fft import irfft

        n_columns = self.charge.shape[1]
        for chunk in range(first, stop):
            rows = slice(chunk * self._row_chunk, (chunk + 1) * self._row_chunk)
            self.field[rows] = irfft(self._half[rows], 2 * n_columns, axis=1)[:, :n_columns]


def _chunk_of(lines: int, length: int) -> int:
    """Return how many lines of a length are transformed at once."""
    chunks = CHUNKS * round(lines * length / (CHUNKS * CHUNK_VALUES))
    if chunks == 0 and lines * length > CHUNK_VALUES // CHUNKS:
        chunks = CHUNKS
    return -(-lines // max(chunks, 1))
