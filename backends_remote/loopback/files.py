"""Blobs and volumes of the loopback, as Modal's protocol speaks of them.

Here a client learns where to send and fetch bytes, and what lies on a volume. The bytes themselves
are in ``storage``.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from pathlib import PurePosixPath
from typing import Any

from google.protobuf.empty_pb2 import Empty
from grpclib import GRPCError, Status
from modal_proto import api_pb2

from backends_remote.loopback.procedures import procedure
from backends_remote.loopback.storage import VOLUME_ID, Storage


class Files:
    """Answers about blobs and volumes.

    Parameters
    ----------
    storage : Storage
    new_id : callable
        ``new_id(kind)`` returns an id nobody has.
    """

    def __init__(self, storage: Storage, new_id: Callable[[str], str]) -> None:
        self._storage = storage
        self._new_id = new_id

    @procedure("BlobCreate")
    def _create_blob(self, request: Any) -> Any:
        name = self._new_id("bl")
        return api_pb2.BlobCreateResponse(
            blob_id=name,
            upload_url=self._storage.url("blob", name),
            blob_ids=[name],
            upload_urls=api_pb2.UploadUrlList(items=[self._storage.url("blob", name)]),
        )

    @procedure("BlobGet")
    def _get_blob(self, request: Any) -> Any:
        return api_pb2.BlobGetResponse(download_url=self._storage.url("blob", request.blob_id))

    @procedure("VolumeGetOrCreate")
    def _volume(self, request: Any) -> Any:
        version = api_pb2.VOLUME_FS_VERSION_V2
        return api_pb2.VolumeGetOrCreateResponse(
            volume_id=VOLUME_ID,
            version=version,
            metadata=api_pb2.VolumeMetadata(version=version),
        )

    @procedure("VolumePutFiles2")
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

    @procedure("VolumeListFiles2")
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

    @procedure("VolumeRemoveFile2")
    def _remove_file(self, request: Any) -> Any:
        try:
            self._storage.remove(request.volume_id, request.path)
        except FileNotFoundError as error:
            raise GRPCError(Status.NOT_FOUND, f"No such file: {error}") from None
        return Empty()
