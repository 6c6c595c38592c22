"""Modal's control plane, as far as we use it: look-up, deployment, calls, blobs and volumes.

Written from the protocol definitions that ship with the `modal` package, so that the real client
library runs against it unchanged.
"""

from __future__ import annotations

import asyncio
import base64
import itertools
import json
import pickle
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from io import BytesIO
from pathlib import PurePosixPath
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from grpclib.const import Handler
from grpclib.server import Stream
from modal_proto import api_grpc, api_pb2

from backends_remote.loopback.containers import Call, Pool
from backends_remote.loopback.faults import Faults
from backends_remote.loopback.storage import Storage

#: Answers above this go by blob, as in Modal's service.
_INLINE_ANSWER_BYTES = 2 << 20
#: A version of Modal's image recipes that old and new clients know.
_IMAGE_BUILDER = "2024.10"
#: Containers of one pool; as many as a test machine has cores for.
_MAX_CONTAINERS = 2

_Procedure = Callable[["ControlPlane", Any], Any]
_PROCEDURES: dict[str, _Procedure] = {}

_STATUS = {
    "done": api_pb2.GenericResult.GENERIC_STATUS_SUCCESS,
    "failed": api_pb2.GenericResult.GENERIC_STATUS_FAILURE,
    "cancelled": api_pb2.GenericResult.GENERIC_STATUS_TERMINATED,
    "timeout": api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT,
    "preempted": api_pb2.GenericResult.GENERIC_STATUS_INTERNAL_FAILURE,
}


def _procedure(name: str) -> Callable[[_Procedure], _Procedure]:
    def register(function: _Procedure) -> _Procedure:
        _PROCEDURES[name] = function
        return function

    return register


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
    calls : dict of str to Call
        Every function call, by id.
    counts : dict of str to int
        How often each procedure was called.
    """

    def __init__(self, storage: Storage, faults: Faults, idle_seconds: float) -> None:
        self.calls: dict[str, Call] = {}
        self.counts: dict[str, int] = {}
        self.deployed: dict[str, str] = {}
        self._storage = storage
        self._faults = faults
        self._idle_seconds = idle_seconds
        self._functions: dict[str, dict[str, Any]] = {}
        self._pools: dict[str, Pool] = {}
        self._numbers = itertools.count(1)

    def __mapping__(self) -> dict[str, Handler]:
        """Return every procedure of the protocol; those we do not play are "unimplemented"."""
        # The generated base class is abstract in every procedure, and only its table is wanted.
        table: dict[str, Handler] = api_grpc.ModalClientBase.__mapping__(_AnyMethod())
        return {path: self._handler(path, handler) for path, handler in table.items()}

    def pools(self) -> Mapping[str, Pool]:
        """Return the pools of containers by function."""
        return self._pools

    async def close(self) -> None:
        """End every container."""
        await asyncio.gather(*(pool.close() for pool in self._pools.values()))

    def _handler(self, path: str, handler: Handler) -> Handler:
        name = path.rsplit("/", 1)[1]

        async def answer(stream: Stream[Any, Any]) -> None:
            request = await stream.recv_message()
            await self._misbehave(name)
            if name not in _PROCEDURES:
                raise GRPCError(Status.UNIMPLEMENTED, f"the loopback does not play {name}")
            found = _PROCEDURES[name](self, request)
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

    # Session

    @_procedure("ClientHello")
    def _hello(self, request: Any) -> Any:
        return api_pb2.ClientHelloResponse()

    @_procedure("AuthTokenGet")
    def _auth_token(self, request: Any) -> Any:
        claims = json.dumps({"exp": int(time.time()) + 3600}).encode()
        body = base64.urlsafe_b64encode(claims).rstrip(b"=").decode()
        return api_pb2.AuthTokenGetResponse(token=f"e30.{body}.e30")

    @_procedure("EnvironmentGetOrCreate")
    def _environment(self, request: Any) -> Any:
        settings = api_pb2.EnvironmentSettings(image_builder_version=_IMAGE_BUILDER)
        return api_pb2.EnvironmentGetOrCreateResponse(
            environment_id="en-1",
            metadata=api_pb2.EnvironmentMetadata(name="main", settings=settings),
        )

    # Deployment

    @_procedure("AppGetByDeploymentName")
    def _find_app(self, request: Any) -> Any:
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self.deployed.get(request.name, ""))

    @_procedure("AppGetOrCreate")
    def _find_or_create_app(self, request: Any) -> Any:
        found = self.deployed.get(request.app_name, "")
        create = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        if not found and request.object_creation_type != create:
            raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found")
        return api_pb2.AppGetOrCreateResponse(app_id=found or self._new_id("ap"))

    @_procedure("AppCreate")
    def _create_app(self, request: Any) -> Any:
        return api_pb2.AppCreateResponse(app_id=self._new_id("ap"))

    @_procedure("AppGetLayout")
    def _layout(self, request: Any) -> Any:
        return api_pb2.AppGetLayoutResponse(app_layout=api_pb2.AppLayout())

    @_procedure("ImageGetOrCreate")
    def _image(self, request: Any) -> Any:
        success = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        return api_pb2.ImageGetOrCreateResponse(
            image_id=self._new_id("im"), result=api_pb2.GenericResult(status=success)
        )

    @_procedure("MountPutFile")
    def _mount_file(self, request: Any) -> Any:
        return api_pb2.MountPutFileResponse(exists=True)

    @_procedure("MountBatchedCheckExistence")
    def _mount_files(self, request: Any) -> Any:
        return api_pb2.MountBatchedCheckExistenceResponse()

    @_procedure("MountGetOrCreate")
    def _mount(self, request: Any) -> Any:
        return api_pb2.MountGetOrCreateResponse(mount_id=self._new_id("mo"))

    @_procedure("FunctionPrecreate")
    def _precreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_id("fu")
        self._functions[function_id] = {
            "name": request.function_name,
            "methods": list(request.method_definitions),
            "gpu": "T4",
            "timeout": 300.0,
        }
        return api_pb2.FunctionPrecreateResponse(
            function_id=function_id, handle_metadata=self._metadata(function_id)
        )

    @_procedure("FunctionCreate")
    def _create_function(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_id("fu")
        definition = (
            request.function_data if request.HasField("function_data") else request.function
        )
        entry = self._functions.setdefault(function_id, {"methods": []})
        entry["name"] = definition.function_name
        entry["methods"] = list(definition.method_definitions) or entry["methods"]
        entry["timeout"] = float(definition.timeout_secs or 300)
        ranked = list(getattr(definition, "ranked_functions", []))
        resources = ranked[0].function.resources if ranked else request.function.resources
        entry["gpu"] = resources.gpu_config.gpu_type or "T4"
        entry["app"] = request.app_id
        data = request.function_data
        if not ranked:
            data = api_pb2.FunctionData(
                ranked_functions=[
                    api_pb2.FunctionData.RankedFunction(rank=0, function=request.function)
                ]
            )
        entry["definition"] = data
        response = api_pb2.FunctionCreateResponse(
            function_id=function_id, handle_metadata=self._metadata(function_id)
        )
        return _with_definition(response, "function_data", data)

    @_procedure("ClassCreate")
    def _create_class(self, request: Any) -> Any:
        return api_pb2.ClassCreateResponse(
            class_id=self._new_id("cs"), handle_metadata=api_pb2.ClassHandleMetadata()
        )

    @_procedure("AppPublish")
    def _publish(self, request: Any) -> Any:
        self.deployed[request.name] = request.app_id
        for name, function_id in request.function_ids.items():
            self._functions[function_id].update(name=name, app=request.app_id)
        return api_pb2.AppPublishResponse(url="http://127.0.0.1/", deployed_at=time.time())

    @_procedure("AppClientDisconnect")
    @_procedure("AppHeartbeat")
    def _empty(self, request: Any) -> Any:
        return Empty()

    @_procedure("AppStop")
    async def _stop_app(self, request: Any) -> Any:
        self.deployed = {name: at for name, at in self.deployed.items() if at != request.app_id}
        for function_id, pool in list(self._pools.items()):
            if self._functions[function_id].get("app") == request.app_id:
                await pool.close()
                del self._pools[function_id]
        return Empty()

    # Look-up

    @_procedure("ClassGet")
    def _class(self, request: Any) -> Any:
        self._function_id(request.app_name, f"{request.object_tag}.*")
        return api_pb2.ClassGetResponse(
            class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata()
        )

    @_procedure("FunctionGet")
    def _function(self, request: Any) -> Any:
        function_id = self._function_id(request.app_name, request.object_tag)
        response = api_pb2.FunctionGetResponse(
            function_id=function_id, handle_metadata=self._metadata(function_id)
        )
        return _with_definition(response, "function", self._functions[function_id]["definition"])

    @_procedure("FunctionBindParams")
    def _bind(self, request: Any) -> Any:
        options = request.function_options
        base = self._functions[request.function_id]
        gpu = options.resources.gpu_config.gpu_type or base["gpu"]
        timeout = float(options.timeout_secs or base["timeout"])
        bound = f"{request.function_id}-{gpu}-{timeout:g}"
        self._functions.setdefault(bound, {**base, "gpu": gpu, "timeout": timeout})
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=bound, handle_metadata=self._metadata(bound)
        )

    def _function_id(self, app: str, tag: str) -> str:
        app_id = self.deployed.get(app)
        for function_id, entry in self._functions.items():
            if app_id and entry.get("app") == app_id and entry["name"] == tag:
                return function_id
        raise GRPCError(Status.NOT_FOUND, f"No function {tag} in the app {app}")

    def _metadata(self, function_id: str) -> Any:
        entry = self._functions[function_id]
        unary = api_pb2.Function.FUNCTION_TYPE_FUNCTION
        methods = {
            name: api_pb2.FunctionHandleMetadata(
                function_name=f"{entry['name']}.{name}",
                function_type=unary,
                is_method=True,
                use_method_name=name,
                definition_id=f"de-{function_id}-{name}",
            )
            for name in entry["methods"]
        }
        return api_pb2.FunctionHandleMetadata(
            function_name=entry["name"],
            function_type=unary,
            definition_id=f"de-{function_id}",
            method_handle_metadata=methods,
        )

    # Calls

    @_procedure("FunctionMap")
    async def _call(self, request: Any) -> Any:
        if self._faults.quota:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "the workspace's spend limit is reached")
        call_id = self._new_id("fc")
        given = [
            await self._queue(call_id, request.function_id, item)
            for item in request.pipelined_inputs
        ]
        return api_pb2.FunctionMapResponse(
            function_call_id=call_id,
            pipelined_inputs=given,
            function_call_jwt="e30.e30.e30",
        )

    @_procedure("FunctionPutInputs")
    async def _put_inputs(self, request: Any) -> Any:
        given = [
            await self._queue(request.function_call_id, request.function_id, item)
            for item in request.inputs
        ]
        return api_pb2.FunctionPutInputsResponse(inputs=given)

    async def _queue(self, call_id: str, function_id: str, item: Any) -> Any:
        sent = item.input
        content = self._storage.blob(sent.args_blob_id) if sent.args_blob_id else sent.args
        arguments, keywords = _PlainUnpickler(BytesIO(content)).load()
        method = sent.method_name
        call = Call(call_id, function_id, method, [*arguments, *keywords.values()])
        self.calls[call_id] = call
        await self._pool(function_id).submit(call)
        return api_pb2.FunctionPutInputsResponseItem(
            idx=item.idx, input_id=f"in-{call_id}", input_jwt="e30.e30.e30"
        )

    def _pool(self, function_id: str) -> Pool:
        if function_id not in self._pools:
            entry = self._functions[function_id]
            self._pools[function_id] = Pool(
                entry["gpu"],
                self._storage.volume_folder("vo-1"),
                self._faults,
                entry["timeout"],
                self._idle_seconds,
                _MAX_CONTAINERS,
            )
        return self._pools[function_id]

    @_procedure("FunctionGetOutputs")
    async def _outputs(self, request: Any) -> Any:
        call = self._known(request.function_call_id)
        if self._faults.expired:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=0)
        try:
            await asyncio.wait_for(call.finished.wait(), max(request.timeout, 0.001))
        except TimeoutError:
            return api_pb2.FunctionGetOutputsResponse(num_unfinished_inputs=1)
        if self._faults.take("lost_answers"):
            raise GRPCError(Status.UNAVAILABLE, "the connection was lost")
        item = api_pb2.FunctionGetOutputsItem(
            idx=0,
            input_id=f"in-{call.id}",
            result=self._result(call),
            data_format=api_pb2.DATA_FORMAT_PICKLE,
        )
        return api_pb2.FunctionGetOutputsResponse(outputs=[item], idxs=[0])

    def _result(self, call: Call) -> Any:
        if call.state != "done":
            return api_pb2.GenericResult(status=_STATUS[call.state], exception=call.trouble)
        answer = call.answer
        if self._faults.take("damaged_answers"):
            answer = answer[:-1] + bytes([answer[-1] ^ 1])
        content = pickle.dumps(answer)
        success = _STATUS["done"]
        if len(content) > _INLINE_ANSWER_BYTES:
            name = self._storage.add_blob(content)
            return api_pb2.GenericResult(status=success, data_blob_id=name)
        return api_pb2.GenericResult(status=success, data=content)

    @_procedure("FunctionCallCancel")
    async def _cancel(self, request: Any) -> Any:
        call = self._known(request.function_call_id)
        await self._pools[call.function_id].cancel(call)
        return Empty()

    @_procedure("FunctionCallFromId")
    def _from_id(self, request: Any) -> Any:
        call = self._known(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=1)

    @_procedure("FunctionGetCurrentStats")
    def _stats(self, request: Any) -> Any:
        pool = self._pools.get(request.function_id)
        if pool is None:
            return api_pb2.FunctionStats()
        return api_pb2.FunctionStats(
            backlog=pool.backlog,
            num_total_tasks=pool.n_containers,
            num_running_inputs=pool.n_running,
        )

    def _known(self, call_id: str) -> Call:
        if call_id not in self.calls:
            raise GRPCError(Status.NOT_FOUND, f"No function call with ID '{call_id}' found")
        return self.calls[call_id]

    # Blobs and volumes

    @_procedure("BlobCreate")
    def _create_blob(self, request: Any) -> Any:
        name = self._new_id("bl")
        return api_pb2.BlobCreateResponse(
            blob_id=name,
            upload_url=self._storage.url("blob", name),
            blob_ids=[name],
            upload_urls=api_pb2.UploadUrlList(items=[self._storage.url("blob", name)]),
        )

    @_procedure("BlobGet")
    def _get_blob(self, request: Any) -> Any:
        return api_pb2.BlobGetResponse(download_url=self._storage.url("blob", request.blob_id))

    @_procedure("VolumeGetOrCreate")
    def _volume(self, request: Any) -> Any:
        version = api_pb2.VOLUME_FS_VERSION_V2
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id="vo-1",
            version=version,
            metadata=api_pb2.VolumeMetadata(version=version, name=request.deployment_name),
        )

    @_procedure("VolumePutFiles2")
    def _put_files(self, request: Any) -> Any:
        missing = [
            api_pb2.VolumePutFiles2Response.MissingBlock(
                file_index=i, block_index=j, put_url=self._storage.url("block", f"{i}-{j}")
            )
            for i, file in enumerate(request.files)
            for j, block in enumerate(file.blocks)
            if not self._storage.has_block(block.contents_sha256.hex())
        ]
        if not missing:
            for file in request.files:
                digests = [block.contents_sha256.hex() for block in file.blocks]
                self._storage.write_file(request.volume_id, file.path, digests, file.size)
        return api_pb2.VolumePutFiles2Response(missing_blocks=missing)

    @_procedure("VolumeListFiles2")
    async def _list_files(self, request: Any) -> AsyncIterator[Any]:
        folder = self._storage.volume_folder(request.volume_id)
        try:
            found = self._storage.list_files(request.volume_id, request.path, request.recursive)
        except FileNotFoundError as error:
            raise GRPCError(Status.NOT_FOUND, f"No such directory: {error}") from None
        kinds = api_pb2.FileEntry
        yield api_pb2.VolumeListFiles2Response(
            entries=[
                kinds(
                    path=str(PurePosixPath(path.relative_to(folder.resolve()))),
                    type=kinds.DIRECTORY if path.is_dir() else kinds.FILE,
                    mtime=int(path.stat().st_mtime),
                    size=path.stat().st_size,
                )
                for path in found
            ]
        )

    @_procedure("VolumeRemoveFile2")
    def _remove_file(self, request: Any) -> Any:
        try:
            self._storage.remove(request.volume_id, request.path)
        except FileNotFoundError as error:
            raise GRPCError(Status.NOT_FOUND, f"No such file: {error}") from None
        return Empty()


def _with_definition(response: Any, field: str, definition: Any) -> Any:
    """Return what was deployed along, where the protocol of this client has a place for it."""
    if field in response.DESCRIPTOR.fields_by_name:
        getattr(response, field).CopyFrom(definition)
    return response


class _AnyMethod:
    """Has every method one asks for; stands for an instance where only the names matter."""

    def __getattr__(self, name: str) -> Callable[..., None]:
        return lambda *_: None


class _PlainUnpickler(pickle.Unpickler):
    """Reads the client library's envelope of bytes and plain values, and nothing that has a name."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
