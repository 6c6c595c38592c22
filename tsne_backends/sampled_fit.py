"""A map of a sample of rows, with or without places for the others.

Which rows are drawn is decided in ``sampling``; what a file of such a map holds is decided here.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import FileFormatError
from tsne_backends.sampling import check_sample_size

if TYPE_CHECKING:
    from tsne_backends.estimator import ServerlessTSNE


#: Writes a map, names of its rows or None, and their numbers in the source or None.
Writer = Callable[[NDArray[np.float32], Sequence[str] | None, NDArray[np.int64] | None], None]


@dataclass(frozen=True)
class SampledMap:
    """Places of rows on the map of a sample.

    Attributes
    ----------
    embedding : ndarray of shape (n_samples, n_components), float32
        NaN for rows that have no place.
    rows : ndarray of int64
        The rows that were fitted.
    is_whole : bool
        Whether every row has a place.
    """

    embedding: NDArray[np.float32]
    rows: NDArray[np.int64]
    is_whole: bool


def check_sampled_fit(
    tsne: ServerlessTSNE, n: int | None, stratify: str | None, place_rest: bool, output: Path
) -> None:
    """Refuse what cannot be sampled, or written afterwards, before any data are read.

    Raises
    ------
    ValueError
        The options do not go together, or the sample is too small for the perplexity.
    FileFormatError
        The output could not tell which rows are on the map.
    """
    if n is None:
        for option, is_given in (
            ("--stratify", stratify is not None),
            ("--place-rest", place_rest),
        ):
            if is_given:
                raise ValueError(f"{option} needs a sample; add --sample 100000, or leave it out.")
        return
    check_sample_size(n)
    if isinstance(tsne.metric, str) and tsne.metric == "precomputed":
        raise ValueError(
            "--sample draws rows of a data matrix, but --metric precomputed takes distances; "
            "sample before computing them, or leave --sample out."
        )
    if n <= tsne.perplexity:
        raise ValueError(
            f"A sample of {n} rows is too small for perplexity {tsne.perplexity:g}; draw at least "
            "three times as many rows as that, or lower --perplexity."
        )
    if output.suffix.lower() == ".npy" and not place_rest:
        raise FileFormatError(
            f'"{output}" could not tell which rows were sampled, because .npy holds the map alone; '
            "write .npz, .csv, .tsv or .parquet, or give every row a place with --place-rest."
        )


def fit_sample(
    tsne: ServerlessTSNE, X: Any, rows: NDArray[np.int64], place_rest: bool
) -> SampledMap:
    """Fit a map to some rows, and place the others on it where asked for.

    Parameters
    ----------
    tsne : ServerlessTSNE
        Will be fitted.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    rows : ndarray of int64
        The rows to fit, ascending.
    place_rest : bool
        Whether the others are placed by `ServerlessTSNE.transform`.

    Raises
    ------
    ValueError
        A row that is to be placed holds values that are not finite; nothing was computed.
    """
    if place_rest:
        _check_finite(X)  # a flaw in a row to be placed would show only after the fit
    n = X.shape[0]
    fitted = tsne.fit(X[rows]).embedding_
    embedding = np.full((n, fitted.shape[1]), np.nan, dtype=np.float32)
    embedding[rows] = fitted
    rest = np.setdiff1d(np.arange(n), rows, assume_unique=True)
    if place_rest and len(rest):
        embedding[rest] = tsne.transform(X[rest])
    return SampledMap(embedding, rows, is_whole=place_rest or not len(rest))


def write_sampled_map(
    write: Writer, suffix: str, placed: SampledMap, row_names: Sequence[str] | None
) -> None:
    """Write a map so that no one can take its rows for others.

    A map with a place for every row is written as any other. Of others, ``.h5ad`` holds NaN where
    a row has no place; tables hold the placed rows only, with their names, or where they have
    none their numbers from 0, in a column ``id``; ``.npz`` has the numbers in an array ``rows``.

    Parameters
    ----------
    write : callable
        Called once, with a map, names of its rows or None, and their numbers or None.
    suffix : str
        The ending of the file; not ``.npy``, unless every row has a place.
    placed : SampledMap
    row_names : sequence of str of length n_samples or None
    """
    if placed.is_whole or suffix.lower() == ".h5ad":
        write(placed.embedding, row_names, None)
        return
    if row_names is not None:
        names: list[str] | None = [row_names[row] for row in placed.rows]
    else:
        names = None if suffix.lower() == ".npz" else [str(row) for row in placed.rows]
    write(placed.embedding[placed.rows], names, placed.rows)


def _check_finite(X: Any) -> None:
    values = X.data if hasattr(X, "tocsr") else X
    if not np.isfinite(values).all():
        raise ValueError(
            "The data hold NaN or infinite values, and a row with one has no place on a map; fill "
            "them in, or remove these rows."
        )
