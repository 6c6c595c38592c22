"""What fits of the same data share, kept in a `joblib.Memory` by the content of the data.

A neighbours graph of k neighbours serves every smaller k, so one entry per data set, metric and
search is enough: the largest asked for so far. joblib writes entries whole or not at all, so that
processes may share a folder and may be killed; an entry that cannot be read is made anew.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import numpy as np
import xxhash

from tsne_backends import store
from tsne_backends.errors import BackendWarning

Value = TypeVar("Value")
#: Texts, numbers, and tuples of them.
Key = tuple[Any, ...]

#: Part of every key. To be raised whenever what is kept changes its layout, or what finds it
#: finds something else: older entries are then not looked at.
LAYOUT = 2
#: Bytes that are hashed at once where the rows of a matrix do not lie together.
BLOCK_BYTES = 1 << 24


def default_folder() -> Path:
    """Return the folder for entries in the user's cache folder, which need not exist."""
    return store.folder() / "shared"


class Cache:
    """Looks results up by the content of X, or has them computed and keeps them.

    Parameters
    ----------
    memory : joblib.Memory or None, default=None
        Where entries lie; None keeps nothing.
    """

    def __init__(self, memory: Any = None) -> None:
        self._memory = memory
        self._hashed: tuple[Any, str | None] = (None, None)

    @property
    def is_on(self) -> bool:
        """Whether anything is kept."""
        return self._has_folder

    @property
    def _has_folder(self) -> bool:
        return getattr(self._memory, "location", None) is not None

    def graph(
        self,
        X: Any,
        search: Key,
        k: int,
        find: Callable[[], Value],
        narrow: Callable[[Value, int], Value],
    ) -> Value:
        """Return a neighbours graph of X.

        Parameters
        ----------
        X : ndarray or sparse matrix
            The data. On a GPU nothing is looked up: its content would have to be fetched.
        search : tuple
            What else the graph depends on: metric, its parameters, kind of search.
        k : int
            Neighbours wanted.
        find : callable
            Searches for k neighbours of every row.
        narrow : callable
            ``narrow(graph, k)`` returns the k nearest of a graph of more.
        """
        return self._recall(X, ("graph", *search), k, find, narrow)

    def components(self, X: Any, way: Key, compute: Callable[[], Value]) -> Value:
        """Return what `compute` makes of X in a way that ``way`` describes: initial positions."""
        return self._recall(X, ("components", *way), 0, compute, lambda value, _: value)

    def _recall(
        self,
        X: Any,
        what: Key,
        k: int,
        compute: Callable[[], Value],
        narrow: Callable[[Value, int], Value],
    ) -> Value:
        content = self._content(X) if self.is_on else None
        if content is None:
            return compute()
        key = (LAYOUT, content, *what)
        kept = self._load(key)
        if kept is None or kept[0] < k:
            value = compute()
            self._keep(key, (k, value))
            return value
        value = kept[1]
        return value if kept[0] == k else narrow(value, k)

    def _content(self, X: Any) -> str | None:
        """Return `content_of` X; one fit asks several times, so the last answer is remembered."""
        if self._hashed[0] is not X:
            self._hashed = (X, content_of(X))
        return self._hashed[1]

    def _load(self, key: Key) -> tuple[int, Any] | None:
        """Return k and value of an entry, or None where there is none that can be read."""
        entry = self._memory.cache(_entry, ignore=["kept"])
        if not entry.check_call_in_cache(key, None):
            return None
        shelf = entry.call_and_shelve(key, None)
        try:
            kept: tuple[int, Any] = shelf.get()
        except Exception as error:
            if not entry.check_call_in_cache(key, None):
                return None  # another process has removed it in between
            cause = error.__cause__ or error
            warnings.warn(
                f'An entry of the cache in "{self._memory.location}" cannot be read '
                f"({type(cause).__name__}: {cause}); it is computed anew.",
                BackendWarning,
                stacklevel=2,
            )
            return None
        return kept

    def _keep(self, key: Key, kept: tuple[int, Any]) -> None:
        """Write an entry in the place of what is there."""
        self._memory.cache(_entry, ignore=["kept"]).call(key, kept)


class CarriedCache(Cache):
    """Results in this process's memory that can be sent to another with the work that needs them.

    For workers elsewhere, which share no folder with this machine. A copy carries what was found
    by then; what it finds itself stays with it. Arrays are read-only, because others use them too.

    Parameters
    ----------
    memory : joblib.Memory or None, default=None
        Where results are looked up besides, and kept for later; it is not sent along.
    """

    def __init__(self, memory: Any = None) -> None:
        super().__init__(memory)
        self._entries: dict[str, tuple[int, Any]] = {}

    @property
    def is_on(self) -> bool:
        """Always."""
        return True

    @property
    def n_bytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for _, value in self._entries.values() for array in _arrays(value))

    def __sizeof__(self) -> int:
        # Dask sends what is large once to every worker, and judges by this.
        return object.__sizeof__(self) + self.n_bytes

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_memory": None, "_hashed": (None, None)}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for _, value in self._entries.values():
            _protect(value)  # which pickle forgets

    def _load(self, key: Key) -> tuple[int, Any] | None:
        kept = self._entries.get(repr(key))
        if kept is None and self._has_folder:
            kept = super()._load(key)
            if kept is not None:
                self._hold(key, kept)
        return kept

    def _keep(self, key: Key, kept: tuple[int, Any]) -> None:
        self._hold(key, kept)
        if self._has_folder:
            super()._keep(key, kept)

    def _hold(self, key: Key, kept: tuple[int, Any]) -> None:
        _protect(kept[1])
        self._entries[repr(key)] = kept


def _arrays(value: Any) -> list[np.ndarray]:
    return [part for part in value or () if isinstance(part, np.ndarray)]


def _protect(value: Any) -> None:
    for array in _arrays(value):
        array.flags.writeable = False


def _entry(key: Key, kept: Any) -> Any:
    """Stand for every entry: joblib files results under a function and its arguments."""
    return kept


def content_of(X: Any) -> str | None:
    """Return 32 hexadecimal digits that only equal matrices share, None for data on a GPU.

    Parameters
    ----------
    X : ndarray or sparse matrix
        Its type, shape and values count; how it lies in memory does not.
    """
    if hasattr(X, "tocsr"):
        rows = X.tocsr()
        parts = [np.asarray(rows.indptr, np.int64), np.asarray(rows.indices, np.int64), rows.data]
    elif isinstance(X, np.ndarray):
        parts = [X]
    else:
        return None
    digest = xxhash.xxh3_128(repr((X.shape, X.dtype.str, len(parts))).encode())
    for part in parts:
        for block in _blocks(part):
            digest.update(block.data)
    return digest.hexdigest()


def _blocks(array: np.ndarray) -> Iterator[np.ndarray]:
    if array.flags.c_contiguous:
        yield array
        return
    step = max(1, BLOCK_BYTES // max(1, array[:1].nbytes))
    for start in range(0, len(array), step):
        yield np.ascontiguousarray(array[start : start + step])
