"""What a GPU does not compute, said before anything is loaded, sent or paid for.

The backend of this machine's GPU and that of rented ones refuse by the same functions.
"""

from __future__ import annotations

from tsne_backends.gpu.neighbors import METRICS, SPARSE_METRICS
from tsne_backends.problem import Problem
from tsne_backends.transfer import GPU_MAX_NEIGHBORS

#: Most neighbours of a row.
MAX_NEIGHBORS = GPU_MAX_NEIGHBORS
#: Largest perplexity: with fewer than two neighbours for each of it, affinities are flat.
MAX_PERPLEXITY = MAX_NEIGHBORS / 2
#: Rows up to which ``method="exact"`` is computed: every other row is a neighbour then.
EXACT_ROWS = MAX_NEIGHBORS + 1


def refuse_components(problem: Problem) -> str | None:
    """Return why a number of dimensions cannot be computed on a GPU."""
    if problem.n_components == 2:
        return None
    return (
        f"The GPU engine makes maps of 2 dimensions; n_components was {problem.n_components}. "
        'backend="native" makes 1, and backend="sklearn" 3.'
    )


def refuse_perplexity(problem: Problem) -> str | None:
    """Return why a perplexity is too large for the neighbours a GPU search can find."""
    if problem.perplexity <= MAX_PERPLEXITY:
        return None
    return (
        f"perplexity={problem.perplexity:g} is beyond the GPU engine, whose rows have at most "
        f"{MAX_NEIGHBORS:,} neighbours, two for each of it; lower it to {MAX_PERPLEXITY:g}, or use "
        'backend="native".'
    )


def refuse_metric(problem: Problem) -> str | None:
    """Return why distances in a metric cannot be computed on a GPU."""
    known = SPARSE_METRICS if problem.is_sparse else METRICS
    if problem.metric in known:
        return None
    if problem.metric == "precomputed":
        return (
            "The GPU engine finds neighbours itself and takes no precomputed distances; use "
            'backend="native".'
        )
    rows = "sparse rows" if problem.is_sparse else "rows"
    return (
        f"The GPU engine has no metric {problem.metric_name!r} for {rows}; it has "
        f'{", ".join(known)}. backend="native" has the others.'
    )


def refuse_metric_params(problem: Problem) -> str | None:
    """Return why parameters of a metric cannot be passed on."""
    given = set(problem.metric_params)
    if not given or (given == {"p"} and problem.metric == "minkowski"):
        return None
    return (
        f"The GPU engine takes no parameters of a metric but Minkowski's p; metric_params was "
        f'{dict(problem.metric_params)!r}. Use backend="native".'
    )


def refuse_init(problem: Problem) -> str | None:
    """Return why initial positions cannot be used."""
    if problem.init != "array":
        return None
    return 'The GPU engine takes no array as init; pass "pca" or "random", or use backend="native".'


def refuse_method(problem: Problem) -> str | None:
    """Return why a way to compute repulsion is not to be had on a GPU."""
    if problem.method == "barnes_hut":
        return (
            "The GPU engine computes repulsion by FFT; cuML's Barnes–Hut is known to hang and is "
            'never used. Pass method="auto", or use backend="opentsne".'
        )
    if problem.method == "exact" and problem.n_samples > EXACT_ROWS:
        return (
            f'method="exact" makes every row a neighbour, of which the GPU engine takes up to '
            f'{EXACT_ROWS:,}; X has {problem.n_samples:,}. Pass method="auto", or use '
            'backend="sklearn".'
        )
    return None


def neighbors_per_row(problem: Problem) -> int:
    """Return how many neighbours a row gets: 3 × perplexity, at most what a search can find."""
    wanted = problem.n_samples - 1 if problem.method == "exact" else problem.n_neighbors
    return min(wanted, MAX_NEIGHBORS)
