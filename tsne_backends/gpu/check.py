"""Looks at a finished map on the GPU, and warns where it has collapsed or is torn.

It goes by the neighbours that the run has found already, on a sample of rows, and changes nothing.
Maps are judged from exact neighbours in `tsne_backends.quality`.
"""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np

from tsne_backends.errors import MapQualityWarning
from tsne_backends.gpu.arrays import blocks, on_host
from tsne_backends.gpu.neighbors import GpuGraph

#: Neighbours looked at, as in `tsne_backends.quality.neighbor_preservation`, and rows.
NEIGHBORS, SAMPLE = 15, 256
#: A map on which fewer of them stay neighbours (beyond chance) is torn: even 100-dimensional noise
#: keeps 10 % at 10,000 rows and 6 % at 50,000.
LEAST_PRESERVATION = 0.01
#: A map narrower than this is where it started: 1e-4 units.
LEAST_SPREAD = 1e-2


def check_map(graph: GpuGraph, positions: Any) -> dict[str, float]:
    """Measure a map on a sample of its rows, and warn where it cannot be one of these data.

    Parameters
    ----------
    graph : GpuGraph
        The neighbours of the data.
    positions : cupy.ndarray of shape (n_samples, 2), float32
        The map.

    Returns
    -------
    dict of str to float
        ``neighbor_preservation``: share of the sampled rows' 15 nearest neighbours (fewer in small
        data) that are among as many nearest on the map; ``standard_error`` of it; ``n_rows``
        sampled; ``spread`` of the map, in its units.

    Warns
    -----
    MapQualityWarning
        The map has collapsed to a point, or keeps no neighbours.
    """
    shares = _preserved_shares(graph, positions)
    value = float(shares.mean())
    spread = float(positions.std(axis=0).max())
    chance = NEIGHBORS / max(1, len(positions) - 1)
    if spread < LEAST_SPREAD:
        _warn(
            f"has collapsed: it is {spread:.2g} units wide. Allow it more iterations, a higher "
            "learning rate, or a lower perplexity."
        )
    elif value < LEAST_PRESERVATION + chance and chance < 0.05 and bool(graph.squared.any()):
        _warn(
            f"keeps only {100 * value:.1f} % of the nearest neighbours, which means that it is "
            'torn. Compare it with backend="native", and please report the data\'s shape.'
        )
    error = float(shares.std(ddof=1) / len(shares) ** 0.5) if len(shares) > 1 else 0.0
    return {
        "neighbor_preservation": value,
        "standard_error": error,
        "n_rows": float(len(shares)),
        "spread": spread,
    }


def _preserved_shares(graph: GpuGraph, positions: Any) -> np.ndarray:
    """Return, for each row of a sample, the share of neighbours that stay."""
    import cupy

    n = len(positions)
    k = min(NEIGHBORS, graph.indices.shape[1])
    sample = np.random.RandomState(0).permutation(n)[:SAMPLE]
    shares = []
    for block in blocks(len(sample), n):
        rows = cupy.asarray(sample[block])
        squared = cupy.zeros((len(rows), n), dtype=cupy.float32)
        for axis in positions.T:
            squared += (axis[rows][:, None] - axis[None, :]) ** 2
        squared[cupy.arange(len(rows)), rows] = cupy.inf
        kept = cupy.zeros(len(rows))
        for column in range(k):
            neighbor = graph.indices[rows, column]
            distance = squared[cupy.arange(len(rows)), neighbor]
            kept += (squared < distance[:, None]).sum(axis=1) < k
        shares.append(on_host(kept) / k)
    return np.concatenate(shares)


def _warn(problem: str) -> None:
    warnings.warn(f"The map made on the GPU {problem}", MapQualityWarning, stacklevel=3)
