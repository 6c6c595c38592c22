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
from tsne_backends.native.precision import Place
from tsne_backends.native.threads import Team

#: Rows of up to so many features are copied into their order: of a few features a row takes less
#: than it takes to wait for it, and what is near in space is then near in memory. Of 192 or 768
#: features, 50,000 rows read where they are took a tenth longer to search, less the copying.
MOST_COPIED = 96
#: Sizes of a common entry at which squares of all entries can be summed as they are.
UNITS = (1e-10, 1e2)
#: Values that are read at once, by each thread.
BLOCK_VALUES = 2**18


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
    copied : bool
        Whether rows are copied when they are put in order; the same for rows that are compared.
    """

    values: NDArray[Any]
    at: NDArray[np.uint32]
    place: Place | None
    copied: bool

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
        if not self.copied:
            return replace(self, at=self.at[order])
        rows = np.empty((len(order), self.shape[1]), dtype=np.float32)

        def work(some: slice) -> None:
            rows[some] = self[order[some]]

        self._by_blocks(work, len(order), team)
        return as_they_are(rows)

    def squares(self, team: Team) -> NDArray[np.float32]:
        """Return the square of every row."""
        squares = np.empty(len(self), dtype=np.float32)

        def work(some: slice) -> None:
            rows = self[some]
            np.einsum("ij,ij->i", rows, rows, out=squares[some])

        self._by_blocks(work, len(self), team)
        return squares

    def _by_blocks(self, work: Callable[[slice], None], n: int, team: Team) -> None:
        at_once = max(1, BLOCK_VALUES // self.shape[1])

        def blocks(first: int, stop: int) -> None:
            for block in range(first, stop):
                work(slice(block * at_once, (block + 1) * at_once))

        team.run(blocks, -(-n // at_once))


#: Rows with all their features, or along some axes.
Rows = Features | NDArray[np.float32]


def features_of(place: Place, *arrays: NDArray[Any]) -> tuple[Features, ...]:
    """Return the rows of arrays that are to be compared.

    Parameters
    ----------
    place : Place
    *arrays : ndarray of shape (n, d), float32 or float64
        Of one width and type.
    """
    is_readable = UNITS[0] < place[1] < UNITS[1] and all(map(_is_readable, arrays))
    copied = arrays[0].shape[1] <= MOST_COPIED or not is_readable
    return tuple(Features(X, _numbers(len(X)), place, copied) for X in arrays)


def as_they_are(rows: NDArray[np.float32]) -> Features:
    """Return rows that are moved and scaled already."""
    return Features(rows, _numbers(len(rows)), None, True)


def both_as_read(rows: Features, points: Features) -> tuple[Any, Any, Any, Any, F]:
    """Return what kernels read: both arrays, where rows lie in them, and the scale of squares."""
    scale = F(1) if rows.place is None else F(rows.place[1] ** -2)
    return rows.values, rows.at, points.values, points.at, scale


def _is_readable(X: NDArray[Any]) -> bool:
    """Say whether kernels, which are compiled for one kind of array, can read this one."""
    return X.dtype == np.float32 and X.flags.c_contiguous and X.flags.writeable


def _numbers(n: int) -> NDArray[np.uint32]:
    return np.arange(n, dtype=np.uint32)
