"""What past runs teach: corrections of the cost model, and the speed of the connection.

Pure functions. The model's error for one part of one way of running is taken as a factor that
changes slowly with the size of the data. It starts from what the probe says and moves towards what
runs took: recent runs of a similar size count most, a single slow one little.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from tsne_backends.answers import Estimate
from tsne_backends.machine import Link
from tsne_backends.problem import Problem
from tsne_backends.runs import PastRun, kind_of

#: Spread (standard deviation of the logarithm) of the probed model's error, and of one run's.
MODEL_SPREAD, RUN_SPREAD = 0.35, 0.15
#: A run further than this from the others (in logarithms) counts as a slow spell.
OUTLIER_SPREAD = 0.35
#: In the median the probed model counts as so many runs of this very size.
PRIOR_RUNS = 1.2
#: Runs whose rows, features or threads differ by this factor are half as telling, roughly.
SIMILAR_ROWS, SIMILAR_FEATURES, SIMILAR_THREADS = 4.0, 6.0, 2.0
#: What the least similar run still tells: the engine's speed on this machine as a whole.
LEAST_SIMILARITY = 0.1
#: Share of that for runs of the same backend in another variant.
OTHER_VARIANT = 0.1
#: Days after which a run counts half.
HALF_LIFE_DAYS = 60.0
DAY_SECONDS = 86_400.0

#: Bytes below which a transfer tells the round trip rather than the rate.
SMALL_TRANSFER_BYTES = 20_000
#: Connections change with the place: so many transfers are looked at, and each counts this much of
#: the one after it, so that three or four at a new place outweigh all before.
RECENT_TRANSFERS, TRANSFER_FADING = 20, 0.8


def learned_estimate(
    label: str,
    estimate: Estimate,
    reference: Estimate,
    problem: Problem,
    runs: Sequence[PastRun],
    now: float,
) -> Estimate:
    """Correct an estimate by what runs on this machine took.

    Parameters
    ----------
    label : str
        Backend and variant.
    estimate : Estimate
        The model's, with the speeds that were probed.
    reference : Estimate
        The model's on the reference machine, which is what runs are stored against.
    problem : Problem
    runs : sequence of PastRun
        Of this machine.
    now : float
        Unix time in seconds.

    Returns
    -------
    Estimate
        Transfers are left as they are: they follow from the link.
    """
    backend, kind = label.partition(":")[0], kind_of(problem)
    related = [run for run in runs if (run.backend, run.kind) == (backend, kind)]
    if not related:
        return estimate
    weights = _weights(label, problem, related, now)
    corrected = {}
    for part in ("start", "neighbours", "optimise"):
        told, modelled = getattr(estimate, part), getattr(reference, part)
        observed = [
            (math.log(run.seconds[part] / run.reference[part]), weight)
            for run, weight in zip(related, weights, strict=True)
            if run.seconds.get(part, 0) > 0 and run.reference.get(part, 0) > 0
        ]
        if observed and told > 0 and modelled > 0:
            factors, weight = np.array(observed).T
            factor = _robust_mean(math.log(told / modelled), factors, weight)
            corrected[part] = modelled * math.exp(factor)
    return _repriced(estimate, replace(estimate, **corrected))


def measured_link(runs: Sequence[PastRun], assumed: Link) -> Link:
    """Return round trip and rates as past transfers show them.

    Parameters
    ----------
    runs : sequence of PastRun
        Of this machine, oldest first.
    assumed : Link
        What holds where no transfer tells otherwise.

    Returns
    -------
    Link
        Medians over the newest transfers, so that one stall does not count.
    """
    found: dict[str, float] = {}
    trips = _transfers(runs, "upload", small=True) + _transfers(runs, "download", small=True)
    if trips:
        seconds, weights = np.array([(took, weight) for _, took, weight in trips]).T
        found["round_trip_seconds"] = _weighted_median(seconds, weights)
    trip = found.get("round_trip_seconds", assumed.round_trip_seconds)
    for way in ("upload", "download"):
        if transfers := _transfers(runs, way, small=False):
            # A tenth of the time at least: the round trip of today is not that of every transfer.
            # Long transfers tell the rate best.
            rates, weights = np.array(
                [
                    (size / max(seconds - trip, seconds / 10), size * weight)
                    for size, seconds, weight in transfers
                ]
            ).T
            found[f"{way}_bytes_per_second"] = _weighted_median(rates, weights)
    return replace(assumed, **found, measured=True) if found else assumed


def _transfers(
    runs: Sequence[PastRun], way: str, *, small: bool
) -> list[tuple[float, float, float]]:
    """Return bytes, seconds and weight of the newest transfers of one kind."""
    found = [
        (float(run.n_bytes[way]), run.seconds[way])
        for run in runs
        if way in run.n_bytes
        and run.seconds.get(way, 0) > 0
        and (run.n_bytes[way] <= SMALL_TRANSFER_BYTES) == small
    ][-RECENT_TRANSFERS:]
    return [
        (size, seconds, TRANSFER_FADING**age) for age, (size, seconds) in enumerate(reversed(found))
    ]


def _weights(
    label: str, problem: Problem, runs: Sequence[PastRun], now: float
) -> NDArray[np.float64]:
    """Return how much each run tells about ``problem``; 1 for the same size, just now."""
    sizes = np.log([(run.n_samples, run.n_features, run.n_threads) for run in runs])
    here = np.log([problem.n_samples, problem.n_features, problem.n_threads])
    scale = np.log([SIMILAR_ROWS, SIMILAR_FEATURES, SIMILAR_THREADS])
    distance = (((sizes - here) / scale) ** 2).sum(axis=1)
    similarity = LEAST_SIMILARITY + (1 - LEAST_SIMILARITY) * np.exp(-distance / 2)
    ages = np.array([max(0.0, now - run.ended_at) for run in runs]) / DAY_SECONDS
    same = np.array([1.0 if run.label == label else OTHER_VARIANT for run in runs])
    weights: NDArray[np.float64] = similarity * same * 0.5 ** (ages / HALF_LIFE_DAYS)
    return weights


def _robust_mean(prior: float, values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    """Return the mean of a prior belief and of observations, outliers weighing little.

    An outlier is what lies far from the median, and loses weight with the fourth power of that
    distance. In the median the prior outweighs any one run, so that the first run, if it was a slow
    one, does not become the truth; a second like it does.
    """
    everything = np.append(values, prior)
    middle = _weighted_median(everything, np.append(weights, PRIOR_RUNS))
    certainty = np.append(weights / RUN_SPREAD**2, 1 / MODEL_SPREAD**2)
    trust = certainty / (1 + ((everything - middle) / OUTLIER_SPREAD) ** 2) ** 2
    return float(trust @ everything / trust.sum())


def _weighted_median(values: NDArray[np.float64], weights: NDArray[np.float64]) -> float:
    order = np.argsort(values)
    heaped = np.cumsum(weights[order])
    return float(values[order][np.searchsorted(heaped, heaped[-1] / 2)])


def _repriced(before: Estimate, after: Estimate) -> Estimate:
    """Let the price follow the seconds."""
    return replace(after, usd=before.usd * after.total / before.total) if before.usd else after
