"""How progress is shown: a live bar where someone watches, plain lines on request, else nothing."""

from __future__ import annotations

import multiprocessing
import sys
import threading
from typing import Any


class Display:
    """What a `Run` tells about itself; the base class shows nothing."""

    def phase(self, name: str) -> None:
        """A phase of the computation begins."""

    def note(self, sentence: str) -> None:
        """Something happened within a phase."""

    def step(self, iteration: int) -> None:
        """An iteration begins."""

    def report(self, iteration: int, kl: float) -> None:
        """The KL divergence was evaluated."""

    def close(self) -> None:
        """The computation is over, well or badly."""


SilentDisplay = Display


class LineDisplay(Display):
    """One plain line per phase and per 50 iterations, for logs and pipes."""

    def phase(self, name: str) -> None:
        """Print the phase."""
        print(f"[t-SNE] {name}", flush=True)

    def note(self, sentence: str) -> None:
        """Print the sentence."""
        print(f"[t-SNE] {sentence}", flush=True)

    def report(self, iteration: int, kl: float) -> None:
        """Print iteration and KL divergence."""
        print(f"[t-SNE] iteration {iteration}: KL divergence {kl:.4f}", flush=True)


class BarDisplay(Display):
    """A live bar in a terminal or notebook, drawn by rich and removed at the end."""

    def __init__(self, n_iter: int) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

        self._progress = Progress(
            TextColumn("t-SNE {task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f}/{task.total:.0f}{task.fields[kl]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True),
            transient=True,
        )
        self._task = self._progress.add_task("starting", total=n_iter, kl="")
        self._progress.start()

    def phase(self, name: str) -> None:
        """Name the phase beside the bar."""
        self._progress.update(self._task, description=name)

    def note(self, sentence: str) -> None:
        """Show the sentence beside the bar, in place of the phase."""
        self._progress.update(self._task, description=sentence)

    def step(self, iteration: int) -> None:
        """Move the bar."""
        self._progress.update(self._task, completed=iteration)

    def report(self, iteration: int, kl: float) -> None:
        """Show the KL divergence beside the bar."""
        self._progress.update(self._task, kl=f", KL {kl:.3f}")

    def close(self) -> None:
        """Remove the bar and give the terminal back."""
        self._progress.stop()


def choose_display(verbose: int, n_iter: int) -> Display:
    """Return the display that fits the place the program runs in.

    Parameters
    ----------
    verbose : int
        scikit-learn's ``verbose``; 1 or more shows progress even where nobody seems to watch.
    n_iter : int
        Iterations the run may take.

    Returns
    -------
    Display
        A live bar in a terminal or a notebook; lines where ``verbose`` is set but the output is
        a file or a pipe; silence elsewhere, in worker processes and in threads.
    """
    in_worker = (
        multiprocessing.parent_process() is not None
        or threading.current_thread() is not threading.main_thread()
    )
    if not in_worker and (sys.stderr.isatty() or _in_notebook()):
        return BarDisplay(n_iter)
    return LineDisplay() if verbose else SilentDisplay()


def _in_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    return type(shell).__name__ == "ZMQInteractiveShell"
