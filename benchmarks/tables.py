"""Tables of results: a CSV that grows row by row, what it comes to, and where it was measured.

How runs are made is in ``harness``; how good their maps are, in ``judging``.
"""

from __future__ import annotations

import csv
import json
import os
import platform
import statistics
import subprocess
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

RESULTS = Path(__file__).parent / "results"


class Results:
    """The files of one benchmark: rows, summary, and the machine.

    Parameters
    ----------
    name : str
        Name of the files, without their ending.
    folder : Path, default=RESULTS
    quick : bool, default=False
        Whether this is a quick run, whose files have names of their own and begin anew.
    fresh : bool, default=False
        Whether to begin anew; otherwise rows that are there already are not measured again.

    Attributes
    ----------
    rows : list of dict
        All rows so far, those of earlier runs included.
    """

    def __init__(
        self, name: str, folder: Path = RESULTS, *, quick: bool = False, fresh: bool = False
    ) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self.path = folder / f"{name}{'-quick' if quick else ''}.csv"
        self.rows = [] if quick or fresh else read_rows(self.path)
        self._earlier = _commits_of(self.path.with_suffix(".json")) if self.rows else []
        self._grew = False

    def knows(self, job: Mapping[str, Any]) -> bool:
        """Say whether a row has all values of a job."""
        return any(all(row.get(key) == value for key, value in job.items()) for row in self.rows)

    def add(self, row: dict[str, Any]) -> None:
        """Print a row, and write all rows so far: a stopped benchmark keeps what it has."""
        self._grew = True
        self.rows.append(row)
        print(row, flush=True)
        write_rows(self.path, self.rows)

    def finish(self, *parts: str, more: Mapping[str, str] | None = None) -> None:
        """Write the summary, of tables and text, and the machine; print the summary."""
        summary = "\n".join(part for part in parts if part)
        self.path.with_suffix(".md").write_text(summary, encoding="utf-8")
        described = {**machine(), **(more or {})}
        if self._earlier:
            now = [described["commit"]] if self._grew else []
            described["commit"] = ", ".join(dict.fromkeys([*self._earlier, *now]))
        text = json.dumps(described, indent=2)
        self.path.with_suffix(".json").write_text(text + "\n", encoding="utf-8")
        print(summary)


def write_rows(path: Path, rows: Sequence[dict[str, Any]]) -> None:
    """Write rows as CSV, whole or not at all."""
    columns = list(dict.fromkeys(key for row in rows for key in row))
    unfinished = path.with_suffix(".unfinished")
    with unfinished.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    unfinished.replace(path)


def read_rows(path: Path) -> list[dict[str, Any]]:
    """Return the rows of an earlier run, none where there was none; whole numbers are int."""
    if not path.exists():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return [
            {key: int(value) if value.isdigit() else value for key, value in row.items()}
            for row in csv.DictReader(file)
        ]


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
    """Render rows as a Markdown table; nothing where there are none."""
    if not rows:
        return ""
    columns = list(rows[0])
    lines = ["| " + " | ".join(columns) + " |", "|" + "---|" * len(columns)]
    lines += ["| " + " | ".join(str(row[column]) for column in columns) + " |" for row in rows]
    return "\n".join(lines) + "\n"


def _commits_of(description: Path) -> list[str]:
    """Return the commits at which rows of a table were measured, as its description has them."""
    if not description.exists():
        return []
    commits: str = json.loads(description.read_text(encoding="utf-8"))["commit"]
    return commits.split(", ")


def machine() -> dict[str, Any]:
    """Describe where the figures were measured; no host name, no path."""
    import joblib
    import numpy as np
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
