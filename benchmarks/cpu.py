"""Our tuned `opentsne` backend against raw openTSNE and scikit-learn's TSNE: seconds, quality.

Run ``python -m benchmarks.cpu``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.judging import judged_data, perplexity, quality
from benchmarks.tables import markdown, medians


def _ours(X: NDArray[Any], max_iter: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    tsne = ServerlessTSNE(
        backend="opentsne", max_iter=max_iter, random_state=0, perplexity=perplexity(len(X))
    ).fit(X)
    phases = {f"{name}_s": round(value, 2) for name, value in tsne.timings_.items()}
    return tsne.embedding_, {"iterations": tsne.n_iter_, **phases}


def _opentsne(X: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    import joblib
    import openTSNE

    tsne = openTSNE.TSNE(random_state=0, n_jobs=joblib.cpu_count(), perplexity=perplexity(len(X)))
    return np.asarray(tsne.fit(X)), {"iterations": 750}


def _sklearn(X: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
    from sklearn.manifold import TSNE

    tsne = TSNE(random_state=0, n_jobs=-1, max_iter=750, perplexity=perplexity(len(X)))
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
    names = ("digits", "mixture10", "patches48", "patches768")
    parser = harness.parser(__doc__, sizes=[2_000, 10_000, 50_000], data=names, repeats=3)
    parser.add_argument("--engines", nargs="+", default=list(ENGINES))
    parser.add_argument("--sklearn-max", type=int, default=10_000, help="rows")
    options = harness.parsed(parser, sizes=[1_000], data=["digits", "mixture10"], repeats=1)
    results = harness.results_of("cpu", options)
    for name in options.data:
        for n in [1_797] if name == "digits" else options.sizes:
            takes_it = n <= options.sklearn_max
            engines = [one for one in options.engines if takes_it or one != "scikit-learn"]
            jobs = harness.jobs_of(engines, name, n, options.repeats)
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
