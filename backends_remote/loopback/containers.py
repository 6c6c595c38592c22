"""Pools of containers: one per kind of machine, each a queue and the processes that work it off.

Modal's protocol is not spoken here, but in ``calls``. What runs inside a process is ``container``.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from backends_remote.loopback.faults import Faults

#: A folder listing or a map of many rows in one line of JSON would never be this long.
_LINE_LIMIT = 1 << 20


@dataclass
class Call:
    """One function call, from its input to its answer.

    Attributes
    ----------
    id, function_id, method : str
    arguments : sequence of bytes
    state : str
        ``"queued"``, ``"running"``, ``"done"``, ``"failed"``, ``"preempted"``, ``"timeout"`` or
        ``"cancelled"``.
    answer : bytes
        Of a call that is done.
    trouble : str
        Of one that failed.
    """

    id: str
    function_id: str
    method: str
    arguments: Sequence[bytes]
    state: str = "queued"
    answer: bytes = b""
    trouble: str = ""
    finished: asyncio.Event = field(default_factory=asyncio.Event)

    def finish(self, state: str, answer: bytes = b"", trouble: str = "") -> None:
        """End the call, if it has not ended already."""
        if not self.finished.is_set():
            self.state, self.answer, self.trouble = state, answer, trouble
            self.finished.set()


class Container:
    """One process, its start included."""

    def __init__(self, volume: Path, faults: Faults) -> None:
        self._volume = volume
        self._faults = faults
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        """Start the process after the cold start's time."""
        await asyncio.sleep(self._faults.cold_start_seconds)
        self._process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            "backends_remote.loopback.container",
            str(self._volume),
            self._faults.version,
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            limit=_LINE_LIMIT,
        )
        assert self._process.stdout is not None
        await self._process.stdout.readline()

    async def run(self, call: Call) -> bytes:
        """Return the answer to one call.

        Raises
        ------
        EOFError
            The process died.
        """
        assert self._process is not None
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        message = {"method": call.method, "lengths": [len(part) for part in call.arguments]}
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            for part in call.arguments:
                self._process.stdin.write(part)
            await self._process.stdin.drain()
            line = await self._process.stdout.readline()
            return await self._process.stdout.readexactly(json.loads(line)["length"])
        except (OSError, ValueError, asyncio.IncompleteReadError) as error:
            raise EOFError("the process ended") from error

    async def stop(self) -> None:
        """End the process."""
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()


class Pool:
    """All containers of one kind of machine.

    Parameters
    ----------
    gpu : str
        Kind of GPU it pretends to have.
    volume : Path
        Folder of the volume.
    faults : Faults
    timeout_seconds, idle_seconds : float
        When a run is ended, and a container that has nothing to do.
    max_containers : int
    """

    def __init__(
        self,
        gpu: str,
        volume: Path,
        faults: Faults,
        timeout_seconds: float,
        idle_seconds: float,
        max_containers: int,
    ) -> None:
        self.gpu = gpu
        self.timeout_seconds = timeout_seconds
        self.n_started = 0
        self._volume = volume
        self._faults = faults
        self._idle_seconds = idle_seconds
        self._max_containers = max_containers
        self._waiting: deque[Call] = deque()
        self._workers: dict[asyncio.Task[None], Call | None] = {}
        self._news = asyncio.Condition()

    @property
    def backlog(self) -> int:
        """Inputs that wait for a container."""
        return len(self._waiting)

    @property
    def n_containers(self) -> int:
        """Containers that are starting, working or idle."""
        return len(self._workers)

    @property
    def n_running(self) -> int:
        """Inputs in a container."""
        return sum(call is not None for call in self._workers.values())

    async def submit(self, call: Call) -> None:
        """Queue a call, and start a container for it where none is idle."""
        self._waiting.append(call)
        idle = sum(call is None for call in self._workers.values())
        has_machines = self.gpu not in self._faults.no_gpus
        if has_machines and self.backlog > idle and self.n_containers < self._max_containers:
            self._workers[asyncio.create_task(self._work())] = None
            self.n_started += 1
        async with self._news:
            self._news.notify_all()

    async def cancel(self, call: Call, *, end: bool) -> None:
        """End a call; the container works on, as on a GPU, unless it is to end as well."""
        call.finish("cancelled", trouble="the call was cancelled")
        if call in self._waiting:
            self._waiting.remove(call)
        for worker, current in list(self._workers.items()):
            if current is call and end:
                worker.cancel()

    async def close(self) -> None:
        """End every container."""
        workers = list(self._workers)
        for worker in workers:
            worker.cancel()
        await asyncio.gather(*workers, return_exceptions=True)

    async def _work(self) -> None:
        """Be one container: take calls until there was none for the idle time."""
        me = asyncio.current_task()
        assert me is not None
        container = Container(self._volume, self._faults)
        try:
            await container.start()
            while (call := await self._next_call()) is not None:
                self._workers[me] = call
                call.state = "running"
                if not await self._serve(container, call):
                    return
                self._workers[me] = None
        finally:
            current = self._workers.pop(me, None)
            if current is not None:
                current.finish("failed", trouble="the container was stopped")
            await container.stop()

    async def _next_call(self) -> Call | None:
        until = time.monotonic() + self._idle_seconds
        async with self._news:
            while not self._waiting:
                left = until - time.monotonic()
                try:
                    await asyncio.wait_for(self._news.wait(), max(left, 0))
                except TimeoutError:
                    return None
        return self._waiting.popleft()

    async def _serve(self, container: Container, call: Call) -> bool:
        """Run one call; return whether the container is still good for another."""
        crash = self._faults.crash_seconds
        limit = self.timeout_seconds if crash is None else min(crash, self.timeout_seconds)
        try:
            answer = await asyncio.wait_for(container.run(call), limit)
            if self._faults.take("duplicates"):
                answer = await container.run(call)
        except TimeoutError:
            if crash is None:
                call.finish("timeout", trouble=f"the input ran longer than {limit:g} s")
            elif self._faults.take("preemptions"):
                if not self._faults.preemptions:
                    self._faults.crash_seconds = None
                call.finish("preempted", trouble="the machine was taken away")
            else:
                call.finish("failed", trouble="the container was killed (exit code 137)")
            return False
        except EOFError as error:
            call.finish("failed", trouble=str(error))
            return False
        call.finish("done", answer)
        return True
