"""The GPU backend on a GPU of this machine: seconds by phase, memory and quality.

Run ``python -m benchmarks.gpu``; ``--quick`` ends in about a minute. Without a GPU it says what is
missing and measures nothing.
"""

from __future__ import annotations

import argparse
import math
import shutil
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.judging import perplexity, quality
from benchmarks.tables import Results, markdown, medians
from tsne_backends.gpu.hardware import gpu_verdict, visible_gpus

#: Rows up to which maps are judged with exact neighbours of all rows, which the processor finds.
JUDGED_ROWS = 60_000
#: Data sets by number of features.
DATA = {10: "mixture10", 48: "patches48", 768: "patches768"}


def _fit(X: NDArray[Any], **changes: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    peak = PeakMemory()
    given = {"random_state": 0, "perplexity": perplexity(len(X)), **changes}
    with peak:
        tsne = ServerlessTSNE(**given).fit(X)
    phases = {f"{name}_s": round(seconds, 3) for name, seconds in tsne.timings_.items()}
    facts = {"search": tsne.details_.get("neighbours", ""), "gpu_peak_mb": peak.megabytes}
    return tsne.embedding_, {"iterations": tsne.n_iter_, **facts, **phases}


def _on_gpu(**options: Any) -> Any:
    return lambda X: _fit(X, backend="cuml", backend_options=options)


#: Ours; with cuML's own iterations but for the last; all cuML's; all pairs compared; and the
#: processor.
ENGINES = {
    "ours": _on_gpu(),
    "ours, NN-descent": lambda X: _fit(X, backend="cuml", random_state=None),
    "ours, brute force": _on_gpu(neighbors="exact"),
    "cuML, last 250 ours": _on_gpu(refine=250),
    "cuML": _on_gpu(refine=0),
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
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    options = harness.parsed(parser, sizes=[20_000], features=[10], repeats=1)
    verdict = gpu_verdict()
    if not verdict.ok:
        sys.exit(f"Nothing was measured. {verdict.reason}")
    gpu = visible_gpus()[0][0]
    described = {"gpu": gpu.name, "driver": gpu.driver, "found": verdict.reason}
    results = harness.results_of("gpu", options)
    for d in options.features:
        for n in options.sizes:
            if d == 10 or n <= options.wide_max:
                _measure(n, d, options, results)
    title = f"{gpu.name}, driver {gpu.driver}\n"
    results.finish(title, markdown(_summary(results.rows)), more=described)
    _plot(results.rows, gpu.name, results.path.with_suffix(".png"))


def _measure(n: int, d: int, options: argparse.Namespace, results: Results) -> None:
    limits = {"openTSNE": options.cpu_max, "ours, brute force": options.brute_max}
    engines = [engine for engine in options.engines if n <= limits.get(engine, math.inf)]
    jobs = harness.jobs_of(engines, DATA[d], n, options.repeats)
    harness.measure("benchmarks.gpu", results, jobs, lambda job, Y: _judged(job, d, Y))


def _judged(job: dict[str, Any], d: int, Y: NDArray[Any]) -> dict[str, Any]:
    if job["n"] > JUDGED_ROWS:
        return {"d": d, "kl": "", "preservation": ""}
    return {"d": d, **quality(job["data"], job["n"], Y)}


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
