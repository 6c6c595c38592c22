"""How progress is shown: a live bar where someone watches, plain lines on request, else nothing.

What there is to tell comes from ``run``.
"""

from __future__ import annotations

import html
import multiprocessing
import sys
import threading
import time
from typing import Any

#: Seconds between two changes of a bar in a notebook: each is a message to the browser.
REDRAW_SECONDS = 0.1


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
    """A live bar in a terminal, drawn by rich and removed at the end."""

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


class NotebookDisplay(Display):
    """A live bar in a notebook, drawn by the browser and removed at the end.

    Needs IPython only, which every notebook has; rich would need ipywidgets.
    """

    def __init__(self, n_iter: int) -> None:
        from IPython.display import display

        self._n_iter = n_iter
        self._iteration = 0
        self._words, self._kl = "starting", ""
        self._drawn_at = time.monotonic()
        self._handle = display(self._content(), raw=True, display_id=True)

    def phase(self, name: str) -> None:
        """Name the phase beside the bar."""
        self._words = name
        self._draw()

    def note(self, sentence: str) -> None:
        """Show the sentence beside the bar, in place of the phase."""
        self.phase(sentence)

    def step(self, iteration: int) -> None:
        """Move the bar, if it was not moved just now."""
        self._iteration = iteration
        if time.monotonic() - self._drawn_at >= REDRAW_SECONDS:
            self._draw()

    def report(self, iteration: int, kl: float) -> None:
        """Show the KL divergence beside the bar, with its next move."""
        self._kl = f", KL {kl:.3f}"

    def close(self) -> None:
        """Remove the bar."""
        self._handle.update({"text/plain": "", "text/html": ""}, raw=True)

    def _draw(self) -> None:
        self._drawn_at = time.monotonic()
        self._handle.update(self._content(), raw=True)

    def _content(self) -> dict[str, str]:
        words = f"t-SNE {self._words}: {self._iteration}/{self._n_iter}{self._kl}"
        bar = f'<progress value="{self._iteration}" max="{self._n_iter}"></progress>'
        return {"text/plain": words, "text/html": f"<div>{bar} {html.escape(words)}</div>"}


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
    if not in_worker and _in_notebook():
        return NotebookDisplay(n_iter)
    if not in_worker and sys.stderr.isatty():
        return BarDisplay(n_iter)
    return LineDisplay() if verbose else SilentDisplay()


def _in_notebook() -> bool:
    ipython: Any = sys.modules.get("IPython")
    shell = ipython.get_ipython() if ipython is not None else None
    # Colab's shell is a class derived from Jupyter's.
    return "ZMQInteractiveShell" in {kind.__name__ for kind in type(shell).__mro__}
