"""How the blocks of an encoded matrix look in bytes, and how they are read back.

Both sides of the transfer import this module, so it needs NumPy, SciPy and zstandard only. What is
read comes from the network: nothing here trusts a size it has not checked against ``max_bytes``.

A block is a table of frame lengths, then the frames. Each frame is one zstd frame (or, for codec
"raw", plain bytes) whose decompressed size follows from the header, and is checked before anything
is allocated.
"""

from __future__ import annotations

import struct
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import zstandard
from numpy.typing import NDArray
from scipy.sparse import csr_matrix


class CodecError(ValueError):
    """An encoded matrix cannot be read: damaged, not from this program, or too large."""


#: Version of the layout; a reader refuses all others.
VERSION = 1

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
#: Most low bits of a code; codes stay below 2**30, where float32 has no finer values to offer.
MAX_SHIFT = 23
MAX_CODE = 2.0**30 - 64
#: Frames of a block of quantised columns: three packed kinds, int8, low bits.
_ROTATED_FRAMES = 5

#: Largest accepted number of rows, columns or entries; keeps products far below 2**127.
_MAX_COUNT = 2**48


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
    for place in np.flatnonzero(~narrow):
        row = np.flatnonzero(plain)[place]
        values, shift = codes[row].astype(np.int32), int(kinds[row]) - PLAIN
        high[place] = values >> shift
        planes += [np.packbits((values >> bit & 1).astype(np.uint8)) for bit in range(shift)]
    frames.append(compress(high, ENTROPY))
    frames.append(compress(np.concatenate(planes), ENTROPY) if planes else b"")
    table = np.zeros(n_axes, dtype=np.uint8)
    table[axes] = kinds
    return table.tobytes() + join(frames)


def _unpack_codes(
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
        digits = (np.arange(256)[:, None] // powers % base - largest).astype(np.int8)
        for place, row in zip(members, octets.reshape(len(members), width), strict=True):
            out[place] = digits[row].reshape(-1)[:n_rows]
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
        values = row.astype(np.int32) << shift
        for bit in range(shift):
            values |= np.unpackbits(planes[used], count=n_rows).astype(np.int32) << bit
            used += 1
        out[place] = values


class _Layout(NamedTuple):
    """The checked header of a dense matrix."""

    n_rows: int
    n_columns: int
    block_rows: int
    dtype: np.dtype[Any]


def decode(
    codec: str,
    header: Mapping[str, Any],
    blocks: Sequence[memoryview | bytes],
    *,
    max_bytes: int,
) -> NDArray[Any] | csr_matrix:
    """Return the matrix, or for codec "rotated" one with the same distances between its rows.

    Parameters
    ----------
    codec : {"raw", "lossless", "float16", "rotated"}
    header : mapping
        As `backends_remote.codec.Encoding.header`.
    blocks : sequence of bytes
        As `backends_remote.codec.encode_blocks` yields them.
    max_bytes : int
        Limit of the result and the working memory together.

    Returns
    -------
    ndarray or CSR matrix
        Codec "rotated" gives the coordinates along principal axes, about the mean in the Euclidean
        metric, of the normalised rows in the cosine metric, without the axes that are all zero.

    Raises
    ------
    CodecError
        The header or a block is not what an encoder writes, or the result exceeds ``max_bytes``.
    """
    try:
        return _decode(codec, header, [memoryview(block).cast("B") for block in blocks], max_bytes)
    except CodecError:
        raise
    except (TypeError, ValueError, OverflowError, IndexError, MemoryError) as error:
        raise CodecError(
            f"The encoded matrix cannot be read ({error}); send it again with this version."
        ) from error


def _decode(
    codec: str, header: Mapping[str, Any], blocks: Sequence[memoryview], max_bytes: int
) -> NDArray[Any] | csr_matrix:
    if codec not in ("raw", "lossless", "float16", "rotated"):
        raise CodecError(f"The codec {str(codec)[:40]!r} is not known; update the receiving side.")
    if _integer(header, "version", 0, _MAX_COUNT) != VERSION:
        raise CodecError(
            f"The matrix is encoded in version {header['version']}, this program reads {VERSION}; "
            "install the same version on both sides."
        )
    shape = header.get("shape")
    if not isinstance(shape, list | tuple) or len(shape) != 2:
        raise CodecError("The header's shape is not a pair of numbers; send the matrix again.")
    n_rows = _integer({"rows": shape[0]}, "rows", 1, _MAX_COUNT)
    n_columns = _integer({"columns": shape[1]}, "columns", 1, _MAX_COUNT)
    dtype = _dtype(header, "dtype", ("<f4", "<f8"))
    if _flag(header, "sparse"):
        if codec == "rotated":
            raise CodecError("A sparse matrix cannot be rotated; send it again.")
        return _decode_sparse(codec, header, blocks, (n_rows, n_columns), dtype, max_bytes)
    block_rows = _integer(header, "block_rows", 1, _MAX_COUNT)
    _count_blocks(blocks, -(-n_rows // block_rows))
    layout = _Layout(n_rows, n_columns, min(block_rows, n_rows), dtype)
    if codec == "rotated":
        return _decode_rotated(header, blocks, layout, max_bytes)
    return _decode_dense(codec, header, blocks, layout, max_bytes)


def _decode_dense(
    codec: str,
    header: Mapping[str, Any],
    blocks: Sequence[memoryview],
    layout: _Layout,
    max_bytes: int,
) -> NDArray[Any]:
    stored, factor = _stored(codec, header, layout.dtype)
    compressed, shuffle = codec != "raw", codec != "raw" and _flag(header, "shuffle")
    entries = layout.n_rows * layout.n_columns
    # A block in work lies in memory at most three times: as frame, shuffled, and as values.
    work = layout.block_rows * layout.n_columns * (3 * stored.itemsize + layout.dtype.itemsize)
    _check_memory(entries * layout.dtype.itemsize + work, max_bytes)
    out = np.empty((layout.n_rows, layout.n_columns), dtype=layout.dtype)
    for start, block in zip(range(0, layout.n_rows, layout.block_rows), blocks, strict=True):
        rows = out[start : start + layout.block_rows]
        frames = split(block, stored.itemsize if shuffle else 1)
        rows[:] = unpack_array(frames, stored, rows.size, compressed=compressed).reshape(rows.shape)
        if codec == "float16":
            rows *= factor
    return out


def _decode_rotated(
    header: Mapping[str, Any], blocks: Sequence[memoryview], layout: _Layout, max_bytes: int
) -> NDArray[Any]:
    step = _positive(header, "step")
    if not np.isfinite(layout.dtype.type(step)) or not layout.dtype.type(step) > 0:
        raise CodecError(f"The step {step} does not fit {layout.dtype}; send the matrix again.")
    used = np.zeros(min(layout.n_columns, min(map(len, blocks))), dtype=bool)
    if len(used) != layout.n_columns:
        raise CodecError("A block is too short for its table of columns; send it again.")
    used[0] = True  # a matrix has at least one column, be it of zeros
    for block in blocks:
        kinds = np.frombuffer(block[: layout.n_columns], dtype=np.uint8)
        if int(kinds.max()) > PLAIN + MAX_SHIFT:
            raise CodecError("A block names an unknown kind of column; send it again.")
        used |= kinds > 0
    columns = np.flatnonzero(used)
    # A block in work: codes as float32, beside them frames and one column's temporaries.
    work = layout.block_rows * (len(columns) * (8 + layout.dtype.itemsize) + 64)
    _check_memory(layout.n_rows * len(columns) * layout.dtype.itemsize + work, max_bytes)
    out = np.empty((layout.n_rows, len(columns)), dtype=layout.dtype)
    for start, block in zip(range(0, layout.n_rows, layout.block_rows), blocks, strict=True):
        rows = out[start : start + layout.block_rows]
        codes = np.zeros((len(columns), len(rows)), dtype=np.float32)
        kinds = np.frombuffer(block[: layout.n_columns], dtype=np.uint8)
        _unpack_codes(block, kinds, codes, columns)
        np.multiply(codes.T, layout.dtype.type(step), out=rows)
    return out


def _decode_sparse(
    codec: str,
    header: Mapping[str, Any],
    blocks: Sequence[memoryview],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    max_bytes: int,
) -> csr_matrix:
    nnz = _integer(header, "nnz", 0, _MAX_COUNT)
    chunk = _integer(header, "chunk", 1, _MAX_COUNT)
    index = _dtype(header, "index", ("<i4", "<i8"))
    if max(nnz, *shape) > np.iinfo(index).max:
        raise CodecError(f"The index type {index} is too narrow for the matrix; send it again.")
    _count_blocks(blocks, 1 + -(-nnz // chunk))
    stored, factor = _stored(codec, header, dtype)
    compressed, shuffle = codec != "raw", codec != "raw" and _flag(header, "shuffle")
    # SciPy's checks and the cumulated sums need a few copies of the index arrays.
    rows_bytes, entry_bytes = 8 * 4 * (shape[0] + 1), dtype.itemsize + 2 * index.itemsize
    work = min(chunk, max(nnz, 1)) * 4 * (stored.itemsize + index.itemsize)
    _check_memory(rows_bytes + nnz * entry_bytes + work, max_bytes)

    counts_type = np.dtype("<u4")
    frames = split(blocks[0], counts_type.itemsize if compressed else 1)
    counts = unpack_array(frames, counts_type, shape[0], compressed=compressed)
    indptr = np.zeros(shape[0] + 1, dtype=np.int64)
    np.cumsum(counts, dtype=np.int64, out=indptr[1:])
    if int(indptr[-1]) != nnz:
        raise CodecError(
            f"The rows hold {int(indptr[-1])} entries where the header gives {nnz}; send it again."
        )
    unsigned = np.dtype(f"<u{index.itemsize}")
    indices, data = np.empty(nnz, dtype=index), np.empty(nnz, dtype=dtype)
    for start, block in zip(range(0, nnz, chunk), blocks[1:], strict=True):
        entries = slice(start, min(nnz, start + chunk))
        count = entries.stop - start
        n_index = index.itemsize if compressed else 1
        frames = split(block, n_index + (stored.itemsize if shuffle else 1))
        steps = unpack_array(frames[:n_index], unsigned, count, compressed=compressed)
        # Differences wrap around, so that unsorted indices survive too.
        np.cumsum(steps, dtype=unsigned, out=indices[entries].view(unsigned))
        data[entries] = unpack_array(frames[n_index:], stored, count, compressed=compressed)
        if codec == "float16":
            data[entries] *= factor
    if nnz and (int(indices.min()) < 0 or int(indices.max()) >= shape[1]):
        raise CodecError("A column index lies outside the matrix; send it again.")
    return csr_matrix((data, indices, indptr.astype(index)), shape=shape)


def _stored(codec: str, header: Mapping[str, Any], dtype: np.dtype[Any]) -> tuple[Any, Any]:
    """Return the type of the stored values, and what they are multiplied with."""
    if codec != "float16":
        return dtype, dtype.type(1)
    with np.errstate(over="ignore"):
        factor = dtype.type(_positive(header, "unit"))
    if not np.isfinite(factor) or not factor > 0:
        raise CodecError(f"The unit {header['unit']} does not fit {dtype}; send the matrix again.")
    return np.dtype("<f2"), factor


def _count_blocks(blocks: Sequence[memoryview], expected: int) -> None:
    if len(blocks) != expected:
        raise CodecError(
            f"{len(blocks)} blocks came where the header gives {expected}; send the matrix again."
        )


def _check_memory(needed: int, max_bytes: int) -> None:
    if needed > max_bytes:
        raise CodecError(
            f"Decoding needs {needed / 1e6:,.1f} MB, but {max_bytes / 1e6:,.1f} MB are allowed; "
            "use a machine with more memory or send fewer rows."
        )


def _integer(header: Mapping[str, Any], key: str, least: int, most: int) -> int:
    value = header.get(key)
    if type(value) is not int or not least <= value <= most:
        raise CodecError(
            f"The header's {key} must be a whole number from {least} to {most}, but is "
            f"{str(value)[:40]!r}; send the matrix again."
        )
    return value


def _positive(header: Mapping[str, Any], key: str) -> float:
    value = header.get(key)
    if type(value) is not float or not 0 < value < float("inf"):
        raise CodecError(
            f"The header's {key} must be a positive number, but is {str(value)[:40]!r}; "
            "send the matrix again."
        )
    return value


def _flag(header: Mapping[str, Any], key: str) -> bool:
    value = header.get(key)
    if type(value) is not bool:
        raise CodecError(f"The header's {key} must be true or false; send the matrix again.")
    return value


def _dtype(header: Mapping[str, Any], key: str, allowed: Sequence[str]) -> np.dtype[Any]:
    value = header.get(key)
    if not isinstance(value, str) or value not in allowed:
        raise CodecError(
            f"The header's {key} must be one of {', '.join(allowed)}, but is "
            f"{str(value)[:40]!r}; send the matrix again."
        )
    return np.dtype(value)
