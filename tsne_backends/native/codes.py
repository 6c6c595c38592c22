"""Rows in whole numbers of 16 bits, two of which some processors multiply in the time of one.

A code is off by up to half a step along each axis; what is computed from codes is exact. So their
squared distances err by 0.8 steps per distance (standard deviation), where products of single
precision err by the size of the longest row however near two rows are: within about 150 steps codes
tell points apart better, beyond not as well. Which data they serve for is decided in ``search``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.features import Rows, by_blocks
from tsne_backends.native.products import PANEL, TILE, transpose
from tsne_backends.native.threads import Team

#: Steps that the longest row is long at most: twice its square, half of the squared distance of two
#: opposite ones, is less than 2³¹.
LONGEST = 32_000
#: Half of the square of what fills up the last panel; it is never looked at.
FILLER = 2**30


def step_of(*squares: NDArray[np.float32]) -> float:
    """Return what a step must be at least for codes of rows of these squares."""
    return math.sqrt(max(float(some.max()) for some in squares)) / LONGEST


@dataclass(frozen=True)
class Codes:
    """Codes of rows, and how `compare` reads them.

    Attributes
    ----------
    pairs : ndarray of shape (n, ceil(width / 2)), int32
        Codes of two axes at a time.
    halves : ndarray of shape (n,), int32
        Half of the squares of the rows, with what the axes leave out of them.
    added : ndarray of shape (n,), float32
        Together with ``scale`` times what `compare` returns, squared distances along the axes, but
        for what these leave out of the points.
    step : float
        What one unit is.
    """

    pairs: NDArray[np.int32]
    halves: NDArray[np.int32]
    added: NDArray[np.float32]
    step: float

    @property
    def scale(self) -> np.float32:
        """What half of a squared distance in units must be multiplied by."""
        return np.float32(2 * self.step**2)

    def __getitem__(self, which: slice | NDArray[Any]) -> Codes:
        """Return those of some rows."""
        return Codes(self.pairs[which], self.halves[which], self.added[which], self.step)

    def panels(self, team: Team) -> NDArray[np.int32]:
        """Return all rows as points: half of their squares, then two axes at a time."""
        n, width = self.pairs.shape
        panels = np.empty((-(-n // PANEL), 1 + width, PANEL), dtype=np.int32)

        def fill(some: slice) -> None:
            at = panels[some.start // PANEL :]
            transpose(self.halves[some, None], at[:, :1], FILLER)
            transpose(self.pairs[some], at[:, 1:], 0)

        by_blocks(fill, n, width, team, PANEL)
        return panels

    def tiles(self) -> NDArray[np.int32]:
        """Return all rows as rows: half of their squares, then minus two axes at a time."""
        pairs = np.negative(self.pairs.view(np.int16)).view(np.int32)
        tiles = np.empty((-(-len(pairs) // TILE), 1 + pairs.shape[1], TILE), dtype=np.int32)
        transpose(self.halves[:, None], tiles[:, :1], 0)
        transpose(pairs, tiles[:, 1:], 0)
        return tiles


def coded(narrow: Rows, whole: Rows, step: float, team: Team) -> Codes:
    """Return the codes of rows.

    Parameters
    ----------
    narrow : Features or ndarray of shape (n, width), float32
    whole : Features or ndarray of shape (n, d), float32
        What ``narrow`` leaves something out of, or the same.
    step : float
        See `step_of`.
    team : Team
    """
    n, width = narrow.shape
    pairs = np.zeros((n, -(-width // 2)), dtype=np.int32)
    halves, added = np.empty(n, dtype=np.int32), np.empty(n, dtype=np.float32)
    values, unit = pairs.view(np.int16), np.float32(1 / step)

    def fill(some: slice) -> None:
        rows = narrow[some]
        values[some, :width] = np.rint(rows * unit)
        squares, along_axes = _squares(values[some]), _squares(rows)
        if whole is not narrow:
            squares += np.maximum((_squares(whole[some]) - along_axes) / step**2, 0)
        halves[some] = np.ceil(squares / 2)  # or a distance could be below 0
        added[some] = along_axes - 2 * step**2 * halves[some]

    by_blocks(fill, n, whole.shape[1], team)
    return Codes(pairs, halves, added, step)


def _squares(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the square of each row; single precision would round those of codes."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return squares
