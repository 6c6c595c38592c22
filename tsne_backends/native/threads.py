"""A team of threads that share out the tiles of a kernel, and leave no trace.

What each tile computes never depends on which thread takes it or how many there are; that is what
makes a seed repeat at any number of threads.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from itertools import count
from types import TracebackType
from typing import Any

from tsne_backends.libraries import library_threads
from tsne_backends.native.crew import Crew, Program, Work

#: Portions per thread in one call: more even out the load on a busy machine, fewer cost less.
PORTIONS_PER_THREAD = 4


class Team:
    """Threads for one computation, to be used in a ``with`` statement.

    Threads that wait sleep, at the latest after a millisecond. Meanwhile BLAS and OpenMP are held
    to one thread, because the team itself keeps every core busy.

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
        self._held = ExitStack()

    def __enter__(self) -> Team:
        self._held.enter_context(library_threads(1))
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
            self._held.close()

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
