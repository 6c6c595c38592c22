"""Our engine as a whole: repeatability, hard inputs, quality, threads, cold start."""

import concurrent.futures
import os
import subprocess
import sys
import threading
import weakref
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from native_truth import mixture, native
from sklearn.metrics import pairwise_distances
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from tsne_backends import EmbeddingError, Problem, ServerlessTSNE
from tsne_backends.backends.native import NativeBackend
from tsne_backends.machine import Machine
from tsne_backends.native import engine as native_engine
from tsne_backends.native.affinities import make_affinities
from tsne_backends.native.engine import GO_ON, NEXT_STAGE, STOP, Engine
from tsne_backends.native.schedule import Stage
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.threads import Team
from tsne_backends.native.warm import is_compiled
from tsne_backends.neighbors import neighbors_graph
from tsne_backends.quality import kl_divergence, neighbor_preservation
from tsne_backends.run import Run


@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("n", [300, 5000])
def test_a_seed_repeats_at_any_number_of_threads(n, method):
    X = mixture(n)
    one, two, five = (native(n_jobs=jobs, method=method).fit(X) for jobs in (1, 2, 5))
    np.testing.assert_array_equal(one.embedding_, two.embedding_)
    np.testing.assert_array_equal(one.embedding_, five.embedding_)
    assert one.kl_divergence_ == two.kl_divergence_ == five.kl_divergence_


def test_details_tell_how_many_threads_worked():
    assert native(n_jobs=6, max_iter=250).fit(mixture(300)).details_["threads"] == 4


def test_a_search_through_lists_repeats_at_any_number_of_threads():
    X = mixture(6000)
    options = {"neighbors": "approximate"}
    one, two = (
        native(n_jobs=jobs, max_iter=250, backend_options=options).fit(X) for jobs in (1, 2)
    )
    assert "recall" in one.details_["neighbours"]
    np.testing.assert_array_equal(one.embedding_, two.embedding_)


def test_more_rows_than_its_indices_can_number_are_refused():
    assert NativeBackend().can_run(Problem(2**32 - 1, 2)).ok
    verdict = NativeBackend().can_run(Problem(2**32, 2))
    assert not verdict.ok
    assert "4,294,967,296 rows are more than 32 bits can number; take a sample" in verdict.reason


def test_principal_components_repeat_at_any_number_of_threads():
    X = mixture(2000, 784)  # so many that BLAS would share the products out
    one, two = (native(n_jobs=jobs, max_iter=250).fit(X) for jobs in (1, 2))
    np.testing.assert_array_equal(one.embedding_, two.embedding_)


def test_searches_that_are_not_its_own_have_all_threads(monkeypatch):
    seen = []

    def search(*arguments):
        seen.extend(one["num_threads"] for one in threadpool_info() if one["user_api"] == "openmp")
        return neighbors_graph(*arguments)

    monkeypatch.setattr("tsne_backends.backends.native.neighbors_graph", search)
    with threadpool_limits(2):
        native(metric="manhattan", n_jobs=2, max_iter=250).fit(mixture(300))
    assert seen
    assert set(seen) == {2}


BAD_DATA = {
    "constant": np.zeros((40, 3)),
    "duplicates": np.repeat(np.arange(4.0), 10)[:, None] * np.ones(3),
    "far outlier": np.vstack([np.random.RandomState(0).rand(49, 2), [[1e8, 0]]]),
    "farther outlier": np.vstack([mixture(400, 3), np.full((1, 3), 1e6)]),
    "two far blobs": np.vstack([mixture(100, 3), mixture(100, 3) + 1e6]),
    "large": 1e6 * mixture(200, 4),
    "small": 1e-6 * mixture(200, 4),
    "huge": 1e25 * mixture(200, 4).astype(np.float64),
    "one feature": np.arange(60.0)[:, None],
    "heavy tails": np.random.RandomState(0).standard_cauchy((400, 3)),
}


@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("method", ["auto", "fft"])
@pytest.mark.parametrize("name", BAD_DATA)
def test_hard_inputs(name, method, n_components):
    fitted = native(n_components=n_components, perplexity=5, method=method, max_iter="auto").fit(
        BAD_DATA[name]
    )
    assert np.isfinite(fitted.embedding_).all()
    assert np.isfinite(fitted.kl_divergence_)
    assert fitted.embedding_.std() > 0


@pytest.mark.parametrize("n", [2, 3, 4, 5, 9])
@pytest.mark.parametrize("n_components", [1, 2])
@pytest.mark.parametrize("method", ["auto", "fft"])
def test_tiny_inputs(n, n_components, method):
    X = np.random.RandomState(0).rand(n, 3)
    Y = native(n_components=n_components, perplexity=1.5, method=method).fit_transform(X)
    assert Y.shape == (n, n_components)
    assert np.isfinite(Y).all()


def test_divergence_is_an_error_with_a_reason():
    with pytest.raises(EmbeddingError, match="learning rate is too large"):
        native(learning_rate=1e38).fit(mixture(300))


def test_wide_initial_positions():
    start = 1e4 * np.random.RandomState(0).standard_normal((300, 2))
    for method in ("auto", "fft"):
        # Fifty iterations: a grid under so wide a map is as large as it may be.
        stopped = native(init=start, method=method, early_exaggeration=1, callbacks=lambda *_: True)
        Y = stopped.fit_transform(mixture(300))
        assert np.isfinite(Y).all()
        assert stopped.n_iter_ == 50
        assert 0.9 < Y.std() / start.std() < 1.1  # no step is longer than 5
    with pytest.raises(EmbeddingError, match="beyond what single precision holds"):
        native(init=start * 1e36, early_exaggeration=1).fit(mixture(300))


def test_no_worse_than_opentsne_on_the_same_schedule(digits):
    from sklearn.datasets import load_digits

    X = load_digits().data.astype(np.float32)
    theirs = ServerlessTSNE(backend="opentsne", max_iter=750, random_state=0).fit_transform(X)
    for parameters in ({"max_iter": 750}, {"max_iter": 750, "method": "fft"}, {"max_iter": "auto"}):
        ours = native(**parameters).fit_transform(X)
        assert kl_divergence(X, ours) <= 1.01 * kl_divergence(X, theirs)
        assert neighbor_preservation(X, ours) >= neighbor_preservation(X, theirs) - 0.01


@pytest.mark.parametrize("n", [1500, 11_000])
def test_the_divergence_told_is_true_to_a_thousandth(n):
    X = mixture(n)
    fitted = native(max_iter=250, n_jobs=2).fit(X)
    true = kl_divergence(X, fitted.embedding_)
    assert fitted.kl_divergence_ == pytest.approx(true, rel=1e-3)


def test_one_dimension_separates_clusters():
    X = mixture(600)
    Y = native(n_components=1, max_iter=750).fit_transform(X)
    theirs = ServerlessTSNE(1, backend="opentsne", max_iter=750, random_state=0).fit_transform(X)
    assert kl_divergence(X, Y) <= 1.05 * kl_divergence(X, theirs)


@pytest.mark.parametrize("metric", ["cosine", "manhattan", "precomputed"])
def test_metrics_follow_the_neighbours_graph(metric):
    X = np.random.RandomState(0).standard_normal((400, 5))
    data = pairwise_distances(X) if metric == "precomputed" else X
    parameters = {"metric": metric, "init": "random", "max_iter": 500}
    ours = native(**parameters).fit(data)
    theirs = ServerlessTSNE(backend="opentsne", random_state=0, **parameters).fit(data)
    assert ours.kl_divergence_ == pytest.approx(theirs.kl_divergence_, rel=0.06)


def test_cosine_by_our_search_and_by_the_kept_one():
    X = mixture(300)  # of noise, maps that differ by one row end a tenth apart
    problem = Problem(*X.shape, metric="cosine", max_iter=500)
    direct = NativeBackend().embed(problem, X, Run())
    zeros = X.copy()
    zeros[0] = 0
    other = NativeBackend().embed(problem, zeros, Run())
    assert "inverted lists" in direct.details["neighbours"]
    assert "scikit-learn" in other.details["neighbours"]
    assert other.kl_divergence == pytest.approx(direct.kl_divergence, abs=0.02)


def test_sparse_data():
    X = mixture(300)
    fitted = native().fit(sp.csr_matrix(X))
    assert fitted.kl_divergence_ == pytest.approx(native().fit(X).kl_divergence_, rel=0.05)


def test_callbacks_see_the_rows_in_their_order():
    """The engine has them in an order of its own."""
    seen = []

    def watch(iteration, kl_divergence, positions):
        seen.append(positions.copy())
        return iteration >= 300

    fitted = native(callbacks=watch).fit(mixture(300))
    assert fitted.n_iter_ == 300
    for axis in range(2):
        assert np.corrcoef(seen[-1][:, axis], fitted.embedding_[:, axis])[0, 1] > 0.9999


def test_perplexity_up_to_a_third_of_the_rows():
    X = mixture(300)
    fitted = native(perplexity=100).fit(X)
    assert fitted.kl_divergence_ == pytest.approx(
        kl_divergence(X, fitted.embedding_, 100), rel=1e-3
    )


def test_refusals_name_another_way():
    problem = Problem(1000, 10)
    refused = [
        ({"n_components": 3}, "whose grid would need billions of nodes"),
        ({"method": "exact"}, "wants the affinities of all pairs"),
        ({"method": "barnes_hut"}, "tree"),
    ]
    for change, reason in refused:
        verdict = NativeBackend().can_run(replace(problem, **change))
        assert not verdict.ok
        assert reason in verdict.reason
        assert 'backend="sklearn"' in verdict.reason


def test_neighbours_are_cached(tmp_path):
    X = mixture(500)
    first = native(memory=str(tmp_path)).fit(X)
    again = native(memory=str(tmp_path), learning_rate=100).fit(X)
    assert first.details_["neighbours"] == again.details_["neighbours"]
    stored = list(tmp_path.rglob("output.pkl"))
    assert len(stored) == 2  # the graph and the principal components


# The engine by itself.


def small_engine(team, n=200):
    X = mixture(n)
    found = find_neighbors(X, 30, team)
    affinities = make_affinities(found.indices, found.squared, 10.0, team)
    return Engine(affinities, 1e-4 * X[found.places][:, :2], team)


def test_the_graph_is_let_go_once_its_affinities_are_laid_out():
    X = mixture(3000)
    with Team(1) as team:
        found = find_neighbors(X, 30, team)
        affinities = make_affinities(found.indices, found.squared, 10.0, team)
        assert affinities.threshold > 0
        graph = weakref.ref(affinities.indices), weakref.ref(affinities.signed)
        engine = Engine(affinities, 1e-4 * X[found.places][:, :2], team)
        del affinities, found
        assert [held() for held in graph] == [None, None]
        assert 0 < engine.kl_divergence() < 10


def test_answers_to_reports():
    stages = [Stage("a", 100, 12.0, 50.0, 0.5), Stage("b", 100, 1.0, 50.0, 0.8)]
    for answer, n_iter in ((GO_ON, 200), (NEXT_STAGE, 100), (STOP, 50)):
        with Team(1) as team:
            outcome = small_engine(team).run(stages, lambda _: None, lambda _, a=answer: a)
        assert outcome.n_iter == n_iter


def test_sorting_points_changes_nothing_but_their_place(monkeypatch):
    """Sums are rounded in another order, which a few iterations do not yet blow up."""
    stages = [Stage("main", 8, 1.0, 50.0, 0.5)]
    kept = []
    for sort_at in ((0,), (0, 2, 4, 6)):
        monkeypatch.setattr(native_engine, "SORT_AT", sort_at)
        with Team(1) as team:
            outcome = small_engine(team).run(stages, lambda _: None, lambda _: GO_ON)
        kept.append(outcome.positions)
    difference = np.linalg.norm(kept[0] - kept[1]) / np.linalg.norm(kept[0])
    assert difference < 1e-5


# Threads and compilation.


def test_two_fits_at_once():
    """numba's own threading layer would end the process here."""
    X = mixture(400)
    alone = native().fit_transform(X)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        both = list(pool.map(lambda _: native().fit_transform(X), range(2)))
    for one in both:
        np.testing.assert_array_equal(one, alone)


def test_fits_that_overlap_leave_threads_of_libraries_as_they_were():
    """The second begins within the first, and ends after it."""
    second_works, first_is_done = threading.Event(), threading.Event()
    for library in ThreadpoolController().lib_controllers:
        # Newer versions of threadpoolctl let one thread alone change OpenBLAS: none so far.
        getattr(library, "clear_controlling_thread", lambda **_: None)(force=True)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        before = {one["filepath"]: one["num_threads"] for one in threadpool_info()}

        def fit(first_report):
            return native(callbacks=lambda *_: first_report() is None).fit(mixture(400))

        def begin_second():
            running.append(pool.submit(fit, wait_for_first))
            assert second_works.wait(60)

        def wait_for_first():
            second_works.set()
            assert first_is_done.wait(60)

        running = []
        pool.submit(fit, begin_second).result()
        first_is_done.set()
        running[0].result()
        after = {one["filepath"]: one["num_threads"] for one in threadpool_info()}
    assert {path: after[path] for path in before} == before


def test_compilation_is_seen_and_counted(tmp_path):
    assert is_compiled()
    code = (
        "from tsne_backends.native.warm import is_compiled; import sys; "
        "print(is_compiled(), 'numba' in sys.modules)"
    )
    environment = {**os.environ, "NUMBA_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["False", "False"]


def test_kernels_compile_where_nothing_can_be_written(monkeypatch):
    from tsne_backends.native import jit

    compile_kernel, asked = jit.numba.njit, []

    def njit(cache=False, **options):
        asked.append(cache)
        if cache:
            raise RuntimeError("cannot cache function: no locator available")
        return compile_kernel(**options)

    monkeypatch.setattr(jit.numba, "njit", njit)

    def double(x):
        return x + x

    assert jit.kernel(double)(3) == 6
    assert asked == [True, False]


def test_auto_weighs_the_seconds_of_compiling(monkeypatch):
    few, many = (500, 10), (20_000, 10)
    assert ServerlessTSNE().plan(shape=few).chosen == "native"
    monkeypatch.setattr("tsne_backends.native.warm.is_loaded", lambda: False)
    monkeypatch.setattr("tsne_backends.native.warm.is_compiled", lambda: False)
    assert ServerlessTSNE().plan(shape=few).chosen == "opentsne"
    assert ServerlessTSNE().plan(shape=many).chosen == "native"
    assert "serverless-tsne warmup" in NativeBackend().available().reason


def test_an_uncompiled_engine_takes_longer(monkeypatch):
    problem = Problem(2000, 10)
    warm = NativeBackend().estimate(problem, Machine()).total
    monkeypatch.setattr("tsne_backends.native.warm.is_loaded", lambda: False)
    cold = NativeBackend().estimate(problem, Machine()).total
    monkeypatch.setattr("tsne_backends.native.warm.is_compiled", lambda: False)
    assert NativeBackend().estimate(problem, Machine()).total > cold + 2 > warm + 2
