"""What cuML's arithmetic costs a map, computed on the processor: no GPU is needed, no speed told.

openTSNE and cuML descend from the same code, so that openTSNE can be told to use cuML's fixed grid
of 50 boxes and its schedule. Beside it runs the source of our GPU kernels, compiled for the
processor as in the tests. All get the same exact neighbours, affinities and initial positions.
Run ``python -m benchmarks.gpu_arithmetic``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.judging import PERPLEXITY, judged_data, quality
from benchmarks.tables import markdown
from tsne_backends.gpu.cuml_tsne import cuml_rates
from tsne_backends.initialization import initial_positions
from tsne_backends.neighbors import NeighborsGraph
from tsne_backends.problem import GRADIENT_FACTOR, Problem

#: openTSNE's grid as cuML has it, and as our openTSNE backend has it.
FIXED_GRID = MappingProxyType({"min_num_intervals": 50, "ints_in_interval": 1e9})
FINE_GRID = MappingProxyType({"min_num_intervals": 20, "ints_in_interval": 1.0})


@dataclass(frozen=True)
class Variant:
    """Which of cuML's ways a run has, and after how many iterations it is refined."""

    fixed_grid: bool
    slow_rates: bool
    refined: int = 0


VARIANTS = {
    "reference": Variant(fixed_grid=False, slow_rates=False),
    "cuML's rates": Variant(fixed_grid=False, slow_rates=True),
    "cuML's grid": Variant(fixed_grid=True, slow_rates=False),
    "cuML": Variant(fixed_grid=True, slow_rates=True),
    "cuML, last 250 refined": Variant(fixed_grid=True, slow_rates=True, refined=250),
    "cuML, last 500 refined": Variant(fixed_grid=True, slow_rates=True, refined=500),
}
OUR_KERNELS = "our kernels"


def main() -> None:
    """Run every variant at every size, and write the table."""
    parser = harness.parser(__doc__, sizes=[10_000, 50_000, 250_000], data=["mixture10"])
    parser.add_argument("--variants", nargs="+", default=[*VARIANTS, OUR_KERNELS])
    options = harness.parsed(parser, sizes=[2_000])
    results = harness.results_of("gpu_arithmetic", options)
    for name in options.data:
        for n in options.sizes:
            jobs = [{"variant": one, "data": name, "n": n} for one in options.variants]
            if todo := [job for job in jobs if not results.knows(job)]:
                for row in _measure(name, n, todo):
                    results.add(row)
    results.finish(markdown(_against_reference(results.rows)))


def _measure(name: str, n: int, jobs: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    X, graph = judged_data(name, n, 0)
    problem = Problem(*X.shape, n_bytes=X.nbytes, n_threads=2)
    start = initial_positions(problem, X)
    for job in jobs:
        if job["variant"] == OUR_KERNELS:
            Y, own_kl = _by_our_kernels(problem, graph, start)
        else:
            Y, own_kl = _by_opentsne(VARIANTS[job["variant"]], problem, graph, start)
        widths = {"width": round(float(np.ptp(Y)), 1), "engine_kl": round(own_kl, 4)}
        yield {**job, **quality(name, n, Y), **widths}


def _by_opentsne(
    variant: Variant, problem: Problem, graph: NeighborsGraph, start: NDArray[np.float64]
) -> tuple[NDArray[Any], float]:
    import openTSNE
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn

    P = joint_probabilities_nn(graph.indices, graph.unit_distances(), [PERPLEXITY], n_jobs=2)
    embedding = openTSNE.TSNEEmbedding(
        start.copy(),
        PrecomputedAffinities(P, normalize=False),
        n_interpolation_points=3,
        n_jobs=problem.n_threads,
        negative_gradient_method="fft",
    )
    early, last = problem.phases
    rates = (early.learning_rate, last.learning_rate)
    if variant.slow_rates:
        rates = cuml_rates(problem)
    grid: Mapping[str, Any] = FIXED_GRID if variant.fixed_grid else FINE_GRID
    stages = [
        (early.n_iter, early, rates[0], grid),
        (last.n_iter - variant.refined, last, rates[1], grid),
        (variant.refined, last, last.learning_rate, FINE_GRID),
    ]
    for n_iter, phase, rate, its_grid in stages:
        if not n_iter:
            continue
        embedding.optimizer.update = embedding.optimizer.gains = None
        embedding.optimize(
            n_iter,
            inplace=True,
            exaggeration=phase.exaggeration,
            learning_rate=rate * GRADIENT_FACTOR,
            momentum=phase.momentum,
            **its_grid,
        )
    return np.asarray(embedding), float(embedding.kl_divergence)


def _by_our_kernels(
    problem: Problem, graph: NeighborsGraph, start: NDArray[np.float64]
) -> tuple[NDArray[Any], float]:
    """Run our descent with the stand-in of CuPy that the tests use."""
    import pytest

    sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))
    import fake_rapids

    from tsne_backends.run import Run

    with pytest.MonkeyPatch.context() as patch, tempfile.TemporaryDirectory() as folder:
        fake_rapids.install(patch, Path(folder))
        import cupy

        from tsne_backends.gpu.affinities import joint_affinities
        from tsne_backends.gpu.arrays import on_host
        from tsne_backends.gpu.descent import Descent
        from tsne_backends.gpu.repulsion import Repulsion

        squared = (graph.unit_distances() ** 2).astype(np.float32)
        affinities = joint_affinities(
            cupy.asarray(graph.indices.astype(np.int32)), cupy.asarray(squared), PERPLEXITY
        )
        positions = cupy.asarray(np.ascontiguousarray(start, dtype=np.float32))
        repulsion = Repulsion(problem.n_samples, exact=False)
        descent = Descent(problem, affinities, repulsion, positions, Run())
        descent.run_phases(problem.phases)
        return on_host(descent.positions), descent.kl_divergence()


def _against_reference(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    reference = {str(row["n"]): float(row["kl"]) for row in rows if row["variant"] == "reference"}
    table = []
    for row in rows:
        base = reference.get(str(row["n"]))
        excess = f"{100 * (float(row['kl']) / base - 1):+.1f} %" if base else ""
        table.append({**row, "kl / reference": excess})
    return table


if __name__ == "__main__":
    main()
