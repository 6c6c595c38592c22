"""How the blocks of an encoded matrix look in bytes: frames, arrays, and quantised columns.

Both sides of the transfer import this module, so it needs NumPy and zstandard only. What is read
comes from the network: every size is compared with the one expected before anything is allocated.

A block is a table of frame lengths, then the frames. Each frame is one zstd frame (or, for codec
"raw", plain bytes) whose decompressed size follows from the header, and is checked before anything
is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any

import numpy as np
import zstandard
from numpy.typing import NDArray


class CodecError(ValueError):
    """An encoded matrix cannot be read: damaged, not from this program, or too large."""


#: zstd with the match finder all but off (hashes of 64 slots, matches of 7 bytes or more), which
#: leaves its Huffman coder: on quantised axes within 2 % of the entropy at 990 MB/s per core.
#: Level 1 as it comes: 5 to 11 % above it at 400 MB/s; level 3: 17 to 22 % above it at 170 MB/s.
ENTROPY = "entropy"
#: zstd level 3: matches are found, for repeated values; 400 to 1,000 MB/s on shuffled floats.
MATCHES = "matches"

#: Kinds of quantised columns 1, 2, 3: largest code, base, codes per byte. Several codes share a
#: byte because a Huffman code spends at least 1 bit per byte.
PACKED = {1: (1, 3, 5), 2: (2, 5, 3), 3: (7, 15, 2)}
#: Kind 4 is one int8 per code; kind 4 + s has in addition s low bits per code, as bit planes. They
#: are as good as random, so that nothing is lost by not coding them together with the rest.
PLAIN = 4
#: The step of an axis is that of the matrix times 2 to a quarter of a whole number up to this.
MAX_QUARTERS = 80
#: Most low bits of a code; codes stay below 2**30, where float32 has no finer values to offer.
MAX_SHIFT = 23
MAX_CODE = 2.0**30 - 64
#: Frames of a block of quantised columns: three packed kinds, int8, low bits.
_ROTATED_FRAMES = 5


def compress(data: Any, mode: str) -> bytes:
    """Return ``data`` as one zstd frame that declares its content size; b"" for nothing."""
    view = memoryview(data).cast("B") if memoryview(data).nbytes else b""
    if not len(view):
        return b""
    if mode == ENTROPY:
        parameters = zstandard.ZstdCompressionParameters(
            compression_level=1, min_match=7, hash_log=6, write_content_size=1
        )
    else:
        parameters = zstandard.ZstdCompressionParameters.from_level(
            3, source_size=len(view), write_content_size=1
        )
    return zstandard.ZstdCompressor(compression_params=parameters).compress(view)


def decompress(frame: memoryview, size: int) -> bytes:
    """Return the content of a zstd frame that must hold exactly ``size`` bytes.

    Raises
    ------
    CodecError
        The frame declares another size, needs a dictionary, is damaged, or is followed by more.
    """
    if size == 0 and not len(frame):
        return b""
    try:
        declared = zstandard.get_frame_parameters(frame)
        if declared.content_size != size or declared.dict_id:
            raise CodecError(
                f"A compressed frame declares {declared.content_size} bytes where the header "
                f"gives {size}; send the matrix again."
            )
        content = zstandard.ZstdDecompressor().decompress(
            frame, max_output_size=size, allow_extra_data=False
        )
    except (zstandard.ZstdError, MemoryError, OverflowError) as error:
        raise CodecError(
            f"A compressed frame is damaged ({error}); send the matrix again."
        ) from error
    if len(content) != size:
        raise CodecError(
            f"A compressed frame holds {len(content)} bytes where the header gives {size}; "
            "send the matrix again."
        )
    return content


def join(frames: Sequence[bytes]) -> bytes:
    """Return one block: the lengths of the frames as uint64, then the frames."""
    return b"".join([struct.pack(f"<{len(frames)}Q", *map(len, frames)), *frames])


def split(block: memoryview, n_frames: int) -> list[memoryview]:
    """Return the frames of a block; the inverse of `join`."""
    table = 8 * n_frames
    if len(block) < table:
        raise CodecError(
            f"A block of {len(block)} bytes cannot hold its table of {table}; send it again."
        )
    lengths = struct.unpack_from(f"<{n_frames}Q", block)
    if table + sum(lengths) != len(block):
        raise CodecError(
            f"A block of {len(block)} bytes lists frames of {sum(lengths)} after its table of "
            f"{table}; send it again."
        )
    frames, start = [], table
    for length in lengths:
        frames.append(block[start : start + length])
        start += length
    return frames


def pack_array(values: NDArray[Any], mode: str | None, *, shuffle: bool) -> list[bytes]:
    """Return an array as frames, one per byte of an item where shuffled, else one."""
    values = np.ascontiguousarray(values)
    if mode is None:
        return [values.tobytes()]
    octets = values.reshape(-1).view(np.uint8)
    if not shuffle:
        return [compress(octets, mode)]
    planes = octets.reshape(-1, values.itemsize).T
    return [compress(np.ascontiguousarray(plane), mode) for plane in planes]


def unpack_array(
    frames: Sequence[memoryview], dtype: np.dtype[Any], count: int, *, compressed: bool
) -> NDArray[Any]:
    """Return ``count`` values; the inverse of `pack_array`. The result may be read-only."""
    size = count * dtype.itemsize
    if not compressed:
        if len(frames[0]) != size:
            raise CodecError(
                f"A block holds {len(frames[0])} bytes where the header gives {size}; "
                "send it again."
            )
        return np.frombuffer(frames[0], dtype=dtype)
    if len(frames) == 1:
        return np.frombuffer(decompress(frames[0], size), dtype=dtype)
    octets = np.empty((count, dtype.itemsize), dtype=np.uint8)
    for place, frame in enumerate(frames):
        octets[:, place] = np.frombuffer(decompress(frame, count), dtype=np.uint8)
    return octets.reshape(-1).view(dtype)


def pack_codes(codes: NDArray[np.float32], axes: NDArray[np.intp], n_axes: int) -> bytes:
    """Return whole numbers, one axis a row, as a block.

    Parameters
    ----------
    codes : ndarray of shape (len(axes), block_rows)
        Whole numbers of at most `MAX_CODE`.
    axes : ndarray
        Which axis each row of ``codes`` is; all others are zero.
    n_axes : int
        All axes.
    """
    limits = np.maximum(codes.max(axis=1), -codes.min(axis=1)).astype(np.int64)
    kinds = np.searchsorted([1, 2, 3, 8], limits, side="right").astype(np.uint8)
    wide = limits > 127
    kinds[wide] = PLAIN + np.ceil(np.log2((limits[wide] + 1) / 128)).astype(np.uint8)
    frames = []
    for kind, (largest, base, per_byte) in PACKED.items():
        digits = codes[kinds == kind].astype(np.int8) + np.int8(largest)
        padding = -digits.shape[1] % per_byte
        digits = np.pad(digits, ((0, 0), (0, padding))).view(np.uint8)
        octets = digits[:, ::per_byte].copy()
        for place in range(1, per_byte):
            octets *= np.uint8(base)
            octets += digits[:, place::per_byte]
        frames.append(compress(octets, ENTROPY))
    plain = kinds >= PLAIN
    high = np.empty((int(plain.sum()), codes.shape[1]), dtype=np.int8)
    planes = []
    narrow = kinds[plain] == PLAIN
    high[narrow] = codes[kinds == PLAIN].astype(np.int8)
    for index in np.flatnonzero(~narrow):
        row = np.flatnonzero(plain)[index]
        wide_codes, shift = codes[row].astype(np.int32), int(kinds[row]) - PLAIN
        high[index] = wide_codes >> shift
        planes += [np.packbits((wide_codes >> bit & 1).astype(np.uint8)) for bit in range(shift)]
    frames.append(compress(high, ENTROPY))
    frames.append(compress(np.concatenate(planes), ENTROPY) if planes else b"")
    table = np.zeros(n_axes, dtype=np.uint8)
    table[axes] = kinds
    return table.tobytes() + join(frames)


def axis_steps(step: float, quarters: Any) -> NDArray[np.float64]:
    """Return the step of each axis."""
    return step * 2.0 ** (np.asarray(quarters, dtype=np.float64) / 4)


def unpack_codes(
    block: memoryview, kinds: NDArray[np.uint8], out: NDArray[np.float32], columns: NDArray[Any]
) -> None:
    """Fill ``out`` (columns, rows) with the codes of one block; the inverse of `pack_codes`."""
    n_rows = out.shape[1]
    frames = split(block[len(kinds) :], _ROTATED_FRAMES)
    place_of = np.full(len(kinds), -1)
    place_of[columns] = np.arange(len(columns))
    for (kind, (largest, base, per_byte)), frame in zip(PACKED.items(), frames[:3], strict=True):
        members = place_of[kinds == kind]
        width = -(-n_rows // per_byte)
        octets = np.frombuffer(decompress(frame, len(members) * width), dtype=np.uint8)
        if len(octets) and int(octets.max()) >= base**per_byte:
            raise CodecError("A block of packed codes holds a byte out of range; send it again.")
        powers = base ** np.arange(per_byte - 1, -1, -1)
        meaning = (np.arange(256)[:, None] // powers % base - largest).astype(np.int8)
        for place, packed in zip(members, octets.reshape(len(members), width), strict=True):
            out[place] = meaning[packed].reshape(-1)[:n_rows]
    plain = np.flatnonzero(kinds >= PLAIN)
    shifts = kinds[plain].astype(int) - PLAIN
    octet_row = -(-n_rows // 8)
    high = np.frombuffer(decompress(frames[3], len(plain) * n_rows), dtype=np.int8)
    low = np.frombuffer(decompress(frames[4], int(shifts.sum()) * octet_row), dtype=np.uint8)
    planes, used = low.reshape(-1, octet_row), 0
    for place, shift, row in zip(
        place_of[plain], shifts, high.reshape(len(plain), n_rows), strict=True
    ):
        if shift == 0:
            out[place] = row
            continue
        values = row.astype(np.int32) << np.int32(shift)
        for bit in range(shift):
            values |= np.unpackbits(planes[used], count=n_rows).astype(np.int32) << bit
            used += 1
        out[place] = values
