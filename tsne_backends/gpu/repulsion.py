"""Repulsion on the GPU: the potential Σ 1 / (1 + d²) at every row, and its gradient, by one FFT.

Every row is one charge. Charges are spread over a regular grid by cubic B-splines, convolved with
the kernel by FFT, and read back at the rows by the same splines, whose own smoothing is divided
out. Repulsion is -1/2 of the potential's gradient and the normalisation Z its sum, so that one
charge and one kernel do where FIt-SNE (Linderman et al. 2019) and cuML take four. The grid grows
with the map: its step stays below the kernel's width of one unit, or forces between near rows blur.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from tsne_backends.errors import EmbeddingError
from tsne_backends.gpu.kernels import launch

#: Step of the grid in units of the map, for most iterations and for the last ones and the KL
#: divergence: forces are then off by 0.6 % and 0.1 % (20,000 rows of a Gaussian 100 units wide).
COARSE_STEP, FINE_STEP = 1 / 2, 1 / 3
#: Widest grid, in nodes per axis; where points fly apart, the step grows instead. A transform of
#: it takes 300 MB.
MAX_NODES = 3_000
#: Nodes beyond the outermost rows, which the splines reach.
MARGIN = 6
#: What one whole number of a spread charge stands for; see ``kernels.cu``.
CHARGE_UNIT = 2.0**-40


@dataclass(frozen=True)
class Box:
    """The grid over the map as it is now: nodes per axis, the first node, and the step."""

    nodes: tuple[int, int]
    first: tuple[float, float]
    step: float


class Repulsion:
    """Potential and gradient of all rows, with what can be kept from one iteration to the next.

    Parameters
    ----------
    n_samples : int
    exact : bool, default=False
        Sum pair by pair instead, in n² operations.
    """

    def __init__(self, n_samples: int, *, exact: bool = False) -> None:
        import cupy

        self._n = n_samples
        self._exact = exact
        self._field = cupy.empty((3, n_samples), dtype=cupy.float32)
        self._kernel: Any = None
        self._kernel_of: tuple[tuple[int, int], float] | None = None

    def field(self, positions: Any, step: float) -> tuple[Any, Any]:
        """Return the potential with its gradient at every row, and the normalisation.

        Parameters
        ----------
        positions : cupy.ndarray of shape (2, n_samples), float32
        step : float
            Step of the grid, in units of the map.

        Returns
        -------
        field : cupy.ndarray of shape (3, n_samples), float32
            Valid until the next call.
        normalisation : cupy.ndarray of shape (), float64
            Sum of 1 / (1 + d²) over all pairs of different rows.

        Raises
        ------
        EmbeddingError
            A position is not finite.
        """
        import cupy

        n = cupy.int32(self._n)
        if self._exact:
            launch("gather_exact", self._n, positions, self._field, n)
        else:
            self._by_grid(positions, box_around(positions, step), n)
        return self._field, self._field[0].sum(dtype=cupy.float64) - self._n

    def _by_grid(self, positions: Any, box: Box, n: Any) -> None:
        import cupy

        nodes = (cupy.int32(box.nodes[0]), cupy.int32(box.nodes[1]))
        place = (cupy.float32(box.first[0]), cupy.float32(box.first[1]))
        per_unit = cupy.float32(1 / box.step)
        charge = cupy.zeros(box.nodes, dtype=cupy.uint64)
        launch("spread", self._n, positions, charge, n, *nodes, *place, per_unit)
        # Twice the nodes, or the ends of the map would repel each other around the edge.
        padded = (2 * box.nodes[0], 2 * box.nodes[1])
        density = charge.astype(cupy.float32) * cupy.float32(CHARGE_UNIT)
        spectrum = cupy.fft.rfft2(density, s=padded) * self._kernel_for(padded, box.step)
        potential = cupy.fft.irfft2(spectrum, s=padded)[: box.nodes[0], : box.nodes[1]]
        potential = cupy.ascontiguousarray(potential, dtype=cupy.float32)
        launch("gather", self._n, positions, potential, self._field, n, *nodes, *place, per_unit)

    def _kernel_for(self, padded: tuple[int, int], step: float) -> Any:
        """Return the kernel's transform, made anew only where the grid has changed."""
        if self._kernel_of != (padded, step):
            self._kernel = kernel_transform(padded, step)
            self._kernel_of = (padded, step)
        return self._kernel


def box_around(positions: Any, step: float) -> Box:
    """Return the grid that covers all rows, of a size that transforms fast.

    Raises
    ------
    EmbeddingError
        A position is not finite.
    """
    import cupy

    corners = cupy.asnumpy(cupy.stack([positions.min(axis=1), positions.max(axis=1)]))
    low, high = corners.astype(np.float64)
    if not np.isfinite(corners).all():
        raise EmbeddingError(
            "The optimisation diverged on the GPU: some coordinates are not finite. Try a smaller "
            "learning rate, or learning_rate='auto'."
        )
    step = max(step, float((high - low).max()) / (MAX_NODES - MARGIN))
    nodes = [_fast_size(math.ceil(span / step) + MARGIN) for span in high - low]
    first = (low + high) / 2 - (np.array(nodes) - 1) / 2 * step
    return Box((nodes[0], nodes[1]), (float(first[0]), float(first[1])), step)


def kernel_transform(padded: tuple[int, int], step: float) -> Any:
    """Return the real transform of 1 / (1 + d²) on a grid, with two splines' smoothing divided out.

    Parameters
    ----------
    padded : tuple of int
        Nodes per axis of the periodic grid.
    step : float
        Units of the map between nodes.

    Returns
    -------
    cupy.ndarray of shape (padded[0], padded[1] // 2 + 1), float32
    """
    import cupy

    squares, sharpening = [], []
    for size in padded:
        index = cupy.arange(size, dtype=cupy.float32)
        squares.append((cupy.minimum(index, size - index) * cupy.float32(step)) ** 2)
        # A cubic B-spline takes 1/6, 2/3 and 1/6 at the nodes, whose transform this is.
        spline = (2 + cupy.cos(index * cupy.float32(2 * math.pi / size))) / 3
        sharpening.append(1 / spline**2)
    kernel = 1 / (1 + squares[0][:, None] + squares[1][None, :])
    transform = cupy.fft.rfft2(kernel).real
    half = transform.shape[1]
    sharpened = transform * sharpening[0][:, None] * sharpening[1][None, :half]
    return cupy.ascontiguousarray(sharpened, dtype=cupy.float32)


def _fast_size(least: int) -> int:
    """Return the next number whose only prime factors are 2, 3 and 5."""
    size = least
    while True:
        rest = size
        for factor in (2, 3, 5):
            while rest % factor == 0:
                rest //= factor
        if rest == 1:
            return size
        size += 1
