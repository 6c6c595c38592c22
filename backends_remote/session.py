"""One remote map from beginning to end: wake, send, submit, wait, check.

The container is woken first, so that it starts while X is encoded and sent. What was sent before is
not sent again, and a job whose client died is found again instead of being paid for twice.
"""

from __future__ import annotations

import hashlib
import json
import time
from contextlib import suppress
from dataclasses import dataclass, replace
from typing import Any

from backends_remote import client, journal, outbox, wire
from backends_remote.client import Client
from backends_remote.codec import choose_encoding
from backends_remote.failures import PreemptedError
from backends_remote.jobs import DataNeededError, fetch, interrupted, read_map, record_end
from backends_remote.request import parameters_of
from backends_remote.watch import Watch, too_dear
from tsne_backends import __version__
from tsne_backends.answers import Embedding
from tsne_backends.errors import (
    BackendError,
    BackendUnavailableError,
    ContainerCrashedError,
    CostLimitError,
    EngineMissingError,
    GpuUnavailableError,
    JobCancelledError,
    NotDeployedError,
    RemoteError,
    RemoteTimeoutError,
    ResultExpiredError,
    VersionMismatchError,
)
from tsne_backends.problem import Problem
from tsne_backends.run import Run
from tsne_backends.transfer import IDLE_SECONDS
from tsne_backends.wording import size

#: Ends of an earlier job after which the same map is simply asked for again.
_ENDED = (
    ContainerCrashedError,
    JobCancelledError,
    ResultExpiredError,
    PreemptedError,
    DataNeededError,
)
#: How often a job is sent again whose machine the provider took away.
PREEMPTION_TRIES = 2


#: Jobs that sessions of this process wait for, by id.
_waited_for: dict[str, journal.Job] = {}


def cancel_all_waited_for() -> None:
    """Cancel the jobs that sessions in other threads wait for, who then end with that error."""
    while _waited_for:
        interrupted(_waited_for.popitem()[1], ask=False)


@dataclass(frozen=True)
class Terms:
    """On what conditions a map is made.

    Attributes
    ----------
    gpu : str
        Kind of GPU.
    timeout_seconds : int
        The provider's limit on the run.
    transfer_loss : float
        Largest share of neighbours that encoding may change.
    codec : str or None
        The codec, where the user or the plan chose it.
    max_seconds : float or None
        Seconds of the run that the user pays for.
    """

    gpu: str
    timeout_seconds: int
    transfer_loss: float
    codec: str | None = None
    max_seconds: float | None = None


class Session:
    """One call of `ModalBackend.embed`.

    Parameters
    ----------
    problem : Problem
    X : ndarray or CSR matrix of shape (n_samples, n_features)
    run : Run
    terms : Terms
    """

    def __init__(self, problem: Problem, X: Any, run: Run, terms: Terms) -> None:
        self._problem = problem
        self._X = X
        self._run = run
        self._terms = terms
        self._client = Client(terms.gpu, terms.timeout_seconds)
        self._data_key = ""
        self._is_awake = False
        self._watch = Watch(run.note, terms.max_seconds)

    def embed(self) -> Embedding:
        """Return the map.

        Raises
        ------
        BackendUnavailableError
            Nothing was computed: not logged in, not deployed, unreachable, and so on.
        RemoteError, EmbeddingError, CostLimitError
            Work had begun.
        """
        with self._run.phase("start"):
            self._connect()
        with self._run.phase("encoding"):
            self._data_key = outbox.fingerprint(
                self._X,
                {
                    "loss": self._terms.transfer_loss,
                    "codec": self._terms.codec,
                    "metric": self._problem.metric,
                },
            )
        if self._problem.repeatable and (job := journal.running_job(self._job_key())) is not None:
            self._run.note(f"job {job.id} makes the same map already; waiting for it")
            with suppress(*_ENDED):
                return self._finish(job)
        sent = journal.sent_before(self._data_key)
        if sent is not None and _may_be_there(sent):
            answer = self._ask(sent, b"")
            if answer is not None:
                return answer
            self._run.note("the service does not have X any more; sending it again")
        return self._send_and_ask()

    def _connect(self) -> None:
        try:
            self._client.connect()
        except NotDeployedError:
            journal.record_deployment(None)
            raise

    def _job_key(self) -> str:
        """Return a digest of all that the map depends on."""
        values = [__version__, self._data_key, parameters_of(self._problem)]
        return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()

    def _send_and_ask(self) -> Embedding:
        wake_id = self._client.wake()
        try:
            with self._run.phase("encoding"):
                encoding = choose_encoding(
                    self._X,
                    self._problem.n_neighbors,
                    max_loss=self._terms.transfer_loss,
                    metric=str(self._problem.metric),
                    codec=self._terms.codec,
                )
            began = time.perf_counter()
            with outbox.packed(self._X, encoding, self._problem.n_threads) as parcel:
                self._add("encoding", time.perf_counter() - began)
                self._upload(parcel)
                with self._run.phase("start"):
                    self._await_container(wake_id)
                sent = journal.Sent(
                    digest=parcel.digest,
                    place="volume" if parcel.files else "inline",
                    parts=tuple(parcel.parts),
                    n_bytes=parcel.n_bytes,
                    codec=encoding.codec,
                    loss=encoding.loss,
                    used_at=time.time(),
                )
                embedding = self._ask(sent, parcel.frame)
                if embedding is None and parcel.files:  # what lay there was old or damaged
                    self._upload(parcel, again=True)
                    embedding = self._ask(sent, b"")
        except BaseException:
            if not self._is_awake:
                with suppress(BackendError):
                    client.cancel(wake_id)
            raise
        if embedding is None:
            raise RemoteError(
                "The service says that it does not have X right after X was sent. Fit again; if "
                "this stays, empty its volume with `serverless-tsne data --purge`."
            )
        return embedding

    def _upload(self, parcel: outbox.Parcel, *, again: bool = False) -> None:
        """Send what does not travel with the call."""
        if parcel.files:
            with self._run.phase("upload"):
                sent = outbox.upload(parcel, self._run.note, again=again)
            self._run.n_bytes["upload"] = self._run.n_bytes.get("upload", 0) + sent

    def _await_container(self, wake_id: str) -> None:
        """Wait for the first word of the container, and hold its version against ours."""
        self._run.note("waiting for a container")
        for tries_left in reversed(range(1 + PREEMPTION_TRIES)):
            try:
                watch = self._watch.between_polls(self._client, is_awake=self._is_awake)
                answer = fetch(wake_id, self._run.note, watch)
                break
            except PreemptedError as error:
                if not tries_left:
                    raise GpuUnavailableError(str(_taken_away(error))) from error
                wake_id = self._client.wake()
            except RemoteError as error:
                raise BackendUnavailableError(
                    f"The container did not start, and nothing was computed: {error}"
                ) from error
        self._is_awake = True
        head, _ = wire.unpack(answer, "answer")
        version = head.header.get("version")
        if version != __version__:
            raise VersionMismatchError(
                f"The service is of version {version!s:.20}, but this client is of {__version__}; "
                "run `serverless-tsne deploy`, so that both are the same."
            )
        if head.header.get("engine") == "":
            raise EngineMissingError(
                "The container has no engine to make a map with: this version of the package has "
                "no GPU engine, or its image lacks it. Use a local backend."
            )
        self._run.note(f"a container is awake ({head.header.get('gpu') or 'no GPU'})")

    def _ask(self, sent: journal.Sent, frame: bytes) -> Embedding | None:
        """Submit the job and return the map; None where the service lacks the data."""
        request = wire.pack(
            "request",
            {
                "version": __version__,
                "parameters": parameters_of(self._problem),
                "data": {"digest": sent.digest, "place": sent.place, "parts": list(sent.parts)},
                "max_seconds": self._watch.seconds_left(),
            },
        )
        if frame:
            self._run.n_bytes["upload"] = len(frame)
        n_bytes = int(self._run.n_bytes.get("upload", 0))
        self._run.transfer.update(codec=sent.codec, loss=sent.loss, n_bytes=n_bytes)
        for tries_left in reversed(range(1 + PREEMPTION_TRIES)):
            job = self._submit(request, frame)
            try:
                embedding = self._finish(job)
            except PreemptedError as error:
                if not tries_left:
                    raise _taken_away(error) from error
                self._run.note("the machine was taken away; sending the job again")
                continue
            except DataNeededError:
                return None
            journal.record_sent(self._data_key, replace(sent, used_at=time.time()))
            return embedding
        raise AssertionError("unreachable")

    def _submit(self, request: bytes, frame: bytes) -> journal.Job:
        if frame:
            self._run.note(f"uploading {size(len(frame))}")
        with self._run.phase("upload" if frame else "start"):
            job_id = self._client.submit(request, frame)
        job = journal.Job(
            id=job_id,
            key=self._job_key() if self._problem.repeatable else "",
            gpu=self._terms.gpu,
            n_samples=self._problem.n_samples,
            n_components=self._problem.n_components,
            started_at=time.time(),
            timeout_seconds=self._terms.timeout_seconds,
        )
        journal.record_job(job)
        _waited_for[job.id] = job
        self._run.note(f"job {job.id} was sent")
        return job

    def _finish(self, job: journal.Job) -> Embedding:
        """Wait for a job's map; on Ctrl-C ask what is to become of it."""
        began = time.perf_counter()
        watch = self._watch.between_polls(self._pool_of(job), is_awake=self._is_awake)
        try:
            answer = fetch(job.id, self._run.note, watch)
            embedding, seconds = read_map(answer, job)
        except KeyboardInterrupt:
            interrupted(job)
            raise
        except Exception as error:
            if isinstance(error, (GpuUnavailableError, CostLimitError)):
                with suppress(BackendError):
                    client.cancel(job.id)
            record_end(job, error)
            if isinstance(error, RemoteTimeoutError) and self._watch.is_out_of_money():
                raise too_dear() from error
            raise
        finally:
            _waited_for.pop(job.id, None)
        journal.record_job(replace(job, state="done"))
        self._run.note(f"downloaded {size(len(answer))}")
        for name, value in seconds.items():
            self._add(name, value)
        rest = max(0.0, time.perf_counter() - began - sum(seconds.values()))
        if self._is_awake:
            self._add("download", rest)
            self._run.n_bytes["download"] = len(answer)
        else:  # most of it may have been a container's start, which tells nothing of the line
            self._add("start", rest)
        self._run.report(embedding.n_iter, embedding.kl_divergence, embedding.coordinates)
        details = {**embedding.details, **self._run.transfer, "job": job.id}
        return replace(embedding, details=details)

    def _pool_of(self, job: journal.Job) -> Client:
        """Return the pool of containers that a job runs in; an earlier fit's may be another."""
        if (job.gpu, job.timeout_seconds) == (self._terms.gpu, self._terms.timeout_seconds):
            return self._client
        pool = Client(job.gpu, job.timeout_seconds)
        pool.connect()
        return pool

    def _add(self, phase: str, seconds: float) -> None:
        timings = self._run.timings
        timings[phase] = timings.get(phase, 0.0) + seconds


def _taken_away(error: PreemptedError) -> RemoteError:
    return RemoteError(
        f"Modal took the machine away {1 + PREEMPTION_TRIES} times ({error}) Fit again later, or "
        'choose another "gpu" in backend_options.'
    )


def _may_be_there(sent: journal.Sent) -> bool:
    """Whether the service may still have a data set, so that asking is worth a round trip."""
    return sent.place == "volume" or 0 <= time.time() - sent.used_at < IDLE_SECONDS
