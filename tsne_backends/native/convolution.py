"""From charges at the nodes of a grid to the potential there.

`convolution` makes the chain of grids: all but the coarsest sum their own part of the kernel over
near nodes and leave the rest to the next (``splitting`` says which part that is); the coarsest is
transformed. What a tile of rows computes never depends on who computes the others.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.calls import Call
from tsne_backends.native.crew import Work
from tsne_backends.native.grid import Grid, coarser_shape
from tsne_backends.native.levels import TILE_ROWS, gather, restrict
from tsne_backends.native.splitting import CUT, RADIUS, kernel_transform, stencil
from tsne_backends.native.vectors import LANES


class Convolution(Protocol):
    """What turns the charges at the nodes of a grid into the potential there.

    Attributes
    ----------
    charge, field : ndarray of shape (at least rows + 2 × margin, and columns + 2 × margin), float32
        To be filled, and the result. Only nodes within the margin count; the charge of the others
        must be zero.
    margin : int
    work : Work
        What writes the potential of `charge` to `field`.
    """

    charge: NDArray[np.float32]
    field: NDArray[np.float32]
    margin: int
    work: Work


def convolution(grid: Grid) -> Convolution:
    """Return the convolution with the kernel on a grid.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    Convolution
    """
    spacings = [grid.h * 2**level for level in range(len(grid.shapes))]
    cuts = [0.0, *(CUT * h for h in spacings[:-1])]
    chain: Convolution = Transformed(grid.shapes[-1], spacings[-1], cuts[-1])
    for shape, h, cut in list(zip(grid.shapes, spacings, cuts, strict=True))[-2::-1]:
        chain = Summed(shape, stencil(h, cut), chain)
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

    Attributes
    ----------
    charge, field, margin, work
        See `Convolution`.
    """

    margin = RADIUS

    def __init__(
        self,
        shape: tuple[int, int],
        stencil: NDArray[np.float32],
        coarser: Convolution,
    ) -> None:
        width = -(-(shape[1] + 2 * RADIUS) // LANES) * LANES
        self.charge = np.zeros((shape[0] + 2 * RADIUS, width), dtype=np.float32)
        self.field = np.zeros_like(self.charge)
        rows, coarse_rows = shape[0], coarser_shape(shape)[0]
        tiles, coarse_tiles = (-(-lines // TILE_ROWS) for lines in (rows, coarse_rows))
        scratch = np.empty((max(tiles, coarse_tiles) * (RADIUS + 1), width), dtype=np.float32)
        fine = (self.charge, shape[1], scratch)
        down = Call(restrict, coarse_tiles, *fine, coarser.charge, coarser.margin)
        fields = (coarser.field, coarser.margin, self.field)
        up = Call(gather, tiles, *fine, stencil, *fields)
        chain = coarser.work
        self.work = Work((down, *chain.before), chain.between, (*chain.after, up))


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

    Attributes
    ----------
    charge, field, margin, work
        See `Convolution`.
    """

    margin = 0

    def __init__(self, shape: tuple[int, int], h: float, cut: float) -> None:
        quadrant = kernel_transform(shape, h, cut)
        # Free space: transforms are twice as long as the grid. Along the first axis they are laid
        # out as by `scipy.fft.fft`, along the second as by `scipy.fft.rfft`.
        self._transform = np.concatenate([quadrant, quadrant[-2:0:-1]]).astype(np.float32)
        self.charge = np.zeros(shape, dtype=np.float32)
        self.field = np.zeros(shape, dtype=np.float32)
        self.work = Work((), self._transform_all, ())

    # Only the quarter of the padded plane that holds charges, or is read back, is ever transformed
    # along the rows.

    def _transform_all(self) -> None:
        from scipy.fft import fft, ifft, irfft, rfft

        rows, columns = self.charge.shape
        spectrum = fft(rfft(self.charge, 2 * columns, axis=1), 2 * rows, axis=0)
        spectrum *= self._transform
        half = ifft(spectrum, axis=0, overwrite_x=True)[:rows]
        self.field[:] = irfft(half, 2 * columns, axis=1)[:, :columns]
