"""Reading an encoded matrix, on the side that receives it.

What is read comes from the network. Every value of the header is checked for type, range and
consistency, and the memory that is needed follows from it before any of it is allocated.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.sparse import csr_matrix

from backends_remote.packing import (
    MAX_QUARTERS,
    MAX_SHIFT,
    PLAIN,
    CodecError,
    axis_steps,
    split,
    unpack_array,
    unpack_codes,
)

#: Version of the layout; a reader refuses all others.
VERSION = 1
#: Largest accepted number of rows, columns or entries.
_MAX_COUNT = 2**48


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
    block_rows = _integer(header, "block_rows", 1, n_rows)
    _count_blocks(blocks, -(-n_rows // block_rows))
    layout = _Layout(n_rows, n_columns, block_rows, dtype)
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
    steps = _steps(header, layout)
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
        unpack_codes(block, kinds, codes, columns)
        np.multiply(codes.T, steps[columns], out=rows)
    return out


def _steps(header: Mapping[str, Any], layout: _Layout) -> NDArray[Any]:
    """Return the step of each column, in the type of the result."""
    quarters = header.get("quarters")
    if (
        not isinstance(quarters, list | tuple)
        or len(quarters) != layout.n_columns
        or not all(type(value) is int and abs(value) <= MAX_QUARTERS for value in quarters)
    ):
        raise CodecError(
            f"The header's quarters must be {layout.n_columns} whole numbers of at most "
            f"{MAX_QUARTERS}; send the matrix again."
        )
    with np.errstate(over="ignore"):
        steps = axis_steps(_positive(header, "step"), quarters).astype(layout.dtype)
    if not (np.isfinite(steps).all() and (steps > 0).all()):
        raise CodecError(
            f"The step {header['step']} does not fit {layout.dtype}; send the matrix again."
        )
    return steps


def _decode_sparse(
    codec: str,
    header: Mapping[str, Any],
    blocks: Sequence[memoryview],
    shape: tuple[int, int],
    dtype: np.dtype[Any],
    max_bytes: int,
) -> csr_matrix:
    nnz = _integer(header, "nnz", 0, _MAX_COUNT)
    chunk = _integer(header, "chunk", 1, max(nnz, 1))
    index = _dtype(header, "index", ("<i4", "<i8"))
    if max(nnz, *shape) > np.iinfo(index).max:
        raise CodecError(f"The index type {index} is too narrow for the matrix; send it again.")
    _count_blocks(blocks, 1 + -(-nnz // chunk))
    stored, factor = _stored(codec, header, dtype)
    compressed, shuffle = codec != "raw", codec != "raw" and _flag(header, "shuffle")
    # SciPy's checks and the cumulated sums need a few copies of the index arrays.
    rows_bytes, entry_bytes = 8 * 4 * (shape[0] + 1), dtype.itemsize + 2 * index.itemsize
    work = chunk * 4 * (stored.itemsize + index.itemsize)
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
