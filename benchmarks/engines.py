"""The engines that are compared, each fitted the one way that all benchmarks mean by its name.

What is measured of them is in ``harness``; which of them a benchmark runs, in the benchmark.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks.judging import perplexity

Result = tuple[NDArray[Any], dict[str, Any]]


def fit_ours(X: NDArray[Any], backend: str, seed: int = 0, max_iter: int | str = 1000) -> Any:
    """Fit our estimator by one backend."""
    from tsne_backends import ServerlessTSNE

    return ServerlessTSNE(
        backend=backend, max_iter=max_iter, random_state=seed, perplexity=perplexity(len(X))
    ).fit(X)


def fit_opentsne(X: NDArray[Any], seed: int = 0) -> Any:
    """Fit openTSNE with its defaults, 250 + 500 iterations, on every core."""
    import joblib
    import openTSNE

    return openTSNE.TSNE(
        random_state=seed, n_jobs=joblib.cpu_count(), perplexity=perplexity(len(X))
    ).fit(X)


def ours(X: NDArray[Any], backend: str, seed: int = 0, max_iter: int | str = 1000) -> Result:
    """Return our map, and what the estimator says of it."""
    tsne = fit_ours(X, backend, seed, max_iter)
    phases = {f"{name}_s": round(value, 2) for name, value in tsne.timings_.items()}
    told = {"iterations": tsne.n_iter_, "told_kl": round(tsne.kl_divergence_, 5)}
    return tsne.embedding_, {**told, **phases}


def opentsne(X: NDArray[Any], seed: int = 0) -> Result:
    """Return openTSNE's map."""
    return np.asarray(fit_opentsne(X, seed)), {"iterations": 750}


def scikit_learn(X: NDArray[Any], seed: int = 0, max_iter: int = 1000) -> Result:
    """Return the map of scikit-learn's ``TSNE``."""
    from sklearn.manifold import TSNE

    tsne = TSNE(random_state=seed, n_jobs=-1, max_iter=max_iter, perplexity=perplexity(len(X)))
    return tsne.fit_transform(X), {"iterations": max_iter}


def intelex(X: NDArray[Any], seed: int = 0) -> Result:
    """Return the map of scikit-learn-intelex."""
    from sklearnex.manifold import TSNE

    tsne = TSNE(random_state=seed, n_jobs=-1, perplexity=perplexity(len(X)))
    return tsne.fit_transform(X), {"iterations": 1000}


def manifolds(X: NDArray[Any], seed: int, approx: str) -> Result:
    """Return the map of manifolds-rs, by Barnes–Hut (``"barnes_hut"``) or FFT (``"fft_3k"``)."""
    from manifolds_rs import TSNE

    tsne = TSNE(perplexity=perplexity(len(X)), approx=approx, seed=seed)
    return np.asarray(tsne.fit_transform(X)), {"iterations": 1000}
