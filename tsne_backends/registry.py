"""Which backends exist: a static table of ours, entry points and registrations of others.

Nothing is imported until a backend is asked for; a broken plug-in is skipped with a warning.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from types import MappingProxyType

from tsne_backends.backend import Backend
from tsne_backends.errors import BackendWarning, UnknownBackendError, did_you_mean

ENTRY_POINT_GROUP = "tsne_backends.backends"


@dataclass(frozen=True)
class Entry:
    """Where a backend is found and how to get what it needs.

    Attributes
    ----------
    target : str or type
        Dotted path ``"package.module:Class"``, or the class itself.
    install : str
        How to get what it needs, as a command.
    """

    target: str | type[Backend]
    install: str


#: Ours, in the order in which ``backend="auto"`` prefers them.
_BUILT_IN: dict[str, Entry] = {
    "cuml": Entry("tsne_backends.backends.cuml:CumlBackend", 'pip install "serverless-tsne[cuml]"'),
    "native": Entry("tsne_backends.backends.native:NativeBackend", "pip install numba"),
    "opentsne": Entry("tsne_backends.backends.opentsne:OpenTSNEBackend", "pip install opentsne"),
    "sklearn": Entry("tsne_backends.backends.sklearn:SklearnBackend", "pip install scikit-learn"),
    "modal": Entry("backends_remote.backend:ModalBackend", 'pip install "serverless-tsne[modal]"'),
}
_registered: dict[str, Entry] = {}


def register_backend(
    name: str, target: str | type[Backend], install: str = "", *, replace: bool = False
) -> None:
    """Add a backend for the life of this process.

    Packages should declare an entry point in the group ``tsne_backends.backends`` instead.

    Parameters
    ----------
    name : str
        What users pass as ``backend=``.
    target : str or type
        Dotted path ``"package.module:Class"`` (imported when first used), or a `Backend` subclass.
    install : str, default=""
        The command that installs what the backend needs.
    replace : bool, default=False
        Allow taking a name that is in use.

    Raises
    ------
    ValueError
        The name is ``"auto"`` or in use.
    TypeError
        The target is neither a dotted path with a colon nor a `Backend` subclass.
    """
    if name == "auto" or (name in list_backends() and not replace):
        raise ValueError(
            f'The backend name "{name}" is taken; choose another, or pass replace=True '
            "to take the place of a registered backend."
        )
    is_path = isinstance(target, str) and ":" in target
    if not is_path and not (isinstance(target, type) and issubclass(target, Backend)):
        raise TypeError(
            'A backend is registered by its dotted path "package.module:Class" or by its class, '
            f"a subclass of Backend; got {target!r}."
        )
    _registered[name] = Entry(target, install)


def unregister_backend(name: str) -> None:
    """Forget a backend that `register_backend` added in this process.

    Parameters
    ----------
    name : str
        Names of other backends, and names nobody registered, are ignored.
    """
    _registered.pop(name, None)


def list_backends() -> Mapping[str, Entry]:
    """Return every known backend, in the order in which ``backend="auto"`` prefers them.

    Nothing is imported, so backends are listed whether or not they can run here.

    Returns
    -------
    mapping of str to Entry
        Read-only; by name, where the backend is found and how to install what it needs. First those
        registered in this process, then ours, then those of installed packages.
    """
    found = dict(_registered)  # what the user added by hand comes first
    found.update({name: entry for name, entry in _BUILT_IN.items() if name not in found})
    found.update({name: entry for name, entry in _entry_points().items() if name not in found})
    return MappingProxyType(found)


def load_backend(name: str) -> Backend:
    """Import and instantiate a backend.

    Parameters
    ----------
    name : str
        A name in `list_backends`.

    Returns
    -------
    Backend

    Raises
    ------
    UnknownBackendError
        No backend has that name; the message suggests the nearest.
    ImportError, AttributeError, TypeError
        The backend's module is broken.
    """
    known = list_backends()
    if name not in known:
        raise UnknownBackendError(
            f'There is no backend "{name}". Known backends: auto, {", ".join(known)}.'
            f"{did_you_mean(name, ['auto', *known])}"
        )
    target = known[name].target
    if isinstance(target, str):
        module, _, attribute = target.partition(":")
        target = getattr(importlib.import_module(module), attribute)
    if not (isinstance(target, type) and issubclass(target, Backend)):
        raise TypeError(f'Backend "{name}" is {target!r}, which is not a subclass of Backend.')
    return target()


def load_backends() -> dict[str, Backend]:
    """Load every backend that can be loaded; warn about the others and leave them out."""
    loaded: dict[str, Backend] = {}
    for name in list_backends():
        try:
            loaded[name] = load_backend(name)
        except Exception as error:  # a plug-in may fail in any way; it must not take us down
            warnings.warn(
                f'The backend "{name}" could not be loaded and is left out: '
                f"{type(error).__name__}: {error}",
                BackendWarning,
                stacklevel=2,
            )
    return loaded


@cache
def _entry_points() -> dict[str, Entry]:
    points = importlib.metadata.entry_points(group=ENTRY_POINT_GROUP)
    return {
        point.name: Entry(point.value, f"pip install --upgrade {point.dist.name}")
        for point in points
        if point.dist is not None
    }
