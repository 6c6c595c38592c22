"""The cost model of this machine's processor: from a problem to seconds and bytes.

Pure functions: nothing is measured, loaded or looked up here. GPUs and transfers are in
``transfer``; what past runs teach is in ``learning``.

Unless said otherwise a constant is in seconds of one thread on one core of an AMD EPYC (Zen 4, 2
cores of a shared server), float32, with openTSNE 1.0.4, scikit-learn 1.7 and usearch 2.21, and was
measured for this file on mixtures of 30 Gaussians and image patches, n = 1,000 to 200,000. Wherever
an engine picks the quicker of two ways, the prediction is the lesser of the two, so that it has no
step where the choice changes; the engine asks the same functions, on the reference machine.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from tsne_backends.machine import Machine
from tsne_backends.problem import GRADIENT_FACTOR, Phase, Problem

#: Choices must not depend on how fast a machine was measured to be, or a seed would not repeat.
REFERENCE = Machine(cores=1_000_000)

# Neighbour search.

#: Fixed cost of any search: imports are over, threads start.
SEARCH_CALL_SECONDS = 5e-3
#: Blocked brute force, per pair of rows: selection, and one multiplication per feature.
BRUTE_PAIR_SECONDS, BRUTE_PAIR_FEATURE_SECONDS = 2.7e-9, 4.3e-11
#: KD-tree, per row and level of the tree; each feature multiplies the leaves visited. Between
#: clustered data (10 features: half of this) and noise (3 times this).
TREE_LEVEL_SECONDS, TREE_FEATURE_FACTOR = 2.7e-7, 2**0.45
#: HNSW at 20,000 rows, per row: building and searching together, and per feature.
HNSW_ROW_SECONDS, HNSW_ROW_FEATURE_SECONDS = 8e-5, 9e-7
#: Share of it that is building: one thread does that where the run must repeat.
HNSW_BUILD_SHARE = 0.35
#: Growth of the cost per row with n: levels of the graph, and misses of the cache.
HNSW_GROWTH, HNSW_GROWTH_ROWS = 0.5, 20_000
#: scikit-learn's search with other metrics (Manhattan measured), per pair and per feature of it.
OTHER_PAIR_SECONDS, OTHER_PAIR_FEATURE_SECONDS = 3e-8, 8e-10
#: The same on sparse rows, per pair and per stored entry; it uses one thread.
SPARSE_PAIR_SECONDS, SPARSE_PAIR_ENTRY_SECONDS = 1.5e-8, 4.5e-11
#: A Python function as the metric, per pair; one thread.
CALLABLE_PAIR_SECONDS = 3e-6
#: Picking the nearest from given distances, per distance.
PRECOMPUTED_PAIR_SECONDS = 1.2e-8
#: Bytes of one stored entry of a sparse matrix: value and column.
SPARSE_ENTRY_BYTES = 8

# Affinities and initial positions.

#: Bandwidths by bisection and symmetrisation, per neighbour (one thread does the latter).
AFFINITY_SECONDS = 2.1e-7
#: Principal components, per entry of X.
PCA_ENTRY_SECONDS = 1.5e-8

# One iteration.

#: Fixed cost of an iteration: Python, the optimiser's small arrays.
ITERATION_CALL_SECONDS = 3e-4
#: Attraction in openTSNE, per neighbour.
ATTRACTION_SECONDS = 7.8e-9
#: Barnes–Hut repulsion at 10,000 rows and angle 0.5: per row and level of the tree.
BARNES_HUT_LEVEL_SECONDS = 3.6e-7
#: Growth beyond n log n, from misses of the cache, per factor of n.
BARNES_HUT_GROWTH, BARNES_HUT_GROWTH_ROWS = 0.2, 10_000
#: Its cost falls with the angle as this power (measured from 0.5 to 0.7: 28.0 to 20.8 s).
BARNES_HUT_ANGLE_POWER = -0.9
#: FFT repulsion, which openTSNE runs on one thread: per unit cell of the map, and per row.
FFT_CELL_SECONDS, FFT_ROW_SECONDS = 3.44e-6, 1.0e-7
#: The widest map of early exaggeration, and least intervals per axis of our backend's grid.
EARLY_MAP_UNITS = 20.0
#: Width of the map after t iterations of the main phase: this × t^0.46 × n^0.15 units (measured 100
#: units at n = 1,000, 165 at 5,000, 191 to 209 at 20,000 after 750).
MAP_UNITS, MAP_ITERATION_POWER, MAP_ROW_POWER = 2.06, 0.46, 0.15
#: Cells of the map under a learning rate below n / exaggeration / 4 fall as this power of the ratio
#: (20,000 rows at a hundredth of it: 84 units wide instead of 191).
MAP_RATE_POWER = 0.41
#: scikit-learn's Barnes–Hut, per row and level: its loop over rows, and the tree, on one thread.
SKLEARN_LEVEL_SECONDS, SKLEARN_TREE_SECONDS = 1.9e-7, 1.1e-7
#: scikit-learn's exact gradient and its dense affinities, per pair; one thread.
EXACT_PAIR_SECONDS, EXACT_AFFINITY_SECONDS = 1.3e-8, 1.4e-7

# Memory at the peak of a run.

#: Per neighbour: the graph (16 bytes), the affinities and their transpose while they are summed.
GRAPH_ENTRY_BYTES = 70
#: Per pair of rows: exact gradients hold three float64 matrices at a time.
EXACT_PAIR_BYTES = 24
#: Per cell of the FFT grid: complex kernels and potentials of four charges.
CELL_BYTES = 1_500


def search_seconds(search: str, problem: Problem, machine: Machine) -> float:
    """Return the seconds of one neighbour search.

    Parameters
    ----------
    search : {"tree", "brute", "hnsw", "precomputed", "sklearn"}
        As `tsne_backends.neighbors.choose_search` names them.
    problem : Problem
    machine : Machine

    Returns
    -------
    float
        Seconds, growing with ``n_samples`` and ``n_features``.
    """
    n, d = problem.n_samples, problem.n_features
    threads = machine.parallel(problem.n_threads)
    if search == "brute":
        selection = n**2 * BRUTE_PAIR_SECONDS / machine.speeds.core
        products = n**2 * d * BRUTE_PAIR_FEATURE_SECONDS / machine.speeds.matrix
        return SEARCH_CALL_SECONDS + (selection + products) / threads
    if search == "tree":
        row = TREE_LEVEL_SECONDS * math.log2(n + 1) * math.pow(TREE_FEATURE_FACTOR, min(d, 64))
        row *= neighbour_share(problem)
        return SEARCH_CALL_SECONDS + n * row / machine.speeds.core / threads
    if search == "hnsw":
        row = HNSW_ROW_SECONDS + HNSW_ROW_FEATURE_SECONDS * d
        row *= math.pow(n / HNSW_GROWTH_ROWS, HNSW_GROWTH) * neighbour_share(problem)
        row /= machine.speeds.core
        building = 1.0 if problem.repeatable else threads
        work = n * row * (HNSW_BUILD_SHARE / building + (1 - HNSW_BUILD_SHARE) / threads)
        return SEARCH_CALL_SECONDS + work
    return n**2 * _other_pair_seconds(search, problem, threads) / machine.speeds.core


def neighbour_share(problem: Problem) -> float:
    """Return what a search costs, as a share of one for 90 neighbours, for which it was measured.

    Half of it does not depend on their number.
    """
    return 0.5 + problem.n_neighbors / 180


def neighbours_seconds(searches: Sequence[str], problem: Problem, machine: Machine) -> float:
    """Return the seconds of the quickest of several searches."""
    return min(search_seconds(search, problem, machine) for search in searches)


def _other_pair_seconds(search: str, problem: Problem, threads: float) -> float:
    if search == "precomputed":
        return PRECOMPUTED_PAIR_SECONDS
    if callable(problem.metric):
        return CALLABLE_PAIR_SECONDS
    if problem.is_sparse:
        entries = problem.n_bytes / SPARSE_ENTRY_BYTES / problem.n_samples
        return SPARSE_PAIR_SECONDS + SPARSE_PAIR_ENTRY_SECONDS * entries
    return (OTHER_PAIR_SECONDS + OTHER_PAIR_FEATURE_SECONDS * problem.n_features) / threads


def affinities_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds for sparse affinities, once the neighbours are known."""
    entries = problem.n_samples * problem.n_neighbors
    return AFFINITY_SECONDS * entries / machine.speeds.core


def initialisation_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds for initial positions."""
    if problem.init != "pca":
        return 0.0
    stored = problem.n_bytes / SPARSE_ENTRY_BYTES if problem.is_sparse else math.inf
    entries = min(stored, problem.n_samples * problem.n_features)
    return PCA_ENTRY_SECONDS * entries / machine.speeds.matrix


def attraction_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds of the attractive forces, and all that is not repulsion, per iteration."""
    entries = problem.n_samples * problem.n_neighbors
    parallel = ATTRACTION_SECONDS * entries / machine.parallel(problem.n_threads)
    return (ITERATION_CALL_SECONDS + parallel) / machine.speeds.core


def barnes_hut_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds of openTSNE's Barnes–Hut repulsion per iteration."""
    work = BARNES_HUT_LEVEL_SECONDS * _tree_visits(problem) * _angle_factor(problem)
    return work / machine.parallel(problem.n_threads) / machine.speeds.core


def _tree_visits(problem: Problem) -> float:
    """Return rows times levels of the tree, and what misses of the cache add to that."""
    n = problem.n_samples
    return n * math.log2(n + 1) * math.pow(n / BARNES_HUT_GROWTH_ROWS, BARNES_HUT_GROWTH)


def _angle_factor(problem: Problem) -> float:
    return math.pow(max(problem.angle, 0.01) / 0.5, BARNES_HUT_ANGLE_POWER)


def fft_seconds(problem: Problem, machine: Machine, cells: float) -> float:
    """Return the seconds of openTSNE's FFT repulsion per iteration on so many cells."""
    work = FFT_CELL_SECONDS * cells + FFT_ROW_SECONDS * problem.n_samples
    return work / machine.speeds.core


def mean_cells(problem: Problem, phase: Phase) -> float:
    """Return the expected number of unit cells the map covers, averaged over one phase.

    Early exaggeration keeps the map small; in the main phase it spreads with the iterations, and
    the slower the lower the learning rate is.
    """
    dimensions = min(problem.n_components, 2)
    least = math.pow(EARLY_MAP_UNITS, dimensions)
    if phase.name == "early exaggeration":
        return least
    spread = math.pow(phase.n_iter, MAP_ITERATION_POWER) * problem.n_samples**MAP_ROW_POWER
    mean = math.pow(MAP_UNITS * spread, dimensions) / (1 + dimensions * MAP_ITERATION_POWER)
    rate = phase.learning_rate * GRADIENT_FACTOR / problem.n_samples
    return max(least, mean * math.pow(min(1.0, rate), MAP_RATE_POWER))


def quicker_gradient(problem: Problem, machine: Machine, cells: float) -> tuple[str, float]:
    """Return openTSNE's quicker repulsion, ``"bh"`` or ``"fft"``, and its seconds per iteration.

    Parameters
    ----------
    problem : Problem
        ``method`` may have decided; an angle of 0 asks for Barnes–Hut without approximation.
    machine : Machine
    cells : float
        Unit cells that the map covers.
    """
    choices = {
        "bh": barnes_hut_seconds(problem, machine),
        "fft": fft_seconds(problem, machine, cells),
    }
    asked = {"barnes_hut": "bh", "fft": "fft"}.get(problem.method)
    if asked is None and problem.angle == 0:
        asked = "bh"
    chosen = asked or min(choices, key=choices.__getitem__)
    return chosen, choices[chosen]


def opentsne_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds openTSNE needs for affinities, initial positions and all iterations."""
    seconds = affinities_seconds(problem, machine) + initialisation_seconds(problem, machine)
    for phase in problem.phases:
        _, repulsion = quicker_gradient(problem, machine, mean_cells(problem, phase))
        seconds += phase.n_iter * (attraction_seconds(problem, machine) + repulsion)
    return seconds


def sklearn_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds scikit-learn's gradients need, affinities and start included."""
    seconds = initialisation_seconds(problem, machine)
    if problem.method == "exact":
        pairs = float(problem.n_samples) ** 2 / machine.speeds.core
        call = ITERATION_CALL_SECONDS / machine.speeds.core
        return (
            seconds
            + EXACT_AFFINITY_SECONDS * pairs
            + problem.iterations * (call + EXACT_PAIR_SECONDS * pairs)
        )
    loop = SKLEARN_LEVEL_SECONDS * _angle_factor(problem) / machine.parallel(problem.n_threads)
    repulsion = _tree_visits(problem) * (SKLEARN_TREE_SECONDS + loop) / machine.speeds.core
    iteration = attraction_seconds(problem, machine) + repulsion
    return seconds + affinities_seconds(problem, machine) + problem.iterations * iteration


def dense_distances_seconds(problem: Problem, machine: Machine) -> float:
    """Return the seconds for all pairwise distances, which exact gradients start from."""
    if problem.metric in ("euclidean", "l2"):
        pair = BRUTE_PAIR_SECONDS + BRUTE_PAIR_FEATURE_SECONDS * problem.n_features
    else:
        pair = _other_pair_seconds("sklearn", problem, machine.parallel(problem.n_threads))
    return problem.n_samples**2 * pair / machine.speeds.core


def graph_engine_bytes(problem: Problem) -> float:
    """Return the peak memory of a graph-based engine: X, one copy of it, the graph."""
    graph = GRAPH_ENTRY_BYTES * problem.n_samples * problem.n_neighbors
    cells = max(mean_cells(problem, phase) for phase in problem.phases)
    return 2 * problem.n_bytes + graph + CELL_BYTES * 2 * cells


def exact_engine_bytes(problem: Problem) -> float:
    """Return the peak memory of exact gradients, X included."""
    return problem.n_bytes + EXACT_PAIR_BYTES * float(problem.n_samples) ** 2
