"""Where the grid of repulsion lies: over the whole map, with a step that forces can be told at.

Looking where the outermost rows are means to wait for the GPU, so that a grid is laid with room for
a few iterations. What is done on it is in ``repulsion``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import EmbeddingError
from tsne_backends.gpu.arrays import on_host
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
#: Each size of grid is at least so many times the one before: with a new size comes a new kernel,
#: which takes as long as ten iterations.
SIZE_RATIO = 1.12
#: Grids whose shorter side is at least this share of the longer become squares.
SQUARE = 0.75
#: Room around a map for a few iterations, as a share of its width: twice what it grew by since it
#: was looked at last, within these.
LEAST_ROOM, MOST_ROOM = 0.05, 0.5
#: Threads that look for the outermost rows.
EXTENT_THREADS = 4_096
#: Nodes beyond the outermost rows, which the splines reach.
MARGIN = 6
#: Widest map, in units: squares of distances still have room in single precision.
LARGEST_SPAN = 1e15


@dataclass(frozen=True)
class Box:
    """A grid over a map: nodes per axis, the first node, and the step."""

    nodes: tuple[int, int]
    first: tuple[float, float]
    step: float


def box_around(positions: Any, step: float) -> Box:
    """Return the grid that covers all rows, of a size that transforms fast; waits for the GPU.

    Raises
    ------
    EmbeddingError
        A position is not finite, or too far away for its square to be.
    """
    return box_over(*corners(positions), step)


def corners(positions: Any) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Return the least and the largest coordinate of each axis; waits for the GPU."""
    import cupy

    n, threads = len(positions), min(len(positions), EXTENT_THREADS)
    parts = cupy.empty((4, threads), dtype=cupy.float32)
    launch("extents", threads, positions, parts, cupy.int32(n), cupy.int32(threads))
    sides = on_host(parts.min(axis=1)).astype(np.float64)
    low, high = sides[:2], -sides[2:]
    if not (np.isfinite(sides).all() and (high - low).max() < LARGEST_SPAN):
        raise EmbeddingError(
            "The optimisation diverged on the GPU: some coordinates are not finite, or too far "
            "apart for single precision. Try a smaller learning rate, or learning_rate='auto'."
        )
    return low, high


def box_over(
    low: NDArray[np.float64], high: NDArray[np.float64], step: float, room: float = 0.0
) -> Box:
    """Return a grid over the corners, with more room around them by a share of the map's width."""
    sides = high - low + room * (high - low).max()
    span = float(sides.max())
    step = max(_step_for(span, step), span / (MAX_NODES - MARGIN))
    nodes = [_fast_size(math.ceil(side / step) + MARGIN) for side in sides]
    if min(nodes) >= SQUARE * max(nodes):  # there are fewer sizes of squares
        nodes = [max(nodes)] * 2
    first = (low + high) / 2 - (np.array(nodes) - 1) / 2 * step
    return Box((nodes[0], nodes[1]), (float(first[0]), float(first[1])), step)


def _step_for(span: float, step: float) -> float:
    """Return the step, or for small maps a finer one: of a few, so that the kernel can be kept."""
    finer = (step, step / 1.5, step / 2.25)
    return next((one for one in finer if one <= span / LEAST_NODES), min(step, LEAST_STEP))


def _fast_size(least: int) -> int:
    """Return the next size of grid that transforms fast; there are about fifty."""
    return next((size for size in _sizes() if size >= least), MAX_NODES)


@cache
def _sizes() -> tuple[int, ...]:
    """Return the sizes of grids: their only prime factors are 2, 3 and 5."""
    sizes = [MARGIN]
    while sizes[-1] < MAX_NODES:
        size = min(MAX_NODES, math.ceil(SIZE_RATIO * sizes[-1]))
        while not _is_smooth(size):
            size += 1
        sizes.append(size)
    return tuple(sizes)


def _is_smooth(size: int) -> bool:
    for factor in (2, 3, 5):
        while size % factor == 0:
            size //= factor
    return size == 1
