"""An NVIDIA GPU of this machine: neighbours by cuVS, the descent by our kernels or by cuML.

The service on rented GPUs runs this very module. What cuML does differently from scikit-learn, and
what was measured of it, is in ``docs/gpu.md``.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar

from tsne_backends import transfer
from tsne_backends.answers import Embedding, Estimate, Verdict
from tsne_backends.backend import Backend, Option, Parameter
from tsne_backends.backends.options import NEIGHBORS
from tsne_backends.errors import BackendUnavailableError
from tsne_backends.gpu.arrays import device_name, device_of, on_host
from tsne_backends.gpu.driver import LocalGpu
from tsne_backends.gpu.hardware import gpu_verdict, installed_release, visible_gpus
from tsne_backends.gpu.kernels import is_compiled
from tsne_backends.gpu.refusals import (
    MAX_NEIGHBORS,
    neighbors_per_row,
    refuse_components,
    refuse_init,
    refuse_method,
    refuse_metric,
    refuse_metric_params,
    refuse_perplexity,
)
from tsne_backends.gpu.trouble import run_on_gpu
from tsne_backends.initialization import initial_positions
from tsne_backends.machine import Machine
from tsne_backends.problem import Problem
from tsne_backends.run import Run
from tsne_backends.wording import size

logger = logging.getLogger("tsne_backends")


class CumlBackend(Backend):
    """RAPIDS on an NVIDIA GPU of this machine."""

    name = "cuml"
    where = "this machine's GPU"
    takes_gpu_arrays = True
    parameters: ClassVar[Mapping[str, Parameter]] = MappingProxyType(
        {
            "n_components": Parameter("2 only", refuse=refuse_components),
            "perplexity": Parameter(
                "perplexity",
                f"as given, with 3 × perplexity neighbours, at most {MAX_NEIGHBORS:,}",
                refuse_perplexity,
            ),
            "early_exaggeration": Parameter("early_exaggeration"),
            "learning_rate": Parameter(
                "learning_rate", '× 4 (its gradient lacks the factor); "auto" per phase'
            ),
            "max_iter": Parameter("max_iter", "ours and cuML's iterations together"),
            "n_iter_without_progress": Parameter("our check, every 50 of our iterations"),
            "min_grad_norm": Parameter("our check, every 50 of our iterations"),
            "metric": Parameter("our neighbours graph, by cuVS", refuse=refuse_metric),
            "metric_params": Parameter("our neighbours graph", refuse=refuse_metric_params),
            "init": Parameter("our initial positions", refuse=refuse_init),
            "random_state": Parameter("random_state", "as a seed; repeatable on one kind of GPU"),
            "method": Parameter(
                "method",
                '"auto" is FFT, or pair by pair for few rows; "exact" has every row a neighbour',
                refuse_method,
            ),
            "angle": Parameter("not used", "of Barnes–Hut, which the GPU engine never runs"),
            "n_jobs": Parameter("not used", "the GPU works alone"),
        }
    )
    options: ClassVar[Mapping[str, Option]] = MappingProxyType(
        {
            "device": Option(
                None,
                "number of the GPU to use, as CUDA counts them",
                lambda value: value is None or (type(value) is int and value >= 0),
                "a number of a GPU from 0, or None for the one that X lies on, else the first",
            ),
            "refine": Option(
                "all",
                "the last iterations, run by our kernels on a grid that grows with the map; "
                "those before are cuML's own",
                lambda value: value == "all" or (type(value) is int and value >= 0),
                '"all", or a number of iterations from 0',
            ),
            "neighbors": NEIGHBORS,
        }
    )

    def available(self) -> Verdict:
        """Say whether a GPU, its driver and cuML are here, and fit one another."""
        verdict = gpu_verdict()
        if not verdict.ok or is_compiled():
            return verdict
        return Verdict(
            True,
            f"{verdict.reason} The first run here compiles for {transfer.COMPILE_SECONDS:.0f} s "
            "more; `serverless-tsne warmup` does that at a time of your choice.",
        )

    def can_run(self, problem: Problem) -> Verdict:
        """Say whether the GPU computes ``problem``, and whether it has the memory for it."""
        verdict = super().can_run(problem)
        if not verdict.ok:
            return verdict
        refusal = self._refuse_device(problem, self.option(problem, "device") or 0)
        return Verdict(False, refusal) if refusal else verdict

    def estimate(self, problem: Problem, machine: Machine) -> Estimate | None:
        """Predict seconds, and memory of this machine; see `tsne_backends.transfer`."""
        gpus, _ = visible_gpus()
        number = self.option(problem, "device") or 0
        kind = transfer.kind_of(gpus[number].name if number < len(gpus) else "")
        return Estimate(
            start=_start_seconds(),
            neighbours=transfer.gpu_neighbours_seconds(problem, kind),
            optimise=transfer.gpu_optimise_seconds(problem, kind),
            memory_bytes=float(problem.n_bytes),  # here; the GPU's is judged by `can_run`
        )

    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Neighbours, initial positions, cuML's iterations if any, affinities, our iterations.

        Raises
        ------
        BackendUnavailableError
            A library cannot be loaded, or the GPU that X lies on cannot be used for this.
        GpuMemoryError
            Memory ran out.
        EmbeddingError
            The optimisation ended in coordinates that are not finite.
        """
        device = self._device(problem, X)
        return run_on_gpu(
            lambda: self._embed(problem, X, run),
            device,
            _too_large(problem),
            ("cuml",) if self._needs_cuml(problem) else (),
        )

    def _device(self, problem: Problem, X: Any) -> int:
        """Return the number of the GPU to use; where X chooses it, `can_run` did not know it."""
        asked = self.option(problem, "device")
        if asked is not None:
            return int(asked)
        number = device_of(X) or 0
        if number and (refusal := self._refuse_device(problem, number)):
            raise BackendUnavailableError(refusal)
        return number

    def _refuse_device(self, problem: Problem, number: int) -> str:
        """Return why a GPU of this machine cannot be used for a problem; empty where it can."""
        gpus, _ = visible_gpus()
        if number >= len(gpus):
            return (
                f"There is no GPU number {number}: this process sees {len(gpus)}, counted from 0."
            )
        if number and self._needs_cuml(problem):
            return (
                "cuML's own parts (iterations, sparse rows, metrics other than Euclidean, cosine "
                "and correlation) run on the first GPU of a process only, and this is number "
                f"{number}; start the process with CUDA_VISIBLE_DEVICES={number}."
            )
        return _refuse_size(problem, gpus[number])

    def _needs_cuml(self, problem: Problem) -> bool:
        """Whether a part of the run is cuML's own: iterations, or a metric only it has."""
        only_cuml = problem.is_sparse or problem.metric not in transfer.GPU_EUCLIDEAN_METRICS
        return only_cuml or self.option(problem, "refine") != "all"

    def _embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        from tsne_backends.gpu.affinities import joint_affinities
        from tsne_backends.gpu.check import check_map
        from tsne_backends.gpu.descent import Descent, last_iterations
        from tsne_backends.gpu.neighbors import gpu_graph
        from tsne_backends.gpu.repulsion import Repulsion
        from tsne_backends.gpu.start import components_on_gpu

        k = neighbors_per_row(problem)
        if problem.method != "exact" and k < problem.n_neighbors:
            logger.warning(
                "The GPU search finds at most %d neighbours of a row; a perplexity of %g gets "
                "%.1f for each of it, not 3.",
                k,
                problem.perplexity,
                k / problem.perplexity,
            )
        with run.phase("neighbours"):
            graph = gpu_graph(problem, X, k, self.option(problem, "neighbors"), run.cache)
        with run.phase("initialisation"):
            start = initial_positions(problem, X, run.initial, components_on_gpu, run.cache)
        n_ours = self._our_iterations(problem, run)
        n_theirs = problem.iterations - n_ours
        with run.phase("optimisation"):
            positions = _after_theirs(problem, graph, start, n_theirs)
        with run.phase("affinities"):
            affinities = joint_affinities(graph.indices, graph.squared, problem.perplexity)
        with run.phase("optimisation"):
            wanted = {"exact": True, "fft": False}.get(problem.method)
            repulsion = Repulsion(problem.n_samples, exact=wanted)
            descent = Descent(problem, affinities, repulsion, positions, run, done=n_theirs)
            if n_theirs:
                descent.report()
            descent.run_phases(last_iterations(problem.phases, n_ours))
            kl = descent.kl_divergence()
        with run.phase("check"):
            quality = check_map(graph, descent.positions)
        return Embedding(
            on_host(descent.positions),
            kl,
            descent.done,
            self._details(problem, graph.search, k, (n_theirs, descent.done - n_theirs)),
            quality,
        )

    def _our_iterations(self, problem: Problem, run: Run) -> int:
        """Return how many iterations are ours: all where cuML's cannot be watched or stopped."""
        refine = self.option(problem, "refine")
        if refine == "all" or problem.method == "exact":
            return problem.iterations
        if run.callbacks:
            logger.info("cuML's iterations cannot be watched; all are run by our kernels.")
            return problem.iterations
        return min(int(refine), problem.iterations)

    def _details(
        self, problem: Problem, search: str, k: int, iterations: tuple[int, int]
    ) -> dict[str, Any]:
        from tsne_backends.gpu.cuml_tsne import cuml_rates

        gpus, _ = visible_gpus()
        release, (n_theirs, n_ours) = installed_release(), iterations
        rates = dict(zip(("cuML's early", "cuML's main"), cuml_rates(problem), strict=True))
        ours = {phase.name: phase.learning_rate for phase in problem.phases}
        return {
            "engine": f"cuML {release.version if release else 'unknown'}",
            "gpu": device_name(),
            "driver": gpus[0].driver if gpus else "unknown",
            "seed": problem.seed if problem.repeatable else None,
            "neighbours": search,
            "n_neighbors": k,
            "iterations": {"cuML": n_theirs, "ours": n_ours},
            "learning_rates": {**(rates if n_theirs else {}), **ours},
        }


def _start_seconds() -> float:
    """Return the seconds until the GPU libraries are loaded and all kernels compiled."""
    loading = 0.0 if _is_loaded() else transfer.LOAD_SECONDS
    return loading if is_compiled() else loading + transfer.COMPILE_SECONDS


def _is_loaded() -> bool:
    """Whether this process has the GPU libraries already, which take seconds to load."""
    return "cuvs" in sys.modules


def _after_theirs(problem: Problem, graph: Any, start: Any, n_iter: int) -> Any:
    """Return the positions after cuML's iterations, or the initial ones where it has none."""
    import cupy

    from tsne_backends.gpu.cuml_tsne import cuml_positions

    if n_iter:
        return cuml_positions(problem, graph, start, n_iter)
    return cupy.asarray(start, dtype=cupy.float32, order="C")


def _refuse_size(problem: Problem, gpu: LocalGpu) -> str:
    """Return why a problem does not fit into a GPU, and how many rows would."""
    needed, usable = transfer.gpu_bytes(problem), transfer.USABLE_MEMORY * gpu.memory_bytes
    if needed <= usable:
        return ""
    rows = int(problem.n_samples * usable / needed)
    return (
        f"It needs about {size(needed)} on the GPU, and a {gpu.name} has {size(gpu.memory_bytes)}, "
        f"enough for {rows:,} such rows."
    )


def _too_large(problem: Problem) -> str:
    """Return what to say if the memory of the GPU runs out although it was expected to do."""
    return (
        f"The memory of the GPU ran out: {problem.n_samples:,} rows × {problem.n_features:,} with "
        f"{neighbors_per_row(problem)} neighbours need about {size(transfer.gpu_bytes(problem))}, "
        "and other programs may hold some of it. Use fewer rows, a lower perplexity, or "
        'backend="native".'
    )
