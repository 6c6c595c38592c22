"""Repulsion summed pair by pair, which for few points costs less than the smallest grid.

Which of the two is taken is told by fixed figures and not by a clock, because a seed must repeat;
``engine`` asks. The grid is in ``repulsion``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.grid import MIN_NODES
from tsne_backends.native.jit import F0, U1, U2, U, kernel
from tsne_backends.native.pairs import OTHERS, PUSHED, repel
from tsne_backends.native.repulsion import LEAST_PAIR
from tsne_backends.native.splitting import SUPPORT
from tsne_backends.native.threads import Team

#: Rows in one tile, whose pairs with later rows are summed together.
TILE_ROWS = 256
assert TILE_ROWS % OTHERS == 0
#: How far from all points, and from each other, those are that fill up vectors.
FARTHEST = 1e15
#: What one ordered pair, one point on a grid, one node of it with its share of coarser ones, and
#: the calls of one grid cost, in seconds of one core (Zen 4). They only decide which way is taken;
#: the machine does not, because a seed must repeat.
PAIR_SECONDS, POINT_SECONDS, NODE_SECONDS, GRID_SECONDS = 8e-11, 2e-8, 3.2e-9, 1.5e-4
#: How much longer pairs may take than a grid, because their forces are exact: 1,000 iterations on
#: 2,000 to 3,000 rows end at a KL divergence 1 to 3 % lower than on a grid.
PATIENCE = 1.5
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


class ExactRepulsion:
    """Repulsion summed over all pairs; it holds n² / 32 bytes.

    Parameters
    ----------
    n : int
        Points.
    team : Team
    """

    def __init__(self, n: int, team: Team) -> None:
        self._n, self._team = n, team
        # Points that fill up the last vector are so far from all, and from each other, that what
        # they add to Z is lost beside `LEAST_PAIR`, and what they push is nothing.
        filled = -(-n // OTHERS) * OTHERS
        self._axes = np.empty((2, filled), dtype=np.float32)
        self._axes[:, n:] = FARTHEST * np.arange(1, filled - n + 1, dtype=np.float32)
        n_tiles = -(-n // TILE_ROWS)
        self._pushes = np.empty((n_tiles, 2, filled), dtype=np.float32)
        self._sums = np.empty(n_tiles, dtype=np.float64)

    def forces(self, Y: NDArray[np.float32], out: NDArray[np.float32]) -> float:
        """Write Σ_j k² (y_i - y_j) of every point to ``out`` and return Z.

        Parameters
        ----------
        Y : ndarray of shape (n, 2), float32
        out : ndarray of shape (n, 2), float32

        Returns
        -------
        float
            Sum of the kernel over all ordered pairs of different points, of which single precision
            leaves nothing where all are far apart: at least `LEAST_PAIR` per point.
        """
        self._axes[:, : self._n] = Y.T
        seconds = PAIR_SECONDS * float(self._n) ** 2
        n_tiles = len(self._sums)
        self._team.run(_repel, n_tiles, self._axes, self._pushes, self._sums, seconds=seconds)
        out[:] = self._pushes.sum(axis=0)[:, : self._n].T
        return max(2 * float(self._sums.sum()), LEAST_PAIR * self._n)


@kernel
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
