"""Rows with all their features, in single precision and in any order.

They decide which candidates are nearest. Wide rows are read where the user has them, because a
copy would take more memory than everything else.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F
from tsne_backends.native.precision import MOST_COPIED, Place
from tsne_backends.native.threads import Team

#: Least size of a common entry, and largest sum of squares, where kernels compute with entries as
#: they are.
LEAST_UNIT, LARGEST_SUM = 1e-10, 1e38
#: Values that a thread reads at once.
BLOCK_VALUES = 2**17


@dataclass(frozen=True)
class Features:
    """Rows of an array about its middle, in units of a common entry.

    Attributes
    ----------
    values : ndarray of shape (n_values, d), float32 or float64
        The array, or moved and scaled rows of it.
    at : ndarray of shape (n,), uint32
        Where in the array each row lies; where rows are moved and scaled, one after the other.
    place : Place or None
        See `precision.place_of`; None where rows are moved and scaled already.
    copies : bool
        Whether rows are copied when they are put in order; the same for rows that are compared.
    """

    values: NDArray[Any]
    at: NDArray[np.uint32]
    place: Place | None
    copies: bool

    @property
    def shape(self) -> tuple[int, int]:
        """Rows and features."""
        return len(self.at), self.values.shape[1]

    def __len__(self) -> int:
        return len(self.at)

    def __getitem__(self, which: slice | NDArray[Any]) -> NDArray[np.float32]:
        """Return some rows as an array of shape (m, d), which is not to be written to."""
        if self.place is None:
            return self.values[which]
        some = self.values[self.at[which]]
        middle, unit = self.place
        some -= middle
        some /= some.dtype.type(unit)
        return some.astype(np.float32, copy=False)

    def in_order(self, order: NDArray[Any], team: Team) -> Features:
        """Return the rows of some numbers, in their order."""
        if not self.copies:
            return replace(self, at=self.at[order])
        rows = np.empty((len(order), self.shape[1]), dtype=np.float32)

        def work(some: slice) -> None:
            rows[some] = self[order[some]]

        by_blocks(work, *rows.shape, team)
        return as_they_are(rows)

    def squares(self, team: Team) -> NDArray[np.float32]:
        """Return the square of every row."""
        squares = np.empty(len(self), dtype=np.float32)

        def work(some: slice) -> None:
            rows = self[some]
            np.einsum("ij,ij->i", rows, rows, out=squares[some])

        by_blocks(work, *self.shape, team)
        return squares


#: Rows with all their features, or along some axes.
Rows = Features | NDArray[np.float32]


def features_of(place: Place, extent: float, *arrays: NDArray[Any]) -> tuple[Features, ...]:
    """Return the rows of arrays that are to be compared.

    Parameters
    ----------
    place : Place
    extent : float
        How far the farthest entry lies from the middle.
    *arrays : ndarray of shape (n, d), float32 or float64
        Of one width and type.
    """
    # By columns, each row that is read would wait for memory at each value.
    arrays = tuple(map(np.ascontiguousarray, arrays))
    width = arrays[0].shape[1]
    fits = place[1] > LEAST_UNIT and 4 * width * extent * extent < LARGEST_SUM
    copies = width <= MOST_COPIED or not (fits and all(map(_is_readable, arrays)))
    return tuple(Features(X, _numbers(len(X)), place, copies) for X in arrays)


def as_they_are(rows: NDArray[np.float32]) -> Features:
    """Return rows that are moved and scaled already."""
    return Features(rows, _numbers(len(rows)), None, True)


def both_as_read(rows: Features, points: Features) -> tuple[Any, Any, Any, Any, F]:
    """Return what kernels read: both arrays, where rows lie in them, and the scale of squares."""
    assert rows.place is points.place
    scale = F(1) if rows.place is None else F(rows.place[1] ** -2)
    return rows.values, rows.at, points.values, points.at, scale


def _is_readable(X: NDArray[Any]) -> bool:
    """Say whether kernels, which are compiled for one kind of array, can read this one."""
    return X.dtype == np.float32 and X.flags.carray


def _numbers(n: int) -> NDArray[np.uint32]:
    return np.arange(n, dtype=np.uint32)


def by_blocks(
    work: Callable[[slice], None], n: int, width: int, team: Team, multiple: int = 1
) -> None:
    """Call a function for blocks of rows, each of a multiple of so many but for the last."""
    rows = multiple * max(1, BLOCK_VALUES // (multiple * width))

    def blocks(first: int, stop: int) -> None:
        for block in range(first, stop):
            work(slice(block * rows, min((block + 1) * rows, n)))

    team.run(blocks, -(-n // rows))
