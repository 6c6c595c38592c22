"""The GPU backend on a stand-in of RAPIDS: the contract, the table of parameters, and trouble."""

import inspect
import pickle
import warnings

import numpy as np
import pytest
from gpu_runs import blobs, fit, sized

from tsne_backends import Problem, ServerlessTSNE, transfer
from tsne_backends.backends import cuml as module
from tsne_backends.errors import (
    EmbeddingError,
    MapQualityWarning,
    UnsupportedProblemError,
)
from tsne_backends.gpu.cuml_tsne import tsne_parameters
from tsne_backends.gpu.neighbors import METRICS
from tsne_backends.machine import Machine
from tsne_backends.quality import kl_divergence
from tsne_backends.registry import load_backend
from tsne_backends.testing import BackendContract

pytestmark = pytest.mark.usefixtures("gpu")


class TestCuml(BackendContract):
    name = "cuml"


# What is passed to cuML.


def test_the_stand_in_has_the_signature_of_cuml():
    """Where cuML itself is installed, the stand-in is held against it."""
    real = pytest.importorskip("cuml.manifold.t_sne", reason="needs cuML")
    import fake_rapids

    ours = inspect.signature(fake_rapids.TSNE.__init__).parameters
    theirs = inspect.signature(real.TSNE.__init__).parameters
    assert {name: one.default for name, one in ours.items()} == {
        name: one.default for name, one in theirs.items()
    }


def test_cuml_is_kept_from_adapting_and_gets_our_schedule():
    parameters = tsne_parameters(sized(12_000), 90, 750)
    assert parameters["learning_rate_method"] == "none"
    assert parameters["n_neighbors"] == 91
    assert parameters["init"] == "pca"
    assert parameters["method"] == "fft"
    assert parameters["square_distances"] is False
    assert (parameters["pre_momentum"], parameters["post_momentum"]) == (0.8, 0.8)
    assert parameters["exaggeration_iter"] == 250
    # n / 12 in units without the factor 4; the main phase runs at twice that, not at our n.
    assert parameters["learning_rate"] == pytest.approx(1_000)
    by_hand = tsne_parameters(sized(12_000, learning_rate=200.0), 90, 750)
    assert by_hand["learning_rate"] == pytest.approx(400)
    assert tsne_parameters(sized(12_000, repeatable=False), 90, 750)["random_state"] is None


def test_cuml_runs_the_first_iterations_where_asked_to(gpu):
    import fake_rapids

    fitted = fit(max_iter=400, backend_options={"refine": 100})
    (made,) = fake_rapids.TSNE.made
    assert made.max_iter == 300
    assert fitted.n_iter_ == 400
    assert fitted.details_["iterations"] == {"cuML": 300, "ours": 100}
    assert (
        fitted.details_["learning_rates"]["cuML's main"]
        == 2 * (fitted.details_["learning_rates"]["cuML's early"])
    )
    fit()
    assert len(fake_rapids.TSNE.made) == 1, "by default every iteration is ours"


@pytest.mark.parametrize("refine", [0, 100, "all"])
def test_the_objective_is_the_same_whoever_runs(refine):
    X = blobs()
    ours = fit(X, max_iter=750, backend_options={"refine": refine})
    theirs = ServerlessTSNE(backend="opentsne", random_state=0, max_iter=750).fit(X)
    true = kl_divergence(X, ours.embedding_)
    assert true <= 1.05 * theirs.kl_divergence_
    assert ours.kl_divergence_ == pytest.approx(true, rel=2e-3)


def test_a_row_far_from_itself_takes_nothing_of_its_own_affinities():
    """cuML counts a row among its neighbours; told that it is far, the others get it all."""
    import fake_rapids

    from tsne_backends.gpu.cuml_tsne import FAR
    from tsne_backends.quality import exact_graph

    X = blobs(600)
    unit = exact_graph(X, 90).unit_distances()
    ours = fake_rapids.conditional(unit**2, 30)
    near = np.hstack([np.zeros((600, 1)), unit**2])
    assert fake_rapids.conditional(near, 30)[:, 0].mean() > 0.1
    far = np.hstack([np.full((600, 1), FAR), unit**2])
    told = fake_rapids.conditional(far / FAR, 30)
    assert told[:, 0].max() < 1e-12
    np.testing.assert_allclose(told[:, 1:], ours, atol=1e-6)


def test_watched_runs_are_ours_because_cuml_cannot_be_watched():
    import fake_rapids

    seen = []
    fit(
        callbacks=lambda i, *_: seen.append(i),
        backend_options={"refine": 50},
    )
    assert seen == [50, 100, 150, 200, 250, 300]
    assert not fake_rapids.TSNE.made


# What is refused.


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"n_components": 1}, "2 dimensions"),
        ({"n_components": 3}, 'backend="sklearn"'),
        ({"perplexity": 600.0}, "beyond the GPU engine"),
        ({"metric": "precomputed"}, "no precomputed distances"),
        ({"metric": lambda a, b: 0.0}, "a callable"),
        ({"metric": "jaccard"}, "no metric 'jaccard' for rows"),
        ({"metric": "correlation", "is_sparse": True}, "for sparse rows"),
        ({"metric_params": {"w": 1}}, "metric_params"),
        ({"init": "array"}, "no array as init"),
        ({"method": "barnes_hut"}, "never used"),
        ({"method": "exact"}, "every row a neighbour"),
        ({"options": {"device": 3}}, "no GPU number 3"),
        ({"options": {"device": 1, "refine": 50}}, "no GPU number 1"),
        ({"options": {"device": True}}, "must be a number of a GPU"),
        ({"options": {"refine": "some"}}, '"all", or a number'),
        ({"options": {"grid": 1}}, "has no option"),
    ],
)
def test_refusals(changes, words):
    verdict = load_backend("cuml").can_run(sized(5_000, **changes))
    assert not verdict.ok
    assert words in verdict.reason
    assert verdict.reason.endswith(".")


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_agrees_with_scikit_learn(metric):
    """The graph on the GPU is the processor's, in each metric."""
    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.neighbors import gpu_graph
    from tsne_backends.neighbors import neighbors_graph

    X = blobs(200) + 1
    parameters = {"p": 3.0} if metric == "minkowski" else {}
    problem = Problem(200, 8, perplexity=5.0, metric=metric, metric_params=parameters)
    graph = gpu_graph(problem, X, 15)
    truth = neighbors_graph(problem, X, "exact")
    assert (np.sort(on_host(graph.indices)) == np.sort(truth.indices)).mean() > 0.999
    np.testing.assert_allclose(
        on_host(graph.squared), truth.unit_distances() ** 2, rtol=2e-3, atol=1e-6
    )


def test_memory_is_foretold_from_rows_features_and_neighbours():
    backend = load_backend("cuml")
    assert backend.can_run(sized(1_000_000)).ok
    verdict = backend.can_run(sized(10_000_000, 100))
    assert not verdict.ok
    assert "a NVIDIA L4 has 24" in verdict.reason
    few, many = sized(2_500_000), sized(2_500_000, options={"refine": 100})
    assert backend.can_run(few).ok
    assert not backend.can_run(many).ok, "cuML's own iterations take half as much memory again"


def test_perplexity_beyond_three_neighbours_each_is_told(caplog):
    X = np.random.RandomState(0).standard_normal((1_200, 3)).astype(np.float32)
    fitted = fit(X, perplexity=400.0, max_iter=400)
    assert fitted.details_["n_neighbors"] == 1_022
    assert "at most 1022 neighbours" in caplog.text


def test_exact_is_exact():
    X = blobs(200)
    ours = fit(X, method="exact", max_iter=500, perplexity=20)
    theirs = ServerlessTSNE(
        backend="sklearn", method="exact", random_state=0, max_iter=500, perplexity=20
    ).fit(X)
    assert ours.details_["n_neighbors"] == 199
    # Two maps of the same affinities: one processor's rounding is worth 6 % of the divergence.
    assert ours.kl_divergence_ == pytest.approx(theirs.kl_divergence_, rel=0.1)


# Data of every kind.


def test_sparse_rows_and_one_feature():
    from scipy.sparse import csr_matrix

    X = np.maximum(blobs(200), 0)
    assert np.isfinite(fit(csr_matrix(X)).embedding_).all()
    assert np.isfinite(fit(X[:, :1], backend_options={"refine": 50}).embedding_).all()


def test_iterations_are_counted_where_a_run_ends_early():
    fitted = fit(callbacks=lambda i, *_: i >= 100)
    assert fitted.details_["iterations"] == {"cuML": 0, "ours": 100}


@pytest.mark.parametrize("refine", ["all", 50])
@pytest.mark.parametrize(
    "X",
    [
        np.ones((50, 4), np.float32),
        np.repeat(blobs(10), 8, axis=0),
        blobs(60) * np.float32(1e12),
        blobs(60) * np.float32(1e-12),
        blobs(60).astype(np.float64) + 1e6,
        np.vstack([blobs(60), np.full((1, 8), 1e4, np.float32)]),
        blobs(4),
    ],
)
def test_awkward_data_give_finite_maps(X, refine):
    perplexity = min(30, (len(X) - 1) / 3)
    fitted = fit(X, perplexity=perplexity, backend_options={"refine": refine})
    assert np.isfinite(fitted.embedding_).all()
    assert np.isfinite(fitted.kl_divergence_)


@pytest.mark.parametrize("n", [5, 20, 100, 300])
def test_few_rows_have_the_same_map_on_a_grid(n):
    X = blobs(n)
    perplexity = min(30, (n - 1) / 3)
    pairs, grid = (fit(X, method=method, perplexity=perplexity) for method in ("auto", "fft"))
    assert grid.kl_divergence_ <= pairs.kl_divergence_ + 0.05


def test_rows_without_a_direction_are_left_to_the_processor():
    X = blobs(120)
    X[:5] = 0
    fitted = fit(X, metric="cosine")
    assert "scikit-learn" in fitted.details_["neighbours"]
    assert np.isfinite(fitted.embedding_).all()


def test_divergence_is_named():
    with pytest.raises(EmbeddingError, match=r"learning rate"):
        fit(learning_rate=1e37)


# The finished map.


def test_the_map_is_looked_at():
    from tsne_backends.quality import neighbor_preservation

    X = blobs()
    fitted = fit(X)
    true = neighbor_preservation(X, fitted.embedding_)
    error = fitted.quality_["standard_error"]
    assert fitted.quality_["neighbor_preservation"] == pytest.approx(true, abs=3 * error + 0.01)
    assert fitted.quality_["n_rows"] == 256
    assert fitted.timings_["check"] >= 0
    assert not pickle.loads(pickle.dumps(fitted)).details_["gpu"].startswith("number")


@pytest.mark.parametrize(
    ("positions", "words"),
    [
        (np.random.RandomState(0).standard_normal((3_000, 2)), "torn"),
        (1e-4 * np.random.RandomState(0).standard_normal((3_000, 2)), "collapsed"),
    ],
)
def test_collapsed_and_torn_maps_are_told(positions, words):
    import cupy

    from tsne_backends.gpu.check import check_map
    from tsne_backends.gpu.neighbors import gpu_graph

    graph = gpu_graph(sized(3_000, 8, perplexity=5.0), blobs(3_000), 15)
    with pytest.warns(MapQualityWarning, match=words):
        check_map(graph, cupy.asarray(positions.astype(np.float32)))


def test_a_good_map_is_not_doubted():
    with warnings.catch_warnings():
        warnings.simplefilter("error", MapQualityWarning)
        fit()


def test_auto_weighs_the_gpu_against_the_processor(monkeypatch):
    monkeypatch.setattr(module, "_is_loaded", lambda: False)
    monkeypatch.setattr(module, "is_compiled", lambda: True)
    few = ServerlessTSNE().plan(shape=(500, 10))
    many = ServerlessTSNE().plan(shape=(200_000, 50))
    assert few.chosen == "native"
    assert many.chosen == "cuml"
    assert "NVIDIA L4" in many.verdicts["cuml"].reason
    monkeypatch.setattr(module, "is_compiled", lambda: False)
    many = ServerlessTSNE().plan(shape=(200_000, 50))
    assert "`serverless-tsne warmup`" in many.verdicts["cuml"].reason


def test_a_plan_counts_what_was_never_compiled(monkeypatch, tmp_path):
    monkeypatch.setattr(module, "_is_loaded", lambda: True)
    monkeypatch.setenv("CUPY_CACHE_DIR", str(tmp_path / "none"))
    backend, machine = load_backend("cuml"), Machine(cores=2, memory_bytes=1e10)
    assert backend.estimate(sized(5_000, 10), machine).start == transfer.COMPILE_SECONDS
    (tmp_path / "none").mkdir()
    (tmp_path / "none" / "abc.cubin").touch()
    assert backend.estimate(sized(5_000, 10), machine).start == 0
    monkeypatch.delenv("CUPY_CACHE_DIR")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert backend.estimate(sized(5_000, 10), machine).start == transfer.COMPILE_SECONDS


def test_unsupported_problems_name_who_would_do():
    with pytest.raises(UnsupportedProblemError, match='backend="native" makes 1'):
        fit(n_components=1)
