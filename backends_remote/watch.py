"""What is looked at while a job is waited for: the user's money, and whether a machine comes.

The waiting is in ``client``, which looks between two polls. A check that fails raises, and it is
``session`` that cancels the job then.
"""

from __future__ import annotations

import time
from collections.abc import Callable

from backends_remote.client import Client
from tsne_backends.errors import BackendError, CostLimitError, GpuUnavailableError

#: Seconds to wait for a machine of the kind asked for, its start included.
START_PATIENCE_SECONDS = 300.0


class Watch:
    """The clock of one session.

    Parameters
    ----------
    note : callable
        Told in words whether the job waits or runs.
    max_seconds : float or None
        Seconds that the user pays for, from now on.
    """

    def __init__(self, note: Callable[[str], None], max_seconds: float | None) -> None:
        self._note = note
        self._max_seconds = max_seconds
        self._began = time.monotonic()

    def between_polls(self, pool: Client, *, is_awake: bool) -> Callable[[], None]:
        """Return a check of the money, and of whether there is a machine to wait for.

        Parameters
        ----------
        pool : Client
            Of the containers that the call waits for; connected.
        is_awake : bool
            Whether a container has answered already.
        """
        began = time.monotonic()
        said = ""
        has_machine = is_awake

        def watch() -> None:
            nonlocal said, has_machine
            if self.is_out_of_money():
                raise too_dear()
            if has_machine:
                return
            try:
                stats = pool.stats()
            except (BackendError, TimeoutError):
                return  # the next poll will find out whether the connection is lost
            has_machine = stats.n_containers > 0 and not stats.n_waiting
            words = "running" if has_machine else "queued: no container is ready yet"
            if words != said:
                self._note(words)
                said = words
            if not stats.n_containers and time.monotonic() - began > START_PATIENCE_SECONDS:
                raise GpuUnavailableError(
                    f"No machine with a GPU of kind {pool.gpu} became free within "
                    f'{START_PATIENCE_SECONDS:.0f} s. Choose another "gpu" in backend_options.'
                )

        return watch

    def seconds_left(self) -> float | None:
        """Return the seconds that the user's money still pays for, since the first call."""
        if self._max_seconds is None:
            return None
        return max(0.0, self._max_seconds - (time.monotonic() - self._began))

    def is_out_of_money(self) -> bool:
        """Whether the user's money is used up."""
        left = self.seconds_left()
        return left is not None and left <= 0


def too_dear() -> CostLimitError:
    """Return the error for a run that the money did not suffice for."""
    return CostLimitError(
        "The run was ended, because it would have cost more than max_cost allows. Raise max_cost, "
        "or choose fewer iterations."
    )
