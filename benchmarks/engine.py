"""Our own engine against its peers on the CPU, in one job: seconds, memory, quality, with spread.

Run ``python -m benchmarks.engine``; ``--quick`` ends in about two minutes. A run that was stopped
goes on where it was: rows that are in the table already are not measured again. Peers that are not
installed are left out: ``pip install scikit-learn-intelex manifolds-rs`` adds two.
"""

from __future__ import annotations

import argparse
import importlib.util
import statistics
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

PERPLEXITY = 30.0
#: Seeds up to this many rows; beyond, one.
SEEDS, SEEDS_MAX_ROWS = 5, 50_000
#: Beyond this the exact normalisation takes minutes; 10,000 sampled rows err by about 0.1 %.
EXACT_Z_MAX, Z_SAMPLE = 20_000, 10_000
#: Beyond this exact neighbours would take longer than everything else; seconds, memory and the
#: divergence the engine itself tells are what remains.
JUDGED_MAX_ROWS = 200_000
#: Groups of rows whose centres are compared between data and map.
GROUPS = 40
#: Rows beyond which engines without a fast gradient, or without a fast search, are left out.
MOST_ROWS = {"scikit-learn": 10_000, "scikit-learn-intelex": 10_000}
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
SIZES = (2_000, 10_000, 50_000, 200_000)
METRICS = ("seconds", "peak_mb", "kl", "preservation", "spearman")


def _native(X: NDArray[Any], seed: int, max_iter: int | str) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import ServerlessTSNE

    tsne = ServerlessTSNE(
        backend="native", max_iter=max_iter, random_state=seed, perplexity=_perplexity(X)
    ).fit(X)
    phases = {f"{name}_s": round(value, 2) for name, value in tsne.timings_.items()}
    told = {"iterations": tsne.n_iter_, "told_kl": round(tsne.kl_divergence_, 5)}
    return tsne.embedding_, {**told, **phases}


def _opentsne(X: NDArray[Any], seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    import joblib
    import openTSNE

    tsne = openTSNE.TSNE(random_state=seed, n_jobs=joblib.cpu_count(), perplexity=_perplexity(X))
    return np.asarray(tsne.fit(X)), {"iterations": 750}


def _sklearn(X: NDArray[Any], seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from sklearn.manifold import TSNE

    tsne = TSNE(random_state=seed, n_jobs=-1, perplexity=_perplexity(X))
    return tsne.fit_transform(X), {"iterations": 1000}


def _intelex(X: NDArray[Any], seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from sklearnex.manifold import TSNE

    tsne = TSNE(random_state=seed, n_jobs=-1, perplexity=_perplexity(X))
    return tsne.fit_transform(X), {"iterations": 1000}


def _manifolds(X: NDArray[Any], seed: int, approx: str) -> tuple[NDArray[Any], dict[str, Any]]:
    from manifolds_rs import TSNE

    tsne = TSNE(perplexity=_perplexity(X), approx=approx, seed=seed)
    return np.asarray(tsne.fit_transform(X)), {"iterations": 1000}


#: The harness calls these with the seed of the job.
SEEDED = {
    "native": lambda X, seed: _native(X, seed, 1000),
    "native-750": lambda X, seed: _native(X, seed, 750),
    "native-auto": lambda X, seed: _native(X, seed, "auto"),
    "openTSNE": _opentsne,
    "scikit-learn": _sklearn,
    "scikit-learn-intelex": _intelex,
    "manifolds-rs": lambda X, seed: _manifolds(X, seed, "barnes_hut"),
    "manifolds-rs-fft": lambda X, seed: _manifolds(X, seed, "fft_3k"),
}


def _perplexity(X: NDArray[Any]) -> float:
    return min(PERPLEXITY, len(X) / 4)


def main() -> None:
    """Measure what is missing in the table, and summarise it."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="+", default=list(SIZES))
    parser.add_argument("--data", nargs="+", default=list(DATA))
    parser.add_argument("--engines", nargs="+", default=list(SEEDED), choices=list(SEEDED))
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--million", action="store_true", help="1,000,000 × 10 once, native only")
    parser.add_argument("--out", type=Path, default=harness.RESULTS)
    parser.add_argument("--quick", action="store_true")
    options = parser.parse_args()
    if options.quick:
        options.sizes, options.data, options.seeds = [2_000], ["mixture10", "patches48"], 1
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / ("engine-quick.csv" if options.quick else "engine.csv")
    harness.write_machine(path.with_suffix(".json"))
    rows = harness.read_rows(path)
    for name in options.data:
        for n in [1_797] if name == "digits" else options.sizes:
            engines = [one for one in options.engines if _takes(one, n)]
            seeds = options.seeds if n <= SEEDS_MAX_ROWS else 1
            _measure(name, n, engines, seeds, rows, path)
    if options.million:
        _measure("mixture10", 1_000_000, ["native-auto", "native"], 1, rows, path)
    tables = [harness.markdown(table) for table in (_summary(rows), _verdicts(rows)) if table]
    path.with_suffix(".md").write_text("\n".join(tables), encoding="utf-8")
    print(*tables, sep="\n")


def _takes(engine: str, n: int) -> bool:
    """Say whether an engine is installed and is not hopeless at a size."""
    package = PACKAGES.get(engine)
    installed = package is None or importlib.util.find_spec(package) is not None
    return installed and n <= MOST_ROWS.get(engine, n)


def _measure(
    name: str, n: int, engines: list[str], seeds: int, rows: list[dict[str, Any]], path: Path
) -> None:
    """Measure every engine on one data set, A B C A B C; ``rows`` and the table grow."""
    known = {(row["data"], int(row["n"]), row["engine"], int(row["seed"])) for row in rows}
    for seed, engine in harness.alternate(engines, seeds):
        if (name, n, engine, seed) in known:
            continue
        job = {"engine": engine, "data": name, "n": n, "seed": seed}
        facts, Y = harness.run_in_process("benchmarks.engine", job)
        quality = _quality(name, n, seed, Y) if n <= JUDGED_MAX_ROWS else {}
        rows.append({**job, **facts, **quality})
        print(rows[-1], flush=True)
        harness.write_rows(path, rows)


@cache
def _judge(name: str, n: int, seed: int) -> tuple[Any, Any, Any]:
    """Return data, exact neighbours and groups of rows; the last ones asked for are kept."""
    from sklearn.cluster import MiniBatchKMeans

    _judge.cache_clear()
    X = data.load(name, n, seed)
    groups = MiniBatchKMeans(GROUPS, random_state=0, n_init=1).fit_predict(X)
    return X, exact_graph(X, int(3 * PERPLEXITY)), groups


def _quality(name: str, n: int, seed: int, Y: NDArray[Any]) -> dict[str, float]:
    X, graph, groups = _judge(name, n, seed)
    sample = None if n <= EXACT_Z_MAX else Z_SAMPLE
    return {
        "kl": round(kl_divergence(X, Y, _perplexity(X), graph=graph, sample=sample), 5),
        "preservation": round(neighbor_preservation(X, Y, graph=graph), 4),
        "spearman": round(_centroid_spearman(X, Y, groups), 4),
    }


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
