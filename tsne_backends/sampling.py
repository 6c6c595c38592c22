"""Which rows to embed where all of them would be too many: uniform or stratified samples.

Only row numbers are drawn here; the map of a sample is the matter of ``sampled_fit``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.utils import check_random_state

from tsne_backends.labels import as_labels, class_codes

#: Rows that a stratified sample keeps of every class at least, or all where a class has fewer:
#: enough to form a group of their own at the default perplexity of 30.
MIN_PER_CLASS = 100


def sample_rows(
    X: Any, n: int = 100_000, *, stratify: Any = None, random_state: Any = 0
) -> NDArray[np.int64]:
    """Draw rows without replacement.

    With ``stratify``, the classes share the sample in proportion to their size by the method of
    largest remainders, but a class never falls below `MIN_PER_CLASS` rows, or all it has. Where
    ``n`` is too small for that, the least is n divided by the number of classes. Missing labels are
    a class of their own.

    Parameters
    ----------
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features), or int
        The data, or the number of their rows. Values are not looked at.
    n : int, default=100000
        Rows to draw; all rows are returned where there are no more.
    stratify : array-like of shape (n_samples,) or LabelColumn, optional
        Classes; see `tsne_backends.labels.as_labels`.
    random_state : int, RandomState or None, default=0
        Seed.

    Returns
    -------
    ndarray of shape (min(n, n_samples),), int64
        Row numbers, from 0, ascending.

    Raises
    ------
    ValueError
        ``n`` is not a positive integer or less than the number of classes; or labels are more or
        fewer than rows, all missing, or no classes.

    Examples
    --------
    >>> from tsne_backends import sample_rows
    >>> len(sample_rows(1_000_000, 100_000))
    100000
    >>> labels = ["common"] * 9_990 + ["rare"] * 10
    >>> rows = sample_rows(10_000, 1_000, stratify=labels)
    >>> int((rows >= 9_990).sum())
    10
    """
    n_samples = _number_of_rows(X)
    check_sample_size(n)
    rng = check_random_state(random_state)
    codes = None
    if stratify is not None:
        codes, _ = class_codes(as_labels(stratify, n_samples, "stratify"))
    if n >= n_samples:
        return np.arange(n_samples, dtype=np.int64)
    if codes is None:
        return np.sort(rng.choice(n_samples, n, replace=False)).astype(np.int64)
    codes = np.unique(codes, return_inverse=True)[1]  # missing ones are a class too
    sizes = np.bincount(codes)
    if len(sizes) > n:
        raise ValueError(
            f"A sample of {n} rows cannot hold one of each of {len(sizes)} classes; draw at least "
            f"{len(sizes)} rows, or stratify by labels with fewer values."
        )
    return _draw(codes, sizes, allocate(sizes, n), rng)


def check_sample_size(n: Any) -> None:
    """Refuse a number of rows that is not a positive integer."""
    if isinstance(n, bool) or not isinstance(n, int | np.integer) or n < 1:
        raise ValueError(f"The number of rows to sample must be a positive integer; it was {n!r}.")


def allocate(sizes: NDArray[np.int64], n: int) -> NDArray[np.int64]:
    """Share a sample of ``n`` among classes; see `sample_rows`.

    Parameters
    ----------
    sizes : ndarray of shape (n_classes,), int64
        Rows per class, none of them 0, in sum at least ``n``.
    n : int
        Size of the sample, at least the number of classes.

    Returns
    -------
    ndarray of shape (n_classes,), int64
        Rows to draw per class; their sum is ``n``.
    """
    least = np.minimum(sizes, min(MIN_PER_CLASS, n // len(sizes)))
    # Raising one class to its floor takes rows from the others, which may then fall below theirs.
    raised = np.zeros(len(sizes), dtype=bool)
    while True:
        left = int(n - least[raised].sum())
        free = int(sizes[~raised].sum())
        low = ~raised & (left * sizes < least * free)
        if not low.any():
            break
        raised |= low
    quota = least.copy()
    quota[~raised], remainder = np.divmod(left * sizes[~raised], max(free, 1))
    most = np.flatnonzero(~raised)[np.argsort(-remainder, kind="stable")]
    quota[most[: n - int(quota.sum())]] += 1
    return quota


def _number_of_rows(X: Any) -> int:
    if isinstance(X, int | np.integer) and not isinstance(X, bool):
        rows = int(X)
    elif hasattr(X, "shape") and len(X.shape):
        rows = int(X.shape[0])
    elif hasattr(X, "__len__") and not isinstance(X, str | bytes | dict):
        rows = len(X)
    else:
        raise ValueError(
            f"X must be a data matrix or its number of rows; it was of type {type(X).__name__}."
        )
    if rows < 1:
        raise ValueError(f"X must have at least one row to sample from; it has {rows}.")
    return rows


def _draw(
    codes: NDArray[np.int64],
    sizes: NDArray[np.int64],
    quota: NDArray[np.int64],
    rng: np.random.RandomState,
) -> NDArray[np.int64]:
    shuffled = rng.permutation(len(codes))
    by_class = shuffled[np.argsort(codes[shuffled], kind="stable")]
    first = np.concatenate([[0], np.cumsum(sizes)[:-1]])
    rank = np.arange(len(codes)) - np.repeat(first, sizes)
    return np.sort(by_class[rank < np.repeat(quota, sizes)]).astype(np.int64)
