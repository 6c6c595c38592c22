"""From a backend's name to a computed embedding: load the candidates, run the first that starts.

What to run is decided in `planning`; what it means is described in `problem`.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from tsne_backends.answers import Embedding
from tsne_backends.backend import Backend
from tsne_backends.errors import BackendUnavailableError, BackendWarning, EmbeddingError
from tsne_backends.gpu.arrays import on_host
from tsne_backends.libraries import library_threads
from tsne_backends.plan import Candidate, Plan
from tsne_backends.problem import Problem
from tsne_backends.registry import list_backends, load_backend, load_backends
from tsne_backends.run import Run
from tsne_backends.validation import check_options


def backends_for(asked: str, options: Mapping[str, Any]) -> Mapping[str, Backend]:
    """Load the backends a plan may name, and refuse options that none of them has.

    Parameters
    ----------
    asked : str
        ``"auto"`` or a backend's name.
    options : mapping
        The user's ``backend_options``.

    Returns
    -------
    mapping of str to Backend
        Every backend that loads: a refusal names those that would have worked.

    Raises
    ------
    UnknownBackendError
        No backend has that name.
    ValueError
        No backend considered has one of the options.
    """
    if asked != "auto" and asked not in list_backends():
        load_backend(asked)  # raises, with the nearest name
    candidates = load_backends()
    if asked != "auto" and asked not in candidates:
        load_backend(asked)  # raises what is wrong with the plug-in
    considered = candidates if asked == "auto" else {asked: candidates[asked]}
    check_options(options, considered)
    return candidates


def run_first_that_starts(
    plan: Plan,
    candidates: Mapping[str, Backend],
    problem: Problem,
    X: Any,
    run: Run,
    announce: Callable[[Candidate], None],
) -> tuple[Candidate, Embedding]:
    """Run the plan's ways in order until one starts; only ``auto`` has more than one backend.

    Parameters
    ----------
    plan : Plan
    candidates : mapping of str to Backend
        At least those in ``plan.order``.
    problem : Problem
    X : ndarray, cupy.ndarray or CSR matrix of shape (n_samples, n_features)
    run : Run
    announce : callable
        Told of each candidate before it is tried.

    Returns
    -------
    way : Candidate
        What ran.
    embedding : Embedding

    Raises
    ------
    BackendUnavailableError
        The last backend could not start either.
    """
    ways = list(plan.usable)

    def embed(way: Candidate) -> Embedding:
        announce(way)
        options = {**way.options, **problem.options}
        backend = candidates[way.backend]
        # Only where it is used is X fetched from a GPU.
        data = X if backend.takes_gpu_arrays else on_host(X)
        return backend.embed(replace(problem, options=options), data, run)

    with library_threads(problem.n_threads):
        while True:
            way = ways.pop(0)
            try:
                return way, embed(way)
            except BackendUnavailableError as error:
                # What is wrong with an account or a network is wrong with all its machines, and to
                # try one after the other would be paid for each time.
                ways = [other for other in ways if other.backend != way.backend]
                if not ways:
                    raise
                run.start_over()
                warnings.warn(
                    f'"{way.label}" could not start ({error}); going on with "{ways[0].label}".',
                    BackendWarning,
                    stacklevel=2,
                )


def check_finite(embedding: Embedding, name: str, problem: Problem) -> None:
    """Raise `EmbeddingError` where a coordinate is not finite: such a map is never a result."""
    if np.isfinite(embedding.coordinates).all():
        return
    rate = problem.phases[0].learning_rate
    raise EmbeddingError(
        f'The optimisation on backend "{name}" diverged: some coordinates are not finite. The '
        f"learning rate was {rate:g}; try a smaller one, or learning_rate='auto'."
    )
