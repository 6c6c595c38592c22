"""A team of threads that share out the tiles of a kernel, and leave no trace.

What each tile computes never depends on which thread takes it or how many there are; that is what
makes a seed repeat at any number of threads.
"""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from itertools import count
from types import TracebackType
from typing import Any

from threadpoolctl import ThreadpoolController

from tsne_backends.native.crew import Crew, Program, Work

#: Portions per thread in one call: more even out the load on a busy machine, fewer cost less.
PORTIONS_PER_THREAD = 4

#: Teams that hold the libraries' threads now, and what will give them back: fits may overlap, and
#: the first to end must not free them while another works, nor the last restore what it found.
_teams = 0
_limits: Any = None
#: What libraries are loaded, and how many modules were when they were looked for.
_looked_up: tuple[int, ThreadpoolController] | None = None
_lock = threading.Lock()


class Team:
    """Threads for one computation, to be used in a ``with`` statement.

    Threads that wait sleep, at the latest after a millisecond. While any team exists, BLAS and
    OpenMP libraries are held to one thread each, because the team itself keeps every core busy;
    afterwards they are as they were.

    Parameters
    ----------
    n_threads : int
        Threads, the caller's own included; at least 1.

    Attributes
    ----------
    n_threads : int
    interrupted : bool
        Whether the call that runs now has failed on some thread or was interrupted. What it does
        will not be used, so that work of seconds should look at this now and then, and end.
    """

    def __init__(self, n_threads: int) -> None:
        if n_threads < 1:
            raise ValueError(f"A team needs at least one thread; n_threads was {n_threads}.")
        self.n_threads = n_threads
        self.interrupted = False
        self._pool: ThreadPoolExecutor | None = None
        self._crew: Crew | None = None

    def __enter__(self) -> Team:
        _hold_libraries()
        if self.n_threads > 1:
            self._pool = ThreadPoolExecutor(self.n_threads - 1, "serverless-tsne")
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.interrupted = True  # nobody waits for what is still done
        try:
            if self._crew is not None:
                self._crew.close()
                self._crew = None
            if self._pool is not None:
                self._pool.shutdown(wait=True, cancel_futures=True)
                self._pool = None
        finally:
            _release_libraries()

    def run(self, work: Callable[..., Any], n_tiles: int, *arguments: Any) -> None:
        """Call ``work(first, stop, *arguments)`` until every tile from 0 to n_tiles is done.

        Parameters
        ----------
        work : callable
            Releases the interpreter's lock while it works; writes nothing that another tile reads.
        n_tiles : int
            Number of tiles.
        *arguments
            Handed on to every call.

        Raises
        ------
        Exception
            Whatever ``work`` raised, once no thread works any more.
        """
        self.interrupted = False
        helpers = min(self.n_threads, n_tiles) - 1
        if helpers <= 0 or self._pool is None:
            if n_tiles > 0:
                work(0, n_tiles, *arguments)
            return
        portion = max(1, n_tiles // (PORTIONS_PER_THREAD * self.n_threads))
        turns = count(0, portion)  # next() of it is atomic in CPython
        lock = threading.Lock()

        def take_turns() -> None:
            while not self.interrupted:
                with lock:  # and this makes it so in every other Python
                    first = next(turns)
                if first >= n_tiles:
                    return
                try:
                    work(first, min(first + portion, n_tiles), *arguments)
                except BaseException:
                    self.interrupted = True
                    raise

        waiting: list[Future[None]] = []
        try:
            for _ in range(helpers):
                waiting.append(self._pool.submit(take_turns))
            take_turns()
            wait(waiting)
        except BaseException:
            self.interrupted = True
            # The arrays must not be written to once this call is over.
            wait(waiting)
            raise
        for future in waiting:
            future.result()

    def do(self, work: Work) -> None:
        """Do all parts of a work."""
        before, after = work.programs()
        self.perform(before, work.between, after)

    def perform(self, before: Program, between: Callable[[], None], after: Program) -> None:
        """Perform a program, do something else, and perform another; see `crew`."""
        if self._crew is None:
            self._crew = Crew(0 if self._pool is None else self.n_threads - 1)
        crew = self._crew
        try:
            crew.perform(before)
            between()
            crew.perform(after)
        except BaseException:
            # The arrays must not be written to once this call is over.
            crew.close()
            self._crew = None
            raise


def _hold_libraries() -> None:
    """Hold BLAS and OpenMP libraries to one thread each, until the last team has gone."""
    global _teams, _limits
    with _lock:
        if _teams == 0:
            _limits = _libraries().limit(limits=1)
        _teams += 1


def _libraries() -> ThreadpoolController:
    """Return the libraries that are loaded, which takes 3 ms; none is without a module's import."""
    global _looked_up
    if _looked_up is None or _looked_up[0] != len(sys.modules):
        _looked_up = len(sys.modules), ThreadpoolController()
    return _looked_up[1]


def _release_libraries() -> None:
    global _teams
    with _lock:
        _teams -= 1
        if _teams == 0:
            _limits.restore_original_limits()
