"""What a container does once, before its first call, so that no call has to wait for it.

It makes a tiny map of noise and forgets it; trouble is logged, never raised. ``modal_app`` says
when this happens, and calls are answered in ``service``.
"""

from __future__ import annotations

import logging

import numpy as np

from tsne_backends.problem import Problem
from tsne_backends.registry import list_backends, load_backend
from tsne_backends.run import Run

logger = logging.getLogger("tsne_backends")

#: A problem just large enough to run through every kernel: those of large data, too, if asked for.
WARM_ROWS, WARM_FEATURES, WARM_ITER = 1_600, 16, 250


def warm_up(engines: tuple[str, ...]) -> None:
    """Make one tiny map with the first engine that is available.

    Trouble is logged, not raised: the first call will say what is wrong in its answer, where a
    container that cannot start would be started again and again.
    """
    for name in engines:
        if name not in list_backends():
            continue
        try:
            engine = load_backend(name)
            if not engine.available().ok:
                continue
            large = {"neighbors": "approximate"} if "neighbors" in engine.options else {}
            problem = Problem(
                WARM_ROWS, WARM_FEATURES, max_iter=WARM_ITER, method="fft", options=large
            )
            X = np.random.default_rng(0).normal(size=(WARM_ROWS, WARM_FEATURES))
            engine.embed(problem, X.astype(np.float32), Run())
        except Exception as error:
            logger.warning("Warming up %s failed: %s: %s", name, type(error).__name__, error)
        return
