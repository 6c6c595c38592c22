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
    """The optimisation ended in coordinates that are not finite."""


class FileFormatError(BackendError, ValueError):
    """A file cannot be read or written as asked."""


class BackendWarning(UserWarning):
    """A backend was skipped: a broken plug-in, or one that could not start under ``auto``."""


class MemoryOfRunsWarning(UserWarning):
    """What is remembered of this machine and its runs cannot be read or written."""


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
