"""`Run`: what accompanies one computation — timing, progress, callbacks, cache, initial positions.

Engines report here and nowhere else; how the report is shown is the business of ``display``.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends.cache import Cache
from tsne_backends.display import Display, SilentDisplay

#: Iterations between evaluations of the KL divergence: scikit-learn's interval.
REPORT_EVERY = 50

Callback = Callable[[int, float, NDArray[Any]], object]


class Run:
    """The companion of one call to `Backend.embed`.

    Parameters
    ----------
    callbacks : sequence of callable
        ``callback(iteration, kl, embedding)``, every 50 iterations; a true result ends the
        optimisation and keeps the map so far.
    display : Display
        Shows phase, iteration and KL divergence.
    cache : Cache or None
        Where the neighbours graph and principal components may come from; None keeps nothing.
    initial : ndarray of shape (n_samples, n_components) or None
        Initial positions where the user gave an array.
    max_cost : float or None
        US dollars the run may cost at most.

    Attributes
    ----------
    timings : dict of str to float
        Seconds per phase, filled by `phase`.
    n_bytes : dict of str to float
        Bytes sent (``"upload"``) and fetched (``"download"``), filled by remote engines; with the
        seconds of the phases of these names they tell the speed of the connection.
    transfer : dict
        What remote engines sent: ``codec``, ``n_bytes``, and as ``loss`` the measured share of
        neighbours that encoding changed.
    callback_seconds : float
        Seconds spent in the callbacks.
    """

    def __init__(
        self,
        callbacks: Sequence[Callback] = (),
        display: Display | None = None,
        cache: Cache | None = None,
        initial: NDArray[Any] | None = None,
        max_cost: float | None = None,
    ) -> None:
        self.callbacks = callbacks
        self.display = display or SilentDisplay()
        self.cache = cache or Cache()
        self.initial = initial
        self.max_cost = max_cost
        self.timings: dict[str, float] = {}
        self.n_bytes: dict[str, float] = {}
        self.transfer: dict[str, Any] = {}
        self.callback_seconds = 0.0

    def start_over(self) -> None:
        """Forget what was measured: a backend did not start, and another takes its place."""
        self.timings.clear()
        self.n_bytes.clear()
        self.transfer.clear()
        self.callback_seconds = 0.0

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Time the enclosed work.

        Parameters
        ----------
        name : str
            What the work is called in `timings`, in seconds; the times of repeated names add up.
        """
        self.display.phase(name)
        start = time.perf_counter()
        try:
            yield
        finally:
            seconds = time.perf_counter() - start
            self.timings[name] = self.timings.get(name, 0.0) + seconds

    def note(self, sentence: str) -> None:
        """Tell how far a phase is that has no iterations: a transfer, say.

        Parameters
        ----------
        sentence : str
            Shown to the user in place of the phase's name.
        """
        self.display.note(sentence)

    def step(self, iteration: int) -> None:
        """Tell that an iteration has begun.

        Parameters
        ----------
        iteration : int
            From 1, over all phases.
        """
        self.display.step(iteration)

    def report(self, iteration: int, kl: float, embedding: NDArray[Any]) -> bool:
        """Hand the state to display and callbacks.

        Parameters
        ----------
        iteration : int
            Iterations run so far, over all phases.
        kl : float
            KL divergence without exaggeration.
        embedding : ndarray of shape (n_samples, n_components)
            Current positions. Callbacks see a read-only view, valid only during the call.

        Returns
        -------
        bool
            True where a callback asks to stop here.
        """
        self.display.report(iteration, kl)
        view = np.asarray(embedding).view()
        view.flags.writeable = False
        start = time.perf_counter()
        # Every callback hears of every report, even after one has asked to stop.
        answers = [bool(callback(iteration, float(kl), view)) for callback in self.callbacks]
        self.callback_seconds += time.perf_counter() - start
        return any(answers)
