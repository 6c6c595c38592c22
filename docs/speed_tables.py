"""Tables of seconds and quality for README, native.md and gpu.md, from benchmarks/results.

`make_tables` puts them into their pages. Seconds are medians and quality means over seeds.
"""

from __future__ import annotations

import csv
import statistics
from collections.abc import Sequence
from functools import cache
from pathlib import Path

RESULTS = Path(__file__).parent.parent / "benchmarks" / "results"
ENGINE_CSV, GPU_CSV = RESULTS / "engine.csv", RESULTS / "gpu.csv"
#: Data sets in the order of the tables.
NAMES = {
    "digits": "digits, 64-D",
    "patches48": "patches, 48-D",
    "patches192": "patches, 192-D",
    "patches768": "patches, 768-D",
    "mixture10": "mixture, 10-D",
    "noise20": "noise, 20-D",
    "swissroll": "swiss roll",
    "farblobs": "two far blobs",
    "heavytails": "heavy tails",
}
#: What README shows.
SHOWN = (
    ("digits", 1_797),
    ("mixture10", 10_000),
    ("patches48", 10_000),
    ("patches768", 10_000),
    ("mixture10", 50_000),
    ("patches48", 50_000),
    ("patches768", 50_000),
    ("mixture10", 200_000),
    ("noise20", 200_000),
    ("mixture10", 1_000_000),
)
#: Our engine with openTSNE's number of iterations, with the default, and with the fast schedule.
OURS = ("native-750", "native", "native-auto")
PEERS = ("native", "native-auto", "openTSNE", "scikit-learn", "scikit-learn-intelex")
PEERS += ("manifolds-rs-fft", "manifolds-rs")
#: The quicker ones of the others, and what they are called where there is little room.
FAST_PEERS = {"scikit-learn-intelex": "intelex", "manifolds-rs-fft": "manifolds"}
QUALITIES = ("kl", "preservation", "spearman")

Runs = Sequence[dict[str, str]]


#: Engines of a GPU, and what a page calls them.
GPU_ENGINES = {
    "ours": "our kernels",
    "cuML, last 250 ours": "cuML, last 250 ours",
    "cuML": "cuML",
}


def gpu() -> str:
    """Return seconds and quality of the engines of a GPU, and the memory that ours takes there."""
    with GPU_CSV.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    names = list(GPU_ENGINES.values())
    lines = [
        f"| rows × features | {' | '.join(names)} | memory, ours |",
        "|---|" + "---:|" * (len(names) + 1),
    ]
    for d, n in sorted({(int(row["d"]), int(row["n"])) for row in rows}):
        of = {
            engine: [one for one in rows if (one["engine"], one["d"], one["n"]) == key]
            for engine in GPU_ENGINES
            for key in [(engine, str(d), str(n))]
        }
        megabytes = statistics.median(float(one["gpu_peak_mb"]) for one in of["ours"])
        cells = [_of_gpu(of[engine]) for engine in GPU_ENGINES]
        memory = f"{megabytes * 2**20 / 1e9:.1f} GB"
        lines.append(f"| {n:,} × {d} | {' | '.join(cells)} | {memory} |")
    return "\n".join(lines) + "\n"


def _of_gpu(runs: Runs) -> str:
    if not runs:
        return "–"
    seconds = f"{statistics.median(float(one['seconds']) for one in runs):.2f} s"
    one = runs[0]
    return (
        f"{seconds}, {float(one['kl']):.3f} ({float(one['preservation']):.3f})"
        if one["kl"]
        else seconds
    )


def all_data() -> str:
    """Return openTSNE and ours on every data set of every size that openTSNE was run on."""
    lines = [
        "| data | rows | seeds | openTSNE | 750 iterations | 1,000, the default | "
        '`max_iter="auto"` | KL, 1,000 | neighbours kept | Spearman |',
        "|---|" + "---:|" * 9,
    ]
    sizes = sorted({int(row["n"]) for row in _rows()})
    for n in sizes:
        for data, name in NAMES.items():
            theirs, ours = _of_same_seeds(data, n)
            if not theirs:
                continue
            quality = [_compared(theirs, ours, one) for one in QUALITIES]
            cells = [name, f"{n:,}", str(len(theirs)), _seconds(theirs)]
            cells += [_against(_runs(data, n, engine), theirs) for engine in OURS]
            lines.append(f"| {' | '.join([*cells, *quality])} |")
    return "\n".join(lines) + "\n"


def selected() -> str:
    """Return a few of the rows of `all_data`, and the largest run."""
    lines = [
        '| data | rows | openTSNE | 750 iterations | 1,000, the default | `max_iter="auto"` | '
        "KL, openTSNE → default |",
        "|---|" + "---:|" * 6,
    ]
    for data, n in SHOWN:
        theirs, ours = _of_same_seeds(data, n)
        cells = [NAMES[data], f"{n:,}", _seconds(theirs)]
        cells += [_against(_runs(data, n, engine), theirs) for engine in OURS]
        cells.append(_compared(theirs, ours, "kl"))
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def peers() -> str:
    """Return every engine on the mixture, by size, of the first seed."""
    sizes = (2_000, 10_000, 50_000)
    heads = " | ".join(f"{n:,} rows | KL | neighbours kept" for n in sizes)
    lines = [f"| engine | {heads} |", "|---|" + "---:|" * (3 * len(sizes))]
    for engine in PEERS:
        cells = []
        for n in sizes:
            first = [run for run in _runs("mixture10", n, engine) if run["seed"] == "0"]
            cells += [_seconds(first)]
            cells += [_mean(first, one) if first else "–" for one in QUALITIES[:2]]
        lines.append(f"| {engine} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def fastest_peers() -> str:
    """Return the fastest other engine of every data set and size, and how ours compare with it."""
    sizes = (2_000, 10_000, 50_000, 200_000)
    heads = " | ".join(f"{n:,} rows" for n in sizes)
    lines = [f"| data | {heads} |", "|---|" + "---|" * len(sizes)]
    for data, name in NAMES.items():
        of_sizes = [1_797, *sizes[1:]] if data == "digits" else sizes
        cells = " | ".join(_fastest_peer(data, n) for n in of_sizes)
        lines.append(f"| {name} | {cells} |")
    return "\n".join(lines) + "\n"


def _fastest_peer(data: str, n: int) -> str:
    runs = {engine: _runs(data, n, engine) for engine in FAST_PEERS}
    others = {engine: _median(some) for engine, some in runs.items() if some}
    if not others:
        return "–"
    engine = min(others, key=lambda one: others[one])
    default, fast = (others[engine] / _median(_runs(data, n, one)) for one in OURS[1:])
    return f"{FAST_PEERS[engine]}, {_seconds(runs[engine])}: {default:.1f}, {fast:.1f} ×"


@cache
def _rows() -> Runs:
    with ENGINE_CSV.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def _of_same_seeds(data: str, n: int) -> tuple[Runs, Runs]:
    """Return openTSNE's runs of the seeds that ours has, or all where ours has none, and ours."""
    theirs, ours = (_runs(data, n, engine) for engine in ("openTSNE", "native"))
    seeds = {run["seed"] for run in ours or theirs}
    return [run for run in theirs if run["seed"] in seeds], ours


def _runs(data: str, n: int, engine: str) -> Runs:
    wanted = (data, str(n), engine)
    return [row for row in _rows() if (row["data"], row["n"], row["engine"]) == wanted]


def _median(runs: Runs) -> float:
    return statistics.median(float(run["seconds"]) for run in runs)


def _seconds(runs: Runs) -> str:
    if not runs:
        return "–"
    seconds = _median(runs)
    return f"{seconds:.{0 if seconds >= 100 else 1 if seconds >= 2 else 2}f} s"


def _against(ours: Runs, theirs: Runs) -> str:
    """Return our seconds, and how many times as fast that is."""
    if not ours or not theirs:
        return _seconds(ours)
    ratio = _median(theirs) / _median(ours)
    return f"{_seconds(ours)}, {ratio:.{0 if ratio >= 10 else 1}f} ×"


def _compared(theirs: Runs, ours: Runs, quality: str) -> str:
    if not theirs or not ours:
        return "–"
    return f"{_mean(theirs, quality)} → {_mean(ours, quality)}"


def _mean(runs: Runs, quality: str) -> str:
    mean = statistics.mean(float(run[quality]) for run in runs)
    return f"{mean:.{2 if quality == 'spearman' else 3}f}"
