"""Initial positions, the same for every engine that lets us choose them.

Here X, or the user's array, becomes a start; checking that array is the business of ``validation``,
and principal components on a GPU are in ``gpu.start``.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.cache import Cache
from tsne_backends.problem import Problem

#: Standard deviation of the first axis at the start; scikit-learn's and openTSNE's value.
INITIAL_STD = 1e-4

#: Share of `INITIAL_STD` added as noise, so that duplicated rows do not start (and stay) on one
#: spot; openTSNE's value.
JITTER = 0.01


#: Returns the leading components of X, of shape (n_samples, at most n_components), and the largest
#: absolute mean of a feature.
Components = Callable[[Any, int, int], tuple[NDArray[np.float64], float]]


def principal_components(X: Any, n_components: int, seed: int) -> tuple[NDArray[np.float64], float]:
    """Return X's leading components by scikit-learn, and the largest absolute mean of a feature."""
    from sklearn.decomposition import PCA

    n_components = min(n_components, *X.shape)
    if hasattr(X, "tocsr") and n_components == min(X.shape):
        # The sparse solver wants fewer components than this; X is then tiny or thin.
        X = X.toarray()
    pca = PCA(n_components=n_components, random_state=seed).set_output(transform="default")
    with np.errstate(invalid="ignore", divide="ignore"):  # PCA divides by zero on constant data
        scores = np.asarray(pca.fit_transform(X), dtype=np.float64)
    return scores, float(np.abs(pca.mean_).max())


def initial_positions(
    problem: Problem,
    X: Any,
    given: NDArray[Any] | None = None,
    components: Components = principal_components,
    cache: Cache | None = None,
) -> NDArray[np.float64]:
    """Return where the points start.

    Parameters
    ----------
    problem : Problem
        ``init`` says how: ``"pca"``, ``"random"`` or ``"array"``.
    X : ndarray or sparse matrix of shape (n_samples, n_features)
        The data; used by ``"pca"`` only.
    given : ndarray of shape (n_samples, n_components), optional
        The user's array, used exactly as given.
    components : callable, optional
        ``components(X, n_components, seed)`` returns the leading components of X and the largest
        absolute mean of a feature; for engines that have a quicker way to them.
    cache : Cache, optional
        Where the components are looked up first.

    Returns
    -------
    ndarray of shape (n_samples, n_components), float64, C order
        ``"pca"``: leading principal components, the first axis scaled to a standard deviation of
        1e-4. Components that the data cannot supply (one feature, constant columns) are filled
        with noise of the same kind as ``"random"``: normal, standard deviation 1e-4.
    """
    shape = (problem.n_samples, problem.n_components)
    if given is not None:
        return np.array(given, dtype=np.float64, order="C")
    rng = np.random.RandomState(problem.seed)
    noise = INITIAL_STD * rng.standard_normal(size=shape)
    # Single precision here, as in scikit-learn, so that "random" starts from the same numbers.
    noise = noise.astype(np.float32).astype(np.float64)
    if problem.init == "random":
        return noise
    way = (components.__qualname__, problem.n_components, problem.seed)
    scores, largest_mean = (cache or Cache()).components(X, way, lambda: components(X, *way[1:]))
    return _scaled(scores, np.finfo(X.dtype).eps * largest_mean, noise)


def _scaled(
    scores: NDArray[np.float64], rounding: float, noise: NDArray[np.float64]
) -> NDArray[np.float64]:
    spread = scores.std(axis=0)
    # Below this, an axis holds rounding errors of X rather than information.
    informative = spread > 10 * max(rounding, 1e-300)
    if not (np.isfinite(spread).all() and informative[0]):
        return noise
    positions = JITTER * noise
    scores = scores * (INITIAL_STD / spread[0])
    for axis in range(noise.shape[1]):
        known = axis < scores.shape[1] and informative[axis]
        positions[:, axis] += scores[:, axis] if known else noise[:, axis]
    return positions
