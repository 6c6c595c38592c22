"""Repulsion summed pair by pair, which for few points costs less than the smallest grid.

Which of the two is taken is told by fixed figures and not by a clock, because a seed must repeat;
``engine`` asks. The grid is in ``repulsion``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.calls import Call
from tsne_backends.native.crew import Work
from tsne_backends.native.grid import MIN_NODES
from tsne_backends.native.jit import F0, U0, U1, U2, U, inner_kernel
from tsne_backends.native.pairs import OTHERS, PUSHED, repel
from tsne_backends.native.repulsion import LEAST_PAIR
from tsne_backends.native.splitting import SUPPORT
from tsne_backends.native.spreading import add_up

#: Rows in one tile, whose pairs with later rows are summed together.
TILE_ROWS = 256
assert TILE_ROWS % OTHERS == 0
#: How far from all points, and from each other, those are that fill up vectors.
FARTHEST = 1e15
#: What one ordered pair, one point on a grid, one node of it with its share of coarser ones, and
#: the calls of one grid cost, in seconds of one core (Zen 4). They only decide which way is taken;
#: the machine does not, because a seed must repeat.
PAIR_SECONDS, POINT_SECONDS, NODE_SECONDS, GRID_SECONDS = 8e-11, 2e-8, 3.2e-9, 1.5e-4
#: How much longer pairs may take than a grid on one core, because their forces are exact: 1,000
#: iterations on 2,000 to 3,000 rows end at a KL divergence 1 to 3 % lower than on a grid. Threads
#: share pairs out better: beside 1.5, this takes 7 % longer on one core; two are as quick or, at
#: 2,000 rows of noise, a seventh quicker, and at 3,500 rows up to 7 % slower.
PATIENCE = 2.0
#: Most rows whose pairs are ever summed.
MOST_PAIRED_ROWS = 2**14


def is_affordable(n: int, span: NDArray[np.float64], h: float) -> bool:
    """Say whether all pairs cost less than a grid under a map, or not too much more.

    Parameters
    ----------
    n : int
        Points.
    span : ndarray of shape (2,), float64
        Width and height of the map.
    h : float
        Spacing of the grid.
    """
    if n > MOST_PAIRED_ROWS:
        return False
    nodes = [max(MIN_NODES, float(side) / h + SUPPORT) for side in span]
    grid = GRID_SECONDS + POINT_SECONDS * n + NODE_SECONDS * nodes[0] * nodes[1]
    return PAIR_SECONDS * float(n) ** 2 < PATIENCE * grid


def over_pairs(Y: NDArray[np.float32], out: NDArray[np.float32], Z: NDArray[np.float64]) -> Work:
    """Return what sums repulsion over all pairs; it holds n² / 32 bytes.

    Parameters
    ----------
    Y : ndarray of shape (n, 2), float32
        Positions.
    out : ndarray of shape (n, 2), float32
        To be filled with Σ_j k² (y_i - y_j) of every point.
    Z : ndarray of shape (1,), float64
        To be filled with the sum of the kernel over all ordered pairs of different points, of which
        single precision leaves nothing where all are far apart: at least `LEAST_PAIR` per point.

    Returns
    -------
    Work
    """
    n = len(Y)
    # Points that fill up the last vector are so far from all, and from each other, that what they
    # add to Z is lost beside `LEAST_PAIR`, and what they push is nothing.
    filled = -(-n // OTHERS) * OTHERS
    axes = np.empty((2, filled), dtype=np.float32)
    axes[:, n:] = FARTHEST * np.arange(1, filled - n + 1, dtype=np.float32)
    n_tiles = -(-n // TILE_ROWS)
    pushes = np.empty((n_tiles, 2, filled), dtype=np.float32)
    sums = np.empty(n_tiles, dtype=np.float64)

    def split_axes() -> None:
        axes[:, :n] = Y.T

    calls = (
        Call(_repel, n_tiles, axes, pushes, sums),
        Call(_add_pushes, n_tiles, pushes, out),
        Call(add_up, 1, sums, 2.0, LEAST_PAIR * n, Z),
    )
    return Work((), split_axes, calls)


@inner_kernel
def _add_pushes(first: int, stop: int, pushes: Any, out: Any) -> None:
    """Add up what all tiles' pairs push the points of some."""
    begin, end = U(first) * U(TILE_ROWS), min(U(stop) * U(TILE_ROWS), U(len(out)))
    for axis in range(U2):
        for i in range(begin, end):
            out[i, axis] = pushes[U0, axis, i]
        for t in range(U1, U(len(pushes))):
            for i in range(begin, end):
                out[i, axis] += pushes[t, axis, i]


@inner_kernel
def _repel(first: int, stop: int, axes: Any, pushes: Any, sums: Any) -> None:
    """Sum what pairs push whose first point is in a tile; each tile has sums of its own."""
    n = U(axes.shape[1])
    for t in range(U(first), U(stop)):
        pushed, total = pushes[t], 0.0
        for axis in range(U2):
            for i in range(n):
                pushed[axis, i] = F0
        for i in range(t * U(TILE_ROWS), min((t + U1) * U(TILE_ROWS), n), U(PUSHED)):
            total += repel(axes, i, pushed)
        sums[t] = total
