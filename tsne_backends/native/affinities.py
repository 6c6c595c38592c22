"""From distances to neighbours to the sparse, symmetric affinities P.

Memory is what limits the number of rows, so the full symmetric matrix is never built. Each directed
neighbour holds its symmetric affinity, with a minus sign where only one of the two rows counts the
other as a neighbour: from that ``layout`` makes sparse rows of those that make the forces, and of
the others, which only the KL divergence needs.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.graph import position, sort_long_rows
from tsne_backends.native.jit import F0, U0, U1, F, U, kernel
from tsne_backends.native.perplexity import TILE_ROWS, conditional_affinities
from tsne_backends.native.threads import Team

#: Share of the affinities' sum that is left out of the forces, smallest first, and the least share
#: of entries this must save: where affinities are flat, it would save little and cost neighbours.
#: Never more than half of the entries go: on a swiss roll, 5 % are two thirds of the entries, and
#: without them 0.006 fewer of the 15 nearest neighbours are kept.
DROPPED_MASS, MIN_SAVING, MAX_SAVING = 0.05, 0.15, 0.5
#: Fewer rows than this keep all affinities: repulsion is then the dearer part anyway.
FEWEST_DROPPED = 2_000
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
    n = len(indices)
    is_sorted = sort_long_rows(indices, squared)
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
                back = position(indices, j, np.uint32(i), is_sorted)
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
