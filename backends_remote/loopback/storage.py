"""Where the loopback keeps bytes: blobs of calls in memory, volumes as folders.

They are sent and fetched over HTTP, at the rate that ``faults`` sets; containers read a volume as a
folder. Modal's protocol is not spoken here, but in ``files``.
"""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import time
from collections.abc import Sequence
from pathlib import Path

from aiohttp import web

from backends_remote.loopback.faults import Faults

#: The one volume there is.
VOLUME_ID = "vo-000000"

#: Bytes handed on at a time; a rate is kept to within one such piece.
_PIECE_BYTES = 64 << 10
#: An upload that stops arriving is ended after this long, as object stores do.
_IDLE_SECONDS = 1.0
#: Uploads are read whole, one block or blob at a time.
_MAX_UPLOAD_BYTES = 1 << 30


class Throttle:
    """A token bucket that everything passes through, so that all transfers share one rate."""

    def __init__(self, faults: Faults) -> None:
        self._faults = faults
        self._free_at = 0.0

    async def passes(self, n_bytes: int) -> None:
        """Wait until this many bytes may pass."""
        rate = self._faults.bytes_per_second
        if rate is None:
            return
        now = time.monotonic()
        self._free_at = max(self._free_at, now) + n_bytes / rate
        await asyncio.sleep(self._free_at - now)


class Storage:
    """Blobs in memory, volumes as folders.

    Parameters
    ----------
    folder : Path
        For volumes.
    faults : Faults

    Attributes
    ----------
    n_bytes_received : int
        Bytes of all uploads that arrived whole.
    """

    def __init__(self, folder: Path, faults: Faults) -> None:
        self.folder = folder
        self.n_bytes_received = 0
        self._faults = faults
        self._throttle = Throttle(faults)
        self._blobs: dict[str, bytes] = {}
        self._blocks: dict[str, bytes] = {}
        self._runner: web.AppRunner | None = None
        self._url = ""

    async def start(self) -> None:
        """Listen on a free port of this machine."""
        app = web.Application(client_max_size=_MAX_UPLOAD_BYTES)
        app.router.add_put("/blob/{name}", self._put_blob)
        app.router.add_get("/blob/{name}", self._get_blob)
        app.router.add_put("/block/{name}", self._put_block)
        self._runner = web.AppRunner(app, access_log=None)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        assert self._runner.addresses
        self._url = f"http://127.0.0.1:{self._runner.addresses[0][1]}"

    async def stop(self) -> None:
        """Stop listening."""
        if self._runner is not None:
            await self._runner.cleanup()

    def url(self, kind: str, name: str) -> str:
        """Return where a blob or block is put and fetched."""
        return f"{self._url}/{kind}/{name}"

    def add_blob(self, content: bytes) -> str:
        """Keep an answer that is too large for a message; return its name."""
        name = f"bl-{hashlib.sha256(content).hexdigest()[:24]}-{len(self._blobs)}"
        self._blobs[name] = content
        return name

    def blob(self, name: str) -> bytes:
        """Return the content of an uploaded blob."""
        return self._blobs[name]

    def has_block(self, digest: str) -> bool:
        """Whether a block of a volume's file was uploaded before."""
        return digest in self._blocks

    def write_file(self, volume: str, path: str, digests: Sequence[str], size: int) -> None:
        """Put a file of a volume together from its blocks."""
        target = self._inside(volume, path)
        target.parent.mkdir(parents=True, exist_ok=True)
        unfinished = target.with_name(target.name + ".unfinished")
        with unfinished.open("wb") as file:
            for digest in digests:
                file.write(self._blocks[digest])
            file.truncate(size)
        unfinished.replace(target)
        for digest in digests:
            self._blocks.pop(digest, None)

    def list_files(self, volume: str, path: str, recursive: bool) -> list[Path]:
        """Return what lies in a folder of a volume."""
        folder = self._inside(volume, path)
        if not folder.is_dir():
            raise FileNotFoundError(path)
        return sorted(folder.rglob("*") if recursive else folder.iterdir())

    def remove(self, volume: str, path: str) -> None:
        """Remove a file or folder of a volume."""
        target = self._inside(volume, path)
        if not target.exists():
            raise FileNotFoundError(path)
        if target.is_dir():
            shutil.rmtree(target)
        else:
            target.unlink()

    def volume_folder(self, volume: str) -> Path:
        """Return the folder of a volume."""
        folder = self.folder / volume
        folder.mkdir(parents=True, exist_ok=True)
        return folder

    def _inside(self, volume: str, path: str) -> Path:
        folder = self.volume_folder(volume).resolve()
        target = (folder / path.lstrip("/")).resolve()
        if not target.is_relative_to(folder):
            raise FileNotFoundError(path)
        return target

    async def _put_blob(self, request: web.Request) -> web.Response:
        content = await self._receive(request)
        if content is None:
            return web.Response(status=503, text="send it again")
        self._blobs[request.match_info["name"]] = content
        return web.Response(headers={"ETag": f'"{hashlib.md5(content).hexdigest()}"'})

    async def _put_block(self, request: web.Request) -> web.Response:
        content = await self._receive(request)
        if content is None:
            return web.Response(status=503, text="send it again")
        digest = hashlib.sha256(content).hexdigest()
        self._blocks[digest] = content
        return web.Response(body=digest.encode())

    async def _get_blob(self, request: web.Request) -> web.StreamResponse:
        content = self._blobs[request.match_info["name"]]
        response = web.StreamResponse()
        response.content_length = len(content)
        await response.prepare(request)
        for start in range(0, len(content), _PIECE_BYTES):
            piece = content[start : start + _PIECE_BYTES]
            await self._throttle.passes(len(piece))
            await response.write(piece)
        return response

    async def _receive(self, request: web.Request) -> bytes | None:
        """Return an upload; None where it is to be sent again."""
        try:
            return await self._read(request)
        except TimeoutError:
            return None

    async def _read(self, request: web.Request) -> bytes | None:
        if self._faults.take("slow_downs"):
            await request.read()
            return None
        pieces: list[bytes] = []
        while piece := await asyncio.wait_for(request.content.read(_PIECE_BYTES), _IDLE_SECONDS):
            pieces.append(piece)
            if self._faults.half_uploads and 2 * sum(map(len, pieces)) >= (
                request.content_length or 0
            ):
                self._faults.take("half_uploads")
                assert request.transport is not None
                request.transport.abort()
                raise ConnectionResetError("cut off on purpose")
            await self._throttle.passes(len(piece))
        content = b"".join(pieces)
        self.n_bytes_received += len(content)
        return content
