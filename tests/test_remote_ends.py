"""How a remote fit ends where it does not simply succeed: `auto`, Ctrl-C, death, money, old X."""

import os
import signal
import threading
import time

import numpy as np
import pytest

from backends_remote import account, client, jobs, journal, network, outbox, session, watch, wire
from backends_remote.volume import DataVolume
from tests.remote_runs import EXACT, child, fast_gpu, remote
from tsne_backends import BackendWarning, ServerlessTSNE, store
from tsne_backends.errors import (
    ContainerCrashedError,
    DamagedFrameError,
    EngineMissingError,
    RemoteError,
    ServiceUnreachableError,
)

pytestmark = pytest.mark.usefixtures("bounded")


@pytest.fixture
def X():
    return np.random.default_rng().normal(size=(300, 20)).astype(np.float32)


# What `auto` makes of it.


def test_auto_takes_the_service_where_it_is_quicker(cloud, X, monkeypatch, caplog):
    fast_gpu(monkeypatch)
    tsne = ServerlessTSNE(perplexity=10, max_iter=250, random_state=0).fit(X)
    assert tsne.backend_ == "modal"
    assert any("allow_remote=False" in record.message for record in caplog.records)


@pytest.mark.parametrize("fault", ["refuse_token", "quota", "unreachable", "version", "no_gpus"])
def test_auto_goes_on_with_the_next_backend_and_one_warning(cloud, X, monkeypatch, fault):
    fast_gpu(monkeypatch)
    client.forget_look_ups()
    cloud.end_containers()
    if fault == "unreachable":
        monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    elif fault == "version":
        cloud.faults.version = "0.0.9"
    elif fault == "no_gpus":
        cloud.faults.no_gpus = {"T4"}
        monkeypatch.setattr(watch, "START_PATIENCE_SECONDS", 0.5)
        monkeypatch.setattr(client, "POLL_SECONDS", 0.3)
    else:
        setattr(cloud.faults, fault, True)
    with pytest.warns(BackendWarning, match="could not start") as caught:
        tsne = ServerlessTSNE(perplexity=10, max_iter=250, random_state=0).fit(X)
    assert tsne.backend_ in ("native", "opentsne", "sklearn")
    assert len([one for one in caught if one.category is BackendWarning]) == 1
    cloud.end_containers()


def test_auto_does_not_hide_a_crash(cloud, X, monkeypatch):
    fast_gpu(monkeypatch)
    remote().fit(X)
    cloud.faults.crash_seconds = 0.0
    with pytest.raises(ContainerCrashedError):
        ServerlessTSNE(perplexity=10, max_iter=250, random_state=1).fit(X)


# Ctrl-C and death.


def test_ctrl_c_cancels_the_job(cloud, X, tmp_path):
    process = child(cloud, X, tmp_path, 1_000_000)
    process.send_signal(signal.SIGINT)
    _, errors = process.communicate(timeout=30)
    (job,) = journal.jobs()
    assert job.state == "cancelled", errors
    assert f"Job {job.id} was cancelled" in errors
    assert cloud.plane.calls[job.id].state == "cancelled"


def test_a_killed_process_leaves_a_job_to_attach_to(cloud, X, tmp_path):
    process = child(cloud, X, tmp_path, 5000)
    process.kill()
    process.communicate(timeout=30)
    (job,) = journal.jobs()
    first = jobs.attach(job.id)
    again = jobs.attach(job.id)
    np.testing.assert_array_equal(first.coordinates, again.coordinates)
    assert journal.jobs()[0].state == "done"


@pytest.mark.parametrize(("answer", "state"), [("n\n", "running"), ("\n", "cancelled")])
def test_ctrl_c_at_a_terminal_asks_once(cloud, X, monkeypatch, answer, state):
    monkeypatch.setattr("sys.stdin.isatty", lambda: True, raising=False)
    asked = []
    monkeypatch.setattr("builtins.input", lambda words: asked.append(words) or answer.strip())
    remote().fit(X)

    def interrupt(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(session, "fetch", interrupt)
    with pytest.raises(KeyboardInterrupt):
        remote(seed=1).fit(X)
    assert len(asked) == 1
    assert journal.jobs()[-1].state == state


# The account.


def test_doctor_and_purge(cloud, X, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    remote().fit(X)
    findings = list(account.examine(wake=True))
    assert all(finding.ok is not False for finding in findings)
    assert any("version" in finding.sentence for finding in findings)
    assert any("MB/s" in finding.sentence for finding in findings)
    assert account.data_sets()
    assert account.purge(older_than_days=1) == []
    account.purge()
    assert account.data_sets() == []
    assert DataVolume().files() == []
    cloud.end_containers()
    assert np.isfinite(remote(seed=1).fit_transform(X)).all()


# Money, data, and jobs that end in other ways.


def test_a_missing_engine_wakes_one_machine_only(cloud, X, monkeypatch):
    """To try every kind of GPU for an engine that none has would be paid for each time."""
    woken = []
    real = client.Client.wake
    monkeypatch.setattr(client.Client, "wake", lambda self: woken.append(self.gpu) or real(self))
    reread = session.wire.unpack

    def without_engine(answer, kind):
        head, blocks = reread(answer, kind)
        return wire.Head(
            kind, {**head.header, "engine": ""}, *list(vars(head).values())[2:]
        ), blocks

    monkeypatch.setattr(session.wire, "unpack", without_engine)
    with pytest.raises(EngineMissingError, match="local backend"):
        remote().fit(X)
    assert len(woken) == 1


def test_data_that_are_damaged_on_the_volume_are_sent_again(cloud, X, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    first = remote(options=EXACT).fit(X)
    (sent,) = store.read_json(journal._path("sent")).values()
    folder = cloud.storage.volume_folder("vo-000000") / sent["digest"]
    part = folder / "00001"
    content = bytearray(part.read_bytes())
    content[100] ^= 1
    part.write_bytes(content)
    cloud.end_containers()
    again = remote(options=EXACT).fit(X)
    np.testing.assert_array_equal(first.embedding_, again.embedding_)


def test_data_that_expire_between_upload_and_use_are_sent_again(cloud, X, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    remote().fit(X)
    journal.forget_sent()
    cloud.end_containers()
    real = outbox.upload

    def expired(parcel, note, **how):
        sent = real(parcel, note, **how)
        if not how.get("again"):
            DataVolume().remove(parcel.digest)
        return sent

    monkeypatch.setattr(session.outbox, "upload", expired)
    assert np.isfinite(remote(seed=1).fit_transform(X)).all()


@pytest.mark.parametrize("other", [{"gpu": "L4"}, {"gpu": "T4", "timeout": 7200}])
def test_a_job_in_another_pool_of_containers_is_waited_for(cloud, X, monkeypatch, other):
    """The pool that the second fit would use stays empty, which says nothing of the job."""
    monkeypatch.setattr(watch, "START_PATIENCE_SECONDS", 0.2)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.1)
    cloud.end_containers()
    long = {"max_iter": 5000, "n_iter_without_progress": 1_000_000, "min_grad_norm": 0.0}
    first = remote(options={"gpu": "T4", "timeout": 1200, "codec": "raw"}, **long)
    thread = threading.Thread(target=first.fit, args=[X])
    thread.start()
    while not journal.jobs():
        time.sleep(0.05)
    second = remote(options={**other, "codec": "raw"}, **long).fit(X)
    thread.join()
    assert second.details_["job"] == first.details_["job"]
    np.testing.assert_array_equal(second.embedding_, first.embedding_)


def test_a_job_that_ended_for_want_of_data_is_no_obstacle(cloud, X):
    remote().fit(X)
    (job,) = journal.jobs()
    cloud.end_containers()
    lacking = wire.pack("answer", {"status": "data needed"})
    cloud.plane.calls[job.id].answer = lacking
    journal.record_job(journal.Job(**{**vars(job), "state": "running"}))
    assert np.isfinite(remote().fit_transform(X)).all()
    journal.record_job(journal.Job(**{**vars(job), "state": "running"}))
    with pytest.raises(RemoteError, match="fit again"):
        jobs.attach(job.id)
    assert journal.find_job(job.id).state == "failed"


def test_a_failing_look_at_the_queue_does_not_end_a_job(cloud, X, monkeypatch):
    remote().fit(X)

    def failing(self):
        raise ServiceUnreachableError("no network")

    monkeypatch.setattr(client.Client, "stats", failing)
    monkeypatch.setattr(client, "POLL_SECONDS", 0.1)
    monkeypatch.setattr(watch, "START_PATIENCE_SECONDS", 0.0)
    assert remote(seed=1, max_iter=2000).fit(X).n_iter_ > 250


def test_a_container_that_cannot_start_is_survived_by_auto(cloud, X, monkeypatch):
    fast_gpu(monkeypatch)
    cloud.end_containers()
    cloud.faults.crash_seconds = 0.0
    with pytest.warns(BackendWarning, match="nothing was computed"):
        tsne = ServerlessTSNE(perplexity=10, max_iter=250, random_state=0).fit(X)
    assert tsne.backend_ != "modal"


@pytest.mark.parametrize("header", [{"kl_divergence": 10**400}, {"n_iter": "many"}, {"seconds": 5}])
def test_an_answer_with_odd_numbers(cloud, X, header):
    tsne = remote().fit(X)
    (job,) = journal.jobs()
    head, blocks = wire.unpack(cloud.plane.calls[job.id].answer, "answer")
    cloud.plane.calls[job.id].answer = wire.pack("answer", {**head.header, **header}, blocks)
    with pytest.raises(DamagedFrameError, match="lacks"):
        jobs.attach(job.id)
    assert tsne.n_iter_ == 250


def test_a_service_deployed_anew_by_another_process_is_looked_up_again(cloud, X):
    remote().fit(X)
    stale = dict(client._looked_up)
    account.undeploy()
    account.deploy()
    client._looked_up.update(stale)
    assert np.isfinite(remote(seed=1).fit_transform(X)).all()


def test_what_an_interrupted_step_did_is_undone():
    undone = []
    timer = threading.Timer(0.2, os.kill, args=[os.getpid(), signal.SIGINT])
    # A shell that starts the tests in the background has them ignore Ctrl-C.
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            network.within(10, lambda: time.sleep(0.6) or "fc-1", undone.append)
    finally:
        signal.signal(signal.SIGINT, before)
    assert undone == ["fc-1"]


def test_a_proxy_is_left_to_modals_library(monkeypatch):
    monkeypatch.setattr(network, "_try_servers", lambda: pytest.fail("probed past the proxy"))
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    network.check_reachable()
