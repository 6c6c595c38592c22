"""cuML's own t-SNE, told to mean what every other engine means, for the first iterations of a run.

Left alone, cuML adapts: it replaces learning rate, exaggeration and number of neighbours by its
own. Here it gets our neighbours, initial positions and schedule, as far as it can be told:

- It counts each row among its own neighbours, at distance 0: of a perplexity of 30 over 91 rows,
  28 to 37 % then falls to the row itself, and the kernels are as wide as for a perplexity of 49 to
  80 without it (mixtures in 10 and 50 dimensions). We say that the row is far from itself.
- Its initial positions are the principal components of X. Given our initial positions in place of
  X, it starts from those, turned at most: components of a matrix of two columns are its own axes.
- Its main phase runs at twice the learning rate of the first, and its grid is fixed at 50 boxes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.gpu.neighbors import GpuGraph
from tsne_backends.problem import EARLY_EXAGGERATION_ITER, GRADIENT_FACTOR, Problem

#: Squared distance of a row from itself, where its farthest neighbour in all data has 1: so far
#: that no kernel which holds the neighbours reaches it.
FAR = 1e4
#: Factor on the learning rate in cuML's main phase.
MAIN_RATE_FACTOR = 2.0


def cuml_positions(
    problem: Problem, graph: GpuGraph, start: NDArray[np.float64], n_iter: int
) -> Any:
    """Return where the rows are after ``n_iter`` iterations of cuML.

    Parameters
    ----------
    problem : Problem
    graph : GpuGraph
    start : ndarray of shape (n_samples, 2)
        Initial positions.
    n_iter : int

    Returns
    -------
    cupy.ndarray of shape (n_samples, 2), float32
    """
    import cupy
    from cuml.manifold import TSNE

    n, k = graph.indices.shape
    # cuML squares and scales what it is given in place; these are copies.
    indices = cupy.empty((n, k + 1), dtype=cupy.int64)
    indices[:, 0] = cupy.arange(n)
    indices[:, 1:] = graph.indices
    squared = cupy.empty((n, k + 1), dtype=cupy.float32)
    squared[:, 0] = FAR
    # The affinities of a row do not change with a constant off its distances; cuML's bandwidths
    # underflow without it where a row is far from all others.
    squared[:, 1:] = graph.squared - graph.squared[:, :1]
    unit = cupy.asarray(start / start.std(axis=0).max(), dtype=cupy.float32)
    model = TSNE(**tsne_parameters(problem, k, n_iter))
    cupy.cuda.get_current_stream().synchronize()  # cuML works on a stream of its own
    embedding = cupy.asarray(model.fit_transform(unit, knn_graph=(indices, squared)))
    return cupy.ascontiguousarray(embedding, dtype=cupy.float32)


def tsne_parameters(problem: Problem, k: int, n_iter: int) -> dict[str, Any]:
    """Return the arguments of ``cuml.manifold.TSNE`` for the first ``n_iter`` iterations.

    Parameters
    ----------
    problem : Problem
    k : int
        Neighbours of a row, itself not counted.
    n_iter : int
    """
    early, main = problem.phases[0], problem.phases[-1]
    return {
        "n_components": 2,
        "perplexity": float(problem.perplexity),
        "n_neighbors": k + 1,
        "metric": "euclidean",
        "square_distances": False,  # ours are squared, in whatever metric
        "early_exaggeration": early.exaggeration,
        "late_exaggeration": main.exaggeration,
        "exaggeration_iter": min(EARLY_EXAGGERATION_ITER, n_iter),
        "learning_rate_method": "none",
        "learning_rate": GRADIENT_FACTOR * cuml_rates(problem)[0],
        "pre_momentum": early.momentum,
        "post_momentum": main.momentum,
        "max_iter": n_iter,
        "min_grad_norm": 0.0,  # its norm is another; our rules hold in the iterations that are ours
        "init": "pca",
        "method": "fft",
        "random_state": problem.seed if problem.repeatable else None,
        "output_type": "cupy",
    }


def cuml_rates(problem: Problem) -> tuple[float, float]:
    """Return the effective learning rates of cuML's two phases, in scikit-learn's units.

    The second is twice the first; neither exceeds what the schedule of every engine has.
    """
    rates = [phase.learning_rate for phase in problem.phases]
    first = min(rates[0], rates[-1] / MAIN_RATE_FACTOR)
    return first, MAIN_RATE_FACTOR * first
