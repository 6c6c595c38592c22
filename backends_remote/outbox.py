"""X on its way out: encoded once, into files where it is large, and sent part by part.

Memory holds X and one block, never a second X. Parts are files because Modal's library copies what
is handed over in memory several times, and because a part that has arrived need not be sent again.
"""

from __future__ import annotations

import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from backends_remote import wire
from backends_remote.codec import Encoding, encode_blocks
from backends_remote.deployment import DATA_DAYS, DAY_SECONDS, MAX_FRAME_BYTES, part_name
from backends_remote.volume import DataVolume
from tsne_backends.errors import BackendUnavailableError, PayloadTooLargeError

#: Frames up to here travel with the call; larger ones by file.
INLINE_BYTES = 4 << 20
#: Bytes of a part: large enough that round trips do not count, small enough to show progress.
PART_BYTES = 32 << 20
#: How often a part is tried before its upload counts as failed.
PART_TRIES = 2
_HASHED_ROWS_BYTES = 16 << 20


@dataclass(frozen=True)
class Parcel:
    """One encoded data set.

    Attributes
    ----------
    digest : str
        SHA-256 of the frame.
    n_bytes : int
    frame : bytes
        The whole frame where it travels with the call, else empty.
    files : tuple of Path
        Its parts where it travels by volume, else empty; part 0 is the frame's head.
    """

    digest: str
    n_bytes: int
    frame: bytes = b""
    files: tuple[Path, ...] = ()

    @property
    def parts(self) -> list[int]:
        """Bytes of every part."""
        return [file.stat().st_size for file in self.files]


def fingerprint(X: Any, settings: Mapping[str, Any]) -> str:
    """Return a digest of the values of X and of how it would be encoded.

    Tells, at the speed of hashing, whether X was sent before.
    """
    seen = hashlib.sha256(repr((X.shape, X.dtype.str, sorted(settings.items()))).encode())
    if hasattr(X, "tocsr"):
        for array in (X.indptr, X.indices, X.data):
            seen.update(np.ascontiguousarray(array).data)
        return seen.hexdigest()
    rows = max(1, _HASHED_ROWS_BYTES // max(1, X.shape[1] * X.itemsize))
    for start in range(0, X.shape[0], rows):
        seen.update(np.ascontiguousarray(X[start : start + rows]).data)
    return seen.hexdigest()


@contextmanager
def packed(X: Any, encoding: Encoding, n_threads: int) -> Iterator[Parcel]:
    """Encode X, and keep the result for as long as the context lasts.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    encoding : Encoding
    n_threads : int

    Yields
    ------
    Parcel

    Raises
    ------
    BackendUnavailableError
        The folder for temporary files is full.
    PayloadTooLargeError
        The frame is larger than the service takes.
    """
    with tempfile.TemporaryDirectory(prefix="serverless-tsne-", ignore_cleanup_errors=True) as name:
        try:
            parcel = _pack(X, encoding, n_threads, Path(name))
        except OSError as error:
            raise BackendUnavailableError(
                f"X could not be encoded into {name} ({error}); free some space, or set TMPDIR to "
                "a folder on a larger disk."
            ) from error
        yield parcel


def _pack(X: Any, encoding: Encoding, n_threads: int, folder: Path) -> Parcel:
    seal = wire.Seal()
    small: list[bytes] = []
    writer = _PartWriter(folder)
    n_bytes = 0
    for block in encode_blocks(X, encoding, n_threads=n_threads):
        seal.add(block)
        n_bytes += len(block)
        if n_bytes > MAX_FRAME_BYTES:
            raise PayloadTooLargeError(
                f"X takes more than {MAX_FRAME_BYTES} bytes when encoded, more than the service "
                "takes; choose a larger transfer_loss, fewer rows or fewer features."
            )
        small.append(block)
        if n_bytes > INLINE_BYTES:
            for one in small:
                writer.write(one)
            small.clear()
    head = seal.head("data", {"codec": encoding.codec, "layout": encoding.header})
    digest = wire.read_head(head, "data").digest
    if n_bytes <= INLINE_BYTES:
        return Parcel(digest, len(head) + n_bytes, frame=b"".join([head, *small]))
    files = writer.finish(head)
    return Parcel(digest, len(head) + n_bytes, files=files)


class _PartWriter:
    """Lays blocks into files; a block never crosses from one file into the next."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._files: list[Path] = []
        self._room = 0

    def write(self, block: bytes) -> None:
        if self._room < len(block) or not self._files:
            self._files.append(self._folder / part_name(len(self._files) + 1))
            self._room = PART_BYTES
        with self._files[-1].open("ab") as file:
            file.write(block)
        self._room -= len(block)

    def finish(self, head: bytes) -> tuple[Path, ...]:
        first = self._folder / part_name(0)
        first.write_bytes(head)
        return (first, *self._files)


def upload(parcel: Parcel, note: Callable[[str], None], *, again: bool = False) -> int:
    """Send the parts of a parcel that the volume lacks.

    Parameters
    ----------
    parcel : Parcel
        With files.
    note : callable
        Told in words how far it is.
    again : bool, default=False
        Send every part, because those on the volume are not what they should be.

    Returns
    -------
    int
        Bytes sent: fewer than the parcel's where an earlier upload was cut off.

    Raises
    ------
    ServiceUnreachableError
        A part could not be sent.
    """
    volume = DataVolume()
    # Parts that will expire soon may be gone when they are needed.
    oldest = time.time() - (DATA_DAYS - 1) * DAY_SECONDS
    there = {
        Path(file.path).name: file.n_bytes
        for file in volume.files(parcel.digest)
        if file.written_at > oldest and not again
    }
    missing = [file for file in parcel.files if there.get(file.name) != file.stat().st_size]
    total = sum(file.stat().st_size for file in missing)
    sent, began = 0, time.monotonic()
    for file in missing:
        _put(volume, parcel.digest, file)
        sent += file.stat().st_size
        rate = sent / max(time.monotonic() - began, 1e-9)
        note(
            f"uploading, {sent / 1e6:.1f} of {total / 1e6:.1f} MB at {rate / 1e6:.1f} MB/s, "
            f"{(total - sent) / rate:.0f} s left"
        )
    return sent


def _put(volume: DataVolume, folder: str, file: Path) -> None:
    for tries_left in reversed(range(PART_TRIES)):
        try:
            return volume.put(folder, [file])
        except BackendUnavailableError:
            if not tries_left:
                raise
