"""The whole remote path with the real Modal client: maps, what is sent, jobs, and what is kept."""

import asyncio
import threading
import warnings

import numpy as np
import pytest
from scipy.sparse import csr_matrix

import tsne_backends
from backends_remote import encoding, jobs, journal, outbox
from backends_remote.volume import DataVolume
from benchmarks.data import load
from tsne_backends import ServerlessTSNE
from tsne_backends.errors import ResultExpiredError
from tsne_backends.testing import BackendContract


def remote(seed=0, perplexity=10.0, options=None, **more):
    return ServerlessTSNE(
        backend="modal",
        perplexity=perplexity,
        max_iter=250,
        random_state=seed,
        backend_options=options,
        **more,
    )


@pytest.fixture
def X():
    """Rows no other test sends: the service keeps what it has seen."""
    return np.random.default_rng().normal(size=(300, 20)).astype(np.float32)


class TestModal(BackendContract):
    name = "modal"

    @pytest.fixture(autouse=True)
    def _cloud(self, cloud):
        """Every test of the contract runs on the loopback."""

    # The optimisation is elsewhere: callbacks hear once, of the finished map.
    test_callbacks_watch_and_stop = None


def test_a_map_comes_back_with_its_story(cloud, X):
    tsne = remote().fit(X)
    assert tsne.embedding_.shape == (300, 2)
    assert tsne.backend_ == "modal"
    assert tsne.plan_.transfer["n_bytes"] > 0
    assert 0 <= tsne.plan_.transfer["loss"] <= 0.02
    assert tsne.plan_.transfer["codec"] in ("raw", "lossless", "float16", "rotated")
    assert {"start", "encoding", "optimisation", "download"} <= set(tsne.timings_)
    assert tsne.details_["version"] == tsne_backends.__version__
    assert "of X (codec" in tsne.plan_.outcome()


def test_an_exact_transfer_gives_the_map_of_the_engine(cloud, X):
    """What travels bit by bit is embedded as it would be here."""
    there = remote(options={"transfer_loss": 0}).fit(X)
    here = ServerlessTSNE(backend="opentsne", perplexity=10.0, max_iter=250, random_state=0).fit(X)
    assert there.plan_.transfer["loss"] == 0
    np.testing.assert_array_equal(there.embedding_, here.embedding_)


def test_a_second_map_of_the_same_data_sends_almost_nothing(cloud, X):
    remote().fit(X)
    before = cloud.plane.counts.copy(), cloud.storage.n_bytes_received
    again = remote(seed=1, perplexity=5.0, learning_rate=100.0).fit(X)
    assert again.plan_.transfer["n_bytes"] == 0
    assert cloud.storage.n_bytes_received - before[1] < 10_000
    assert cloud.plane.counts["FunctionMap"] == before[0]["FunctionMap"] + 1
    assert "no X" in again.plan_.outcome()


def test_a_cleared_container_asks_for_the_data_again(cloud, X):
    first = remote().fit(X)
    cloud.end_containers()
    again = remote().fit(X)
    assert again.plan_.transfer["n_bytes"] == first.plan_.transfer["n_bytes"]
    np.testing.assert_array_equal(again.embedding_, first.embedding_)


@pytest.fixture
def large(monkeypatch):
    """Make small frames travel by volume, in several parts."""
    monkeypatch.setattr(outbox, "INLINE_BYTES", 1000)
    monkeypatch.setattr(outbox, "PART_BYTES", 30_000)
    monkeypatch.setattr(encoding, "PLAIN_BLOCK_BYTES", 20_000)
    monkeypatch.setattr(encoding, "LEAST_BLOCK_ROWS", 1)
    return load("patches48", 1000, seed=np.random.default_rng().integers(10**6))


def test_large_data_go_by_volume_and_stay_there(cloud, large):
    raw = {"codec": "raw"}
    first = remote(options=raw).fit(large)
    files = DataVolume().files()
    assert sum(file.n_bytes for file in files) >= large.nbytes
    assert len(files) > 3
    received = cloud.storage.n_bytes_received
    cloud.end_containers()  # its memory goes, the volume stays
    again = remote(options=raw).fit(large)
    assert cloud.storage.n_bytes_received - received < 10_000
    np.testing.assert_array_equal(again.embedding_, first.embedding_)


def test_an_upload_goes_on_where_it_was_cut_off(cloud, large, monkeypatch):
    whole = DataVolume.put
    calls = []

    def cut_off(self, folder, files):
        calls.append(files)
        if len(calls) == 6:
            raise KeyboardInterrupt
        whole(self, folder, files)

    monkeypatch.setattr(DataVolume, "put", cut_off)
    with pytest.raises(KeyboardInterrupt):
        remote(options={"codec": "raw"}).fit(large)
    monkeypatch.setattr(DataVolume, "put", whole)
    before = cloud.storage.n_bytes_received
    remote(options={"codec": "raw"}).fit(large)
    assert cloud.storage.n_bytes_received - before < large.nbytes - 50_000


def test_nothing_is_left_in_the_folder_for_temporary_files(cloud, large, tmp_path, monkeypatch):
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    remote().fit(large)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", ["float64", "sparse", "fortran", "readonly"])
def test_any_kind_of_data_travels(cloud, X, kind):
    data = {
        "float64": X.astype(np.float64),
        "sparse": csr_matrix(np.where(X > 0.5, X, 0)),
        "fortran": np.asfortranarray(X),
        "readonly": X,
    }[kind]
    X.flags.writeable = False
    there = remote(options={"transfer_loss": 0}).fit(data)
    here = ServerlessTSNE(backend="opentsne", perplexity=10.0, max_iter=250, random_state=0)
    # The order of a matrix in memory changes the last digits of sums over it.
    same = data if kind == "sparse" else np.ascontiguousarray(data)
    np.testing.assert_array_equal(there.embedding_, here.fit_transform(same))


@pytest.mark.parametrize("metric", ["cosine", "manhattan", "minkowski"])
def test_metrics_travel(cloud, X, metric):
    params = {"p": 3} if metric == "minkowski" else None
    exact = {"transfer_loss": 0}
    there = remote(options=exact, metric=metric, metric_params=params).fit(X)
    here = ServerlessTSNE(
        backend="opentsne",
        perplexity=10.0,
        max_iter=250,
        random_state=0,
        metric=metric,
        metric_params=params,
    ).fit(X)
    np.testing.assert_allclose(there.embedding_, here.embedding_, rtol=1e-4, atol=1e-3)


def test_it_works_inside_a_running_event_loop(cloud, X):
    async def notebook():
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # Modal warns of blocking calls in a loop
            return remote().fit_transform(X)

    assert asyncio.run(notebook()).shape == (300, 2)


def test_threads_may_fit_at_once(cloud):
    found = {}

    def fit(seed):
        data = np.random.default_rng(seed).normal(size=(200, 5)).astype(np.float32)
        found[seed] = remote(seed=seed).fit_transform(data)

    threads = [threading.Thread(target=fit, args=(seed,)) for seed in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 3
    assert all(np.isfinite(Y).all() for Y in found.values())


def test_the_old_client_is_replaced(cloud, X):
    assert tsne_backends.gpu_tsne(X, n_iter=250, perplexity=10).shape == (300, 2)


# Jobs.


def test_a_job_can_be_attached_to(cloud, X):
    tsne = remote().fit(X)
    (job,) = journal.jobs()
    assert job.state == "done"
    assert job.id == tsne.details_["job"]
    embedding = jobs.attach(job.id)
    np.testing.assert_array_equal(embedding.coordinates, tsne.embedding_)
    assert embedding.kl_divergence == tsne.kl_divergence_
    with pytest.raises(ResultExpiredError, match="serverless-tsne jobs"):
        jobs.attach("fc-unknown")


def test_a_killed_client_finds_its_job_again(cloud, X, monkeypatch):
    class Killed(BaseException):
        """No handler of ours may take it for an interrupt."""

    def die(*_, **__):
        raise Killed

    from backends_remote import session

    with monkeypatch.context() as patch:
        real = session.fetch
        # Dies while waiting for the map, not for the container.
        calls = iter([real, die])
        patch.setattr(session, "fetch", lambda *args: next(calls)(*args))
        with pytest.raises(Killed):
            remote().fit(X)
    (job,) = journal.jobs()
    assert job.state == "running"
    submitted = cloud.plane.counts["FunctionMap"]
    again = remote().fit(X)
    assert cloud.plane.counts["FunctionMap"] == submitted
    assert again.details_["job"] == job.id
    np.testing.assert_array_equal(again.embedding_, jobs.attach(job.id).coordinates)
    assert [one.state for one in journal.jobs()] == ["done"]


def test_another_seed_is_another_job(cloud, X):
    remote(seed=0).fit(X)
    (first,) = journal.jobs()
    journal.record_job(journal.Job(**{**vars(first), "state": "running"}))
    assert remote(seed=1).fit(X).details_["job"] != first.id


@pytest.mark.parametrize("content", ["", "{", "[]", '{"a": 1}', '{"a": {"id": 5}}', "\x00" * 100])
@pytest.mark.filterwarnings("ignore::tsne_backends.MemoryOfRunsWarning")
def test_a_damaged_journal_costs_nothing_but_memory(cloud, X, content):
    for name in ("jobs", "sent"):
        journal._path(name).parent.mkdir(parents=True, exist_ok=True)
        journal._path(name).write_text(content)
    assert remote().fit(X).embedding_.shape == (300, 2)
    assert len(journal.jobs()) == 1


@pytest.mark.filterwarnings("ignore::tsne_backends.MemoryOfRunsWarning")
def test_a_journal_that_cannot_be_written_is_done_without(cloud, X, monkeypatch):
    monkeypatch.setattr(journal, "_path", lambda name: journal.Path("/proc/nowhere") / name)
    monkeypatch.setattr("backends_remote.backend._known_service", lambda: "serverless-tsne")
    assert remote().fit(X).embedding_.shape == (300, 2)


def test_the_journal_holds_no_data_and_survives_a_clock_set_back(cloud, X, monkeypatch):
    remote().fit(X)
    text = "".join(journal._path(name).read_text() for name in ("jobs", "sent", "deployment"))
    assert str(float(X[0, 0]))[:8] not in text
    assert "as-loopback" not in text
    now = journal.time.time()
    monkeypatch.setattr(journal.time, "time", lambda: now - 3e6)
    assert len(journal.jobs()) == 1
    monkeypatch.setattr(journal.time, "time", lambda: now + 8 * 86400)
    assert journal.jobs() == []
