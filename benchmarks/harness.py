"""The one harness: a process per run, alternating order, quality measured outside the clock."""

from __future__ import annotations

import csv
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data

RESULTS = Path(__file__).parent / "results"


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
        done = subprocess.run(
            [sys.executable, "-m", "benchmarks.harness", module, json.dumps(job), target],
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise RuntimeError(f"The benchmark run {job} failed:\n{done.stderr[-2000:]}")
        return json.loads(done.stdout.splitlines()[-1]), np.load(target)


def _run_here(module: str, job: dict[str, Any], target: str) -> None:
    """Run one job in this process and print its facts; see `run_in_process`."""
    import importlib

    benchmark = importlib.import_module(module)
    if hasattr(benchmark, "SEEDED"):
        seeded = benchmark.SEEDED[job["engine"]]

        def engine(X: NDArray[Any]) -> Any:
            return seeded(X, job.get("seed", 0))
    else:
        engine = benchmark.ENGINES[job["engine"]]
    X = data.load(job["data"], job["n"], job.get("seed", 0))
    # Imports are not what is compared: a first, tiny fit pays for them.
    engine(data.load("digits", 120))
    before = _reset_peak_kib()
    start = time.perf_counter()
    embedding, facts = engine(X)
    seconds = time.perf_counter() - start
    peak = _peak_kib() - before
    np.save(target, embedding)
    print(json.dumps({"seconds": round(seconds, 3), "peak_mb": round(peak / 1024, 1), **facts}))


def _reset_peak_kib() -> int:
    """Start a new high-water mark of resident memory where the system can; return it, in KiB.

    Without this, Linux hands a child process its parent's high-water mark.
    """
    reset = Path("/proc/self/clear_refs")
    if reset.exists():
        reset.write_text("5")
    return _peak_kib()


def _peak_kib() -> int:
    status = Path("/proc/self/status")
    if status.exists():
        fields = dict(line.split(":", 1) for line in status.read_text().splitlines())
        return int(fields["VmHWM"].split()[0])
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def alternate(engines: Sequence[str], repeats: int) -> Iterable[tuple[int, str]]:
    """Yield (repeat, engine) as A B C, A B C, … so that a slow spell hits every engine."""
    for repeat in range(repeats):
        for engine in engines:
            yield repeat, engine


def machine() -> dict[str, Any]:
    """Describe where the figures were measured; no host name, no path."""
    import joblib
    import openTSNE
    import scipy
    import sklearn

    import tsne_backends
    from tsne_backends.machine import processor_name

    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"],
        capture_output=True,
        text=True,
        check=False,
        cwd=Path(__file__).parent,
    ).stdout.strip()
    return {
        "processor": processor_name(),
        "usable_cores": joblib.cpu_count(),
        "memory_gib": round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1),
        "system": platform.system(),
        "python": platform.python_version(),
        "numpy": np.__version__,
        "scipy": scipy.__version__,
        "scikit-learn": sklearn.__version__,
        "openTSNE": openTSNE.__version__,
        "serverless-tsne": tsne_backends.__version__,
        "commit": commit,
        "date": datetime.now(UTC).date().isoformat(),
        "note": "shared machine: compare figures only within one table",
    }


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write all rows so far, whole or not at all, so that a stopped benchmark keeps what it has."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an earlier run as text, none where there was none."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write_machine(path: Path, more: Mapping[str, str] | None = None) -> None:
    """Write the description of this machine beside the results, and what else there is to say."""
    path.write_text(json.dumps({**machine(), **(more or {})}, indent=2) + "\n", encoding="utf-8")


def medians(
    rows: Sequence[dict[str, Any]], by: Sequence[str], values: Sequence[str]
) -> list[dict[str, Any]]:
    """Group rows by some columns and take the median of others over the repeats."""
    groups: dict[tuple[Any, ...], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault(tuple(row[key] for key in by), []).append(row)
    return [
        dict(zip(by, key, strict=True))
        | {value: statistics.median(float(row[value]) for row in group) for value in values}
        | {"repeats": len(group)}
        for key, group in groups.items()
    ]


def markdown(rows: Sequence[dict[str, Any]]) -> str:
    """Render rows as a Markdown table."""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    _run_here(sys.argv[1], json.loads(sys.argv[2]), sys.argv[3])
