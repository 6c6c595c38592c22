"""Refuses bad input before any work starts, with scikit-learn's kind of error.

One room for every check that needs to see data or parameters together; what a single parameter
may be is declared in the estimator's ``_parameter_constraints``.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

import numpy as np
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_array, check_memory, check_non_negative, validate_data

from tsne_backends.backend import Backend
from tsne_backends.errors import did_you_mean
from tsne_backends.gpu.arrays import (
    check_gpu_data,
    feature_names_of,
    from_gpu,
    has_cupy,
    is_on_gpu,
    on_host,
)
from tsne_backends.initialization import INITIAL_STD
from tsne_backends.machine import thread_count
from tsne_backends.outline import Outline, check_is_matrix
from tsne_backends.problem import Problem
from tsne_backends.searches import sklearn_search

logger = logging.getLogger(__name__)

#: Largest and smallest magnitudes whose squares single precision holds with room to spare
#: (it ends near 3e38 and 1e-38); data beyond are rescaled, which no Euclidean map notices.
SAFE_MAGNITUDES = (1e-15, 1e15)
#: Initial positions with a larger standard deviation are a finished map: a start is a
#: ten-thousandth of it, and early exaggeration ends at a few tenths.
WIDEST_START = 1.0


def check_training_data(estimator: Any, X: Any) -> Any:
    """Validate X for ``fit`` and set ``n_features_in_`` and ``feature_names_in_``.

    Parameters
    ----------
    estimator : ServerlessTSNE
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
        In the processor's memory or on a GPU.

    Returns
    -------
    ndarray, cupy.ndarray or CSR matrix
        float32 or float64; integers become float32, as in ``sklearn.manifold.TSNE``. What lay on a
        GPU still does.

    Raises
    ------
    ValueError
        NaN or infinite values, complex numbers, no or one sample, perplexity out of range, an
        ``init`` array of the wrong shape, distances that are negative or not square.
    """
    check_is_matrix(X)
    # Distances are judged in the processor's memory; no GPU engine takes them, and without CuPy
    # there is none.
    if is_on_gpu(X) and has_cupy() and not _is_precomputed(estimator):
        X = _check_gpu_training_data(estimator, X)
    else:
        X = _validated(estimator, X, ensure_min_samples=2)
    _check_perplexity(estimator, X.shape[0])
    check_metric(estimator.metric)
    if _is_precomputed(estimator):
        _check_distances(estimator, X)
    elif estimator.metric not in ("euclidean", "l2", "cosine"):
        _try_metric(estimator, on_host(X[:2]))
    return X


def check_new_data(estimator: Any, X: Any) -> Any:
    """Validate X for ``transform`` against what ``fit`` has seen."""
    check_is_matrix(X)
    X = _validated(estimator, X, reset=False)
    fitted = estimator._fit_X
    if fitted is not None and hasattr(fitted, "tocsr") != hasattr(X, "tocsr"):
        X = X.toarray() if hasattr(X, "tocsr") else type(fitted)(X)
    if _is_precomputed(estimator):
        check_non_negative(X, "ServerlessTSNE.transform with metric='precomputed'")
    return X


def _validated(estimator: Any, X: Any, **more: Any) -> Any:
    """Return X as scikit-learn validates it; name the column that is not made of numbers."""
    X = from_gpu(X)
    try:
        return validate_data(
            estimator, X, accept_sparse="csr", dtype=[np.float32, np.float64], **more
        )
    except ValueError as error:
        for name in getattr(X, "columns", ()):
            text = _first_text(X[name])
            if text is not None:
                raise ValueError(
                    f'Column "{name}" of X holds text, such as "{text}", but t-SNE needs numbers: '
                    "leave the column out, or encode it as numbers."
                ) from error
        raise


def _first_text(column: Any) -> str | None:
    """Return the first value of a data frame's column that is text and no number."""
    if len(column.shape) > 1:  # several columns of one name
        return None
    for value in column:
        if isinstance(value, str):
            try:
                float(value)
            except ValueError:
                return value
    return None


def _check_gpu_training_data(estimator: Any, X: Any) -> Any:
    names = feature_names_of(X)
    X = check_gpu_data(X)
    estimator.n_features_in_ = X.shape[1]
    if names is not None:
        estimator.feature_names_in_ = names
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
    """Return the user's initial positions as float64, or None for ``"pca"`` and ``"random"``.

    A finished map is scaled to where early exaggeration can work, unless there is none: the run
    then goes on from where the map is.
    """
    if isinstance(estimator.init, str):
        if estimator.init == "pca" and _is_precomputed(estimator):
            raise ValueError(
                'init="pca" cannot be used with metric="precomputed", which has no features to '
                'take components of; pass init="random" or an array.'
            )
        return None
    given = estimator.init
    if hasattr(given, "fit_transform"):
        if not hasattr(given, "embedding_"):
            raise ValueError(
                f"init is a {type(given).__name__} that is not fitted and so has no map to start "
                "from; fit it first, or pass its embedding_. Note that clone() and grid searches "
                "clone it, too, without its map."
            )
        given = given.embedding_
    init = check_array(given, dtype=np.float64, input_name="init")
    wanted = (n_samples, estimator.n_components)
    if init.shape != wanted:
        raise ValueError(
            f"init has shape {init.shape}, but n_samples × n_components is {wanted}; pass one "
            "starting position for every row of X."
        )
    with np.errstate(over="ignore"):
        spread = float(init[:, 0].std())
    if WIDEST_START < spread < np.inf and estimator.early_exaggeration > 1:
        init = init * (INITIAL_STD / spread)
        logger.info("Initial positions were scaled to a standard deviation of %g.", INITIAL_STD)
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


def scaled(X: Any, scale: float) -> Any:
    """Return X divided by a scale of `safe_scale`, in its own precision; X itself for 1."""
    return X if scale == 1.0 else X / X.dtype.type(scale)


def check_outline(estimator: Any, data: Outline) -> None:
    """Refuse what can be refused without looking at values."""
    if data.n_samples < 2:
        raise ValueError(f"t-SNE needs at least 2 rows; there are {data.n_samples}. Pass more.")
    _check_perplexity(estimator, data.n_samples)
    check_metric(estimator.metric)
    if _is_precomputed(estimator):
        _check_square(data.n_samples, data.n_features)


def describe(estimator: Any, data: Outline, *, draw_seed: bool = True) -> Problem:
    """Build the `Problem` from a checked estimator and the outline of checked data.

    A plan that computes nothing passes ``draw_seed=False``, because drawing would move the user's
    random generator.
    """
    seed = estimator.random_state
    if not isinstance(seed, (int, np.integer)):
        seed = check_random_state(seed).randint(np.iinfo(np.int32).max) if draw_seed else 0
    return Problem(
        n_samples=data.n_samples,
        n_features=data.n_features,
        dtype=data.dtype,
        n_bytes=data.n_bytes,
        is_sparse=data.is_sparse,
        n_components=int(estimator.n_components),
        perplexity=float(estimator.perplexity),
        early_exaggeration=float(estimator.early_exaggeration),
        learning_rate=estimator.learning_rate,
        max_iter=estimator.max_iter if estimator.max_iter == "auto" else int(estimator.max_iter),
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


def _check_perplexity(estimator: Any, n_samples: int) -> None:
    if estimator.perplexity >= n_samples:
        raise ValueError(
            f"perplexity ({estimator.perplexity}) must be less than n_samples ({n_samples}); "
            "a third of n_samples or less is advised."
        )


def _is_precomputed(estimator: Any) -> bool:
    return isinstance(estimator.metric, str) and estimator.metric == "precomputed"


def _try_metric(estimator: Any, two_rows: Any) -> None:
    """Compute one distance, so that a metric that cannot work fails now and with a sentence."""
    from sklearn.metrics import pairwise_distances

    parameters = estimator.metric_params or {}
    try:
        if estimator.method == "exact":
            pairwise_distances(two_rows, metric=estimator.metric, **parameters)
        else:
            sklearn_search(1, estimator.metric, parameters, 1).fit(two_rows).kneighbors()
    except (ValueError, TypeError, np.linalg.LinAlgError) as error:
        raise ValueError(
            f"metric={estimator.metric!r} with metric_params={estimator.metric_params!r} cannot "
            f"be computed on these rows: {error}. Check the metric's parameters and the data."
        ) from error


def _check_square(n_rows: int, n_columns: int) -> None:
    if n_rows != n_columns:
        raise ValueError(
            f'With metric="precomputed", X must be a square distance matrix; it is '
            f"{n_rows} × {n_columns}."
        )


def _check_distances(estimator: Any, X: Any) -> None:
    _check_square(*X.shape)
    check_non_negative(X, "ServerlessTSNE.fit with metric='precomputed' (distances)")
    if estimator.method == "exact" and hasattr(X, "tocsr"):
        raise TypeError(
            'method="exact" needs every distance and takes no sparse precomputed graph; '
            'use method="barnes_hut" or pass the dense distance matrix.'
        )
