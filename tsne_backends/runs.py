"""What past runs took: one line per run in the user's cache folder, without any data.

Only sizes and seconds are kept. What they teach is worked out in ``learning``.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from tsne_backends import store
from tsne_backends.answers import ESTIMATED_PARTS
from tsne_backends.problem import Problem

FILE = "runs.jsonl"
#: Changes where the cost model's reference does: older lines are then no longer comparable.
MODEL_VERSION = 2
#: Lines at which the file is thinned, and what stays for each machine, way of running and size
#: (factors of 4 in rows): enough to see through a slow run, little enough to read in a millisecond.
THIN_AT, KEEP_PER_SIZE = 300, 12
#: Most lines that stay in all.
KEEP_IN_ALL = 200


@dataclass(frozen=True)
class PastRun:
    """One run and how it compared with the model.

    Attributes
    ----------
    label : str
        Backend and variant, ``"opentsne"`` or ``"modal:L4"``.
    machine : str
        `tsne_backends.machine.machine_id` of where it was started.
    kind : str
        What else decides how engines work; see `kind_of`. Runs of another kind tell nothing.
    n_samples, n_features, n_threads : int
        Size of the problem.
    seconds : mapping of str to float
        What each part of `Estimate` took.
    reference : mapping of str to float
        What the model gives for each part on the reference machine.
    ended_at : float
        Unix time in seconds.
    asked : str
        ``"auto"`` or the backend the user asked for.
    n_bytes : mapping of str to float
        Bytes sent (``"upload"``) and fetched (``"download"``).
    """

    label: str
    machine: str
    kind: str
    n_samples: int
    n_features: int
    n_threads: int
    seconds: Mapping[str, float]
    reference: Mapping[str, float]
    ended_at: float
    asked: str = "auto"
    n_bytes: Mapping[str, float] = field(default_factory=dict)
    version: int = MODEL_VERSION

    @property
    def backend(self) -> str:
        """The backend's name, without a variant."""
        return self.label.partition(":")[0]


def kind_of(problem: Problem) -> str:
    """Return metric, storage, method and dimensions of the map in one word.

    A metric in Python, say, may be a thousand times slower than what the model expects; that must
    not be taken for the speed of searching in general.
    """
    metric = problem.metric if isinstance(problem.metric, str) else "callable"
    storage = "sparse" if problem.is_sparse else "dense"
    return f"{metric}/{storage}/{problem.method}/{problem.n_components}"


_read: dict[str, tuple[Any, tuple[PastRun, ...]]] = {}


def past_runs() -> Sequence[PastRun]:
    """Return the remembered runs of every machine, oldest first; damaged ones are left out."""
    path = store.folder() / FILE
    try:
        status = path.stat()
        state = (status.st_mtime_ns, status.st_size)
    except OSError:
        state = None
    known = _read.get(str(path))
    if known is None or known[0] != state or state is None:
        found = (_parsed(entry) for entry in store.read_lines(FILE))
        runs = tuple(run for run in found if run is not None)
        _read[str(path)] = known = (state, runs)
    return known[1]


def remember(run: PastRun) -> None:
    """Add one run to the file."""
    store.append_line(FILE, asdict(run), THIN_AT, thinned)


def thinned(entries: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """Return the entries that stay: of every machine, label and size the newest few."""
    kept: list[Mapping[str, Any]] = []
    seen: dict[tuple[Any, ...], int] = {}
    for entry in reversed(entries):
        run = _parsed(entry)
        if run is None:
            continue
        kind = (run.machine, run.label, round(math.log(run.n_samples, 4)))
        seen[kind] = seen.get(kind, 0) + 1
        if seen[kind] <= KEEP_PER_SIZE:
            kept.append(entry)
    return kept[KEEP_IN_ALL - 1 :: -1]


def seconds_since_call(runs: Iterable[PastRun], now: float) -> dict[str, float]:
    """Return, for each label with a run, the seconds since its last one ended.

    Negative where the clock was set back since: readers take that for "not known".
    """
    last: dict[str, float] = {}
    for run in runs:
        last[run.label] = max(run.ended_at, last.get(run.label, -math.inf))
    return {label: now - ended_at for label, ended_at in last.items()}


def _parsed(entry: Mapping[str, Any]) -> PastRun | None:
    """Return the run in a line, or None where it is another version's or makes no sense."""
    if entry.get("version", MODEL_VERSION) != MODEL_VERSION:
        return None
    try:
        run = PastRun(**entry)
        numbers = [run.n_samples, run.n_features, run.n_threads]
        parts = [*run.seconds.items(), *run.reference.items()]
        sensible = (
            all(str(word) == word for word in (run.label, run.machine, run.kind, run.asked))
            and all(number == int(number) >= 1 for number in numbers)
            and all(part in ESTIMATED_PARTS and 0 <= value < math.inf for part, value in parts)
            and all(0 <= value < math.inf for value in run.n_bytes.values())
            and math.isfinite(run.ended_at)
        )
    except (TypeError, ValueError, OverflowError, AttributeError):
        sensible = False
    if not sensible:
        store.warn_once(f"{store.folder() / FILE} holds a line without sense, which is left out.")
        return None
    return run


def now() -> float:
    """Return the Unix time in seconds; one place, so that tests can set the clock."""
    return time.time()
