"""Distances between rows, in the metrics in which a loss of neighbours can be measured.

Only their order counts, so that often something quicker is returned that orders alike. The loss
itself is in ``loss``, and what follows from it in ``codec`` and ``steps``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Metrics whose distances a rotation keeps.
EUCLIDEAN = frozenset({"euclidean", "l2"})
ROTATABLE = EUCLIDEAN | {"cosine"}
#: Others that can be measured here, by SciPy's names for them.
SCIPY_METRICS = {
    "cityblock": "cityblock",
    "manhattan": "cityblock",
    "l1": "cityblock",
    "chebyshev": "chebyshev",
    "correlation": "correlation",
}


def is_measurable(metric: Any, *, sparse: bool) -> bool:
    """Tell whether the loss in a metric can be measured."""
    if not isinstance(metric, str):
        return False
    return metric in ROTATABLE or (metric in SCIPY_METRICS and not sparse)


class Search:
    """Distances, or what orders alike, of blocks of rows to the queries, in float32 if it can."""

    def __init__(self, X: Any, queries: NDArray[Any], metric: str) -> None:
        self._X, self._metric = X, metric
        self._middle, self._unit = np.zeros(X.shape[1]), 1.0
        first = X[queries].astype(np.float64)
        if metric in EUCLIDEAN:
            self._middle = first.mean(axis=0)
            self._unit = float(np.abs(first - self._middle).max()) or 1.0
        # float32 where it neither over- nor underflows, for speed.
        plain = 1e-9 < self._unit < 1e9 and np.abs(self._middle).max() < 1e9
        self._type = X.dtype if plain else np.dtype(np.float64)
        self._queries = self._prepare(X[queries])
        if metric in ROTATABLE:
            self._queries = -2 * self._queries

    def _prepare(self, rows: NDArray[Any]) -> NDArray[Any]:
        if self._metric not in ROTATABLE:
            return rows.astype(np.float64)
        if self._metric == "cosine":
            return np.asarray(unit_rows(rows), dtype=np.float32)
        with np.errstate(over="ignore"):
            points = rows.astype(self._type, copy=False) - self._middle.astype(self._type)
            if self._type == np.float64:
                points /= self._unit
        # Far outliers are no one's neighbours; their squares must only not overflow.
        return np.asarray(np.clip(points.astype(np.float32, copy=False), -1e15, 1e15))

    def __call__(self, block: NDArray[Any]) -> NDArray[Any]:
        """Return an array of shape (rows of the block, queries)."""
        points = self._prepare(self._X[block])
        if self._metric in ROTATABLE:
            products = points @ self._queries.T
            if self._metric != "cosine":  # there all are 1; rows of zeros are far from everything
                products += np.einsum("ij,ij->i", points, points)[:, None]
            return np.asarray(products)
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(points, self._queries, SCIPY_METRICS[self._metric]))


def unit_rows(points: NDArray[Any]) -> NDArray[Any]:
    """Return rows of length 1, zeros where a row is zero; tiny and huge rows keep direction."""
    norms = np.sqrt(np.einsum("ij,ij->i", points, points))
    odd = ~((norms > 1e-15) & (norms < 1e15))
    if odd.any():
        points = points.copy()
        rows = points[odd].astype(np.float64)
        largest = np.abs(rows).max(axis=1, keepdims=True)
        points[odd] = rows / np.where(largest > 0, largest, 1.0)
        norms[odd] = np.sqrt(np.einsum("ij,ij->i", points[odd], points[odd]))
    norms[norms == 0] = 1.0
    return np.asarray(points / norms[:, None])


def group_distances(group: NDArray[Any], metric: str) -> NDArray[Any]:
    """Return the distances of the first row to the others, or what orders alike."""
    if metric not in ROTATABLE:
        from scipy.spatial.distance import cdist

        return np.asarray(cdist(group[:1], group[1:], SCIPY_METRICS[metric])[0])
    if metric == "cosine":
        group = unit_rows(group)
    differences = group[1:] - group[0]
    if metric != "cosine" and differences.dtype == np.float64:
        largest = float(np.abs(differences).max())
        if not 1e-100 < largest < 1e100:  # squares of float64 overflow as well
            differences /= largest or 1.0
    result = np.einsum("ij,ij->i", differences, differences)
    if metric == "cosine":  # rows of zeros are at distance 1 from all, as scikit-learn has it
        empty: NDArray[np.bool_] = ~np.asarray(group.any(axis=1))
        result[empty[1:] | empty[0]] = 2.0
    return np.asarray(result)


def sparse_distances(rows: Any, queries: NDArray[Any], metric: str) -> NDArray[Any]:
    """Return the distances of all rows to the queries, or what orders alike; inf to itself."""
    rows = rows.astype(np.float64)
    rows.data /= (np.abs(rows.data).max() if rows.nnz else 0.0) or 1.0
    result = np.asarray(rows @ rows[queries].toarray().T)
    squares = np.asarray(rows.multiply(rows).sum(axis=1)).ravel()
    if metric == "cosine":
        norms = np.sqrt(np.where(squares > 0, squares, 1.0))
        result /= -norms[:, None]  # the query's own norm changes no order
    else:
        result *= -2
        result += squares[:, None]
    result[queries, np.arange(len(queries))] = np.inf
    return result
