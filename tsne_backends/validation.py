"""Refuses bad input before any work starts, with scikit-learn's kind of error.

One room for every check that needs to see data or parameters together; what a single parameter
may be is declared in the estimator's ``_parameter_constraints``.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_memory, check_non_negative, validate_data

from tsne_backends.backend import Backend
from tsne_backends.errors import did_you_mean
from tsne_backends.machine import thread_count
from tsne_backends.problem import Problem

#: Largest and smallest magnitudes whose squares single precision holds with room to spare
#: (it ends near 3e38 and 1e-38); data beyond are rescaled, which no Euclidean map notices.
SAFE_MAGNITUDES = (1e-15, 1e15)


def check_training_data(estimator: Any, X: Any) -> Any:
    """Validate X for ``fit`` and set ``n_features_in_`` and ``feature_names_in_``.

    Parameters
    ----------
    estimator : ServerlessTSNE
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features)

    Returns
    -------
    ndarray or CSR matrix
        float32 or float64; integers become float32, as in ``sklearn.manifold.TSNE``.

    Raises
    ------
    ValueError
        NaN or infinite values, complex numbers, no or one sample, perplexity out of range, an
        ``init`` array of the wrong shape, distances that are negative or not square.
    """
    X = validate_data(
        estimator,
        X,
        accept_sparse="csr",
        ensure_min_samples=2,
        dtype=[np.float32, np.float64],
    )
    n_samples = X.shape[0]
    if estimator.perplexity >= n_samples:
        raise ValueError(
            f"perplexity ({estimator.perplexity}) must be less than n_samples ({n_samples}); "
            "a third of n_samples or less is advised."
        )
    check_metric(estimator.metric)
    if _is_precomputed(estimator):
        _check_distances(estimator, X)
    elif estimator.metric not in ("euclidean", "l2", "cosine"):
        _try_metric(estimator, X[:2])
    return X


def check_new_data(estimator: Any, X: Any) -> Any:
    """Validate X for ``transform`` against what ``fit`` has seen."""
    X = validate_data(
        estimator, X, reset=False, accept_sparse="csr", dtype=[np.float32, np.float64]
    )
    fitted = estimator._fit_X
    if fitted is not None and hasattr(fitted, "tocsr") != hasattr(X, "tocsr"):
        X = X.toarray() if hasattr(X, "tocsr") else type(fitted)(X)
    if _is_precomputed(estimator):
        check_non_negative(X, "ServerlessTSNE.transform with metric='precomputed'")
    return X


def check_metric(metric: Any) -> None:
    """Refuse a metric name that scikit-learn does not know, and suggest the nearest."""
    if not isinstance(metric, str) or metric == "precomputed":
        return
    from sklearn.metrics.pairwise import distance_metrics
    from sklearn.neighbors import VALID_METRICS

    # "matching" is an old name of "hamming" that scikit-learn's exact method still takes.
    known = {"matching"}.union(distance_metrics(), *VALID_METRICS.values())
    if metric not in known:
        raise ValueError(
            f'metric="{metric}" is not known; pass "precomputed", a callable, or one of '
            f"{', '.join(sorted(known))}.{did_you_mean(metric, known)}"
        )


def check_init(estimator: Any, n_samples: int) -> np.ndarray | None:
    """Return the user's initial positions as float64, or None for ``"pca"`` and ``"random"``."""
    if isinstance(estimator.init, str):
        if estimator.init == "pca" and _is_precomputed(estimator):
            raise ValueError(
                'init="pca" cannot be used with metric="precomputed", which has no features to '
                'take components of; pass init="random" or an array.'
            )
        return None
    init = check_array(estimator.init, dtype=np.float64, input_name="init")
    wanted = (n_samples, estimator.n_components)
    if init.shape != wanted:
        raise ValueError(
            f"init has shape {init.shape}, but n_samples × n_components is {wanted}; pass one "
            "starting position for every row of X."
        )
    return np.asarray(init)


def check_options(options: Mapping[str, Any], candidates: Mapping[str, Backend]) -> None:
    """Refuse an option that none of the candidate backends has, and suggest the nearest."""
    known = {key for backend in candidates.values() for key in backend.options}
    for key in map(str, options):
        if key not in known:
            raise ValueError(
                f'backend_options holds "{key}", which no backend considered here has; known '
                f"options: {', '.join(sorted(known)) or 'none'}.{did_you_mean(key, known)}"
            )


def check_cache(memory: Any) -> Any:
    """Return a joblib.Memory for a path or a Memory, or None where nothing is to be cached."""
    if memory is None:
        return None
    return check_memory(memory if hasattr(memory, "cache") else str(memory))


def safe_scale(X: Any, metric: Any) -> float:
    """Return the factor X must be divided by so that squared distances neither over- nor underflow.

    1.0 but for Euclidean data of extreme magnitude; see `SAFE_MAGNITUDES`.
    """
    if metric not in ("euclidean", "l2") or 0 in X.shape:
        return 1.0
    peak = max(float(X.max()), -float(X.min()))
    smallest, largest = SAFE_MAGNITUDES
    return 1.0 if peak == 0 or smallest <= peak <= largest else peak


def describe(estimator: Any, X: Any) -> Problem:
    """Build the `Problem` from a checked estimator and checked data."""
    is_sparse = hasattr(X, "tocsr")
    seed = estimator.random_state
    if not isinstance(seed, (int, np.integer)):
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max)
    return Problem(
        n_samples=X.shape[0],
        n_features=X.shape[1],
        dtype=X.dtype.name,
        n_bytes=X.data.nbytes + X.indices.nbytes + X.indptr.nbytes if is_sparse else X.nbytes,
        is_sparse=is_sparse,
        n_components=int(estimator.n_components),
        perplexity=float(estimator.perplexity),
        early_exaggeration=float(estimator.early_exaggeration),
        learning_rate=estimator.learning_rate,
        max_iter=int(estimator.max_iter),
        n_iter_without_progress=int(estimator.n_iter_without_progress),
        min_grad_norm=float(estimator.min_grad_norm),
        metric=estimator.metric,
        metric_params=dict(estimator.metric_params or {}),
        init=estimator.init if isinstance(estimator.init, str) else "array",
        method=estimator.method,
        angle=float(estimator.angle),
        n_threads=thread_count(estimator.n_jobs),
        seed=int(seed),
        repeatable=estimator.random_state is not None,
        options=dict(estimator.backend_options or {}),
    )


def _is_precomputed(estimator: Any) -> bool:
    return isinstance(estimator.metric, str) and estimator.metric == "precomputed"


def _try_metric(estimator: Any, two_rows: Any) -> None:
    """Compute one distance, so that a metric that cannot work fails now and with a sentence."""
    from sklearn.metrics import pairwise_distances
    from sklearn.neighbors import NearestNeighbors

    parameters = estimator.metric_params or {}
    try:
        if estimator.method == "exact":
            pairwise_distances(two_rows, metric=estimator.metric, **parameters)
        else:
            search = NearestNeighbors(
                n_neighbors=1, metric=estimator.metric, metric_params=estimator.metric_params
            )
            search.fit(two_rows).kneighbors()
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise ValueError(
            f"metric={estimator.metric!r} with metric_params={estimator.metric_params!r} cannot "
            f"be computed on these rows: {error}. Check the metric's parameters and the data."
        ) from error


def _check_distances(estimator: Any, X: Any) -> None:
    if X.shape[0] != X.shape[1]:
        raise ValueError(
            f'With metric="precomputed", X must be a square distance matrix; it is '
            f"{X.shape[0]} × {X.shape[1]}."
        )
    check_non_negative(X, "ServerlessTSNE.fit with metric='precomputed' (distances)")
    if estimator.method == "exact" and hasattr(X, "tocsr"):
        raise TypeError(
            'method="exact" needs every distance and takes no sparse precomputed graph; '
            'use method="barnes_hut" or pass the dense distance matrix.'
        )
