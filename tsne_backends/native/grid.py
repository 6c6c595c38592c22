"""The grid on which repulsion is computed: where its nodes lie, and the kernel's transform there.

A point spreads its unit charge over the 4 × 4 nearest nodes with cubic B-spline weights; the
potential of all charges at the nodes is a convolution, done by FFT; each point reads potential and
force back with the same weights and their derivatives (as in smooth particle-mesh Ewald: Essmann et
al., "A smooth particle mesh Ewald method", J. Chem. Phys. 103, 1995). For the interaction of two
points to be the kernel's, the kernel's transform is divided by that of the weights, once for
spreading and once for reading.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

#: Nodes that one point touches along an axis.
SUPPORT = 4
#: Fewest nodes along an axis, and finest spacing. A map at the start is smaller than a unit; with
#: all points in one cell of h = 1/2 the forces, small as they are, would be a quarter too low.
MIN_NODES, FINEST = 32, 1 / 8
#: Nodes along an axis on which all points share one position.
FLAT_NODES = 8
#: Most nodes in all. A map of 50,000 rows has 160,000 at h = 1/2; where points fly apart, h grows
#: instead of the grid (64 MB of transforms at this limit).
MAX_NODES = 2**22
#: Room for the map to grow before the next grid is made, as a share of its width.
ROOM = 0.06
#: A grid is given up where the map would do with this share of its nodes.
SHRUNK = 0.4


@dataclass(frozen=True)
class Grid:
    """Nodes at ``origin + h × (i, j)``, and the kernel's transform.

    Attributes
    ----------
    origin : tuple of float
        Position of node (0, 0), in units of the map.
    h : float
        Spacing of the nodes, the same along both axes, in units of the map.
    shape : tuple of int
        Nodes along each axis.
    transform : ndarray of shape (2 × shape[0], shape[1] + 1), float32
        What the transform of the charges is multiplied by. Free space: the transforms are twice as
        long as the grid, so that no charge feels its periodic images.
    wanted : float
        Spacing that was asked for; ``h`` is larger where the grid would have been too large.
    """

    origin: tuple[float, float]
    h: float
    shape: tuple[int, int]
    transform: NDArray[np.float32]
    wanted: float

    def fits(self, low: NDArray[np.float64], high: NDArray[np.float64], wanted: float) -> bool:
        """Say whether this grid serves a map within ``low`` and ``high``.

        Parameters
        ----------
        low, high : ndarray of shape (2,), float64
            Corners of the map.
        wanted : float
            Spacing asked for.
        """
        if wanted != self.wanted:
            return False
        smallest = 1.0
        for axis in range(2):
            first = (low[axis] - self.origin[axis]) / self.h
            last = (high[axis] - self.origin[axis]) / self.h
            # Half a node more than the support reaches: kernels compute in single precision.
            if not (first >= 1.5 and last < self.shape[axis] - 2.5):
                return False
            needed = max(MIN_NODES, last - first + SUPPORT)
            smallest *= min(1.0, needed / self.shape[axis])
        return smallest > SHRUNK or self.shape[0] * self.shape[1] <= 64**2


def make_grid(low: NDArray[np.float64], high: NDArray[np.float64], wanted: float) -> Grid:
    """Lay a grid under a map.

    Parameters
    ----------
    low, high : ndarray of shape (2,), float64
        Corners of the map, finite.
    wanted : float
        Spacing of the nodes; more where the grid would exceed `MAX_NODES`.

    Returns
    -------
    Grid
    """
    span = np.asarray(high, dtype=np.float64) - np.asarray(low, dtype=np.float64)
    h = min(wanted, max(FINEST, float(span.max()) / (MIN_NODES - 2 * SUPPORT)))
    while True:
        shape = (_side(span[0], h), _side(span[1], h))
        if shape[0] * shape[1] <= MAX_NODES:
            break
        h *= 1.25
    # The middle falls on a node, where nothing is interpolated: maps of one dimension lie there.
    origin = tuple(
        float((low[axis] + high[axis]) / 2 - h * (shape[axis] // 2)) for axis in range(2)
    )
    return Grid((origin[0], origin[1]), h, shape, kernel_transform(shape, h), wanted)


def far_middle(positions: NDArray[np.floating]) -> NDArray[np.float64]:
    """Return the middle of points that lie farther from 0 than they lie apart, else zeros.

    Single precision could not tell such points apart, or on which node of a grid they lie.

    Parameters
    ----------
    positions : ndarray of shape (n, n_components), floating

    Returns
    -------
    ndarray of shape (n_components,), float64
    """
    low = positions.min(axis=0).astype(np.float64)
    high = positions.max(axis=0).astype(np.float64)
    middle = (low + high) / 2
    is_far = np.abs(middle).max() > (high - low).max()
    return middle if is_far else np.zeros_like(middle)


def _side(span: float, h: float) -> int:
    """Return nodes along an axis: room for the map, and a length that transforms quickly."""
    if span == 0:
        return FLAT_NODES
    needed = max(MIN_NODES, math.ceil(span * (1 + ROOM) / h) + SUPPORT + 1)
    return smooth_at_least(needed)


def smooth_at_least(length: int) -> int:
    """Return the smallest number with no prime factor above 5 that is at least ``length``."""
    while True:
        rest = length
        for prime in (2, 3, 5):
            while rest % prime == 0:
                rest //= prime
        if rest == 1:
            return length
        length += 1


def kernel_transform(shape: tuple[int, int], h: float) -> NDArray[np.float32]:
    """Return the transform of 1 / (1 + r²) on a grid, freed of the weights of both interpolations.

    Parameters
    ----------
    shape : tuple of int
        Nodes along each axis.
    h : float
        Their spacing.

    Returns
    -------
    ndarray of shape (2 × shape[0], shape[1] + 1), float32
        Real, because the kernel is even: a DCT-I of one quadrant is its whole transform. The
        first axis is laid out as `scipy.fft.fft` does, the second as `scipy.fft.rfft`.
    """
    from scipy.fft import dctn

    squares = [(h * np.arange(side + 1)) ** 2 for side in shape]
    quadrant = 1.0 / (1.0 + squares[0][:, None] + squares[1][None, :])
    quadrant = dctn(quadrant, type=1, overwrite_x=True)
    for axis, side in enumerate(shape):
        # Samples of the cubic B-spline at the nodes are (1/6, 2/3, 1/6).
        weights: NDArray[np.float64] = (2.0 + np.cos(np.pi * np.arange(side + 1) / side)) / 3.0
        quadrant /= np.expand_dims(weights**2, 1 - axis)
    return np.concatenate([quadrant, quadrant[-2:0:-1]]).astype(np.float32)


def own_terms(grid: Grid) -> NDArray[np.float32]:
    """Return what a point on a grid does to itself.

    The force of a point's own charge is not zero but a wave of one period per node, and its own
    potential is not 1. Small as it is, that force pins points to where they are: with it, 750
    iterations on 1,797 digits end at a KL divergence of 0.768, without it at 0.761, and with exact
    forces at 0.739.

    Parameters
    ----------
    grid : Grid

    Returns
    -------
    ndarray of shape (6,), float32
        a to f of, with p = u (1 - u) and q = v (1 - v) for a point at (u, v) within its cell,
        the force (a + b q) p (1 - 2u) along x, likewise along y, and the potential
        c + d (p + q) + e p q + f (p² + q²). Fitted; they err by a few percent of the wave.
    """
    # The kernel as the grid has it, between nodes up to three apart.
    lags = np.arange(SUPPORT)
    n0, n1 = grid.shape
    waves0 = np.cos(np.pi * np.outer(lags, np.arange(2 * n0)) / n0) / (2 * n0)
    waves1 = np.cos(np.pi * np.outer(lags, np.arange(n1 + 1)) / n1) / n1
    waves1[:, [0, -1]] /= 2
    K = waves0 @ grid.transform.astype(np.float64) @ waves1.T
    lag = np.abs(lags[:, None] - lags)
    between = K[lag[:, :, None, None], lag[None, None]]
    at = np.arange(9) / 8
    w, d = _weights(at)
    force = np.einsum("ia,ic,jb,jd,acbd->ij", d, w, w, w, between) * -0.5 / grid.h
    potential = np.einsum("ia,ic,jb,jd,acbd->ij", w, w, w, w, between)
    f, g = (axis.ravel() for axis in np.meshgrid(at, at, indexing="ij"))
    p, q = f * (1 - f), g * (1 - g)
    wave = p * (1 - 2 * f)
    forces = _fitted([wave, wave * q], force)
    return np.concatenate(
        [forces, _fitted([np.ones_like(p), p + q, p * q, p * p + q * q], potential)]
    ).astype(np.float32)


def _fitted(basis: list[NDArray[np.float64]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of the basis that fit the values best."""
    fitted = np.linalg.lstsq(np.stack(basis, axis=1), values.ravel(), rcond=None)[0]
    return np.asarray(fitted, dtype=np.float64)


def _weights(f: NDArray[np.float64]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the four cubic B-spline weights at fractions of a cell, and their derivatives."""
    e = 1 - f
    weights = [e**3 / 6, 2 / 3 - f**2 * (1 - f / 2), 2 / 3 - e**2 * (1 - e / 2), f**3 / 6]
    slopes = [-(e**2) / 2, -f * (2 - 1.5 * f), e * (2 - 1.5 * e), f**2 / 2]
    return np.stack(weights, axis=-1), np.stack(slopes, axis=-1)
