"""Everything that can break between here and a rented GPU ends in the right map or a named error.

Each test has a limit in seconds, far above what is needed, because none may hang.
"""

import os
import subprocess
import sys
import textwrap
import threading
import time

import numpy as np
import pytest

from backends_remote import client, jobs, journal, network, outbox, session, watch, wire
from tests.remote_runs import CHILD, EXACT, expected, remote
from tsne_backends import BackendUnavailableError, ServerlessTSNE
from tsne_backends.errors import (
    ConnectionLostError,
    ContainerCrashedError,
    CostLimitError,
    DamagedFrameError,
    GpuUnavailableError,
    JobCancelledError,
    LimitError,
    NotDeployedError,
    NotLoggedInError,
    PayloadTooLargeError,
    RemoteError,
    RemoteTimeoutError,
    ResultExpiredError,
    ServiceUnreachableError,
    UnsupportedProblemError,
    VersionMismatchError,
)

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture
def X():
    return np.random.default_rng().normal(size=(300, 20)).astype(np.float32)


# What is survived.


def test_a_service_that_restarts_is_asked_again(cloud, X):
    cloud.faults.unavailable = {"FunctionMap": 1, "FunctionGetOutputs": 2}
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))
    assert cloud.faults.unavailable == {"FunctionMap": 0, "FunctionGetOutputs": 0}


def test_slow_downs_and_half_uploads_are_repeated(cloud, X, monkeypatch):
    cloud.faults.slow_downs = 1
    cloud.faults.half_uploads = 1
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))
    assert cloud.faults.slow_downs == cloud.faults.half_uploads == 0


def test_half_an_inline_upload_is_repeated(cloud, X):
    cloud.faults.half_uploads = 1
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))


def test_an_input_delivered_twice_makes_one_map(cloud, X):
    cloud.faults.duplicates = 2
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))


def test_a_lost_answer_is_fetched_again(cloud, X):
    cloud.faults.lost_answers = 2
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))


def test_a_damaged_answer_is_fetched_again(cloud, X):
    cloud.faults.damaged_answers = 2
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X), expected(X))
    cloud.faults.damaged_answers = 100
    with pytest.raises(DamagedFrameError, match=r"SHA-256|cannot be read"):
        remote(seed=1).fit(X)


def test_a_machine_taken_away_is_replaced(cloud, X):
    cloud.end_containers()
    remote(seed=7).fit(X)  # a warm container, so that the next fault hits the job
    cloud.faults.crash_seconds, cloud.faults.preemptions = 0.0, 1
    np.testing.assert_array_equal(remote(options=EXACT).fit_transform(X + 1), expected(X + 1))


def test_a_machine_taken_away_again_and_again_is_an_error(cloud, X):
    remote(seed=7).fit(X)
    cloud.faults.crash_seconds, cloud.faults.preemptions = 0.0, 100
    with pytest.raises(RemoteError, match="took the machine away 3 times"):
        remote(seed=8).fit(X)
    cloud.faults.crash_seconds = None


def test_a_network_that_goes_and_comes_back_is_ridden_out(cloud, X, monkeypatch):
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.2)
    remote().fit(X)
    timer = threading.Timer(0.3, cloud.restart_server, args=[2.0])
    timer.start()
    tsne = remote(seed=1, max_iter=3000).fit(X)
    timer.join()
    assert np.isfinite(tsne.embedding_).all()


def test_a_lost_connection_is_reported_and_waited_for(cloud, X, capsys, monkeypatch):
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    remote().fit(X)
    real, losses = client.poll, iter(range(2))

    def flaky(job_id, seconds):
        if next(losses, None) is not None:
            raise client.PollingInterruptedError("stream ended")
        return real(job_id, seconds)

    monkeypatch.setattr(client, "poll", flaky)
    remote(seed=1, verbose=1).fit(X)
    assert capsys.readouterr().out.count("the connection is lost") == 1


def test_a_container_starts_while_data_are_sent(cloud, X, monkeypatch):
    cloud.end_containers()
    cloud.faults.cold_start_seconds = 0.5
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    real, seen = outbox.upload, []

    def watched(parcel, note, **how):
        seen.append(sum(pool.n_containers for pool in cloud.plane.pools.values()))
        return real(parcel, note, **how)

    monkeypatch.setattr(session.outbox, "upload", watched)
    tsne = remote().fit(X)
    assert seen == [1]
    assert {"start", "encoding", "upload"} <= set(tsne.timings_)


@pytest.mark.parametrize("bits_per_second", [1e6, 10e6, 100e6])
def test_the_speed_of_the_link_is_seen(cloud, bits_per_second, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    cloud.faults.bytes_per_second = bits_per_second / 8
    features = int(bits_per_second / 8 / 1200)  # a second's worth
    data = np.random.default_rng().normal(size=(300, features)).astype(np.float32)
    parcel_seconds = []
    real = outbox.upload

    def timed(parcel, note, **how):
        began = time.monotonic()
        sent = real(parcel, note, **how)
        parcel_seconds.append((sent, time.monotonic() - began))
        return sent

    monkeypatch.setattr(session.outbox, "upload", timed)
    remote(options={"codec": "raw"}).fit(data)
    ((sent, seconds),) = parcel_seconds
    assert sent >= data.nbytes
    assert sent / seconds < 1.3 * bits_per_second / 8


# What has a name.


def test_a_refused_token(cloud, X):
    cloud.faults.refuse_token = True
    client.forget_look_ups()
    with pytest.raises(NotLoggedInError, match="modal setup"):
        remote().fit(X)


def test_no_service_there(cloud, X):
    deployed = dict(cloud.plane.deployed)
    cloud.plane.deployed.clear()
    client.forget_look_ups()
    try:
        with pytest.raises(NotDeployedError, match="serverless-tsne deploy"):
            remote().fit(X)
        # It is remembered, so that the next fit need not ask.
        with pytest.raises(BackendUnavailableError, match="No service is known"):
            remote().fit(X)
    finally:
        cloud.plane.deployed.update(deployed)


def test_another_version(cloud, X):
    cloud.end_containers()
    cloud.faults.version = "0.0.9"
    try:
        with pytest.raises(VersionMismatchError, match=r"0\.0\.9.*serverless-tsne deploy"):
            remote().fit(X)
    finally:
        cloud.end_containers()


def test_another_version_in_a_warm_container(cloud, X):
    remote().fit(X)
    cloud.end_containers()
    cloud.faults.version = "0.0.9"
    try:
        with pytest.raises(VersionMismatchError, match=r"0\.0\.9"):
            remote(seed=1).fit(X)  # the client believes that its data are there
    finally:
        cloud.end_containers()


def test_no_machine_of_a_kind(cloud, X, monkeypatch):
    monkeypatch.setattr(watch, "START_PATIENCE_SECONDS", 1.0)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.3)
    cloud.faults.no_gpus = {"H100"}
    with pytest.raises(GpuUnavailableError, match=r'H100.*Choose another "gpu"'):
        remote(options={"gpu": "H100"}).fit(X)
    states = [call.state for call in cloud.plane.calls.values() if "H100" in call.function_id]
    assert states == ["cancelled"]


def test_too_much_to_send(cloud, X, monkeypatch):
    monkeypatch.setattr(outbox, "MAX_FRAME_BYTES", 100)
    with pytest.raises(PayloadTooLargeError, match="transfer_loss"):
        remote().fit(X)


def test_a_crash(cloud, X):
    remote().fit(X)
    cloud.faults.crash_seconds = 0.0
    with pytest.raises(ContainerCrashedError, match="larger"):
        remote(seed=1).fit(X)
    assert journal.jobs()[-1].state == "failed"


def test_a_crash_in_the_middle_of_a_run(cloud, X):
    remote().fit(X)
    cloud.faults.crash_seconds = 0.5
    with pytest.raises(ContainerCrashedError):
        remote(seed=1, max_iter=100_000, n_iter_without_progress=1_000_000, min_grad_norm=0.0).fit(
            X
        )


def test_the_time_limit_of_a_container(cloud, X):
    long = {"n_iter_without_progress": 1_000_000, "min_grad_norm": 0.0, "max_iter": 100_000}
    with pytest.raises(RemoteTimeoutError, match='"timeout"'):
        remote(options={"gpu": "T4", "timeout": 1}, **long).fit(X)
    assert journal.jobs()[-1].state == "failed"


def test_an_expired_result(cloud, X):
    remote().fit(X)
    cloud.faults.expired = True
    (job,) = journal.jobs()
    with pytest.raises(ResultExpiredError, match="7 days"):
        jobs.attach(job.id)


def test_a_cancelled_job(cloud, X):
    remote().fit(X)
    tsne = remote(seed=1, max_iter=100_000, n_iter_without_progress=1_000_000, min_grad_norm=0.0)
    failure = []

    def fit():
        try:
            tsne.fit(X)
        except JobCancelledError as error:
            failure.append(error)

    thread = threading.Thread(target=fit)
    thread.start()
    while len(journal.jobs()) < 2:
        time.sleep(0.05)
    time.sleep(0.3)
    jobs.cancel(journal.jobs()[-1].id)
    thread.join()
    assert "was cancelled" in str(failure[0])
    with pytest.raises(JobCancelledError):
        jobs.attach(journal.jobs()[-1].id)


def test_the_accounts_quota(cloud, X):
    cloud.faults.quota = True
    with pytest.raises(BackendUnavailableError, match="spend"):
        remote().fit(X)


def test_the_users_cost_limit(cloud, X):
    with pytest.raises(LimitError):
        remote(max_cost=0.0001).fit(X)
    from tsne_backends import Problem
    from tsne_backends.registry import load_backend
    from tsne_backends.run import Run

    submitted = cloud.plane.counts.get("FunctionMap", 0)
    with pytest.raises(CostLimitError, match="waits"):
        load_backend("modal").embed(Problem(300, 20), X, Run(max_cost=0.01))
    assert cloud.plane.counts.get("FunctionMap", 0) == submitted


def test_the_money_ends_a_run_that_takes_longer_than_expected(cloud, X, monkeypatch):
    monkeypatch.setattr("backends_remote.backend._seconds_paid_for", lambda *_: 0.2)
    with pytest.raises(CostLimitError, match="max_cost"):
        remote(max_iter=100_000, n_iter_without_progress=1_000_000, min_grad_norm=0.0).fit(X)


def test_a_refused_connection_fails_soon(cloud, X, monkeypatch):
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    began = time.monotonic()
    with pytest.raises(ServiceUnreachableError, match="local backend"):
        remote().fit(X)
    assert time.monotonic() - began < 5


def test_a_silent_network_fails_soon(cloud, X, monkeypatch):
    """A server behind a firewall that swallows packets: the library alone would wait a minute."""

    def swallow(address, timeout):
        time.sleep(min(timeout, 0.5))
        raise TimeoutError("timed out")

    monkeypatch.setattr(network.socket, "create_connection", swallow)
    assert network.CONNECT_SECONDS <= 5
    with pytest.raises(ServiceUnreachableError, match="timed out"):
        remote().fit(X)


@pytest.mark.parametrize("procedure", ["FunctionMap", "VolumeGetOrCreate"])
def test_a_server_that_never_answers(cloud, X, monkeypatch, procedure):
    monkeypatch.setattr(network, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(network, "SLOWEST_UPLOAD", 1e9)
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    cloud.faults.stalled = {procedure}
    with pytest.raises(ServiceUnreachableError, match="did not answer within"):
        remote().fit(X)


def test_a_job_that_was_submitted_too_late_is_ended(cloud, X, monkeypatch):
    """Its caller has gone, so nobody would fetch its map."""
    remote().fit(X)
    monkeypatch.setattr(network, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(network, "SLOWEST_UPLOAD", 1e9)
    slow = client.Client("T4", 1200)
    slow.connect()

    def spawn():
        time.sleep(1.0)
        return slow._service.wake.spawn().object_id

    before = set(cloud.plane.calls)
    with pytest.raises(ServiceUnreachableError):
        network.within(0.5, spawn, client._end_call)
    time.sleep(1.5)
    (call,) = set(cloud.plane.calls) - before
    assert cloud.plane.counts["FunctionCallCancel"] >= 1
    assert cloud.plane.calls[call].finished.is_set()


def test_a_poll_that_never_answers_is_made_again(cloud, X, monkeypatch):
    remote().fit(X)
    monkeypatch.setattr(network, "CALL_SECONDS", 0.5)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.5)
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.1)
    cloud.faults.stalled = {"FunctionGetOutputs"}
    threading.Timer(2.0, cloud.faults.stalled.clear).start()
    assert np.isfinite(remote(seed=1).fit_transform(X)).all()


@pytest.mark.parametrize("token", [{}, {"MODAL_TOKEN_ID": "ak-half"}])
def test_no_or_half_a_token(cloud, X, tmp_path, token):
    """In a process of its own, because Modal's library remembers a token it was given."""
    np.save(tmp_path / "X.npy", X)
    (tmp_path / "modal.toml").write_text("")
    environment = {**os.environ, **cloud.environment(), **token}
    environment["MODAL_CONFIG_PATH"] = str(tmp_path / "modal.toml")
    del environment["MODAL_TOKEN_SECRET"]
    if not token:
        del environment["MODAL_TOKEN_ID"]
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(CHILD), str(tmp_path / "X.npy"), "250"],
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "NotLoggedInError" in done.stderr
    assert "modal setup" in done.stderr


def test_a_connection_that_stays_lost(cloud, X, monkeypatch):
    monkeypatch.setattr(client, "PATIENCE_SECONDS", 0.5)
    monkeypatch.setattr(client, "RETRY_SECONDS", 0.2)
    remote().fit(X)

    def unreachable():
        raise ServiceUnreachableError("no network")

    def lost(job_id, seconds):
        monkeypatch.setattr(client, "check_reachable", unreachable)
        raise client.PollingInterruptedError("stream ended")

    monkeypatch.setattr(client, "poll", lost)
    with pytest.raises(ConnectionLostError, match="serverless-tsne attach fc-"):
        remote(seed=1).fit(X)
    assert journal.jobs()[-1].state == "running"


def test_a_full_disk(cloud, X, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(outbox, "_pack", full)
    with pytest.raises(BackendUnavailableError, match="TMPDIR"):
        remote().fit(X)


def test_an_answer_of_the_wrong_shape(cloud, X, monkeypatch):
    real = session.fetch

    def halved(job_id, note, watch):
        head, blocks = wire.unpack(real(job_id, note, watch), "answer")
        if head.header["status"] != "done":
            return wire.pack("answer", head.header)
        header = {**head.header, "shape": [150, 2]}
        return wire.pack("answer", header, [bytes(blocks[0])[:1200]])

    monkeypatch.setattr(session, "fetch", halved)
    with pytest.raises(DamagedFrameError, match=r"\(300, 2\)"):
        remote().fit(X)


@pytest.mark.parametrize(
    ("parameters", "words"),
    [
        ({"metric": "haversine"}, "haversine"),
        ({"metric": lambda a, b: 0.0}, "callable"),
        ({"init": np.zeros((300, 2))}, "array as init"),
        ({"n_components": 3}, "2 dimensions"),
        ({"options": {"gpu": "T5"}}, "T4"),
        ({"options": {"gpus": "T4"}}, 'Did you mean "gpu"'),
        ({"options": {"transfer_loss": 2}}, "from 0 to 0.25"),
        ({"options": {"codec": "rotated"}, "metric": "manhattan"}, "dense X"),
        ({"options": {"codec": "float16"}, "metric": "minkowski"}, "cannot be measured"),
        ({"options": {"codec": "zip"}}, "lossless"),
        ({"options": {"timeout": -5}}, "up to"),
    ],
)
def test_what_it_cannot_do_is_refused_before_anything_is_sent(cloud, X, parameters, words):
    def calls():
        """Without the asking for results, which may be an earlier test's."""
        return {call: n for call, n in cloud.plane.counts.items() if call != "FunctionGetOutputs"}

    before = calls()
    with pytest.raises((UnsupportedProblemError, ValueError), match=words):
        remote(**parameters).fit(X)
    assert calls() == before


def test_a_problem_too_large_for_a_gpu_is_told_which_takes_it():
    tsne = ServerlessTSNE(backend="modal", backend_options={"gpu": "T4"})
    from tsne_backends import Problem
    from tsne_backends.machine import Machine
    from tsne_backends.registry import load_backend

    problem = Problem(8_000_000, 100, n_bytes=3_200_000_000, options={"gpu": "T4"})
    (offer,) = load_backend("modal").offers(problem, Machine())
    assert "A100-80GB would take it, at $2.498 an hour" in offer.refusal or "would take it" in (
        offer.refusal
    )
    assert "rows" in offer.refusal
    assert tsne.backend == "modal"
