"""scikit-learn's two rules for ending the optimisation early, for engines that lack them.

Here it is decided whether to stop; engines ask. That a callback wants to stop is told by `Run`.
"""

from __future__ import annotations

import math


class ProgressCheck:
    """Decides, every 50 iterations, whether one phase of the optimisation has run its course.

    The rules are those of ``sklearn.manifold.TSNE``: stop where the KL divergence has not improved
    for ``n_iter_without_progress`` iterations, or where the norm of the gradient (in scikit-learn's
    units, gains included) is at most ``min_grad_norm``.

    Parameters
    ----------
    n_iter_without_progress : int or None
        None never stops for lack of progress, as in scikit-learn's early exaggeration.
    min_grad_norm : float
        Gradient norm at which to stop.
    """

    def __init__(self, n_iter_without_progress: int | None, min_grad_norm: float) -> None:
        self._patience = math.inf if n_iter_without_progress is None else n_iter_without_progress
        self._min_grad_norm = min_grad_norm
        self._best_kl = math.inf
        self._best_iteration = 0

    def finished(self, iteration: int, kl: float, gradient_norm: float) -> bool:
        """Return True where the optimisation should end at ``iteration``."""
        if kl < self._best_kl:
            self._best_kl, self._best_iteration = kl, iteration
        elif iteration - self._best_iteration > self._patience:
            return True
        return gradient_norm <= self._min_grad_norm
