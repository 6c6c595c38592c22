"""What a service remembers between calls: data sets and their neighbours graphs.

A second map of the same data, with another seed or perplexity, then needs neither the data sent
nor the neighbours found again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: Bytes of data sets and graphs kept at most; the oldest go first.
KEPT_BYTES = 8e9

Graph = tuple[NDArray[Any], NDArray[Any], str]


class GraphMemory:
    """Stands where engines expect a `joblib.Memory`, for the graphs of one data set.

    A graph of k neighbours serves every smaller k, because neighbours are sorted by distance.
    """

    #: `Run.is_cached` looks here; a graph may come from memory.
    location = "memory"

    def __init__(self) -> None:
        self._graphs: dict[str, Graph] = {}

    @property
    def n_bytes(self) -> int:
        """Bytes of all graphs."""
        return sum(graph[0].nbytes + graph[1].nbytes for graph in self._graphs.values())

    def cache(self, find: Callable[..., Graph], ignore: Sequence[str] = ()) -> Callable[..., Graph]:
        """Return ``find``, asked only where no graph at hand is large enough.

        Parameters
        ----------
        find : callable
            ``find(X, k, metric, metric_params, search, **how)`` returns indices, distances and
            words.
        ignore : sequence of str
            Present because joblib has it; how a graph is found never matters here.
        """

        def found(
            X: Any, k: int, metric: str, params: Mapping[str, Any], search: str, **how: Any
        ) -> Graph:
            key = repr((metric, sorted(params.items()), search))
            if key not in self._graphs or self._graphs[key][0].shape[1] < k:
                self._graphs[key] = find(X, k, metric, params, search, **how)
            indices, distances, words = self._graphs[key]
            if indices.shape[1] == k:
                return indices, distances, words
            return np.ascontiguousarray(indices[:, :k]), distances[:, :k].copy(), words

        return found


class KeptData:
    """Data sets by digest, the most recently used last.

    Parameters
    ----------
    max_bytes : float, default=KEPT_BYTES
        Beyond this the oldest data sets are forgotten, all but the newest.
    """

    def __init__(self, max_bytes: float = KEPT_BYTES) -> None:
        self._max_bytes = max_bytes
        self._sets: OrderedDict[str, tuple[Any, GraphMemory]] = OrderedDict()

    def __contains__(self, digest: str) -> bool:
        return digest in self._sets

    def get(self, digest: str) -> tuple[Any, GraphMemory]:
        """Return X and its graphs.

        Raises
        ------
        KeyError
            They are not, or no longer, here.
        """
        self._sets.move_to_end(digest)
        return self._sets[digest]

    def put(self, digest: str, X: Any) -> tuple[Any, GraphMemory]:
        """Remember X, and return it with a place for its graphs."""
        self._sets[digest] = (X, GraphMemory())
        self.trim()
        return self._sets[digest]

    def trim(self) -> None:
        """Forget the oldest data sets until the others are small enough."""
        while len(self._sets) > 1 and self._n_bytes() > self._max_bytes:
            self._sets.popitem(last=False)

    def _n_bytes(self) -> float:
        return float(sum(_size(X) + graphs.n_bytes for X, graphs in self._sets.values()))


def _size(X: Any) -> int:
    if hasattr(X, "tocsr"):
        return int(X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)
    return int(X.nbytes)
