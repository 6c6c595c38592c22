"""`Plan`: which backend runs, in which order the others would follow, and why.

The record alone. How it is made is in ``planning``, how it is shown in ``plan_view``.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from tsne_backends import plan_view
from tsne_backends.answers import Estimate, Verdict
from tsne_backends.machine import Link
from tsne_backends.problem import Phase


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
