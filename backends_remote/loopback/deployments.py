"""Apps and functions of the loopback: deployed, looked up, bound to a kind of machine, stopped.

No image is built and no file is copied; a client is told that it was done. Calls of a function are
in ``calls``.
"""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from backends_remote.loopback.procedures import procedure


class Deployments:
    """What was deployed.

    Parameters
    ----------
    new_id : callable
        ``new_id(kind)`` returns an id nobody has.
    end_containers : callable
        ``await end_containers(app_id)`` ends all containers of an app.

    Attributes
    ----------
    deployed : dict of str to str
        Ids of apps by name.
    functions : dict of str to dict
        By id: name, methods, kind of GPU, time limit and app.
    shipped : set of str
        Paths of all files that were put into images, as they lie in a container.
    """

    def __init__(
        self, new_id: Callable[[str], str], end_containers: Callable[[str], Awaitable[None]]
    ) -> None:
        self.deployed: dict[str, str] = {}
        self.functions: dict[str, dict[str, Any]] = {}
        self.shipped: set[str] = set()
        self._new_id = new_id
        self._end_containers = end_containers

    @procedure("AppGetByDeploymentName")
    def _find_app(self, request: Any) -> Any:
        return api_pb2.AppGetByDeploymentNameResponse(app_id=self.deployed.get(request.name, ""))

    @procedure("AppGetOrCreate")
    def _find_or_create_app(self, request: Any) -> Any:
        found = self.deployed.get(request.app_name, "")
        create = api_pb2.OBJECT_CREATION_TYPE_CREATE_IF_MISSING
        if not found and request.object_creation_type != create:
            raise GRPCError(Status.NOT_FOUND, f"App '{request.app_name}' not found")
        return api_pb2.AppGetOrCreateResponse(app_id=found or self._new_id("ap"))

    @procedure("AppCreate")
    def _create_app(self, request: Any) -> Any:
        return api_pb2.AppCreateResponse(app_id=self._new_id("ap"))

    @procedure("AppGetLayout")
    def _layout(self, request: Any) -> Any:
        return api_pb2.AppGetLayoutResponse(app_layout=api_pb2.AppLayout())

    @procedure("ImageGetOrCreate")
    def _image(self, request: Any) -> Any:
        success = api_pb2.GenericResult.GENERIC_STATUS_SUCCESS
        return api_pb2.ImageGetOrCreateResponse(
            image_id=self._new_id("im"), result=api_pb2.GenericResult(status=success)
        )

    @procedure("MountPutFile")
    def _mount_file(self, request: Any) -> Any:
        return api_pb2.MountPutFileResponse(exists=True)

    @procedure("MountBatchedCheckExistence")
    def _mount_files(self, request: Any) -> Any:
        return api_pb2.MountBatchedCheckExistenceResponse()

    @procedure("MountGetOrCreate")
    def _mount(self, request: Any) -> Any:
        self.shipped.update(file.filename for file in request.files)
        return api_pb2.MountGetOrCreateResponse(mount_id=self._new_id("mo"))

    @procedure("FunctionPrecreate")
    def _precreate(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_id("fu")
        self.functions[function_id] = {
            "name": request.function_name,
            "methods": list(request.method_definitions),
            "gpu": "T4",
            "timeout": 300.0,
        }
        return api_pb2.FunctionPrecreateResponse(
            function_id=function_id, handle_metadata=self._metadata(function_id)
        )

    @procedure("FunctionCreate")
    def _create_function(self, request: Any) -> Any:
        function_id = request.existing_function_id or self._new_id("fu")
        definition = (
            request.function_data if request.HasField("function_data") else request.function
        )
        entry = self.functions.setdefault(function_id, {"methods": []})
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

    @procedure("ClassCreate")
    def _create_class(self, request: Any) -> Any:
        return api_pb2.ClassCreateResponse(
            class_id=self._new_id("cs"), handle_metadata=api_pb2.ClassHandleMetadata()
        )

    @procedure("AppPublish")
    def _publish(self, request: Any) -> Any:
        self.deployed[request.name] = request.app_id
        for name, function_id in request.function_ids.items():
            self.functions[function_id].update(name=name, app=request.app_id)
        response = api_pb2.AppPublishResponse(url="http://127.0.0.1/")
        if "deployed_at" in response.DESCRIPTOR.fields_by_name:  # clients of today read it
            response.deployed_at = time.time()
        return response

    @procedure("AppClientDisconnect", "AppHeartbeat")
    def _empty(self, request: Any) -> Any:
        return Empty()

    @procedure("AppStop")
    async def _stop_app(self, request: Any) -> Any:
        for name, app_id in list(self.deployed.items()):
            if app_id == request.app_id:
                del self.deployed[name]
        await self._end_containers(request.app_id)
        return Empty()

    @procedure("ClassGet")
    def _class(self, request: Any) -> Any:
        self._function_id(request.app_name, f"{request.object_tag}.*")
        return api_pb2.ClassGetResponse(
            class_id="cs-1", handle_metadata=api_pb2.ClassHandleMetadata()
        )

    @procedure("FunctionGet")
    def _function(self, request: Any) -> Any:
        function_id = self._function_id(request.app_name, request.object_tag)
        response = api_pb2.FunctionGetResponse(
            function_id=function_id, handle_metadata=self._metadata(function_id)
        )
        return _with_definition(response, "function", self.functions[function_id]["definition"])

    @procedure("FunctionBindParams")
    def _bind(self, request: Any) -> Any:
        options = request.function_options
        base = self.functions[request.function_id]
        gpu = options.resources.gpu_config.gpu_type or base["gpu"]
        timeout = float(options.timeout_secs or base["timeout"])
        bound = f"{request.function_id}-{gpu}-{timeout:g}"
        self.functions.setdefault(bound, {**base, "gpu": gpu, "timeout": timeout})
        return api_pb2.FunctionBindParamsResponse(
            bound_function_id=bound, handle_metadata=self._metadata(bound)
        )

    def _function_id(self, app: str, tag: str) -> str:
        app_id = self.deployed.get(app)
        for function_id, entry in self.functions.items():
            if app_id and entry.get("app") == app_id and entry["name"] == tag:
                return function_id
        raise GRPCError(Status.NOT_FOUND, f"No function {tag} in the app {app}")

    def _metadata(self, function_id: str) -> Any:
        entry = self.functions[function_id]
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


def _with_definition(response: Any, field: str, definition: Any) -> Any:
    """Return what was deployed along, where the protocol of this client has a place for it."""
    if field in response.DESCRIPTOR.fields_by_name:
        getattr(response, field).CopyFrom(definition)
    return response
