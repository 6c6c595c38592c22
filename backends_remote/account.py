"""The service in the user's account as a whole: deploy it, look after it, remove it.

No map is made here: that is the business of ``session`` and ``jobs``. The app that is deployed is
in ``modal_app``, and the commands that lead here are in ``cli``.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

from backends_remote import client, journal, wire
from backends_remote.client import Client
from backends_remote.deployment import (
    APP_NAME,
    DAY_SECONDS,
    DEFAULT_TIMEOUT_SECONDS,
    FALL_BACK_GPUS,
    KERNELS_FOLDER,
    part_name,
)
from backends_remote.failures import PreemptedError, before_work
from backends_remote.network import check_reachable, within
from backends_remote.volume import DataVolume
from tsne_backends import __version__
from tsne_backends.errors import (
    BackendError,
    BackendUnavailableError,
    GpuUnavailableError,
    NotDeployedError,
    VersionMismatchError,
)

#: Bytes sent to measure the upload rate: a second at 20 Mbit/s.
PROBE_BYTES = 2_500_000
_PROBE_FOLDER = "probe"
#: Seconds to stop the app and its containers, and for a container to answer the doctor.
STOP_SECONDS, WAKE_SECONDS = 60.0, 300.0
#: The version of a service that was deployed from elsewhere and sleeps.
UNKNOWN = "unknown"


@dataclass(frozen=True)
class Finding:
    """One thing the doctor looked at.

    Attributes
    ----------
    ok : bool or None
        None where it is neither good nor bad.
    sentence : str
        What was found, and what to do about it.
    """

    ok: bool | None
    sentence: str


@dataclass(frozen=True)
class DataSet:
    """One uploaded data set.

    Attributes
    ----------
    digest : str
    n_bytes : int
    written_at : float
        Seconds since 1970.
    """

    digest: str
    n_bytes: int
    written_at: float


def deploy() -> str:
    """Deploy the service of this version, and remember it.

    Returns
    -------
    str
        Where the provider shows the app; empty where it does not say.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
    """
    with before_work():
        import modal

        check_reachable()
        from backends_remote import modal_app

        with modal.enable_output():
            modal_app.app.deploy(name=APP_NAME)
    client.forget_look_ups()
    journal.record_deployment(journal.Deployment(APP_NAME, __version__, time.time()))
    try:
        return str(modal_app.app.get_dashboard_url())
    # The page is a nicety, which not every version of the client knows; the deployment stands.
    except Exception:
        return ""


def undeploy() -> bool:
    """Stop the service and its containers; return whether there was one.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError
    """
    client.forget_look_ups()
    try:
        with before_work():
            check_reachable()
            within(STOP_SECONDS, _stop)
    except NotDeployedError:
        journal.record_deployment(None)
        return False
    except subprocess.CalledProcessError as error:
        raise BackendUnavailableError(
            f"Modal's client could not stop the app: {error.stderr.strip()[-300:]} Stop it on "
            "modal.com."
        ) from error
    journal.record_deployment(None)
    return True


def _stop() -> None:
    import modal

    app = modal.App.lookup(APP_NAME)
    if hasattr(app, "stop"):
        app.stop()
        return
    # Clients before 1.6 stop apps by their command only.
    command = [sys.executable, "-m", "modal", "app", "stop", APP_NAME]
    subprocess.run(command, input="y\n", text=True, capture_output=True, check=True)


def examine(*, wake: bool = False) -> Iterator[Finding]:
    """Look at everything between here and a map, in the order in which it can fail.

    Parameters
    ----------
    wake : bool, default=False
        Whether to start a container to ask its version, which costs a few seconds of GPU and the
        idle time after it.

    Yields
    ------
    Finding
        The last is the first that is not ok.
    """
    import importlib.metadata
    import importlib.util

    if importlib.util.find_spec("modal") is None:
        yield Finding(
            False,
            'Modal\'s client is not installed; run `pip install "serverless-tsne[modal]"`.',
        )
        return
    yield Finding(True, f"Modal's client {importlib.metadata.version('modal')} is installed.")
    service = Client(FALL_BACK_GPUS[0], DEFAULT_TIMEOUT_SECONDS)
    try:
        client.forget_look_ups()
        service.connect()
        yield Finding(True, f'Your account is set up, and "{APP_NAME}" is deployed in it.')
        yield from _examine_service(service, wake)
        yield Finding(True, f"Uploads run at {_upload_rate() / 1e6:.1f} MB/s.")
    except BackendError as error:
        yield Finding(False, str(error))


def data_sets() -> list[DataSet]:
    """Return the data sets on the volume, the oldest first.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
    """
    found: dict[str, DataSet] = {}
    for file in DataVolume().files():
        digest = PurePosixPath(file.path).parts[0]
        if digest in (_PROBE_FOLDER, KERNELS_FOLDER):
            continue
        known = found.get(digest, DataSet(digest, 0, 0.0))
        found[digest] = DataSet(
            digest, known.n_bytes + file.n_bytes, max(known.written_at, file.written_at)
        )
    return sorted(found.values(), key=lambda one: one.written_at)


def purge(older_than_days: float = 0.0) -> list[DataSet]:
    """Remove data sets from the volume; return those removed.

    Parameters
    ----------
    older_than_days : float, default=0.0
        Leave those that were written since.

    Raises
    ------
    NotLoggedInError, ServiceUnreachableError, BackendUnavailableError
        Some may have been removed.
    """
    volume = DataVolume()
    limit = time.time() - older_than_days * DAY_SECONDS
    gone = [one for one in data_sets() if one.written_at <= limit]
    for one in gone:
        volume.remove(one.digest)
    if not older_than_days:
        journal.forget_sent()
    return gone


def _examine_service(service: Client, wake: bool) -> Iterator[Finding]:
    began = time.monotonic()
    containers = service.stats().n_containers
    yield Finding(True, f"A round trip takes {1000 * (time.monotonic() - began):.0f} ms.")
    yield Finding(
        None,
        f"{containers} container(s) with a {service.gpu} ready."
        if containers
        else f"No container with a {service.gpu} is ready: the next map waits for its start.",
    )
    if wake or containers:
        began = time.monotonic()
        head, _ = wire.unpack(_answer(service.wake(), began + WAKE_SECONDS), "answer")
        version = str(head.header.get("version"))
        yield Finding(
            True,
            f"A container answered after {time.monotonic() - began:.1f} s, with "
            f"{head.header.get('gpu') or 'no GPU'}.",
        )
    else:
        known = journal.deployment()
        version = known.version if known else UNKNOWN
    if version not in (__version__, UNKNOWN):
        raise VersionMismatchError(
            f"The service is of version {version}, but this package of {__version__}; run "
            "`serverless-tsne deploy`."
        )
    journal.record_deployment(journal.Deployment(APP_NAME, version, time.time()))
    if version == UNKNOWN:
        yield Finding(
            None,
            "Its version is not known while no container runs; `serverless-tsne doctor --wake` "
            "starts one to ask.",
        )
    else:
        yield Finding(True, f"It is of version {version}, as this package.")


def _answer(call_id: str, until: float) -> bytes:
    """Return what a woken container says, or raise when it takes too long."""

    def watch() -> None:
        if time.monotonic() > until:
            client.cancel(call_id)
            raise GpuUnavailableError(
                f"No container answered within {WAKE_SECONDS:.0f} s; look at your GPU limits on "
                "modal.com."
            )

    try:
        return client.wait(call_id, lambda _: None, watch)
    except PreemptedError as error:
        raise GpuUnavailableError(f"Modal took the machine away: {error} Try again.") from error


def _upload_rate() -> float:
    """Return the bytes per second of a small upload of noise, which is removed again."""
    volume = DataVolume()
    with TemporaryDirectory(prefix="serverless-tsne-") as name:
        file = Path(name) / part_name(0)
        file.write_bytes(os.urandom(PROBE_BYTES))
        began = time.monotonic()
        volume.put(_PROBE_FOLDER, [file])
        seconds = time.monotonic() - began
    volume.remove(_PROBE_FOLDER)
    return PROBE_BYTES / max(seconds, 1e-9)
