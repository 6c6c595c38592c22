"""From a problem to a plan, and from a run to what the next plan will know.

Gathers what `planning.make_plan` decides by: the backends, this machine, past runs. The one room
that reads and writes that knowledge on behalf of the estimator.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from tsne_backends.answers import ESTIMATED_PARTS, Estimate
from tsne_backends.backend import Backend
from tsne_backends.dispatch import backends_for
from tsne_backends.errors import ConfigurationError, did_you_mean
from tsne_backends.learning import measured_link
from tsne_backends.machine import Machine, machine_id
from tsne_backends.plan import Candidate, Plan, way_label
from tsne_backends.planning import make_plan
from tsne_backends.probe import this_machine
from tsne_backends.problem import EARLY_EXAGGERATION_ITER, Problem
from tsne_backends.registry import list_backends
from tsne_backends.run import Run
from tsne_backends.runs import PastRun, kind_of, now, past_runs, remember, seconds_since_call
from tsne_backends.settings import Settings
from tsne_backends.wording import price, size

logger = logging.getLogger("tsne_backends")

#: Expected seconds below which a fit does not stop to measure the machine first: a wrong choice
#: then costs little more than the probe.
WORTH_A_PROBE_SECONDS = 5.0

#: To which part of an estimate each timed phase of a run belongs.
PART_OF_PHASE = {
    **{part: part for part in ESTIMATED_PARTS},
    "encoding": "start",
    "decoding": "start",
    "affinities": "optimise",
    "initialisation": "optimise",
    "optimisation": "optimise",
    "check": "optimise",
}


@dataclass(frozen=True)
class Decision:
    """A plan with all it was made from.

    Attributes
    ----------
    plan : Plan
    problem : Problem
    candidates : mapping of str to Backend
    asked : str
        ``"auto"`` or a backend's name.
    settings : Settings
    machine : Machine
    runs : sequence of PastRun
        Past runs on this machine.
    announced : set of str
        Remote backends of which the user was told.
    """

    plan: Plan
    problem: Problem
    candidates: Mapping[str, Backend]
    asked: str
    settings: Settings
    machine: Machine
    runs: Sequence[PastRun]
    announced: set[str] = field(default_factory=set)

    def announce(self, way: Candidate) -> None:
        """Say in one line that data leave the machine, the first time ``auto`` sends them."""
        seen = {run.backend for run in self.runs if run.asked == "auto"} | self.announced
        if self.asked != "auto" or not way.remote or way.backend in seen:
            return
        self.announced.add(way.backend)
        cost = f", expected cost {price(way.estimate)}" if way.estimate else ""
        logger.warning(
            "Sending X (%s) to %s (%s)%s. allow_remote=False keeps data on this machine.",
            size(self.problem.n_bytes),
            way.label,
            self.candidates[way.backend].where,
            cost,
        )

    def learn(self, way: Candidate, run: Run, n_iter: int) -> Plan:
        """Remember what a run took, and put it beside what was expected.

        Parameters
        ----------
        way : Candidate
            What ran.
        run : Run
            Its timings.
        n_iter : int
            Iterations run: fewer than planned where the optimisation ended early.

        Returns
        -------
        Plan
            The plan with ``ran`` and ``actual``, and the phases of what ran.
        """
        seconds: dict[str, float] = {}
        for phase, value in run.timings.items():
            if part := PART_OF_PHASE.get(phase):
                seconds[part] = seconds.get(part, 0.0) + value
        actual = Estimate(**{"neighbours": 0.0, "optimise": 0.0, **seconds})
        if way.estimate is not None and way.estimate.usd:
            actual = replace(actual, usd=way.estimate.usd * actual.total / way.estimate.total)
        if self.settings.remember and n_iter >= EARLY_EXAGGERATION_ITER:
            self._remember(way, run, n_iter, seconds)
        phases = self.candidates[way.backend].schedule(self.problem)
        return self.plan.after_run(way.label, actual, run.transfer, phases)

    def _remember(
        self, way: Candidate, run: Run, n_iter: int, seconds: Mapping[str, float]
    ) -> None:
        backend = self.candidates[way.backend]
        done = self.problem
        # What "auto" ran to its end may cost other than the plain schedule of as many iterations.
        if n_iter != sum(phase.n_iter for phase in backend.schedule(done)):
            done = replace(done, max_iter=n_iter)
        offers = {
            way_label(way.backend, offer.variant): offer.estimate
            for offer in backend.offers(done, self.machine.as_reference())
        }
        reference = offers.get(way.label)
        if reference is None:
            return
        # An engine that was loaded by now would start at once; how long it took to load is known.
        kept = {part: value for part, value in seconds.items() if reference.parts()[part] > 0}
        if "optimise" in kept:  # what the user's callbacks do is not the engine's speed
            kept["optimise"] = max(0.0, kept["optimise"] - run.callback_seconds)
        if run.cache.is_on:  # a graph from the cache tells nothing about searching
            kept.pop("neighbours", None)
        remember(
            PastRun(
                label=way.label,
                machine=machine_id(),
                kind=kind_of(done),
                n_samples=done.n_samples,
                n_features=done.n_features,
                n_threads=done.n_threads,
                seconds={part: round(value, 5) for part, value in kept.items()},
                reference={part: round(reference.parts()[part], 5) for part in kept},
                ended_at=now(),
                asked=self.asked,
                n_bytes=dict(run.n_bytes),
            )
        )


def decide(problem: Problem, asked: str, settings: Settings, *, probe: bool = False) -> Decision:
    """Plan one run.

    Parameters
    ----------
    problem : Problem
    asked : str
        ``"auto"`` or a backend's name.
    settings : Settings
        The user's limits.
    probe : bool, default=False
        Whether to measure this machine first if that was never done; otherwise it is measured
        only where there is a choice and much to lose by it.

    Returns
    -------
    Decision

    Raises
    ------
    UnknownBackendError, BackendUnavailableError, UnsupportedProblemError, LimitError
        As in `planning.make_plan` and `dispatch.backends_for`.
    """
    candidates = backends_for(asked, problem.options)
    _check_names(settings)
    runs = [run for run in past_runs() if run.machine == machine_id()] if settings.remember else []
    time = now()

    def plan_on(machine: Machine) -> Decision:
        plan = make_plan(problem, candidates, asked, machine, settings, runs, time)
        return Decision(plan, problem, candidates, asked, settings, machine, runs)

    machine = _connected(this_machine(probe=probe), candidates, runs, time)
    decision = plan_on(machine)
    plan = decision.plan
    a_choice = len(plan.usable) > 1 and plan.candidates[0].total > WORTH_A_PROBE_SECONDS
    if a_choice and not machine.speeds.measured:
        machine = replace(machine, speeds=this_machine(probe=True).speeds)
        decision = plan_on(machine)
    if any(way.remote for way in decision.plan.usable):
        hopeful = plan_on(replace(machine, assume_warm=True)).plan.candidates[0]
        if hopeful.remote:  # else asking could not change the decision
            return plan_on(_asked(candidates[hopeful.backend], machine))
    return decision


def _check_names(settings: Settings) -> None:
    """Refuse a list of backends that names one which does not exist."""
    known = list_backends()
    for name in settings.backends or ():
        if name not in known:
            raise ConfigurationError(
                f'{settings.source("backends")} lists "{name}", which is no backend; known '
                f"backends: {', '.join(known)}.{did_you_mean(name, known)}"
            )


def _connected(
    machine: Machine, candidates: Mapping[str, Backend], runs: Sequence[PastRun], time: float
) -> Machine:
    """Add what past runs tell of the way to remote machines, if there are any."""
    if not any(backend.remote for backend in candidates.values()):
        return machine
    return replace(
        machine,
        link=measured_link(runs, machine.link),
        seconds_since_call=seconds_since_call(runs, time),
    )


def _asked(backend: Backend, machine: Machine) -> Machine:
    """Add what the remote side answers; one that fails to is taken at the word of the last call."""
    try:
        return backend.ask(machine)
    except Exception as error:  # a plug-in may fail in any way; estimates do without it
        logger.info('Asking "%s" for its state failed: %s.', backend.name, error)
        return machine
