"""How many threads the BLAS and OpenMP libraries of this process use while something is computed.

Some of these settings are the whole process's, others each thread's. Computations may overlap, so
that each saving what it finds and restoring it in the end would leave what another one had set.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from threadpoolctl import ThreadpoolController

_lock = threading.Lock()
#: The threads that each computation allows which runs now, in whatever thread.
_allowed: list[int] = []
#: Libraries with one setting for the process, by path, with the threads to be given back.
_found: dict[str, tuple[Any, int]] = {}
#: The libraries that were looked up last, and how many modules there were.
_looked_up: tuple[int, ThreadpoolController] | None = None


@contextmanager
def library_threads(n_threads: int) -> Iterator[None]:
    """Hold BLAS and OpenMP to a number of threads, in a ``with`` statement.

    The least of what overlapping computations ask for holds where the setting is the process's, as
    in OpenBLAS; OpenMP and MKL are held in the thread that calls. When the last has ended, or
    failed, everything is as the first one found it.

    Parameters
    ----------
    n_threads : int
        At least 1.
    """
    with _lock:
        libraries = _libraries()
        own = [(one, one.num_threads) for one in libraries if not _is_shared(one)]
        for one in filter(_is_shared, libraries):
            _found.setdefault(one.filepath, (one, one.num_threads))
        _allowed.append(n_threads)
        for one, _ in own:
            one.set_num_threads(n_threads)
        _set_shared()
    try:
        yield
    finally:
        with _lock:
            for one, before in own:
                one.set_num_threads(before)
            _allowed.remove(n_threads)
            _set_shared()


def _set_shared() -> None:
    """Set what the process shares to the least that is allowed, or back to what was found."""
    for one, before in _found.values():
        # Newer versions of threadpoolctl let one thread alone change OpenBLAS, the first that did;
        # here threads take turns, and the last restores.
        let_go = getattr(one, "clear_controlling_thread", None)
        if let_go is not None:
            let_go(force=True)
        one.set_num_threads(min(_allowed, default=before))
        if let_go is not None:
            let_go(force=True)
    if not _allowed:
        _found.clear()


def _is_shared(library: Any) -> bool:
    """Say whether a library has one setting for all threads of the process."""
    layer = getattr(library, "threading_layer", None)
    return library.user_api == "blas" and library.internal_api != "mkl" and layer != "openmp"


def _libraries() -> list[Any]:
    """Return the libraries that are loaded now.

    To look for them takes 3 ms, and a fit asks several times. Few are loaded but by a module that
    is imported; one that is missed is held from the next import on.
    """
    global _looked_up
    if _looked_up is None or _looked_up[0] != len(sys.modules):
        _looked_up = len(sys.modules), ThreadpoolController()
    libraries: list[Any] = _looked_up[1].lib_controllers
    return libraries
