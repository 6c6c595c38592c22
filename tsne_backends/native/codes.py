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
    """Codes of rows, laid out as points for `compare`; `tiles` makes rows of them.

    Attributes
    ----------
    panels : ndarray of shape (ceil(n / PANEL), 1 + ceil(width / 2), PANEL), int32
        Half of the squares of the rows, with what the axes leave out of them; then codes of two
        axes at a time. Beyond the last row, points that are never looked at.
    added : ndarray of shape (n,), float32
        Together with ``scale`` times what `compare` returns, squared distances along the axes, but
        for what these leave out of the points.
    step : float
        What one unit is.
    """

    panels: NDArray[np.int32]
    added: NDArray[np.float32]
    step: float

    @property
    def scale(self) -> np.float32:
        """What half of a squared distance in units must be multiplied by."""
        return np.float32(2 * self.step**2)

    def __getitem__(self, which: NDArray[np.int64]) -> Codes:
        """Return those of some rows."""
        lines = self.panels[which // PANEL, :, which % PANEL]
        panels = _no_panels(*lines.shape)
        _fill(panels, lines)
        return Codes(panels, self.added[which], self.step)

    def tiles(self, start: int, end: int) -> NDArray[np.int32]:
        """Return some rows as rows: half of their squares, then minus two axes at a time."""
        first = start // PANEL
        panels = self.panels[first : -(-end // PANEL)]
        lines = panels.transpose(0, 2, 1).reshape(-1, panels.shape[1])
        lines = lines[start - first * PANEL : end - first * PANEL]
        tiles = np.empty((-(-len(lines) // TILE), lines.shape[1], TILE), dtype=np.int32)
        transpose(lines, tiles, 0)
        codes = tiles[:, 1:].view(np.int16)
        np.negative(codes, out=codes)
        return tiles


def _no_panels(n: int, height: int) -> NDArray[np.int32]:
    """Return room for the panels of rows."""
    return np.empty((-(-n // PANEL), height, PANEL), dtype=np.int32)


def _fill(panels: NDArray[np.int32], lines: NDArray[np.int32]) -> None:
    """Write rows, which lie one after the other, to the first of some panels."""
    transpose(lines[:, :1], panels[:, :1], FILLER)
    transpose(lines[:, 1:], panels[:, 1:], 0)


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
    pairs = -(-width // 2)
    panels, added = _no_panels(n, 1 + pairs), np.empty(n, dtype=np.float32)
    unit = np.float32(1 / step)

    def fill(some: slice) -> None:
        rows = narrow[some]
        lines = np.zeros((len(rows), 1 + pairs), dtype=np.int32)
        values = lines[:, 1:].view(np.int16)
        values[:, :width] = np.rint(rows * unit)
        squares, along_axes = _squares(values), _squares(rows)
        if whole is not narrow:
            squares += np.maximum((_squares(whole[some]) - along_axes) / step**2, 0)
        lines[:, 0] = np.ceil(squares / 2)  # or a distance could be below 0
        added[some] = along_axes - 2 * step**2 * lines[:, 0]
        _fill(panels[some.start // PANEL :], lines)

    by_blocks(fill, n, whole.shape[1], team, PANEL)
    return Codes(panels, added, step)


def _squares(rows: NDArray[Any]) -> NDArray[np.float64]:
    """Return the square of each row; single precision would round those of codes."""
    squares: NDArray[np.float64] = np.einsum("ij,ij->i", rows, rows, dtype=np.float64)
    return squares
