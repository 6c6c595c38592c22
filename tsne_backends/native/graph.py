"""The neighbours graph, and how a kernel finds one row among the neighbours of another."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import U0, U1, F, U, kernel, part
from tsne_backends.native.perplexity import TILE_ROWS
from tsne_backends.native.threads import Team

#: Rows with more neighbours than this are sorted by name, so that one is found by bisection;
#: shorter ones are scanned, which takes a few vector comparisons.
LONG_ROW = 256
#: How much nearer than a row's last neighbour another must be to be missed: no rounding.
NEARER = F(1 - 1e-5)


def sort_long_rows(indices: NDArray[np.uint32], squared: NDArray[np.float32]) -> bool:
    """Sort every row by neighbour where rows are long, some at a time to save memory.

    Parameters
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours of every row; sorted in place.
    squared : ndarray of shape (n, k), float32
        What belongs to them; put in the same order.

    Returns
    -------
    bool
        Whether rows are sorted.
    """
    is_long: bool = indices.shape[1] > LONG_ROW
    for start in range(0, len(indices) if is_long else 0, TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        order = np.argsort(indices[rows], axis=1)
        indices[rows] = np.take_along_axis(indices[rows], order, axis=1)
        squared[rows] = np.take_along_axis(squared[rows], order, axis=1)
    return is_long


def rows_that_missed(
    indices: NDArray[np.uint32],
    squared: NDArray[np.float32],
    finders: NDArray[np.int64],
    team: Team,
) -> NDArray[np.int64]:
    """Return rows that have missed a neighbour, because that one has found them.

    Parameters
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours of every row, in no order.
    squared : ndarray of shape (n, k), float32
        Their squared distances.
    finders : ndarray of shape (m,), int64
        Rows whose neighbours are asked whether they have found them, too. Of long rows only some
        neighbours are.
    team : Team

    Returns
    -------
    ndarray, int64
        In order.
    """
    kth = NEARER * squared.max(axis=1)
    missed = np.zeros(len(indices), dtype=np.uint8)
    step = -(-indices.shape[1] // LONG_ROW)
    n_tiles = -(-len(finders) // TILE_ROWS)
    team.run(_mark, n_tiles, indices, squared, kth, finders, step, missed)
    return np.flatnonzero(missed)


def without_itself(
    rows: NDArray[np.int64], indices: NDArray[np.uint32], squared: NDArray[np.float32]
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Take each row off its own nearest, or the farthest where duplicates have its place.

    Parameters
    ----------
    rows : ndarray of shape (m,), int64
    indices, squared : ndarray of shape (m, k + 1), uint32 and float32
        What was found for them, in no order.

    Returns
    -------
    indices, squared : ndarray of shape (m, k), uint32 and float32
    """
    shape = len(rows), indices.shape[1] - 1
    farthest = np.where(indices == rows[:, None], np.inf, squared).argmax(axis=1)
    stays = np.arange(indices.shape[1]) != farthest[:, None]
    return indices[stays].reshape(shape), squared[stays].reshape(shape)


@kernel
def _mark(
    first: int,
    stop: int,
    indices: Any,
    squared: Any,
    kth: Any,
    finders: Any,
    step: int,
    missed: Any,
) -> None:
    k = U(indices.shape[1])
    for r in range(U(first) * U(TILE_ROWS), min(U(stop) * U(TILE_ROWS), U(len(finders)))):
        i = U(finders[r])
        for c in range(U0, k, U(step)):
            j = U(indices[i, c])
            if squared[i, c] < kth[j] and position(indices, j, np.uint32(i), False) == k:
                missed[j] = 1


@part
def position(indices: Any, row: Any, name: Any, is_sorted: Any) -> Any:
    """Return where a name (uint32) is among a row's k neighbours, or k where it is not."""
    k = U(indices.shape[1])
    found: Any = k
    if is_sorted:
        low, high = U0, k
        while low < high:
            middle = (low + high) // U(2)
            if indices[row, middle] < name:
                low = middle + U1
            else:
                high = middle
        if low < k and indices[row, low] == name:
            found = low
    else:
        for c in range(k):
            if indices[row, c] == name:
                found = c
    return found
