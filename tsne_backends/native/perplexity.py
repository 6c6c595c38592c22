"""From distances to the conditional affinities of each row, at a given perplexity.

Each row is taken by itself, so that new rows on a finished map can use the same. What makes
affinities symmetric and sparse is in ``affinities``.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.jit import F0, U0, F, U, kernel
from tsne_backends.native.threads import Team

#: Rows in one tile.
TILE_ROWS = 512
#: Largest relative error of a row's perplexity; scikit-learn's search ends at 1e-5 of the entropy,
#: which is no more visible on a map.
PERPLEXITY_TOLERANCE = 1e-4
MAX_STEPS = 100
#: Bandwidths that are looked for, as logarithms in units of a row's mean squared distance, which
#: one neighbour 10¹⁵ times as far as the others makes large; and what single precision holds.
MAX_LOG_BETA, MAX_RATE = 80.0, 3e38


def conditional_affinities(
    squared: NDArray[np.float32], perplexity: float, team: Team
) -> NDArray[np.float32]:
    """Compute Gaussian affinities of every row and its neighbours.

    Parameters
    ----------
    squared : ndarray of shape (n, k), float32
        Squared distances in any unit.
    perplexity : float
        Effective number of neighbours; a row that has fewer weights all equally.
    team : Team

    Returns
    -------
    ndarray of shape (n, k), float32
        Each row sums to 1.
    """
    conditional = np.empty(squared.shape, dtype=np.float32)
    n_tiles = -(-len(squared) // TILE_ROWS)
    team.run(_calibrate, n_tiles, squared, math.log(perplexity), conditional)
    return conditional


@kernel
def _calibrate(first: int, stop: int, squared: Any, target: Any, out: Any) -> None:
    """Find each row's bandwidth by Newton's method within a bracket; write Gaussian affinities.

    The entropy of p ∝ exp(-β d) falls with log β at the rate β² Var(d).
    """
    n, k = U(squared.shape[0]), U(squared.shape[1])
    for i in range(U(first) * U(TILE_ROWS), min(U(stop) * U(TILE_ROWS), n)):
        nearest, mean = squared[i, U0], 0.0
        for c in range(k):
            nearest = min(nearest, squared[i, c])
        for c in range(k):
            out[i, c] = squared[i, c] - nearest
            mean += out[i, c]
        mean /= float(len(out[i]))
        scale = F(1 / mean) if mean > 1e-37 else F0
        low, high, log_beta = -MAX_LOG_BETA, MAX_LOG_BETA, 0.0
        beta, total = 1.0, 1.0
        for _ in range(MAX_STEPS):
            beta = math.exp(log_beta)
            rate = -F(min(beta * float(scale), MAX_RATE))
            s0, s1, s2 = 0.0, 0.0, 0.0
            for c in range(k):
                d = out[i, c] * scale
                p = math.exp(rate * out[i, c])
                s0 += p
                s1 += p * d
                s2 += p * d * d
            total = s0
            expected = s1 / s0
            entropy = math.log(s0) + beta * expected
            excess = entropy - target
            if abs(excess) < PERPLEXITY_TOLERANCE or high - low < 1e-6:
                break
            if excess > 0:
                low = log_beta
            else:
                high = log_beta
            slope = beta * beta * max(0.0, s2 / s0 - expected * expected)
            log_beta += (
                max(-4.0, min(4.0, excess / slope)) if slope > 1e-12 else math.copysign(4.0, excess)
            )
            if not low < log_beta < high:
                log_beta = 0.5 * (low + high)
        rate = -F(min(beta * float(scale), MAX_RATE))
        share = F(1 / total)
        for c in range(k):
            out[i, c] = math.exp(rate * out[i, c]) * share
