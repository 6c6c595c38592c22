"""Rows grouped around centroids, so that near rows can be searched, and lie in memory, together.

Making the groups is all that happens here; which of them are looked at is decided in ``search``,
and looking at them is in ``scan``.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, U0, F, U, finite_kernel
from tsne_backends.native.order import hilbert_order
from tsne_backends.native.threads import Team

#: Rows per list aimed at, and lists at most: this × √n, or making lists costs more than it saves.
LIST_ROWS, MAX_LISTS_ROOT = 100, 4
#: Rounds of k-means, and rows per centroid it learns from.
ROUNDS, TRAINING_ROWS = 4, 40

#: Farther than any row.
FAR = F(3.0e38)


@dataclass(frozen=True)
class Lists:
    """Rows grouped by centroid.

    Attributes
    ----------
    places : ndarray of shape (n,), uint32
        Rows of X, list by list.
    starts : ndarray of shape (n_lists + 1,), int64
        Where each list begins in ``places``.
    centroids : ndarray of shape (n_lists, d), float32
    radii : ndarray of shape (n_lists,), float32
        Distance from each centroid to the farthest row of its list.
    """

    places: NDArray[np.uint32]
    starts: NDArray[np.int64]
    centroids: NDArray[np.float32]
    radii: NDArray[np.float32]


def make_lists(points: NDArray[np.float32], team: Team, rng: np.random.RandomState) -> Lists:
    """Group rows by k-means, learnt from a sample; near lists get near numbers.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
    team : Team
    rng : RandomState
        Draws the sample.

    Returns
    -------
    Lists
    """
    n, d = points.shape
    n_lists = max(1, min(n // LIST_ROWS, int(MAX_LISTS_ROOT * math.sqrt(n))))
    training = points[np.sort(rng.permutation(n)[: n_lists * TRAINING_ROWS])]
    centroids = training[np.sort(rng.permutation(len(training))[:n_lists])]
    for _ in range(ROUNDS):
        owner, _ = _assign(training, centroids, team)
        sums = np.zeros((n_lists, d), dtype=np.float64)
        members = np.zeros(n_lists, dtype=np.int64)
        _accumulate(training, owner, sums, members)
        filled = members > 0
        centroids[filled] = (sums[filled] / members[filled, None]).astype(np.float32)
    centroids = centroids[hilbert_order(_two_axes(centroids))]
    return group(points, centroids, team)


def group(points: NDArray[np.float32], centroids: NDArray[np.float32], team: Team) -> Lists:
    """Group rows by the nearest of given centroids.

    Parameters
    ----------
    points : ndarray of shape (n, d), float32
    centroids : ndarray of shape (n_lists, d), float32
    team : Team

    Returns
    -------
    Lists
    """
    n_lists = len(centroids)
    owner, squared = _assign(points, centroids, team)
    places = np.argsort(owner, kind="stable").astype(np.uint32)
    sizes = np.bincount(owner, minlength=n_lists)
    starts = np.concatenate([[0], np.cumsum(sizes)])
    radii = np.zeros(n_lists, dtype=np.float32)
    np.maximum.at(radii, owner, np.sqrt(np.maximum(squared, 0)))
    return Lists(places, starts, centroids, radii)


def _two_axes(centroids: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return the two principal coordinates of the centroids."""
    centred = centroids - centroids.mean(axis=0)
    n_lists, d = centred.shape
    if n_lists < d:  # d × d values of wide data would not fit, and take d³ operations
        values, vectors = np.linalg.eigh((centred @ centred.T).astype(np.float64))
        coordinates = vectors * np.sqrt(np.maximum(values, 0))
    else:
        _, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
        coordinates = centred @ vectors[:, -2:].astype(np.float32)
    leading = coordinates[:, ::-1][:, :2]
    flat = np.zeros((n_lists, 2), dtype=np.float32)
    flat[:, : leading.shape[1]] = leading
    return flat


def augmented(
    narrow: NDArray[np.float32], whole: NDArray[np.float32] | None = None
) -> NDArray[np.float32]:
    """Return [x, |x|²] so that one product with [-2q, 1] gives |x|² - 2qx.

    The squares are those of the whole rows where x is but a part of them: what is left out of two
    rows is as good as at right angles, so that its squares add to their distance.
    """
    of = narrow if whole is None else whole
    norms = np.einsum("ij,ij->i", of, of)
    return np.ascontiguousarray(np.column_stack([narrow, norms]), dtype=np.float32)


def _assign(
    points: NDArray[np.float32], centroids: NDArray[np.float32], team: Team
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest centroid of every row, and the squared distance to it."""
    n, block = len(points), 512
    owner = np.empty(n, dtype=np.int64)
    squared = np.empty(n, dtype=np.float32)
    transposed = np.ascontiguousarray(augmented(centroids).T)

    def work(first: int, stop: int) -> None:
        products = np.empty((block, len(centroids)), dtype=np.float32)
        for tile in range(first, stop):
            rows = slice(tile * block, min((tile + 1) * block, n))
            queries = queries_of(points[rows])
            out = products[: len(queries)]
            np.dot(queries, transposed, out=out)
            _nearest(out, points[rows], owner[rows], squared[rows])

    team.run(work, -(-n // block))
    return owner, squared


def queries_of(rows: NDArray[np.float32]) -> NDArray[np.float32]:
    """Return [-2x, 1] of every row x; see `augmented`."""
    queries = np.empty((len(rows), rows.shape[1] + 1), dtype=np.float32)
    np.multiply(rows, F(-2), out=queries[:, :-1])
    queries[:, -1] = 1
    return queries


@finite_kernel
def _nearest(products: Any, rows: Any, owner: Any, squared: Any) -> None:
    for i in range(U(len(products))):
        best: Any = FAR
        where: Any = U0
        for j in range(U(products.shape[1])):
            if products[i, j] < best:
                best, where = products[i, j], j
        norm = F0
        for j in range(U(rows.shape[1])):
            norm += rows[i, j] * rows[i, j]
        owner[i] = where
        squared[i] = best + norm


@finite_kernel
def _accumulate(rows: Any, owner: Any, sums: Any, members: Any) -> None:
    for i in range(U(len(rows))):
        members[U(owner[i])] += 1
        for j in range(U(rows.shape[1])):
            sums[U(owner[i]), j] += rows[i, j]
