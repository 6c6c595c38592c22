"""The cost model of our own engine: seconds and bytes, pure functions as in ``cost``.

Constants are in seconds of one thread on the reference processor (see ``cost``), measured for this
file on mixtures of Gaussians, noise and image patches, n = 2,000 to 200,000.
"""

from __future__ import annotations

import math

from tsne_backends import cost
from tsne_backends.machine import Machine
from tsne_backends.native.precision import MOST_COPIED
from tsne_backends.native.schedule import COOLING, FAST, FAST_SPACING, PLAIN_SPACING, SETTLING
from tsne_backends.problem import Phase, Problem

#: Compiling all kernels, once per machine and version; loading them from disk, once per process.
COMPILE_SECONDS, LOAD_SECONDS = 6.6, 0.5
#: Searching everything, per pair: comparison, and one multiplication per feature.
PAIR_SECONDS, PAIR_FEATURE_SECONDS = 5e-10, 1.8e-11
#: Searching lists, per row at 50,000 rows, and per feature of it; growth of both with n.
LISTED_ROW_SECONDS, LISTED_ROW_FEATURE_SECONDS = 5e-6, 1.6e-7
LISTED_GROWTH, LISTED_GROWTH_ROWS = 0.35, 50_000
#: Features beyond so many cost less, because candidates are looked for along principal axes.
WIDE_FEATURES, WIDE_SHARE = 192, 0.4
#: Bandwidths and symmetric affinities, laying them out and three orders in a run, per neighbour.
AFFINITY_SECONDS = 1.2e-7
#: Attraction, per neighbour of the search (three quarters of them make forces, in both directions).
ATTRACTION_SECONDS = 6.2e-10
#: The step, per row.
STEP_SECONDS = 1e-8
#: Repulsion on the grid: spreading and reading, per row; summing near charges, per node; and what
#: it takes beside. These and the next are as native.exact has them, which cannot be imported here:
#: it brings numba.
POINT_SECONDS, NODE_SECONDS, GRID_SECONDS = 2e-8, 3.2e-9, 1.5e-4
#: Summing over all pairs instead, per ordered pair. Where that takes longer and is done all the
#: same, for its exactness, up to about 4,000 rows, a plan would see fewer rows take longer than
#: more; it counts the lesser of the two.
EXACT_PAIR_SECONDS = 8e-11
#: Fixed cost of one iteration.
ITERATION_CALL_SECONDS = 1e-4

#: Threads that pay for iterations, by rows, and for the search. On 16 cores 2,000 rows took 0.78 s
#: with 1 thread, 0.52 with 2, 0.38 with 4, 0.38 with 8 and 0.50 with 16; 10,000 rows 2.42, 1.43,
#: 1.01, 0.86 and 1.35; iterations at 50,000 rows 2.74 with 4, 2.00 with 8 and 2.13 with 16; half of
#: those at 200,000 rows 5.34, 3.47 and 2.83, and the search there 1.25, 0.97 and 2.04.
ITERATION_THREADS = ((5_000, 4), (100_000, 8))
SEARCH_THREADS = 8
#: More than two threads are together as quick as two, times a power of how many times more they
#: are: by the same runs 1.2 to 1.5 times as quick with twice as many.
THREADS_POWER = 0.5

#: Bytes per row and neighbour of the graph, and when affinities are laid out: the graph, those that
#: make the forces, and the rest. Bytes per row beside: positions and the optimiser.
GRAPH_BYTES, LAYOUT_BYTES, ROW_BYTES = 8, 14, 120
#: Bytes per row and axis of a search: coordinates and what is compared (codes take the place of
#: both, but only the data tell whether they serve); principal axes at most.
AXIS_BYTES, MOST_AXES = 8, 192
#: Bytes at any size: compiled kernels, buffers, the stacks of threads.
FIXED_BYTES = 32e6
#: Bytes per node of the grid: charges and potentials, and those of coarser grids.
NODE_BYTES = 12


def iteration_threads(problem: Problem) -> int:
    """Return how many of the threads that are asked for make iterations quicker; maps are equal."""
    most = next((most for n, most in ITERATION_THREADS if problem.n_samples < n), None)
    return problem.n_threads if most is None else min(most, problem.n_threads)


def search_threads(problem: Problem) -> int:
    """Return how many of the threads that are asked for make the search quicker."""
    return min(SEARCH_THREADS, problem.n_threads)


def _speedup(machine: Machine, n_threads: int) -> float:
    """Return how many times faster threads are than one; those beyond the cores add nothing."""
    useful = min(n_threads, machine.cores)
    more = max(1.0, useful / 2)
    return machine.parallel(min(useful, 2)) * math.pow(more, THREADS_POWER)


def search_seconds(problem: Problem, machine: Machine, search: str = "auto") -> float:
    """Return the seconds of our own search.

    Parameters
    ----------
    problem : Problem
    machine : Machine
    search : {"auto", "exact", "approximate"}
    """
    n, d = problem.n_samples, problem.n_features
    comparing = float(n) ** 2 * PAIR_SECONDS / machine.speeds.core
    exact = comparing + float(n) ** 2 * d * PAIR_FEATURE_SECONDS / machine.speeds.matrix
    growth = math.pow(max(n, 2) / LISTED_GROWTH_ROWS, LISTED_GROWTH)
    listed = LISTED_ROW_SECONDS / machine.speeds.core
    compared = d - (1 - WIDE_SHARE) * max(d - WIDE_FEATURES, 0)
    listed += LISTED_ROW_FEATURE_SECONDS * compared / machine.speeds.matrix
    ways = {"exact": exact, "approximate": n * growth * cost.neighbour_share(problem) * listed}
    seconds = ways.get(search, min(ways.values()))
    return cost.SEARCH_CALL_SECONDS + seconds / _speedup(machine, search_threads(problem))


def optimise_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds of affinities, initial positions and all iterations."""
    entries = problem.n_samples * problem.n_neighbors
    speedup = _speedup(machine, iteration_threads(problem))
    affinities = AFFINITY_SECONDS * entries / speedup / machine.speeds.core
    seconds = affinities + cost.initialisation_seconds(problem, machine)
    for phase in problem.phases:
        n_iter, spacing = phase.n_iter, PLAIN_SPACING
        if problem.max_iter == "auto":
            # Its map grows as wide as that of the plain schedule, in fewer iterations: of 20,000
            # rows to 19,200 cells on average, against 21,400.
            spacing = FAST_SPACING
            if phase.name != "early exaggeration":
                n_iter = SETTLING + FAST + COOLING
        seconds += n_iter * _iteration_seconds(problem, phase, spacing, machine)
    return seconds


def _iteration_seconds(problem: Problem, phase: Phase, spacing: float, machine: Machine) -> float:
    n = problem.n_samples
    nodes = cost.mean_cells(problem, phase) / spacing**2
    grid = GRID_SECONDS + POINT_SECONDS * n + NODE_SECONDS * nodes
    pairs = EXACT_PAIR_SECONDS * float(n) ** 2
    repulsion = min(grid, pairs) if problem.method == "auto" else grid
    attraction = (ATTRACTION_SECONDS * problem.n_neighbors + STEP_SECONDS) * n
    shared = (repulsion + attraction) / _speedup(machine, iteration_threads(problem))
    return (ITERATION_CALL_SECONDS + shared) / machine.speeds.core


def peak_bytes(problem: Problem) -> float:
    """Return the peak memory: X, what the search makes of it, the graph, affinities, the grid."""
    n, d = problem.n_samples, problem.n_features
    cells = max(cost.mean_cells(problem, phase) for phase in problem.phases)
    grid = NODE_BYTES * cells / PLAIN_SPACING**2
    search = GRAPH_BYTES * problem.n_neighbors
    if not problem.is_sparse:
        is_copied = d <= MOST_COPIED or problem.dtype != "float32"
        search += AXIS_BYTES * min(d, MOST_AXES) + 4 * d * is_copied
    layouts = LAYOUT_BYTES * problem.n_neighbors + ROW_BYTES
    return problem.n_bytes + n * max(search, layouts) + grid + FIXED_BYTES
