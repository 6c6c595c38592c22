"""Our tuned `opentsne` backend against raw openTSNE and scikit-learn's TSNE: seconds, quality.

Run ``python -m benchmarks.cpu``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from benchmarks import engines, harness
from benchmarks.judging import judged_data, quality
from benchmarks.tables import markdown, medians

#: openTSNE's default is 250 + 500 iterations; "ours-750" does the same number, "ours" our default.
ENGINES = {
    "openTSNE": engines.opentsne,
    "ours-750": lambda X: engines.ours(X, "opentsne", max_iter=750),
    "ours": lambda X: engines.ours(X, "opentsne"),
    "scikit-learn": lambda X: engines.scikit_learn(X, max_iter=750),
}


def main() -> None:
    """Run every engine on every data set and size, and write table and plot."""
    names = ("digits", "mixture10", "patches48", "patches768")
    parser = harness.parser(__doc__, sizes=[2_000, 10_000, 50_000], data=names, repeats=3)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--sklearn-max", type=int, default=10_000, help="rows")
    options = harness.parsed(parser, sizes=[1_000], data=["digits", "mixture10"], repeats=1)
    results = harness.results_of("cpu", options)
    for name in options.data:
        for n in [1_797] if name == "digits" else options.sizes:
            takes_it = n <= options.sklearn_max
            able = [one for one in options.engines if takes_it or one != "scikit-learn"]
            jobs = harness.jobs_of(able, name, n, options.repeats)
            harness.measure("benchmarks.cpu", results, jobs, _judged)
    summary = _summary(results.rows)
    results.finish(markdown(summary))
    _plot(summary, results.path.with_suffix(".png"))


def _judged(job: dict[str, Any], Y: NDArray[Any]) -> dict[str, Any]:
    X, _ = judged_data(job["data"], job["n"], 0)
    return {"d": X.shape[1], **quality(job["data"], job["n"], Y)}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    values = ["seconds", "peak_mb", "kl", "preservation"]
    table = medians(rows, ["data", "n", "engine"], values)
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
