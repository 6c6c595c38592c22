"""New points on a finished map: each is drawn to its neighbours and pushed off by the whole map.

The map does not move, so its potential and field are computed once, on a grid, and a point's whole
optimisation is a loop over its own few neighbours: no point waits for another or depends on one.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.attraction import GAIN_DOWN, GAIN_UP, MIN_GAIN
from tsne_backends.native.grid import far_middle
from tsne_backends.native.jit import F0, F1, U0, U1, F, U, kernel
from tsne_backends.native.repulsion import GridRepulsion
from tsne_backends.native.schedule import FINE
from tsne_backends.native.spreading import HALF
from tsne_backends.native.threads import Team
from tsne_backends.native.vectors import interpolate

#: Points in one tile.
TILE_POINTS = 256
#: Room around the map in which new points may settle, as a share of its width, and at least, in
#: units of the map. Beyond it they are held at the edge.
ROOM, LEAST_ROOM = 0.05, 2.0
#: Least potential a point feels: at the edge of a map of few points single precision knows no less.
LEAST_POTENTIAL = F(1e-6)


def settle(
    embedding: NDArray[np.float32],
    start: NDArray[np.floating[Any]],
    indices: NDArray[np.int64],
    affinities: NDArray[np.float32],
    team: Team,
    *,
    n_iter: int,
    exaggeration: float,
    learning_rate: float,
    momentum: float,
    max_gradient: float,
) -> NDArray[np.float32]:
    """Move new points to where attraction and repulsion balance.

    Parameters
    ----------
    embedding : ndarray of shape (n, n_components), float32
        The map, of one or two dimensions.
    start : ndarray of shape (n_new, n_components), floating
        Where the new points start.
    indices : ndarray of shape (n_new, k), int64
        Rows of the map that attract each point.
    affinities : ndarray of shape (n_new, k), float32
        How much; each row sums to 1.
    team : Team
    n_iter : int
    exaggeration : float
        Factor on the attraction.
    learning_rate : float
        In openTSNE's units, whose gradient lacks the factor 4.
    momentum : float
    max_gradient : float
        Longer gradients are cut to this length, so that points that start on another stay near.

    Returns
    -------
    ndarray of shape (n_new, n_components), float32
    """
    n_components = embedding.shape[1]
    middle = far_middle(embedding)
    Y = np.zeros((len(embedding), 2), dtype=np.float32)
    Y[:, :n_components] = embedding - middle
    low, high = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
    room = np.maximum(ROOM * (high - low), LEAST_ROOM)
    low, high = low - room, high + room
    repulsion = GridRepulsion(len(Y))
    repulsion.lay(low, high, FINE)
    team.do(repulsion.work(Y, np.empty_like(Y), np.empty(1)))
    field, place = repulsion.convolution.field, repulsion.place
    del repulsion  # only the potential is looked at from here on
    settled = np.zeros((len(start), 2), dtype=np.float32)
    settled[:, :n_components] = start - middle
    team.run(
        _settle,
        -(-len(start) // TILE_POINTS),
        settled,
        Y,
        indices,
        affinities,
        field,
        *place,
        low.astype(np.float32),
        high.astype(np.float32),
        n_iter,
        F(exaggeration),
        F(learning_rate),
        F(momentum),
        F(max_gradient),
        n_components == 1,
    )
    return np.ascontiguousarray(settled[:, :n_components] + middle, dtype=np.float32)


@kernel
def _settle(
    first: int,
    stop: int,
    settled: Any,
    Y: Any,
    indices: Any,
    affinities: Any,
    field: Any,
    x0: Any,
    y0: Any,
    inverse: Any,
    low: Any,
    high: Any,
    n_iter: int,
    exaggeration: Any,
    rate: Any,
    momentum: Any,
    longest: Any,
    one_axis: bool,
) -> None:
    """Run all iterations of every point of some tiles, as openTSNE's partial optimisation does."""
    for i in range(U(first) * U(TILE_POINTS), min(U(stop) * U(TILE_POINTS), U(len(settled)))):
        x, y = settled[i, U0], settled[i, U1]
        ux, uy = F0, F0
        gx, gy = F1, F1
        for _ in range(n_iter):
            x = min(max(x, low[U0]), high[U0])
            y = min(max(y, low[U1]), high[U1])
            u, v = (x - x0) * inverse, (y - y0) * inverse
            row, column = U(u), U(v)
            f, g = u - F(row), v - F(column)
            potential, fx, fy = interpolate(field, row - U1, column - U1, f, g)
            dx, dy = F0, F0
            for c in range(U(indices.shape[1])):
                j = U(indices[i, c])
                u, v = x - Y[j, U0], y - Y[j, U1]
                w = affinities[i, c] / (F1 + u * u + v * v)
                dx += w * u
                dy += w * v
            share = F1 / max(potential, LEAST_POTENTIAL)
            dx = exaggeration * dx - share * fx * HALF * inverse
            dy = exaggeration * dy - share * fy * HALF * inverse
            if one_axis:
                dy = F0
            norm = F(math.sqrt(dx * dx + dy * dy))
            if norm > longest:
                dx *= longest / norm
                dy *= longest / norm
            gx = max(gx * GAIN_DOWN, MIN_GAIN) if dx * ux > F0 else gx + GAIN_UP
            gy = max(gy * GAIN_DOWN, MIN_GAIN) if dy * uy > F0 else gy + GAIN_UP
            ux = momentum * ux - rate * gx * dx
            uy = momentum * uy - rate * gy * dy
            x += ux
            y += uy
        settled[i, U0] = min(max(x, low[U0]), high[U0])
        settled[i, U1] = min(max(y, low[U1]), high[U1])
