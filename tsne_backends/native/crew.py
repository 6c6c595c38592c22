"""Threads that make calls in step, a thousand times a second.

`Team.run` shares out work of milliseconds and more between threads that sleep meanwhile. An
iteration on 10,000 points takes one millisecond and consists of a dozen calls, each of which needs
what the last has written. Here threads watch for the next call in compiled code and take its tiles
by counting, which costs a tenth of a microsecond. They sleep when there has been nothing to do for
a while, and so does the caller when it has to wait for a thread that the machine has taken away.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from typing import Any

import numpy as np

from tsne_backends.native.board import call, increase, look, pause, put, replace
from tsne_backends.native.calls import Call
from tsne_backends.native.jit import U, inner_kernel, kernel, part

#: How often a thread looks for something to do before it sleeps, 27 ns each (Zen 4): it waits out
#: the gaps within an iteration and between two, and no more.
LOOKS = 4_000
#: How much longer threads look for something to do while there is a program at work.
PATIENCE = 16
#: Seconds that the caller sleeps where a thread that holds a tile does not go on.
NAP_SECONDS = 1e-4


class How(IntEnum):
    """What a program does with a call."""

    #: Its tiles are shared out; the next call begins when all are done.
    SHARE = 0
    #: Its tiles are for those who have no part in what is shared, until `END`.
    BEGIN = 1
    #: The call that was begun is completed.
    END = 2


#: What a program consists of; `How.END` has no call.
Step = tuple[How, Call | None]


class Program:
    """Calls to be made one after another.

    Parameters
    ----------
    *steps : Step
        At most one call is begun and not ended, and what it reads must not
        be written meanwhile.

    Attributes
    ----------
    lines : ndarray of shape (n_steps, 4), int64
        How, tiles, entry and place of each call.
    opens : list of How
        Which calls are begun and ended.
    """

    def __init__(self, *steps: Step) -> None:
        self._steps = steps  # which keep the arguments
        self.lines = np.zeros((len(steps), 4), dtype=np.int64)
        for line, (how, work) in zip(self.lines, steps, strict=True):
            line[0] = how
            if work is not None:
                line[1:] = work.n_tiles, work.entry, work.place
        self.opens = [how for how, _ in steps if how != How.SHARE]
        assert self.opens in ([], [How.BEGIN], [How.END], [How.BEGIN, How.END])


@dataclass(frozen=True)
class Work:
    """Calls to be made, something that Python does, and calls to be made after it.

    Attributes
    ----------
    before, after : tuple of Call
    between : callable
        Without arguments.
    """

    before: tuple[Call, ...]
    between: Callable[[], None]
    after: tuple[Call, ...]

    def programs(
        self, first: Sequence[Step] = (), last: Sequence[Step] = ()
    ) -> tuple[Program, Program]:
        """Return what is to be performed before and after `between`, with further steps.

        Parameters
        ----------
        first, last : sequence of Step
            Steps ahead of all others, and after them.
        """
        before, after = ([(How.SHARE, call) for call in way] for way in (self.before, self.after))
        return Program(*first, *before), Program(*after, *last)


class Crew:
    """Threads that perform programs together with whoever asks for it.

    After an error or an interrupt on the way nothing but `close` may be called: a thread may still
    be at a tile.

    Parameters
    ----------
    n_helpers : int
        Threads besides the caller's own; 0 or more.
    """

    def __init__(self, n_helpers: int) -> None:
        self._board = np.zeros(_BOARD, dtype=np.int64)
        self._door = threading.Lock()
        self._asleep: list[threading.Semaphore] = []
        self._performed: list[Program] = []
        self._is_open = False
        self._alone = n_helpers == 1
        # Compiled or loaded here, and not by several threads at once.
        _help(self._board, 0, self._alone)
        self._helpers: list[threading.Thread] = []
        for k in range(n_helpers):
            helper = threading.Thread(target=self._serve, name=f"serverless-tsne-{k}", daemon=True)
            try:
                helper.start()
            except RuntimeError:  # the system has no more threads: fewer do
                break
            self._helpers.append(helper)

    def perform(self, program: Program) -> None:
        """Make the calls of a program, and return when they are done.

        A call that was begun and is not ended goes on; the next program must end it.
        """
        self._performed.append(program)  # until no thread reads its arguments
        if self._asleep:
            self._wake()
        at, last = 0, len(program.lines)
        while True:
            at = _perform(self._board, program.lines, at, LOOKS)
            if at >= last:
                break
            time.sleep(NAP_SECONDS)
            at += last  # whose tiles are all taken: it is only waited for
        if program.opens:
            self._is_open = program.opens[-1] == How.BEGIN
        if not self._is_open:
            self._performed.clear()

    def close(self) -> None:
        """Let no more tiles be taken, and wait for the threads to end."""
        self._board[_OVER] = 1
        for slot in (_BEGUN, _SHARED):
            self._board[slot + _TICKET] |= _NO_TILE
        self._wake()
        for helper in self._helpers:
            helper.join()

    def _wake(self) -> None:
        with self._door:
            bells, self._asleep = self._asleep, []
        for bell in bells:
            bell.release()

    def _serve(self) -> None:
        bell = threading.Semaphore(0)
        while _help(self._board, LOOKS, self._alone):
            with self._door:
                if self._board[_OVER]:
                    return
                self._asleep.append(bell)
            bell.acquire()


# The board, int64, which the threads of a crew share: two calls, one that was begun and one that
# the caller is at; whether all is over; and whether a call goes on that was begun (1), and a
# program is performed (2). Each has lines of memory of its own.
_BEGUN, _SHARED, _OVER, _AT_WORK, _BOARD = U(0), U(32), U(64), U(80), 96
# Of each call the ticket, which is 2³² times the number of calls so far plus the next tile; how
# many tiles there are, its entry and its place; and how many tiles are done.
_TICKET, _TILES, _ENTRY, _PLACE, _DONE = U(0), U(1), U(2), U(3), U(16)
_NO_TILE = 2**32 - 1
_SHARE, _BEGIN, _END = (int(how) for how in How)


@kernel
def _perform(board: Any, lines: Any, at: int, looks: int) -> int:
    """Make calls from one on, and return how many are made.

    If these are not all, the next one's tiles are taken but not done: to go on waiting for them,
    this is called with ``at`` greater by the number of lines.
    """
    last, goes_on = len(lines), look(board, _AT_WORK) & 1
    put(board, _AT_WORK, goes_on | 2)
    posted = at >= last
    if posted:
        at -= last
    while at < last:
        how = lines[U(at), U(0)]
        if how != _SHARE:
            goes_on = 1 if how == _BEGIN else 0
        slot = _SHARED if how == _SHARE else _BEGUN
        if how != _END and not posted:
            _post(board, slot, lines[U(at)])
        if how != _BEGIN:
            _take_tiles(board, slot, _NO_TILE)
            looked = 0
            while look(board, slot + _DONE) < look(board, slot + _TILES):
                if looked == looks:
                    return at
                looked += 1
                pause()
        posted = False
        at += 1
    put(board, _AT_WORK, goes_on)
    return at


@part
def _post(board: Any, slot: Any, line: Any) -> None:
    """Let the tiles of a call be taken."""
    ticket = (look(board, slot + _TICKET) | _NO_TILE) + 1
    # Closed while the rest is written: who has read a part of it cannot take a tile then, because
    # the ticket has changed since.
    put(board, slot + _TICKET, ticket | _NO_TILE)
    put(board, slot + _TILES, line[U(1)])
    put(board, slot + _ENTRY, line[U(2)])
    put(board, slot + _PLACE, line[U(3)])
    put(board, slot + _DONE, 0)
    put(board, slot + _TICKET, ticket)


@inner_kernel
def _take_tiles(board: Any, slot: Any, most: int) -> int:
    """Do tiles of a call until all are taken, or so many; return how many."""
    taken = 0
    while taken < most:
        ticket = look(board, slot + _TICKET)
        tile, tiles = ticket & _NO_TILE, look(board, slot + _TILES)
        entry, place = look(board, slot + _ENTRY), look(board, slot + _PLACE)
        if tile >= tiles:
            break
        if replace(board, slot + _TICKET, ticket, ticket + 1):
            call(entry, tile, place)
            increase(board, slot + _DONE)
            taken += 1
    return taken


@kernel
def _help(board: Any, looks: int, alone: bool) -> bool:
    """Do tiles until there has been none for a while; return False when all is over.

    Two threads halve the work if one of them begins with what the caller is not at, and share fewer
    lines of memory (50,000 points: 4 % less time). More would be done with that too early.
    """
    looked = 0
    while looked < PATIENCE * looks:
        if look(board, _OVER) != 0:
            return False
        taken = _take_tiles(board, _BEGUN, _NO_TILE) if alone else 0
        if taken == 0:
            taken = _take_tiles(board, _SHARED, _NO_TILE)
        if taken == 0:
            taken = _take_tiles(board, _BEGUN, 1)
        if taken > 0:
            looked = 0
        else:
            looked += 1 if look(board, _AT_WORK) != 0 else PATIENCE
            pause()
    return True
