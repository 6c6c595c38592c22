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

from benchmarks import data, harness
from tsne_backends.gpu.hardware import gpu_verdict, visible_gpus
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

#: Rows up to which maps are judged with exact neighbours of all rows, which the processor finds.
JUDGED_ROWS = 60_000
Z_SAMPLE = 10_000
#: Data sets by number of features.
DATA = {10: "mixture10", 48: "patches48", 768: "patches768"}


def _fit(X: NDArray[Any], **changes: Any) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    peak = PeakMemory()
    # Small data come from the harness, which warms an engine up.
    perplexity = min(30.0, len(X) / 4)
    with peak:
        tsne = ServerlessTSNE(**{"random_state": 0, "perplexity": perplexity, **changes}).fit(X)
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
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--sizes", type=int, nargs="+", default=[50_000, 250_000, 500_000, 1_058_909]
    )
    parser.add_argument("--features", type=int, nargs="+", default=list(DATA), choices=list(DATA))
    parser.add_argument(
        "--wide-max", type=int, default=250_000, help="rows of more than 10 features"
    )
    parser.add_argument("--cpu-max", type=int, default=50_000, help="rows openTSNE is run on")
    parser.add_argument("--brute-max", type=int, default=500_000, help="rows compared pair by pair")
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    verdict = gpu_verdict()
    if not verdict.ok:
        sys.exit(f"Nothing was measured. {verdict.reason}")
    if options.quick:
        options.sizes, options.features, options.repeats = [20_000], [10], 1
    options.out.mkdir(parents=True, exist_ok=True)
    gpu = visible_gpus()[0][0]
    described = {"gpu": gpu.name, "driver": gpu.driver, "found": verdict.reason}
    harness.write_machine(options.out / "gpu.json", described)
    rows: list[dict[str, Any]] = []
    for d in options.features:
        for n in options.sizes:
            if d == 10 or n <= options.wide_max:
                rows += _measure(n, d, options, rows)
    summary = _summary(rows)
    (options.out / "gpu.md").write_text(
        f"{gpu.name}, driver {gpu.driver}\n\n{harness.markdown(summary)}", encoding="utf-8"
    )
    _plot(rows, gpu.name, options.out / "gpu.png")
    print(harness.markdown(summary))


def _measure(
    n: int, d: int, options: argparse.Namespace, before: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    name = DATA[d]
    X = data.load(name, n)
    graph = exact_graph(X, 90) if n <= JUDGED_ROWS else None
    limits = {"openTSNE": options.cpu_max, "ours, brute force": options.brute_max}
    engines = [engine for engine in options.engines if n <= limits.get(engine, math.inf)]
    rows: list[dict[str, Any]] = []
    for repeat, engine in harness.alternate(engines, options.repeats):
        job = {"engine": engine, "data": name, "n": n}
        facts, Y = harness.run_in_process("benchmarks.gpu", job)
        quality: dict[str, Any] = {"kl": "", "preservation": ""}
        if graph is not None:
            quality = {
                "kl": round(kl_divergence(X, Y, graph=graph, sample=min(n, Z_SAMPLE)), 4),
                "preservation": round(neighbor_preservation(X, Y, graph=graph), 4),
            }
        rows.append({**job, "d": X.shape[1], "repeat": repeat, **facts, **quality})
        print(rows[-1], flush=True)
        harness.write_rows(options.out / "gpu.csv", before + rows)
    return rows


def _summary(rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return medians; with times per row, whose growth tells whether more rows cost more each."""
    values = ["seconds", "neighbours_s", "affinities_s", "optimisation_s", "gpu_peak_mb"]
    table = harness.medians(rows, ["d", "n", "engine"], values)
    judged = {(row["d"], row["n"], row["engine"]): row for row in rows}
    for row in table:
        row["µs per row"] = f"{1e6 * row['seconds'] / row['n']:.1f}"
        one = judged[row["d"], row["n"], row["engine"]]
        row |= {"kl": one["kl"], "preservation": one["preservation"]}
        row |= {name: f"{row[name]:.2f}" for name in values}
    return table


def _plot(rows: Sequence[dict[str, Any]], gpu: str, path: Path) -> None:
    from matplotlib.figure import Figure

    table = harness.medians([row for row in rows if row["d"] == 10], ["engine", "n"], ["seconds"])
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
