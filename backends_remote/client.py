"""The client side of Modal: what is said to the `modal` library about calls.

Everything here is one step: look up, wake, send, submit, wait, cancel. Their order is the business
of ``session``; what their failures mean is said in ``failures``.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from backends_remote import network
from backends_remote.deployment import APP_NAME, CLASS_NAME
from backends_remote.failures import (
    PollingInterruptedError,
    before_work,
    connection_lost,
    while_waiting,
)
from backends_remote.network import check_reachable, within
from tsne_backends.errors import NotDeployedError, RemoteError, ServiceUnreachableError

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
            self._service = within(network.CALL_SECONDS, self._look_up)

    def wake(self) -> str:
        """Ask for a container, and return the id of the call that it will answer.

        Raises
        ------
        NotLoggedInError, NotDeployedError, ServiceUnreachableError, BackendUnavailableError
            As in `failures.before_work`: nothing was computed.
        """
        return self._spawn("wake", network.CALL_SECONDS)

    def submit(self, request: bytes, data: bytes) -> str:
        """Ask for a map, and return the id of the job.

        Parameters
        ----------
        request : bytes
            A frame of kind ``"request"``; see `service.Service.embed`.
        data : bytes
            A frame of kind ``"data"``, or nothing.

        Raises
        ------
        NotLoggedInError, NotDeployedError, ServiceUnreachableError, BackendUnavailableError
            As in `failures.before_work`: nothing was computed.
        """
        return self._spawn(
            "embed", network.CALL_SECONDS + len(data) / network.SLOWEST_UPLOAD, request, data
        )

    def stats(self) -> Stats:
        """Return how many containers there are, and how many inputs wait for one.

        Raises
        ------
        NotLoggedInError, NotDeployedError, ServiceUnreachableError, BackendUnavailableError
            As in `failures.before_work`.
        """
        with before_work():
            found = within(network.CALL_SECONDS, lambda: self._service.wake.get_current_stats())
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
        answer = within(seconds + network.CALL_SECONDS, get)
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
            within(network.CALL_SECONDS, lambda: _end_call(job_id))
    except PollingInterruptedError as error:
        raise ServiceUnreachableError(f"Job {job_id} could not be cancelled: {error}") from error


def _end_call(call_id: str) -> None:
    import modal

    # A call into the GPU's libraries does not hear of a cancellation; its container must end.
    modal.FunctionCall.from_id(call_id).cancel(terminate_containers=True)
