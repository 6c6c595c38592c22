"""Lets files appear whole or not at all, and refuses beforehand what could not be replaced.

What stands in a file is up to those who write it. HDF5 files that are changed instead of replaced
are the business of ``in_place``.
"""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tsne_backends.errors import did_you_mean


def check_replaceable(
    path: Path, *, force: bool = False, otherwise: str = "choose another output"
) -> None:
    """Refuse a path that is taken, or whose folder is missing or closed; see `check_output`.

    ``otherwise`` is what a user can do who does not want to replace the file.
    """
    folder = path.parent
    if not folder.is_dir():
        siblings = [other.name for other in folder.parent.glob("*") if other.is_dir()]
        raise FileNotFoundError(
            f'The folder "{folder}" of the output "{path.name}" does not exist; create it first.'
            f"{did_you_mean(folder.name, siblings)}"
        )
    if path.is_dir():
        raise IsADirectoryError(f'The output "{path}" is a folder; name a file in it.')
    if path.exists() and not force:
        raise FileExistsError(
            f'"{path}" exists already; pass --force to replace it, or {otherwise}.'
        )
    if not os.access(folder, os.W_OK):
        raise PermissionError(
            f'The folder "{folder}" may not be written to; choose another for the output.'
        )


@contextmanager
def whole_or_not_at_all(path: Path) -> Iterator[Path]:
    """Give a temporary path that takes the place of ``path`` only if all goes well.

    Parameters
    ----------
    path : Path
        The file to appear; a link stays a link, and what it points to is replaced.

    Yields
    ------
    Path
        To be written to: a new name in the same folder, with the same ending. It is removed on
        any failure, Ctrl-C included.
    """
    path = Path(os.path.realpath(path))
    temporary = path.with_name(f".tsne-{secrets.token_hex(8)}{path.suffix}")
    try:
        yield temporary
        with open(temporary, "rb+") as file:
            os.fsync(file.fileno())
        if path.exists():
            shutil.copymode(path, temporary)
        os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)
