"""Bytes on the wire: versioned frames that describe themselves, and are believed only when checked.

A frame is a fixed prefix, a header in JSON, and raw blocks. The header tells the length of every
block and carries one SHA-256 of everything, so that a frame is either what was sent or refused.
Nothing is ever unpickled, and nothing is allocated because a header asks for it: block lengths are
held against the bytes that are there.
"""

from __future__ import annotations

import hashlib
import json
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from tsne_backends.errors import DamagedFrameError, VersionMismatchError

#: Raised whenever a frame or the meaning of a header changes.
PROTOCOL = 1

#: Marks our frames; then protocol, kind and the header's length, in network byte order.
MAGIC = b"sTSN"
_PREFIX = struct.Struct(">4sHHI")
PREFIX_BYTES = _PREFIX.size

#: What a frame can be.
KINDS = ("request", "data", "answer")

#: A header holds parameters and block lengths; a million bytes are 100 times what ours need.
MAX_HEADER_BYTES = 1 << 20
#: Blocks are about 32 MiB of X each, so this is far beyond any X.
MAX_BLOCKS = 1 << 16

Buffer = bytes | bytearray | memoryview


@dataclass(frozen=True)
class Head:
    """All of a frame but its blocks.

    Attributes
    ----------
    kind : str
        One of `KINDS`.
    header : mapping
        Plain values, as the sender gave them.
    lengths : tuple of int
        Bytes of every block.
    digest : str
        SHA-256 of header, lengths and blocks, in hexadecimal: the frame's identity.
    n_bytes : int
        Bytes of prefix and header, after which the blocks begin.
    """

    kind: str
    header: Mapping[str, Any]
    lengths: tuple[int, ...]
    digest: str
    n_bytes: int


class Seal:
    """Collects the digest and the lengths of blocks while they are made, one after the other."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self._lengths: list[int] = []

    def add(self, block: Buffer) -> None:
        """Take the next block into account."""
        self._hash.update(block)
        self._lengths.append(memoryview(block).nbytes)

    def head(self, kind: str, header: Mapping[str, Any]) -> bytes:
        """Return prefix and header of the frame whose blocks were added.

        Parameters
        ----------
        kind : str
            One of `KINDS`.
        header : mapping
            Values that JSON knows; no NaN.

        Returns
        -------
        bytes
        """
        body = {"header": dict(header), "lengths": self._lengths}
        digest = _digest(self._hash.copy(), kind, body)
        text = _json({**body, "sha256": digest})
        return _PREFIX.pack(MAGIC, PROTOCOL, KINDS.index(kind), len(text)) + text


def pack(kind: str, header: Mapping[str, Any], blocks: Iterable[Buffer] = ()) -> bytes:
    """Return a whole frame; for what is small enough to be joined."""
    blocks = list(blocks)
    seal = Seal()
    for block in blocks:
        seal.add(block)
    return b"".join([seal.head(kind, header), *blocks])


def read_head(data: Buffer, kind: str) -> Head:
    """Read prefix and header; the blocks need not be there yet.

    Parameters
    ----------
    data : bytes-like
        From anyone.
    kind : str
        What it must be.

    Returns
    -------
    Head

    Raises
    ------
    DamagedFrameError
        It is no frame of ours, cut short, or makes no sense.
    VersionMismatchError
        It speaks another protocol.
    """
    view = memoryview(data).cast("B")
    if len(view) < PREFIX_BYTES:
        raise DamagedFrameError(
            f"A frame begins with {PREFIX_BYTES} bytes, but {len(view)} arrived; send it again."
        )
    magic, protocol, number, length = _PREFIX.unpack(view[:PREFIX_BYTES])
    if magic != MAGIC:
        raise DamagedFrameError(
            f"These bytes are no frame of serverless-tsne: they begin with {bytes(magic)!r}."
        )
    if protocol != PROTOCOL:
        raise VersionMismatchError(
            f"The frame speaks protocol {protocol}, but this version speaks {PROTOCOL}; run "
            "`serverless-tsne deploy`, so that both sides are of one version."
        )
    if number >= len(KINDS) or KINDS[number] != kind:
        found = KINDS[number] if number < len(KINDS) else f"number {number}"
        raise DamagedFrameError(f'Expected a frame of kind "{kind}", but it is {found}.')
    end = PREFIX_BYTES + length
    if length > MAX_HEADER_BYTES or end > len(view):
        raise DamagedFrameError(
            f"The frame declares a header of {length} bytes, but {len(view) - PREFIX_BYTES} follow "
            f"and {MAX_HEADER_BYTES} are the most."
        )
    header, lengths, digest = _parse(bytes(view[PREFIX_BYTES:end]))
    return Head(kind, header, lengths, digest, end)


def check_blocks(head: Head, blocks: Sequence[Buffer]) -> None:
    """Raise `DamagedFrameError` unless the blocks are those the head was made for."""
    found = tuple(memoryview(block).nbytes for block in blocks)
    if found != head.lengths:
        raise DamagedFrameError(
            f"The frame declares {sum(head.lengths)} bytes in {len(head.lengths)} blocks, but "
            f"{sum(found)} bytes in {len(found)} blocks arrived; send it again."
        )
    running = hashlib.sha256()
    for block in blocks:
        running.update(block)
    body = {"header": dict(head.header), "lengths": list(head.lengths)}
    try:
        is_right = _digest(running, head.kind, body) == head.digest
    except (ValueError, OverflowError, RecursionError):  # such as 1e999, which is no number
        is_right = False
    if not is_right:
        raise DamagedFrameError("The frame's SHA-256 does not match its content; send it again.")


def cut(view: memoryview, lengths: Iterable[int]) -> list[memoryview]:
    """Cut bytes into consecutive pieces of the lengths given, without a copy."""
    pieces, start = [], 0
    for length in lengths:
        pieces.append(view[start : start + length])
        start += length
    return pieces


def unpack(data: Buffer, kind: str) -> tuple[Head, list[memoryview]]:
    """Read and check a whole frame.

    Parameters
    ----------
    data : bytes-like
        From anyone.
    kind : str
        What it must be.

    Returns
    -------
    head : Head
    blocks : list of memoryview
        Views of ``data``, not copies.

    Raises
    ------
    DamagedFrameError
        Whatever is wrong with it.
    """
    head = read_head(data, kind)
    rest = memoryview(data).cast("B")[head.n_bytes :]
    if len(rest) != sum(head.lengths):
        raise DamagedFrameError(
            f"The frame declares {sum(head.lengths)} bytes after its header, but {len(rest)} "
            "arrived; send it again."
        )
    blocks = cut(rest, head.lengths)
    check_blocks(head, blocks)
    return head, blocks


def _parse(text: bytes) -> tuple[dict[str, Any], tuple[int, ...], str]:
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
        header, lengths, digest = body["header"], body["lengths"], body["sha256"]
        as_sent = _json(body)
    except (ValueError, TypeError, KeyError, RecursionError) as error:
        raise DamagedFrameError(
            f"The frame's header cannot be read ({type(error).__name__})."
        ) from None
    whole = isinstance(lengths, list) and all(
        type(length) is int and 0 <= length < 1 << 62 for length in lengths
    )
    if not isinstance(header, dict) or not whole or not isinstance(digest, str):
        raise DamagedFrameError("The frame's header lacks its parameters, lengths or SHA-256.")
    if len(lengths) > MAX_BLOCKS:
        raise DamagedFrameError(
            f"The frame declares {len(lengths)} blocks; {MAX_BLOCKS} are the most."
        )
    # The digest is one of what the header means: "1e-7" that became "1E-7" would pass.
    if as_sent != text:
        raise DamagedFrameError("The frame's header is not as it was written; send it again.")
    return header, tuple(lengths), digest


def _refuse_constant(name: str) -> None:
    raise ValueError(f"{name} is no JSON")


def _digest(running: Any, kind: str, body: Mapping[str, Any]) -> str:
    running.update(kind.encode() + _json(body))
    digest: str = running.hexdigest()
    return digest


def _json(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False).encode()
