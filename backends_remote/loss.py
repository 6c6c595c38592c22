"""How many nearest neighbours a lossy transfer changes, measured on a sample before it is sent.

Exact neighbours over all of X would cost more than the transfer saves. Instead, some hundred rows
look for their neighbours among a random subsample of m of the n rows, k·m/n of them: the ball that
holds k of n rows holds this many of m, so that the same differences in distance decide.

A share measured with few neighbours is too high: where an error moves less than one row across the
boundary of the ball, the rank reacts to the pair of rows beside the boundary, each with its own
error; where it moves many, the boundary is fixed. Between the two lies a factor of √2, which
`_crossings` describes and `NeighborSample.loss` takes out.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from itertools import pairwise
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from backends_remote.distances import ROTATABLE, Search, group_distances, sparse_distances

#: Rows that look for neighbours. At a loss of 0.02 the standard error is then about 0.001.
QUERIES = 384
#: Values of the reference subsample (rows × features): 38 GFLOP with `QUERIES`, 0.2 s on 2 cores.
REFERENCE_VALUES = 50_000_000
#: Most reference rows, for few features; a distance to each of them is compared per query.
REFERENCE_ROWS = 200_000
#: For SciPy's loops and sparse products, about 1 ns per value and query on one core.
SLOW_QUERIES, SLOW_VALUES = 64, 4_000_000
#: Neighbours per query that suffice; more would cost time and gain little.
ENOUGH_NEIGHBORS = 32
#: Queries whose rows are transformed together.
_GROUPS_AT_ONCE = 32
#: Bytes of a block of reference rows in work.
_BLOCK_BYTES = 16_000_000
#: Standard errors added to a measured loss before it is compared with what is allowed: a bound that
#: a normal variable keeps in 95 of 100 cases. At a loss of 0.02 this is about 0.002.
MARGIN = 1.645


class Loss(NamedTuple):
    """A measured share of neighbours changed, and its standard error over the query rows."""

    share: float
    error: float

    def within(self, allowed: float) -> bool:
        """Tell whether the loss is allowed, with the margin for sampling noise."""
        return self.share + MARGIN * self.error <= allowed


def sample_rows(n_samples: int, count: int, seed: int) -> NDArray[np.intp]:
    """Return ``count`` different rows, all where there are fewer, in order; the same every time."""
    if count >= n_samples:
        return np.arange(n_samples)
    rng = np.random.Generator(np.random.PCG64(seed))
    return np.sort(rng.choice(n_samples, count, replace=False, shuffle=False))


class NeighborSample:
    """Query rows, the rows that may be their neighbours, and which of these are.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    n_neighbors : int
        Neighbours per row of the whole of X.
    metric : str
        One for which `is_measurable` holds.

    Attributes
    ----------
    n_neighbors : int
        Neighbours per query within the reference subsample.
    """

    def __init__(self, X: Any, n_neighbors: int, metric: str) -> None:
        self.metric = metric
        self._X, self._sparse = X, hasattr(X, "indptr")
        n = X.shape[0]
        if self._sparse or metric not in ROTATABLE:
            width = max(1, X.nnz // n) if self._sparse else X.shape[1]
            queries, values = SLOW_QUERIES, SLOW_VALUES
        else:
            width, queries, values = X.shape[1], QUERIES, REFERENCE_VALUES
        # At least 4 neighbours each, whatever it costs; never so many that all rows are one.
        least = math.ceil(4 * n / n_neighbors)
        enough = math.ceil(ENOUGH_NEIGHBORS * n / n_neighbors)
        m = min(n, max(min(values // width, REFERENCE_ROWS, enough), least))
        self._reference = sample_rows(n, m, seed=0)
        m = len(self._reference)
        self.n_neighbors = max(1, min(round(n_neighbors * m / n), (m - 1) // 3))
        self._ratio = max(1.0, min(n_neighbors, n - 1) / self.n_neighbors)
        self._queries = self._reference[sample_rows(m, queries, seed=1)]
        self._candidates = [] if self._sparse else self._find_candidates()
        true = self._distances(lambda rows: rows)
        self._farther = [self._mark_farther(true(q)) for q in range(len(self._queries))]

    def groups(self, transform: Callable[[Any], NDArray[Any]]) -> list[NDArray[Any]]:
        """Return, for each query, the transformed rows it is about: itself, then its candidates.

        Several queries at once, as a product of matrices is quickest for many rows.
        """
        found: list[NDArray[Any]] = []
        for start in range(0, len(self._queries), _GROUPS_AT_ONCE):
            several = slice(start, start + _GROUPS_AT_ONCE)
            parts = zip(self._queries[several], self._candidates[several], strict=True)
            rows = [np.concatenate([[query], candidates]) for query, candidates in parts]
            ends = np.cumsum([len(part) for part in rows])[:-1]
            found += np.split(np.ascontiguousarray(transform(self._X[np.concatenate(rows)])), ends)
        return found

    def loss(self, distances: Callable[[int], NDArray[Any]]) -> Loss:
        """Return the loss where ``distances(q)`` gives those of query q to its candidates.

        A new neighbour counts as wrong where it was farther than the farthest true one, so that
        rows at equal distances may change places freely.
        """
        k = self.n_neighbors
        changed = np.empty(len(self._queries))
        for q, farther in enumerate(self._farther):
            found = np.argpartition(distances(q), k - 1)[:k]
            # Where all candidates are as near as the true neighbours, as among many equal rows, no
            # one can tell who would join them; nothing must rest on that.
            changed[q] = farther[found].sum() / k if farther.any() else 1.0
        error = changed.std(ddof=1) / math.sqrt(len(changed)) if len(changed) > 1 else 0.0
        factor = _few_to_many(float(changed.mean()) * k, self._ratio)
        return Loss(factor * float(changed.mean()), factor * float(error))

    def loss_of(self, transform: Callable[[Any], Any]) -> Loss:
        """Return the loss where every row is sent as ``transform`` returns it."""
        return self.loss(self._distances(transform))

    def _mark_farther(self, true: NDArray[Any]) -> NDArray[np.bool_]:
        farther: NDArray[np.bool_] = (
            true > np.partition(true, self.n_neighbors - 1)[self.n_neighbors - 1]
        )
        return farther

    def _distances(self, transform: Callable[[Any], Any]) -> Callable[[int], NDArray[Any]]:
        """Return the function that gives the distances of query q to its candidates."""
        if self._sparse:  # few enough entries to keep; every other reference row is a candidate
            places = np.searchsorted(self._reference, self._queries)
            table = sparse_distances(transform(self._X[self._reference]), places, self.metric)
            return lambda q: np.asarray(table[:, q])

        def distances(q: int) -> NDArray[Any]:
            group = np.concatenate([self._queries[q : q + 1], self._candidates[q]])
            return group_distances(transform(self._X[group]).astype(np.float64), self.metric)

        return distances

    def _find_candidates(self) -> list[NDArray[np.intp]]:
        """Return for each query the rows near enough to become neighbours.

        Half as many again as there are neighbours, for losses up to a quarter. The bound is the
        distance of the last candidate among the first block of reference rows, which that among all
        rows cannot exceed; so one pass over them suffices.
        """
        X, reference, queries = self._X, self._reference, self._queries
        count = min(len(reference) - 1, self.n_neighbors * 3 // 2 + 16)
        if count == len(reference) - 1:
            return [reference[reference != query] for query in queries]
        to_queries = Search(X, queries, self.metric)
        rows = max(count + 1, _BLOCK_BYTES // (4 * max(X.shape[1], len(queries))))
        # A random block first: rows that follow one another can be unlike all others.
        rng = np.random.Generator(np.random.PCG64(2))
        blocks = np.array_split(rng.permutation(reference), math.ceil(len(reference) / rows))
        bound, hits = None, []
        for block in map(np.sort, blocks):
            near = to_queries(block)
            places = np.minimum(np.searchsorted(block, queries), len(block) - 1)
            itself = np.flatnonzero(block[places] == queries)
            near[places[itself], itself] = np.inf
            place = min(count, len(block) - 1) - 1
            if bound is None:
                bound = np.partition(near, place, axis=0)[place]
            row, query = np.nonzero(near <= bound)
            if len(row) > 4 * count * len(queries):  # ties without end, as among equal rows
                row = np.argpartition(near, place, axis=0)[: place + 1].ravel()
                query = np.tile(np.arange(len(queries)), place + 1)
            hits.append((query, block[row], near[row, query]))
        query, row, distance = (np.concatenate(part) for part in zip(*hits, strict=True))
        order = np.lexsort((distance, query))
        ends = np.searchsorted(query[order], np.arange(len(queries) + 1))
        # In the order of rows, so that a tie between candidates says nothing about the truth.
        return [
            np.sort(row[order[start : min(stop, start + count)]]) for start, stop in pairwise(ends)
        ]


def _crossings(spread: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return how many neighbours change where errors are ``spread`` gaps between rows.

    For rows at random distances with normal errors: 0.564 (1/√π) gaps times ``spread`` where it is
    small, 0.399 (1/√2π) where it is large; between them fitted to a simulation, to 3 %.
    """
    return spread * (0.399 + 0.165 / (1 + 0.9 * spread**0.9))


_SPREADS = np.geomspace(1e-6, 1e6, 1_000)
_CROSSINGS = _crossings(_SPREADS)


def _few_to_many(changed: float, ratio: float) -> float:
    """Return what a share is multiplied with, measured with 1 / ``ratio`` of the neighbours.

    ``changed`` is how many changed per query; were there more, gaps would be that much narrower.
    """
    if changed <= 0 or ratio == 1:
        return 1.0
    spread = float(np.interp(changed, _CROSSINGS, _SPREADS))
    return float(_crossings(np.array(spread * ratio)) / (ratio * changed))
