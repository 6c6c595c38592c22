"""How finely each axis is quantised: as coarsely as the neighbours allow.

An error along an axis changes the distance of two rows by as much as they differ along it. With the
step Δᵢ of axis i and the mean square wᵢ of the differences between neighbours, a squared distance
errs by a variance of Σ wᵢ Δᵢ², up to a factor, while the bytes grow as -Σ log Δᵢ. The least bytes
for a given error are where all wᵢ Δᵢ² are equal: the step is *coarser* where neighbours differ
less. Beside one step for all axes this saves 10 to 30 % of the bytes on images and embeddings at
the same loss, and 1 % on 10 axes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from backends_remote.distances import group_distances
from backends_remote.loss import Loss, NeighborSample
from backends_remote.packing import MAX_QUARTERS

#: Differences are taken as at least this share of the mean one, so that steps differ by less than
#: 2**10 and axes along which neighbours are equal keep what tells clusters apart.
_LEAST_DIFFERENCE = 1e-5
#: Largest share of the squared distance of a neighbour by which two rows may move towards or away
#: from each other, root mean square. The loss is measured among rows that are near; this keeps rows
#: away that are far. At a loss of 0.02 it is no limit on any data of `benchmarks/codecs.py`.
_MOST_MOVE = 1 / 16
#: The step is searched to this factor; 0.03 bits per value.
_PRECISION = 1.02
#: And within this factor of the length of a row; float32 has 24 bits.
_RANGE = 2.0**22

_Groups = Sequence[NDArray[np.float32]]


def quarters_of(groups: _Groups) -> NDArray[np.int64]:
    """Return the steps of the axes relative to one another, as exponents of 2 times 4.

    Parameters
    ----------
    groups : sequence of ndarray of shape (n_candidates + 1, n_axes)
        A query row and the rows near it, as `NeighborSample.groups` gives them.
    """
    total = np.zeros(groups[0].shape[1])
    for group in groups:
        squares = np.square(group[1:] - group[0]).mean(axis=0, dtype=np.float64)
        whole = float(squares.sum())
        if 0 < whole < math.inf:  # every query counts alike, whether its neighbours are near or far
            total += squares / whole
    mean = float(total.mean())
    shares = np.maximum(total / mean, _LEAST_DIFFERENCE) if mean > 0 else np.ones_like(total)
    return np.asarray(np.rint(-2 * np.log2(shares)), dtype=np.int64)


def find_step(
    groups: _Groups, quarters: NDArray[np.int64], neighbors: NeighborSample, max_loss: float
) -> tuple[float, NDArray[np.int64], Loss] | None:
    """Return the largest step whose loss is allowed, by bisection, the quarters, and this loss.

    The step of no axis exceeds half the distance of a neighbour, so that even rows unlike all in
    the sample stay where they are on that scale. None where even the finest is too coarse, as with
    one row that is much farther than float32 has digits, or where all rows are equal.
    """
    relative = (2.0 ** (quarters / 4)).astype(np.float32)
    near = _near(groups, neighbors.n_neighbors)
    # Rounding moves two rows apart by a sixth of a squared step, but never by more than they are.
    queries = np.stack([group[0] for group in groups]).astype(np.float64)
    apart = 2 * queries.var(axis=0)

    def allowed(step: float) -> Loss | None:
        if float(np.minimum((step * relative) ** 2 / 6, apart).sum()) > _MOST_MOVE * near:
            return None
        scales = np.float32(1 / step) / relative
        loss = neighbors.loss(
            lambda q: group_distances(np.rint(groups[q] * scales) * relative, neighbors.metric)
        )
        return loss if loss.within(max_loss) else None

    # Medians, as a few far rows would have the search begin far away.
    length = float(np.median(np.sqrt(np.square(queries).sum(axis=1)))) or 1.0
    step, fine, coarse, found = length / 100, 0.0, math.inf, Loss(0.0, 0.0)
    # At the coarsest all rows are equal, which loses something; so the search ends.
    while fine == 0.0 or coarse > fine * _PRECISION:
        loss = allowed(step)
        if loss is not None:
            fine, found = step, loss
        else:
            coarse = step
        if math.isinf(coarse):
            step *= 2
        elif fine == 0.0:
            step /= 2
            if step < length / _RANGE:
                return None
        else:
            step = math.sqrt(fine * coarse)
    largest = math.floor(4 * math.log2(math.sqrt(near) / 2 / fine)) if near > 0 else 0
    largest = max(-MAX_QUARTERS, min(largest, MAX_QUARTERS))
    return fine, np.clip(quarters, -MAX_QUARTERS, largest), found


def _near(groups: _Groups, n_neighbors: int) -> float:
    """Return the squared distance of the farthest neighbour, at the median query."""
    squares = []
    for group in groups:
        distances = np.square(group[1:] - group[0]).sum(axis=1, dtype=np.float64)
        squares.append(np.partition(distances, n_neighbors - 1)[n_neighbors - 1])
    return float(np.median(squares))
