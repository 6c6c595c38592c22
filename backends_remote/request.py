"""What a client asks for: a `Problem` as plain values, and back, every value checked.

Both sides import this room, so that there is one list of what travels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

from tsne_backends.gpu.neighbors import METRICS
from tsne_backends.problem import Problem

#: Most iterations a service runs; the time limit of a container ends far fewer.
MAX_ITER = 1_000_000


def _number(low: float, high: float = math.inf) -> Callable[[Any], bool]:
    return lambda value: type(value) in (int, float) and low <= value <= high


def _whole(low: int, high: int) -> Callable[[Any], bool]:
    return lambda value: type(value) is int and low <= value <= high


def _one_of(*choices: str) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, str) and value in choices


def _is_rate(value: Any) -> bool:
    return value == "auto" or _number(1e-12)(value)


def _are_metric_params(value: Any) -> bool:
    return value == {} or (
        isinstance(value, dict) and set(value) == {"p"} and _number(1)(value["p"])
    )


#: Every field of `Problem` that travels, and which values of it a service takes. Shape and type
#: come from the data, threads from the machine.
FIELDS: Mapping[str, Callable[[Any], bool]] = {
    "n_components": _whole(1, 3),
    "perplexity": _number(1e-6),
    "early_exaggeration": _number(1, 1e6),
    "learning_rate": _is_rate,
    "max_iter": _whole(250, MAX_ITER),
    "n_iter_without_progress": _whole(-1, MAX_ITER),
    "min_grad_norm": _number(0),
    "metric": _one_of(*METRICS),
    "metric_params": _are_metric_params,
    "init": _one_of("pca", "random"),
    "method": _one_of("auto", "barnes_hut", "exact", "fft"),
    "angle": _number(0, 1),
    "seed": _whole(0, 2**63 - 1),
    "repeatable": lambda value: type(value) is bool,
}


def parameters_of(problem: Problem) -> dict[str, Any]:
    """Return what travels of a problem, in types that JSON knows."""
    values = {name: getattr(problem, name) for name in FIELDS}
    values["max_iter"] = problem.iterations  # "auto" is settled here, where the user is
    if not isinstance(problem.learning_rate, str):
        values["learning_rate"] = float(problem.learning_rate)
    values["metric_params"] = {name: float(value) for name, value in problem.metric_params.items()}
    return values


def problem_from(parameters: Any, X: Any, n_threads: int) -> Problem:
    """Build the problem a client asked for, about the data that arrived.

    Parameters
    ----------
    parameters : object
        From anyone.
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    n_threads : int
        Of this machine.

    Returns
    -------
    Problem

    Raises
    ------
    ValueError
        A parameter is missing, unknown or out of range.
    """
    if not isinstance(parameters, dict) or set(parameters) != set(FIELDS):
        odd = set(parameters) ^ set(FIELDS) if isinstance(parameters, dict) else {"all of them"}
        raise ValueError(f"The request lacks parameters, or has unknown ones: {sorted(odd)}.")
    for name, is_legal in FIELDS.items():
        if not is_legal(parameters[name]):
            raise ValueError(
                f"The request asks for {name} = {parameters[name]!r:.60}, a value that the service "
                "does not take; change it, or use a local backend."
            )
    n_samples, n_features = X.shape
    if n_samples < 2 or n_features < 1:
        raise ValueError(f"t-SNE needs 2 rows and a feature; X is {n_samples} × {n_features}.")
    if parameters["perplexity"] >= n_samples:
        raise ValueError(
            f"perplexity ({parameters['perplexity']}) must be less than n_samples ({n_samples})."
        )
    return Problem(
        n_samples=n_samples,
        n_features=n_features,
        dtype=X.dtype.name,
        n_bytes=int(X.data.nbytes),
        is_sparse=hasattr(X, "tocsr"),
        n_threads=n_threads,
        **parameters,
    )
