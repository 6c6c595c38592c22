"""The affinities that make the forces, laid out in the order of the points in memory.

A column and an affinity share one word of 32 bits, because an iteration reads all of them: the
column has as many bits as it needs and the affinity the others, in steps of its row's own size.
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
    """The affinities that make the forces, as compressed sparse rows.

    Attributes
    ----------
    starts : ndarray of shape (n + 1,), int64
        Where each row begins, at a multiple of `vectors.PULLS`.
    words : ndarray of shape (nnz,), uint32
        Column times 2 to the power of ``bits``, plus the affinity in steps. What fills a row up is
        0, of its own column.
    steps : ndarray of shape (n,), float32
        The size of a step in each row. All affinities together sum to 1.
    bits : int
        Bits of an affinity.
    """

    starts: NDArray[np.int64]
    words: NDArray[np.uint32]
    steps: NDArray[np.float32]
    bits: int


def lay_out(affinities: Affinities, order: NDArray[np.int64]) -> SparseRows:
    """Lay the affinities above the threshold out as sparse rows in a given order.

    Parameters
    ----------
    affinities : Affinities
    order : ndarray of shape (n,), int64
        Row i of the result is row ``order[i]`` of the affinities.

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
    total = _count(indices, signed, least, threshold, rank, starts, largest)
    np.cumsum(-(-starts // PULLS) * PULLS, out=starts)
    bits = min(MOST_BITS, 32 - max(n - 1, 1).bit_length())
    most = 2**bits - 1
    words = np.repeat(np.arange(n, dtype=np.uint32) << U32(bits), np.diff(starts))
    cursor = starts[:-1].copy()
    per_affinity = np.float32(most) / np.maximum(largest, F(1e-30))
    kept = (indices, signed, least, threshold)
    _fill(*kept, order, rank, per_affinity, U32(most), U32(bits), cursor, words)
    return SparseRows(starts, words, largest / F(most * total), bits)


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
    return SparseRows(starts, words, rows.steps[order], rows.bits)


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
def _kept(p: Any, threshold: Any, here: Any, there: Any) -> Any:
    return p > F0 and (p >= threshold or p >= here or p >= there)


@kernel
def _count(
    indices: Any,
    signed: Any,
    least: Any,
    threshold: Any,
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
            if _kept(p, threshold, least[i], least[j]):
                row = U(rank[i])
                counts[row + U1] += 1
                largest[row] = max(largest[row], p)
                total += p
                if signed[i, c] < F0:
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
    order: Any,
    rank: Any,
    per_affinity: Any,
    most: Any,
    bits: Any,
    cursor: Any,
    words: Any,
) -> None:
    """Write every affinity kept to its row and, where only one row knows of it, to the other's."""
    for row in range(U(len(order))):
        i = U(order[row])
        for c in range(U(indices.shape[1])):
            j = U(indices[i, c])
            p = abs(signed[i, c])
            if _kept(p, threshold, least[i], least[j]):
                other = U(rank[j])
                steps = min(U32(p * per_affinity[row] + F(0.5)), most)
                words[U(cursor[row])] = U32(other) << bits | steps
                cursor[row] += 1
                if signed[i, c] < F0:
                    steps = min(U32(p * per_affinity[other] + F(0.5)), most)
                    words[U(cursor[other])] = U32(row) << bits | steps
                    cursor[other] += 1
