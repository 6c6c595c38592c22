"""A map of a sample, with the other rows placed on it, against the map of all rows.

Run ``python -m benchmarks.sampling``; ``--quick`` ends in about a minute. A run that was stopped
goes on where it was.
"""

from __future__ import annotations

from typing import Any

from numpy.typing import NDArray

from benchmarks import harness
from benchmarks.judging import perplexity, quality
from benchmarks.tables import markdown, medians

DATA = ("mixture10", "patches48")
QUALITIES = ("kl", "preservation")


def _full(X: NDArray[Any], seed: int) -> tuple[NDArray[Any], dict[str, Any]]:
    tsne = _estimator(len(X), seed).fit(X)
    return tsne.embedding_, {"fitted_rows": len(X), "fit_s": round(tsne.timings_["total"], 2)}


def _sampled(X: NDArray[Any], seed: int, divisor: int) -> tuple[NDArray[Any], dict[str, Any]]:
    from tsne_backends import sample_rows
    from tsne_backends.sampled_fit import fit_sample

    rows = sample_rows(X, len(X) // divisor, random_state=seed)
    tsne = _estimator(len(rows), seed)
    placed = fit_sample(tsne, X, rows, place_rest=True)
    facts = {"fitted_rows": len(rows), "fit_s": round(tsne.timings_["total"], 2)}
    return placed.embedding, facts


def _estimator(n: int, seed: int) -> Any:
    from tsne_backends import ServerlessTSNE

    return ServerlessTSNE(backend="native", random_state=seed, perplexity=perplexity(n))


#: The harness calls these with the seed of the job.
SEEDED = {
    "full": _full,
    "sample 1/2": lambda X, seed: _sampled(X, seed, 2),
    "sample 1/10": lambda X, seed: _sampled(X, seed, 10),
}


def main() -> None:
    """Measure what is missing in the table, and summarise it."""
    parser = harness.parser(__doc__, sizes=[200_000], data=DATA, repeats=1)
    options = harness.parsed(parser, sizes=[4_000])
    results = harness.results_of("sampling", options)
    for name in options.data:
        for n in options.sizes:
            jobs = harness.jobs_of(list(SEEDED), name, n, options.repeats, "seed")
            harness.measure("benchmarks.sampling", results, jobs, _judged)
    results.finish(markdown(_summary(results.rows)))


def _judged(job: dict[str, Any], Y: NDArray[Any]) -> dict[str, float]:
    return quality(job["data"], job["n"], Y, job["seed"])


def _summary(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Return medians over the repeats, and how many times as fast as the map of all rows."""
    table = medians(rows, ["data", "n", "engine"], ["seconds", "fit_s", "peak_mb", *QUALITIES])
    full = {(line["data"], line["n"]): line for line in table if line["engine"] == "full"}
    for line in table:
        whole = full.get((line["data"], line["n"]))
        line["full / this"] = f"{whole['seconds'] / line['seconds']:.1f}" if whole else ""
    return table


if __name__ == "__main__":
    main()
