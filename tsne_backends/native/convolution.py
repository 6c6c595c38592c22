"""From charges at the nodes of a grid to the potential there.

`convolution` makes the chain of grids: all but the coarsest sum their own part of the kernel over
near nodes and leave the rest to the next (``splitting`` says which part that is); the coarsest is
transformed. What a tile of rows computes never depends on who computes the others.
"""

from __future__ import annotations

import math
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.grid import Grid, coarser_shape
from tsne_backends.native.levels import TILE_ROWS, gather, restrict
from tsne_backends.native.splitting import CUT, RADIUS, kernel_transform, stencil
from tsne_backends.native.threads import Team
from tsne_backends.native.vectors import LANES

#: Complex values in one chunk of a transform, and what the number of chunks is a multiple of, so
#: that two or four threads get equal shares. The grid alone decides, because libraries round by how
#: many lines they get.
CHUNK_VALUES, CHUNKS = 32_768, 4
#: What a node costs on the way to a coarser grid and with what is summed near it, and a transform
#: per value and halving, in seconds of one core (Zen 4); they only decide what is shared out among
#: threads.
RESTRICT_SECONDS, GATHER_SECONDS = 3e-10, 2.2e-9
VALUE_SECONDS = 4.4e-10


class Convolution(Protocol):
    """What turns the charges at the nodes of a grid into the potential there.

    Attributes
    ----------
    charge, field : ndarray of shape (at least rows + 2 × margin, and columns + 2 × margin), float32
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
        self._stencil = stencil
        width = -(-(shape[1] + 2 * RADIUS) // LANES) * LANES
        self.charge = np.zeros((shape[0] + 2 * RADIUS, width), dtype=np.float32)
        self.field = np.zeros_like(self.charge)
        tiles = -(-max(shape[0], coarser_shape(shape)[0]) // TILE_ROWS)
        self._scratch = np.empty((tiles * (RADIUS + 1), width), dtype=np.float32)

    def run(self) -> None:
        """Write the potential of `charge` to `field`."""
        run, coarser = self._team.run, self._coarser
        rows, columns = self._shape
        nodes = rows * columns
        tiles = -(-coarser_shape(self._shape)[0] // TILE_ROWS)
        fine = (self.charge, columns, self._scratch)
        charges = (coarser.charge, coarser.margin)
        run(restrict, tiles, *fine, *charges, seconds=nodes * RESTRICT_SECONDS)
        coarser.run()
        fields = (coarser.field, coarser.margin, self.field)
        tiles = -(-rows // TILE_ROWS)
        run(gather, tiles, *fine, self._stencil, *fields, seconds=nodes * GATHER_SECONDS)


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
