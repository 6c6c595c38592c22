"""Runs the fits of a sweep: here, in other processes, on a cluster, or on rented machines.

Which fits there are, and what they share, was settled in ``sweeping``.
"""

from __future__ import annotations

import pickle
import time
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed, wait
from dataclasses import dataclass, replace
from typing import Any

import joblib
import numpy as np
from numpy.typing import NDArray

from tsne_backends.backend import Backend
from tsne_backends.cache import CarriedCache
from tsne_backends.dispatch import check_finite
from tsne_backends.display import Display
from tsne_backends.errors import BackendUnavailableError
from tsne_backends.libraries import library_threads
from tsne_backends.machine import thread_count
from tsne_backends.preservation import SampledNeighbors, share_kept
from tsne_backends.problem import Problem
from tsne_backends.run import Run
from tsne_backends.sweeps.result import SweepRow
from tsne_backends.validation import scaled

#: Fits that a remote backend is given at a time where ``n_jobs`` does not say; a machine each.
REMOTE_AT_ONCE = 8


@dataclass(frozen=True)
class Fit:
    """One combination, ready to run: everything about it but the data.

    Attributes
    ----------
    parameters : mapping of str to object
        The values of the parameters that are varied.
    problem : Problem
    backend : Backend
        The engine that was planned for it.
    scale : float
        What X is divided by; see `tsne_backends.validation.safe_scale`.
    initial : ndarray of shape (n_samples, n_components), float64, or None
        Initial positions where the user gave an array.
    max_cost : float or None
        US dollars the fit may cost at most.
    """

    parameters: Mapping[str, Any]
    problem: Problem
    backend: Backend
    scale: float
    initial: NDArray[Any] | None
    max_cost: float | None

    def data(self, X: Any) -> Any:
        """Return X as this fit takes it."""
        return scaled(X, self.scale)


@dataclass(frozen=True)
class Shared:
    """What all fits have in common.

    Attributes
    ----------
    X : ndarray or CSR matrix of shape (n_samples, n_features)
        Validated data, in no fit's scale yet.
    cache : CarriedCache
        Neighbours and principal components that were found ahead.
    true : SampledNeighbors or None
        What maps are judged by; None where preservation is not measured.
    """

    X: Any
    cache: CarriedCache
    true: SampledNeighbors | None


def run_all(
    fits: Sequence[Fit],
    shared: Shared,
    n_jobs: int | None,
    threads_per_fit: int | None,
    display: Display,
) -> list[SweepRow]:
    """Run all fits, those on this side first, and return their rows in the order of the fits.

    Parameters
    ----------
    fits : sequence of Fit
    shared : Shared
    n_jobs : int or None
        Fits at a time; see `sweep.sweep`.
    threads_per_fit : int or None
        Threads of each.
    display : Display
        Told how many are done.

    Returns
    -------
    list of SweepRow
    """
    found: dict[int, SweepRow] = {}
    place = {id(fit): number for number, fit in enumerate(fits)}
    here = [fit for fit in longest_first(fits) if not fit.backend.remote]
    remote = [fit for fit in longest_first(fits) if fit.backend.remote]
    for fit, row in (
        *_run_here(here, shared, n_jobs, threads_per_fit),
        *_run_remotely(remote, shared, n_jobs),
    ):
        found[place[id(fit)]] = row
        display.step(len(found))
    return [found[number] for number in range(len(fits))]


def longest_first(fits: Sequence[Fit]) -> list[Fit]:
    """Return fits by perplexity, the largest first: its graph holds those of the others."""
    return sorted(fits, key=lambda fit: -fit.problem.perplexity)


def _run_here(
    fits: Sequence[Fit], shared: Shared, n_jobs: int | None, threads_per_fit: int | None
) -> Iterator[tuple[Fit, SweepRow]]:
    """Run fits through joblib: in this process, in others, or on a cluster."""
    if not fits:
        return
    n_threads = threads_per_fit or _threads_each(n_jobs, len(fits))
    fits_here = [replace(fit, problem=replace(fit.problem, n_threads=n_threads)) for fit in fits]
    # One fit a batch: a few long ones must not wait behind each other on one worker.
    parallel = joblib.Parallel(n_jobs=n_jobs, batch_size=1, return_as="generator_unordered")
    # X, cache and neighbours are arguments of their own, so that a cluster sends each but once.
    calls = (
        joblib.delayed(_numbered_row)(number, fit, shared.X, shared.cache, shared.true)
        for number, fit in enumerate(fits_here)
    )
    for number, row in parallel(calls):
        yield fits[number], row


def _threads_each(n_jobs: int | None, n_fits: int) -> int:
    from joblib.parallel import get_active_backend

    backend, _ = get_active_backend()
    is_local = type(backend).__module__.startswith("joblib._parallel_backends")
    if not is_local:
        return 1
    at_once = min(joblib.effective_n_jobs(n_jobs), n_fits)
    return max(1, thread_count(None) // int(at_once))


def _numbered_row(
    number: int, fit: Fit, X: Any, cache: CarriedCache, true: SampledNeighbors | None
) -> tuple[int, SweepRow]:
    return number, _row(fit, Shared(X, cache, true))


def _run_remotely(
    fits: Sequence[Fit], shared: Shared, n_jobs: int | None
) -> Iterator[tuple[Fit, SweepRow]]:
    """Run the first fit, which sends X, then the others at the same time on machines of theirs."""
    if not fits:
        return
    first, *others = fits
    row = _row(first, shared)
    yield first, row
    if isinstance(row.error, BackendUnavailableError):  # and would be, one try after the other
        yield from ((fit, replace(row, parameters=fit.parameters)) for fit in others)
        return
    at_once = REMOTE_AT_ONCE if n_jobs is None or n_jobs < 1 else n_jobs
    with ThreadPoolExecutor(at_once, "sweep") as pool:
        running = {pool.submit(_row, fit, shared): fit for fit in others}
        try:
            for done in as_completed(running):
                yield running[done], done.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            while wait(running, timeout=1).not_done:  # what was about to be sent is sent by then
                for backend in {fit.backend.name: fit.backend for fit in others}.values():
                    backend.abandon()
            raise


def _row(fit: Fit, shared: Shared) -> SweepRow:
    """Run one fit; what goes wrong becomes part of the row."""
    began = time.perf_counter()
    row = SweepRow(fit.parameters, fit.backend.name)
    run = Run(cache=shared.cache, initial=fit.initial, max_cost=fit.max_cost)
    try:
        with library_threads(fit.problem.n_threads):
            embedding = fit.backend.embed(fit.problem, fit.data(shared.X), run)
        check_finite(embedding, fit.backend.name, fit.problem)
    except Exception as error:
        return replace(row, error=_portable(error), seconds=time.perf_counter() - began)
    seconds = time.perf_counter() - began
    kept = float("nan")
    if shared.true is not None:
        kept = share_kept(shared.true, embedding.coordinates, fit.problem.n_threads)
    return replace(
        row,
        embedding=np.asarray(embedding.coordinates),
        kl_divergence=float(embedding.kl_divergence),
        preservation=kept,
        seconds=seconds,
        n_iter=embedding.n_iter,
    )


def _portable(error: Exception) -> Exception:
    """Return an error that can be sent back from a worker."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error
