"""`sweep`: maps of one X with many parameters, sharing what they have in common.

Every fit is checked and planned before the first begins; neighbours and principal components are
found once. How the fits run is in ``runs``, what comes back in ``result``.
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from itertools import product
from typing import Any

from tsne_backends.cache import CarriedCache
from tsne_backends.decision import decide
from tsne_backends.display import choose_display
from tsne_backends.errors import did_you_mean
from tsne_backends.estimator import ServerlessTSNE
from tsne_backends.gpu.arrays import on_host
from tsne_backends.libraries import library_threads
from tsne_backends.outline import outline
from tsne_backends.preservation import SampledNeighbors, sampled_neighbors
from tsne_backends.run import Run
from tsne_backends.settings import settings_of
from tsne_backends.sweeps.result import Sweep
from tsne_backends.sweeps.runs import Fit, Shared, longest_first, run_all
from tsne_backends.validation import (
    check_cache,
    check_init,
    check_outline,
    check_training_data,
    describe,
    safe_scale,
)

#: Parameters of the estimator that a sweep has in its own way.
NOT_SWEPT = {
    "n_jobs": "n_jobs is the number of fits at a time; threads_per_fit is the number of threads",
    "memory": "memory is the same for all maps",
    "verbose": "verbose is the same for all maps",
    "callbacks": "callbacks belong to one fit, and those of a sweep may run in other processes",
}


def sweep(
    X: Any,
    grid: Mapping[str, Iterable[Any]],
    *,
    n_jobs: int | None = None,
    threads_per_fit: int | None = None,
    memory: Any = None,
    preservation_neighbors: int = 15,
    verbose: int = 0,
    **parameters: Any,
) -> Sweep:
    """Compute a map of X for every combination of parameters.

    Parameters
    ----------
    X : array-like, data frame or sparse matrix of shape (n_samples, n_features)
        Data, as in `ServerlessTSNE.fit`.
    grid : mapping of str to iterable
        Parameters of `ServerlessTSNE` and the values to try; every combination is a map.
    n_jobs : int, optional
        Fits at a time. None is one after the other, or what an active ``joblib.parallel_config``
        says: ``"loky"``, ``"dask"`` or ``"ray"`` spread the fits over processes or a cluster. On a
        remote backend it is the machines at a time, and None is 8.
    threads_per_fit : int, optional
        Threads of each fit. None shares out this machine's cores among the fits at a time; on a
        cluster, whose machines are not known here, it is one thread for each slot of a worker.
    memory : str, path or joblib.Memory, optional
        Where neighbours and principal components are looked up first, and kept for later fits; as
        in `ServerlessTSNE`. None shares them among the fits of this sweep only.
    preservation_neighbors : int, default=15
        Nearest neighbours whose share kept on the map is the column ``preservation``, on a sample
        of 5,000 rows; 0 measures nothing.
    verbose : int, default=0
        1 shows progress even where nobody seems to watch.
    **parameters
        Parameters that are the same for all maps.

    Returns
    -------
    Sweep
        A row for every map, the last parameter of the grid varying fastest. A fit that failed has
        its error there.

    Raises
    ------
    TypeError, ValueError, BackendUnavailableError, UnsupportedProblemError, LimitError
        A combination is not valid or cannot run; nothing was computed.
    Exception
        Every fit failed: the error of the first.

    Examples
    --------
    >>> from sklearn.datasets import load_iris
    >>> from tsne_backends import sweep
    >>> result = sweep(load_iris().data, {"perplexity": [10, 30]}, max_iter=250, random_state=0)
    >>> [row.embedding.shape for row in result]
    [(150, 2), (150, 2)]
    """
    values = _checked_grid(grid, parameters)
    X, fits = _planned(X, values, parameters)
    cache = CarriedCache(check_cache(memory))
    display = choose_display(verbose, len(fits))
    try:
        began = time.perf_counter()
        display.phase("neighbours")
        _prepare(fits, X, cache)
        true = _true_neighbors(fits, X, preservation_neighbors)
        shared_seconds = time.perf_counter() - began
        display.phase("maps")
        rows = run_all(fits, Shared(X, cache, true), n_jobs, threads_per_fit, display)
    finally:
        display.close()
    errors = [row.error for row in rows if row.error is not None]
    if len(errors) == len(rows):
        raise errors[0]
    return Sweep(tuple(rows), values, shared_seconds)


def _checked_grid(
    grid: Mapping[str, Iterable[Any]], parameters: Mapping[str, Any]
) -> dict[str, tuple[Any, ...]]:
    """Return the grid with its values listed, or refuse a name or a list that makes no sense."""
    known = [name for name in ServerlessTSNE().get_params() if name not in NOT_SWEPT]
    for name in [*grid, *parameters]:
        if name in NOT_SWEPT:
            raise TypeError(f'A sweep cannot pass "{name}" on to its fits: {NOT_SWEPT[name]}.')
        if name not in known:
            raise TypeError(
                f'ServerlessTSNE has no parameter "{name}".{did_you_mean(str(name), known)} '
                f"A sweep takes: {', '.join(known)}."
            )
    if not grid:
        raise ValueError(
            "The grid is empty; give at least one parameter with its values, such as "
            '{"perplexity": [10, 30, 100]}.'
        )
    if twice := [name for name in grid if name in parameters]:
        raise TypeError(f'"{twice[0]}" is in the grid and is given as one value too; drop one.')
    values = {}
    for name, given in grid.items():
        if isinstance(given, (str, bytes)) or not isinstance(given, Iterable):
            raise TypeError(
                f'The grid takes a list of values for "{name}"; it was {given!r}. For a single '
                f"value write [{given!r}]."
            )
        values[name] = tuple(given)
        if not values[name]:
            raise ValueError(f'The grid has no value for "{name}"; give at least one.')
    return values


def _planned(
    X: Any, values: Mapping[str, tuple[Any, ...]], parameters: Mapping[str, Any]
) -> tuple[Any, list[Fit]]:
    """Return X as the engines take it, and every combination with the engine that will run it."""
    fits: list[Fit] = []
    announced: set[str] = set()
    scales: dict[str, float] = {}
    for combination in product(*values.values()):
        varied = dict(zip(values, combination, strict=True))
        tsne = ServerlessTSNE(**parameters, **varied)
        tsne._validate_params()
        metric = repr((tsne.metric, tsne.metric_params))
        if metric not in scales:  # looking at all values takes its time, so once for each metric
            X = on_host(check_training_data(tsne, X))
            scales[metric] = safe_scale(X, tsne.metric)
        data = outline(X)
        check_outline(tsne, data)
        initial = check_init(tsne, data.n_samples)
        problem = describe(tsne, data)
        settings = settings_of(tsne)
        decision = decide(problem, tsne.backend, settings)
        way = decision.plan.usable[0]
        if way.backend not in announced:
            decision.announce(way)
            announced.add(way.backend)
        problem = replace(problem, options={**way.options, **problem.options})
        backend = decision.candidates[way.backend]
        fits.append(Fit(varied, problem, backend, scales[metric], initial, settings.max_cost))
    return X, fits


def _prepare(fits: Sequence[Fit], X: Any, cache: CarriedCache) -> None:
    """Find neighbours for the largest perplexity, and every start, once."""
    done = set()
    for fit in longest_first(fits):
        problem = fit.problem
        needs = (
            fit.backend.name,
            problem.options,
            problem.metric,
            problem.metric_params,
            problem.init,
            problem.n_components,
            problem.seed,
            problem.method,
        )
        if repr(needs) not in done and not fit.backend.remote:
            done.add(repr(needs))
            # What goes wrong here goes wrong again in the fit, whose row then tells it.
            with suppress(Exception), library_threads(problem.n_threads):
                fit.backend.prepare(problem, fit.data(X), Run(cache=cache, initial=fit.initial))


def _true_neighbors(fits: Sequence[Fit], X: Any, k: int) -> SampledNeighbors | None:
    """Return what maps are judged by: neighbours in the metric of the first fit."""
    problem, k = fits[0].problem, min(k, X.shape[0] - 1)
    is_graph = problem.metric == "precomputed" and problem.is_sparse
    if k < 1 or is_graph:  # a sparse graph need not hold as many neighbours as are asked for
        return None
    return sampled_neighbors(problem, fits[0].data(X), k)
