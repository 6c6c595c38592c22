"""`Plan`: which backend runs, in which order the others would follow, and why.

A pure function of the problem, the backends' verdicts and estimates, and the user's limits; nothing
is computed, measured or contacted here. How a plan is shown is in ``plan_view``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tsne_backends import limits, plan_view
from tsne_backends.backend import Backend, Estimate, Verdict
from tsne_backends.errors import (
    BackendUnavailableError,
    LimitError,
    UnsupportedProblemError,
)
from tsne_backends.learning import learned_estimate
from tsne_backends.machine import Link, Machine
from tsne_backends.problem import Phase, Problem
from tsne_backends.runs import PastRun
from tsne_backends.settings import Settings

#: What takes at most this share and these seconds longer than the quickest is as good: within the
#: model's error data stay here, nothing is paid, and the listed order decides, so that what one run
#: teaches does not send the next to another engine and a seed to another map.
AS_GOOD_SHARE, AS_GOOD_SECONDS = 0.05, 0.2


@dataclass(frozen=True)
class Candidate:
    """One way to compute the problem, and what speaks for or against it.

    Attributes
    ----------
    label : str
        The backend's name, with a variant where it offers several: ``"modal:L4"``.
    backend : str
        The backend's name.
    verdict : Verdict
        Whether it can be taken, and why (not).
    estimate : Estimate or None
        What it is expected to take; None where nobody can tell or it cannot run.
    options : mapping
        What to add to ``backend_options`` to run it.
    remote : bool
        Whether X would leave this machine.
    limited : bool
        Whether a limit of the user's is what closes it.
    """

    label: str
    backend: str
    verdict: Verdict
    estimate: Estimate | None = None
    options: Mapping[str, Any] = field(default_factory=dict)
    remote: bool = False
    limited: bool = False

    @property
    def total(self) -> float:
        """Expected seconds; infinite where nobody can tell."""
        return math.inf if self.estimate is None else self.estimate.total

    @property
    def usd(self) -> float:
        """What one run may be billed at most, in US dollars; infinite where nobody can tell."""
        if self.estimate is None:
            return math.inf if self.remote else 0.0
        return self.estimate.usd + self.estimate.idle_usd


@dataclass(frozen=True)
class Plan:
    """The decision for one problem, and its reasons.

    Attributes
    ----------
    candidates : tuple of Candidate
        Every way there is: those that can run, best first, then those that cannot.
    phases : tuple of Phase
        The schedule of the chosen way, after a run of what ran, with the effective learning rate of
        each phase in scikit-learn's units.
    n_samples, n_features, n_bytes : int
        Size of the data the plan is for.
    prefer : str
        What "best" means: ``"time"``, ``"cost"`` or ``"order"``.
    link : Link or None
        The connection that remote estimates reckon with; None where nothing would be sent.
    ran : str or None
        After a run, the label of what ran: not ``chosen`` where that could not start.
    actual : Estimate or None
        After a run, what it took.
    transfer : mapping
        After a remote run, what was sent: ``codec``, ``n_bytes``, and as ``loss`` the measured
        share of neighbours that encoding changed.
    """

    candidates: tuple[Candidate, ...]
    phases: tuple[Phase, ...]
    n_samples: int
    n_features: int
    n_bytes: int = 0
    prefer: str = "time"
    link: Link | None = None
    ran: str | None = None
    actual: Estimate | None = None
    transfer: Mapping[str, Any] = field(default_factory=dict)

    @property
    def usable(self) -> tuple[Candidate, ...]:
        """The candidates that can run, best first."""
        return tuple(one for one in self.candidates if one.verdict.ok)

    @property
    def order(self) -> tuple[str, ...]:
        """Labels of what can run, best first."""
        return tuple(one.label for one in self.usable)

    @property
    def chosen(self) -> str:
        """Label of what runs."""
        return self.candidates[0].label

    @property
    def estimate(self) -> Estimate | None:
        """What the chosen way is expected to take."""
        return self.candidates[0].estimate

    @property
    def verdicts(self) -> Mapping[str, Verdict]:
        """For every label: whether it is in ``order``, and why."""
        return {one.label: one.verdict for one in self.candidates}

    def sentence(self) -> str:
        """Return the decision in one line."""
        return plan_view.sentence(self)

    def outcome(self) -> str:
        """Return in one line what the run took beside what was expected."""
        return plan_view.outcome(self)

    def table(self) -> str:
        """Return one line per candidate: verdict, seconds of each part, cost."""
        return plan_view.text(self)

    def __repr__(self) -> str:
        return plan_view.text(self, complete=True)

    def _repr_html_(self) -> str:
        return plan_view.html(self)

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain Python values, fit for JSON."""
        return plan_view.plain(self)

    def after_run(
        self,
        label: str,
        actual: Estimate,
        transfer: Mapping[str, Any] | None = None,
        phases: tuple[Phase, ...] | None = None,
    ) -> Plan:
        """Return the plan with what the run took beside what was expected.

        Parameters
        ----------
        label : str
            Of what ran.
        actual : Estimate
            What it took.
        transfer : mapping, optional
            What was sent; see the attribute.
        phases : tuple of Phase, optional
            Its schedule, where that is not the chosen way's.

        Returns
        -------
        Plan
        """
        return replace(
            self,
            ran=label,
            actual=actual,
            transfer=dict(transfer or {}),
            phases=phases or self.phases,
        )


def way_label(backend: str, variant: str) -> str:
    """Return the name of one way to run: ``"opentsne"``, ``"modal:L4"``."""
    return f"{backend}:{variant}" if variant else backend


def make_plan(
    problem: Problem,
    candidates: Mapping[str, Backend],
    asked: str = "auto",
    machine: Machine = Machine(),  # noqa: B008 — frozen
    settings: Settings = Settings(),  # noqa: B008 — frozen
    runs: Sequence[PastRun] = (),
    now: float = 0.0,
) -> Plan:
    """Decide which backend computes ``problem``.

    Parameters
    ----------
    problem : Problem
    candidates : mapping of str to Backend
        Every backend to consider, in order of preference.
    asked : str, default="auto"
        ``"auto"``, or the candidate the user insists on: it is obeyed or refused, never swapped.
    machine : Machine
        What is known of this machine.
    settings : Settings
        The user's limits.
    runs : sequence of PastRun
        Past runs on this machine, which correct the estimates.
    now : float
        Unix time in seconds; older runs count less.

    Returns
    -------
    Plan

    Raises
    ------
    BackendUnavailableError
        The backend asked for misses a package, a device or credentials.
    LimitError
        A limit of the user's closes the backend asked for, or with ``"auto"`` all that could run.
    UnsupportedProblemError
        The backend asked for, or with ``"auto"`` every backend, cannot compute the problem.
    """
    ways: list[Candidate] = []
    for name, backend in candidates.items():
        for way in _offered(name, backend, problem, machine, runs, now):
            ways.append(_judged(way, backend, problem, machine, settings, asked))
    considered = [way for way in ways if asked in ("auto", way.backend)]
    able = _best_first([way for way in considered if way.verdict.ok], settings, list(candidates))
    if not able:
        raise _refusal(asked, considered, ways, candidates)
    refused = [way for way in considered if not way.verdict.ok]
    return Plan(
        (*able, *refused),
        candidates[able[0].backend].schedule(problem),
        problem.n_samples,
        problem.n_features,
        problem.n_bytes,
        settings.prefer,
        machine.link if any(way.remote for way in able) else None,
    )


def _offered(
    name: str,
    backend: Backend,
    problem: Problem,
    machine: Machine,
    runs: Sequence[PastRun],
    now: float,
) -> Iterator[Candidate]:
    """Yield a backend's offers with what they should take, or one refusal if it cannot run."""
    can = backend.can_run(problem)
    if not can.ok:
        yield Candidate(name, name, can, remote=backend.remote)
        return
    reference = {
        offer.variant: offer.estimate
        for offer in (backend.offers(problem, machine.as_reference()) if runs else ())
    }
    offers = backend.offers(problem, machine)
    if not offers:
        reason = Verdict(False, "It offers no way to run this; take another backend.")
        yield Candidate(name, name, reason, remote=backend.remote)
    for offer in offers:
        label = way_label(name, offer.variant)
        verdict = Verdict(False, offer.refusal) if offer.refusal else can
        estimate = offer.estimate
        standard = reference.get(offer.variant)
        if estimate is not None and standard is not None:
            estimate = learned_estimate(label, estimate, standard, problem, runs, now)
        yield Candidate(label, name, verdict, estimate, offer.options, backend.remote)


def _judged(
    way: Candidate,
    backend: Backend,
    problem: Problem,
    machine: Machine,
    settings: Settings,
    asked: str,
) -> Candidate:
    """Apply the limits of user and machine to a candidate that could run."""
    if not way.verdict.ok:
        return way
    limit = limits.set_by_user(way, settings, asked)
    if limit:
        return replace(way, verdict=Verdict(False, limit), limited=True)
    if too_large := limits.set_by_memory(way, machine):
        return replace(way, verdict=Verdict(False, too_large))
    if asked != "auto":
        return replace(way, verdict=Verdict(True, "It was asked for by name."))
    should = backend.should_run(problem)
    return way if should.ok else replace(way, verdict=should)


def _best_first(
    ways: Sequence[Candidate], settings: Settings, names: Sequence[str]
) -> list[Candidate]:
    """Sort by what the user prefers; of what is as good, what stays here and is listed first."""
    listed = settings.backends or names
    quickest = min((way.total for way in ways), default=0.0)

    def rank(way: Candidate) -> tuple[float, ...]:
        position = listed.index(way.backend) if way.backend in listed else len(listed)
        as_good = way.total <= quickest * (1 + AS_GOOD_SHARE) + AS_GOOD_SECONDS
        by_time = (0.0, way.remote, position) if as_good else (way.total, 0, 0)
        return {
            "time": (*by_time, way.usd, way.total),
            "cost": (way.usd, *by_time, way.total),
            "order": (position, *by_time, way.usd, way.total),
        }[settings.prefer]

    return sorted(ways, key=rank)


def _refusal(
    asked: str,
    considered: Sequence[Candidate],
    ways: Sequence[Candidate],
    candidates: Mapping[str, Backend],
) -> Exception:
    """Return the error that says why nothing considered can run, and what could."""
    error: type[Exception] = UnsupportedProblemError
    if any(way.limited for way in considered):
        error = LimitError
    elif asked != "auto" and not candidates[asked].available().ok:
        error = BackendUnavailableError
    if asked == "auto":
        reasons = " ".join(f"{way.label}: {way.verdict.reason}" for way in considered)
        return error(f"No backend can compute this. {reasons}")
    able = list(dict.fromkeys(way.backend for way in ways if way.verdict.ok))
    instead = (
        f"What would work: backend={' or '.join(repr(name) for name in able)}."
        if able
        else "No other backend can compute it either."
    )
    reasons = " ".join(dict.fromkeys(way.verdict.reason for way in considered))
    return error(f'Backend "{asked}" cannot compute this: {reasons} {instead}')
