"""Where uploaded data lie in a container: reading them, believing them, removing them.

To this module they are files in a folder, and Modal is not known here; the client's side of them is
``volume``. Frames are checked by ``wire``, and turned into a matrix by ``decoding``.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from backends_remote import wire
from backends_remote.deployment import DATA_DAYS, DAY_SECONDS, KERNELS_FOLDER, part_name
from tsne_backends.errors import DamagedFrameError, VersionMismatchError


@dataclass(frozen=True)
class Place:
    """Where uploaded data lie.

    Attributes
    ----------
    folder : Path
        Holds one folder per data set, named by its digest.
    refresh : callable
        Makes files visible that were uploaded since the container began.
    """

    folder: Path
    refresh: Callable[[], object] = lambda: None

    def expire(self) -> None:
        """Remove data sets that were uploaded long ago; a client sends them again if need be."""
        limit = time.time() - DATA_DAYS * DAY_SECONDS
        try:
            folders = [one for one in self.folder.iterdir() if one.name != KERNELS_FOLDER]
        except OSError:  # no reason not to serve; the next container tries again
            return
        for one in folders:
            # Another container may be removing the same.
            with suppress(OSError, ValueError):
                if max(file.stat().st_mtime for file in one.iterdir()) < limit:
                    self.remove(one.name)

    def remove(self, digest: str) -> None:
        """Remove a data set."""
        shutil.rmtree(self.folder / digest, ignore_errors=True)

    def read(self, digest: str, parts: list[int]) -> tuple[wire.Head, list[memoryview]] | None:
        """Return head and blocks of a data set, checked; None where it is not there, or damaged.

        Parameters
        ----------
        digest : str
            A SHA-256 in hexadecimal.
        parts : list of int
            Bytes of every part.
        """
        folder = self.folder / digest
        files = [folder / part_name(number) for number in range(len(parts))]
        if not _are_there(files, parts):
            self.refresh()
            if not _are_there(files, parts):
                return None
        try:
            return _read_parts(files)
        except (DamagedFrameError, VersionMismatchError):
            self.remove(digest)  # the client sends them again, and whole
            return None


def _read_parts(files: list[Path]) -> tuple[wire.Head, list[memoryview]]:
    head = wire.read_head(files[0].read_bytes(), "data")
    blocks: list[memoryview] = []
    # Read, not mapped: Modal refuses to refresh a volume on which files are open.
    for file in files[1:]:
        view = memoryview(file.read_bytes())
        while len(view):
            if len(blocks) == len(head.lengths):
                raise DamagedFrameError("The parts on the volume hold more than was declared.")
            length = head.lengths[len(blocks)]
            blocks.append(view[:length])
            view = view[length:]
    blocks += [memoryview(b"")] * (len(head.lengths) - len(blocks))
    wire.check_blocks(head, blocks)
    return head, blocks


def _are_there(files: list[Path], sizes: list[int]) -> bool:
    try:
        return [file.stat().st_size for file in files] == sizes
    except OSError:
        return False
