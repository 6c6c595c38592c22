"""What is sent instead of X: fewer bytes, at a loss that is measured before anything is sent.

Candidates, of which the smallest that keeps enough neighbours is used:

- ``"raw"``: X as it lies in memory, only where asked for, as by a plan for a link faster than
  compression;
- ``"lossless"``: bytes shuffled and compressed, bit for bit;
- ``"float16"``: half precision, scaled by a power of two;
- ``"rotated"``: principal axes, each quantised with its own step, for dense X in the Euclidean and
  cosine metrics. The receiver gets coordinates along these axes: other numbers and often fewer
  columns, but the same distances.
"""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from backends_remote.decoding import decode
from backends_remote.distances import ROTATABLE, is_measurable
from backends_remote.encoding import (
    BLOCK_BYTES,
    LEAST_BLOCK_ROWS,
    PLAIN_BLOCK_BYTES,
    Encoding,
    encode_blocks,
    header_of,
)
from backends_remote.loss import NeighborSample, sample_rows
from backends_remote.packing import ENTROPY, MATCHES, CodecError, axis_steps, pack_codes
from backends_remote.rotation import fit_rotation
from backends_remote.steps import find_step, quarters_of

__all__ = [
    "CodecError",
    "Encoding",
    "choose_encoding",
    "decode",
    "encode_blocks",
    "estimated_bytes",
]

CODECS = ("raw", "lossless", "float16", "rotated")
#: Bytes of X that are encoded to foresee the size of the whole.
PROBE_BYTES = 8_000_000
#: Below this many bytes the round trips take longer than the bytes, so nothing is risked.
SMALL_BYTES = 262_144
#: Fewest rows whose neighbours can be sampled.
LEAST_ROWS = 8
#: A larger loss cannot be measured without bias, and is hardly wanted.
MAX_LOSS = 0.25
#: Half precision holds up to 65,504; a scaled matrix has its largest value below 2**15.
_HALF_EXPONENT = 15


def choose_encoding(
    X: Any,
    n_neighbors: int,
    *,
    max_loss: float = 0.02,
    metric: str = "euclidean",
    codec: str | None = None,
) -> Encoding:
    """Measure what each candidate costs and loses on a sample, and return the smallest.

    Parameters
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features), float32 or float64
        Finite. The same X gives the same encoding.
    n_neighbors : int
        Neighbours per row that t-SNE uses, 3 × perplexity.
    max_loss : float, default=0.02
        Largest share of them that may change on average, at most 0.25, with a margin of
        1.6 standard errors for sampling. 0 sends X bit for bit.
    metric : str, default="euclidean"
        In one whose loss cannot be measured, X is sent bit for bit.
    codec : {"raw", "lossless", "float16", "rotated"}, optional
        Forces one: "rotated" still keeps within ``max_loss``, "float16" loses what it loses. "raw"
        is never taken otherwise.

    Returns
    -------
    Encoding

    Raises
    ------
    ValueError
        A parameter is out of range, or a forced codec cannot encode this matrix.
    """
    sparse = _check(X, n_neighbors, max_loss, metric, codec)
    if codec == "raw":
        return _raw(X)
    best = _lossless(X) if codec in (None, "lossless") else None
    measurable = is_measurable(metric, sparse=sparse) and X.shape[0] >= LEAST_ROWS
    may_lose = max_loss > 0 and _bytes_of(X) >= SMALL_BYTES and measurable
    if best is not None and (codec == "lossless" or not may_lose):
        return best
    neighbors = NeighborSample(X, n_neighbors, metric)
    if codec == "rotated" or (codec is None and not sparse and metric in ROTATABLE):
        rotated = _rotated(X, neighbors, metric, max_loss)
        if rotated is None and codec == "rotated":
            raise ValueError(
                f"No step keeps the loss of codec 'rotated' within max_loss={max_loss}: rows lie "
                "too far apart for float32, or are all equal; use the codec 'lossless'."
            )
        if rotated is not None and _is_smaller(rotated, best):
            best = rotated
    if codec != "rotated":
        half = _half(X)
        if _is_smaller(half, best):
            half = replace(half, header=half.header | {"unit": _half_unit(X)})
            measured = neighbors.loss_of(lambda rows: _through_half(rows, half.header["unit"]))
            if best is None or measured.within(max_loss):
                best = replace(half, loss=measured.share)
    assert best is not None  # each forced codec has given one
    return best


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

    Figures of `benchmarks/codecs.py`, in bits per value: at a loss of 0.02, 4.5 on wide
    matrices, 9 on ten axes, which all matter; halving the loss costs one bit.
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
    bits = 4.5 + 6.2 * math.exp(-n_features / 30) + math.log2(0.02 / max_loss)
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
    if X.dtype.newbyteorder("=") not in (np.float32, np.float64):
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
                f"The loss of codec {codec!r} cannot be measured on {X.shape[0]} rows in the "
                f"metric {metric!r}; use the codec 'lossless'."
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


def _is_smaller(encoding: Encoding, best: Encoding | None) -> bool:
    """Tell whether an encoding takes fewer bytes than the best so far, if there is one."""
    return best is None or encoding.expected_bytes < best.expected_bytes


def _raw(X: Any) -> Encoding:
    return Encoding("raw", header_of(X), 0.0, float(_bytes_of(X)))


def _lossless(X: Any) -> Encoding:
    variants = [(True, ENTROPY), (True, MATCHES), (False, MATCHES)]
    return _smallest(X, "lossless", variants, {})


def _half(X: Any) -> Encoding:
    """Return half precision; its loss is not known, and its unit only that of a sample."""
    unit = _half_unit(X[sample_rows(X.shape[0], LEAST_BLOCK_ROWS, seed=4)])
    return _smallest(X, "float16", [(True, ENTROPY), (True, MATCHES)], {"unit": unit})


def _half_unit(X: Any) -> float:
    """Return the power of two by which X is divided so that its largest value fits."""
    values = X.data if hasattr(X, "indptr") else X
    rows = max(1, PLAIN_BLOCK_BYTES // (values.itemsize * math.prod(values.shape[1:])))
    blocks = (values[start : start + rows] for start in range(0, len(values), rows))
    largest = max((max(float(b.max()), -float(b.min())) for b in blocks), default=0.0)
    exponent = int(np.frexp(largest or 1.0)[1]) - _HALF_EXPONENT
    # Both the unit and its inverse must be numbers of X's own type.
    bound = 126 if X.dtype.itemsize == 4 else 1022
    return math.ldexp(1.0, max(-bound, min(bound, exponent)))


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
        trial = Encoding(codec, {**header_of(probe), **options}, 0.0, 0.0)
        size = growth * sum(map(len, encode_blocks(probe, trial, n_threads=1)))
        if best is None or size < best.expected_bytes:
            best = Encoding(codec, {**header_of(X), **options}, 0.0, size)
    assert best is not None
    return best


def _rotated(
    X: NDArray[Any], neighbors: NeighborSample, metric: str, max_loss: float
) -> Encoding | None:
    """Return the coarsest quantised axes that keep within ``max_loss``; None where none do."""
    rotation = fit_rotation(X, metric)
    groups = neighbors.groups(lambda rows: rotation.apply(rotation.prepare(rows)).T)
    best = find_step(groups, quarters_of(groups), neighbors, max_loss)
    if best is None:
        return None
    step, quarters, loss = best
    steps = axis_steps(step, quarters).astype(np.float32)
    row_bytes = X.shape[1] * X.itemsize
    probe = rotation.prepare(X[sample_rows(len(X), max(1, PROBE_BYTES // row_bytes), seed=4)])
    along = rotation.apply(probe)
    kept = np.abs(along).max(axis=1) >= steps / 2
    kept[0] = True
    dropped = along[~kept]
    slack = 2 * float(np.einsum("ij,ij->j", dropped, dropped).max()) if len(dropped) else math.inf
    codes = np.rint(along[kept] / steps[kept, None])
    size = len(pack_codes(codes, np.flatnonzero(kept), rotation.n_axes)) * len(X) / len(probe)
    exponent = 0 if rotation.normalise else rotation.exponent
    header = header_of(X, BLOCK_BYTES)
    header |= {"step": math.ldexp(step, exponent), "quarters": quarters.tolist()}
    # Squares of such coordinates do not fit float32; the receiver decides what to do about them.
    header["dtype"] = "<f4" if abs(exponent) <= 60 else "<f8"
    return Encoding("rotated", header, loss.share, size, rotation, slack, kept)
