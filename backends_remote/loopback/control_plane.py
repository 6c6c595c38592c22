"""Modal's control plane, as far as we use it.

Written from the protocol definitions that ship with the `modal` package, so that the real client
library runs against it unchanged.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import Any, cast

from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.server import Stream
from modal_proto import api_grpc, api_pb2

from backends_remote.loopback.calls import Calls
from backends_remote.loopback.containers import Call, Pool
from backends_remote.loopback.deployments import Deployments
from backends_remote.loopback.faults import Faults
from backends_remote.loopback.files import Files
from backends_remote.loopback.procedures import procedure, procedures_of
from backends_remote.loopback.storage import Storage

#: A version of Modal's image recipes that old and new clients know.
_IMAGE_BUILDER = "2024.10"


class ControlPlane:
    """Answers remote procedures.

    Parameters
    ----------
    storage : Storage
    faults : Faults
    idle_seconds : float
        After which a container without work ends.

    Attributes
    ----------
    counts : dict of str to int
        How often each procedure was called.
    """

    def __init__(self, storage: Storage, faults: Faults, idle_seconds: float) -> None:
        self.counts: dict[str, int] = {}
        self._faults = faults
        self._numbers = itertools.count(1)
        self._deployments = Deployments(self._new_id, self.end_containers)
        self._calls = Calls(self._deployments, storage, faults, idle_seconds, self._new_id)
        rooms = (self, self._deployments, self._calls, Files(storage, self._new_id))
        self._procedures = {
            name: method for room in rooms for name, method in procedures_of(room).items()
        }

    def __mapping__(self) -> dict[str, Handler]:
        """Return every procedure of the protocol; those we do not play are "unimplemented"."""
        # The generated base class is abstract in every procedure, and only its table is wanted.
        names = cast(api_grpc.ModalClientBase, _AnyMethod())
        table: dict[str, Handler] = api_grpc.ModalClientBase.__mapping__(names)
        return {path: self._handler(path, handler) for path, handler in table.items()}

    @property
    def calls(self) -> Mapping[str, Call]:
        """Every function call, by id."""
        return self._calls.calls

    @property
    def pools(self) -> Mapping[str, Pool]:
        """The pools of containers, by function."""
        return self._calls.pools

    @property
    def deployed(self) -> dict[str, str]:
        """Ids of deployed apps, by name."""
        return self._deployments.deployed

    @property
    def shipped(self) -> set[str]:
        """Paths of all files that were put into images."""
        return self._deployments.shipped

    async def end_containers(self, app_id: str | None = None) -> None:
        """End the containers of one app, or all."""
        await self._calls.end_containers(app_id)

    def _handler(self, path: str, handler: Handler) -> Handler:
        name = path.rsplit("/", 1)[1]

        async def answer(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            await self._misbehave(name)
            if name not in self._procedures:
                raise GRPCError(Status.UNIMPLEMENTED, f"the loopback does not play {name}")
            found = self._procedures[name](request)
            if isinstance(found, AsyncIterator):
                async for message in found:
                    await stream.send_message(message)
            else:
                await stream.send_message(await found if isinstance(found, Awaitable) else found)

        return Handler(answer, handler.cardinality, handler.request_type, handler.reply_type)

    async def _misbehave(self, name: str) -> None:
        self.counts[name] = self.counts.get(name, 0) + 1
        if name in self._faults.stalled:
            await asyncio.Event().wait()
        if self._faults.refuse_token:
            raise GRPCError(Status.UNAUTHENTICATED, "Token ID is not valid")
        if self._faults.unavailable.get(name, 0) > 0:
            self._faults.unavailable[name] -= 1
            raise GRPCError(Status.UNAVAILABLE, "the service is being restarted")

    def _new_id(self, kind: str) -> str:
        return f"{kind}-{next(self._numbers):06d}"

    @procedure("ClientHello")
    def _hello(self, request: Any) -> Any:
        return api_pb2.ClientHelloResponse()

    @procedure("AuthTokenGet")
    def _auth_token(self, request: Any) -> Any:
        claims = json.dumps({"exp": int(time.time()) + 3600}).encode()
        body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        return api_pb2.AuthTokenGetResponse(token=f"e30.{body}.e30")

    @procedure("EnvironmentGetOrCreate")
    def _environment(self, request: Any) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=_IMAGE_BUILDER)
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api_pb2.EnvironmentMetadata(name="main", settings=settings),
        )


class _AnyMethod:
    """Has every method one asks for; stands for an instance where only the names matter."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None
