"""openTSNE on this CPU: tuned by size, in scikit-learn's units.

The neighbours graph is ours (`tsne_backends.neighbors`); affinities, gradients and the optimiser
are openTSNE's. What is tuned is *which* of its gradients runs when, and on which grid.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tsne_backends import cost
from tsne_backends.answers import Embedding, Estimate, Verdict
from tsne_backends.backend import Backend, Option, Parameter
from tsne_backends.backends.options import NEIGHBORS
from tsne_backends.initialization import initial_positions
from tsne_backends.machine import Machine, import_with_passive_threads
from tsne_backends.neighbors import NeighborsGraph, neighbors_graph, searches_for
from tsne_backends.problem import GRADIENT_FACTOR, Phase, Problem
from tsne_backends.run import REPORT_EVERY, Run
from tsne_backends.stopping import ProgressCheck

#: A grid this wide already takes 0.8 s per iteration and 0.4 GB; openTSNE itself stops at 1,000.
MAX_START_INTERVALS = 400

#: Least intervals of the FFT grid. openTSNE's 50 make a small early map 2.5 times finer than its
#: own spacing of one unit asks for: early exaggeration takes 1.4 to 2.4 times as long, and the
#: final KL divergence is the same to 0.3 %.
MIN_INTERVALS = int(cost.EARLY_MAP_UNITS)


def _refuse_components(problem: Problem) -> str | None:
    if problem.n_components <= 2:
        return None
    return (
        f"n_components={problem.n_components} is beyond openTSNE, whose fast gradients and kernel "
        'are made for 1 and 2; backend="sklearn" computes 3.'
    )


def _refuse_method(problem: Problem) -> str | None:
    if problem.method != "exact":
        return None
    return (
        'method="exact" is not in openTSNE, whose affinities are always sparse; '
        'use backend="sklearn".'
    )


class OpenTSNEBackend(Backend):
    """openTSNE as an engine; needs no GPU and no network."""

    name = "opentsne"
    where = "this CPU"
    parameters: ClassVar[Mapping[str, Parameter]] = MappingProxyType(
        {
            "n_components": Parameter("n_components", refuse=_refuse_components),
            "perplexity": Parameter("perplexity", "as given, with 3 × perplexity neighbours"),
            "early_exaggeration": Parameter("exaggeration"),
            "learning_rate": Parameter(
                "learning_rate", '× 4 (its gradient lacks the factor); "auto" per phase'
            ),
            "max_iter": Parameter("n_iter", "less the 250 iterations of early exaggeration"),
            "n_iter_without_progress": Parameter("our check, every 50 iterations"),
            "min_grad_norm": Parameter("our check, every 50 iterations"),
            "metric": Parameter("our neighbours graph"),
            "metric_params": Parameter("our neighbours graph"),
            "init": Parameter("our initial positions"),
            "random_state": Parameter("our initial positions and neighbours graph"),
            "method": Parameter(
                "negative_gradient_method",
                '"auto" by predicted time, phase by phase',
                _refuse_method,
            ),
            "angle": Parameter("theta"),
            "n_jobs": Parameter("n_jobs", "None is every usable core"),
        }
    )
    options: ClassVar[Mapping[str, Option]] = MappingProxyType(
        {
            "neighbors": NEIGHBORS,
            "grid_interval": Option(
                1.0,
                "side of an FFT grid cell in units of the map; smaller is finer and slower",
                lambda value: type(value) in (int, float) and 0.1 <= value <= 5,
                "a number from 0.1 to 5",
            ),
        }
    )

    def available(self) -> Verdict:
        """Say whether openTSNE is installed."""
        if importlib.util.find_spec("openTSNE") is None:
            return Verdict(False, "openTSNE is not installed; run `pip install opentsne`.")
        return Verdict(True, "openTSNE is installed and takes any size of data.")

    def estimate(self, problem: Problem, machine: Machine) -> Estimate:
        """Predict seconds and memory; see `tsne_backends.cost`."""
        searches = searches_for(problem, self.option(problem, "neighbors"))
        return Estimate(
            neighbours=cost.neighbours_seconds(searches, problem, machine),
            optimise=cost.opentsne_seconds(problem, machine),
            memory_bytes=cost.graph_engine_bytes(problem),
        )

    def prepare(self, problem: Problem, X: Any, run: Run) -> None:
        """Find neighbours and principal components ahead."""
        neighbors_graph(problem, X, self.option(problem, "neighbors"), run.cache)
        initial_positions(problem, X, run.initial, cache=run.cache)

    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Neighbours, affinities, initial positions, then the phases one after the other."""
        openTSNE = import_with_passive_threads("openTSNE")
        from openTSNE.affinity import PrecomputedAffinities

        with run.phase("neighbours"):
            graph = neighbors_graph(problem, X, self.option(problem, "neighbors"), run.cache)
        with run.phase("affinities"):
            affinities = PrecomputedAffinities(_affinities(graph, problem), normalize=False)
            search = graph.search
            del graph  # as large as the affinities, and not needed beside them
        with run.phase("initialisation"):
            start = initial_positions(problem, X, run.initial, cache=run.cache)
        with run.phase("optimisation"):
            embedding = openTSNE.TSNEEmbedding(
                start,
                affinities,
                random_state=problem.seed,
                n_jobs=problem.n_threads,
                theta=problem.angle,
                min_num_intervals=MIN_INTERVALS,
            )
            interval = self.option(problem, "grid_interval")
            n_iter, gradients = _optimise(embedding, problem, run, interval)
        return Embedding(
            np.asarray(embedding, dtype=np.float32),
            float(embedding.kl_divergence),
            n_iter,
            {
                "engine": f"openTSNE {openTSNE.__version__}",
                "neighbours": search,
                "gradients": gradients,
                "threads": problem.n_threads,
            },
        )


def choose_gradient(problem: Problem, phase: Phase, start_intervals: float = 0.0) -> str:
    """Return the gradient, ``"bh"`` or ``"fft"``, that is quicker in one phase.

    Parameters
    ----------
    problem : Problem
        Size, threads, angle, and ``method`` where the user decided.
    phase : Phase
        Early exaggeration has a small map and a cheap grid, the main phase a growing one.
    start_intervals : float, default=0.0
        Grid intervals the map spans at the start of the phase: a user's ``init`` may be wide.
    """
    start_cells = start_intervals ** min(problem.n_components, 2)
    cells = max(cost.mean_cells(problem, phase), start_cells)
    return cost.quicker_gradient(problem, cost.REFERENCE, cells)[0]


def _affinities(graph: NeighborsGraph, problem: Problem) -> Any:
    from openTSNE.affinity import joint_probabilities_nn
    from scipy.sparse import csr_matrix

    P = joint_probabilities_nn(
        graph.indices, graph.unit_distances(), [problem.perplexity], n_jobs=problem.n_threads
    )
    return csr_matrix(P)


def _optimise(
    embedding: Any, problem: Problem, run: Run, interval: float
) -> tuple[int, dict[str, str]]:
    """Run every phase in place; return the iterations run and the gradient of each phase."""
    from openTSNE import OptimizationInterrupt

    done, gradients = 0, {}
    for phase in problem.phases:
        span = float(np.ptp(embedding))
        gradients[phase.name] = choose_gradient(problem, phase, span / interval)
        # Each phase starts from rest, as in scikit-learn: velocities and gains of exaggerated
        # forces would throw points apart, the further the higher the learning rate.
        embedding.optimizer.update = embedding.optimizer.gains = None
        watch = _Watch(embedding, phase, problem, run, done)
        try:
            embedding.optimize(
                phase.n_iter,
                inplace=True,
                propagate_exception=True,
                exaggeration=phase.exaggeration,
                learning_rate=phase.learning_rate * GRADIENT_FACTOR,
                momentum=phase.momentum,
                ints_in_interval=max(interval, span / MAX_START_INTERVALS),
                negative_gradient_method=watch.gradient_with(_gradient(gradients[phase.name])),
                callbacks=[watch.report],
                callbacks_every_iters=REPORT_EVERY,
            )
        except OptimizationInterrupt as stop:
            embedding.kl_divergence = stop.error
            done += watch.iteration
            if watch.user_stopped:
                break
        else:
            done += phase.n_iter
    return done, gradients


def _gradient(name: str) -> Callable[..., tuple[float, NDArray[np.float64]]]:
    from openTSNE import tsne

    chosen: Callable[..., Any] = {"bh": tsne.kl_divergence_bh, "fft": tsne.kl_divergence_fft}[name]
    return chosen


class _Watch:
    """Stands between openTSNE's loop and our `Run`: counts, reports, and applies stopping rules."""

    def __init__(
        self, embedding: Any, phase: Phase, problem: Problem, run: Run, offset: int
    ) -> None:
        early = phase.name == "early exaggeration"
        patience = None if early else problem.n_iter_without_progress
        self._check = ProgressCheck(patience, problem.min_grad_norm)
        self._embedding = embedding
        self._run = run
        self._offset = offset
        self._gradient: NDArray[np.float64] | None = None
        self.iteration = 0
        self.user_stopped = False

    def gradient_with(self, gradient: Callable[..., Any]) -> Callable[..., Any]:
        def watched(*args: Any, **kwargs: Any) -> Any:
            self._run.step(self._offset + self.iteration)
            kl, self._gradient = gradient(*args, **kwargs)
            self.iteration += 1
            return kl, self._gradient

        return watched

    def report(self, iteration: int, kl: float, embedding: NDArray[np.float64]) -> bool:
        self.user_stopped = self._run.report(self._offset + iteration, kl, embedding)
        norm = float(np.linalg.norm(self._embedding.optimizer.gains * self._gradient))
        return self.user_stopped or self._check.finished(iteration, kl, GRADIENT_FACTOR * norm)
