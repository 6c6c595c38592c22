"""The GPU backend on a GPU of this machine: seconds by phase, memory and quality.

Run ``python -m benchmarks.gpu``; ``--quick`` ends in about a minute. Without a GPU it says what is
missing and measures nothing. All runs are made by one process, because libraries that are loaded
and kernels that are compiled are what a second map finds; what the first one waits for is measured
by itself. With ``--maps FOLDER`` maps are kept there, and ``--judge FOLDER`` judges them on any
machine: that takes longer than the maps, and GPUs are paid by the second.
"""

from __future__ import annotations

import argparse
import importlib
import json
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness
from benchmarks.judging import perplexity, quality
from benchmarks.tables import Results, markdown, medians, write_rows
from tsne_backends.gpu.hardware import gpu_verdict, installed_release, visible_gpus
from tsne_backends.registry import load_backend
from tsne_backends.warming import warm_up

#: Rows, and rows times features, up to which maps are judged with exact neighbours of all rows,
#: which the processor finds in some minutes.
JUDGED_ROWS, JUDGED_ENTRIES = 250_000, 50_000_000
#: Rows of the map that loads and compiles what others need: more than are summed pair by pair.
WARM_ROWS = 9_000
#: Data sets by number of features.
DATA = {10: "mixture10", 48: "patches48", 768: "patches768"}


def _fit(X: NDArray[Any], **changes: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    peak = PeakMemory()
    given = {"random_state": 0, "perplexity": perplexity(len(X)), **changes}
    with peak:
        start = time.perf_counter()
        tsne = ServerlessTSNE(**given).fit(X)
        seconds = time.perf_counter() - start
    phases = {f"{name}_s": round(seconds, 3) for name, seconds in tsne.timings_.items()}
    return tsne.embedding_, {
        "seconds": round(seconds, 3),
        "iterations": tsne.n_iter_,
        "search": tsne.details_.get("neighbours", ""),
        "gpu_peak_mb": peak.megabytes,
        **phases,
    }


def _on_gpu(**options: Any) -> Any:
    return lambda X: _fit(X, backend="cuml", backend_options=options)


#: Ours; with cuML's own iterations but for the last; all cuML's; all pairs compared; and the
#: processor, with all cores of this machine.
ENGINES = {
    "ours": _on_gpu(),
    "ours, brute force": _on_gpu(neighbors="exact"),
    "cuML, last 250 ours": _on_gpu(refine=250),
    "cuML": _on_gpu(refine=0),
    "native": lambda X: _fit(X, backend="native"),
    "openTSNE": lambda X: _fit(X, backend="opentsne"),
}


def main() -> None:
    """Run every engine at every size, and write table and plot."""
    parser = harness.parser(__doc__, sizes=[50_000, 250_000, 500_000, 1_058_909], repeats=3)
    parser.add_argument("--features", type=int, nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument(
        "--wide-max", type=int, default=250_000, help="rows of more than 10 features"
    )
    parser.add_argument("--cpu-max", type=int, default=50_000, help="rows openTSNE is run on")
    parser.add_argument("--brute-max", type=int, default=500_000, help="rows compared pair by pair")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES), choices=list(ENGINES))
    parser.add_argument("--maps", type=Path, help="folder to keep maps in, for --judge")
    parser.add_argument("--judge", type=Path, help="folder of maps to judge; measures nothing")
    options = harness.parsed(parser, sizes=[20_000], features=[10], repeats=1)
    results = harness.results_of("gpu", options)
    described = _judge(results, options.judge) if options.judge else _measure(results, options)
    results.finish(described["title"], markdown(_summary(results.rows)), more=described)
    _plot(results.rows, described["gpu"], results.path.with_suffix(".png"))


def _measure(results: Results, options: argparse.Namespace) -> dict[str, str]:
    """Add what was not measured yet; return what describes the GPU."""
    verdict = gpu_verdict()
    if not verdict.ok:
        sys.exit(f"Nothing was measured. {verdict.reason}")
    gpu, release = visible_gpus()[0][0], installed_release()
    first = _first_fit(options.engines)
    for d in options.features:
        for n in options.sizes:
            if d == 10 or n <= options.wide_max:
                _measure_data(n, d, options, results)
    return {
        "title": f"{gpu.name}, driver {gpu.driver}\n",
        "gpu": gpu.name,
        "driver": gpu.driver,
        "found": verdict.reason,
        "first_fit_seconds": f"{first:.1f}",
        "cuml": release.version if release else "unknown",
        "cupy": str(importlib.import_module("cupy").__version__),
    }


def _first_fit(engines: Sequence[str]) -> float:
    """Return the seconds that this process' first map takes; then load what every engine needs."""
    X = data.load("mixture10", WARM_ROWS)
    _, facts = _fit(X, backend="cuml")
    warm_up(load_backend("cuml"))
    for engine in engines:
        ENGINES[engine](X)
    return float(facts["seconds"])


def _measure_data(n: int, d: int, options: argparse.Namespace, results: Results) -> None:
    limits = {
        "openTSNE": options.cpu_max,
        "native": options.cpu_max,
        "ours, brute force": options.brute_max,
    }
    engines = [engine for engine in options.engines if n <= limits.get(engine, math.inf)]
    jobs = harness.jobs_of(engines, DATA[d], n, options.repeats)
    missing = [job for job in jobs if not results.knows(job)]
    X = data.load(DATA[d], n) if missing else None
    for job in missing:
        embedding, facts = ENGINES[job["engine"]](X)
        row = {**job, "d": d, **facts, "kl": "", "preservation": ""}
        if options.maps and _is_judged(row):
            options.maps.mkdir(parents=True, exist_ok=True)
            np.save(options.maps / _name_of(job), embedding)
        elif _is_judged(row):
            row |= quality(job["data"], n, embedding)
        results.add(row)


def _judge(results: Results, folder: Path) -> dict[str, str]:
    """Judge the maps of a folder; return the description of the GPU that made them."""
    for row in results.rows:
        kept = folder / _name_of(row)
        if row["kl"] == "" and kept.exists() and _is_judged(row):
            row |= quality(row["data"], row["n"], np.load(kept))
            write_rows(results.path, results.rows)
    described: dict[str, str] = json.loads(results.path.with_suffix(".json").read_text("utf-8"))
    return described


def _name_of(row: dict[str, Any]) -> str:
    engine = row["engine"].replace(", ", "-").replace(" ", "_")
    return f"{row['data']}-{row['n']}-{engine}-{row['repeat']}.npy"


def _is_judged(row: dict[str, Any]) -> bool:
    return row["n"] <= JUDGED_ROWS and row["n"] * row["d"] <= JUDGED_ENTRIES


def _summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return medians; with times per row, whose growth tells whether more rows cost more each."""
    values = ["seconds", "neighbours_s", "affinities_s", "optimisation_s", "gpu_peak_mb"]
    table = medians(rows, ["d", "n", "engine"], values)
    judged = {(row["d"], row["n"], row["engine"]): row for row in rows}
    for row in table:
        row["µs per row"] = f"{1e6 * row['seconds'] / row['n']:.1f}"
        one = judged[row["d"], row["n"], row["engine"]]
        row |= {"kl": one["kl"], "preservation": one["preservation"]}
        row |= {name: f"{row[name]:.2f}" for name in values}
    return table


def _plot(rows: Sequence[dict[str, Any]], gpu: str, path: Path) -> None:
    from matplotlib.figure import Figure

    table = medians([row for row in rows if row["d"] == 10], ["engine", "n"], ["seconds"])
    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.subplots()
    for engine in dict.fromkeys(row["engine"] for row in table):
        points = [(row["n"], row["seconds"]) for row in table if row["engine"] == engine]
        axes.loglog(*zip(*points, strict=True), marker="o", label=engine)
    axes.set(xlabel="rows", ylabel="seconds", title=f"10 features, {gpu}")
    axes.legend()
    figure.savefig(path, dpi=120)


class PeakMemory:
    """Most memory of the GPU taken while inside, in MiB, as ``nvidia-smi`` sees it from outside.

    A thread of this process would not see it: cuVS's searches let no other thread run.
    """

    def __init__(self) -> None:
        self.megabytes = 0.0
        self._program: subprocess.Popen[str] | None = None

    def __enter__(self) -> None:
        program = shutil.which("nvidia-smi")
        if program is not None:
            query = ["--query-gpu=memory.used", "--format=csv,noheader,nounits", "-lms", "50"]
            self._program = subprocess.Popen(
                [program, *query, "--id=0"], stdout=subprocess.PIPE, text=True
            )
            time.sleep(0.5)  # it looks a few times before the work begins

    def __exit__(self, *_: object) -> None:
        if self._program is not None:
            self._program.terminate()
            lines, _ = self._program.communicate()
            used = [float(line) for line in lines.split() if line.isdigit()]
            self.megabytes = max(used) - used[0] if used else 0.0


if __name__ == "__main__":
    main()
