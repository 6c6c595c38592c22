"""Principal axes: a rotation after which the columns are few, or small, or both.

Distances do not notice a rotation, but a quantiser does: its bytes follow the spread of each axis.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from backends_remote.distances import EUCLIDEAN, unit_rows
from backends_remote.loss import sample_rows

#: Rows from which the axes are found: 4 per feature, within these bounds. More change the bytes by
#: less than 1 %.
FIT_ROWS = (2_048, 16_384)
#: Features rotated together; an eigendecomposition of 1,024 takes 0.3 s and grows cubically.
#: Wider matrices are rotated in parts, each of this many features at most.
PART = 1_024
#: Largest binary exponents of X, in size, that need no scaling before they are squared in float32.
_PLAIN_EXPONENT = 30


@dataclass(frozen=True)
class Rotation:
    """A shift, a scaling by a power of two and a rotation of rows; none of them is sent.

    Attributes
    ----------
    normalise : bool
        Rows are first brought to length 1, for the cosine metric.
    middle : ndarray of shape (n_features,), float64
        Subtracted; zeros in the cosine metric.
    exponent : int
        Rows are divided by 2 to this power.
    parts : tuple of (int, ndarray)
        First feature, and a rotation of those that follow it, an axis a row, largest spread first.
    """

    normalise: bool
    middle: NDArray[np.float64]
    exponent: int
    parts: tuple[tuple[int, NDArray[np.float32]], ...]

    @property
    def n_axes(self) -> int:
        """Axes in all, as many as there are features."""
        return len(self.middle)

    def prepare(self, rows: NDArray[Any]) -> NDArray[np.float32]:
        """Return rows shifted and scaled, in float32."""
        if self.normalise:
            # unit_rows is as exact in float32, and scaling matters to it only beyond float32.
            if rows.dtype == np.float64:
                rows = np.ldexp(rows, -self.exponent)
            return unit_rows(np.asarray(rows, dtype=np.float32))
        if self.exponent == 0:
            return np.asarray(rows - self.middle.astype(rows.dtype), dtype=np.float32)
        scaled = np.ldexp(rows.astype(np.float64), -self.exponent)
        with np.errstate(over="ignore"):
            points = (scaled - np.ldexp(self.middle, -self.exponent)).astype(np.float32)
        return np.clip(points, -1e30, 1e30, out=points)

    def apply(
        self,
        points: NDArray[np.float32],
        kept: NDArray[np.bool_] | None = None,
        scales: NDArray[np.float32] | None = None,
    ) -> NDArray[np.float32]:
        """Return prepared rows along the axes kept: an axis a row, a point a column.

        ``scales`` are factors of all axes.
        """
        n_kept = self.n_axes if kept is None else int(kept.sum())
        out = np.empty((n_kept, len(points)), dtype=np.float32)
        used = 0
        for first, axes in self.parts:
            here = slice(first, first + len(axes))
            chosen = axes if scales is None else axes * scales[here, None]
            chosen = chosen if kept is None else chosen[kept[here]]
            features = points[:, first : first + len(axes)]
            np.matmul(chosen, features.T, out=out[used : used + len(chosen)])
            used += len(chosen)
        return out


def fit_rotation(X: NDArray[Any], metric: str) -> Rotation:
    """Return the rotation to the principal axes of a sample of the rows of X.

    Parameters
    ----------
    X : ndarray of shape (n_samples, n_features)
    metric : str
        Rows are centred in the Euclidean metric, and brought to length 1 in the cosine metric.
    """
    n_features = X.shape[1]
    count = min(max(4 * n_features, FIT_ROWS[0]), FIT_ROWS[1])
    rows = X[sample_rows(len(X), count, seed=3)]
    middle = np.zeros(n_features)
    if metric in EUCLIDEAN:
        with np.errstate(over="ignore"):
            total = rows.sum(axis=0, dtype=np.float64)
        middle = total / len(rows)
        if not np.isfinite(middle).all():  # values near the end of float64
            middle = (rows / len(rows)).sum(axis=0, dtype=np.float64)
    largest = float(max(np.abs(rows).max(), np.abs(middle).max()))
    spread = float(np.abs(rows / 2 - middle / 2).max()) * 2 if largest < 1e300 else largest
    exponent = int(np.frexp(spread or 1.0)[1])
    within = -_PLAIN_EXPONENT <= exponent <= _PLAIN_EXPONENT
    exponent = 0 if within and largest < 1e30 else exponent
    plain = Rotation(metric not in EUCLIDEAN, middle, exponent, ())
    points = plain.prepare(rows)
    parts = []
    for first in range(0, n_features, PART):
        features = points[:, first : first + PART]
        covariance = (features.T @ features).astype(np.float64)
        # On a busy machine the threads of an eigendecomposition wait for one another: 6 s, not 0.1.
        with threadpool_limits(1):
            axes = np.linalg.eigh(covariance)[1][:, ::-1].T
        parts.append((first, np.ascontiguousarray(axes, dtype=np.float32)))
    return Rotation(plain.normalise, middle, exponent, tuple(parts))
