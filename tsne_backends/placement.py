"""Places new rows on a fitted map, whichever engine made it.

Each new point is attracted by its nearest fitted neighbours and repelled by the map; the map itself
does not move, and new points do not see one another. See Poličar, Stražar & Zupan, "Embedding to
reference t-SNE space addresses batch effects in single-cell classification" (2021). Our own kernels
do so on maps of one and two dimensions, openTSNE on few fitted rows and in three dimensions.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.errors import EmbeddingError
from tsne_backends.libraries import library_threads
from tsne_backends.machine import import_with_passive_threads
from tsne_backends.neighbors import is_plain, neighbors_of_new
from tsne_backends.problem import Problem
from tsne_backends.searches import unit_rows

# openTSNE's defaults for `TSNEEmbedding.transform`, which it chose so that points settle without
# shooting off: a low perplexity, few iterations, small steps, clipped gradients.
PLACEMENT_PERPLEXITY = 5
PLACEMENT_NEIGHBORS = 25
PLACEMENT_ITER = 250
PLACEMENT_EXAGGERATION = 1.5
PLACEMENT_LEARNING_RATE = 0.1  # openTSNE's units
PLACEMENT_MOMENTUM = 0.8
PLACEMENT_MAX_GRADIENT = 0.25

#: Fitted maps of fewer rows are placed on by Barnes–Hut, larger ones on a grid computed once.
GRID_MIN_SAMPLES = 1_000
#: Rows handled at once where each needs the places of all its neighbours.
BLOCK_ROWS = 10_000


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
    indices, distances, is_exact_zero = _nearest(problem, X, X_new, k)
    twin = np.full(len(indices), -1, dtype=np.int64)
    rows = np.flatnonzero(distances[:, 0] == 0) if is_exact_zero else np.arange(len(indices))
    twin[rows] = _twins(problem, X, X_new[rows], indices[rows], distances[rows])
    placed = embedding[np.maximum(twin, 0)].copy()
    new = twin < 0
    is_finite = bool(np.isfinite(distances).all())
    if new.any() and is_finite:
        placed[new] = _optimise(problem, embedding, indices[new], distances[new])
    if not (is_finite and np.isfinite(placed).all()):
        raise EmbeddingError(
            "Some new rows could not be placed: their distances to the fitted rows are beyond "
            "what floating point holds. Check the units of X."
        )
    return placed


def _nearest(
    problem: Problem, X: Any, X_new: Any, k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64], bool]:
    """Return the k nearest fitted rows, nearest first, and distances up to one common factor.

    Also whether equal rows are surely at the distance 0. For few new rows, looking at all fitted
    ones takes less than grouping them.
    """
    if is_plain(problem) and len(X_new) > math.sqrt(len(X)):
        found = _own_search(problem, X, X_new, k)
        if found is not None:
            return *found, True
    with library_threads(problem.n_threads):
        return *neighbors_of_new(problem, X, X_new, k), False


def _own_search(
    problem: Problem, X: NDArray[Any], X_new: NDArray[Any], k: int
) -> tuple[NDArray[np.int64], NDArray[np.float64]] | None:
    from tsne_backends.native.search import find_nearest
    from tsne_backends.native.threads import Team

    is_cosine = problem.metric == "cosine"
    if is_cosine:
        if not (X.any(axis=1).all() and X_new.any(axis=1).all()):
            return None  # rows without direction are as far from everything as can be
        X, X_new = unit_rows(X), unit_rows(X_new)
    with Team(problem.n_threads) as team:
        found = find_nearest(X, X_new, k, team)
    if found is None:
        return None
    indices, squared = found
    order = np.argsort(squared, axis=1, kind="stable")
    nearest = np.take_along_axis(squared, order, axis=1).astype(np.float64)
    # For unit vectors the cosine distance is half the squared one.
    distances = nearest if is_cosine else np.sqrt(nearest)
    return np.take_along_axis(indices, order, axis=1), distances


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
    k = min(indices.shape[1], max(1, 3 * PLACEMENT_PERPLEXITY))
    near = indices[:, :k], distances[:, :k]
    start = _medians(embedding, indices)
    if problem.n_components <= 2 and problem.n_samples >= GRID_MIN_SAMPLES:
        return _on_grid(problem, embedding, start, *near)
    return _by_opentsne(problem, embedding, start, *near)


def _medians(embedding: NDArray[np.float32], indices: NDArray[np.int64]) -> NDArray[np.float32]:
    """Return the middle of each row's neighbours on the map, axis by axis."""
    middles = np.empty((len(indices), embedding.shape[1]), dtype=np.float32)
    for first in range(0, len(indices), BLOCK_ROWS):
        rows = slice(first, first + BLOCK_ROWS)
        middles[rows] = np.median(embedding[indices[rows]], axis=1)
    return middles


def _on_grid(
    problem: Problem,
    embedding: NDArray[np.float32],
    start: NDArray[np.float32],
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> NDArray[np.float32]:
    from tsne_backends.native.perplexity import conditional_affinities
    from tsne_backends.native.placing import settle
    from tsne_backends.native.threads import Team

    # By each row's own farthest: what a bandwidth fits does not depend on the unit.
    farthest = np.maximum(distances[:, -1:], np.finfo(np.float64).tiny)
    squared = np.square(distances / farthest).astype(np.float32)
    perplexity = min(PLACEMENT_PERPLEXITY, indices.shape[1])
    with Team(problem.n_threads) as team:
        return settle(
            embedding,
            start,
            np.ascontiguousarray(indices),  # a kernel is compiled for each layout
            conditional_affinities(squared, perplexity, team),
            team,
            n_iter=PLACEMENT_ITER,
            exaggeration=PLACEMENT_EXAGGERATION,
            learning_rate=PLACEMENT_LEARNING_RATE,
            momentum=PLACEMENT_MOMENTUM,
            max_gradient=PLACEMENT_MAX_GRADIENT,
        )


def _by_opentsne(
    problem: Problem,
    embedding: NDArray[np.float32],
    start: NDArray[np.float32],
    indices: NDArray[np.int64],
    distances: NDArray[np.float64],
) -> NDArray[np.float32]:
    import_with_passive_threads("openTSNE")
    from openTSNE import PartialTSNEEmbedding, TSNEEmbedding
    from openTSNE.affinity import PrecomputedAffinities, joint_probabilities_nn
    from scipy.sparse import csr_matrix

    n_samples = problem.n_samples
    # Among few rows, threads wait for one another longer than they work; where a library has them
    # spin, on a busy machine ten times as long.
    are_few = n_samples < GRID_MIN_SAMPLES and len(start) < BLOCK_ROWS
    n_threads = 1 if are_few else problem.n_threads
    P = joint_probabilities_nn(
        indices,
        distances,
        [min(PLACEMENT_PERPLEXITY, indices.shape[1])],
        symmetrize=False,
        normalization="point-wise",
        n_reference_samples=n_samples,
        n_jobs=n_threads,
    )
    # openTSNE centres its reference on its bounding box; the shift is undone at the end.
    middle = (embedding.max(axis=0) + embedding.min(axis=0)) / 2
    nothing = PrecomputedAffinities(csr_matrix((n_samples, n_samples)), normalize=False)
    reference = TSNEEmbedding(embedding - middle, nothing)
    partial = PartialTSNEEmbedding(
        (start - middle).astype(np.float64),
        reference,
        P=csr_matrix(P),
        negative_gradient_method="bh",
        dof=1,
        n_jobs=n_threads,
    )
    partial.optimize(
        PLACEMENT_ITER,
        inplace=True,
        learning_rate=PLACEMENT_LEARNING_RATE,
        exaggeration=PLACEMENT_EXAGGERATION,
        momentum=PLACEMENT_MOMENTUM,
        max_grad_norm=PLACEMENT_MAX_GRADIENT,
        max_step_norm=None,
    )
    return np.asarray(partial + middle, dtype=np.float32)
