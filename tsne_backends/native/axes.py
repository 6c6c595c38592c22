"""Principal axes of wide data: distances along the first of them are never longer than the whole.

Near rows are looked for along few axes, which takes a fraction of the multiplications; all features
decide among the candidates.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.features import Rows, by_blocks
from tsne_backends.native.threads import Team

#: Rows the axes are learnt from, per axis.
ROWS_PER_AXIS = 32


def principal_axes(points: Rows, width: int, rng: np.random.RandomState) -> NDArray[np.float32]:
    """Return the first principal axes of a sample of rows.

    Parameters
    ----------
    points : Features or ndarray of shape (n, d), float32
        About their middle.
    width : int
        Axes, fewer than d.
    rng : RandomState
        Draws the sample.

    Returns
    -------
    ndarray of shape (d, width), float32
    """
    from sklearn.utils.extmath import randomized_svd

    sample = points[np.sort(rng.permutation(len(points))[: width * ROWS_PER_AXIS])]
    _, _, axes = randomized_svd(sample, width, n_iter=2, random_state=rng)
    return np.ascontiguousarray(axes.T, dtype=np.float32)


def along(points: Rows, axes: NDArray[np.float32] | None, team: Team) -> Rows:
    """Return the coordinates of rows along axes; the rows themselves without any.

    Parameters
    ----------
    points : Features or ndarray of shape (n, d), float32
    axes : ndarray of shape (d, width), float32, or None
    team : Team

    Returns
    -------
    ndarray of shape (n, width), float32, or the rows themselves
    """
    if axes is None:
        return points
    coordinates = np.empty((len(points), axes.shape[1]), dtype=np.float32)

    def work(some: slice) -> None:
        np.dot(points[some], axes, out=coordinates[some])

    by_blocks(work, len(points), points.shape[1], team)
    return coordinates
