"""The whole remote path on one machine: the real `modal` client, a stand-in for Modal's service.

For tests, for ``serverless-tsne demo --loopback``, and for measuring transfers at a known rate.
Nothing leaves 127.0.0.1.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
import threading
from collections.abc import Coroutine, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

from backends_remote.loopback.control_plane import ControlPlane
from backends_remote.loopback.faults import Faults
from backends_remote.loopback.storage import Storage

T = TypeVar("T")

__all__ = ["Faults", "Loopback"]


class Loopback:
    """A control plane in a thread of this process; a context manager.

    Parameters
    ----------
    faults : Faults, optional
        What goes wrong; may be changed while it runs.
    idle_seconds : float, default=60
        After which a container without work ends.

    Attributes
    ----------
    faults : Faults
    plane : ControlPlane
    storage : Storage
    """

    def __init__(self, faults: Faults | None = None, idle_seconds: float = 60.0) -> None:
        self.faults = faults or Faults()
        self._folder = Path(tempfile.mkdtemp(prefix="serverless-tsne-loopback-"))
        self.storage = Storage(self._folder, self.faults)
        self.plane = ControlPlane(self.storage, self.faults, idle_seconds)
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._server: Any = None
        self._before: dict[str, str | None] = {}
        self.url = ""

    def __enter__(self) -> Loopback:
        self._thread.start()
        self._wait(self._start())
        self._before = {name: os.environ.get(name) for name in self.environment()}
        os.environ.update(self.environment())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for name, value in self._before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
        self._wait(self._stop())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
        shutil.rmtree(self._folder, ignore_errors=True)

    def environment(self) -> Mapping[str, str]:
        """Return the variables that turn a `modal` client, here or in a child, to the loopback."""
        return {
            "MODAL_SERVER_URL": self.url,
            "MODAL_TOKEN_ID": "ak-loopback",
            "MODAL_TOKEN_SECRET": "as-loopback",
            # The user's own profile must not be mixed in.
            "MODAL_CONFIG_PATH": str(self._folder / "modal.toml"),
        }

    def restart_server(self, down_seconds: float) -> None:
        """Stop listening for a while, as when a laptop loses its network."""
        self._wait(self._restart(down_seconds))

    def end_containers(self) -> None:
        """End every container, and with it what it remembers."""
        self._wait(self.plane.end_containers())

    async def _start(self, port: int = 0) -> None:
        from grpclib.server import Server

        if not port:
            await self.storage.start()
        self._server = Server([self.plane])
        await self._server.start("127.0.0.1", port)
        sockets = self._server._server.sockets
        self.url = f"http://127.0.0.1:{sockets[0].getsockname()[1]}"

    async def _stop(self) -> None:
        self._server.close()
        await self.plane.end_containers()
        await self.storage.stop()

    async def _restart(self, down_seconds: float) -> None:
        port = int(self.url.rsplit(":", 1)[1])
        self._server.close()
        await asyncio.sleep(down_seconds)
        await self._start(port)

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result()
