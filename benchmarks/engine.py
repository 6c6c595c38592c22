"""Our own engine against its peers on the CPU, in one job: seconds, memory, quality, with spread.

Run ``python -m benchmarks.engine``; ``--quick`` ends in about two minutes. A run that was stopped
goes on where it was: rows that are in the table already are not measured again. Peers that are not
installed are left out: ``pip install scikit-learn-intelex manifolds-rs`` adds two.
"""

from __future__ import annotations

import importlib.util
import statistics
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import engines, harness
from benchmarks.judging import judged_data, quality
from benchmarks.tables import markdown

#: Seeds up to this many rows; beyond, one.
SEEDS, SEEDS_MAX_ROWS = 5, 50_000
#: Beyond this exact neighbours would take longer than everything else; seconds, memory and the
#: divergence the engine itself tells are what remains.
JUDGED_MAX_ROWS = 200_000
#: Groups of rows whose centres are compared between data and map.
GROUPS = 40
#: Rows beyond which engines without a fast gradient are left out.
MOST_ROWS = {"scikit-learn": 10_000}
#: Packages of peers that need not be there.
PACKAGES = {
    "scikit-learn-intelex": "sklearnex",
    "manifolds-rs": "manifolds_rs",
    "manifolds-rs-fft": "manifolds_rs",
}

DATA = (
    "digits",
    "patches48",
    "patches192",
    "patches768",
    "mixture10",
    "noise20",
    "swissroll",
    "farblobs",
    "heavytails",
)
SIZES = (2_000, 10_000, 50_000, 200_000, 1_000_000)
#: What the largest size is run with: for openTSNE alone it would take an hour.
LARGEST_BY = {"mixture10": ("native", "native-auto")}
METRICS = ("seconds", "peak_mb", "kl", "preservation", "spearman")


#: The harness calls these with the seed of the job.
SEEDED = {
    "native": lambda X, seed: engines.ours(X, "native", seed),
    "native-750": lambda X, seed: engines.ours(X, "native", seed, 750),
    "native-auto": lambda X, seed: engines.ours(X, "native", seed, "auto"),
    "openTSNE": engines.opentsne,
    "scikit-learn": engines.scikit_learn,
    "scikit-learn-intelex": engines.intelex,
    "manifolds-rs": lambda X, seed: engines.manifolds(X, seed, "barnes_hut"),
    "manifolds-rs-fft": lambda X, seed: engines.manifolds(X, seed, "fft_3k"),
}


def main() -> None:
    """Measure what is missing in the table, and summarise it."""
    parser = harness.parser(__doc__, sizes=SIZES, data=DATA)
    parser.add_argument("--engines", nargs="+", default=list(SEEDED), choices=list(SEEDED))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    options = harness.parsed(parser, sizes=[1_000, 5_000], data=["digits", "mixture10"], seeds=1)
    results = harness.results_of("engine", options)
    jobs: list[dict[str, Any]] = []
    for name in options.data:
        for n in [1_797] if name == "digits" else options.sizes:
            able = [one for one in options.engines if _takes(one, name, n)]
            seeds = options.seeds if n <= SEEDS_MAX_ROWS else 1
            jobs += harness.jobs_of(able, name, n, seeds, "seed")
    harness.measure("benchmarks.engine", results, jobs, judged)
    results.finish(markdown(_summary(results.rows)), markdown(_verdicts(results.rows)))


def _takes(engine: str, name: str, n: int) -> bool:
    """Say whether an engine is installed and is not hopeless at a size."""
    package = PACKAGES.get(engine)
    installed = package is None or importlib.util.find_spec(package) is not None
    if n == SIZES[-1]:
        return installed and engine in LARGEST_BY.get(name, ())
    return installed and n <= MOST_ROWS.get(engine, n)


def judged(job: dict[str, Any], Y: NDArray[Any]) -> dict[str, float]:
    """Return the quality of a map, and how well it keeps the order of groups."""
    name, n, seed = job["data"], job["n"], job["seed"]
    if n > JUDGED_MAX_ROWS:
        return {}
    X, _ = judged_data(name, n, seed)
    order = _centroid_spearman(X, Y, _groups(name, n, seed))
    return {**quality(name, n, Y, seed), "spearman": round(order, 4)}


@cache
def _groups(name: str, n: int, seed: int) -> Any:
    """Return a group for each row; only those asked for last are kept."""
    from sklearn.cluster import MiniBatchKMeans

    _groups.cache_clear()
    X, _ = judged_data(name, n, seed)
    return MiniBatchKMeans(GROUPS, random_state=0, n_init=1).fit_predict(X)


def _centroid_spearman(X: NDArray[Any], Y: NDArray[Any], groups: NDArray[Any]) -> float:
    """Return how well the map keeps the order of the distances between groups."""
    from scipy.spatial.distance import pdist
    from scipy.stats import spearmanr

    present = np.unique(groups)
    centres = [np.array([Z[groups == g].mean(axis=0) for g in present]) for Z in (X, Y)]
    return float(spearmanr(pdist(centres[0]), pdist(centres[1])).statistic)


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return median and spread (standard deviation over seeds) for every engine and data set."""
    groups: dict[tuple[str, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        groups.setdefault((row["data"], int(row["n"]), row["engine"]), []).append(row)
    table = []
    for (name, n, engine), group in groups.items():
        peer = groups.get((name, n, "openTSNE"))
        line: dict[str, Any] = {"data": name, "n": n, "engine": engine, "seeds": len(group)}
        for metric in METRICS:
            values = [float(row[metric]) for row in group if row.get(metric)]
            if not values:
                line[metric] = ""
                continue
            digits = {"seconds": 2, "peak_mb": 0}.get(metric, 3)
            spread = f" ± {statistics.stdev(values):.{digits}f}" if len(values) > 1 else ""
            line[metric] = f"{statistics.median(values):.{digits}f}{spread}"
        if peer:
            theirs = statistics.median(float(row["seconds"]) for row in peer)
            ours = statistics.median(float(row["seconds"]) for row in group)
            line["openTSNE / this"] = f"{theirs / ours:.1f}"
        else:
            line["openTSNE / this"] = ""
        table.append(line)
    return table


def _verdicts(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return how our maps differ from openTSNE's of the same rows and seed.

    Each cell is the mean difference over seeds, better being positive, and in brackets openTSNE's
    own standard deviation over seeds; ``!`` marks what is worse by more than that.
    """
    judged = [row for row in rows if row.get("kl")]
    runs = {(row["data"], int(row["n"]), row["engine"], int(row["seed"])): row for row in judged}
    table = []
    for name, n, engine in dict.fromkeys(key[:3] for key in runs):
        seeds = [
            seed
            for seed in range(SEEDS)
            if (name, n, engine, seed) in runs and (name, n, "openTSNE", seed) in runs
        ]
        if not engine.startswith("native") or len(seeds) < 2:
            continue
        line: dict[str, Any] = {"data": name, "n": n, "engine": engine, "seeds": len(seeds)}
        for metric, sign in (("kl", -1), ("preservation", 1), ("spearman", 1)):
            ours, theirs = (
                [float(runs[name, n, which, seed][metric]) for seed in seeds]
                for which in (engine, "openTSNE")
            )
            better = sign * (statistics.mean(ours) - statistics.mean(theirs))
            spread = statistics.stdev(theirs)
            mark = " !" if better < -spread else ""
            line[metric] = f"{better:+.4f} ({spread:.4f}){mark}"
        table.append(line)
    return table


if __name__ == "__main__":
    main()
