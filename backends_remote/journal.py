"""What this machine remembers of its remote side: the deployment, jobs, and which data were sent.

Three small files in the user's data folder. They hold ids, sizes and digests, never data, and are
shared by all processes. One that is damaged or cannot be written costs a warning, not the run.
"""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any

from backends_remote.deployment import DATA_DAYS, DAY_SECONDS, DEFAULT_TIMEOUT_SECONDS
from tsne_backends import store

#: Modal keeps results for 7 days; a job is forgotten with its result.
JOB_DAYS = 7


@dataclass(frozen=True)
class Deployment:
    """The service in the user's account.

    Attributes
    ----------
    app : str
    version : str
        Of this package, when it was deployed or last met.
    deployed_at : float
        Seconds since 1970.
    """

    app: str
    version: str
    deployed_at: float


@dataclass(frozen=True)
class Job:
    """One map that was asked for.

    Attributes
    ----------
    id : str
        The provider's id of the function call.
    key : str
        Digest of everything the map depends on; a second request for the same map finds the first.
    gpu : str
    n_samples, n_components : int
        Shape of the map.
    started_at : float
        Seconds since 1970.
    timeout_seconds : int
        The provider's limit on the run; with ``gpu`` it tells in which pool of containers it runs.
    state : str
        ``"running"``, as far as this machine knows, ``"done"``, ``"cancelled"`` or ``"failed"``.
    """

    id: str
    key: str
    gpu: str
    n_samples: int
    n_components: int
    started_at: float
    timeout_seconds: int = DEFAULT_TIMEOUT_SECONDS
    state: str = "running"


@dataclass(frozen=True)
class Sent:
    """One data set that was sent.

    Attributes
    ----------
    digest : str
        Of the encoded frame.
    place : str
        ``"inline"``: a container may still hold it; ``"volume"``: it lies on the volume.
    parts : tuple of int
        Bytes of each part on the volume.
    n_bytes : int
        Of the frame.
    codec : str
    loss : float
        Measured share of neighbours that the encoding changes.
    used_at : float
        Seconds since 1970.
    """

    digest: str
    place: str
    parts: tuple[int, ...]
    n_bytes: int
    codec: str
    loss: float
    used_at: float


def deployment() -> Deployment | None:
    """Return what is known to be deployed; None where nothing is."""
    found: Deployment | None = _parsed(
        Deployment, store.read_json(_path("deployment")).get("modal")
    )
    return found


def record_deployment(known: Deployment | None) -> None:
    """Remember a deployment, or that there is none."""
    store.change_json(
        _path("deployment"), lambda _: {} if known is None else {"modal": asdict(known)}
    )


def jobs() -> list[Job]:
    """Return the jobs of the last days, oldest first."""
    entries = store.read_json(_path("jobs")).values()
    found = [job for entry in entries if (job := _parsed(Job, entry)) is not None]
    return sorted((job for job in found if not _is_old(job.started_at, JOB_DAYS)), key=_age)


def find_job(job_id: str) -> Job | None:
    """Return a job by its id."""
    return next((job for job in jobs() if job.id == job_id), None)


def running_job(key: str) -> Job | None:
    """Return the newest job for the same map that nobody has fetched."""
    found = [job for job in jobs() if job.key == key and job.state == "running"]
    return found[-1] if found else None


def record_job(job: Job) -> None:
    """Remember a job, or its new state; forget those whose results are gone."""

    def change(entries: dict[str, Any]) -> Mapping[str, Any]:
        kept = {
            key: entry
            for key, entry in entries.items()
            if (old := _parsed(Job, entry)) is not None and not _is_old(old.started_at, JOB_DAYS)
        }
        return {**kept, job.id: asdict(job)}

    store.change_json(_path("jobs"), change)


def sent_before(key: str) -> Sent | None:
    """Return how a data set was sent, if it was."""
    found = _parsed(Sent, store.read_json(_path("sent")).get(key))
    return None if found is None or _is_old(found.used_at, DATA_DAYS) else found


def record_sent(key: str, sent: Sent) -> None:
    """Remember a data set; forget those long unused."""

    def change(entries: dict[str, Any]) -> Mapping[str, Any]:
        kept = {
            name: entry
            for name, entry in entries.items()
            if (old := _parsed(Sent, entry)) is not None and not _is_old(old.used_at, DATA_DAYS)
        }
        return {**kept, key: asdict(sent)}

    store.change_json(_path("sent"), change)


def forget_sent() -> None:
    """Forget every data set: the volume was emptied."""
    store.change_json(_path("sent"), lambda _: {})


def _path(name: str) -> Path:
    return store.data_folder() / f"{name}.json"


def _age(job: Job) -> float:
    return job.started_at


def _is_old(at: float, days: float) -> bool:
    """Whether a moment is long gone; one in the future, as after the clock was set back, is not."""
    return time.time() - at > days * DAY_SECONDS


def _parsed(kind: Any, entry: Any) -> Any:
    """Return an entry as what it should be, or None where it makes no sense."""
    if not isinstance(entry, dict):
        return None
    names = {one.name for one in fields(kind)}
    try:
        values = {key: value for key, value in entry.items() if key in names}
        if "parts" in values:
            values["parts"] = tuple(int(part) for part in values["parts"])
        for name in ("started_at", "used_at", "deployed_at"):
            if name in values:
                values[name] = float(values[name])
        return kind(**values)
    except (TypeError, ValueError):
        return None
