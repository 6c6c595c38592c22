"""The published table on a real account: 50,000 to 1,058,909 rows of 10 features on a Modal T4.

``python -m benchmarks.modal_live`` needs ``serverless-tsne deploy`` first. It says what it can cost
at most, asks, and writes ``results/modal_live.csv`` beside the published seconds.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from benchmarks import data, harness
from benchmarks.published import MODAL_T4
from benchmarks.tables import markdown, medians
from tsne_backends import ServerlessTSNE
from tsne_backends.transfer import GPUS, IDLE_SECONDS

#: A run may take this many times as long as published before it is ended.
CEILING = 4.0


def main() -> None:
    """Print the ceiling, ask, and measure."""
    parser = harness.parser(__doc__, sizes=list(MODAL_T4), repeats=3)
    parser.add_argument("--gpu", choices=list(GPUS), default="T4")
    parser.add_argument("--yes", action="store_true", help="Do not ask.")
    options = harness.parsed(parser, sizes=[50_000], repeats=1)
    ceiling = cost_ceiling(options.gpu, options.repeats, options.sizes)
    print(f"This rents a {options.gpu} and costs at most ${ceiling:.2f}.")
    if not options.yes and not input("Go on? [y/N] ").strip().lower().startswith("y"):
        return
    results = harness.results_of("modal_live", options)
    for n in options.sizes:
        X = data.load("mixture10", n)
        for repeat in range(1 + options.repeats):  # the first may find no container
            job = {"gpu": options.gpu, "n": n, "repeat": repeat}
            if not results.knows(job):
                published = {"published_s": MODAL_T4[n]}
                results.add({**job, **published, **_fit(X, repeat, options.gpu)})
    warm = [row for row in results.rows if row["repeat"]]
    results.finish(markdown(medians(warm, ["gpu", "n"], ["published_s", "total_s", "kl"])))


def cost_ceiling(gpu: str, repeats: int, sizes: Sequence[int] = tuple(MODAL_T4)) -> float:
    """Return the dollars that all runs together can cost: each is ended at its own limit."""
    return sum((1 + repeats) * _max_cost(n, gpu) for n in sizes)


def _max_cost(n: int, gpu: str) -> float:
    per_second = GPUS[gpu].usd_per_hour / 3600
    return per_second * (IDLE_SECONDS + CEILING * MODAL_T4[n] + 60)


def _fit(X: Any, repeat: int, gpu: str) -> dict[str, Any]:
    # Sent anew each time, as in the published table.
    fresh = X + X.dtype.type(0)
    fresh[0, 0] += 1e-3 * (1 + repeat)
    tsne = ServerlessTSNE(
        backend="modal",
        backend_options={"gpu": gpu},
        random_state=0,
        max_cost=_max_cost(len(X), gpu),
    ).fit(fresh)
    return {
        "kl": round(tsne.kl_divergence_, 4),
        **{f"{phase}_s": round(seconds, 2) for phase, seconds in tsne.timings_.items()},
        **tsne.plan_.transfer,
    }


if __name__ == "__main__":
    main()
