"""Measures this machine with real runs of every local engine, within a limit of seconds.

The runs are remembered like any other; `tsne_backends.learning` makes use of them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass

from tsne_backends.errors import (
    BackendUnavailableError,
    ConfigurationError,
    UnsupportedProblemError,
)
from tsne_backends.estimator import ServerlessTSNE
from tsne_backends.probe import measure_and_store
from tsne_backends.registry import load_backends
from tsne_backends.settings import read_settings

#: Rows and features of the runs, in this order: small ones first, so that a slow machine ends with
#: something; few and many features; sizes at which engines change their ways.
SIZES = ((1_000, 10), (4_000, 50), (10_000, 10), (4_000, 500), (20_000, 50))
#: Iterations of each run: enough for a map as wide as maps become.
ITERATIONS = 500


@dataclass(frozen=True)
class CalibrationRun:
    """One run: what it was, what was expected, what it took.

    Attributes
    ----------
    label : str
        Name of the engine.
    n_samples, n_features : int
        Shape of its data.
    expected, seconds : float
        Seconds that were expected, and those that it took.
    """

    label: str
    n_samples: int
    n_features: int
    expected: float
    seconds: float


def calibrate(seconds: float = 60.0) -> Iterator[CalibrationRun]:
    """Probe this machine anew, then run every local engine on data of several sizes.

    Parameters
    ----------
    seconds : float, default=60.0
        Runs that should not end within this time are left out; one that overruns it is stopped
        and counts with the iterations it made.

    Yields
    ------
    CalibrationRun

    Raises
    ------
    ConfigurationError
        ``remember`` is switched off: nothing would be kept.
    """
    from sklearn.datasets import make_blobs

    settings = read_settings({})
    if not settings.remember:
        raise ConfigurationError(
            "Calibration would be forgotten: remember is switched off by "
            f"{settings.source('remember')}. Switch it on first."
        )
    deadline = time.perf_counter() + seconds
    measure_and_store()
    engines = [
        name
        for name, backend in load_backends().items()
        if not backend.remote and backend.available().ok
    ]

    def too_late(*_: object) -> bool:
        return time.perf_counter() > deadline

    for n_samples, n_features in SIZES:
        X, _ = make_blobs(n_samples, n_features, centers=30, random_state=0)
        X = X.astype("float32")
        for name in engines:
            tsne = ServerlessTSNE(
                backend=name, max_iter=ITERATIONS, random_state=0, callbacks=too_late
            )
            try:
                expected = tsne.plan(X).candidates[0].total
                if time.perf_counter() + expected > deadline:
                    continue
                tsne.fit(X)
            except (UnsupportedProblemError, BackendUnavailableError):
                continue  # an engine for small data, say, or one that does not start after all
            took = tsne.timings_["total"]
            yield CalibrationRun(name, n_samples, n_features, expected, took)
