"""What fits share: what is looked up, what is not, and a cache that others share or damage."""

import subprocess
import sys

import joblib
import numpy as np
import pytest
import scipy.sparse as sp
from click.testing import CliRunner

from tsne_backends import BackendWarning, ServerlessTSNE
from tsne_backends.backends import native as native_backend
from tsne_backends.cache import Cache, content_of
from tsne_backends.cli.command import main

BACKENDS = ("native", "opentsne", "sklearn")


def fit(X, folder, **parameters):
    defaults = {"backend": "native", "perplexity": 20, "max_iter": 250, "random_state": 0}
    return ServerlessTSNE(**{**defaults, **parameters}, memory=folder).fit(X)


@pytest.fixture
def searches(monkeypatch):
    """The number of neighbours of every search that was made."""
    from tsne_backends import neighbors

    made = []

    def watched(module, name):
        search = getattr(module, name)

        def counted(X, k, *more, **how):
            made.append(k)
            return search(X, k, *more, **how)

        monkeypatch.setattr(module, name, counted)

    watched(native_backend, "_own_search")
    watched(neighbors, "find_neighbors")
    return made


@pytest.fixture
def analyses(monkeypatch):
    """The principal component analyses that were made."""
    from sklearn.decomposition import PCA

    made, analyse = [], PCA.fit_transform

    def counted(self, X, y=None):
        made.append(X.shape)
        return analyse(self, X)

    monkeypatch.setattr(PCA, "fit_transform", counted)
    return made


CHANGES = (
    {"perplexity": 5},
    {"learning_rate": 30},
    {"early_exaggeration": 4},
    {"max_iter": 300},
    {"random_state": 7},
    {"random_state": None},
    {"init": "random"},
    {"n_components": 1},
    {"n_jobs": 1},
)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_change_but_a_higher_perplexity_searches_again(backend, digits, tmp_path, searches):
    fit(digits, tmp_path, backend=backend)
    assert searches == [60]
    for change in CHANGES:
        if backend != "sklearn" or "n_components" not in change:
            fit(digits, tmp_path, **{"backend": backend, **change})
    assert searches == [60]
    fit(digits, tmp_path, backend=backend, perplexity=25)
    assert searches == [60, 75]
    fit(digits, tmp_path, backend=backend)
    assert searches == [60, 75]  # the larger graph has taken the place of the smaller
    fit(digits + 1, tmp_path, backend=backend)
    fit(digits, tmp_path, backend=backend, metric="cosine")
    assert len(searches) == 4


@pytest.mark.parametrize("backend", BACKENDS)
def test_a_map_from_the_cache_is_the_one_without(backend, digits, tmp_path):
    fit(digits, tmp_path, backend=backend, perplexity=30)
    from_cache = fit(digits, tmp_path, backend=backend)
    alone = fit(digits, None, backend=backend)
    # The same neighbours; where they lie in memory decides how sums are rounded.
    assert from_cache.kl_divergence_ == pytest.approx(alone.kl_divergence_, rel=0.03)
    again = fit(digits, tmp_path, backend=backend)
    np.testing.assert_array_equal(from_cache.embedding_, again.embedding_)


def test_the_nearest_of_a_larger_graph_are_the_graph(digits):
    large = native_backend._own_search(digits, 60, cosine=False, search="exact", n_threads=1)
    small = native_backend._own_search(digits, 20, cosine=False, search="exact", n_threads=1)
    narrowed = native_backend._nearest(large, 20)
    np.testing.assert_allclose(np.sort(narrowed[1], axis=1), np.sort(small[1], axis=1))
    np.testing.assert_array_equal(narrowed[2], small[2])


def test_principal_components_are_kept(digits, tmp_path, analyses):
    first = fit(digits, tmp_path)
    for change in ({"perplexity": 5}, {"learning_rate": 30}, {"init": "random"}, {}):
        again = fit(digits, tmp_path, **change)
    assert len(analyses) == 1
    np.testing.assert_array_equal(first.embedding_, again.embedding_)
    fit(digits, tmp_path, random_state=3)  # which the randomised analysis depends on
    assert len(analyses) == 2


@pytest.mark.parametrize("mode", ["r", "r+", "c"])
@pytest.mark.parametrize("backend", BACKENDS)
def test_entries_mapped_into_memory_are_not_written_to(backend, mode, digits, tmp_path):
    first = fit(digits, tmp_path, backend=backend)
    entries = {path: path.read_bytes() for path in tmp_path.rglob("output.pkl")}
    again = fit(digits, joblib.Memory(str(tmp_path), mmap_mode=mode, verbose=0), backend=backend)
    np.testing.assert_array_equal(first.embedding_, again.embedding_)
    assert {path: path.read_bytes() for path in tmp_path.rglob("output.pkl")} == entries


def test_nothing_is_kept_without_a_folder(digits, tmp_path, searches):
    for memory in (None, joblib.Memory(None)):
        fit(digits, memory)
        fit(digits, memory)
    assert len(searches) == 4
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("damage", ["cut", "emptied", "text"])
def test_a_damaged_entry_is_replaced_with_one_warning(damage, digits, tmp_path, searches):
    fit(digits, tmp_path, init="random")
    (entry,) = tmp_path.rglob("output.pkl")
    content = entry.read_bytes()
    entry.write_bytes({"cut": content[: len(content) // 2], "emptied": b"", "text": b"no"}[damage])
    with pytest.warns(BackendWarning, match=r"entry of the cache in .* cannot be read") as caught:
        fit(digits, tmp_path, init="random")
    assert len([one for one in caught if one.category is BackendWarning]) == 1
    fit(digits, tmp_path, init="random")
    assert searches == [60, 60]


def test_an_entry_that_goes_while_it_is_read(digits, tmp_path, monkeypatch, searches):
    from joblib.memory import MemorizedResult

    fit(digits, tmp_path, init="random")
    read = MemorizedResult.get

    def removed(self):
        self.clear()
        return read(self)

    monkeypatch.setattr(MemorizedResult, "get", removed)
    fit(digits, tmp_path, init="random")
    assert searches == [60, 60]


WORKER = """
import sys
import numpy as np
from tsne_backends import ServerlessTSNE
X = np.random.RandomState(0).rand(400, 5).astype(np.float32)
for perplexity in (5, 10, 20):
    ServerlessTSNE(
        backend="native", perplexity=perplexity, max_iter=250, random_state=0, memory=sys.argv[1]
    ).fit(X)
"""


def test_processes_share_a_folder(tmp_path):
    command = [sys.executable, "-W", "error", "-c", WORKER, str(tmp_path)]
    running = [
        subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(3)
    ]
    for process in running:
        _, errors = process.communicate(timeout=300)
        assert process.returncode == 0, errors
    assert not list(tmp_path.rglob("*.pid-*"))  # what joblib writes to before it is whole


def test_what_a_killed_run_left_is_not_read(digits, tmp_path, searches):
    fit(digits, tmp_path, init="random")
    (entry,) = tmp_path.rglob("output.pkl")
    entry.rename(entry.with_name("output.pkl.thread-1-pid-1"))
    fit(digits, tmp_path, init="random")
    assert searches == [60, 60]


def test_contents_are_told_apart():
    X = np.arange(12, dtype=np.float32).reshape(4, 3)
    same = (X, X.copy(order="F"), X[::-1][::-1], np.vstack([X, X])[:4])
    assert len({content_of(one) for one in same}) == 1
    other = (X + 1, X.astype(np.float64), X.reshape(3, 4), X[:3], sp.csr_matrix(X), X.T)
    assert len({content_of(one) for one in (X, *other)}) == len(other) + 1
    assert content_of(sp.csr_matrix(X)) == content_of(sp.csc_matrix(X).tocsr())
    assert content_of([[1.0]]) is None


def test_a_cache_without_memory_computes():
    cache = Cache()
    assert not cache.is_on
    assert cache.components(np.ones((2, 2)), ("a",), lambda: 5) == 5


# On the command line.


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_the_cache_is_shown_and_pruned(digits, tmp_path):
    fit(digits, tmp_path)
    fit(digits + 1, tmp_path)
    size = int(run("cache", "--size", "--folder", tmp_path).output)
    assert size > 2 * 300 * 60 * 8
    assert f"4 entries, {size / 1e3:,.0f} kB" in run("cache", "--folder", tmp_path).output
    result = run("cache", "--folder", tmp_path, "--prune", f"{size // 2000 + 1}K")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Removed ")
    assert 0 < int(run("cache", "--size", "--folder", tmp_path).output) <= size // 2 + 1000
    assert "0 entries" in run("cache", "--folder", tmp_path, "--prune", "0").output
    assert run("cache", "--size", "--folder", tmp_path).output == "0\n"


def test_a_cache_that_is_not_there(tmp_path):
    assert "does not exist" in run("cache", "--folder", tmp_path / "none").output
    assert run("cache", "--size", "--folder", tmp_path / "none").output == "0\n"
    assert not (tmp_path / "none").exists()
    result = run("cache", "--prune", "half")
    assert result.exit_code == 2
    assert '--prune takes a size such as 500M, 2G or 0; it was "half"' in result.output


# Starting from a map.


def test_a_finished_map_is_scaled_before_early_exaggeration(digits):
    first = fit(digits, None, max_iter=500)
    assert first.embedding_[:, 0].std() > 1
    by_hand = first.embedding_.astype(float) * (1e-4 / first.embedding_[:, 0].astype(float).std())
    for given in (first.embedding_, first):
        again = fit(digits, None, perplexity=10, init=given)
        np.testing.assert_allclose(
            again.embedding_, fit(digits, None, perplexity=10, init=by_hand).embedding_, rtol=1e-3
        )


@pytest.mark.parametrize("backend", BACKENDS)
def test_without_exaggeration_a_run_goes_on_where_the_map_is(backend, digits):
    first = fit(digits, None, backend=backend, max_iter=500)
    on = fit(digits, None, backend=backend, init=first, early_exaggeration=1)
    assert on.kl_divergence_ < first.kl_divergence_
    moved = np.linalg.norm(on.embedding_ - first.embedding_, axis=1)
    assert np.median(moved) < 0.3 * first.embedding_.std()


def test_an_unfitted_start_is_refused(digits):
    with pytest.raises(ValueError, match="init is a ServerlessTSNE that is not fitted"):
        fit(digits, None, init=ServerlessTSNE())


def test_fits_of_other_data_start_nowhere(digits):
    first = fit(digits[:100], None)
    with pytest.raises(ValueError, match=r"init has shape \(100, 2\)"):
        fit(digits, None, init=first)
