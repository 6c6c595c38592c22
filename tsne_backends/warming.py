"""Tiny maps that make an engine load and compile what a first run would wait for."""

from __future__ import annotations

import warnings

import numpy as np

from tsne_backends.backend import Backend
from tsne_backends.errors import MapQualityWarning
from tsne_backends.problem import Problem
from tsne_backends.run import Run

#: A problem just large enough to run through every kernel: those of large data, too, if asked for.
WARM_ROWS, WARM_FEATURES, WARM_ITER = 1_600, 16, 250


def warm_up(backend: Backend) -> None:
    """Make maps of noise, of every kind that an engine has kernels for, and forget them.

    Parameters
    ----------
    backend : Backend
        One that is available; what it raises, this raises.
    """
    X = np.random.default_rng(0).normal(size=(WARM_ROWS, WARM_FEATURES)).astype(np.float32)
    # Few rows, and as many as if they were too many for either.
    for search, method in (("exact", "auto"), ("approximate", "fft")):
        options = {"neighbors": search} if "neighbors" in backend.options else {}
        problem = Problem(
            WARM_ROWS, WARM_FEATURES, max_iter=WARM_ITER, method=method, options=options
        )
        with warnings.catch_warnings():
            # Of noise, after early exaggeration alone, no map is to be seen.
            warnings.simplefilter("ignore", MapQualityWarning)
            backend.embed(problem, X, Run())
