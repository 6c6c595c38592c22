"""`make_plan`: from a problem, verdicts, estimates and the user's limits to a `Plan`.

A pure function; nothing is computed, measured or contacted here. What it decides by is gathered in
``decision``; the record it returns is in ``plan``.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from tsne_backends import limits
from tsne_backends.answers import Verdict
from tsne_backends.backend import Backend
from tsne_backends.errors import (
    BackendUnavailableError,
    LimitError,
    UnsupportedProblemError,
)
from tsne_backends.learning import learned_estimate
from tsne_backends.machine import Machine
from tsne_backends.plan import Candidate, Plan, way_label
from tsne_backends.problem import Problem
from tsne_backends.runs import PastRun
from tsne_backends.settings import Settings

#: What takes at most this share and these seconds longer than the quickest is as good: within the
#: model's error data stay here, nothing is paid, and the listed order decides, so that what one run
#: teaches does not send the next to another engine and a seed to another map.
AS_GOOD_SHARE, AS_GOOD_SECONDS = 0.05, 0.2


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
