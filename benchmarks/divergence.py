"""How true the KL divergence is that our own engine tells: no seconds, no other engines.

The truth has exact neighbours and a normalisation over all pairs; beyond 50,000 rows that is
estimated, and its standard error told, too.

Run ``python -m benchmarks.divergence``; ``--quick`` ends in about a minute. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

import statistics
from typing import Any

from numpy.typing import NDArray

from benchmarks import engine, engines, harness
from benchmarks.judging import judged_data, perplexity
from benchmarks.tables import markdown
from tsne_backends.quality import kl_with_error

#: Of the digits too few to miss a neighbour.
DATA = tuple(name for name in engine.DATA if name != "digits")
#: Rows whose pairs with all are summed, a quarter of a minute for as many; beyond, a sample.
Z_SAMPLE = 50_000


def _told(X: NDArray[Any], seed: int, max_iter: int | str) -> engines.Result:
    tsne = engines.fit_ours(X, "native", seed, max_iter)
    told = {"told_kl": tsne.kl_divergence_, "neighbours": tsne.details_["neighbours"]}
    return tsne.embedding_, told


#: The harness calls these with the seed of the job.
SEEDED = {
    "native": lambda X, seed: _told(X, seed, 1000),
    "native-auto": lambda X, seed: _told(X, seed, "auto"),
}


def main() -> None:
    """Measure what is missing in the table, and summarise it."""
    parser = harness.parser(__doc__, sizes=[10_000, 50_000, 200_000], data=DATA, repeats=2)
    options = harness.parsed(parser, sizes=[4_000], data=["mixture10"])
    results = harness.results_of("divergence", options)
    for name in options.data:
        for n in options.sizes:
            jobs = harness.jobs_of(list(SEEDED), name, n, options.repeats, "seed")
            harness.measure("benchmarks.divergence", results, jobs, _judged)
    results.finish(markdown(_summary(results.rows)))


def _judged(job: dict[str, Any], Y: NDArray[Any]) -> dict[str, float]:
    n = job["n"]
    X, graph = judged_data(job["data"], n, job["seed"])
    sample = None if n <= Z_SAMPLE else Z_SAMPLE
    kl, error = kl_with_error(X, Y, perplexity(n), graph=graph, sample=sample)
    return {"kl": kl, "kl_error": error}


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return by how many per cent what is told is off, and the error of the truth itself."""
    groups: dict[tuple[str, int], list[tuple[float, ...]]] = {}
    for row in rows:
        of_run = tuple(float(row[key]) for key in ("told_kl", "kl", "kl_error"))
        groups.setdefault((row["data"], int(row["n"])), []).append(of_run)
    table = []
    for (name, n), runs in groups.items():
        off = [100 * (told / kl - 1) for told, kl, _ in runs]
        error = statistics.median(100 * error / kl for _, kl, error in runs)
        line = {
            "data": name,
            "n": n,
            "maps of both schedules": len(runs),
            "told KL off by, %": _range(off),
        }
        table.append({**line, "standard error of the truth, %": f"{error:.3f}"})
    return table


def _range(values: list[float]) -> str:
    return f"{min(values):+.3f} to {max(values):+.3f}"


if __name__ == "__main__":
    main()
