"""What goes wrong on the remote side, by name: Modal's exceptions and the service's refusals.

Here they are given the names that users see, which are defined in `tsne_backends.errors`. Whether
something is tried again is decided in ``client`` and ``session``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from tsne_backends.errors import (
    BackendError,
    BackendUnavailableError,
    ConnectionLostError,
    ContainerCrashedError,
    CostLimitError,
    DamagedFrameError,
    EmbeddingError,
    EngineMissingError,
    GpuMemoryError,
    JobCancelledError,
    NotDeployedError,
    NotLoggedInError,
    PayloadTooLargeError,
    RemoteError,
    RemoteTimeoutError,
    ResultExpiredError,
    ServiceUnreachableError,
    UnsupportedProblemError,
    VersionMismatchError,
)


class PreemptedError(Exception):
    """The provider took the machine away; the same job may be sent again."""


class PollingInterruptedError(Exception):
    """The connection broke while waiting; the job goes on, and so may the waiting."""


#: What an answer with ``status`` ``"refused"`` calls it, and what to do about it.
_REFUSALS: Mapping[str, tuple[type[BackendError], str]] = {
    "version": (VersionMismatchError, ""),
    "too large": (PayloadTooLargeError, ""),
    "no engine": (EngineMissingError, "Use a local backend, or deploy a version that has one."),
    "unsupported": (UnsupportedProblemError, ""),
    "damaged": (DamagedFrameError, ""),
    "diverged": (EmbeddingError, ""),
    "memory": (GpuMemoryError, ""),
    "cost limit": (CostLimitError, "Raise max_cost, or choose fewer iterations."),
    "failed": (
        RemoteError,
        "`modal app logs serverless-tsne` shows where; please report it with that.",
    ),
}


def refusal(header: Mapping[str, Any]) -> BackendError:
    """Return the error that an answer of the service speaks of.

    Parameters
    ----------
    header : mapping
        Of an answer with ``status`` ``"refused"``; from the network, so nothing is taken for
        granted.
    """
    kind, advice = _REFUSALS.get(str(header.get("error")), (RemoteError, ""))
    sentence = str(header.get("message", "The service refused, and did not say why."))[:2000]
    return kind(f"{sentence} {advice}".strip())


@contextmanager
def before_work() -> Iterator[None]:
    """Turn what Modal raises before anything was computed into errors that ``auto`` survives.

    Raises
    ------
    NotLoggedInError, NotDeployedError, ServiceUnreachableError
    BackendUnavailableError
        For want of quota, or because Modal refuses image, call or version.
    """
    from modal import exception as modal

    try:
        yield
    except modal.AuthError as error:
        raise NotLoggedInError(
            f"Modal does not know you: {_first_line(error)} Run `modal setup`, which opens your "
            "account in a browser."
        ) from error
    except modal.NotFoundError as error:
        raise NotDeployedError(
            f"Your Modal account holds no service of ours ({_first_line(error)}). Run "
            "`serverless-tsne deploy` once."
        ) from error
    except _types(modal, "ImageBuildError") as error:
        raise BackendUnavailableError(
            f"Modal could not build the service's image: {_first_line(error)} `modal app logs "
            "serverless-tsne` shows more; deploy again."
        ) from error
    except _types(modal, "ResourceExhaustedError") as error:
        raise BackendUnavailableError(
            f"Modal refuses for want of quota: {_first_line(error)} Look at the spend and GPU "
            "limits of your workspace on modal.com."
        ) from error
    except _types(modal, "PermissionDeniedError") as error:
        raise NotLoggedInError(
            f"Modal does not permit this: {_first_line(error)} Ask the owner of the workspace, or "
            "run `modal setup` for another one."
        ) from error
    except modal.InvalidError as error:
        raise BackendUnavailableError(f"Modal refuses the call: {_first_line(error)}") from error
    except modal.VersionError as error:
        raise BackendUnavailableError(
            f"{_first_line(error)} Run `pip install --upgrade modal`."
        ) from error
    except BackendError:
        raise
    except Exception as error:
        if not (isinstance(error, (modal.Error, OSError, TimeoutError)) or _is_network(error)):
            raise
        raise ServiceUnreachableError(
            f"Modal cannot be reached ({type(error).__name__}: {_first_line(error)}) Check the "
            "network; local backends need none."
        ) from error


@contextmanager
def while_waiting(job_id: str) -> Iterator[None]:
    """Turn what Modal raises about a job into errors with names.

    Raises
    ------
    TimeoutError
        There is no result yet.
    PreemptedError, PollingInterruptedError
        For the caller, to try again.
    """
    from modal import exception as modal

    try:
        yield
    except modal.OutputExpiredError as error:
        raise ResultExpiredError(
            f"Modal keeps no result of job {job_id}: results go after 7 days. Fit again."
        ) from error
    except modal.FunctionTimeoutError as error:
        raise RemoteTimeoutError(
            f"Job {job_id} was ended at the time limit of its container ({_first_line(error)}). "
            'Pass backend_options={"timeout": seconds} with more, choose a faster "gpu", or fewer '
            "iterations."
        ) from error
    except modal.NotFoundError as error:
        raise ResultExpiredError(
            f"Modal knows no job {job_id} ({_first_line(error)}). It may belong to another "
            "account; `serverless-tsne jobs` lists those of this machine."
        ) from error
    except _types(modal, "AuthError", "PermissionDeniedError") as error:
        raise NotLoggedInError(
            f"Modal does not let you in: {_first_line(error)} Run `modal setup`, then "
            f"`serverless-tsne attach {job_id}`."
        ) from error
    except _types(modal, "InternalFailure") as error:
        raise PreemptedError(_first_line(error)) from error
    except modal.RemoteError as error:
        if "cancel" in str(error).lower():
            raise JobCancelledError(f"Job {job_id} was cancelled.") from error
        raise ContainerCrashedError(
            f"The container of job {job_id} ended before the map was made: {_first_line(error)} "
            'If it ran out of memory, choose a larger "gpu" in backend_options; '
            "`modal app logs serverless-tsne` shows its last words."
        ) from error
    except TimeoutError:
        raise
    except BackendError as error:
        raise PollingInterruptedError(str(error)) from error
    except Exception as error:
        network = isinstance(error, (OSError, EOFError)) or _is_network(error)
        if network or isinstance(error, _types(modal, "ServiceError", "ConnectionError")):
            text = f"{type(error).__name__}: {_first_line(error)}"
            raise PollingInterruptedError(text) from error
        # What is raised in a container, when it starts for one, arrives as what it was there.
        raise ContainerCrashedError(
            f"The container of job {job_id} failed: {type(error).__name__}: {_first_line(error)} "
            "`modal app logs serverless-tsne` shows more."
        ) from error


def connection_lost(job_id: str, seconds: float, error: BaseException) -> ConnectionLostError:
    """Return the error for a connection that did not come back."""
    return ConnectionLostError(
        f"The connection to Modal was lost for {seconds:.0f} s while job {job_id} was running "
        f"({error}). The job goes on: `serverless-tsne attach {job_id}` fetches its map."
    )


def _is_network(error: BaseException) -> bool:
    """Whether an exception is of one of the network libraries that Modal's client uses."""
    package = type(error).__module__.partition(".")[0]
    return package in ("aiohttp", "grpclib", "h2", "hpack", "synchronicity")


def _types(module: Any, *names: str) -> tuple[type[BaseException], ...]:
    """Return exception classes that not every version of the client has."""
    return tuple(getattr(module, name) for name in names if hasattr(module, name))


def _first_line(error: BaseException) -> str:
    text = str(error).strip().splitlines()
    line = text[0] if text else type(error).__name__
    return line if line.endswith((".", "!", "?")) else line + "."
