"""Places new rows on a fitted map, whichever engine made it (openTSNE's partial optimisation).

Each new point is attracted by its nearest fitted neighbours and repelled by the map; the map itself
does not move, and new points do not see one another. See Poličar, Stražar & Zupan, "Embedding to
reference t-SNE space addresses batch effects in single-cell classification" (2021).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from tsne_backends.errors import EmbeddingError
from tsne_backends.machine import import_with_passive_threads
from tsne_backends.neighbors import neighbors_of_new
from tsne_backends.problem import Problem

# openTSNE's defaults for `TSNEEmbedding.transform`, which it chose so that points settle without
# shooting off: a low perplexity, few iterations, small steps, clipped gradients.
PLACEMENT_PERPLEXITY = 5
PLACEMENT_NEIGHBORS = 25
PLACEMENT_ITER = 250
PLACEMENT_EXAGGERATION = 1.5
PLACEMENT_LEARNING_RATE = 0.1  # openTSNE's units
PLACEMENT_MAX_GRADIENT = 0.25

#: Fitted maps smaller than this use Barnes–Hut, larger ones a grid computed once.
GRID_MIN_SAMPLES = 1_000


def place(
    problem: Problem, X: Any, embedding: NDArray[np.float32], X_new: Any
) -> NDArray[np.float32]:
    """Place new rows on a fitted map.

    Parameters
    ----------
    problem : Problem
        The problem the map was fitted for.
    X : ndarray or CSR matrix of shape (n_samples, n_features), or None
        Fitted data; not used where the metric is ``"precomputed"``.
    embedding : ndarray of shape (n_samples, n_components), float32
        The map.
    X_new : ndarray or CSR matrix of shape (n_new, n_features)
        New rows, or their distances to the fitted rows.

    Returns
    -------
    ndarray of shape (n_new, n_components), float32
        Rows that equal a fitted row take that row's place; the others are optimised.

    Raises
    ------
    EmbeddingError
        A place is not finite.
    """
    k = min(PLACEMENT_NEIGHBORS, problem.n_samples)
    if problem.metric == "precomputed" and hasattr(X_new, "tocsr"):
        k = max(1, min(k, int(np.diff(X_new.indptr).min())))  # all that a sparse graph offers
    with threadpool_limits(problem.n_threads):
        indices, distances = neighbors_of_new(problem, X, X_new, k)
    twin = _twins(problem, X, X_new, indices, distances)
    placed = embedding[np.maximum(twin, 0)].copy()
    new = twin < 0
    if new.any():
        placed[new] = _optimise(problem, embedding, indices[new], distances[new])
    if not np.isfinite(placed).all():
        raise EmbeddingError(
            "Some new rows could not be placed: their distances to the fitted rows are beyond "
            "what floating point holds. Check the units of X."
        )
    return placed


def _twins(
    problem: Problem,
    X: Any,
    X_new: Any,
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> NDArray[np.int64]:
    """Return, for each new row, the first fitted row equal to it among its neighbours, or -1."""
    twin = np.full(len(indices), -1, dtype=np.int64)
    for column in range(indices.shape[1] - 1, -1, -1):
        candidates = indices[:, column]
        if problem.metric == "precomputed":
            same = distances[:, column] == 0
        elif problem.is_sparse or hasattr(X_new, "tocsr"):
            difference = X[candidates] - X_new
            difference.eliminate_zeros()
            same = np.diff(difference.indptr) == 0
        else:
            same = (X[candidates] == X_new).all(axis=1)
        twin = np.where(same & ((twin < 0) | (candidates < twin)), candidates, twin)
    return twin


def _optimise(
    problem: Problem,
    embedding: NDArray[np.float32],
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> NDArray[np.float32]:
    import_with_passive_threads("openTSNE")
    from openTSNE import PartialTSNEEmbedding, TSNEEmbedding, initialization
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn
    from scipy.sparse import csr_matrix

    n_samples = problem.n_samples
    k = min(indices.shape[1], max(1, 3 * PLACEMENT_PERPLEXITY))
    P = joint_probabilities_nn(
        indices[:, :k],
        distances[:, :k],
        [min(PLACEMENT_PERPLEXITY, k)],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=n_samples,
        n_jobs=problem.n_threads,
    )
    # openTSNE centres its reference on its bounding box; the shift is undone at the end.
    middle = (embedding.max(axis=0) + embedding.min(axis=0)) / 2
    nothing = PrecomputedAffinities(csr_matrix((n_samples, n_samples)), normalize=False)
    reference = TSNEEmbedding(embedding - middle, nothing)
    use_grid = problem.n_components <= 2 and n_samples >= GRID_MIN_SAMPLES
    partial = PartialTSNEEmbedding(
        initialization.median(reference, indices),
        reference,
        P=csr_matrix(P),
        negative_gradient_method="fft" if use_grid else "bh",
        n_interpolation_points=3,
        min_num_intervals=50,
        ints_in_interval=1,
        dof=1,
        n_jobs=problem.n_threads,
    )
    partial.optimize(
        PLACEMENT_ITER,
        inplace=True,
        learning_rate=PLACEMENT_LEARNING_RATE,
        exaggeration=PLACEMENT_EXAGGERATION,
        momentum=0.8,
        max_grad_norm=PLACEMENT_MAX_GRADIENT,
        max_step_norm=None,
    )
    return np.asarray(partial + middle, dtype=np.float32)
