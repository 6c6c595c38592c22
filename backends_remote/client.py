"""The client side of Modal: what is said to the `modal` library about calls and data.

Everything here is one step: look up, wake, send, submit, wait, cancel. Their order is the business
of ``session``; what their failures mean is said in ``failures``.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Callable, Iterable
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import urlsplit
from urllib.request import getproxies

from backends_remote.deployment import APP_NAME, CLASS_NAME, VOLUME_NAME
from backends_remote.failures import (
    PollingInterruptedError,
    before_work,
    connection_lost,
    while_waiting,
)
from tsne_backends.errors import NotDeployedError, RemoteError, ServiceUnreachableError

#: Seconds for a first sign of life of Modal's servers; its library alone would wait 57 to 59.
CONNECT_SECONDS = 5.0
#: Seconds for any other step, such as a look-up.
CALL_SECONDS = 30.0
#: Slowest upload that counts as one, in bytes per second.
SLOWEST_UPLOAD = 50e3
#: Seconds that an interrupted step has to be undone.
UNDO_SECONDS = 3.0
#: Seconds of one poll: short enough that Ctrl-C and progress are prompt.
POLL_SECONDS = 2.0
#: Seconds a lost connection may take to come back while a job runs.
PATIENCE_SECONDS = 600.0
#: Seconds between two tries while it is lost.
RETRY_SECONDS = 2.0


@dataclass(frozen=True)
class Stats:
    """The containers of one pool.

    Attributes
    ----------
    n_containers : int
        Starting, working or idle.
    n_waiting : int
        Inputs without a container.
    """

    n_containers: int
    n_waiting: int


T = TypeVar("T")


def within(
    seconds: float, work: Callable[[], T], undo: Callable[[T], object] = lambda _: None
) -> T:
    """Return what ``work`` returns, or raise `ServiceUnreachableError` when its time is up.

    Modal's library waits without limit in some cases, as for an upload whose connection was reset,
    and warns of blocking calls where an event loop runs, as in notebooks. A thread of its own,
    which nobody waits for when the process ends, answers both. Where the caller left early, by
    Ctrl-C or for lack of time, ``undo`` is called with what ``work`` returned after all.
    """
    future: Future[T] = Future()

    def do() -> None:
        try:
            future.set_result(work())
        except BaseException as error:  # whatever it is, it belongs to the caller
            future.set_exception(error)

    def leave() -> None:
        future.add_done_callback(lambda done: None if done.exception() else undo(done.result()))

    threading.Thread(target=do, name="serverless-tsne-call", daemon=True).start()
    try:
        return future.result(timeout=seconds)
    except KeyboardInterrupt:
        leave()
        # The thread ends with the process, so give it a moment to undo what it did.
        with suppress(Exception):
            future.result(timeout=UNDO_SECONDS)
        raise
    except TimeoutError:
        if future.done():  # it came in the last moment, or the work itself raised this
            return future.result()
        leave()
        raise ServiceUnreachableError(
            f"Modal did not answer within {seconds:.0f} s. Check the network, or go on with a "
            "local backend."
        ) from None


_looked_up: dict[tuple[str, str, int], Any] = {}


def forget_look_ups() -> None:
    """Look services up anew: one was deployed or removed."""
    _looked_up.clear()


class Client:
    """The service in the user's account, seen from here.

    Parameters
    ----------
    gpu : str
        Kind of GPU.
    timeout_seconds : int
        After which the provider ends a run; one of `deployment.TIMEOUTS_SECONDS`.
    """

    def __init__(self, gpu: str, timeout_seconds: int) -> None:
        self.gpu = gpu
        self._timeout_seconds = timeout_seconds
        self._service: Any = None

    def connect(self) -> None:
        """Look the service up; a second call costs nothing.

        Raises
        ------
        NotLoggedInError, NotDeployedError, ServiceUnreachableError
        """
        if self._service is not None:
            return
        with before_work():
            check_reachable()
            self._service = within(CALL_SECONDS, self._look_up)

    def wake(self) -> str:
        """Ask for a container, and return the id of the call that it will answer."""
        return self._spawn("wake", CALL_SECONDS)

    def submit(self, request: bytes, data: bytes) -> str:
        """Ask for a map, and return the id of the job."""
        return self._spawn("embed", CALL_SECONDS + len(data) / SLOWEST_UPLOAD, request, data)

    def stats(self) -> Stats:
        """Return how many containers there are, and how many inputs wait for one."""
        with before_work():
            found = within(CALL_SECONDS, lambda: self._service.wake.get_current_stats())
        # Older clients of Modal have another name for the same number.
        containers = getattr(found, "num_total_runners", getattr(found, "num_total_tasks", 0))
        return Stats(int(containers), int(found.backlog))

    def _spawn(self, name: str, seconds: float, *arguments: bytes) -> str:
        def spawn() -> str:
            return str(getattr(self._service, name).spawn(*arguments).object_id)

        try:
            with before_work():
                return within(seconds, spawn, _end_call)
        except NotDeployedError:
            # It may have been deployed anew, by another process, since it was looked up.
            forget_look_ups()
            self._service = None
            self.connect()
            with before_work():
                return within(seconds, spawn, _end_call)

    def _look_up(self) -> Any:
        import modal
        from modal.config import config

        # Kept for the life of the process, because looking up takes three round trips.
        key = (str(config.get("server_url")), self.gpu, self._timeout_seconds)
        if key not in _looked_up:
            options: dict[str, Any] = {"gpu": self.gpu, "timeout": self._timeout_seconds}
            found = modal.Cls.from_name(APP_NAME, CLASS_NAME).with_options(**options)()
            found.wake.hydrate()
            _looked_up[key] = found
        return _looked_up[key]


def check_reachable() -> None:
    """Raise `ServiceUnreachableError` soon where Modal's servers do not answer.

    Where the user goes through a proxy, Modal's own library has to find out.
    """
    if not {"https", "all"} & set(getproxies()):
        within(CONNECT_SECONDS, _try_servers)


def _try_servers() -> None:
    from modal.config import config

    trouble: list[str] = []
    # Modal's configuration may name several servers, of which one is enough.
    for url in str(config.get("server_url")).split(","):
        place = urlsplit(url.strip())
        port = place.port or (443 if place.scheme == "https" else 80)
        try:
            socket.create_connection((str(place.hostname), port), CONNECT_SECONDS).close()
            return
        except OSError as error:
            trouble.append(f"{place.hostname} does not answer ({error})")
    raise ServiceUnreachableError(
        f"Modal cannot be reached: {'; '.join(trouble)}. Check the network, or go on with a local "
        "backend."
    )


def poll(job_id: str, seconds: float) -> bytes:
    """Return the answer of a job.

    Parameters
    ----------
    job_id : str
    seconds : float
        How long to wait for it.

    Returns
    -------
    bytes
        From the network, not checked yet.

    Raises
    ------
    TimeoutError
        It is not there yet.
    RemoteError
        There will be none; see `failures.while_waiting`.
    PollingInterruptedError, PreemptedError
        The connection broke, or the machine was taken away.
    """

    def get() -> Any:
        import modal

        return modal.FunctionCall.from_id(job_id).get(timeout=seconds)

    with while_waiting(job_id):
        answer = within(seconds + CALL_SECONDS, get)
    if not isinstance(answer, bytes):
        raise PollingInterruptedError(f"the answer is of type {type(answer).__name__}, not bytes")
    return answer


def wait(
    job_id: str,
    note: Callable[[str], None],
    watch: Callable[[], None] = lambda: None,
) -> bytes:
    """Wait for the answer of a job, riding out a lost connection.

    Parameters
    ----------
    job_id : str
    note : callable
        Told in words that the connection is lost or back.
    watch : callable, optional
        Called between two polls; may raise to end the waiting.

    Returns
    -------
    bytes

    Raises
    ------
    ConnectionLostError
        The connection did not come back for `PATIENCE_SECONDS`.
    RemoteError, PreemptedError
        As in `poll`.
    """
    lost_at: float | None = None
    while True:
        try:
            if lost_at is not None:
                check_reachable()
            return poll(job_id, POLL_SECONDS)
        except RemoteError:  # among them a TimeoutError that is final
            raise
        except TimeoutError:
            if lost_at is not None:
                note("the connection is back")
            lost_at = None
            watch()
        except (PollingInterruptedError, ServiceUnreachableError) as error:
            now = time.monotonic()
            if lost_at is None:
                note("the connection is lost; the job goes on, waiting for it to come back")
                lost_at = now
            if now - lost_at > PATIENCE_SECONDS:
                raise connection_lost(job_id, now - lost_at, error) from error
            time.sleep(RETRY_SECONDS)


def cancel(job_id: str) -> None:
    """End a job, and with it its cost.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError, ResultExpiredError
        It could not be cancelled.
    """
    check_reachable()
    try:
        with while_waiting(job_id):
            within(CALL_SECONDS, lambda: _end_call(job_id))
    except PollingInterruptedError as error:
        raise ServiceUnreachableError(f"Job {job_id} could not be cancelled: {error}") from error


def _end_call(call_id: str) -> None:
    import modal

    # A call into the GPU's libraries does not hear of a cancellation; its container must end.
    modal.FunctionCall.from_id(call_id).cancel(terminate_containers=True)


@dataclass(frozen=True)
class StoredFile:
    """A file on the volume: its path, its bytes, and when it was written, in seconds since 1970."""

    path: str
    n_bytes: int
    written_at: float


class DataVolume:
    """The volume with uploaded data, one folder per data set, named by its digest."""

    def __init__(self) -> None:
        with before_work():
            check_reachable()
            self._volume = within(CALL_SECONDS, _volume)

    def files(self, folder: str = "/") -> list[StoredFile]:
        """Return all files in a folder; none where it does not exist."""
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
        """Upload files, in one batch. From paths, because Modal copies what is in memory."""
        files = list(files)

        def upload() -> None:
            with self._volume.batch_upload(force=True) as batch:
                for file in files:
                    batch.put_file(file, f"/{folder}/{file.name}")

        n_bytes = sum(file.stat().st_size for file in files)
        with before_work():
            within(CALL_SECONDS + n_bytes / SLOWEST_UPLOAD, upload)

    def remove(self, folder: str) -> None:
        """Remove a data set; nothing where it is not there."""
        self._unless_missing(lambda: self._volume.remove_file(f"/{folder}", recursive=True), None)

    def _unless_missing(self, work: Callable[[], T], otherwise: T) -> T:
        from modal.exception import NotFoundError

        with before_work():
            try:
                return within(CALL_SECONDS, work)
            except (NotFoundError, FileNotFoundError):
                return otherwise


def _volume() -> Any:
    import modal

    volume = modal.Volume.from_name(VOLUME_NAME, create_if_missing=True, version=2)
    volume.hydrate()
    return volume
