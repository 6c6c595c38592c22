"""How callers watch a run: plain functions, and scikit-learn's own protocol where it has one.

Both are turned into functions for `Run`, which calls them; what is shown on a screen without any
callback is in ``display``.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from tsne_backends.problem import Phase
from tsne_backends.run import REPORT_EVERY, Callback

Method = TypeVar("Method", bound=Callable[..., Any])

if TYPE_CHECKING:

    class CallbackSupportMixin:
        """scikit-learn's mixin, as far as we use it."""

        def _init_callback_context(self, **kwargs: Any) -> Any: ...

    def with_callbacks(method: Method) -> Method:
        """scikit-learn's decorator, which tears callbacks down after ``fit``."""
        return method

    HAS_PROTOCOL = True
else:
    try:  # scikit-learn 1.9 and newer
        from sklearn.callback import CallbackSupportMixin, with_callbacks

        HAS_PROTOCOL = True
    except ImportError:
        HAS_PROTOCOL = False

        class CallbackSupportMixin:
            """Stands in where the installed scikit-learn has no callbacks."""

        def with_callbacks(method):
            """Return the method as it is: there is nothing to tear down."""
            return method


def check_callbacks(callbacks: Any) -> list[Callback]:
    """Return the user's callbacks as a list.

    Raises
    ------
    TypeError
        Something in it cannot be called.
    """
    if callbacks is None:
        return []
    single = callable(callbacks) or not isinstance(callbacks, Iterable)
    listed = [callbacks] if single else list(callbacks)
    for callback in listed:
        if not callable(callback):
            raise TypeError(
                "callbacks must be a function (iteration, kl, embedding) -> bool or a list of "
                f"them; got {callback!r}."
            )
    return listed


def protocol_callback(
    estimator: Any, X: Any, phases: Sequence[Phase]
) -> tuple[list[Callback], Any]:
    """Connect the callbacks set by ``estimator.set_callbacks`` to a run.

    Each report of the optimisation (every 50 iterations) is one subtask of the fit.

    Parameters
    ----------
    estimator : ServerlessTSNE
    X : ndarray, cupy.ndarray or CSR matrix of shape (n_samples, n_features)
        What the callbacks are told the estimator is fitted to.
    phases : sequence of Phase
        The schedule, which says how many reports there will be.

    Returns
    -------
    callbacks : list of callable
        Empty where scikit-learn has no callback protocol, or nobody has set a callback by it: an
        engine may run differently where it is watched.
    context : sklearn.callback.CallbackContext or None
        To be closed by its ``call_on_fit_task_end`` when the fit is over.
    """
    if not HAS_PROTOCOL:
        return [], None
    reports = sum(phase.n_iter // REPORT_EVERY for phase in phases)
    context = estimator._init_callback_context(max_subtasks=reports)
    context.call_on_fit_task_begin(estimator=estimator, X=X)

    n_told = 0

    def report(iteration: int, kl: float, embedding: np.ndarray) -> bool:
        nonlocal n_told
        n_told += 1
        if n_told > reports:  # a backend with a longer schedule has taken the chosen one's place
            context.max_subtasks = None
        task = context.subcontext(task_name="iterations")
        task.call_on_fit_task_begin(estimator=estimator, X=X)
        stop = task.call_on_fit_task_end(
            estimator=estimator,
            X=X,
            metadata={"iteration": iteration, "kl_divergence": kl},
            reconstruction_attributes=lambda: {
                "embedding_": np.array(embedding, dtype=np.float32),
                "kl_divergence_": kl,
                "n_iter_": iteration,
            },
        )
        return bool(stop)

    is_watched = bool(getattr(estimator, "_skl_callbacks", []))
    return [report] if is_watched else [], context
