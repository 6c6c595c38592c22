"""Function calls of the loopback: inputs in, containers to run them, answers out.

Which functions there are is known to ``deployments``, and how they are queued and run to
``containers``. Of what a client pickled, only plain data are read.
"""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable
from io import BytesIO
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from backends_remote.loopback.containers import Call, Pool
from backends_remote.loopback.deployments import Deployments
from backends_remote.loopback.faults import Faults
from backends_remote.loopback.procedures import procedure
from backends_remote.loopback.storage import VOLUME_ID, Storage

#: Answers above this go by blob, as in Modal's service.
_INLINE_ANSWER_BYTES = 2 << 20
#: Containers of one pool; as many as a test machine has cores for.
_MAX_CONTAINERS = 2

_STATUS = {
    "done": api_pb2.GenericResult.GENERIC_STATUS_SUCCESS,
    "failed": api_pb2.GenericResult.GENERIC_STATUS_FAILURE,
    "cancelled": api_pb2.GenericResult.GENERIC_STATUS_TERMINATED,
    "timeout": api_pb2.GenericResult.GENERIC_STATUS_TIMEOUT,
    "preempted": api_pb2.GenericResult.GENERIC_STATUS_INTERNAL_FAILURE,
}


class Calls:
    """Every function call, and the pools of containers that run them.

    Parameters
    ----------
    deployments : Deployments
    storage : Storage
    faults : Faults
    idle_seconds : float
        After which a container without work ends.
    new_id : callable
        ``new_id(kind)`` returns an id nobody has.

    Attributes
    ----------
    calls : dict of str to Call
        By id.
    pools : dict of str to Pool
        By function.
    """

    def __init__(
        self,
        deployments: Deployments,
        storage: Storage,
        faults: Faults,
        idle_seconds: float,
        new_id: Callable[[str], str],
    ) -> None:
        self.calls: dict[str, Call] = {}
        self.pools: dict[str, Pool] = {}
        self._deployments = deployments
        self._storage = storage
        self._faults = faults
        self._idle_seconds = idle_seconds
        self._new_id = new_id

    async def end_containers(self, app_id: str | None = None) -> None:
        """End the containers of one app, or all."""
        for function_id, pool in list(self.pools.items()):
            app = self._deployments.functions[function_id].get("app")
            if app_id in (None, app):
                await pool.close()

    @procedure("FunctionMap")
    async def _call(self, request: Any) -> Any:
        if self._faults.quota:
            raise GRPCError(Status.RESOURCE_EXHAUSTED, "the workspace's spend limit is reached")
        app = self._deployments.functions[request.function_id].get("app")
        if app not in self._deployments.deployed.values():
            raise GRPCError(Status.NOT_FOUND, f"The app of {request.function_id} was stopped")
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

    @procedure("FunctionPutInputs")
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
        if function_id not in self.pools:
            entry = self._deployments.functions[function_id]
            self.pools[function_id] = Pool(
                entry["gpu"],
                self._storage.volume_folder(VOLUME_ID),
                self._faults,
                entry["timeout"],
                self._idle_seconds,
                _MAX_CONTAINERS,
            )
        return self.pools[function_id]

    @procedure("FunctionGetOutputs")
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

    @procedure("FunctionCallCancel")
    async def _cancel(self, request: Any) -> Any:
        call = self._known(request.function_call_id)
        await self.pools[call.function_id].cancel(call, end=request.terminate_containers)
        return Empty()

    @procedure("FunctionCallFromId")
    def _from_id(self, request: Any) -> Any:
        call = self._known(request.function_call_id)
        return api_pb2.FunctionCallFromIdResponse(function_call_id=call.id, num_inputs=1)

    @procedure("FunctionGetCurrentStats")
    def _stats(self, request: Any) -> Any:
        pool = self.pools.get(request.function_id)
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


class _PlainUnpickler(pickle.Unpickler):
    """Reads the client library's envelope of bytes and plain values, nothing that has a name."""

    def find_class(self, module: str, name: str) -> Any:
        raise pickle.UnpicklingError(f"{module}.{name} is not plain data")
