"""Small files in the user's folders: read whole, written whole, safe among processes.

What is lost here costs a measurement or a transfer, never a result. So whatever goes wrong is said
once and then ignored. A name is that of a file in the cache folder, or an absolute path.
"""

from __future__ import annotations

import json
import os
import tempfile
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from tsne_backends.errors import MemoryOfRunsWarning

#: Seconds to wait for another process that is writing.
LOCK_SECONDS = 2.0

_said: set[str] = set()
_elsewhere: Path | None = None


@contextmanager
def elsewhere(path: Path) -> Iterator[None]:
    """Keep every file of this process in another folder for a while."""
    global _elsewhere
    before, _elsewhere = _elsewhere, path
    try:
        yield
    finally:
        _elsewhere = before


def folder() -> Path:
    """Return where measurements lie, which can be made again; it need not exist."""
    if _elsewhere is not None:
        return _elsewhere
    import platformdirs

    return _usable(Path(platformdirs.user_cache_path("serverless-tsne")))


def data_folder() -> Path:
    """Return where records lie that cannot be made again; it need not exist."""
    if _elsewhere is not None:
        return _elsewhere
    import platformdirs

    return _usable(Path(platformdirs.user_data_path("serverless-tsne")))


def _usable(path: Path) -> Path:
    # A user without a home, as in many containers, is given a folder named "~" otherwise.
    return path if path.is_absolute() else Path(tempfile.gettempdir()) / "serverless-tsne"


def warn_once(sentence: str) -> None:
    """Warn of trouble with the files, once per process and kind of trouble."""
    if sentence not in _said:
        _said.add(sentence)
        warnings.warn(
            f"{sentence} Work goes on without it; if this stays, delete the file or make its "
            "folder writable.",
            MemoryOfRunsWarning,
            stacklevel=2,
        )


def read_json(name: str | Path) -> dict[str, Any]:
    """Return the object in a file; empty where it is missing or damaged."""
    path = folder() / name
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(content, dict):
            raise ValueError("it holds no object")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, ValueError) as error:
        warn_once(f"{path} cannot be read ({error}).")
        return {}
    return content


def update_json(name: str | Path, entries: Mapping[str, Any]) -> None:
    """Add entries to the object in a file."""
    change_json(name, lambda content: {**content, **entries})


def change_json(name: str | Path, change: Callable[[dict[str, Any]], Mapping[str, Any]]) -> None:
    """Replace the object in a file by ``change`` of it, while no other process writes."""

    def write(path: Path) -> None:
        _replace(path, json.dumps(change(read_json(name)), indent=1) + "\n")

    _locked(name, write)


def read_lines(name: str) -> list[dict[str, Any]]:
    """Return the objects in a file of one JSON object per line; damaged lines are left out."""
    path = folder() / name
    try:
        lines = path.read_bytes().splitlines()
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        warn_once(f"{path} cannot be read ({error}).")
        return []
    found = []
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:
            entry = None
        if isinstance(entry, dict):
            found.append(entry)
        else:
            warn_once(f"{path} holds a damaged line, which is left out.")
    return found


def append_line(
    name: str,
    entry: Mapping[str, Any],
    limit: int,
    keep: Callable[[list[dict[str, Any]]], Iterable[Mapping[str, Any]]],
) -> None:
    """Add an object to a file of lines, and thin the file where it has grown long.

    Parameters
    ----------
    name : str
        The file's name.
    entry : mapping
        Plain values only.
    limit : int
        Lines beyond which the file is thinned.
    keep : callable
        ``keep(entries)`` returns those that stay.
    """

    def write(path: Path) -> None:
        old = path.read_bytes() if path.exists() else b""
        line = json.dumps(entry).encode() + b"\n"
        if old.count(b"\n") < limit:
            # A process that died while writing may have left half a line.
            separator = b"\n" if old and not old.endswith(b"\n") else b""
            with path.open("ab") as file:
                file.write(separator + line)
            return
        kept = [json.dumps(one) for one in keep([*read_lines(name), dict(entry)])]
        _replace(path, "\n".join(kept) + "\n")

    _locked(name, write)


def _locked(name: str | Path, write: Callable[[Path], None]) -> None:
    """Call ``write(path)`` while no other process does; trouble is said once and ignored."""
    import filelock

    path = folder() / name
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with filelock.FileLock(f"{path}.lock", timeout=LOCK_SECONDS):
            write(path)
    except (OSError, filelock.Timeout, NotImplementedError) as error:
        warn_once(f"{path} cannot be written ({error}).")


def _replace(path: Path, text: str) -> None:
    """Write a file whole or not at all."""
    handle, unfinished = tempfile.mkstemp(dir=path.parent, prefix=path.name)
    try:
        with os.fdopen(handle, "w", encoding="utf-8") as file:
            file.write(text)
        os.replace(unfinished, path)
    except BaseException:
        with suppress(OSError):
            os.unlink(unfinished)
        raise
