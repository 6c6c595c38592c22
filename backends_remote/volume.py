"""The volume in the user's account that holds uploaded data: list, put, remove.

This is the client's side; a container reads the files through ``place``. What is uploaded is
decided in ``outbox``, and what is removed in ``account``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from backends_remote import network
from backends_remote.deployment import VOLUME_NAME
from backends_remote.failures import before_work
from backends_remote.network import check_reachable, within

T = TypeVar("T")


@dataclass(frozen=True)
class StoredFile:
    """A file on the volume: its path, its bytes, and when it was written, in seconds since 1970."""

    path: str
    n_bytes: int
    written_at: float


class DataVolume:
    """The volume with uploaded data, one folder per data set, named by its digest.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
        As in `failures.before_work`; the methods raise the same.
    """

    def __init__(self) -> None:
        with before_work():
            check_reachable()
            self._volume = within(network.CALL_SECONDS, _volume)

    def files(self, folder: str = "/") -> list[StoredFile]:
        """Return all files in a folder; none where it does not exist.

        Raises
        ------
        NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
        """
        none: list[Any] = []
        entries = self._unless_missing(
            lambda: list(self._volume.listdir(folder, recursive=True)), none
        )
        return [
            StoredFile(entry.path, int(entry.size), float(entry.mtime))
            for entry in entries
            if entry.type.name == "FILE"
        ]

    def put(self, folder: str, files: Iterable[Path]) -> None:
        """Upload files, in one batch. From paths, because Modal copies what is in memory.

        Raises
        ------
        NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
        """
        files = list(files)

        def upload() -> None:
            with self._volume.batch_upload(force=True) as batch:
                for file in files:
                    batch.put_file(file, f"/{folder}/{file.name}")

        n_bytes = sum(file.stat().st_size for file in files)
        with before_work():
            within(network.CALL_SECONDS + n_bytes / network.SLOWEST_UPLOAD, upload)

    def remove(self, folder: str) -> None:
        """Remove a data set; nothing where it is not there.

        Raises
        ------
        NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
        """
        self._unless_missing(lambda: self._volume.remove_file(f"/{folder}", recursive=True), None)

    def _unless_missing(self, work: Callable[[], T], otherwise: T) -> T:
        from modal.exception import NotFoundError

        with before_work():
            try:
                return within(network.CALL_SECONDS, work)
            except (NotFoundError, FileNotFoundError):
                return otherwise


def _volume() -> Any:
    import modal

    volume = modal.Volume.from_name(VOLUME_NAME, create_if_missing=True, version=2)
    volume.hydrate()
    return volume
