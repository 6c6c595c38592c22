"""scikit-learn's own t-SNE on this CPU: what no other engine takes.

Three dimensions, and the exact O(n²) method. The gradients and the optimiser are those behind
``sklearn.manifold.TSNE``; we call them directly because the class offers neither a learning rate
per phase nor callbacks.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tsne_backends import cost
from tsne_backends.answers import Embedding, Estimate, Verdict
from tsne_backends.backend import Backend, Option, Parameter
from tsne_backends.initialization import initial_positions
from tsne_backends.machine import Machine
from tsne_backends.neighbors import neighbors_graph, searches_for
from tsne_backends.problem import Phase, Problem
from tsne_backends.run import REPORT_EVERY, Run

#: What is used of ``sklearn.manifold._t_sne``; present since scikit-learn 0.22.
INTERNALS = (
    "_gradient_descent",
    "_joint_probabilities",
    "_joint_probabilities_nn",
    "_kl_divergence",
    "_kl_divergence_bh",
)


def _refuse_components(problem: Problem) -> str | None:
    if problem.n_components <= 3 or problem.method == "exact":
        return None
    return (
        f"n_components={problem.n_components} is more than the 3 that tree-based gradients reach; "
        'use at most 3, or method="exact" for a small data set.'
    )


def _refuse_method(problem: Problem) -> str | None:
    if problem.method == "fft":
        return (
            'method="fft" is not in scikit-learn; use backend="opentsne" with at most 2 components.'
        )
    return None


class SklearnBackend(Backend):
    """scikit-learn's gradients as an engine; slower than the others, but takes everything."""

    name = "sklearn"
    where = "this CPU"
    parameters: ClassVar[Mapping[str, Parameter]] = MappingProxyType(
        {
            "n_components": Parameter("n_components", refuse=_refuse_components),
            "perplexity": Parameter("perplexity", "as given, with 3 × perplexity neighbours"),
            "early_exaggeration": Parameter("factor on the affinities"),
            "learning_rate": Parameter("learning_rate", 'as given; "auto" per phase'),
            "max_iter": Parameter("max_iter"),
            "n_iter_without_progress": Parameter("n_iter_without_progress"),
            "min_grad_norm": Parameter("min_grad_norm"),
            "metric": Parameter("our neighbours graph; pairwise distances if exact"),
            "metric_params": Parameter("our neighbours graph; pairwise distances if exact"),
            "init": Parameter("our initial positions"),
            "random_state": Parameter("our initial positions and neighbours graph"),
            "method": Parameter("gradient", '"auto" is "barnes_hut"', _refuse_method),
            "angle": Parameter("angle"),
            "n_jobs": Parameter("num_threads", "None is every usable core"),
        }
    )
    options: ClassVar[Mapping[str, Option]] = MappingProxyType({})

    def available(self) -> Verdict:
        """Say whether this scikit-learn has the functions we call."""
        from sklearn.manifold import _t_sne

        missing = [name for name in INTERNALS if not hasattr(_t_sne, name)]
        if missing:
            import sklearn

            return Verdict(
                False,
                f"scikit-learn {sklearn.__version__} no longer has {', '.join(missing)}; install "
                "the newest serverless-tsne.",
            )
        return Verdict(True, "scikit-learn is installed and takes every kind of input, slowly.")

    def estimate(self, problem: Problem, machine: Machine) -> Estimate:
        """Predict seconds and memory; see `tsne_backends.cost`."""
        if problem.method == "exact":
            neighbours = cost.dense_distances_seconds(problem, machine)
            memory = cost.exact_engine_bytes(problem)
        else:
            neighbours = cost.neighbours_seconds(searches_for(problem), problem, machine)
            memory = cost.graph_engine_bytes(problem)
        return Estimate(
            neighbours=neighbours,
            optimise=cost.sklearn_seconds(problem, machine),
            memory_bytes=memory,
        )

    def prepare(self, problem: Problem, X: Any, run: Run) -> None:
        """Find neighbours and principal components ahead."""
        if problem.method != "exact":  # which wants the distances of all pairs
            neighbors_graph(problem, X, cache=run.cache)
        initial_positions(problem, X, run.initial, cache=run.cache)

    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Affinities (sparse, or dense if exact), initial positions, then the phases."""
        import sklearn

        exact = problem.method == "exact"
        P = _exact_affinities(problem, X, run) if exact else _sparse_affinities(problem, X, run)
        with run.phase("initialisation"):
            start = initial_positions(problem, X, run.initial, cache=run.cache)
        with run.phase("optimisation"):
            descent = _Descent(problem, run, P)
            coordinates = descent.run_phases(start)
        return Embedding(
            coordinates.astype(np.float32),
            descent.kl,
            descent.done,
            {
                "engine": f"scikit-learn {sklearn.__version__}",
                "gradients": {p.name: "exact" if exact else "bh" for p in problem.phases},
                "threads": problem.n_threads,
            },
        )


def _sparse_affinities(problem: Problem, X: Any, run: Run) -> Any:
    from scipy.sparse import csr_matrix
    from sklearn.manifold import _t_sne

    with run.phase("neighbours"):
        graph = neighbors_graph(problem, X, cache=run.cache)
    with run.phase("affinities"):
        n, k = graph.indices.shape
        squared = csr_matrix(
            (
                graph.unit_distances().ravel() ** 2,
                graph.indices.ravel(),
                np.arange(0, n * k + 1, k),
            ),
            shape=(n, n),
        )
        return _t_sne._joint_probabilities_nn(squared, problem.perplexity, 0)


def _exact_affinities(problem: Problem, X: Any, run: Run) -> NDArray[Any]:
    from sklearn.manifold import _t_sne
    from sklearn.metrics import pairwise_distances

    with run.phase("neighbours"):
        if problem.metric == "precomputed":
            squared = np.square(X)
        elif problem.metric == "euclidean":
            squared = pairwise_distances(X, metric="euclidean", squared=True)
        else:
            distances = pairwise_distances(
                X, metric=problem.metric, n_jobs=problem.n_threads, **problem.metric_params
            )
            squared = np.square(distances)
    with run.phase("affinities"):
        P: NDArray[Any] = _t_sne._joint_probabilities(squared, problem.perplexity, 0)
        return P


class _StoppedByUserError(Exception):
    """A callback asked to stop; carries no data, the descent holds the map."""


class _Descent:
    """scikit-learn's gradient descent, watched iteration by iteration."""

    def __init__(self, problem: Problem, run: Run, P: Any) -> None:
        self._problem = problem
        self._run = run
        self._P = P
        self._shape = (problem.n_samples, problem.n_components)
        self._phase: Phase = problem.phases[0]
        self._positions: NDArray[np.float64] = np.empty(0)
        self._evaluations = 0
        self.kl = float("nan")
        self.done = 0

    def run_phases(self, start: NDArray[np.float64]) -> NDArray[np.float64]:
        """Run every phase; return the final positions and leave ``kl`` and ``done`` set."""
        from sklearn.manifold import _t_sne

        positions = start.astype(np.float32).astype(np.float64).ravel()
        try:
            for phase in self._problem.phases:
                self._phase, self._evaluations = phase, 0
                before = self.done
                early = phase.name == "early exaggeration"
                self._P *= phase.exaggeration
                positions, _, _ = _t_sne._gradient_descent(
                    self._objective,
                    positions,
                    it=0,
                    max_iter=phase.n_iter,
                    n_iter_check=REPORT_EVERY,
                    n_iter_without_progress=(
                        phase.n_iter if early else self._problem.n_iter_without_progress
                    ),
                    momentum=phase.momentum,
                    learning_rate=phase.learning_rate,
                    min_grad_norm=self._problem.min_grad_norm,
                    args=[self._P, *self._objective_arguments()],
                    kwargs={},
                )
                self._P /= phase.exaggeration
                self.done = before + self._evaluations
        except _StoppedByUserError:
            positions = self._positions
        return positions.reshape(self._shape)

    def _objective_arguments(self) -> list[Any]:
        # Degrees of freedom as in sklearn.manifold.TSNE (van der Maaten 2009).
        degrees_of_freedom = max(self._problem.n_components - 1, 1)
        return [degrees_of_freedom, *self._shape]

    def _objective(
        self, positions: NDArray[np.float64], *args: Any, compute_error: bool = True
    ) -> Any:
        from sklearn.manifold import _t_sne

        self._run.step(self.done + self._evaluations)
        if self._problem.method == "exact":
            kl, gradient = _t_sne._kl_divergence(positions, *args, compute_error=compute_error)
        else:
            kl, gradient = _t_sne._kl_divergence_bh(
                positions,
                *args,
                angle=self._problem.angle,
                num_threads=self._problem.n_threads,
                compute_error=compute_error,
            )
        self._evaluations += 1
        if compute_error:
            self._report(kl, positions)
        return kl, gradient

    def _report(self, kl: float, positions: NDArray[np.float64]) -> None:
        exaggeration = self._phase.exaggeration
        # Σ fp log(fp / q) over f gives Σ p log(p / q) + log f.
        self.kl = float(kl) / exaggeration - float(np.log(exaggeration))
        self._positions = positions
        iteration = self.done + self._evaluations
        if self._evaluations % REPORT_EVERY:
            return  # scikit-learn also evaluates the last iteration of a phase
        if self._run.report(iteration, self.kl, positions.reshape(self._shape)):
            self._P /= exaggeration
            self.done = iteration
            raise _StoppedByUserError
