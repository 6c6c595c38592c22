"""What the codecs of the transfer make of X: bytes, speed, and neighbours changed.

``python -m benchmarks.codecs`` writes ``results/codecs.csv`` and ``results/codecs.md``;
``--quick`` takes a tenth of the rows and keeps the results of full runs.

The loss that the codec foresees from a sample is compared with the truth: 1,000 rows, their
neighbours among all rows before and after. A new neighbour as near as the farthest true one is no
loss, in both.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends_remote.codec import choose_encoding, decode, encode_blocks
from backends_remote.distances import group_distances, unit_rows
from backends_remote.loss import NeighborSample, sample_rows
from benchmarks import data, harness
from benchmarks.tables import Results, markdown

#: Neighbours per row: 3 × scikit-learn's default perplexity.
NEIGHBORS = 90
#: Rows whose neighbours are compared with the truth; its standard error is then about 0.0004.
QUERIES = 1_000
ROWS, QUICK_ROWS = 200_000, 20_000
CODECS = ("lossless", "float16", "rotated", None)


def embeddings(n: int, noise: float, seed: int = 0) -> NDArray[np.float32]:
    """Return rows like sentence embeddings: 768 features, length 1.

    200 clusters about centres whose variance falls as 1 / i along the i-th of the axes, within the
    clusters as well with 0.7 times the spread, and isotropic noise of length ``noise``.
    """
    rng = np.random.default_rng(seed)
    d, clusters = 768, 200
    turn = np.linalg.qr(rng.standard_normal((d, d)))[0].astype(np.float32)
    spread = np.arange(1, d + 1, dtype=np.float32) ** np.float32(-0.5)
    spread /= np.linalg.norm(spread)
    centres = rng.standard_normal((clusters, d), dtype=np.float32) * spread
    X = np.empty((n, d), dtype=np.float32)
    for start in range(0, n, 10_000):
        rows = X[start : start + 10_000]
        inner = np.float32(0.7) * spread * rng.standard_normal(rows.shape, dtype=np.float32)
        rows[:] = (centres[rng.integers(clusters, size=len(rows))] + inner) @ turn
        rows += np.float32(noise / math.sqrt(d)) * rng.standard_normal(rows.shape, np.float32)
        rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    return X


def patch_axes(n: int) -> NDArray[np.float32]:
    """Return the first 10 principal axes of image patches, as t-SNE is often given them."""
    X = data.load("patches192", n)
    X -= X.mean(axis=0)
    axes = np.linalg.eigh((X.T @ X).astype(np.float64))[1][:, : -10 - 1 : -1]
    return X @ axes.astype(np.float32)


DATA: dict[str, tuple[str, Callable[[int], NDArray[np.float32]]]] = {
    "patches10": ("euclidean", patch_axes),
    "mixture10": ("euclidean", lambda n: data.load("mixture10", n)),
    "patches48": ("euclidean", lambda n: data.load("patches48", n)),
    "patches192": ("euclidean", lambda n: data.load("patches192", n)),
    "patches768": ("euclidean", lambda n: data.load("patches768", n)),
    "embeddings": ("cosine", lambda n: embeddings(n, noise=0.1)),
    "embeddings, noisy": ("euclidean", lambda n: embeddings(n, noise=0.3)),
}


def nearest(X: NDArray[Any], queries: NDArray[Any], metric: str, count: int) -> NDArray[np.intp]:
    """Return the ``count`` rows nearest to some rows, exact but for the rounding of float32."""
    middle = X[:1_000].mean(axis=0) if metric == "euclidean" else X.dtype.type(0)

    def prepared(rows: NDArray[Any]) -> NDArray[Any]:
        return unit_rows(rows) if metric == "cosine" else rows - middle

    distances = np.empty((len(queries), len(X)), dtype=np.float32)
    of_queries = prepared(X[queries])
    for start in range(0, len(X), 10_000):
        rows = prepared(X[start : start + 10_000])
        block = distances[:, start : start + len(rows)]
        np.matmul(of_queries, -2 * rows.T, out=block)
        block += np.einsum("ij,ij->i", rows, rows)
    distances[np.arange(len(queries)), queries] = np.inf
    found = np.empty((len(queries), count), dtype=np.intp)
    for place, row in enumerate(distances):
        found[place] = np.argpartition(row, count - 1)[:count]
    return found


def exact_distances(
    X: NDArray[Any], query: np.intp, rows: NDArray[np.intp], metric: str
) -> NDArray[np.float64]:
    """Return distances in float64, squared or not, from one row to others."""
    group = X[np.concatenate([[query], rows])].astype(np.float64)
    return np.asarray(group_distances(group, metric))


def true_radii(X: NDArray[Any], queries: NDArray[Any], metric: str) -> NDArray[np.float64]:
    """Return the distance of the farthest neighbour of some rows, among all rows."""
    candidates = nearest(X, queries, metric, 2 * NEIGHBORS)
    pairs = zip(queries, candidates, strict=True)
    distances = [exact_distances(X, query, rows, metric) for query, rows in pairs]
    return np.array([np.partition(row, NEIGHBORS - 1)[NEIGHBORS - 1] for row in distances])


def true_losses(
    X: NDArray[Any],
    Y: NDArray[Any],
    queries: NDArray[Any],
    radii: NDArray[np.float64],
    metric: str,
) -> NDArray[np.float64]:
    """Return for some rows which share of their neighbours in Y is farther in X than it should."""
    lost = np.empty(len(queries))
    candidates = nearest(Y, queries, metric, 2 * NEIGHBORS)
    for place, (query, rows) in enumerate(zip(queries, candidates, strict=True)):
        arrived = exact_distances(Y, query, rows, metric)
        found = rows[np.argpartition(arrived, NEIGHBORS - 1)[:NEIGHBORS]]
        # Rounding must not tell apart what is equally far.
        limit = radii[place] * (1 + 1e-9)
        lost[place] = (exact_distances(X, query, found, metric) > limit).mean()
    return lost


def measure(
    name: str, X: NDArray[np.float32], codec: str | None, radii: NDArray[np.float64]
) -> dict[str, Any]:
    """Encode and decode one matrix, and compare what arrives with it."""
    metric, _ = DATA[name]
    start = time.perf_counter()
    encoding = choose_encoding(X, NEIGHBORS, metric=metric, codec=codec)
    choosing = time.perf_counter() - start
    start = time.perf_counter()
    blocks = list(encode_blocks(X, encoding))
    encoding_seconds = time.perf_counter() - start
    header = json.loads(json.dumps(encoding.header))
    start = time.perf_counter()
    Y = decode(encoding.codec, header, blocks, max_bytes=4 * X.nbytes + 10**9)
    decoding_seconds = time.perf_counter() - start
    queries = sample_rows(len(X), QUERIES, seed=99)
    lost = true_losses(X, np.asarray(Y), queries, radii, metric)
    size = sum(map(len, blocks))
    return {
        "data": name,
        "rows": len(X),
        "features": X.shape[1],
        "codec": codec or f"chosen: {encoding.codec}",
        "ratio": round(size / X.nbytes, 4),
        "foreseen ratio": round(encoding.expected_bytes / X.nbytes, 4),
        "choose s": round(choosing, 2),
        "encode MB/s": round(X.nbytes / encoding_seconds / 1e6),
        "decode MB/s": round(X.nbytes / decoding_seconds / 1e6),
        "foreseen loss": round(encoding.loss, 4),
        "true loss": round(float(lost.mean()), 4),
        "its error": round(float(lost.std() / math.sqrt(len(lost))), 4),
    }


def main() -> None:
    """Encode and decode every data set by every codec."""
    parser = harness.parser(__doc__, sizes=[ROWS], data=list(DATA))
    options = harness.parsed(parser, sizes=[QUICK_ROWS])
    results = harness.results_of("codecs", options)
    # Imports and threads are not what is compared: a first, tiny run pays for them.
    NeighborSample(data.load("patches48", 2_000), NEIGHBORS, "euclidean")
    for name in options.data:
        for n in options.sizes:
            if todo := [codec for codec in CODECS if not _is_known(results, name, n, codec)]:
                _measure_all(name, n, todo, results)
    results.finish(markdown(results.rows))


def _is_known(results: Results, name: str, n: int, codec: str | None) -> bool:
    kept = [one["codec"] for one in results.rows if (one["data"], one["rows"]) == (name, n)]
    return codec in kept if codec else any(one.startswith("chosen") for one in kept)


def _measure_all(name: str, n: int, codecs: list[str | None], results: Results) -> None:
    metric, make = DATA[name]
    X = make(n)
    queries = sample_rows(len(X), QUERIES, seed=99)
    radii = true_radii(X, queries, metric)
    for codec in codecs:
        results.add(measure(name, X, codec, radii))


if __name__ == "__main__":
    main()
