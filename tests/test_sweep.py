"""Sweeps: what is shared, what is refused, where the fits run, and what comes back."""

import os
import subprocess
import sys
from typing import ClassVar

import joblib
import numpy as np
import pytest
import scipy.sparse as sp

from tsne_backends import ServerlessTSNE, register_backend, registry, sweep
from tsne_backends.backends import native as native_backend
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.cache import CarriedCache
from tsne_backends.quality import neighbor_preservation
from tsne_backends.sweeps import Sweep, SweepRow
from tsne_backends.sweeps import runs as sweep_runs

QUICK = {"backend": "native", "max_iter": 250}
GRID = {"perplexity": [5, 20], "random_state": [0, 1]}


@pytest.fixture
def searches(monkeypatch):
    """The number of neighbours of every search that was made in this process."""
    made, search = [], native_backend._own_search

    def counted(X, k, **how):
        made.append(k)
        return search(X, k, **how)

    monkeypatch.setattr(native_backend, "_own_search", counted)
    return made


class Fragile(OpenTSNEBackend):
    """Fails at some perplexities."""

    name = "fragile"
    fails_at: ClassVar = (5.0,)

    def prepare(self, problem, X, run):
        raise MemoryError

    def embed(self, problem, X, run):
        if problem.perplexity in self.fails_at:
            raise FloatingPointError(f"perplexity {problem.perplexity} is too much")
        return super().embed(problem, X, run)


@pytest.fixture
def fragile():
    register_backend("fragile", Fragile)
    yield Fragile
    registry._registered.pop("fragile", None)


def test_every_combination_has_its_row(digits):
    result = sweep(digits, GRID, **QUICK)
    assert [tuple(row.parameters.values()) for row in result] == [(5, 0), (5, 1), (20, 0), (20, 1)]
    assert len(result) == 4
    assert result[-1] is result.rows[3]
    assert result[1:3] == result.rows[1:3]
    for row in result:
        assert row.embedding.shape == (300, 2)
        assert row.embedding.dtype == np.float32
        assert row.backend == "native"
        assert row.n_iter == 250
        assert row.error is None
        assert row.seconds > 0
    assert len({row.embedding.tobytes() for row in result}) == 4


def test_a_row_is_what_the_estimator_computes(digits, tmp_path):
    result = sweep(digits, GRID, **QUICK)
    last = result[-1]
    fit = ServerlessTSNE(perplexity=20, random_state=1, **QUICK).fit(digits)
    np.testing.assert_array_equal(last.embedding, fit.embedding_)
    assert last.kl_divergence == pytest.approx(fit.kl_divergence_)
    assert last.preservation == pytest.approx(neighbor_preservation(digits, fit.embedding_))


def test_one_search_serves_all(digits, searches):
    sweep(digits, {"perplexity": [5, 20, 10], "random_state": range(2)}, **QUICK)
    assert searches == [60]


def test_memory_serves_the_next_sweep_and_the_next_fit(digits, tmp_path, searches):
    sweep(digits, GRID, memory=tmp_path, **QUICK)
    sweep(digits, {"learning_rate": ["auto", 100.0]}, memory=tmp_path, perplexity=15, **QUICK)
    ServerlessTSNE(memory=tmp_path, perplexity=20, **QUICK).fit(digits)
    assert searches == [60]


@pytest.mark.parametrize("backend", ["opentsne", "sklearn"])
def test_other_engines_share_too(backend, digits, monkeypatch):
    from tsne_backends import neighbors

    made, find = [], neighbors.find_neighbors
    monkeypatch.setattr(
        neighbors, "find_neighbors", lambda X, k, *a, **b: made.append(k) or find(X, k, *a, **b)
    )
    result = sweep(digits, {"perplexity": [5, 20]}, backend=backend, max_iter=250, random_state=0)
    assert made == [60]
    assert {row.backend for row in result} == {backend}


def process_of_fits(X):
    """Return the id of the process in which the fits of a sweep run just now."""

    class Telling(OpenTSNEBackend):
        name = "telling"

        def embed(self, problem, X, run):
            raise RuntimeError(str(os.getpid()))

    register_backend("telling", Telling)
    try:
        with pytest.raises(RuntimeError) as told:
            sweep(X, {"perplexity": [5, 20]}, backend="telling")
    finally:
        registry._registered.pop("telling", None)
    return int(str(told.value))


def test_processes_give_the_same_maps(digits):
    with joblib.parallel_config("loky", n_jobs=2):
        assert process_of_fits(digits) != os.getpid()
    alone = sweep(digits, GRID, **QUICK)
    spread = sweep(digits, GRID, n_jobs=2, **QUICK)
    for one, other in zip(alone, spread, strict=True):
        assert one.parameters == other.parameters
        np.testing.assert_array_equal(one.embedding, other.embedding)


@pytest.mark.parametrize("processes", [True, False])
def test_a_dask_cluster_gives_the_same_maps(digits, processes):
    distributed = pytest.importorskip("distributed")
    alone = sweep(digits, GRID, **QUICK)
    with (
        distributed.LocalCluster(
            n_workers=2, threads_per_worker=1, processes=processes, dashboard_address=None
        ) as cluster,
        distributed.Client(cluster),
        joblib.parallel_config("dask"),
    ):
        spread = sweep(digits, GRID, **QUICK)
        elsewhere = process_of_fits(digits)
    assert (elsewhere != os.getpid()) == processes
    for one, other in zip(alone, spread, strict=True):
        np.testing.assert_array_equal(one.embedding, other.embedding)
        assert one.preservation == other.preservation


def test_what_travels_is_complete_and_protected(digits, searches):
    import pickle

    cache = CarriedCache()
    sent = pickle.loads(pickle.dumps(cache))
    assert sent.n_bytes == 0
    found = cache.graph(digits, ("a",), 3, lambda: (np.ones((300, 3)), None, "words"), None)
    arrived = pickle.loads(pickle.dumps(cache))
    again = arrived.graph(digits, ("a",), 3, lambda: pytest.fail("searched again"), None)
    np.testing.assert_array_equal(again[0], found[0])
    assert sys.getsizeof(arrived) > 300 * 3 * 8
    with pytest.raises(ValueError, match="read-only"):
        again[0][0, 0] = 5


def test_threads_are_shared_out(digits, monkeypatch):
    seen = []

    class Counting(OpenTSNEBackend):
        name = "counting"

        def embed(self, problem, X, run):
            seen.append(problem.n_threads)
            return super().embed(problem, X, run)

    monkeypatch.setattr(sweep_runs, "thread_count", lambda n_jobs: 8)
    register_backend("counting", Counting)
    try:
        settings = {"backend": "counting", "max_iter": 250}
        with joblib.parallel_config("threading", n_jobs=2):
            sweep(digits, {"perplexity": [5, 6, 7]}, **settings)
        with joblib.parallel_config("threading", n_jobs=4):
            sweep(digits, {"perplexity": [5, 6]}, **settings)
        sweep(digits, {"perplexity": [5]}, threads_per_fit=3, **settings)
    finally:
        registry._registered.pop("counting", None)
    assert seen == [4, 4, 4, 4, 4, 3]


def test_a_map_of_wide_data_is_that_of_its_fit_alone():
    X = np.random.RandomState(0).standard_normal((2000, 784)).astype(np.float32)
    settings = {"backend": "native", "random_state": 0, "max_iter": 250}
    alone = ServerlessTSNE(n_jobs=2, **settings).fit_transform(X)
    (row,) = sweep(X, {"perplexity": [30.0]}, threads_per_fit=2, **settings)
    np.testing.assert_array_equal(row.embedding, alone)


def test_a_failure_costs_its_own_row_only(digits, fragile):
    result = sweep(digits, {"perplexity": [5, 20]}, backend="fragile", max_iter=250)
    failed, made = result
    assert isinstance(failed.error, FloatingPointError)
    assert failed.embedding is None
    assert np.isnan(failed.kl_divergence)
    assert made.embedding is not None
    assert result.best() is made
    assert "FloatingPointError: perplexity 5.0 is too much" in repr(result)


def test_only_failures_are_raised(digits, fragile):
    with pytest.raises(FloatingPointError, match=r"perplexity 5\.0 is too much"):
        sweep(digits, {"random_state": [0, 1]}, backend="fragile", perplexity=5)


@pytest.mark.parametrize(
    ("grid", "fixed", "error", "message"),
    [
        ({"perplexty": [5]}, {}, TypeError, r'"perplexty".*Did you mean "perplexity"'),
        ({"perplexity": [5]}, {"max_itr": 9}, TypeError, r'"max_itr".*Did you mean "max_iter"'),
        ({"perplexity": 5}, {}, TypeError, r'a list of values for "perplexity"'),
        ({"metric": "cosine"}, {}, TypeError, r"write \['cosine'\]"),
        ({"perplexity": []}, {}, ValueError, 'no value for "perplexity"'),
        ({}, {}, ValueError, "grid is empty"),
        ({"perplexity": [5]}, {"perplexity": 6}, TypeError, "given as one value too"),
        ({"perplexity": [5, 400]}, {}, ValueError, r"perplexity \(400\) must be less"),
        ({"perplexity": [5, -1]}, {}, ValueError, "'perplexity' parameter"),
        ({"verbose": [0, 1]}, {}, TypeError, "verbose is the same"),
        ({"perplexity": [5]}, {"callbacks": print}, TypeError, "callbacks belong to one fit"),
        ({"metric": ["cosine", "cosin"]}, {}, ValueError, "cosin"),
        ({"backend": ["native", "nativ"]}, {}, ValueError, 'Did you mean "native"'),
        ({"method": ["fft", "exact"]}, {"backend": "native"}, ValueError, "exact"),
    ],
)
def test_what_is_refused_before_work(digits, searches, grid, fixed, error, message):
    with pytest.raises(error, match=message):
        sweep(digits, grid, **fixed)
    assert searches == []


def test_bad_data_is_refused(digits):
    X = digits.copy()
    X[3, 3] = np.nan
    with pytest.raises(ValueError, match="NaN"):
        sweep(X, GRID, **QUICK)


def test_metrics_and_kinds_of_data(digits):
    result = sweep(digits, {"metric": ["euclidean", "cosine", "manhattan"]}, **QUICK)
    assert len({row.embedding.tobytes() for row in result}) == 3
    assert all(row.preservation > 0.3 for row in result)
    (row,) = sweep(sp.csr_matrix(digits[:100]), {"perplexity": [5]}, **QUICK)
    assert row.preservation > 0.3
    D = np.linalg.norm(digits[:100, None] - digits[None, :100], axis=2)
    (row,) = sweep(D, {"perplexity": [5]}, metric="precomputed", init="random", **QUICK)
    assert row.preservation > 0.3
    (row,) = sweep(digits * 1e20, {"perplexity": [5]}, preservation_neighbors=0, **QUICK)
    assert np.isnan(row.preservation)


def test_the_table(digits):
    pd = pytest.importorskip("pandas")
    result = sweep(digits, GRID, **QUICK)
    frame = result.to_frame()
    assert list(frame.columns[:4]) == [
        "perplexity",
        "random_state",
        "kl_divergence",
        "preservation",
    ]
    assert isinstance(frame, pd.DataFrame)
    assert frame.loc[2, "kl_divergence"] == result[2].kl_divergence
    assert frame.kl_divergence.idxmin() == result.rows.index(result.best())
    assert result.best("preservation").preservation == frame.preservation.max()
    assert len(repr(result).splitlines()) == 6
    assert "error" not in repr(result)
    assert result._repr_html_().count("<tr>") == 5
    with pytest.raises(ValueError, match=r'no measure "kl".*kl_divergence'):
        result.best("kl")
    by_backend = sweep(digits, {"backend": ["native", "opentsne"]}, max_iter=250).to_frame()
    assert list(by_backend.backend) == ["native", "opentsne"]
    assert list(by_backend.columns).count("backend") == 1


def test_pandas_is_not_needed(digits, monkeypatch):
    result = sweep(digits, {"perplexity": [5]}, **QUICK)
    monkeypatch.setitem(sys.modules, "pandas", None)
    assert "perplexity" in repr(result)
    with pytest.raises(ImportError, match=r'pip install "serverless-tsne\[pandas\]"'):
        result.to_frame()


def test_no_optional_library_is_loaded():
    code = (
        "import sys, tsne_backends; tsne_backends.sweep;"
        "assert not {'dask', 'distributed', 'matplotlib'} & set(sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


# Pictures.


def test_the_maps_are_drawn_in_a_grid(digits):
    pytest.importorskip("matplotlib")
    from tsne_backends.plot import plot_sweep

    result = sweep(digits, {"perplexity": [5, 20], "random_state": range(3)}, **QUICK)
    figure = plot_sweep(result, np.arange(300) % 4)
    panels = [axes for axes in figure.axes if axes.collections]
    assert len(panels) == 6
    left, bottom = np.array([axes.get_position(original=True).p0 for axes in panels]).T.round(3)
    assert len(set(left)) == 3
    assert (bottom[:3] > bottom[3:]).all()
    title = panels[4].get_title(loc="left")
    assert title == f"perplexity 20, random_state 1\nKL {result[4].kl_divergence:.3f}"
    drawn = np.sort(panels[4].collections[0].get_offsets(), axis=0)
    np.testing.assert_allclose(drawn, np.sort(result[4].embedding, axis=0))
    assert len(np.unique(panels[0].collections[0].get_facecolors(), axis=0)) == 4
    scaled = plot_sweep(result, np.linspace(0, 1, 300))
    assert len(scaled.axes) == 7  # and one scale
    with pytest.raises(ValueError, match=r"has 2 values, but the data have 300 rows"):
        plot_sweep(result, ["a", "b"])


def test_a_failed_map_says_why_in_its_place(digits, fragile):
    pytest.importorskip("matplotlib")
    from tsne_backends.plot import plot_sweep

    figure = plot_sweep(sweep(digits, {"perplexity": [5, 20]}, backend="fragile", max_iter=250))
    words = [text.get_text() for axes in figure.axes for text in axes.texts]
    assert words == ["FloatingPointError:\nperplexity 5.0 is too much"]


def test_values_and_errors_with_dollar_signs_are_no_formulas():
    pytest.importorskip("matplotlib")
    from tsne_backends.plot import plot_sweep

    made = SweepRow({"init": "$a$"}, "native", np.eye(3, 2, dtype=np.float32), 0.5)
    failed = SweepRow({"init": "b"}, "native", error=ValueError("$5 is more than $4"))
    figure = plot_sweep(Sweep((made, failed), {"init": ("$a$", "b")}))
    assert figure.axes[0].get_title(loc="left") == "init \\$a\\$\nKL 0.500"
    assert figure.axes[1].texts[0].get_text() == "ValueError:\n\\$5 is more than \\$4"
