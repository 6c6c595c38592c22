"""The one harness: a process per run, alternating order, quality measured outside the clock.

A benchmark names its engines and says what it wants of them; its command line, the running, and
going on after a stop are here. Tables are in ``tables``.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data as data_sets
from benchmarks.tables import RESULTS, Results


def parser(
    description: str | None,
    *,
    sizes: Sequence[int] | None = None,
    data: Sequence[str] | None = None,
    repeats: int | None = None,
) -> argparse.ArgumentParser:
    """Return a parser with what every benchmark can be told, and what this one has besides.

    Parameters
    ----------
    description : str
        The benchmark's own.
    sizes : sequence of int, optional
        Default of ``--sizes``, in rows.
    data : sequence of str, optional
        Default of ``--data``.
    repeats : int, optional
        Default of ``--repeats``.
    """
    found = argparse.ArgumentParser(description=description)
    if sizes is not None:
        found.add_argument("--sizes", type=int, nargs="*", default=list(sizes), help="rows")
    if data is not None:
        found.add_argument("--data", nargs="+", default=list(data))
    if repeats is not None:
        found.add_argument("--repeats", type=int, default=repeats)
    found.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    found.add_argument("--quick", action="store_true", help="small; in files of their own")
    found.add_argument("--fresh", action="store_true", help="measure again what is there")
    return found


def parsed(parser: argparse.ArgumentParser, **quick: Any) -> argparse.Namespace:
    """Parse the command line; ``--quick`` sets the values given here."""
    options = parser.parse_args()
    if options.quick:
        vars(options).update(quick)
    return options


def results_of(name: str, options: argparse.Namespace) -> Results:
    """Return the table of a benchmark as its options ask for it."""
    return Results(name, options.out, quick=options.quick, fresh=options.fresh)


def measure(
    module: str,
    results: Results,
    jobs: Iterable[dict[str, Any]],
    judge: Callable[[dict[str, Any], NDArray[Any]], Mapping[str, Any]],
) -> None:
    """Run every job that has no row yet, each in a process of its own, and add what it took.

    Parameters
    ----------
    module : str
        See `run_in_process`.
    results : Results
        Grows.
    jobs : iterable of dict
        See `jobs_of`.
    judge : callable
        ``judge(job, embedding)`` returns more columns; its time does not count.
    """
    for job in jobs:
        if not results.knows(job):
            facts, embedding = run_in_process(module, job)
            results.add({**job, **facts, **judge(job, embedding)})


def jobs_of(
    engines: Sequence[str], name: str, n: int, repeats: int, counted_as: str = "repeat"
) -> Iterable[dict[str, Any]]:
    """Yield the jobs of one data set as A B C, A B C, … so that a slow spell hits every engine.

    Parameters
    ----------
    engines : sequence of str
    name : str
        Data set.
    n : int
        Rows.
    repeats : int
    counted_as : {"repeat", "seed"}
        A seed is other data and another start each time, a repeat the same again.
    """
    for repeat, engine in alternate(engines, repeats):
        yield {"engine": engine, "data": name, "n": n, counted_as: repeat}


def alternate(engines: Sequence[str], repeats: int) -> Iterable[tuple[int, str]]:
    """Yield (repeat, engine) as A B C, A B C, …"""
    for repeat in range(repeats):
        for engine in engines:
            yield repeat, engine


def run_in_process(module: str, job: dict[str, Any]) -> tuple[dict[str, Any], NDArray[Any]]:
    """Run one job in a fresh Python process.

    Parameters
    ----------
    module : str
        Module whose ``ENGINES[job["engine"]]`` is a function of X, or whose
        ``SEEDED[job["engine"]]`` is one of X and the seed, and returns ``(embedding, facts)``.
    job : dict
        ``engine``, ``data``, ``n`` and ``seed``.

    Returns
    -------
    facts : dict
        ``seconds`` and ``peak_mb`` (growth of resident memory during the fit), and what the engine
        adds.
    embedding : ndarray
    """
    with tempfile.TemporaryDirectory() as folder:
        target = os.path.join(folder, "embedding.npy")
        facts = facts_of("-m", "benchmarks.harness", module, json.dumps(job), target)
        return facts, np.load(target)


def facts_of(*arguments: str) -> dict[str, Any]:
    """Run Python with some arguments and return the JSON of the last line it prints.

    Raises
    ------
    RuntimeError
        It failed; the message has its last words.
    """
    command = [sys.executable, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"The run {' '.join(arguments)} failed:\n{done.stderr[-2000:]}")
    facts: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return facts


def _run_here(module: str, job: dict[str, Any], target: str) -> None:
    """Run one job in this process and print its facts; see `run_in_process`."""
    benchmark = importlib.import_module(module)
    if hasattr(benchmark, "SEEDED"):
        seeded = benchmark.SEEDED[job["engine"]]

        def engine(X: NDArray[Any]) -> Any:
            return seeded(X, job.get("seed", 0))
    else:
        engine = benchmark.ENGINES[job["engine"]]
    X = data_sets.load(job["data"], job["n"], job.get("seed", 0))
    # Imports are not what is compared: a first, tiny fit pays for them.
    engine(data_sets.load("digits", 120))
    before = reset_peak_kib()
    start = time.perf_counter()
    embedding, facts = engine(X)
    seconds = time.perf_counter() - start
    peak = peak_kib() - before
    np.save(target, embedding)
    print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(peak / 1024, 1), **facts}))


def reset_peak_kib() -> int:
    """Start a new high-water mark of resident memory where the system can; return it, in KiB.

    Without this, Linux hands a child process its parent's high-water mark.
    """
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return peak_kib()


def peak_kib() -> int:
    """Return the most memory this process has held, in KiB."""
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


if __name__ == "__main__":
    _run_here(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
