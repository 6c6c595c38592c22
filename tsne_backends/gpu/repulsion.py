"""Repulsion on the GPU: the potential Σ 1 / (1 + d²) at every row, and its gradient, by one FFT.

Every row is one charge. Charges are spread over a regular grid by cubic B-splines, convolved with
the kernel by FFT, and read back at the rows by the same splines, whose own smoothing is divided
out. Repulsion is -1/2 of the potential's gradient and the normalisation Z its sum, so that one
charge and one kernel do where FIt-SNE (Linderman et al. 2019) and cuML take four. The grid grows
with the map: its step stays below the kernel's width of one unit, or forces between near rows blur.

A grid can be laid with room around the map and serve several iterations: to look where the rows are
means to wait for the GPU. Whether a row has left it in the meantime can be asked afterwards.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_backends.gpu.arrays import on_host
from tsne_backends.gpu.grid import LEAST_ROOM, MOST_ROOM, STEP, Box, box_around, box_over, corners
from tsne_backends.gpu.kernels import launch

#: Rows up to which forces are summed pair by pair: quicker than launching a transform.
EXACT_ROWS = 8_192
#: Least sum of 1 / (1 + d²) over pairs: two rows a hundred thousand units apart.
LEAST_NORMALISATION = 1e-10
#: Rows below which they are, whatever is asked for: what rows see of themselves on a grid would be
#: most of their sum.
GRID_ROWS = 256


@dataclass(frozen=True)
class _Grid:
    """What grids of one size and step share: no charges yet, and the kernel's transform.

    Attributes
    ----------
    nodes : tuple of int
    step : float
    charge : cupy.ndarray of shape nodes, uint64
        Zeros between iterations.
    density : cupy.ndarray of twice the shape, float32
        Zeros beyond the nodes, or the ends of the map would repel each other around the edge.
    kernel : cupy.ndarray, float32
        See `kernel_transform`.
    own : cupy.ndarray of shape (), float64
        What all rows see of themselves.
    """

    nodes: tuple[int, int]
    step: float
    charge: Any
    density: Any
    kernel: Any
    own: Any


class Repulsion:
    """Potential and gradient of all rows, with what can be kept from one iteration to the next.

    Parameters
    ----------
    n_samples : int
    exact : bool, optional
        Whether to sum pair by pair, in n² operations; None does so for small data, and very few
        rows are never put on a grid.
    step : float, default=STEP
        Step of the grid, in units of the map.
    """

    def __init__(self, n_samples: int, *, exact: bool | None = None, step: float = STEP) -> None:
        import cupy

        self._step = step
        self._n = n_samples
        most = EXACT_ROWS if exact is None else GRID_ROWS
        self._exact = exact or n_samples <= most
        self._field = cupy.empty((3, n_samples), dtype=cupy.float32)
        self._outside = cupy.zeros(1, dtype=cupy.int32)
        self._nothing = cupy.zeros((), dtype=cupy.float64)
        self._grid: _Grid | None = None
        self._span = 0.0

    def frame(self, positions: Any) -> Box:
        """Return a grid with room for what the map may grow by in a few iterations.

        Raises
        ------
        EmbeddingError
            A position is not finite.
        """
        low, high = corners(positions)
        before, self._span = self._span, float((high - low).max())
        growth = self._span / before - 1 if before else 0.0
        return box_over(low, high, self._step, min(MOST_ROOM, max(LEAST_ROOM, 2 * growth)))

    def field(self, positions: Any, box: Box | None = None) -> tuple[Any, Any]:
        """Return the potential with its gradient at every row, and the normalisation.

        Parameters
        ----------
        positions : cupy.ndarray of shape (n_samples, 2), float32
        box : Box, optional
            The grid; where not given, one that fits. What is returned has no meaning where a row
            lies outside of it; see `was_left`.

        Returns
        -------
        field : cupy.ndarray of shape (3, n_samples), float32
            The potential, of which only the sum has a meaning of its own, and its gradient. Valid
            until the next call.
        normalisation : cupy.ndarray of shape (), float64
            Sum of 1 / (1 + d²) over all pairs of different rows.

        Raises
        ------
        EmbeddingError
            A position is not finite, and no box was given.
        """
        import cupy

        if box is None:
            box = box_around(positions, self._step)
        if self._exact:
            launch("gather_exact", self._n, positions, self._field, cupy.int32(self._n))
            own = self._nothing
        else:
            own = self._by_grid(positions, box)
        total, normalisation = self._field[0].sum(dtype=cupy.float64), cupy.empty_like(own)
        # Where points fly apart the grid is coarse, and rounding would turn the sign.
        launch("normalise", 1, total, own, normalisation, cupy.float32(LEAST_NORMALISATION))
        return self._field, normalisation

    def was_left(self) -> bool:
        """Say whether a row lay outside of a grid since this was asked last; waits for the GPU."""
        left = not self._exact and bool(on_host(self._outside)[0])
        if left:
            self._outside[:] = 0
        return left

    def _by_grid(self, positions: Any, box: Box) -> Any:
        """Fill the field from a grid, and return what all rows see of themselves: about 1 each."""
        import cupy
        from cupyx.scipy import fft

        grid, padded = self._grid_of(box), tuple(2 * side for side in box.nodes)
        n, pitch = cupy.int32(self._n), cupy.int32(padded[1])
        nodes = (cupy.int32(box.nodes[0]), cupy.int32(box.nodes[1]))
        place = (*map(cupy.float32, box.first), cupy.float32(1 / box.step))
        launch("spread", self._n, positions, grid.charge, self._outside, n, *nodes, *place)
        launch("take", grid.charge.size, grid.charge, grid.density, *nodes, pitch)
        spectrum = fft.rfft2(grid.density)
        spectrum *= grid.kernel
        # The kernel is divided by the number of nodes already: "forward" leaves that to others.
        potential = fft.irfft2(spectrum, s=padded, norm="forward", overwrite_x=True)
        launch("gather", self._n, positions, potential, self._field, n, *nodes, pitch, *place)
        return grid.own

    def _grid_of(self, box: Box) -> _Grid:
        """Return what goes with a box, made anew only where its size or step has changed."""
        import cupy

        grid = self._grid
        if grid is None or (grid.nodes, grid.step) != (box.nodes, box.step):
            self._grid = grid = None  # its memory is free for the next
            padded = (2 * box.nodes[0], 2 * box.nodes[1])
            kernel, own = kernel_transform(padded, box.step)
            charge = cupy.zeros(box.nodes, dtype=cupy.uint64)
            density = cupy.zeros(padded, dtype=cupy.float32)
            self._grid = grid = _Grid(box.nodes, box.step, charge, density, kernel, self._n * own)
        return grid


def kernel_transform(padded: tuple[int, int], step: float) -> tuple[Any, Any]:
    """Return the transform of 1 / (1 + d²) on a grid, with two splines' smoothing divided out.

    Parameters
    ----------
    padded : tuple of int
        Nodes per axis of the periodic grid, even.
    step : float
        Units of the map between nodes.

    Returns
    -------
    transform : cupy.ndarray of shape (padded[0], padded[1] // 2 + 1), float32
        It is real, because the kernel is even, and divided by the number of nodes, as one of a
        transform and its inverse must be.
    own : cupy.ndarray of shape (), float64
        The kernel between a point and itself, as the grid sees it on average over its places
        between the nodes.
    """
    import cupy
    from cupyx.scipy import fft

    # What belongs to one axis is small, and quicker made here.
    squares, sharpening, blurring = [], [], []
    for size in padded:
        index = np.arange(size, dtype=np.float64)
        squares.append((np.minimum(index, size - index) * step) ** 2)
        angle = index * (2 * math.pi / size)
        # A cubic B-spline takes 1/6, 2/3 and 1/6 at the nodes, whose transform this is.
        sharpening.append(9 / (2 + np.cos(angle)) ** 2)
        # Its products with itself, moved by whole nodes, integrate to these (the B-spline of degree
        # 7 at the nodes).
        waves = 2382 * np.cos(angle) + 240 * np.cos(2 * angle) + 2 * np.cos(3 * angle)
        blurring.append((2416 + waves) / 5040)
    half = padded[1] // 2 + 1
    rows = cupy.asarray(np.stack([1 + squares[0], sharpening[0], blurring[0]]))[:, :, None]
    columns = cupy.asarray(np.stack([sharpening[1], blurring[1]]))[:, None, :half]
    kernel = 1 / (rows[0] + cupy.asarray(squares[1])[None, :])
    transform = fft.rfft2(kernel, norm="forward").real * rows[1] * columns[0]
    seen = (transform * rows[2] * columns[1]).sum(axis=0)
    # The other half of the spectrum mirrors this one, but for its two ends.
    own = 2 * seen.sum() - seen[0] - seen[half - 1]
    return cupy.ascontiguousarray(transform, dtype=cupy.float32), own
