"""What a service remembers between calls: data sets and their neighbours graphs.

A second map of the same data, with another seed or perplexity, then needs neither the data sent
nor the neighbours found again.
"""

from __future__ import annotations

from collections import OrderedDict
from typing import Any

from tsne_backends.cache import CarriedCache

#: Bytes of data sets and graphs kept at most; the oldest go first.
KEPT_BYTES = 8e9


class GraphMemory(CarriedCache):
    """What fits of one data set share, in this process's memory."""

    def _content(self, X: Any) -> str | None:
        return ""  # there is but one data set


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
