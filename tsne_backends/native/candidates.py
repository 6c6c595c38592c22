"""What each row has found so far: candidates, and the limit beyond which no more are taken.

Candidates come from products of single precision and are told apart by distances computed anew,
when all are there. Which rows are compared is in ``scan``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, F1, U0, U1, U32, F, U, finite_kernel
from tsne_backends.native.lists import FAR
from tsne_backends.native.vectors import COMPARED, below, lowest_bit

#: How many candidates more than those wanted may be left when their number is cut, and how often a
#: bar between them is guessed.
SPARE, GUESSES = 16, 12


def nothing_held(n_rows: int, wanted: int) -> tuple[NDArray[Any], ...]:
    """Return room for candidates, for their numbers, how many there are, and limits to them.

    There is room for those left when their number is cut, and for as many as are compared at once.
    """
    assert SPARE <= COMPARED
    held = np.empty((n_rows, 2 * wanted + 2 * COMPARED), dtype=np.float32)
    names = np.empty(held.shape, dtype=np.uint32)
    return held, names, np.zeros(n_rows, np.uint32), np.full(n_rows, FAR, np.float32)


@finite_kernel
def absorb(
    products: Any, offset: int, held: Any, names: Any, fill: Any, limit: Any, wanted: int
) -> None:
    """Add to each row's candidates what is nearer than its limit; shrink where they overflow."""
    n, capacity = U(products.shape[1]), U(held.shape[1])
    for i in range(U(len(products))):
        bar, count = limit[i], U(fill[i])
        for block in range(U0, n, U(COMPARED)):
            if block + U(COMPARED) <= n:
                nearer = below(products, i, block, bar)
            else:
                nearer = U32(0)
                for j in range(block, n):
                    if products[i, j] < bar:
                        nearer |= U32(1) << U32(j - block)
            if nearer == U32(0):
                continue
            if count + U(COMPARED) > capacity:
                count, bar = _shrink(held[i], names[i], count, U(wanted))
            while nearer != U32(0):
                hit = block + U(lowest_bit(nearer))
                nearer &= nearer - U32(1)
                held[i, count] = products[i, hit]
                names[i, count] = U(offset) + hit
                count += U(products[i, hit] < bar)
        if bar == FAR and count >= U(2 * wanted):
            count, bar = _shrink(held[i], names[i], count, U(wanted))
        limit[i], fill[i] = bar, count


@finite_kernel
def _shrink(values: Any, names: Any, count: Any, wanted: Any) -> Any:
    """Move the smallest values to the front, `wanted` or a few more; return how many, and a bar.

    All that are left out are at the bar or above it. It is found by counting what is below a
    guess, which takes a fifth of the time of sorting them apart.
    """
    low, high = values[U0], values[U0]
    for j in range(U1, count):
        low, high = min(low, values[j]), max(high, values[j])
    under, over = U32(0), U32(count)
    for guess in range(U(GUESSES)):
        share = F(0.5)
        if guess % U(3) != U(2):  # as if they lay evenly between the last two guesses
            share = min(F1, (F(wanted + U(SPARE // 2)) - F(under)) / (F(over) - F(under)))
        bar = low + share * (high - low)
        smaller = U32(0)
        for j in range(U0, count):
            smaller += U32(values[j] < bar)
        if smaller < U32(wanted):
            low, under = bar, smaller
        elif smaller > U32(wanted + U(SPARE)):
            high, over = bar, smaller
        else:
            kept = U0
            for j in range(U0, count):
                value = values[j]
                values[kept], names[kept] = value, names[j]
                kept += U(value < bar)
            return kept, bar
    # Many are equal.
    _select(values, names, count, wanted)
    bar = values[U0]
    for j in range(U1, wanted):
        bar = max(bar, values[j])
    return wanted, bar


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
def reach_of(rows: Any, limit: Any) -> Any:
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
def finish(
    rows: Any,
    start: int,
    m: int,
    points: Any,
    among: bool,
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
        if count > U(wanted + SPARE):
            count, _ = _shrink(held[q], names[q], count, U(wanted))
        others = U0
        for c in range(count):
            j = U(names[q, c])
            if among and j == i:
                continue
            total = F0
            for axis in range(U(points.shape[1])):
                step = rows[i, axis] - points[j, axis]
                total += step * step
            held[q, others] = total
            names[q, others] = j
            others += U1
        if others > k:
            _select(held[q], names[q], others, k)
        for c in range(k):
            indices[i, c] = names[q, c]
            squared[i, c] = held[q, c]
