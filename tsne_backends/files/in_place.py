"""Adds something small to a large HDF5 file without copying it, and without half a change.

HDF5 has no transactions: a program that ends while it writes can leave a file that nothing opens.
Here it writes to memory, over a file that is only read; what changed is then written at once.
"""

from __future__ import annotations

import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

#: Bytes that are compared and written together; a page of the usual file systems.
PAGE_BYTES = 4096


def check_changeable(path: Path) -> None:
    """Refuse a file that may not be written to, or that another program has open."""
    with open(path, "rb+") as target:
        _lock(target, path)


@contextmanager
def changed_in_place(path: Path) -> Iterator[Any]:
    """Open an HDF5 file, and write the changes to it only if all goes well.

    What is new goes behind the end of the file first; if that fails, it is cut off again. Then the
    few pages that point there are overwritten. Only a crash of the machine between the first and
    the last of these, a matter of milliseconds, can damage the file.

    Parameters
    ----------
    path : Path
        The file.

    Yields
    ------
    h5py.File
        To be changed; what is written is held in memory until the end.

    Raises
    ------
    OSError
        The file is open elsewhere, was changed meanwhile, or cannot be written; it is untouched.
    """
    import h5py

    with open(path, "rb") as original:
        before = os.fstat(original.fileno())
        overlay = _Overlay(original, before.st_size)
        with h5py.File(overlay, "r+") as file:
            yield file
        with open(path, "rb+") as target:
            _lock(target, path)
            now = os.fstat(target.fileno())
            if (now.st_mtime_ns, now.st_size) != (before.st_mtime_ns, before.st_size):
                raise OSError(f'"{path}" was changed by another program meanwhile; try again.')
            overlay.apply(target)


class _Overlay(io.RawIOBase):
    """A file that remembers what is written to it instead of changing what it reads from."""

    def __init__(self, original: Any, size: int) -> None:
        self._original = original
        self._original_size = self._size = size
        self._position = 0
        self._pages: dict[int, bytearray] = {}

    def readable(self) -> bool:
        return True

    def writable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET) -> int:
        base = {os.SEEK_SET: 0, os.SEEK_CUR: self._position, os.SEEK_END: self._size}[whence]
        self._position = base + offset
        return self._position

    def tell(self) -> int:
        return self._position

    def truncate(self, size: int | None = None) -> int:
        # What is cut off is not read again: HDF5 keeps account of where its file ends.
        self._size = self._position if size is None else size
        return self._size

    def readinto(self, buffer: Any) -> int:
        view = memoryview(buffer).cast("B")
        for number, within, place in self._pieces(len(view)):
            page = self._pages.get(number) or self._read(number)
            view[place] = page[within]
        self._position += len(view)
        return len(view)

    def write(self, data: Any) -> int:
        view = memoryview(data).cast("B")
        for number, within, place in self._pieces(len(view)):
            page = self._pages.get(number)
            if page is None:
                page = self._pages[number] = self._read(number)
            page[within] = view[place]
        self._position += len(view)
        self._size = max(self._size, self._position)
        return len(view)

    def apply(self, target: Any) -> None:
        """Write the changes to the file: what lies behind its end, then what is overwritten."""
        old, new = self._original_size, self._size
        changed = sorted(
            number for number, page in self._pages.items() if page != self._read(number)
        )
        starts = {number: number * PAGE_BYTES for number in changed}
        try:
            for number, start in starts.items():
                skipped = max(0, old - start)
                if skipped < PAGE_BYTES and start < new:
                    _write_at(target, start + skipped, self._pages[number][skipped : new - start])
            _flush(target)
        except BaseException:
            os.truncate(target.fileno(), old)
            raise
        for number, start in starts.items():
            if start < old:
                _write_at(target, start, self._pages[number][: old - start])
        if new < old:
            os.truncate(target.fileno(), new)
        _flush(target)

    def _pieces(self, length: int) -> Iterator[tuple[int, slice, slice]]:
        """Yield page by page: its number, the part of it, and the part of the caller's bytes."""
        done = 0
        while done < length:
            number, start = divmod(self._position + done, PAGE_BYTES)
            n_bytes = min(PAGE_BYTES - start, length - done)
            yield number, slice(start, start + n_bytes), slice(done, done + n_bytes)
            done += n_bytes

    def _read(self, number: int) -> bytearray:
        self._original.seek(number * PAGE_BYTES)
        return bytearray(self._original.read(PAGE_BYTES).ljust(PAGE_BYTES, b"\0"))


def _write_at(target: Any, start: int, content: bytearray) -> None:
    target.seek(start)
    target.write(content)


def _flush(target: Any) -> None:
    target.flush()
    os.fsync(target.fileno())


def _lock(target: Any, path: Path) -> None:
    """Refuse a file that another program has open through HDF5, which takes the same lock."""
    try:
        import fcntl
    except ImportError:  # Windows refuses by itself
        return
    try:
        fcntl.flock(target, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise OSError(
            f'"{path}" is open in another program; close it there, or write a copy with --output.'
        ) from error
