"""Principal components on the GPU, for initial positions that are the same as the processor's.

How components become positions is in `tsne_backends.initialization`. Its own components are taken
where X is sparse or has very many features.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.gpu.arrays import blocks, dense_on_gpu, on_host
from tsne_backends.initialization import principal_components

#: Features up to which the covariance matrix is decomposed; beyond, and for sparse rows,
#: scikit-learn's truncated solvers are quicker.
COVARIANCE_FEATURES = 2_000


def components_on_gpu(X: Any, n_components: int, seed: int) -> tuple[NDArray[np.float64], float]:
    """Return the leading principal components of X, and the largest absolute mean of a feature.

    Parameters
    ----------
    X : ndarray, cupy.ndarray or CSR matrix of shape (n_samples, n_features)
    n_components : int
    seed : int
        For scikit-learn's solvers; the covariance matrix needs none.

    Returns
    -------
    scores : ndarray of shape (n_samples, at most n_components), float64
        Signs as scikit-learn chooses them: the largest weight of a component is positive.
    largest_mean : float
    """
    if hasattr(X, "tocsr") or X.shape[1] > COVARIANCE_FEATURES:
        return principal_components(on_host(X), n_components, seed)
    import cupy

    X = dense_on_gpu(X)
    n_components = min(n_components, *X.shape)
    mean = X.mean(axis=0, dtype=cupy.float64)
    covariance = cupy.zeros((X.shape[1], X.shape[1]), dtype=cupy.float64)
    # Products of single precision within a block, their sum in double.
    pieces = blocks(len(X), 2 * X.shape[1])
    for rows in pieces:
        centred = (X[rows] - mean[None, :]).astype(cupy.float32)
        covariance += centred.T @ centred
    _, vectors = cupy.linalg.eigh(covariance)
    leading = vectors[:, ::-1][:, :n_components]
    largest = cupy.take_along_axis(leading, cupy.abs(leading).argmax(axis=0)[None, :], axis=0)
    leading = leading * cupy.sign(largest)
    scores = [on_host((X[rows] - mean[None, :]) @ leading) for rows in pieces]
    return np.concatenate(scores).astype(np.float64), float(cupy.abs(mean).max())
