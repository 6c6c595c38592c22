"""Attraction, and the step of every point.

Repulsion is given, as ``repulsion`` or ``exact`` has summed it, and so are the rates of the
``schedule``. The share of the KL divergence that depends on neighbours' distances is summed here,
too.
"""

from __future__ import annotations

import math
from typing import Any

from tsne_backends.native.jit import (
    F0,
    U0,
    U1,
    U2,
    U3,
    F,
    U,
    coordinates,
    inner_finite_kernel,
    inner_kernel,
    kernel,
    part,
)
from tsne_backends.native.vectors import attract, log_distances

#: scikit-learn's gains: plus and times on agreement and disagreement of signs, and their floor.
GAIN_UP, GAIN_DOWN, MIN_GAIN = F(0.2), F(0.8), F(0.01)
#: No point moves further than this in one iteration, in units of the map: openTSNE's limit, which
#: keeps an unlucky step from throwing an island off the map.
MAX_STEP = F(5.0)
#: Points in one tile of attraction.
PULLED_POINTS = 256
#: What each tile reports: lowest and highest x and y, and the squared norm of the gradient.
REPORTS = 5


@inner_kernel
def pull(
    first: int,
    stop: int,
    points: Any,
    starts: Any,
    words: Any,
    steps: Any,
    bits: int,
    pulls: Any,
) -> None:
    """Sum the attraction of every point, Σ p k (y_i - y_j).

    Parameters
    ----------
    first, stop : int
        Range of tiles of `PULLED_POINTS`.
    points : ndarray of shape (n,), uint64
        Positions; see `jit.as_points`.
    starts, words, steps, bits
        See `layout.SparseRows`.
    pulls : ndarray of shape (n, 2), float32
        Filled.
    """
    end = min(U(stop) * U(PULLED_POINTS), U(len(points)))
    for i in range(U(first) * U(PULLED_POINTS), end):
        x, y = coordinates(points[i])
        dx, dy = attract(points, x, y, words, U(bits), U(starts[i]), U(starts[i + U1]))
        pulls[i, U0], pulls[i, U1] = dx * steps[i], dy * steps[i]


@inner_kernel
def move(
    first: int,
    stop: int,
    tile: int,
    Y: Any,
    pulls: Any,
    forces: Any,
    Z: Any,
    rates: Any,
    one_axis: bool,
    update: Any,
    gains: Any,
    reports: Any,
) -> None:
    """Compute the gradient of every point and take its step.

    The gradient is 4 (exaggeration Σ p k (y_i - y_j) - Σ k² (y_i - y_j) / Z), scikit-learn's; the
    step is its gradient descent with momentum and gains, each step clipped.

    Parameters
    ----------
    first, stop : int
        Range of tiles.
    tile : int
        Points per tile.
    Y : ndarray of shape (n, 2), float32
        Positions, updated.
    pulls : ndarray of shape (n, 2), float32
        Σ p k (y_i - y_j) of every point.
    forces : ndarray of shape (n, 2), float32
        Σ k² (y_i - y_j) of every point; overwritten by the gradient.
    Z : ndarray of shape (1,), float64
    rates : ndarray of shape (3,), float32
        Exaggeration, learning rate in scikit-learn's units, and momentum.
    one_axis : bool
        The map has one dimension; the second coordinate stays as it is.
    update, gains : ndarray of shape (n, 2), float32
        State of the optimiser, updated.
    reports : ndarray of shape (n_tiles, 5), float64
        Per tile: lowest x, lowest y, highest x, highest y, Σ |gains × gradient|².
    """
    pulled, pushed = F(4) * rates[U0], F(4.0 / max(Z[U0], 1e-30))
    for t in range(U(first), U(stop)):
        start = t * U(tile)
        end = min(start + U(tile), U(len(Y)))
        for i in range(start, end):
            forces[i, U0] = pulled * pulls[i, U0] - pushed * forces[i, U0]
            forces[i, U1] = F0 if one_axis else pulled * pulls[i, U1] - pushed * forces[i, U1]
        reports[t, U(4)] = _step(start, end, Y, forces, rates[U1], rates[U2], update, gains)
        _corners(start, end, Y, reports[t])


@part
def _step(
    start: Any,
    end: Any,
    Y: Any,
    gradient: Any,
    rate: Any,
    momentum: Any,
    update: Any,
    gains: Any,
) -> Any:
    """Move points against their gradient; return the squared norm of gains × gradient."""
    norm = 0.0
    for i in range(start, end):
        dx, dy = gradient[i, U0], gradient[i, U1]
        gx, gy = gains[i, U0], gains[i, U1]
        ux, uy = update[i, U0], update[i, U1]
        gx = gx + GAIN_UP if dx * ux < F0 else gx * GAIN_DOWN
        gy = gy + GAIN_UP if dy * uy < F0 else gy * GAIN_DOWN
        gx, gy = max(gx, MIN_GAIN), max(gy, MIN_GAIN)
        dx *= gx
        dy *= gy
        norm += dx * dx + dy * dy
        ux = momentum * ux - rate * dx
        uy = momentum * uy - rate * dy
        length = ux * ux + uy * uy
        if length > MAX_STEP * MAX_STEP:
            shorter = MAX_STEP / F(math.sqrt(length))
            ux *= shorter
            uy *= shorter
        if not length < F(1e30):  # no number, or soon none: the point stays, the norm tells
            ux, uy = F0, F0
            norm = math.inf
        gains[i, U0], gains[i, U1] = gx, gy
        update[i, U0], update[i, U1] = ux, uy
        Y[i, U0] += ux
        Y[i, U1] += uy
    return norm


@inner_finite_kernel
def _corners(start: Any, end: Any, Y: Any, report: Any) -> None:
    low_x, low_y = F(3e38), F(3e38)
    high_x, high_y = F(-3e38), F(-3e38)
    for i in range(start, end):
        low_x, low_y = min(low_x, Y[i, U0]), min(low_y, Y[i, U1])
        high_x, high_y = max(high_x, Y[i, U0]), max(high_y, Y[i, U1])
    report[U0], report[U1], report[U2], report[U3] = low_x, low_y, high_x, high_y


@inner_kernel
def sum_up(first: int, stop: int, reports: Any, whole: Any) -> None:
    """Write what all tiles together report; one tile."""
    for c in range(U(REPORTS)):
        whole[c] = reports[U0, c]
    for t in range(U1, U(len(reports))):
        for c in range(U2):
            whole[c] = min(whole[c], reports[t, c])
            whole[c + U2] = max(whole[c + U2], reports[t, c + U2])
        whole[U(4)] += reports[t, U(4)]


@kernel
def sum_logarithms(
    first: int,
    stop: int,
    tile: int,
    points: Any,
    starts: Any,
    words: Any,
    steps: Any,
    bits: int,
    sums: Any,
) -> None:
    """Sum p log(1 + |y_i - y_j|²) over all ordered pairs laid out, tile by tile.

    Parameters
    ----------
    first, stop, tile
        As in `move`.
    points, starts, words, steps, bits
        As in `pull`.
    sums : ndarray of shape (n_tiles,), float64
        Filled.
    """
    for t in range(U(first), U(stop)):
        total = 0.0
        for i in range(t * U(tile), min((t + U1) * U(tile), U(len(points)))):
            x, y = coordinates(points[i])
            first_entry, end = U(starts[i]), U(starts[i + U1])
            total += steps[i] * log_distances(points, x, y, words, U(bits), first_entry, end)
        sums[t] = total
