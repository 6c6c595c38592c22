"""Affinities laid out in the order of the points in memory: those that make the forces, the rest.

A column and an affinity share one word of 32 bits, because an iteration reads all of them: the
column has as many bits as it needs and the affinity the others, in steps of its row's own size.
The rest has a layout of its own, because only reports of the KL divergence read it; they need
every pair once.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.affinities import Affinities
from tsne_backends.native.jit import F0, U1, U32, F, U, kernel, part
from tsne_backends.native.perplexity import TILE_ROWS
from tsne_backends.native.threads import Team
from tsne_backends.native.vectors import PULLS

#: An entry this large beside the largest of its row or column stays, so that no row loses its
#: neighbours.
KEPT_OF_LARGEST = 0.5
#: Most bits of an affinity: single precision holds no more. Of a million rows it has 12: steps of a
#: 4,095th of the row's largest, where errors of the grid's forces are a hundredth.
MOST_BITS = 24


@dataclass(frozen=True)
class SparseRows:
    """Affinities of all pairs, or of some, as compressed sparse rows.

    Attributes
    ----------
    starts : ndarray of shape (n + 1,), int64
        Where each row begins, at a multiple of `vectors.PULLS`.
    words : ndarray of shape (nnz,), uint32
        Column times 2 to the power of ``bits``, plus the affinity in steps. What fills a row up is
        0, of its own column.
    steps : ndarray of shape (n,), float32
        The size of a step in each row. All affinities here sum to 1.
    bits : int
        Bits of an affinity.
    mass : float
        What they summed to among all affinities, in both directions.
    """

    starts: NDArray[np.int64]
    words: NDArray[np.uint32]
    steps: NDArray[np.float32]
    bits: int
    mass: float


def lay_out(
    affinities: Affinities, order: NDArray[np.int64], *, makes_forces: bool = True
) -> SparseRows:
    """Lay affinities out as sparse rows in a given order.

    Parameters
    ----------
    affinities : Affinities
    order : ndarray of shape (n,), int64
        Row i of the result is row ``order[i]`` of the affinities.
    makes_forces : bool, default=True
        Whether those above the threshold are laid out, or the rest: every pair of it in one row.

    Returns
    -------
    SparseRows
    """
    indices, signed = affinities.indices, affinities.signed
    n = len(indices)
    rank = _rank(order)
    least = F(KEPT_OF_LARGEST) * np.maximum(signed.max(axis=1), -signed.min(axis=1))
    starts = np.zeros(n + 1, dtype=np.int64)
    largest = np.zeros(n, dtype=np.float32)
    threshold = F(affinities.threshold)
    chosen = (indices, signed, least, threshold, makes_forces)
    total = _count(*chosen, rank, starts, largest)
    np.cumsum(-(-starts // PULLS) * PULLS, out=starts)
    bits = min(MOST_BITS, 32 - max(n - 1, 1).bit_length())
    most = 2**bits - 1
    words = np.repeat(np.arange(n, dtype=np.uint32) << U32(bits), np.diff(starts))
    cursor = starts[:-1].copy()
    per_affinity = np.float32(most) / np.maximum(largest, F(1e-30))
    _fill(*chosen, order, rank, per_affinity, U32(most), U32(bits), cursor, words)
    largest /= F(most * max(total, 1e-30))
    return SparseRows(starts, words, largest, bits, total if makes_forces else 2 * total)


def in_order(rows: SparseRows, order: NDArray[np.int64], team: Team) -> SparseRows:
    """Lay sparse rows out anew.

    Parameters
    ----------
    rows : SparseRows
    order : ndarray of shape (n,), int64
        Row i of the result is row ``order[i]`` as they are now.
    team : Team

    Returns
    -------
    SparseRows
    """
    starts = np.zeros_like(rows.starts)
    np.cumsum(np.diff(rows.starts)[order], out=starts[1:])
    words = np.empty_like(rows.words)
    given = (rows.starts, rows.words, U32(rows.bits), order, _rank(order))
    team.run(_in_order, -(-len(order) // TILE_ROWS), *given, starts, words)
    return SparseRows(starts, words, rows.steps[order], rows.bits, rows.mass)


def _rank(order: NDArray[np.int64]) -> NDArray[np.uint32]:
    rank = np.empty(len(order), dtype=np.uint32)
    rank[order] = np.arange(len(order), dtype=np.uint32)
    return rank


@kernel
def _in_order(
    first: int,
    stop: int,
    old_starts: Any,
    old_words: Any,
    bits: Any,
    order: Any,
    rank: Any,
    starts: Any,
    words: Any,
) -> None:
    share = (U32(1) << bits) - U32(1)
    for row in range(U(first) * U(TILE_ROWS), min(U(stop) * U(TILE_ROWS), U(len(order)))):
        at = U(old_starts[U(order[row])])
        for to in range(U(starts[row]), U(starts[row + U1])):
            word = old_words[at]
            words[to] = rank[U(word >> bits)] << bits | (word & share)
            at += U1


@part
def _is_chosen(p: Any, threshold: Any, here: Any, there: Any, makes_forces: Any) -> Any:
    return p > F0 and (p >= threshold or p >= here or p >= there) == makes_forces


@kernel
def _count(
    indices: Any,
    signed: Any,
    least: Any,
    threshold: Any,
    makes_forces: bool,
    rank: Any,
    counts: Any,
    largest: Any,
) -> float:
    """Count the entries of every row, one place on, and find its largest; return their sum."""
    total = 0.0
    for i in range(U(len(indices))):
        for c in range(U(indices.shape[1])):
            j = U(indices[i, c])
            p = abs(signed[i, c])
            if _is_chosen(p, threshold, least[i], least[j], makes_forces):
                if makes_forces or signed[i, c] < F0 or i < j:
                    row = U(rank[i])
                    counts[row + U1] += 1
                    largest[row] = max(largest[row], p)
                    total += p
                if makes_forces and signed[i, c] < F0:
                    row = U(rank[j])
                    counts[row + U1] += 1
                    largest[row] = max(largest[row], p)
                    total += p
    return total


@kernel
def _fill(
    indices: Any,
    signed: Any,
    least: Any,
    threshold: Any,
    makes_forces: bool,
    order: Any,
    rank: Any,
    per_affinity: Any,
    most: Any,
    bits: Any,
    cursor: Any,
    words: Any,
) -> None:
    """Write affinities to their rows and, where only one knows of a pair, to the other's."""
    for row in range(U(len(order))):
        i = U(order[row])
        for c in range(U(indices.shape[1])):
            j = U(indices[i, c])
            p = abs(signed[i, c])
            if _is_chosen(p, threshold, least[i], least[j], makes_forces):
                other = U(rank[j])
                if makes_forces or signed[i, c] < F0 or i < j:
                    steps = min(U32(p * per_affinity[row] + F(0.5)), most)
                    words[U(cursor[row])] = U32(other) << bits | steps
                    cursor[row] += 1
                if makes_forces and signed[i, c] < F0:
                    steps = min(U32(p * per_affinity[other] + F(0.5)), most)
                    words[U(cursor[other])] = U32(row) << bits | steps
                    cursor[other] += 1
