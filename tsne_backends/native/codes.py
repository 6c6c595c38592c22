"""Rows in whole numbers of 16 bits, two of which some processors multiply in the time of one.

A code is off by up to half a step along each axis. What is computed from codes is exact, other than
products of single precision, which err by the size of the rows however near they are: unless a few
rows are much farther out than others, codes tell near points apart as well as those do. Which data
they serve for is decided in ``search``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.products import PANEL, TILE, transpose
from tsne_backends.native.threads import Team

#: Steps that the longest row is long at most: twice its square, half of the squared distance of two
#: opposite ones, is less than 2³¹.
LONGEST = 32_000
#: Rows coded at once; whole panels.
BLOCK_ROWS = 64 * PANEL
#: Half of the square of what fills up the last panel.
FARTHEST = 2**30


def step_of(*sets: NDArray[np.float32]) -> float:
    """Return what a step must be at least for codes of some sets of rows."""
    return math.sqrt(max(float(squares_of(rows).max()) for rows in sets)) / LONGEST


@dataclass(frozen=True)
class Codes:
    """Codes of rows, and how `compare` reads them.

    Attributes
    ----------
    pairs : ndarray of shape (n, ceil(width / 2)), int32
        Codes of two axes at a time.
    halves : ndarray of shape (n,), int32
        Half of the squares of the rows, with what the axes leave out of them.
    step : float
        What one unit is.
    """

    pairs: NDArray[np.int32]
    halves: NDArray[np.int32]
    step: float

    def some(self, which: NDArray[np.int64]) -> Codes:
        """Return those of some rows."""
        return Codes(self.pairs[which], self.halves[which], self.step)

    def panels(self, team: Team) -> NDArray[np.int32]:
        """Return all rows as points: half of their squares, then two axes at a time."""
        n, width = self.pairs.shape
        panels = np.empty((-(-n // PANEL), 1 + width, PANEL), dtype=np.int32)

        def work(first: int, stop: int) -> None:
            for block in range(first, stop):
                some = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
                at = panels[block * BLOCK_ROWS // PANEL :]
                transpose(self.halves[some, None], at[:, :1], FARTHEST)
                transpose(self.pairs[some], at[:, 1:], 0)

        team.run(work, -(-n // BLOCK_ROWS))
        return panels

    def tiles(self, start: int, end: int) -> NDArray[np.int32]:
        """Return some rows as rows: half of their squares, then minus two axes at a time."""
        pairs = np.negative(self.pairs[start:end].view(np.int16)).view(np.int32)
        tiles = np.empty((-(-len(pairs) // TILE), 1 + pairs.shape[1], TILE), dtype=np.int32)
        transpose(self.halves[start:end, None], tiles[:, :1], 0)
        transpose(pairs, tiles[:, 1:], 0)
        return tiles


def coded(
    narrow: NDArray[np.float32], whole: NDArray[np.float32], step: float, team: Team
) -> Codes:
    """Return the codes of rows.

    Parameters
    ----------
    narrow : ndarray of shape (n, width), float32
    whole : ndarray of shape (n, d), float32
        What ``narrow`` leaves something out of, or the same.
    step : float
        See `step_of`.
    team : Team
    """
    n, width = narrow.shape
    pairs = np.zeros((n, -(-width // 2)), dtype=np.int32)
    halves = np.empty(n, dtype=np.int32)
    values, unit = pairs.view(np.int16), np.float32(1 / step)

    def work(first: int, stop: int) -> None:
        for block in range(first, stop):
            some = slice(block * BLOCK_ROWS, (block + 1) * BLOCK_ROWS)
            scaled = narrow[some] * unit
            values[some, :width] = np.rint(scaled)
            squares = squares_of(values[some].astype(np.float64))  # single precision would round
            if whole is not narrow:
                left = squares_of((whole[some] * unit).astype(np.float64))
                left -= squares_of(scaled.astype(np.float64))
                squares += np.maximum(left, 0)
            halves[some] = np.ceil(squares / 2)  # or a distance could be below 0

    team.run(work, -(-n // BLOCK_ROWS))
    return Codes(pairs, halves, step)


def squares_of(rows: NDArray[Any]) -> NDArray[Any]:
    """Return the square of each row."""
    squares: NDArray[Any] = np.einsum("ij,ij->i", rows, rows)
    return squares
