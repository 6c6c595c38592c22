"""Sweeps on a rented GPU, against Modal's control plane on this machine."""

import time

import numpy as np
import pytest
from remote_runs import fast_gpu, remote

from backends_remote import encoding, journal, outbox, session
from backends_remote.volume import DataVolume
from benchmarks.data import load
from tsne_backends import BackendUnavailableError, sweep
from tsne_backends.sweeps import runs as sweep_runs

QUICK = {"backend": "modal", "max_iter": 250}


@pytest.fixture
def large(monkeypatch):
    """Data that no test has sent before, which go to the volume."""
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    monkeypatch.setattr(encoding, "PLAIN_BLOCK_BYTES", 20_000)
    return load("patches48", 1000, seed=np.random.default_rng().integers(10**6))


def test_x_is_sent_once_for_all_maps(cloud, large):
    before = cloud.storage.n_bytes_received
    sweep(large, {"perplexity": [10]}, random_state=0, **QUICK)
    one = cloud.storage.n_bytes_received - before
    result = sweep(large, {"perplexity": [8, 9], "random_state": [0, 1]}, **QUICK)
    assert [row.error for row in result] == [None] * 4
    assert {row.backend for row in result} == {"modal"}
    assert len({row.embedding.tobytes() for row in result}) == 4
    assert cloud.storage.n_bytes_received - before - one < 4 * 10_000
    assert one > 10_000
    assert DataVolume().files()
    assert {job.state for job in journal.jobs()} == {"done"}


def test_a_remote_row_is_what_the_estimator_computes(cloud, digits):
    result = sweep(digits, {"perplexity": [10.0], "random_state": [0]}, **QUICK)
    np.testing.assert_array_equal(result[0].embedding, remote().fit_transform(digits))


def test_ways_may_be_mixed(cloud, digits):
    result = sweep(digits, {"backend": ["native", "modal"]}, perplexity=10, max_iter=250)
    assert [row.backend for row in result] == ["native", "modal"]
    assert all(row.preservation > 0.3 for row in result)


def test_what_cannot_start_is_tried_once(cloud, digits):
    journal.record_deployment(None)
    before = cloud.plane.counts["FunctionMap"]
    with pytest.raises(BackendUnavailableError, match="serverless-tsne deploy"):
        sweep(digits, {"perplexity": [5, 6, 7]}, **QUICK)
    assert cloud.plane.counts["FunctionMap"] == before


def test_leaving_the_machine_is_announced_once(cloud, digits, monkeypatch, caplog):
    fast_gpu(monkeypatch)
    sweep(digits, {"random_state": [0, 1, 2]}, max_iter=250, perplexity=10)
    told = [record.message for record in caplog.records if "Sending X" in record.message]
    assert len(told) == 1


def test_an_interrupt_ends_the_jobs(cloud, digits, monkeypatch, bounded):
    def interrupted(running):
        while len([job for job in journal.jobs() if job.state == "running"]) < 2:
            time.sleep(0.05)
        raise KeyboardInterrupt

    def told(job, error):
        ends[job.id] = error
        record_end(job, error)

    ends, record_end = {}, session.record_end
    monkeypatch.setattr(session, "record_end", told)
    monkeypatch.setattr(sweep_runs, "as_completed", interrupted)
    grid = {"max_iter": [250, 200_000, 200_001], "perplexity": [10]}
    endless = {"n_iter_without_progress": 1_000_000, "min_grad_norm": 0.0}
    with pytest.raises(KeyboardInterrupt):
        sweep(digits, grid, backend="modal", random_state=0, **endless)
    # A container that an earlier test has left, or taken down, may lack X: the job is sent again.
    again = {one for one, error in ends.items() if isinstance(error, session.DataNeededError)}
    jobs = journal.jobs()
    assert {job.state for job in jobs if job.id in again} <= {"failed"}
    states = sorted(job.state for job in jobs if job.id not in again)
    assert states == ["cancelled", "cancelled", "done"]
