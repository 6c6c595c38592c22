"""What is sent instead of X: fewer bytes, at a loss that is measured before anything is sent.

Candidates, of which the smallest that keeps enough neighbours is used:

- ``"raw"``: X as it lies in memory, for a link faster than compression;
- ``"lossless"``: bytes shuffled and compressed, bit for bit;
- ``"float16"``: half precision, scaled by a power of two;
- ``"rotated"``: principal axes quantised with one step, for dense X in the Euclidean and cosine
  metrics. The receiver gets coordinates along these axes: other numbers and often fewer columns,
  but the same distances.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends_remote.loss import ROTATABLE, Loss, NeighborSample, is_measurable, sample_rows
from backends_remote.packing import (
    ENTROPY,
    MATCHES,
    MAX_CODE,
    VERSION,
    CodecError,
    decode,
    join,
    pack_array,
    pack_codes,
)
from backends_remote.rotation import Rotation, fit_rotation

__all__ = ["CodecError", "Encoding", "choose_encoding", "decode", "encode_blocks"]

CODECS = ("raw", "lossless", "float16", "rotated")
#: Bytes of X in one block, and the fewest rows: a table of Huffman codes serves 128 KiB.
BLOCK_BYTES, LEAST_BLOCK_ROWS = 32_000_000, 1_024
#: Bytes of X that are encoded to foresee the size of the whole.
PROBE_BYTES = 8_000_000
#: Below this many bytes the round trips take longer than the bytes, so nothing is risked.
SMALL_BYTES = 262_144
#: Fewest rows whose neighbours can be sampled.
LEAST_ROWS = 8
#: A larger loss cannot be measured without bias, and is hardly wanted.
MAX_LOSS = 0.25
#: Bytes of X encoded per second on 2 cores; `benchmarks/codecs.py` on 768 features.
ENCODE_RATES = {"raw": 2.0e9, "lossless": 5.0e8, "float16": 6.0e8, "rotated": 2.5e8}
#: Half precision holds up to 65,504; a scaled matrix has its largest value below 2**15.
_HALF_EXPONENT = 15
#: The step is searched to this factor; 0.03 bits per value.
_STEP_PRECISION = 1.02


@dataclass(frozen=True)
class Encoding:
    """How a matrix is sent.

    Attributes
    ----------
    codec : {"raw", "lossless", "float16", "rotated"}
    header : dict
        Plain values, all that `decode` needs beside the blocks.
    tables : tuple of bytes
        Always empty: the rotation need not be sent, and the rest is in the blocks.
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
    tables: tuple[bytes, ...]
    loss: float
    expected_bytes: float
    rotation: Rotation | None = field(default=None, repr=False, compare=False)
    slack: float = field(default=0.0, repr=False, compare=False)
    kept: NDArray[np.bool_] | None = field(default=None, repr=False, compare=False)


def choose_encoding(
    X: Any,
    n_neighbors: int,
    *,
    max_loss: float = 0.02,
    metric: str = "euclidean",
    upload_bytes_per_second: float | None = None,
    codec: str | None = None,
    n_threads: int = 2,
) -> Encoding:
    """Measure what each candidate costs and loses on a sample, and return the best.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features), float32 or float64
        Finite. The same X gives the same encoding.
    n_neighbors : int
        Neighbours per row that t-SNE uses, 3 × perplexity.
    max_loss : float, default=0.02
        Largest share of them that may change on average, at most 0.25, with a margin of 1.6
        standard errors for sampling. 0 sends X bit for bit.
    metric : str, default="euclidean"
        In one whose loss cannot be measured, X is sent bit for bit.
    upload_bytes_per_second : float, optional
        Where given, the candidate with the least time to encode and send is taken, else the
        smallest.
    codec : {"raw", "lossless", "float16", "rotated"}, optional
        Forces one: "rotated" still keeps within ``max_loss``, "float16" loses what it loses.
    n_threads : int, default=2
        Of `encode_blocks`; a sample is too small to gain.

    Returns
    -------
    Encoding

    Raises
    ------
    ValueError
        A parameter is out of range, or a forced codec cannot encode this matrix.
    """
    sparse = _check(X, n_neighbors, max_loss, metric, codec)
    exact = [_raw(X), _lossless(X)] if codec in (None, "raw", "lossless") else []
    if codec in ("raw", "lossless"):
        return exact[CODECS.index(codec)]
    rate = upload_bytes_per_second
    if rate is None:
        exact = exact[1:]
    n_bytes = _bytes_of(X)
    measurable = is_measurable(metric, sparse=sparse) and X.shape[0] >= LEAST_ROWS
    if codec is None and (max_loss == 0 or n_bytes < SMALL_BYTES or not measurable):
        return min(exact, key=lambda one: _seconds(one, n_bytes, rate))
    neighbors = NeighborSample(X, n_neighbors, metric)
    candidates = exact
    if codec == "rotated" or (codec is None and not sparse and metric in ROTATABLE):
        candidates = [*candidates, _rotated(X, neighbors, metric, max_loss)]
    best = min(candidates, key=lambda one: _seconds(one, n_bytes, rate)) if candidates else None
    if codec != "rotated":
        half = _half(X)
        if best is None or _seconds(half, n_bytes, rate) < _seconds(best, n_bytes, rate):
            measured = neighbors.loss_of(lambda rows: _through_half(rows, half.header["unit"]))
            if best is None or measured.within(max_loss):
                best = replace(half, loss=measured.share)
    assert best is not None  # each forced codec has given one
    return best


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


def estimated_bytes(
    n_samples: int,
    n_features: int,
    itemsize: int,
    *,
    max_loss: float,
    metric: str,
    is_sparse: bool = False,
    nnz: int = 0,
) -> float:
    """Return a rough size of an encoded matrix for planning, before X was looked at.

    Figures of `benchmarks/codecs.py`, in bits per value, rounded up: at a loss of 0.02, 3.6 on
    wide matrices, up to 8.5 on narrow ones, whose axes all matter; halving the loss costs one bit.
    """
    if is_sparse:
        kept = 2.0 if max_loss > 0 and metric in ROTATABLE else 0.8 * itemsize
        return nnz * (1.5 + kept) + n_samples
    n_values = float(n_samples) * n_features
    exact = (0.85 if itemsize == 4 else 0.93) * itemsize
    if max_loss <= 0 or metric == "precomputed" or n_values * itemsize < SMALL_BYTES:
        return n_values * exact
    if metric not in ROTATABLE:
        return n_values * (1.75 if is_measurable(metric, sparse=False) else exact)
    bits = 3.6 + 5.0 * math.exp(-n_features / 60) + math.log2(0.02 / max_loss)
    return n_values * min(exact, max(bits, 0.5) / 8)


def _check(X: Any, n_neighbors: int, max_loss: float, metric: str, codec: str | None) -> bool:
    sparse = hasattr(X, "indptr")
    if sparse and X.format != "csr":
        raise ValueError(f"Sparse X must be in CSR format, but is in {X.format}; call X.tocsr().")
    if not sparse and not isinstance(X, np.ndarray):
        raise ValueError(
            f"X must be a NumPy array or a SciPy CSR matrix, but is a {type(X).__name__}; "
            "convert it first."
        )
    if X.dtype not in (np.float32, np.float64):
        raise ValueError(f"X must hold float32 or float64, but holds {X.dtype}; convert it first.")
    if X.ndim != 2 or 0 in X.shape:
        raise ValueError(f"X must have rows and columns, but its shape is {X.shape}; pass a table.")
    if n_neighbors < 1:
        raise ValueError(f"n_neighbors must be at least 1, but is {n_neighbors}; raise it.")
    if not 0 <= max_loss <= MAX_LOSS:
        raise ValueError(f"max_loss must be from 0 to {MAX_LOSS}, but is {max_loss}; change it.")
    if codec is not None and codec not in CODECS:
        raise ValueError(f"codec must be one of {', '.join(CODECS)}, but is {codec!r}; change it.")
    if codec in ("float16", "rotated"):
        if not is_measurable(metric, sparse=sparse) or X.shape[0] < LEAST_ROWS:
            raise ValueError(
                f"The loss of codec {codec!r} cannot be measured on {X.shape[0]} rows in the metric "
                f"{metric!r}; use the codec 'lossless'."
            )
        if codec == "rotated" and (sparse or metric not in ROTATABLE or max_loss == 0):
            raise ValueError(
                "The codec 'rotated' needs dense X, the metric 'euclidean' or 'cosine' and a "
                f"max_loss above 0, but max_loss is {max_loss} and the metric {metric!r}; use the "
                "codec 'lossless'."
            )
    return sparse


def _bytes_of(X: Any) -> int:
    if hasattr(X, "indptr"):
        return int(X.data.nbytes + X.indices.nbytes + X.indptr.nbytes)
    return int(X.size * X.itemsize)


def _seconds(encoding: Encoding, n_bytes: int, rate: float | None) -> float:
    """Return the time to encode and send; the bytes themselves where the link is not known."""
    if rate is None:
        return encoding.expected_bytes
    return n_bytes / ENCODE_RATES[encoding.codec] + encoding.expected_bytes / rate


def _header(X: Any) -> dict[str, Any]:
    header: dict[str, Any] = {
        "version": VERSION,
        "shape": [int(X.shape[0]), int(X.shape[1])],
        "dtype": "<f4" if X.dtype == np.float32 else "<f8",
        "sparse": hasattr(X, "indptr"),
    }
    if header["sparse"]:
        wide = max(int(X.nnz), *header["shape"]) > np.iinfo(np.int32).max
        header["index"] = "<i8" if wide else "<i4"
        header["nnz"] = int(X.nnz)
        header["chunk"] = BLOCK_BYTES // (X.dtype.itemsize + 4)
    else:
        row_bytes = X.shape[1] * X.dtype.itemsize
        header["block_rows"] = min(len(X), max(BLOCK_BYTES // row_bytes, LEAST_BLOCK_ROWS))
    return header


def _raw(X: Any) -> Encoding:
    return Encoding("raw", _header(X), (), 0.0, float(_bytes_of(X)))


def _lossless(X: Any) -> Encoding:
    variants = [(True, ENTROPY), (True, MATCHES), (False, MATCHES)]
    return _smallest(X, "lossless", variants, {})


def _half(X: Any) -> Encoding:
    """Return half precision, scaled so that the largest value of X fits; its loss is not known."""
    values = X.data if hasattr(X, "indptr") else X
    rows = max(1, BLOCK_BYTES // (values.itemsize * math.prod(values.shape[1:])))
    blocks = (values[start : start + rows] for start in range(0, len(values), rows))
    largest = max((max(float(b.max()), -float(b.min())) for b in blocks), default=0.0)
    exponent = int(np.frexp(largest or 1.0)[1]) - _HALF_EXPONENT
    # Both the unit and its inverse must be numbers of X's own type.
    bound = 126 if X.dtype == np.float32 else 1022
    unit = math.ldexp(1.0, max(-bound, min(bound, exponent)))
    return _smallest(X, "float16", [(True, ENTROPY), (True, MATCHES)], {"unit": unit})


def _through_half(rows: Any, unit: float) -> Any:
    """Return rows as they arrive after half precision."""
    sparse = hasattr(rows, "indptr")
    values = rows.data if sparse else rows
    values = (values / values.dtype.type(unit)).astype(np.float16).astype(values.dtype)
    values *= values.dtype.type(unit)
    return type(rows)((values, rows.indices, rows.indptr), rows.shape) if sparse else values


def _smallest(
    X: Any, codec: str, variants: list[tuple[bool, str]], extra: dict[str, Any]
) -> Encoding:
    """Return the variant that makes the fewest bytes of a sample of the rows."""
    row_bytes = max(1, _bytes_of(X) // X.shape[0])
    probe = X[sample_rows(X.shape[0], max(1, PROBE_BYTES // row_bytes), seed=4)]
    growth = X.shape[0] / probe.shape[0]
    best: Encoding | None = None
    for shuffle, mode in variants:
        options = {**extra, "shuffle": shuffle, "mode": mode}
        trial = Encoding(codec, {**_header(probe), **options}, (), 0.0, 0.0)
        size = growth * sum(map(len, encode_blocks(probe, trial, n_threads=1)))
        if best is None or size < best.expected_bytes:
            best = Encoding(codec, {**_header(X), **options}, (), 0.0, size)
    assert best is not None
    return best


def _rotated(X: NDArray[Any], neighbors: NeighborSample, metric: str, max_loss: float) -> Encoding:
    """Return the coarsest quantised axes that keep within ``max_loss``."""
    rotation = fit_rotation(X, metric)
    groups = [rotation.apply(rotation.prepare(rows)).T for rows in neighbors.groups()]
    step, loss = _find_step(groups, neighbors, metric, max_loss)
    row_bytes = X.shape[1] * X.itemsize
    probe = rotation.prepare(X[sample_rows(len(X), max(1, PROBE_BYTES // row_bytes), seed=4)])
    along = rotation.apply(probe)
    kept = np.abs(along).max(axis=1) >= step / 2
    kept[0] = True
    dropped = along[~kept]
    slack = 2 * float(np.einsum("ij,ij->j", dropped, dropped).max()) if len(dropped) else math.inf
    codes = np.rint(along[kept] / np.float32(step))
    size = len(pack_codes(codes, np.flatnonzero(kept), rotation.n_axes)) * len(X) / len(probe)
    exponent = 0 if rotation.normalise else rotation.exponent
    header = _header(X) | {"step": math.ldexp(step, exponent)}
    # Squares of such coordinates do not fit float32; the receiver decides what to do about them.
    header["dtype"] = "<f4" if abs(exponent) <= 60 else "<f8"
    return Encoding("rotated", header, (), loss.share, size, rotation, slack, kept)


def _find_step(
    groups: list[NDArray[np.float32]], neighbors: NeighborSample, metric: str, max_loss: float
) -> tuple[float, Loss]:
    """Return the largest step whose loss is allowed, to `_STEP_PRECISION`, by bisection."""
    from backends_remote.loss import group_distances

    def measure(step: float) -> Loss:
        inverse = np.float32(1 / step)
        return neighbors.loss(lambda q: group_distances(np.rint(groups[q] * inverse), metric))

    spread = math.sqrt(sum(float(np.square(g).mean()) for g in groups) / len(groups))
    step = spread * groups[0].shape[1] ** 0.5 / 100 or 1.0
    fine, found = 0.0, Loss(0.0, 0.0)
    coarse = math.inf
    while fine == 0.0 or coarse > fine * _STEP_PRECISION:
        loss = measure(step)
        if loss.within(max_loss):
            fine, found = step, loss
        else:
            coarse = step
        if math.isinf(coarse):
            if fine > 1e6 * spread * groups[0].shape[1] ** 0.5:
                break  # no step loses anything: all rows are equal
            step = 2 * fine
        elif fine == 0.0:
            step = coarse / 2
        else:
            step = math.sqrt(fine * coarse)
    return fine, found


def _dense_jobs(X: NDArray[Any], encoding: Encoding) -> Iterator[Callable[[], bytes]]:
    encode = _encode_rotated if encoding.codec == "rotated" else _encode_dense
    rows = encoding.header["block_rows"]
    for start in range(0, len(X), rows):
        block = X[start : start + rows]
        yield lambda block=block: encode(block, encoding)  # type: ignore[misc]


def _encode_dense(block: NDArray[Any], encoding: Encoding) -> bytes:
    header = encoding.header
    return join(
        _pack_values(block, encoding)
        if encoding.codec != "raw"
        else pack_array(block.astype(header["dtype"], copy=False), None, shuffle=False)
    )


def _pack_values(values: NDArray[Any], encoding: Encoding) -> list[bytes]:
    header = encoding.header
    if encoding.codec == "float16":
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
    points = rotation.prepare(block)
    codes = rotation.apply(points, kept, 1 / step)
    if not kept.all():
        # Rows unlike all in the sample may need axes that those did not.
        whole = np.einsum("ij,ij->i", points, points)
        inside = np.einsum("ij,ij->j", codes, codes) * np.float32(step) ** 2
        if bool((whole - inside > encoding.slack + 1e-5 * whole).any()):
            kept = np.ones_like(kept)
            codes = rotation.apply(points, kept, 1 / step)
    np.rint(codes, out=codes)
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
        yield lambda part=part: entries(part)  # type: ignore[misc]
