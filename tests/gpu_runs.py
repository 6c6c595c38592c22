"""Data, problems and fits that the tests of the GPU backend share."""

import numpy as np

from tsne_backends import Problem, ServerlessTSNE


def blobs(n=300, d=8, seed=0):
    rng = np.random.RandomState(seed)
    centres = 8 * rng.standard_normal((3, d))
    return (centres[np.arange(n) % 3] + rng.standard_normal((n, d))).astype(np.float32)


def fit(X=None, **changes):
    parameters = {"backend": "cuml", "random_state": 0, "max_iter": 300, **changes}
    return ServerlessTSNE(**parameters).fit(blobs() if X is None else X)


def sized(n, d=10, **changes):
    return Problem(n, d, n_bytes=4 * n * d, **changes)
