"""Every error and warning this package raises by name.

Each class also derives from the built-in that scikit-learn would raise in its place, so existing
``except ValueError`` code keeps working.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable


class BackendError(Exception):
    """Base class of the errors raised by this package."""


class UnknownBackendError(BackendError, ValueError):
    """The name is not that of a registered backend."""


class BackendUnavailableError(BackendError, RuntimeError):
    """A backend cannot start here (package, device or credentials missing).

    Raised before any work was done or paid for, so ``backend="auto"`` may go on with the next one.
    """


class UnsupportedProblemError(BackendError, ValueError):
    """The backend asked for cannot compute what was asked of it."""


class LimitError(BackendError, RuntimeError):
    """A limit the user has set (``allow_remote``, ``max_cost``, a list of backends) forbids it."""


class ConfigurationError(BackendError, ValueError):
    """An environment variable or the configuration file holds something without a meaning."""


class EmbeddingError(BackendError, FloatingPointError):
    """Numbers that are not finite: coordinates, or the distances a map would be made from."""


class NotLoggedInError(BackendUnavailableError):
    """The account of the rented machine is not set up here, or its token is refused."""


class NotDeployedError(BackendUnavailableError):
    """The account holds no service of ours."""


class VersionMismatchError(BackendUnavailableError):
    """Client and service are of different versions."""


class ServiceUnreachableError(BackendUnavailableError):
    """The provider of rented machines does not answer."""


class GpuUnavailableError(BackendUnavailableError):
    """No machine of the kind asked for is to be had."""


class EngineMissingError(BackendUnavailableError):
    """The service runs, but has no engine to make a map with."""


class PayloadTooLargeError(BackendUnavailableError):
    """X is larger than the service takes."""


class GpuMemoryError(BackendUnavailableError):
    """The problem does not fit into the memory of the GPU; nothing was computed."""


class CostLimitError(LimitError):
    """A run was ended because it would have cost more than the user allows."""


class RemoteError(BackendError, RuntimeError):
    """A rented machine, or the way to it, failed after work had begun."""


class RemoteTimeoutError(RemoteError, TimeoutError):
    """The run was ended at the time limit of its container."""


class ContainerCrashedError(RemoteError):
    """The container ended before the map was made."""


class ConnectionLostError(RemoteError, ConnectionError):
    """The connection did not come back while a job was running; the job may go on."""


class ResultExpiredError(RemoteError):
    """The provider keeps no result of this job, or no longer."""


class JobCancelledError(RemoteError):
    """The job was cancelled, here or elsewhere."""


class DamagedFrameError(BackendError, ValueError):
    """Bytes from the other side are not what was sent, or not ours."""


class FileFormatError(BackendError, ValueError):
    """A file cannot be read or written as asked."""


class BackendWarning(UserWarning):
    """Something was passed over, and work goes on without it.

    A broken plug-in, a backend that could not start under ``auto``, or an entry of the cache that
    cannot be read.
    """


class MapQualityWarning(UserWarning):
    """A finished map cannot be one of its data: it has collapsed, or keeps no neighbours."""


class MemoryOfRunsWarning(UserWarning):
    """What is remembered of this machine, its runs and its jobs cannot be read or written."""


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """Return a sentence naming the closest known name, or an empty string.

    Parameters
    ----------
    name : str
        What was given.
    known : iterable of str
        What would have been accepted.

    Returns
    -------
    str
        ``' Did you mean "x"?'`` with a leading space, or ``''`` where nothing is close.
    """
    close = difflib.get_close_matches(name, list(known), n=1)
    return f' Did you mean "{close[0]}"?' if close else ""
