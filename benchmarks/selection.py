"""How well ``auto`` chooses: regret in simulated worlds, and on real runs of this machine.

Regret is the time of the way chosen over the time of the best, less one. Run
``python -m benchmarks.selection``; ``--quick`` ends in about a minute.
"""

from __future__ import annotations

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from benchmarks import data, harness
from benchmarks.judging import perplexity
from benchmarks.tables import Results, markdown
from benchmarks.worlds import World, draw_problem, draw_world, noisy
from tsne_backends import store
from tsne_backends.errors import BackendError
from tsne_backends.learning import measured_link
from tsne_backends.machine import Link
from tsne_backends.plan import Plan
from tsne_backends.planning import make_plan
from tsne_backends.problem import Problem
from tsne_backends.runs import PastRun

#: Problems on which each simulated user's regret is taken.
PROBLEMS_PER_WORLD = 5
#: Seconds between two problems of a simulated user: containers are cold unless drawn to be warm.
BETWEEN_PROBLEMS_SECONDS = 3600.0


def _engine(name: str) -> Any:
    def run(X: NDArray[Any]) -> tuple[NDArray[Any], dict[str, Any]]:
        from tsne_backends import ServerlessTSNE

        tsne = ServerlessTSNE(backend=name, random_state=0, perplexity=perplexity(len(X))).fit(X)
        return tsne.embedding_, {"fit_seconds": round(tsne.timings_["total"], 3)}

    return run


ENGINES = {name: _engine(name) for name in ("native", "opentsne", "sklearn")}


@dataclass(frozen=True)
class Knowledge:
    """What the planner of a simulated user knows: its name, past runs, and the connection."""

    name: str
    n_runs: int
    knows_link: bool


KNOWLEDGE = (
    Knowledge("probed", 0, True),
    Knowledge("probed, connection unknown", 0, False),
    Knowledge("after 20 runs", 20, True),
    Knowledge("after 20 runs, connection unknown at first", 20, False),
)


def main() -> None:
    """Simulate, measure, and write tables and plot."""
    sizes = [300, 1_000, 3_000, 10_000, 20_000, 50_000]
    parser = harness.parser(__doc__, sizes=sizes, data=["mixture10"])
    parser.add_argument("--worlds", type=int, default=2_000)
    options = harness.parsed(parser, sizes=[300, 1_000], worlds=100)
    # The simulation follows from the code alone and is always made anew.
    simulated = Results("selection", options.out, quick=options.quick, fresh=True)
    real = Results("selection_real", options.out, quick=options.quick, fresh=options.fresh)
    for knowledge in KNOWLEDGE:
        for row in _simulated(knowledge, options.worlds):
            simulated.add(row)
    # A cache folder of its own: nothing learned before, nothing left behind.
    with tempfile.TemporaryDirectory() as folder:
        store.folder = lambda: Path(folder)
        for name in options.data:
            for n in options.sizes:
                if not real.knows({"data": name, "n": n}):
                    real.add(_real(name, n))
        timing = _planning_milliseconds()
    simulated.finish(markdown(simulated.rows), markdown(real.rows), timing)


def simulate(knowledge: Knowledge, n_worlds: int) -> dict[str, list[float]]:
    """Return the regrets of ``auto``, and of two rules that need no model, in the same worlds.

    Parameters
    ----------
    knowledge : Knowledge
        What the planner of each user knows.
    n_worlds : int
        Users; each is judged on `PROBLEMS_PER_WORLD` problems.

    Returns
    -------
    dict of str to list of float
        By rule: time of the way taken over time of the best, less one.
    """
    rng = np.random.default_rng(0)
    regrets: dict[str, list[float]] = {"auto": [], "always here": [], "always rented": []}
    for _ in range(n_worlds):
        for rule, regret in _live(rng, draw_world(rng), knowledge):
            regrets[rule].append(regret)
    return regrets


def _simulated(knowledge: Knowledge, n_worlds: int) -> list[dict[str, Any]]:
    rows = []
    for rule, values in simulate(knowledge, n_worlds).items():
        if rule == "auto" or knowledge is KNOWLEDGE[0]:
            rows.append(
                {
                    "knowledge": knowledge.name if rule == "auto" else "none",
                    "rule": rule,
                    "problems": len(values),
                    "mean regret": f"{100 * np.mean(values):.1f} %",
                    "95th percentile": f"{100 * np.quantile(values, 0.95):.0f} %",
                    "99th percentile": f"{100 * np.quantile(values, 0.99):.0f} %",
                }
            )
    return rows


def _live(rng: np.random.Generator, world: World, knowledge: Knowledge) -> list[tuple[str, float]]:
    """Let one user work, run after run; return the regrets of the last few."""
    seen = world.seen if knowledge.knows_link else replace(world.seen, link=Link())
    runs: list[PastRun] = []
    regrets = []
    for step in range(knowledge.n_runs + PROBLEMS_PER_WORLD):
        problem, now = draw_problem(rng, world), 1e9 + step * BETWEEN_PROBLEMS_SECONDS
        since = dict.fromkeys(world.labels(), 10.0) if rng.random() < 0.5 else {}
        machine = replace(seen, link=measured_link(runs, seen.link), seconds_since_call=since)
        try:
            plan = make_plan(problem, world.candidates, machine=machine, runs=runs, now=now)
        except BackendError:  # too large for every way there is
            continue
        truth = replace(world.truth, seconds_since_call=since)
        true = {one: world.true_estimate(one, problem, truth) for one in plan.order}
        totals = {label: estimate.total for label, estimate in true.items() if estimate}
        if step >= knowledge.n_runs:
            regrets += _regrets(plan, totals)
        took = true[plan.chosen]
        if took is not None:
            runs.append(world.past_run(plan.chosen, problem, machine, noisy(rng, took), now))
    return regrets


def _regrets(plan: Plan, totals: dict[str, float]) -> list[tuple[str, float]]:
    best = min(totals.values())
    found = [("auto", totals[plan.chosen] / best - 1)]
    rented = [label for label in totals if label.startswith("rented")]
    if "native" in totals:
        found.append(("always here", totals["native"] / best - 1))
    if rented:
        found.append(("always rented", totals[rented[0]] / best - 1))
    return found


def _real(name: str, n: int) -> dict[str, Any]:
    """Run every CPU engine on one data set; compare with what a fresh, probed planner chose."""
    from tsne_backends import ServerlessTSNE

    X = data.load(name, n)
    os.environ["SERVERLESS_TSNE_REMEMBER"] = "0"  # what was run here must not help
    plan = ServerlessTSNE(perplexity=perplexity(n)).plan(X)
    os.environ.pop("SERVERLESS_TSNE_REMEMBER")
    took: dict[str, list[float]] = {engine: [] for engine in ENGINES}
    for _, engine in harness.alternate(list(ENGINES), 1 if n > 5_000 else 3):
        job = {"engine": engine, "data": name, "n": n}
        facts, _ = harness.run_in_process("benchmarks.selection", job)
        took[engine].append(facts["fit_seconds"])
    seconds = {engine: statistics.median(times) for engine, times in took.items()}
    expected = {way.label: way.total for way in plan.usable}
    row = {"data": name, "n": n, "d": X.shape[1], "chosen": plan.chosen}
    for engine in ENGINES:
        row[f"{engine} expected s"] = f"{expected[engine]:.2f}"
        row[f"{engine} took s"] = f"{seconds[engine]:.2f}"
    regret = seconds[plan.chosen] / min(seconds.values()) - 1
    return {**row, "regret": f"{100 * regret:.0f} %"}


def _planning_milliseconds() -> str:
    """Time a plan with a full memory of past runs; the first, which probes, is not counted."""
    from tsne_backends import runs
    from tsne_backends.decision import decide
    from tsne_backends.machine import machine_id
    from tsne_backends.settings import Settings

    problem = Problem(50_000, 50, n_bytes=10_000_000, n_threads=2)
    kind = runs.kind_of(problem)
    decide(problem, "auto", Settings(), probe=True)
    for number in range(runs.KEEP_IN_ALL):
        parts = {"neighbours": 1.0 + number / 100, "optimise": 10.0}
        label, rows = ("native", "opentsne")[number % 2], 300 * (number + 1)
        runs.remember(
            PastRun(label, machine_id(), kind, rows, 50, 2, parts, parts, ended_at=time.time())
        )
    seconds = []
    for _ in range(101):
        start = time.perf_counter()
        decide(problem, "auto", Settings())
        seconds.append(time.perf_counter() - start)
    return (
        f"Planning with {runs.KEEP_IN_ALL} remembered runs: "
        f"{1000 * statistics.median(seconds):.2f} ms (median of {len(seconds)}; "
        f"the first, which reads the file, {1000 * seconds[0]:.2f} ms).\n"
    )


if __name__ == "__main__":
    main()
