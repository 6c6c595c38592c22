"""What is ours in the CPU engines: choice of gradient, stopping rules, quality, hard inputs."""

import os
import sys

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances

from tsne_backends import EmbeddingError, Problem, ServerlessTSNE
from tsne_backends.backends import opentsne
from tsne_backends.backends.opentsne import choose_gradient
from tsne_backends.machine import import_with_passive_threads, thread_count, usable_cores
from tsne_backends.neighbors import NeighborsGraph, neighbors_graph
from tsne_backends.quality import kl_divergence, neighbor_preservation
from tsne_backends.stopping import ProgressCheck


def test_choice_of_gradient():
    def choice(n, phase, **changes):
        problem = Problem(n, 10, **changes)
        return choose_gradient(problem, problem.phases[phase == "main"])

    assert choice(300, "main") == "bh"
    assert choice(10_000, "early exaggeration", n_threads=2) == "fft"
    assert choice(10_000, "main", n_threads=2) == "bh"
    assert choice(100_000, "main", n_threads=2) == "fft"
    assert choice(50_000, "main", n_threads=16) == "bh"
    assert choice(100_000, "main", method="barnes_hut") == "bh"
    assert choice(300, "main", method="fft") == "fft"
    assert choice(100_000, "main", angle=0.0) == "bh"
    problem = Problem(3_000, 10)
    assert choose_gradient(problem, problem.phases[0], 20) == "fft"
    assert choose_gradient(problem, problem.phases[0], 2_000) == "bh"


def test_stopping_rules():
    check = ProgressCheck(100, 1e-3)
    assert not check.finished(50, 2.0, 1.0)
    assert not check.finished(100, 1.5, 1.0)
    assert not check.finished(200, 1.6, 1.0)  # 100 iterations without progress are allowed
    assert check.finished(250, 1.6, 1.0)
    assert ProgressCheck(100, 1e-3).finished(50, 2.0, 1e-3)
    never = ProgressCheck(None, 0.0)
    assert not any(never.finished(i, 1.0, 1.0) for i in range(50, 5000, 50))


def test_no_progress_ends_the_run(digits):
    fitted = ServerlessTSNE(n_iter_without_progress=0, max_iter=5000, random_state=0).fit(digits)
    assert 250 < fitted.n_iter_ < 5000


def test_threads(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 8)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    assert [thread_count(n) for n in (None, 1, 3, -1, -3, -99)] == [8, 1, 3, 8, 6, 1]
    for value, cores in (("2", 2), ("0", 8), ("", 8), ("many", 8), ("64", 8)):
        monkeypatch.setenv("OMP_NUM_THREADS", value)
        assert usable_cores() == cores
    monkeypatch.setattr("joblib.cpu_count", lambda: 0)  # a container limit gone wrong
    assert usable_cores() == 1


def test_leaves_thread_settings_alone(digits):
    from threadpoolctl import threadpool_info

    before = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    ServerlessTSNE(n_jobs=1, max_iter=250).fit(digits)
    ServerlessTSNE(n_jobs=1, max_iter=250, backend="sklearn").fit(digits)
    after = {pool["filepath"]: pool["num_threads"] for pool in threadpool_info()}
    assert {path: after[path] for path in before} == before


def test_as_good_as_the_engines_own_defaults(digits):
    """Same number of iterations: KL within 1 %, preservation within 0.005 or better."""
    import openTSNE
    from sklearn.datasets import load_digits

    X = load_digits().data.astype(np.float32)
    ours = ServerlessTSNE(backend="opentsne", max_iter=750, random_state=0).fit_transform(X)
    theirs = np.asarray(openTSNE.TSNE(random_state=0, n_jobs=2).fit(X))
    assert kl_divergence(X, ours) <= 1.01 * kl_divergence(X, theirs)
    assert neighbor_preservation(X, ours) >= neighbor_preservation(X, theirs) - 0.005


def test_drop_in_is_as_good_as_scikit_learn(digits):
    ours = ServerlessTSNE(random_state=0).fit_transform(digits)
    theirs = TSNE(random_state=0).fit_transform(digits)
    assert kl_divergence(digits, ours) <= 1.02 * kl_divergence(digits, theirs)


@pytest.mark.parametrize("backend", ["native", "opentsne", "sklearn"])
@pytest.mark.parametrize(
    "X",
    [
        np.zeros((20, 3)),
        np.repeat(np.arange(4.0), 10)[:, None] * np.ones(3),
        np.column_stack([np.arange(40.0), np.zeros(40), np.full(40, 1e9)]),
        np.vstack([np.zeros((20, 2)), np.full((20, 2), 1e6)]) + np.arange(80).reshape(40, 2) / 1e3,
        np.vstack([np.random.RandomState(0).rand(39, 2), [[1e8, 0]]]),
        np.arange(40.0)[:, None],
    ],
    ids=["constant", "duplicates", "constant columns", "two far blobs", "outlier", "one feature"],
)
def test_hard_inputs(backend, X):
    fitted = ServerlessTSNE(backend=backend, perplexity=5, random_state=0).fit(X)
    assert np.isfinite(fitted.embedding_).all()
    assert np.isfinite(fitted.kl_divergence_)
    assert fitted.embedding_.std() > 0


@pytest.mark.parametrize("n_samples", [2, 3, 4, 5])
@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_tiny_inputs(n_samples, n_components):
    X = np.random.RandomState(0).rand(n_samples, 4)
    Y = ServerlessTSNE(n_components, perplexity=1, max_iter=250).fit_transform(X)
    assert Y.shape == (n_samples, n_components)
    assert np.isfinite(Y).all()


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(
    X=arrays(
        st.sampled_from([np.float32, np.float64, np.int32, np.uint8, np.bool_]),
        array_shapes(min_dims=2, max_dims=2, min_side=2, max_side=25),
    ),
    perplexity=st.floats(0.5, 30),
    n_components=st.sampled_from([1, 2]),
)
def test_any_matrix_embeds_or_is_refused(X, perplexity, n_components):
    estimator = ServerlessTSNE(n_components, perplexity=perplexity, max_iter=250, random_state=0)
    if not np.isfinite(X).all() or perplexity >= len(X):
        with pytest.raises(ValueError, match=r"NaN|infinity|must be less than n_samples"):
            estimator.fit(X)
        return
    Y = estimator.fit_transform(X)
    assert Y.shape == (len(X), n_components)
    assert np.isfinite(Y).all()
    assert np.isfinite(estimator.transform(X)).all()


@pytest.mark.parametrize(("users", "seen"), [(None, "passive"), ("active", "active")])
def test_openmp_is_loaded_with_passive_waiting(users, seen, tmp_path, monkeypatch):
    (tmp_path / "own_runtime.py").write_text(
        "import os\npolicy = os.environ['OMP_WAIT_POLICY']\n", encoding="utf-8"
    )
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "own_runtime", raising=False)
    monkeypatch.delenv("OMP_WAIT_POLICY", raising=False)
    if users:
        monkeypatch.setenv("OMP_WAIT_POLICY", users)
    assert import_with_passive_threads("own_runtime").policy == seen
    assert os.environ.get("OMP_WAIT_POLICY") == users


@pytest.mark.parametrize("method", ["auto", "fft"])
def test_wide_initial_positions_do_not_blow_the_grid(method, digits, monkeypatch):
    monkeypatch.setattr(opentsne, "MAX_START_INTERVALS", 50)
    start = 1e3 * np.random.RandomState(0).standard_normal((300, 2))
    fitted = ServerlessTSNE(init=start, method=method, max_iter=260, random_state=0).fit(digits)
    assert np.isfinite(fitted.embedding_).all()


@pytest.mark.parametrize("backend", ["native", "opentsne", "sklearn"])
def test_a_given_learning_rate_means_the_same_everywhere(backend, digits):
    """A high rate shows whether an engine drags exaggerated velocities into the main phase."""
    parameters = {"learning_rate": 200, "max_iter": 500, "random_state": 0}
    ours = ServerlessTSNE(backend=backend, **parameters).fit_transform(digits)
    theirs = TSNE(**parameters).fit_transform(digits)
    assert kl_divergence(digits, ours) <= 1.1 * kl_divergence(digits, theirs)


@pytest.mark.parametrize("offset", [1e8, 1.7e9])
@pytest.mark.parametrize("neighbors", ["exact", "approximate"])
def test_data_far_from_zero_keep_their_neighbours(offset, neighbors):
    X = np.random.RandomState(0).standard_normal((400, 3))
    fitted = ServerlessTSNE(
        perplexity=5, random_state=0, backend_options={"neighbors": neighbors}
    ).fit(X + offset)
    assert neighbor_preservation(X, fitted.embedding_, k=10) > 0.6


def test_rows_without_direction_are_far_from_everything_in_cosine():
    X = np.random.RandomState(0).rand(80, 5)
    X[:6] = 0
    dense = neighbors_graph(Problem(80, 5, metric="cosine", perplexity=5), X)
    assert (dense.distances[:6] == 1).all()


@pytest.mark.parametrize("scale", [1e20, 1e-20])
def test_scale_of_given_distances_does_not_matter(scale, digits):
    D = pairwise_distances(digits.astype(np.float64))
    fitted = ServerlessTSNE(metric="precomputed", init="random", max_iter=250).fit(D * scale)
    assert np.isfinite(fitted.kl_divergence_)


def test_distances_that_are_not_finite_are_named():
    graph = NeighborsGraph(np.zeros((2, 1), dtype=np.int64), np.array([[1.0], [np.inf]]), "")
    with pytest.raises(EmbeddingError, match="not finite in this metric"):
        graph.unit_distances()
