"""Nearest neighbours in Euclidean space: inverted lists searched by blocks of matrix products.

A list's rows are searched together: product of the list with each of the lists nearest to it, in
that order, until enough rows were seen. Lists that cannot improve any row are skipped, by the
triangle inequality. Searching *every* list is exact, and since near lists come first, thresholds
are tight early and most pairs cost one comparison.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, F1, U0, U1, F, U, finite_kernel
from tsne_backends.native.lists import FAR, Lists, augmented, make_lists, queries_of
from tsne_backends.native.threads import Team

#: Exact search takes at most this many multiplications and comparisons; beyond, lists are left out.
#: Where that loses too many neighbours, all lists are searched up to the second number; beyond it a
#: search by a graph is quicker (200,000 rows of noise in 20 dimensions).
EXACT_WORK, LAST_WORK = 6e10, 3e12
#: Fewer rows than this are always searched exactly.
SMALLEST_LISTED = 4096
#: What comparing one pair costs, in multiplications.
PAIR_WORK = 40
#: Rows seen per row, in neighbours wanted, at the first attempt; each further one sees twice that.
FIRST_SEEN = 24
#: Rows on which the recall is measured, the share of true neighbours that must be found, and from
#: how many lists the rows are taken.
RECALL_SAMPLE, MIN_RECALL, TRIAL_LISTS = 512, 0.97, 24
#: Rounding error of the products, relative to the squared size of the data, that is allowed in the
#: squared distance of the k-th neighbour: beyond it, single precision cannot order neighbours.
MAX_ERROR = 0.02
#: Candidates kept beyond those wanted, because products of single precision misplace near ties.
SLACK = 4


@dataclass(frozen=True)
class Neighbors:
    """The k nearest neighbours of every row, the row itself left out.

    Attributes
    ----------
    indices : ndarray of shape (n, k), uint32
        Neighbours, in no order; numbers are *places*, see ``places``.
    squared : ndarray of shape (n, k), float32
        Their squared distances, up to one common factor.
    places : ndarray of shape (n,), uint32
        ``places[i]`` is the row of X that row i of the other arrays speaks of: rows near to one
        another in space are near in memory.
    words : str
        How they were found.
    """

    indices: NDArray[np.uint32]
    squared: NDArray[np.float32]
    places: NDArray[np.uint32]
    words: str


def find_neighbors(
    X: NDArray[Any], k: int, team: Team, seed: int = 0, exact: bool | None = None
) -> Neighbors | None:
    """Find the k nearest neighbours of every row of X.

    Parameters
    ----------
    X : ndarray of shape (n, d), float32 or float64
        Finite data.
    k : int
        Neighbours per row, less than n.
    team : Team
    seed : int, default=0
        Of the sample that centroids are learnt from and recall is measured on.
    exact : bool or None, default=None
        Whether to search every list; None does so where it is affordable.

    Returns
    -------
    Neighbors or None
        None where single precision cannot tell the neighbours apart, or where lists cannot find
        them with less work than searching everything, and that is not wanted or takes too long:
        another search is then the better one.
    """
    n = len(X)
    points, size = _scaled(X)
    rng = np.random.RandomState(seed)
    lists = make_lists(points, team, rng)
    points = points[lists.places]  # a copy; the first is let go
    rows = np.arange(len(lists.starts) - 1)
    work = float(n) ** 2 * (points.shape[1] + PAIR_WORK)
    seen, words = n, "inverted lists (exact)"
    if not (work <= EXACT_WORK if exact is None else exact) and n >= SMALLEST_LISTED:
        # How much must be seen is learnt on a few lists, so that nothing is searched twice.
        trial = np.sort(rng.permutation(rows)[:TRIAL_LISTS])
        members = np.concatenate([np.arange(*lists.starts[one : one + 2]) for one in trial])
        sample = np.sort(rng.permutation(members)[:RECALL_SAMPLE])
        kth = _kth_distances(points, sample, k, team)
        for attempt in _attempts(n, k):
            _, squared = _search(points, lists, trial, k, attempt, team)
            recall = float((squared[sample] <= kth[:, None]).mean())
            if recall >= MIN_RECALL:
                seen, words = attempt, f"inverted lists (sampled recall {recall:.3f})"
                break
        else:
            if exact is False or work > LAST_WORK:
                return None
    indices, squared = _search(points, lists, rows, k, seen, team)
    if not _precise_enough(squared, size):
        return None
    return Neighbors(indices, squared, lists.places, words)


def _attempts(n: int, k: int) -> list[int]:
    """Return how many rows each attempt looks at; a quarter of all at most."""
    attempts, seen = [], max(FIRST_SEEN * k, 512)
    while seen <= n // 4:
        attempts.append(seen)
        seen *= 2
    return attempts


def _scaled(X: NDArray[Any]) -> tuple[NDArray[np.float32], float]:
    """Return X about its mean with its largest entry at 1, and the largest squared row."""
    middle = X.mean(axis=0, dtype=np.float64)
    points = X - middle.astype(
        X.dtype
    )  # in single precision if X is: its resolution is lost anyway
    largest = float(max(points.max(), -points.min()))
    if largest > 0:
        points /= points.dtype.type(largest)
    points = np.ascontiguousarray(points, dtype=np.float32)
    return points, float(np.einsum("ij,ij->i", points, points).max())


def _precise_enough(squared: NDArray[np.float32], size: float) -> bool:
    """Say whether rounding is small beside the distances to tell apart."""
    error = 2.0**-23 * size
    kth = squared.max(axis=1)
    apart = kth[kth > 0]  # duplicates are as near as can be, however the others are rounded
    return len(apart) == 0 or error <= MAX_ERROR * float(np.quantile(apart, 0.05))


def _search(
    points: NDArray[np.float32],
    lists: Lists,
    which: NDArray[np.int64],
    k: int,
    seen: int,
    team: Team,
) -> tuple[NDArray[np.uint32], NDArray[np.float32]]:
    """Search for the rows of some lists, through the lists near to each until ``seen`` rows."""
    n = len(points)
    wanted = min(n, k + 1 + SLACK)  # the row itself is among them
    indices = np.empty((n, k), dtype=np.uint32)
    squared = np.empty((n, k), dtype=np.float32)
    columns = augmented(points)
    transposed = np.ascontiguousarray(augmented(lists.centroids).T)
    sizes = np.diff(lists.starts)
    longest = int(sizes.max())

    def work(first: int, stop: int) -> None:
        held = np.empty((longest, 2 * wanted + 64), dtype=np.float32)
        names = np.empty(held.shape, dtype=np.uint32)
        fill = np.empty(longest, dtype=np.uint32)
        limit = np.empty(longest, dtype=np.float32)
        products = np.empty(longest * longest, dtype=np.float32)
        for one in which[first:stop]:
            start, end = lists.starts[one], lists.starts[one + 1]
            m = int(end - start)
            if m == 0:
                continue
            fill[:m], limit[:m] = 0, FAR
            queries = queries_of(points[start:end])
            centre = lists.centroids[one]
            apart = np.sqrt(
                np.maximum(queries_of(centre[None]) @ transposed + float(centre @ centre), 0)
            )[0]
            nearest = np.argsort(apart, kind="stable")
            enough = int(np.searchsorted(np.cumsum(sizes[nearest]), seen)) + 1
            reach = F(np.inf)
            for at, other in enumerate(nearest[:enough]):
                a, b = lists.starts[other], lists.starts[other + 1]
                if a == b or apart[other] - lists.radii[one] - lists.radii[other] > reach:
                    continue
                out = products[: m * (b - a)].reshape(m, b - a)
                np.dot(queries, columns[a:b].T, out=out)
                _absorb(out, a, held, names, fill, limit, wanted)
                if at % 8 == 7:
                    reach = _reach(points[start:end], limit)
            _finish(points, start, m, held, names, fill, wanted, indices, squared)

    team.run(work, len(which))
    return indices, squared


@finite_kernel
def _absorb(
    products: Any, offset: int, held: Any, names: Any, fill: Any, limit: Any, wanted: int
) -> None:
    """Add to each row's candidates what is nearer than its limit; shrink where they overflow."""
    n, capacity = U(products.shape[1]), U(held.shape[1])
    for i in range(U(len(products))):
        bar, count = limit[i], U(fill[i])
        for block in range(U0, n, U(32)):
            end = min(block + U(32), n)
            low = FAR
            for j in range(block, end):
                low = min(low, products[i, j])
            if low >= bar:
                continue
            if count + U(32) > capacity:
                _select(held[i], names[i], count, U(wanted))
                count = U(wanted)
                bar = F0
                bar = held[i, U0]
                for j in range(U1, count):
                    bar = max(bar, held[i, j])
            for j in range(block, end):
                if products[i, j] < bar:
                    held[i, count] = products[i, j]
                    names[i, count] = U(offset) + j
                    count += U1
        if bar == FAR and count >= U(2 * wanted):
            _select(held[i], names[i], count, U(wanted))
            count = U(wanted)
            bar = held[i, U0]
            for j in range(U1, count):
                bar = max(bar, held[i, j])
        limit[i], fill[i] = bar, count


@finite_kernel
def _select(values: Any, names: Any, count: Any, wanted: Any) -> None:
    """Move the ``wanted`` smallest of ``count`` values to the front (Hoare's quickselect)."""
    low, high = U0, count - U1
    while low < high:
        # Median of three as the pivot: runs of equal or ordered values are common here.
        a, b, c = values[low], values[(low + high) // U(2)], values[high]
        pivot = max(min(a, b), min(max(a, b), c))
        i, j = low, high
        while i <= j:
            while values[i] < pivot:
                i += U1
            while values[j] > pivot:
                j -= U1
            if i <= j:
                values[i], values[j] = values[j], values[i]
                names[i], names[j] = names[j], names[i]
                i += U1
                if j == U0:
                    break
                j -= U1
        if wanted <= j + U1 and j < high:
            high = j
        elif wanted > i:
            low = i
        else:
            return


@finite_kernel
def _reach(rows: Any, limit: Any) -> Any:
    """Return the largest distance within which a row of the list may still find a neighbour."""
    most = F0
    for i in range(U(len(rows))):
        if limit[i] == FAR:
            return FAR
        norm = F0
        for j in range(U(rows.shape[1])):
            norm += rows[i, j] * rows[i, j]
        most = max(most, norm + limit[i])
    return F(math.sqrt(most)) * F(1.0001)


@finite_kernel
def _finish(
    points: Any,
    start: int,
    m: int,
    held: Any,
    names: Any,
    fill: Any,
    wanted: int,
    indices: Any,
    squared: Any,
) -> None:
    """Reduce candidates to the k nearest by distances computed anew, without cancellation."""
    k = U(indices.shape[1])
    for q in range(U(m)):
        i = U(start) + q
        count = U(fill[q])
        if count > U(wanted):
            _select(held[q], names[q], count, U(wanted))
            count = U(wanted)
        others = U0
        for c in range(count):
            j = U(names[q, c])
            if j == i:
                continue
            total = F0
            for axis in range(U(points.shape[1])):
                step = points[i, axis] - points[j, axis]
                total += step * step
            held[q, others] = total
            names[q, others] = j
            others += U1
        if others > k:
            _select(held[q], names[q], others, k)
        for c in range(k):
            indices[i, c] = names[q, c]
            squared[i, c] = held[q, c]


def _kth_distances(
    points: NDArray[np.float32], sample: NDArray[np.int64], k: int, team: Team
) -> NDArray[np.float32]:
    """Return the squared distance of each sampled row's k-th true neighbour, and a rounding more.

    What is as near as that counts as found: which of several equally near rows was taken does not
    matter.
    """
    kth = np.empty(len(sample), dtype=np.float32)

    def work(first: int, stop: int) -> None:
        exact = np.empty(len(points), dtype=np.float32)
        for at in range(first, stop):
            _distances(points, int(sample[at]), exact)
            kth[at] = np.partition(exact, k)[k]  # the row itself is the nearest

    team.run(work, len(sample))
    return kth * F(1 + 1e-5)


@finite_kernel
def _distances(points: Any, row: int, out: Any) -> None:
    i = U(row)
    for j in range(U(len(points))):
        total = F0
        for axis in range(U(points.shape[1])):
            step = points[i, axis] - points[j, axis]
            total += step * step
        out[j] = total * F1
