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

from tsne_backends.native.features import Rows
from tsne_backends.native.jit import U32, U, finite_kernel
from tsne_backends.native.order import hilbert_order
from tsne_backends.native.products import (
    FAR,
    PANEL,
    TILE,
    compare,
    lowest_bit,
    panels_of,
    points_at_once,
    room_for_products,
    tiles_of,
)
from tsne_backends.native.threads import Team

#: Rows per list aimed at, and lists at most: this × √n, or making lists costs more than it saves.
LIST_ROWS, MAX_LISTS_ROOT = 100, 4
#: Rounds of k-means, and rows per centroid it learns from.
ROUNDS, TRAINING_ROWS = 4, 40
#: Rows whose centroids are looked for at once.
ASSIGNED_ROWS = 85 * TILE


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


def make_lists(points: Rows, team: Team, rng: np.random.RandomState) -> Lists:
    """Group rows by k-means, learnt from a sample; near lists get near numbers.

    Parameters
    ----------
    points : Features or ndarray of shape (n, d), float32
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


def group(points: Rows, centroids: NDArray[np.float32], team: Team) -> Lists:
    """Group rows by the nearest of given centroids.

    Parameters
    ----------
    points : Features or ndarray of shape (n, d), float32
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


def _assign(
    points: Rows, centroids: NDArray[np.float32], team: Team
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    """Return the nearest centroid of every row, and the squared distance to it."""
    n = len(points)
    owner = np.empty(n, dtype=np.int64)
    squared = np.empty(n, dtype=np.float32)
    panels = panels_of(centroids, centroids, team)
    at_once = points_at_once(centroids.shape[1]) // PANEL

    def work(first: int, stop: int) -> None:
        scratch = room_for_products()
        for block in range(first, stop):
            rows = slice(block * ASSIGNED_ROWS, min((block + 1) * ASSIGNED_ROWS, n))
            some = points[rows]
            tiles = tiles_of(some)
            best = np.full(len(tiles) * TILE, FAR, dtype=np.float32)
            where = np.zeros(len(best), dtype=np.int64)
            for at in range(0, len(panels), at_once):
                _nearest(tiles, panels[at : at + at_once], at * PANEL, *scratch, where, best)
            owner[rows] = where[: len(some)]
            squared[rows] = best[: len(some)] + np.einsum("ij,ij->i", some, some)

    team.run(work, -(-n // ASSIGNED_ROWS))
    return owner, squared


@finite_kernel
def _nearest(
    tiles: Any, panels: Any, number: int, products: Any, nearer: Any, where: Any, best: Any
) -> None:
    """Find which of some panels' points, the first of which has a number, are nearest so far."""
    for tile in range(U(len(tiles))):
        for panel in range(U(len(panels))):
            if compare(tiles, tile, panels, panel, best, products, nearer) == 0:
                continue
            for r in range(U(TILE)):
                row, bits = tile * U(TILE) + r, U32(nearer[r])
                while bits != U32(0):
                    hit = U(lowest_bit(bits))
                    bits &= bits - U32(1)
                    if products[r, hit] < best[row]:
                        best[row] = products[r, hit]
                        where[row] = U(number) + panel * U(PANEL) + hit


@finite_kernel
def _accumulate(rows: Any, owner: Any, sums: Any, members: Any) -> None:
    for i in range(U(len(rows))):
        members[U(owner[i])] += 1
        for j in range(U(rows.shape[1])):
            sums[U(owner[i]), j] += rows[i, j]
