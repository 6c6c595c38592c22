"""The kernel 1 / (1 + r²), split into parts that grids of growing spacing carry.

A point spreads its unit charge over the 4 × 4 nearest nodes with cubic B-spline weights; the
potential of all charges at the nodes is a convolution; each point reads potential and force back
with the same weights and their derivatives (as in smooth particle-mesh Ewald: Essmann et al., "A
smooth particle mesh Ewald method", J. Chem. Phys. 103, 1995). For the interaction of two points to
be the kernel's, the kernel's transform is divided by that of the weights, once for spreading and
once for reading.

The kernel is steep near 0 only. What a grid of twice the spacing cannot carry of it ends after a
few nodes, and is summed over them; the rest is left to that grid, where the same is done again.
Cubic splines twice as wide are sums of narrow ones, so that charges go from grid to grid without
loss (multilevel summation: Hardy et al., "Multilevel summation with B-spline interpolation for
pairwise interactions in molecular dynamics simulations", J. Chem. Phys. 144, 2016). Only the
coarsest grid is ever transformed. Here are the parts; ``convolution`` puts them to work on the
grids that ``grid`` lays out.
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

#: Nodes that one point touches along an axis.
SUPPORT = 4
#: Their four cubic B-spline weights at a place within a cell, and the negative of the weights'
#: slopes, as six times polynomials: what multiplies each power of the place, the lowest first.
WEIGHTS = ((1, 4, 1, 0), (-3, 0, 3, 0), (3, -6, 3, 0), (-1, 3, -3, 1))
SLOPES = ((3, 0, -3, 0), (-6, 12, -6, 0), (3, -9, 9, -3))
#: Nodes to each side over which a grid sums its own part of the kernel; in how many spacings that
#: part ends, and how smoothly. On 2,000 normal points over 40 units (means of three seeds), forces
#: err by 0.51, 0.97 and 2.2 % with h = 1/3, 0.4 and 1/2; on one transformed grid by 0.46, 0.95 and
#: 2.2 %. A cut at 6 spacings would err by 0.60 and 1.01 %; a higher power wants a farther cut.
RADIUS, CUT, POWER = 7, 7.0, 4
#: Nodes along an axis of the small grid on which parts are computed: they end after a few.
_PATCH = 32


def smooth_part(squares: NDArray[np.float64], cut: float) -> NDArray[np.float64]:
    """Return what is left of the kernel for coarser grids.

    Parameters
    ----------
    squares : ndarray, float64
        Squared distances r².
    cut : float
        Distance c beyond which all of the kernel is left, in units of the map; 0 for the whole
        kernel.

    Returns
    -------
    ndarray, float64
        (1 - uᵖ) / (1 + r²) with u = (c² - r²) / (1 + c²), at least 0: the first p terms of
        the kernel's Taylor series in r² about c², so that it is smooth across c.
    """
    u = np.maximum((cut * cut - squares) / (1 + cut * cut), 0.0)
    left: NDArray[np.float64] = (1 - u**POWER) / (1 + squares)
    return left


def kernel_transform(shape: tuple[int, int], h: float, cut: float = 0.0) -> NDArray[np.float64]:
    """Return a quadrant of the transform of a kernel, freed of the weights of interpolation.

    Parameters
    ----------
    shape : tuple of int
        Nodes along each axis.
    h : float
        Their spacing.
    cut : float, default=0.0
        See `smooth_part`.

    Returns
    -------
    ndarray of shape (shape[0] + 1, shape[1] + 1), float64
        Real and even, because the kernel is: a DCT-I of one quadrant is its whole transform, of
        twice as many nodes as the grid has, so that no charge feels its periodic images.
    """
    from scipy.fft import dctn

    squares = [(h * np.arange(side + 1)) ** 2 for side in shape]
    quadrant: NDArray[np.float64] = smooth_part(squares[0][:, None] + squares[1][None, :], cut)
    quadrant = dctn(quadrant, type=1, overwrite_x=True)
    for axis, side in enumerate(shape):
        # Samples of the cubic B-spline at the nodes are (1/6, 2/3, 1/6).
        weights: NDArray[np.float64] = (2.0 + np.cos(np.pi * np.arange(side + 1) / side)) / 3.0
        quadrant /= np.expand_dims(weights**2, 1 - axis)
    return quadrant


@lru_cache(maxsize=32)
def stencil(h: float, cut: float) -> NDArray[np.float32]:
    """Return what a grid sums over its nodes when another of twice its spacing does the rest.

    Parameters
    ----------
    h : float
        Spacing.
    cut : float
        What finer grids have left to this one begins here; 0 for the finest. What this one leaves
        to the next begins at ``CUT × h``.

    Returns
    -------
    ndarray of shape (RADIUS + 1, RADIUS + 1), float32
        Between nodes so many apart along each axis, in both directions. Read-only.
    """
    side = 2 * _PATCH
    waves = np.arange(side + 1)
    # To the other grid and back: 2 cos⁴(ω/2) each way. A wave of this grid and the one that looks
    # the same on the coarser share what it does; a half is each one's.
    there_and_back = 2 * np.cos(np.pi * waves / side / 2) ** 8
    on_coarser = np.minimum(waves, side - waves)
    coarser = kernel_transform((_PATCH, _PATCH), 2 * h, CUT * h)
    carried = np.outer(there_and_back, there_and_back) * coarser[np.ix_(on_coarser, on_coarser)]
    part = _between(kernel_transform((side, side), h, cut) - carried)[:_PATCH, :_PATCH]
    # What lies beyond the radius is a thousandth, but all of one sign: it goes to the outer ring.
    signs = np.where(np.arange(_PATCH) > 0, 2.0, 1.0)
    copies = np.outer(signs, signs)
    kept = part[: RADIUS + 1, : RADIUS + 1].copy()
    lags = np.arange(RADIUS + 1)
    apart = np.hypot(lags[:, None], lags)
    ring = np.abs(apart - RADIUS) < 1.5
    within = copies[: RADIUS + 1, : RADIUS + 1]
    kept[ring] += ((part * copies).sum() - (kept * within).sum()) / within[ring].sum()
    result = kept.astype(np.float32)
    result.setflags(write=False)
    return result


def _between(quadrant: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return what nodes do to each other by how far apart they are, from its transform."""
    from scipy.fft import dctn

    sides = 2 * (np.array(quadrant.shape) - 1)
    between: NDArray[np.float64] = dctn(quadrant, type=1) / sides.prod()
    return between


@lru_cache(maxsize=32)
def own_terms(h: float) -> NDArray[np.float32]:
    """Return what a point on a grid does to itself.

    The force of a point's own charge is not zero but a wave of one period per node, and its own
    potential is not 1. Small as it is, that force pins points to where they are: with it, 750
    iterations on 1,797 digits end at a KL divergence of 0.768, without it at 0.761, and with exact
    forces at 0.739.

    Parameters
    ----------
    h : float
        Spacing of the grid.

    Returns
    -------
    ndarray of shape (6,), float32
        a to f of, with p = u (1 - u) and q = v (1 - v) for a point at (u, v) within its cell,
        the force (a + b q) p (1 - 2u) along x, likewise along y, and the potential
        c + d (p + q) + e p q + f (p² + q²). Fitted; they err by a few percent of the wave.
        Read-only.
    """
    # The kernel as the grid has it, between nodes up to three apart.
    K = _between(kernel_transform((_PATCH, _PATCH), h))
    lags = np.arange(SUPPORT)
    lag = np.abs(lags[:, None] - lags)
    between = K[lag[:, :, None, None], lag[None, None]]
    at = np.arange(9) / 8
    w, d = (
        np.polynomial.polynomial.polyval(at, np.array(terms) / 6).T for terms in (WEIGHTS, SLOPES)
    )
    force = np.einsum("ia,ic,jb,jd,acbd->ij", d, w, w, w, between) * 0.5 / h
    potential = np.einsum("ia,ic,jb,jd,acbd->ij", w, w, w, w, between)
    f, g = (axis.ravel() for axis in np.meshgrid(at, at, indexing="ij"))
    p, q = f * (1 - f), g * (1 - g)
    wave = p * (1 - 2 * f)
    forces = _fitted([wave, wave * q], force)
    potentials = _fitted([np.ones_like(p), p + q, p * q, p * p + q * q], potential)
    terms = np.concatenate([forces, potentials]).astype(np.float32)
    terms.setflags(write=False)
    return terms


def _fitted(basis: list[NDArray[np.float64]], values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the coefficients of the basis that fit the values best."""
    fitted = np.linalg.lstsq(np.stack(basis, axis=1), values.ravel(), rcond=None)[0]
    return np.asarray(fitted, dtype=np.float64)
