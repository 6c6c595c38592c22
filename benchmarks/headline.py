"""The published picture redone: rows against seconds, one line per engine and machine.

What we measured is a solid line, with triangles where that was on another machine, what others
published is dashed, and what the plan predicts of a rented GPU is a band; nothing else is on it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from backends_remote.backend import ModalBackend
from benchmarks.published import MODAL_T4, OPENTSNE_12_CORES
from benchmarks.tables import medians
from tsne_backends.machine import Link, Machine
from tsne_backends.problem import Problem

#: The data that are like the published ones: 10 features, as scVI gives them.
DATA, FEATURES = "mixture10", 10
#: Engines of ``engine.csv`` that are drawn, their names and colours (Okabe and Ito's).
MEASURED = {
    "openTSNE": ("openTSNE, its defaults", "#000000"),
    "scikit-learn": ("scikit-learn", "#D55E00"),
    "native": ("native, 1,000 iterations", "#0072B2"),
    "native-auto": ('native, max_iter="auto"', "#56B4E9"),
}
#: And the one of ``cpu.csv``: openTSNE run by us.
OURS = ("ours", "opentsne, 1,000 iterations", "#E69F00")
#: And the one of ``gpu.csv``: our kernels.
ON_GPU = ("ours", "our kernels on an H200", "#CC3311")
#: The line that a rented GPU is predicted for, in Mbit/s and seconds, and the rows.
MEGABITS_PER_SECOND, ROUND_TRIP_SECONDS = 100, 0.05
PREDICTED_ROWS = (2_000, 10_000, 50_000, 200_000, 1_000_000)
GPU = "T4"

MEASURED_HERE, MEASURED_ELSEWHERE = "measured here", "measured"
PUBLISHED, PREDICTED = "published", "predicted"


@dataclass(frozen=True)
class Line:
    """Seconds by rows of one engine on one machine.

    Attributes
    ----------
    name : str
    kind : {"measured here", "measured", "published", "predicted"}
    seconds : mapping of int to float
    colour : str
    """

    name: str
    kind: str
    seconds: Mapping[int, float]
    colour: str


def lines(
    engine_rows: Sequence[Mapping[str, Any]],
    cpu_rows: Sequence[Mapping[str, Any]] = (),
    gpu_rows: Sequence[Mapping[str, Any]] = (),
) -> list[Line]:
    """Return everything that is drawn.

    Parameters
    ----------
    engine_rows : sequence of mapping
        The rows of ``engine.csv``; engines without a row have no line.
    cpu_rows : sequence of mapping, optional
        The rows of ``cpu.csv``.
    gpu_rows : sequence of mapping, optional
        The rows of ``gpu.csv``.
    """
    found = [_measured(engine_rows, engine, *looks) for engine, looks in MEASURED.items()]
    found.append(_measured(cpu_rows, *OURS))
    found.append(_measured(gpu_rows, *ON_GPU, kind=MEASURED_ELSEWHERE))
    return [
        *(line for line in found if line.seconds),
        Line("openTSNE, 12 cores of an M4 Pro", PUBLISHED, OPENTSNE_12_CORES, "#999999"),
        Line("cuML on a rented T4, warm", PUBLISHED, MODAL_T4, "#009E73"),
        Line("rented T4, warm", PREDICTED, _predicted(warm=True), "#CC79A7"),
        Line("rented T4, cold", PREDICTED, _predicted(warm=False), "#CC79A7"),
    ]


def table(some: Sequence[Line]) -> list[dict[str, Any]]:
    """Return what is drawn as rows of text."""
    sizes = sorted({n for line in some for n in line.seconds})
    return [
        {"engine": line.name, "is": line.kind}
        | {f"{n:,}": f"{line.seconds[n]:.3g} s" if n in line.seconds else "" for n in sizes}
        for line in some
    ]


def draw(some: Sequence[Line], path: Path, machine: str) -> None:
    """Write the picture.

    Parameters
    ----------
    some : sequence of Line
    path : Path
        Of a .png file.
    machine : str
        What "measured here" means.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 5.6), layout="constrained")
    axes = figure.subplots()
    styles = {MEASURED_HERE: "o-", MEASURED_ELSEWHERE: "^-", PUBLISHED: "s--"}
    for line in some:
        if line.kind in styles:
            axes.loglog(
                *zip(*line.seconds.items(), strict=True),
                styles[line.kind],
                color=line.colour,
                markerfacecolor="white" if line.kind == PUBLISHED else line.colour,
                label=f"{line.name} ({line.kind})",
            )
    warm, cold = [line for line in some if line.kind == PREDICTED]
    axes.fill_between(
        list(warm.seconds),
        list(warm.seconds.values()),
        list(cold.seconds.values()),
        color=warm.colour,
        alpha=0.3,
        linewidth=0,
        label=f"rented T4, warm to cold, {MEGABITS_PER_SECOND} Mbit/s (predicted)",
    )
    axes.set(
        xlabel=f"rows of {FEATURES} features",
        ylabel="seconds",
        title=f"t-SNE of {FEATURES} features; measured on {machine}",
    )
    axes.title.set_size("medium")
    axes.grid(which="major", color="#dddddd", linewidth=0.6)
    figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize="small")
    figure.savefig(path, dpi=120, metadata={"Software": None})


def _measured(
    rows: Sequence[Mapping[str, Any]],
    engine: str,
    name: str,
    colour: str,
    *,
    kind: str = MEASURED_HERE,
) -> Line:
    """Return the medians of one engine."""
    runs = [dict(row) for row in rows if (row["data"], row["engine"]) == (DATA, engine)]
    table = sorted(medians(runs, ["n"], ["seconds"]), key=lambda row: int(row["n"]))
    return Line(name, kind, {row["n"]: row["seconds"] for row in table}, colour)


def _predicted(*, warm: bool) -> dict[int, float]:
    """Return what the plan expects of a rented GPU."""
    rate = MEGABITS_PER_SECOND * 1e6 / 8
    machine = Machine(link=Link(ROUND_TRIP_SECONDS, rate, rate), assume_warm=warm)
    found = {}
    for n in PREDICTED_ROWS:
        options = {"gpu": GPU}
        problem = Problem(n, FEATURES, n_bytes=4 * n * FEATURES, n_threads=2, options=options)
        expected = ModalBackend().estimate(problem, machine)
        if expected is not None:
            found[n] = expected.total
    return found
