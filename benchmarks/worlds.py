"""Simulated users for ``benchmarks.selection``: machines, connections, and what runs truly take.

A world knows the true seconds of every way to run a problem. They depart from the cost model's form
by up to 40 %, differently for each engine and part and changing with the size of the data. What the
planner gets to see is what a probe would tell it: speeds and rates with errors.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tsne_backends import transfer
from tsne_backends.answers import ESTIMATED_PARTS, Embedding, Estimate, Offer, Verdict
from tsne_backends.backend import ESTIMATOR_PARAMETERS, Backend, Parameter
from tsne_backends.backends.native import NativeBackend
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.backends.sklearn import SklearnBackend
from tsne_backends.machine import Link, Machine, Speeds
from tsne_backends.problem import Problem
from tsne_backends.runs import PastRun, kind_of

#: Largest departure of the truth from the model, as a factor.
LARGEST_DEPARTURE = 1.4
#: Waves of the ripple over the whole range of rows: one for each factor of 20.
RIPPLES = 3
#: Spread (standard deviation of the logarithm) of one run around its own truth, and the share of
#: runs that something else on the machine makes twice as slow.
RUN_SPREAD, SLOW_SHARE = 0.05, 0.03
#: Spread of what a probe measures around the truth: speeds, rates, and the round trip.
SPEED_ERROR, RATE_ERROR, TRIP_ERROR = 0.15, 0.2, 0.1
ROWS, FEATURES = (500, 5_000_000), (2, 3_000)
#: Kinds of GPU that a user's service may offer; none for a fifth of the users.
SERVICES = (
    (),
    ("T4",),
    ("L4",),
    ("T4", "L4"),
    ("T4", "L4", "L40S", "A100-80GB", "H100"),
)


class Rented(Backend):
    """A service that could run on several kinds of GPU; here only its estimates are used."""

    name = "rented"
    where = "a simulated service"
    remote = True
    parameters: Mapping[str, Parameter] = MappingProxyType(
        {name: Parameter(name) for name in ESTIMATOR_PARAMETERS}
    )

    def __init__(self, gpus: Sequence[str]) -> None:
        self.gpus = gpus

    def available(self) -> Verdict:
        """Say yes."""
        return Verdict(True, "It is simulated.")

    def offers(self, problem: Problem, machine: Machine) -> Sequence[Offer]:
        """Return one offer for each kind of GPU."""
        return [self._offer(transfer.GPUS[gpu], problem, machine) for gpu in self.gpus]

    def _offer(self, gpu: transfer.Gpu, problem: Problem, machine: Machine) -> Offer:
        warm = machine.is_warm(f"rented:{gpu.name}", transfer.IDLE_SECONDS)
        estimate = transfer.remote_estimate(problem, gpu, machine.link, warm=warm)
        too_large = estimate.memory_bytes > gpu.memory_bytes
        return Offer(gpu.name, estimate, "It does not fit the GPU." if too_large else "")

    def embed(self, problem: Problem, X: Any, run: Any) -> Embedding:
        """Refuse: nothing is computed in a simulation."""
        raise NotImplementedError("A simulated service computes nothing.")


@dataclass(frozen=True)
class World:
    """One user.

    Attributes
    ----------
    truth : Machine
        The machine and connection as they are.
    seen : Machine
        The same as a probe saw it.
    candidates : mapping of str to Backend
    departures : mapping of (label, part) to four numbers
        How the truth departs from the model: everywhere, with rows, with features, and in ripples
        over the rows. Their magnitudes add up to 1, so that each departure reaches its largest.
    ripple : float
        Where the ripples begin.
    """

    truth: Machine
    seen: Machine
    candidates: Mapping[str, Backend]
    departures: Mapping[tuple[str, str], NDArray[np.float64]]
    ripple: float = 0.0

    def true_estimate(self, label: str, problem: Problem, machine: Machine) -> Estimate | None:
        """Return what one way truly takes, noise apart; None where it cannot run."""
        backend = self.candidates[label.partition(":")[0]]
        variant = label.partition(":")[2]
        for offer in backend.offers(problem, machine):
            if offer.variant == variant and offer.estimate is not None and not offer.refusal:
                parts = {
                    part: seconds * self._departure(label, part, problem)
                    for part, seconds in offer.estimate.parts().items()
                }
                return replace(offer.estimate, **parts)
        return None

    def past_run(
        self, label: str, problem: Problem, machine: Machine, took: Estimate, now: float
    ) -> PastRun:
        """Return a run as `tsne_backends.decision` would remember it."""
        backend, _, variant = label.partition(":")
        remote = self.candidates[backend].remote
        offers = self.candidates[backend].offers(problem, machine.as_reference())
        reference = next(one.estimate for one in offers if one.variant == variant)
        sent = {"upload": problem.n_bytes, "download": 8.0 * problem.n_samples}
        return PastRun(
            label=label,
            machine="simulated",
            kind=kind_of(problem),
            n_samples=problem.n_samples,
            n_features=problem.n_features,
            n_threads=problem.n_threads,
            seconds=took.parts(),
            reference=reference.parts() if reference else {},
            ended_at=now,
            n_bytes=sent if remote else {},
        )

    def labels(self) -> list[str]:
        """Return every way to run."""
        rented = self.candidates.get("rented")
        gpus = rented.gpus if isinstance(rented, Rented) else ()
        return ["native", "opentsne", "sklearn", *(f"rented:{gpu}" for gpu in gpus)]

    def _departure(self, label: str, part: str, problem: Problem) -> float:
        rows, features = _middle(problem.n_samples, ROWS), _middle(problem.n_features, FEATURES)
        shape = [1.0, rows, features, math.sin(RIPPLES * math.pi * rows + self.ripple)]
        return LARGEST_DEPARTURE ** float(self.departures[label, part] @ shape)


def draw_world(rng: np.random.Generator) -> World:
    """Draw a user: machine, connection, service, and how the truth departs from the model."""
    core = _log_uniform(rng, 0.3, 3)
    speeds = Speeds(core, core * rng.uniform(0.7, 1.5), rng.uniform(0.4, 0.95), measured=True)
    upload = _log_uniform(rng, 2e6, 1e9) / 8
    link = Link(_log_uniform(rng, 0.005, 0.3), upload, upload * rng.uniform(1, 5), measured=True)
    cores = round(_log_uniform(rng, 2, 64))
    truth = Machine(cores, memory_bytes=4e9 * cores, speeds=speeds, link=link)
    seen = replace(truth, speeds=_seen_speeds(rng, speeds), link=_seen_link(rng, link))
    gpus = SERVICES[rng.integers(len(SERVICES))]
    candidates: dict[str, Backend] = {
        "native": NativeBackend(),
        "opentsne": OpenTSNEBackend(),
        "sklearn": SklearnBackend(),
    }
    if gpus:
        candidates["rented"] = Rented(gpus)
    world = World(truth, seen, candidates, {})
    departures = {
        (label, part): rng.dirichlet(np.ones(4)) * rng.choice((-1, 1), size=4)
        for label in world.labels()
        for part in ESTIMATED_PARTS
    }
    return replace(world, departures=departures, ripple=rng.uniform(0, 2 * math.pi))


def draw_problem(rng: np.random.Generator, world: World) -> Problem:
    """Draw data of any size, of which X at least fits this machine."""
    while True:
        n, d = round(_log_uniform(rng, *ROWS)), round(_log_uniform(rng, *FEATURES))
        if 4 * n * d < world.truth.memory_bytes / 4:
            return Problem(n, d, n_bytes=4 * n * d, n_threads=world.truth.cores)


def noisy(rng: np.random.Generator, estimate: Estimate) -> Estimate:
    """Return what one run takes: its truth, noise, and now and then a slow spell."""
    slow = 2.0 if rng.random() < SLOW_SHARE else 1.0
    parts = estimate.parts().items()
    return replace(
        estimate,
        **{part: value * slow * rng.lognormal(0, RUN_SPREAD) for part, value in parts},
    )


def _seen_speeds(rng: np.random.Generator, true: Speeds) -> Speeds:
    return Speeds(
        true.core * rng.lognormal(0, SPEED_ERROR),
        true.matrix * rng.lognormal(0, SPEED_ERROR),
        float(np.clip(true.thread_efficiency + rng.normal(0, 0.1), 0, 1)),
        measured=True,
    )


def _seen_link(rng: np.random.Generator, true: Link) -> Link:
    return Link(
        true.round_trip_seconds * rng.lognormal(0, TRIP_ERROR),
        true.upload_bytes_per_second * rng.lognormal(0, RATE_ERROR),
        true.download_bytes_per_second * rng.lognormal(0, RATE_ERROR),
        measured=True,
    )


def _log_uniform(rng: np.random.Generator, low: float, high: float) -> float:
    return float(np.exp(rng.uniform(np.log(low), np.log(high))))


def _middle(value: float, bounds: tuple[int, int]) -> float:
    """Return where a value lies between two bounds, on a logarithmic scale from -1 to 1."""
    low, high = map(math.log, bounds)
    return 2 * (math.log(value) - low) / (high - low) - 1
