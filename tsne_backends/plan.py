"""`Plan`: which backend runs, in which order the others would follow, and why.

A pure function of the problem and the backends' verdicts; nothing is computed or contacted here.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from tsne_backends.backend import Backend, Verdict
from tsne_backends.errors import BackendUnavailableError, UnsupportedProblemError
from tsne_backends.problem import GRADIENT_FACTOR, Phase, Problem


@dataclass(frozen=True)
class Plan:
    """The decision for one problem, and its reasons.

    Attributes
    ----------
    order : tuple of str
        Backends that can and should run, best first.
    verdicts : mapping of str to Verdict
        For every backend: whether it is in ``order``, and why.
    phases : tuple of Phase
        The schedule, with the effective learning rate of each phase in scikit-learn's units.
    n_samples, n_features : int
        Size of the data the plan is for.
    """

    order: tuple[str, ...]
    verdicts: Mapping[str, Verdict]
    phases: tuple[Phase, ...]
    n_samples: int
    n_features: int

    @property
    def chosen(self) -> str:
        """Name of the backend that runs."""
        return self.order[0]

    def sentence(self) -> str:
        """Return the decision in one line."""
        others = ", ".join(
            f"{name} ({'next' if verdict.ok else 'no'}: {verdict.reason})"
            for name, verdict in self.verdicts.items()
            if name != self.chosen
        )
        return (
            f"{self.n_samples} × {self.n_features} runs on {self.chosen}: "
            f"{self.verdicts[self.chosen].reason}" + (f" Others: {others}" if others else "")
        )

    def table(self) -> str:
        """Return one line per backend: name, verdict, reason."""
        width = max(len(name) for name in self.verdicts)
        lines = []
        for name, verdict in self.verdicts.items():
            mark = "✔ chosen" if name == self.chosen else "✔" if verdict.ok else "✘"
            lines.append(f"{name:<{width}}  {mark:<8}  {verdict.reason}")
        return "\n".join(lines)

    def __repr__(self) -> str:
        rates = ", ".join(
            f"{phase.name}: {phase.n_iter} iterations at learning rate {phase.learning_rate:g} "
            f"(openTSNE's {phase.learning_rate * GRADIENT_FACTOR:g})"
            for phase in self.phases
        )
        return f"Plan for {self.n_samples} × {self.n_features}\n{self.table()}\n{rates}"

    def to_dict(self) -> dict[str, Any]:
        """Return the plan as plain Python values, fit for JSON."""
        return {
            "chosen": self.chosen,
            "order": list(self.order),
            "verdicts": {
                name: {"ok": verdict.ok, "reason": verdict.reason}
                for name, verdict in self.verdicts.items()
            },
            "phases": [vars(phase).copy() for phase in self.phases],
            "n_samples": self.n_samples,
            "n_features": self.n_features,
        }


def make_plan(problem: Problem, candidates: Mapping[str, Backend], asked: str = "auto") -> Plan:
    """Decide which backend computes ``problem``.

    Parameters
    ----------
    problem : Problem
    candidates : mapping of str to Backend
        Every backend to consider, in order of preference.
    asked : str, default="auto"
        ``"auto"``, or the candidate the user insists on: it is obeyed or refused, never swapped.

    Returns
    -------
    Plan

    Raises
    ------
    BackendUnavailableError
        The backend asked for misses a package, a device or credentials.
    UnsupportedProblemError
        The backend asked for, or with ``"auto"`` every backend, cannot compute the problem.
    """
    can = {name: backend.can_run(problem) for name, backend in candidates.items()}
    if asked == "auto":
        verdicts = {
            name: _first_refusal(can[name], backend, problem)
            for name, backend in candidates.items()
        }
    elif can[asked].ok:
        verdicts = {asked: Verdict(True, "It was asked for by name.")}
    else:
        missing = not candidates[asked].available().ok
        error = BackendUnavailableError if missing else UnsupportedProblemError
        raise error(_refusal(asked, can))
    order = tuple(name for name, verdict in verdicts.items() if verdict.ok)
    if not order:
        reasons = " ".join(f"{name}: {verdict.reason}" for name, verdict in verdicts.items())
        raise UnsupportedProblemError(f"No backend can compute this. {reasons}")
    return Plan(order, verdicts, problem.phases, problem.n_samples, problem.n_features)


def _first_refusal(can: Verdict, backend: Backend, problem: Problem) -> Verdict:
    if not can.ok:
        return can
    should = backend.should_run(problem)
    return can if should.ok else should


def _refusal(asked: str, can: Mapping[str, Verdict]) -> str:
    able = [name for name, verdict in can.items() if verdict.ok]
    instead = (
        f"What would work: backend={' or '.join(repr(name) for name in able)}."
        if able
        else "No other backend can compute it either."
    )
    return f'Backend "{asked}" cannot compute this: {can[asked].reason} {instead}'
