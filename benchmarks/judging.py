"""How good the maps of a benchmark are, measured outside the clock, with exact neighbours.

The measures are those of `tsne_backends.quality`; here they meet the data sets of ``data``. Seconds
and memory are taken in ``harness``.
"""

from __future__ import annotations

from functools import cache
from typing import Any

from numpy.typing import NDArray

from benchmarks import data
from tsne_backends.neighbors import NeighborsGraph
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

PERPLEXITY = 30.0
#: Beyond this the exact normalisation takes minutes; 10,000 sampled rows err by about 0.1 %.
EXACT_Z_MAX, Z_SAMPLE = 20_000, 10_000


def perplexity(n: int) -> float:
    """Return the perplexity at which so many rows are embedded and judged."""
    return min(PERPLEXITY, n / 4)


@cache
def judged_data(name: str, n: int, seed: int) -> tuple[NDArray[Any], NeighborsGraph]:
    """Return data and their exact neighbours; only the last ones asked for are kept."""
    judged_data.cache_clear()
    X = data.load(name, n, seed)
    return X, exact_graph(X, int(3 * PERPLEXITY))


def quality(name: str, n: int, Y: NDArray[Any], seed: int = 0) -> dict[str, float]:
    """Return the KL divergence of a map and the share of 15 neighbours that it keeps."""
    X, graph = judged_data(name, n, seed)
    sample = None if n <= EXACT_Z_MAX else Z_SAMPLE
    return {
        "kl": round(kl_divergence(X, Y, perplexity(n), graph=graph, sample=sample), 5),
        "preservation": round(neighbor_preservation(X, Y, graph=graph), 4),
    }
