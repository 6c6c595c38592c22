"""Our tuned `opentsne` backend against raw openTSNE and scikit-learn's TSNE: seconds, quality.

Run ``python -m benchmarks.cpu``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

PERPLEXITY = 30.0
#: Beyond this the exact normalisation takes minutes; 10,000 sampled rows err by less than 0.1 %.
EXACT_Z_MAX = 20_000
Z_SAMPLE = 10_000


def _perplexity(X: NDArray[Any]) -> float:
    return min(PERPLEXITY, len(X) / 4)


def _ours(X: NDArray[Any], max_iter: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    tsne = ServerlessTSNE(
        backend="opentsne", max_iter=max_iter, random_state=0, perplexity=_perplexity(X)
    ).fit(X)
    phases = {f"{name}_s": round(value, 2) for name, value in tsne.timings_.items()}
    return tsne.embedding_, {"iterations": tsne.n_iter_, **phases}


def _opentsne(X: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    import joblib
    import openTSNE

    tsne = openTSNE.TSNE(random_state=0, n_jobs=joblib.cpu_count(), perplexity=_perplexity(X))
    return np.asarray(tsne.fit(X)), {"iterations": 750}


def _sklearn(X: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    from sklearn.manifold import TSNE

    tsne = TSNE(random_state=0, n_jobs=-1, max_iter=750, perplexity=_perplexity(X))
    return tsne.fit_transform(X), {"iterations": 750}


#: openTSNE's default is 250 + 500 iterations; "ours-750" does the same number, "ours" our default.
ENGINES = {
    "openTSNE": _opentsne,
    "ours-750": lambda X: _ours(X, 750),
    "ours": lambda X: _ours(X, 1000),
    "scikit-learn": _sklearn,
}


def main() -> None:
    """Run every engine on every data set and size, and write table and plot."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=[2_000, 10_000, 50_000])
    parser.add_argument(
        "--data", nargs="+", default=["digits", "mixture10", "patches48", "patches768"]
    )
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--sklearn-max", type=int, default=10_000, help="rows")
    parser.add_argument("--append", action="store_true", help="keep the rows that are there")
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.data, options.repeats = [1_000], ["digits", "mixture10"], 1
    options.out.mkdir(parents=True, exist_ok=True)
    harness.write_machine(options.out / "cpu.json")
    rows = _existing(options.out / "cpu.csv") if options.append else []
    for name in options.data:
        sizes = [1_797] if name == "digits" and not options.quick else options.sizes
        for n in sizes:
            rows += _measure(name, n, options, rows)
    summary = _summary(rows)
    (options.out / "cpu.md").write_text(harness.markdown(summary), encoding="utf-8")
    _plot(summary, options.out / "cpu.png")
    print(harness.markdown(summary))


def _existing(path: Path) -> list[dict[str, Any]]:
    return [dict(row, n=int(row["n"])) for row in harness.read_rows(path)]


def _measure(
    name: str, n: int, options: argparse.Namespace, before: list[dict[str, Any]]
) -> list[dict[str, Any]]:
    X = data.load(name, n)
    k = int(3 * PERPLEXITY)
    graph = exact_graph(X, k)
    engines = [
        engine for engine in options.engines if engine != "scikit-learn" or n <= options.sklearn_max
    ]
    rows: list[dict[str, Any]] = []
    for repeat, engine in harness.alternate(engines, options.repeats):
        job = {"engine": engine, "data": name, "n": n}
        facts, Y = harness.run_in_process("benchmarks.cpu", job)
        sample = None if n <= EXACT_Z_MAX else Z_SAMPLE
        quality = {
            "kl": round(kl_divergence(X, Y, PERPLEXITY, graph=graph, sample=sample), 4),
            "preservation": round(neighbor_preservation(X, Y, graph=graph), 4),
        }
        rows.append({**job, "d": X.shape[1], "repeat": repeat, **facts, **quality})
        print(rows[-1], flush=True)
        harness.write_rows(options.out / "cpu.csv", before + rows)
    return rows


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    values = ["seconds", "peak_mb", "kl", "preservation"]
    table = harness.medians(rows, ["data", "n", "engine"], values)
    base = {(r["data"], r["n"]): r["seconds"] for r in table if r["engine"] == "openTSNE"}
    for row in table:
        reference = base.get((row["data"], row["n"]))
        row["time / openTSNE"] = f"{row['seconds'] / reference:.2f}" if reference else ""
        row |= {"seconds": f"{row['seconds']:.1f}", "peak_mb": f"{row['peak_mb']:.0f}"}
        row |= {key: f"{row[key]:.3f}" for key in ("kl", "preservation")}
    return table


def _plot(summary: list[dict[str, Any]], path: Path) -> None:
    from matplotlib.figure import Figure

    names = list(dict.fromkeys(row["data"] for row in summary))
    figure = Figure(figsize=(3.2 * len(names), 3.4), layout="constrained")
    panels = figure.subplots(1, len(names), sharey=True, squeeze=False)[0]
    colours = dict(zip(ENGINES, ("#000000", "#56B4E9", "#0072B2", "#D55E00"), strict=True))
    for axes, name in zip(panels, names, strict=True):
        for engine, colour in colours.items():
            points = sorted(
                (row["n"], float(row["seconds"]))
                for row in summary
                if (row["data"], row["engine"]) == (name, engine)
            )
            if points:
                axes.loglog(*zip(*points, strict=True), "o-", color=colour, label=engine)
        axes.set(title=name, xlabel="rows")
    panels[0].set_ylabel("seconds (median)")
    panels[0].legend(frameon=False)
    figure.savefig(path, dpi=120)


if __name__ == "__main__":
    main()
