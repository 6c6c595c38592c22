"""An encoding, and the blocks it makes of a matrix.

A block is about 32 MB of X, and only a few are in work at a time: X is never copied as a whole.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends_remote.decoding import VERSION
from backends_remote.packing import MAX_CODE, axis_steps, join, pack_array, pack_codes
from backends_remote.rotation import Rotation

#: Bytes of X in one block of quantised axes, and the fewest rows: a table of Huffman codes serves
#: 128 KiB, and each axis has a table of its own only where there are enough rows.
BLOCK_BYTES, LEAST_BLOCK_ROWS = 32_000_000, 1_024
#: And of the other codecs, to which it makes no difference; smaller blocks take less memory.
PLAIN_BLOCK_BYTES = 4_000_000


@dataclass(frozen=True)
class Encoding:
    """How a matrix is sent.

    Attributes
    ----------
    codec : {"raw", "lossless", "float16", "rotated"}
    header : dict
        Plain values, all that `decode` needs beside the blocks.
    loss : float
        Measured share of neighbours changed.
    expected_bytes : float
        Size of all blocks, estimated from a sample of the rows.
    rotation : Rotation or None
        What the sender needs for codec "rotated"; not sent.
    slack : float
        Largest squared length that a row may have outside the axes in use; not sent.
    kept : ndarray or None
        Axes in use; rows that exceed ``slack`` use all; not sent.
    """

    codec: str
    header: dict[str, Any]
    loss: float
    expected_bytes: float
    rotation: Rotation | None = field(default=None, repr=False, compare=False)
    slack: float = field(default=0.0, repr=False, compare=False)
    kept: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)


def encode_blocks(X: Any, encoding: Encoding, *, n_threads: int = 2) -> Iterator[bytes]:
    """Yield the blocks in order, a few of them ahead of the caller, never all of them.

    Parameters
    ----------
    X : ndarray or CSR matrix
        The matrix that ``encoding`` was chosen for.
    encoding : Encoding
    n_threads : int, default=2
        Blocks that are encoded at the same time, beside one that waits.
    """
    jobs = _sparse_jobs(X, encoding) if encoding.header["sparse"] else _dense_jobs(X, encoding)
    pool = ThreadPoolExecutor(max(1, n_threads), thread_name_prefix="codec")
    ahead: deque[Future[bytes]] = deque()
    try:
        for job in jobs:
            ahead.append(pool.submit(job))
            if len(ahead) > n_threads:
                yield ahead.popleft().result()
        while ahead:
            yield ahead.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def header_of(X: Any, block_bytes: int | None = None) -> dict[str, Any]:
    """Return what every codec says of a matrix, in blocks of some bytes of it."""
    block_bytes = block_bytes or PLAIN_BLOCK_BYTES
    header: dict[str, Any] = {
        "version": VERSION,
        "shape": [int(X.shape[0]), int(X.shape[1])],
        "dtype": f"<f{X.dtype.itemsize}",
        "sparse": hasattr(X, "indptr"),
    }
    if header["sparse"]:
        wide = max(int(X.nnz), *header["shape"]) > np.iinfo(np.int32).max
        header["index"] = "<i8" if wide else "<i4"
        header["nnz"] = int(X.nnz)
        header["chunk"] = max(1, min(int(X.nnz), block_bytes // (X.dtype.itemsize + 4)))
    else:
        row_bytes = X.shape[1] * X.dtype.itemsize
        header["block_rows"] = min(len(X), max(block_bytes // row_bytes, LEAST_BLOCK_ROWS))
    return header


def _dense_jobs(X: NDArray[Any], encoding: Encoding) -> Iterator[Callable[[], bytes]]:
    encode = _encode_rotated if encoding.codec == "rotated" else _encode_dense
    rows = encoding.header["block_rows"]
    for start in range(0, len(X), rows):
        block = X[start : start + rows]
        yield partial(encode, block, encoding)


def _encode_dense(block: NDArray[Any], encoding: Encoding) -> bytes:
    return join(_pack_values(block, encoding))


def _pack_values(values: NDArray[Any], encoding: Encoding) -> list[bytes]:
    header = encoding.header
    if encoding.codec == "float16":
        with np.errstate(over="ignore"):  # in a trial, whose unit is that of a sample
            values = (values / values.dtype.type(header["unit"])).astype("<f2")
    else:
        values = values.astype(header["dtype"], copy=False)
    if encoding.codec == "raw":
        return pack_array(values, None, shuffle=False)
    return pack_array(values, header["mode"], shuffle=header["shuffle"])


def _encode_rotated(block: NDArray[Any], encoding: Encoding) -> bytes:
    rotation, kept = encoding.rotation, encoding.kept
    if rotation is None or kept is None:
        raise ValueError("This encoding carries no rotation; use what choose_encoding returned.")
    exponent = 0 if rotation.normalise else rotation.exponent
    step = math.ldexp(encoding.header["step"], -exponent)
    steps = axis_steps(step, encoding.header["quarters"])
    scales = (1 / steps).astype(np.float32)
    # Rows far beyond all in the sample can overflow; they are dealt with below.
    with np.errstate(over="ignore", invalid="ignore"):
        points = rotation.prepare(block)
        codes = rotation.apply(points, kept, scales)
        if not kept.all():
            # Rows unlike all in the sample may need axes that those did not.
            whole = np.einsum("ij,ij->i", points, points)
            inside = steps[kept] ** 2 @ codes**2
            if not (whole - inside <= encoding.slack + 1e-5 * whole).all():
                kept = np.ones_like(kept)
                codes = rotation.apply(points, kept, scales)
    np.rint(codes, out=codes)
    if not -MAX_CODE <= codes.min() <= codes.max() <= MAX_CODE:
        # A row that no sample foresaw, beyond what float32 can tell apart: it stays far away.
        np.nan_to_num(codes, copy=False, posinf=MAX_CODE, neginf=-MAX_CODE)
        np.clip(codes, -MAX_CODE, MAX_CODE, out=codes)
    return pack_codes(codes, np.flatnonzero(kept), rotation.n_axes)


def _sparse_jobs(X: Any, encoding: Encoding) -> Iterator[Callable[[], bytes]]:
    header, mode = encoding.header, encoding.header.get("mode")
    # Sorted or not, with or without explicit zeros: entries travel as they are.
    unsigned = np.dtype("<u4" if header["index"] == "<i4" else "<u8")

    def counts() -> bytes:
        return join(pack_array(np.diff(X.indptr).astype("<u4"), mode, shuffle=True))

    def entries(part: slice) -> bytes:
        steps = np.diff(X.indices[part].astype(unsigned), prepend=unsigned.type(0))
        frames = pack_array(steps, mode, shuffle=True)
        return join([*frames, *_pack_values(X.data[part], encoding)])

    yield counts
    for start in range(0, header["nnz"], header["chunk"]):
        part = slice(start, min(header["nnz"], start + header["chunk"]))
        yield partial(entries, part)
