"""Jobs: maps that were asked for, and are fetched, left alone or cancelled.

A job outlives the process that asked for it; the journal knows its id.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace

import numpy as np

from backends_remote import client, journal, wire
from backends_remote.failures import PreemptedError, refusal
from tsne_backends.answers import Embedding
from tsne_backends.errors import (
    BackendError,
    ConnectionLostError,
    ContainerCrashedError,
    CostLimitError,
    DamagedFrameError,
    GpuUnavailableError,
    JobCancelledError,
    NotLoggedInError,
    RemoteError,
    ResultExpiredError,
    ServiceUnreachableError,
)

logger = logging.getLogger("tsne_backends")

#: Of the ids that Modal gives to calls, which are our jobs.
ID_PREFIX = "fc-"
#: How often a result is fetched that arrives damaged.
FETCH_TRIES = 3


class DataNeededError(Exception):
    """The service lacks the data that a request is about."""


def fetch(
    job_id: str, note: Callable[[str], None], watch: Callable[[], None] = lambda: None
) -> bytes:
    """Return the answer of a job, its digest checked; one that arrives damaged is fetched again.

    Parameters
    ----------
    job_id : str
    note : callable
        Told in words how the waiting goes.
    watch : callable, optional
        Called between two polls; may raise to end the waiting.

    Raises
    ------
    DamagedFrameError
        It arrived damaged every time.
    RemoteError
        As in `client.wait`.
    """
    for tries_left in reversed(range(FETCH_TRIES)):
        try:
            answer = client.wait(job_id, note, watch)
        except ContainerCrashedError as error:
            # However Modal words it: a job that was cancelled from here did not crash.
            job = journal.find_job(job_id)
            if job is not None and job.state == "cancelled":
                raise JobCancelledError(f"Job {job_id} was cancelled.") from error
            raise
        try:
            wire.unpack(answer, "answer")
            return answer
        except DamagedFrameError:
            if not tries_left:
                raise
    raise AssertionError("unreachable")


def read_map(answer: bytes, job: journal.Job) -> tuple[Embedding, dict[str, float]]:
    """Return the map in an answer and the seconds of each remote phase, if they can be believed.

    Parameters
    ----------
    answer : bytes
        From the network.
    job : Job
        What was asked for.

    Raises
    ------
    DamagedFrameError
        Shape, type or values are not those of the map that was asked for.
    BackendError
        The service refused; see `failures.refusal`.
    """
    head, blocks = wire.unpack(answer, "answer")
    header = head.header
    if header.get("status") == "data needed":
        raise DataNeededError
    if header.get("status") != "done":
        raise refusal(header)
    shape = (job.n_samples, job.n_components)
    if header.get("shape") != list(shape) or head.lengths != (4 * shape[0] * shape[1],):
        raise DamagedFrameError(
            f"The map of job {job.id} should have shape {shape}; the answer says "
            f"{header.get('shape')!r:.60}."
        )
    coordinates = np.frombuffer(blocks[0], "<f4").reshape(shape).astype(np.float32)
    try:
        kl, n_iter = float(header["kl_divergence"]), int(header["n_iter"])
        seconds = {str(name): float(value) for name, value in header["seconds"].items()}
        details = dict(header["details"])
        quality = {str(name): float(value) for name, value in header.get("quality", {}).items()}
    except (KeyError, TypeError, ValueError, OverflowError, AttributeError) as error:
        raise DamagedFrameError(
            f"The answer to job {job.id} lacks what describes its map ({error!r})."
        ) from error
    numbers = [kl, *seconds.values(), *quality.values()]
    if not (np.isfinite(coordinates).all() and np.isfinite(numbers).all()):
        raise DamagedFrameError(f"The map of job {job.id} holds values that are not finite.")
    remote = {name: header.get(name) for name in ("gpu", "container", "version", "backend")}
    return Embedding(coordinates, kl, n_iter, {**details, **remote}, quality), seconds


def record_end(job: journal.Job, error: BaseException) -> None:
    """Remember how a job ended, unless the error says nothing of that."""
    if isinstance(error, (NotLoggedInError, ServiceUnreachableError, ConnectionLostError)):
        return  # it may well go on
    cancelled = isinstance(error, (JobCancelledError, CostLimitError, GpuUnavailableError))
    journal.record_job(replace(job, state="cancelled" if cancelled else "failed"))


def interrupted(job: journal.Job, *, ask: bool = True) -> None:
    """Say, on Ctrl-C, what becomes of a job: it is cancelled unless the user wants to keep it."""
    keep = False
    if ask and sys.stdin is not None and sys.stdin.isatty():
        with suppress(EOFError, KeyboardInterrupt):
            words = f"Job {job.id} is running and costs money. Cancel it? [Y/n] "
            keep = input(words).strip().lower().startswith("n")
    if keep:
        logger.warning("Job %s goes on: serverless-tsne attach %s", job.id, job.id)
        return
    try:
        cancel(job.id)
    except (BackendError, TimeoutError) as error:
        logger.warning(
            "Job %s could not be cancelled (%s); try `serverless-tsne cancel %s`.",
            job.id,
            error,
            job.id,
        )
        return
    logger.warning("Job %s was cancelled.", job.id)


def attach(job_id: str, note: Callable[[str], None] = lambda _: None) -> Embedding:
    """Wait for a job of this machine and return its map.

    Parameters
    ----------
    job_id : str
        As in the journal; see `journal.jobs`.
    note : callable, optional
        Told in words how the waiting goes.

    Returns
    -------
    Embedding

    Raises
    ------
    ResultExpiredError
        The journal or the provider does not know the job, or no longer.
    RemoteError, DamagedFrameError
        It failed, was cancelled, or its answer cannot be believed.
    """
    job = journal.find_job(job_id)
    if job is None:
        raise ResultExpiredError(
            f'The journal of this machine knows no job "{job_id}"; `serverless-tsne jobs` lists '
            "those it knows."
        )
    try:
        embedding, _ = read_map(fetch(job_id, note), job)
    except KeyboardInterrupt:
        interrupted(job)
        raise
    except Exception as error:
        record_end(job, error)
        if isinstance(error, (PreemptedError, DataNeededError)):
            raise RemoteError(
                f"Job {job_id} ended without a map; fit again, which sends X again."
            ) from error
        raise
    journal.record_job(replace(job, state="done"))
    return embedding


def cancel(job_id: str) -> None:
    """End a job, whether the journal knows it or not.

    Raises
    ------
    ValueError
        That is no job's id; nobody was asked.
    BackendError
        It could not be cancelled.
    """
    job = journal.find_job(job_id)
    if job is None and not job_id.startswith(ID_PREFIX):
        raise ValueError(
            f'A job\'s id begins with "{ID_PREFIX}"; it was "{job_id}". `serverless-tsne jobs` '
            "lists the jobs that were sent from here."
        )
    client.cancel(job_id)
    if job is not None:
        journal.record_job(replace(job, state="cancelled"))
