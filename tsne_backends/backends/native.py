"""Our own engine on this CPU: the grid of ``tsne_backends.native``, in scikit-learn's terms.

Neighbours in Euclidean space and by cosine are found by the engine's own search, any other metric's
by `tsne_backends.neighbors`; what follows is the engine's.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from tsne_backends import cost, cost_native
from tsne_backends.answers import Embedding, Estimate, Verdict
from tsne_backends.backend import Backend, Option, Parameter
from tsne_backends.backends.options import NEIGHBORS
from tsne_backends.errors import EmbeddingError
from tsne_backends.initialization import initial_positions
from tsne_backends.libraries import library_threads
from tsne_backends.machine import Machine
from tsne_backends.neighbors import is_plain, neighbors_graph, searches_for
from tsne_backends.problem import Phase, Problem
from tsne_backends.run import Run
from tsne_backends.searches import unit_rows
from tsne_backends.stopping import ProgressCheck


def _refuse_components(problem: Problem) -> str | None:
    if problem.n_components <= 2:
        return None
    return (
        f"n_components={problem.n_components} is beyond our own engine, whose grid would need "
        'billions of nodes in three dimensions; backend="sklearn" computes 3.'
    )


def _refuse_method(problem: Problem) -> str | None:
    if problem.method in ("auto", "fft"):
        return None
    if problem.method == "exact":
        return (
            'method="exact" wants the affinities of all pairs; our own engine keeps those of '
            'neighbours. Use backend="sklearn".'
        )
    return (
        f'method="{problem.method}" is not in our own engine, which has a grid and no tree; '
        'use backend="opentsne" or backend="sklearn".'
    )


class NativeBackend(Backend):
    """Our own engine; needs numba, no GPU and no network."""

    name = "native"
    where = "this CPU"
    parameters: ClassVar[Mapping[str, Parameter]] = MappingProxyType(
        {
            "n_components": Parameter("n_components", refuse=_refuse_components),
            "perplexity": Parameter("perplexity", "as given, with 3 × perplexity neighbours"),
            "early_exaggeration": Parameter("exaggeration of the first stage"),
            "learning_rate": Parameter("learning_rate", 'as given; "auto" per stage'),
            "max_iter": Parameter("stages", '"auto" is a faster schedule of 550 iterations'),
            "n_iter_without_progress": Parameter("our check, every 50 iterations"),
            "min_grad_norm": Parameter("our check, every 50 iterations"),
            "metric": Parameter(
                "neighbour search", "Euclidean and cosine its own, others our neighbours graph"
            ),
            "metric_params": Parameter("our neighbours graph"),
            "init": Parameter("our initial positions"),
            "random_state": Parameter("initial positions"),
            "method": Parameter(
                "repulsion", '"auto" is all pairs or grid, by size', _refuse_method
            ),
            "angle": Parameter("not used", "there is no tree"),
            "n_jobs": Parameter(
                "threads", "None is every usable core; where more would be slower, fewer are used"
            ),
        }
    )
    options: ClassVar[Mapping[str, Option]] = MappingProxyType(
        {
            "neighbors": NEIGHBORS,
        }
    )

    def available(self) -> Verdict:
        """Say whether numba is installed, and whether the kernels are compiled."""
        from tsne_backends.native.warm import is_compiled

        if importlib.util.find_spec("numba") is None:
            return Verdict(False, "numba is not installed; run `pip install numba`.")
        if not is_compiled():
            seconds = f"{cost_native.COMPILE_SECONDS:.0f} s"
            return Verdict(
                True,
                f"Its first run compiles it, once, for about {seconds}; `serverless-tsne warmup` "
                "does that now.",
            )
        return Verdict(True, "It is part of this package and takes any size of data.")

    def can_run(self, problem: Problem) -> Verdict:
        """Refuse, besides what the parameters refuse, more rows than its indices can number."""
        if problem.n_samples >= 2**32:
            return Verdict(
                False,
                f"{problem.n_samples:,} rows are more than 32 bits can number; take a sample of "
                "them (tsne_backends.sample_rows).",
            )
        return super().can_run(problem)

    def estimate(self, problem: Problem, machine: Machine) -> Estimate:
        """Predict seconds and memory, compilation included where it has not happened yet."""
        search = self.option(problem, "neighbors")
        if is_plain(problem):
            neighbours = cost_native.search_seconds(problem, machine, search)
        else:
            searches = searches_for(problem, search)
            neighbours = cost.neighbours_seconds(searches, problem, machine)
        return Estimate(
            neighbours=neighbours,
            optimise=cost_native.optimise_seconds(problem, machine),
            start=_start_seconds() / machine.speeds.core,
            memory_bytes=cost_native.peak_bytes(problem),
        )

    def schedule(self, problem: Problem) -> tuple[Phase, ...]:
        """Return the problem's phases, or the fast schedule for ``max_iter="auto"``."""
        return tuple(
            Phase(stage.name, stage.n_iter, stage.exaggeration, stage.learning_rate, stage.momentum)
            for stage in _stages(problem)
        )

    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Neighbours, affinities, initial positions, then the stages one after the other."""
        with run.phase("start"):
            import numba

            from tsne_backends.native.affinities import make_affinities
            from tsne_backends.native.engine import Engine
            from tsne_backends.native.heap import give_back
            from tsne_backends.native.threads import Team
            from tsne_backends.native.warm import warm_up

            warm_up()
        with run.phase("neighbours"):
            search = self.option(problem, "neighbors")
            indices, squared, places, words = _neighbors(problem, X, search, run)
            give_back(problem.n_samples)
        # Principal components too: in BLAS's own threads their last digits would depend on how many
        # there are, and a seed would repeat at one number of threads only.
        n_threads = cost_native.iteration_threads(problem)
        with Team(n_threads) as team:
            with run.phase("affinities"):
                affinities = make_affinities(indices, squared, problem.perplexity, team)
                del indices, squared
            with run.phase("initialisation"):
                start = initial_positions(problem, X, run.initial, cache=run.cache)[places]
                give_back(problem.n_samples)
            with run.phase("optimisation"):
                exact = None if problem.method == "auto" else False
                try:
                    engine = Engine(affinities, start, team, exact)
                    del affinities  # they are laid out now
                    outcome = engine.run(_stages(problem), run.step, _Watch(problem, run, places))
                except FloatingPointError as error:
                    raise EmbeddingError(
                        f'The optimisation on backend "native" diverged: {error}'
                    ) from error
        coordinates = np.empty_like(outcome.positions)
        coordinates[places] = outcome.positions
        return Embedding(
            coordinates,
            outcome.kl_divergence,
            outcome.n_iter,
            {
                "engine": f"native (numba {numba.__version__})",
                "neighbours": words,
                "gradients": outcome.repulsion,
                "threads": n_threads,
                "grids": outcome.grids,
            },
        )

    def prepare(self, problem: Problem, X: Any, run: Run) -> None:
        """Find neighbours and principal components ahead."""
        from tsne_backends.native.warm import warm_up

        warm_up()
        _neighbors(problem, X, self.option(problem, "neighbors"), run)
        with library_threads(1):  # as in `embed`, to the last digit
            initial_positions(problem, X, run.initial, cache=run.cache)


def _start_seconds() -> float:
    from tsne_backends.native.warm import is_compiled, is_loaded

    if is_loaded():
        return 0.0
    return cost_native.LOAD_SECONDS if is_compiled() else cost_native.COMPILE_SECONDS


#: Neighbours, squared distances in some unit, the rows of X they are of, and words.
Found = tuple[NDArray[np.uint32], NDArray[np.float32], NDArray[np.int64], str]


def _neighbors(problem: Problem, X: Any, search: str, run: Run) -> Found:
    """Search, or look up; what comes back is the caller's to overwrite."""
    if is_plain(problem):
        k, cosine = problem.n_neighbors, problem.metric == "cosine"
        n_threads = cost_native.search_threads(problem)

        def find() -> Found | None:
            return _own_search(X, k, cosine=cosine, search=search, n_threads=n_threads)

        found = run.cache.graph(X, ("native", cosine, search), k, find, _nearest)
        if found is not None:
            indices, squared, places, words = found
            return _own(indices), _own(squared), places, words
    graph = neighbors_graph(problem, X, search, run.cache)
    squared = np.square(graph.unit_distances()).astype(np.float32)
    indices = graph.indices.astype(np.uint32)
    return indices, squared, np.arange(problem.n_samples), graph.search


def _own_search(
    X: NDArray[Any], k: int, *, cosine: bool, search: str, n_threads: int
) -> Found | None:
    """Search with our engine; the same graph for every seed, so that all seeds share it."""
    from tsne_backends.native.search import find_neighbors
    from tsne_backends.native.threads import Team

    if cosine:
        if not X.any(axis=1).all():
            return None  # rows without direction are as far from everything as can be
        X = unit_rows(X)
    exact = {"exact": True, "approximate": False}.get(search)
    with Team(n_threads) as team:
        found = find_neighbors(X, k, team, exact=exact)
    if found is None:
        return None
    # For unit vectors the cosine distance is half the squared one, and t-SNE squares distances.
    squared = np.square(found.squared) if cosine else found.squared
    return found.indices, squared, found.places.astype(np.int64), found.words


def _nearest(found: Found | None, k: int) -> Found | None:
    """Return the k nearest of more neighbours; our search gives them in no order."""
    if found is None:
        return None
    indices, squared, places, words = found
    chosen = np.argpartition(squared, k - 1, axis=1)[:, :k]
    indices = np.take_along_axis(indices, chosen, axis=1)
    return indices, np.take_along_axis(squared, chosen, axis=1), places, words


def _own(array: NDArray[Any]) -> NDArray[Any]:
    """Return an array that may be written to: a cache may have mapped its file into memory."""
    return array if type(array) is np.ndarray and array.flags.writeable else np.array(array)


def _stages(problem: Problem) -> Any:
    from tsne_backends.native.schedule import Stage, accelerated

    stages = [
        Stage(
            phase.name,
            phase.n_iter,
            phase.exaggeration,
            phase.learning_rate,
            phase.momentum,
            patient=phase.name == "early exaggeration",
        )
        for phase in problem.phases
    ]
    if problem.max_iter != "auto":
        return stages
    given = not isinstance(problem.learning_rate, str)  # and is then used as given
    early, main = stages
    return accelerated(early, main, 1.0) if given else accelerated(early, main)


class _Watch:
    """Stands between the engine's reports and our `Run`, and applies the stopping rules."""

    def __init__(self, problem: Problem, run: Run, places: NDArray[np.int64]) -> None:
        self._problem = problem
        self._run = run
        self._places = places
        self._stage: Any = None
        self._check: ProgressCheck | None = None

    def __call__(self, state: Any) -> int:
        from tsne_backends.native.engine import GO_ON, NEXT_STAGE, STOP

        if state.stage is not self._stage or self._check is None:
            patience = None if state.stage.patient else self._problem.n_iter_without_progress
            self._check = ProgressCheck(patience, self._problem.min_grad_norm)
            self._stage = state.stage
        positions = np.empty_like(state.positions)
        positions[self._places] = state.positions
        if self._run.report(state.iteration, state.kl_divergence, positions):
            return STOP
        finished = self._check.finished(state.in_stage, state.kl_divergence, state.gradient_norm)
        return NEXT_STAGE if finished else GO_ON
