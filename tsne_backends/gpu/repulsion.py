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

#: Step of the grid in units of the map. Of repulsion among 3,000 rows, Gaussian with a standard
#: deviation of 1, 10 and 30 units, it leaves errors of 0.06, 0.5 and 1.8 %, and of the
#: normalisation less than 0.002 %; 1/2 leaves 0.25, 2.3 and 6.3 %. Clusters narrower than a step
#: within a wide map, as in early exaggeration, have errors of 5 %.
STEP = 1 / 3
#: Small maps get at least so many nodes per axis, as long as the step stays above the least: finer,
#: single precision could no longer tell neighbouring nodes apart.
LEAST_NODES, LEAST_STEP = 64, 0.1
#: Widest grid, in nodes per axis; where points fly apart, the step grows instead. Its transforms
#: take 64 MB each, half a gigabyte while they are made.
MAX_NODES = 2_000
#: Nodes beyond the outermost rows, which the splines reach.
MARGIN = 6
#: Rows up to which forces are summed pair by pair: quicker than launching a transform.
EXACT_ROWS = 8_192
#: Least sum of 1 / (1 + d²) over pairs: two rows a hundred thousand units apart.
LEAST_NORMALISATION = 1e-10
#: Widest map, in units: squares of distances still have room in single precision.
LARGEST_SPAN = 1e15
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
    exact : bool, optional
        Whether to sum pair by pair, in n² operations; None does so for small data.
    step : float, default=STEP
        Step of the grid, in units of the map.
    """

    def __init__(self, n_samples: int, *, exact: bool | None = None, step: float = STEP) -> None:
        import cupy

        self._step = step
        self._n = n_samples
        self._exact = n_samples <= EXACT_ROWS if exact is None else exact
        self._field = cupy.empty((3, n_samples), dtype=cupy.float32)
        self._kernel: Any = None
        self._kernel_of: tuple[tuple[int, int], float] | None = None

    def field(self, positions: Any) -> tuple[Any, Any]:
        """Return the potential with its gradient at every row, and the normalisation.

        Parameters
        ----------
        positions : cupy.ndarray of shape (2, n_samples), float32

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
            A position is not finite.
        """
        import cupy

        n, box = cupy.int32(self._n), box_around(positions, self._step)
        if self._exact:
            launch("gather_exact", self._n, positions, self._field, n)
            normalisation = self._field[0].sum(dtype=cupy.float64)
        else:
            own = self._by_grid(positions, box, n)
            normalisation = self._field[0].sum(dtype=cupy.float64) - self._n * own
        # Where points fly apart the grid is coarse, and rounding would turn the sign.
        return self._field, cupy.maximum(normalisation, cupy.float64(LEAST_NORMALISATION))

    def _by_grid(self, positions: Any, box: Box, n: Any) -> Any:
        """Fill the field from a grid, and return what a row sees of itself, 1 but for rounding."""
        import cupy

        nodes = (cupy.int32(box.nodes[0]), cupy.int32(box.nodes[1]))
        place = (cupy.float32(box.first[0]), cupy.float32(box.first[1]))
        per_unit = cupy.float32(1 / box.step)
        charge = cupy.zeros(box.nodes, dtype=cupy.uint64)
        launch("spread", self._n, positions, charge, n, *nodes, *place, per_unit)
        # Twice the nodes, or the ends of the map would repel each other around the edge.
        padded = (2 * box.nodes[0], 2 * box.nodes[1])
        density = charge.astype(cupy.float32) * cupy.float32(CHARGE_UNIT)
        kernel, own = self._kernel_for(padded, box.step)
        spectrum = cupy.fft.rfft2(density, s=padded) * kernel
        potential = cupy.fft.irfft2(spectrum, s=padded)[: box.nodes[0], : box.nodes[1]]
        potential = cupy.ascontiguousarray(potential, dtype=cupy.float32)
        launch("gather", self._n, positions, potential, self._field, n, *nodes, *place, per_unit)
        return own

    def _kernel_for(self, padded: tuple[int, int], step: float) -> tuple[Any, Any]:
        """Return the kernel's transform, made anew only where the grid has changed."""
        if self._kernel_of != (padded, step):
            self._kernel = kernel_transform(padded, step)
            self._kernel_of = (padded, step)
        kernel, own = self._kernel
        return kernel, own


def box_around(positions: Any, step: float) -> Box:
    """Return the grid that covers all rows, of a size that transforms fast.

    Raises
    ------
    EmbeddingError
        A position is not finite, or too far away for its square to be.
    """
    import cupy

    corners = cupy.asnumpy(cupy.stack([positions.min(axis=1), positions.max(axis=1)]))
    low, high = corners.astype(np.float64)
    if not (np.isfinite(corners).all() and (high - low).max() < LARGEST_SPAN):
        raise EmbeddingError(
            "The optimisation diverged on the GPU: some coordinates are not finite, or too far "
            "apart for single precision. Try a smaller learning rate, or learning_rate='auto'."
        )
    span = float((high - low).max())
    step = max(_step_for(span, step), span / (MAX_NODES - MARGIN))
    nodes = [_fast_size(math.ceil(side / step) + MARGIN) for side in high - low]
    first = (low + high) / 2 - (np.array(nodes) - 1) / 2 * step
    return Box((nodes[0], nodes[1]), (float(first[0]), float(first[1])), step)


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
        It is real, because the kernel is even.
    own : cupy.ndarray of shape (), float64
        The kernel between a point and itself, as the grid sees it on average over its places
        between the nodes.
    """
    import cupy

    squares, sharpening, blurring = [], [], []
    for size in padded:
        index = cupy.arange(size, dtype=cupy.float64)
        squares.append((cupy.minimum(index, size - index) * step) ** 2)
        angle = index * (2 * math.pi / size)
        # A cubic B-spline takes 1/6, 2/3 and 1/6 at the nodes, whose transform this is.
        sharpening.append(9 / (2 + cupy.cos(angle)) ** 2)
        # Its products with itself, moved by whole nodes, integrate to these (the B-spline of degree
        # 7 at the nodes).
        waves = 2382 * cupy.cos(angle) + 240 * cupy.cos(2 * angle) + 2 * cupy.cos(3 * angle)
        blurring.append((2416 + waves) / 5040)
    kernel = 1 / (1 + squares[0][:, None] + squares[1][None, :])
    half = padded[1] // 2 + 1
    transform = cupy.fft.rfft2(kernel).real
    transform = transform * sharpening[0][:, None] * sharpening[1][None, :half]
    seen = (transform * blurring[0][:, None] * blurring[1][None, :half]).sum(axis=0)
    # The other half of the spectrum mirrors this one, but for its two ends.
    own = (2 * seen.sum() - seen[0] - seen[half - 1]) / (padded[0] * padded[1])
    return cupy.ascontiguousarray(transform, dtype=cupy.float32), own


def _step_for(span: float, step: float) -> float:
    """Return the step, or for small maps a finer one: of a few, so that the kernel can be kept."""
    finer = (step, step / 1.5, step / 2.25)
    return next((one for one in finer if one <= span / LEAST_NODES), min(step, LEAST_STEP))


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
