"""From distances to neighbours to the sparse, symmetric affinities P.

Memory is what limits the number of rows, so the full symmetric matrix is never built. Each directed
neighbour holds its symmetric affinity, with a minus sign where only one of the two rows counts the
other as a neighbour: that is enough for the KL divergence of *all* affinities, and the sparse
matrix for the forces, without the smallest affinities, can be laid out anew in any order.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, U0, U1, F, U, kernel
from tsne_backends.native.perplexity import TILE_ROWS, conditional_affinities
from tsne_backends.native.threads import Team
from tsne_backends.native.vectors import PULLS

#: Rows with more neighbours than this are sorted by name, so that one is found by bisection;
#: shorter ones are scanned, which takes a few vector comparisons.
LONG_ROW = 256
#: Share of the affinities' sum that is left out of the forces, smallest first, and the least share
#: of entries this must save: where affinities are flat, it would save little and cost neighbours.
#: Never more than half of the entries go: on a swiss roll, 5 % are two thirds of the entries, and
#: without them 0.006 fewer of the 15 nearest neighbours are kept.
DROPPED_MASS, MIN_SAVING, MAX_SAVING = 0.05, 0.15, 0.5
#: Fewer rows than this keep all affinities: repulsion is then the dearer part anyway.
FEWEST_DROPPED = 2_000
#: An entry this large beside the largest of its row or column stays, so that no row loses its
#: neighbours.
KEPT_OF_LARGEST = 0.5
#: Bins of the histogram in which the threshold is found, from `LOWEST` to 1 in logarithmic steps.
BINS, LOWEST = 8192, 1e-14


@dataclass(frozen=True)
class Affinities:
    """The affinities of all neighbours, in the order of the neighbour search.

    Attributes
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours.
    signed : ndarray of shape (n, k), float32
        The symmetric affinity of row and neighbour (all together sum to 1); negative where the
        neighbour does not have the row among its own.
    entropy_term : float
        Σ p log p over all ordered pairs.
    threshold : float
        Affinities below it are left out of the forces.
    """

    indices: NDArray[np.uint32]
    signed: NDArray[np.float32]
    entropy_term: float
    threshold: float


def make_affinities(
    indices: NDArray[np.uint32],
    squared: NDArray[np.float32],
    perplexity: float,
    team: Team,
    dropped_mass: float = DROPPED_MASS,
) -> Affinities:
    """Compute the symmetric affinities of a neighbours graph.

    Parameters
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours of every row. Long rows are sorted in place.
    squared : ndarray of shape (n, k), float32
        Their squared distances in any unit. Overwritten, to save memory.
    perplexity : float
        Effective number of neighbours; a row that has fewer weights all equally.
    team : Team
    dropped_mass : float, default=0.05
        Share of the affinities to leave out of the forces.

    Returns
    -------
    Affinities
    """
    n, k = indices.shape
    is_sorted = k > LONG_ROW
    if is_sorted:
        _sort_rows(indices, squared)
    conditional = conditional_affinities(squared, perplexity, team)
    n_tiles = -(-n // TILE_ROWS)
    mass = np.zeros(BINS, dtype=np.float64)
    number = np.zeros(BINS, dtype=np.int64)
    terms = np.zeros(n_tiles, dtype=np.float64)
    team.run(_symmetrise, n_tiles, indices, conditional, is_sorted, squared, terms)
    signed = squared
    if n < FEWEST_DROPPED:
        dropped_mass = 0.0
    _histogram(signed, mass, number)
    return Affinities(indices, signed, float(terms.sum()), _threshold(mass, number, dropped_mass))


def _sort_rows(indices: NDArray[np.uint32], squared: NDArray[np.float32]) -> None:
    """Sort every row by neighbour, some rows at a time to save memory."""
    for start in range(0, len(indices), TILE_ROWS):
        rows = slice(start, start + TILE_ROWS)
        order = np.argsort(indices[rows], axis=1)
        indices[rows] = np.take_along_axis(indices[rows], order, axis=1)
        squared[rows] = np.take_along_axis(squared[rows], order, axis=1)


def _threshold(mass: NDArray[np.float64], number: NDArray[np.int64], dropped: float) -> float:
    """Return the affinity below which all together weigh ``dropped``, or 0 if that saves little."""
    by_mass = np.searchsorted(np.cumsum(mass), dropped * mass.sum())
    by_number = np.searchsorted(np.cumsum(number), MAX_SAVING * number.sum())
    bins = int(min(by_mass, by_number))
    if number[:bins].sum() < MIN_SAVING * number.sum():
        return 0.0
    return float(LOWEST * math.exp(bins * -math.log(LOWEST) / BINS))


@kernel
def _symmetrise(
    first: int,
    stop: int,
    indices: Any,
    conditional: Any,
    is_sorted: bool,
    signed: Any,
    terms: Any,
) -> None:
    """Write (p_j|i + p_i|j) / 2n for every neighbour, and each tile's Σ p log p."""
    n, k = U(indices.shape[0]), U(indices.shape[1])
    share = F(0.5 / float(len(indices)))
    for tile in range(U(first), U(stop)):
        term = 0.0
        for i in range(tile * U(TILE_ROWS), min((tile + U1) * U(TILE_ROWS), n)):
            for c in range(k):
                j = U(indices[i, c])
                name = np.uint32(i)
                back: Any = k
                if is_sorted:
                    low, high = U0, k
                    while low < high:
                        middle = (low + high) // U(2)
                        if indices[j, middle] < name:
                            low = middle + U1
                        else:
                            high = middle
                    if low < k and indices[j, low] == name:
                        back = low
                else:
                    for e in range(k):
                        if indices[j, e] == name:
                            back = e
                p = conditional[i, c] * share
                if back < k:
                    p += conditional[j, back] * share
                    signed[i, c] = p
                    if p > F0:
                        term += p * math.log(p)
                else:
                    signed[i, c] = -p
                    if p > F0:
                        term += F(2) * p * math.log(p)
        terms[tile] = term


@kernel
def _histogram(signed: Any, mass: Any, number: Any) -> None:
    """Sum affinities, and count them, by their logarithm."""
    per_bin = F(BINS / -math.log(LOWEST))
    offset = F(math.log(LOWEST))
    for i in range(U(signed.shape[0])):
        for c in range(U(signed.shape[1])):
            p = abs(signed[i, c])
            times = 1 if signed[i, c] > F0 else 2
            at: Any = U0  # entries of no weight
            if p > F(LOWEST):
                at = min(U((math.log(p) - offset) * per_bin), U(BINS - 1))
            mass[at] += times * p
            number[at] += times


@dataclass(frozen=True)
class SparseRows:
    """The affinities that make the forces, as compressed sparse rows.

    Attributes
    ----------
    starts : ndarray of shape (n + 1,), int64
        Where each row begins, at a multiple of `vectors.PULLS`.
    columns : ndarray of shape (nnz,), uint32
    values : ndarray of shape (nnz,), float32
        They sum to 1; those that fill a row up are 0, of its own column.
    """

    starts: NDArray[np.int64]
    columns: NDArray[np.uint32]
    values: NDArray[np.float32]


def lay_out(affinities: Affinities, order: NDArray[np.int64], team: Team) -> SparseRows:
    """Lay the affinities above the threshold out as sparse rows in a given order.

    Parameters
    ----------
    affinities : Affinities
    order : ndarray of shape (n,), int64
        Row i of the result is row ``order[i]`` of the affinities.
    team : Team

    Returns
    -------
    SparseRows
    """
    indices, signed = affinities.indices, affinities.signed
    n = len(indices)
    rank = np.empty(n, dtype=np.uint32)
    rank[order] = np.arange(n, dtype=np.uint32)
    largest = np.zeros(n, dtype=np.float32)
    n_tiles = -(-n // TILE_ROWS)
    team.run(_largest, n_tiles, signed, largest)
    starts = np.zeros(n + 1, dtype=np.int64)
    threshold = F(affinities.threshold)
    total = _count(indices, signed, largest, threshold, rank, starts)
    np.cumsum(-(-starts // PULLS) * PULLS, out=starts)
    columns = np.empty(starts[-1], dtype=np.uint32)
    values = np.zeros(starts[-1], dtype=np.float32)
    cursor = starts[:-1].copy()
    scale = F(1 / total)
    _fill(indices, signed, largest, threshold, scale, order, rank, cursor, columns, values)
    _fill_up(starts, cursor, columns)
    return SparseRows(starts, columns, values)


@kernel
def _largest(first: int, stop: int, signed: Any, largest: Any) -> None:
    n = U(len(signed))
    for i in range(U(first) * U(TILE_ROWS), min(U(stop) * U(TILE_ROWS), n)):
        most = F0
        for c in range(U(signed.shape[1])):
            most = max(most, abs(signed[i, c]))
        largest[i] = most * F(KEPT_OF_LARGEST)


@kernel
def _kept(p: Any, threshold: Any, here: Any, there: Any) -> Any:
    return p > F0 and (p >= threshold or p >= here or p >= there)


@kernel
def _count(
    indices: Any, signed: Any, largest: Any, threshold: Any, rank: Any, counts: Any
) -> float:
    """Count the entries of every row, one place on; return the sum of all affinities kept."""
    total = 0.0
    for i in range(U(len(indices))):
        for c in range(U(indices.shape[1])):
            j = U(indices[i, c])
            p = abs(signed[i, c])
            if _kept(p, threshold, largest[i], largest[j]):
                counts[U(rank[i]) + U1] += 1
                total += p
                if signed[i, c] < F0:
                    counts[U(rank[j]) + U1] += 1
                    total += p
    return total


@kernel
def _fill(
    indices: Any,
    signed: Any,
    largest: Any,
    threshold: Any,
    scale: Any,
    order: Any,
    rank: Any,
    cursor: Any,
    columns: Any,
    values: Any,
) -> None:
    """Write every affinity kept to its row and, where only one row knows of it, to the other's."""
    for row in range(U(len(order))):
        i = U(order[row])
        for c in range(U(indices.shape[1])):
            j = U(indices[i, c])
            p = abs(signed[i, c])
            if _kept(p, threshold, largest[i], largest[j]):
                at = U(cursor[row])
                columns[at] = rank[j]
                values[at] = p * scale
                cursor[row] += 1
                if signed[i, c] < F0:
                    other = U(rank[j])
                    at = U(cursor[other])
                    columns[at] = row
                    values[at] = p * scale
                    cursor[other] += 1


@kernel
def _fill_up(starts: Any, cursor: Any, columns: Any) -> None:
    for row in range(U(len(cursor))):
        for at in range(U(cursor[row]), U(starts[row + U1])):
            columns[at] = row
