"""What users see of ServerlessTSNE: drop-in behaviour, fitted attributes, inputs, outputs."""

import inspect
import pickle

import joblib
import numpy as np
import pandas as pd
import polars as pl
import pytest
import scipy.sparse as sp
import sklearn
from sklearn.base import clone
from sklearn.decomposition import PCA
from sklearn.exceptions import NotFittedError
from sklearn.manifold import TSNE
from sklearn.metrics import pairwise_distances
from sklearn.neighbors import kneighbors_graph
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from tsne_backends import ServerlessTSNE

QUICK = {"max_iter": 250, "random_state": 0}


def test_every_keyword_of_scikit_learn_with_its_default():
    theirs = inspect.signature(TSNE).parameters
    ours = inspect.signature(ServerlessTSNE).parameters
    for name, parameter in theirs.items():
        assert ours[name].kind == parameter.kind
        if name != "method":  # documented: "auto" instead of "barnes_hut"
            assert ours[name].default == parameter.default, name


def test_one_liner_and_pipeline(digits):
    coords = ServerlessTSNE(backend="auto", **QUICK).fit_transform(digits)
    assert coords.shape == (300, 2)
    assert coords.dtype == np.float32
    pipe = make_pipeline(StandardScaler(), PCA(20), ServerlessTSNE(**QUICK))
    assert pipe.fit_transform(digits).shape == (300, 2)
    assert list(pipe.get_feature_names_out()) == ["serverlesstsne0", "serverlesstsne1"]


def test_fitted_attributes(digits):
    fitted = ServerlessTSNE(max_iter=300, random_state=0).fit(digits)
    assert fitted.n_features_in_ == 64
    assert fitted.n_iter_ == 300
    assert fitted.backend_ == fitted.plan_.chosen == "native"
    assert set(fitted.timings_) == {
        "start",
        "neighbours",
        "affinities",
        "initialisation",
        "optimisation",
        "total",
    }
    assert fitted.timings_["total"] >= sum(fitted.timings_.values()) / 2
    assert fitted.details_["engine"].startswith("native (numba ")
    assert "native" in repr(fitted.plan_)
    assert fitted.plan_.to_dict()["chosen"] == "native"


def test_learning_rate_auto_is_per_phase_with_a_floor():
    rng = np.random.RandomState(0)
    large = ServerlessTSNE(**{**QUICK, "max_iter": 251}).fit(rng.rand(4800, 3))
    early, main = large.plan_.phases
    assert early.learning_rate == 4800 / 12 / 4
    assert main.learning_rate == 4800 / 4
    assert large.learning_rate_ == TSNE(max_iter=250).fit(rng.rand(4800, 3)).learning_rate_ == 100
    assert (early.momentum, main.momentum) == (0.8, 0.8)
    small = ServerlessTSNE(**QUICK).fit(rng.rand(100, 3))
    assert small.plan_.phases[0].momentum == 0.5  # the floor makes its steps large
    assert small.learning_rate_ == 50


@pytest.mark.parametrize("backend", ["opentsne", "sklearn"])
def test_effective_learning_rate_is_the_same_on_every_engine(backend, monkeypatch, digits):
    """Watch the rate that reaches each engine's own gradient descent."""
    seen = []
    if backend == "opentsne":
        from openTSNE.tsne import gradient_descent

        original = gradient_descent.__call__

        def watched(self, *args, learning_rate, **kwargs):
            seen.append(learning_rate / 4)
            return original(self, *args, learning_rate=learning_rate, **kwargs)

        monkeypatch.setattr(gradient_descent, "__call__", watched)
    else:
        from sklearn.manifold import _t_sne

        original = _t_sne._gradient_descent

        def watched(*args, learning_rate, **kwargs):
            seen.append(learning_rate)
            return original(*args, learning_rate=learning_rate, **kwargs)

        monkeypatch.setattr(_t_sne, "_gradient_descent", watched)
    for rate, expected in (("auto", [50.0, 75.0]), (123.0, [123.0, 123.0])):
        seen.clear()
        fitted = ServerlessTSNE(
            backend=backend, learning_rate=rate, max_iter=260, random_state=0
        ).fit(digits)
        assert seen == expected == [phase.learning_rate for phase in fitted.plan_.phases]


def test_max_iter_includes_early_exaggeration(digits):
    fitted = ServerlessTSNE(max_iter=320, random_state=0).fit(digits)
    assert [phase.n_iter for phase in fitted.plan_.phases] == [250, 70]
    assert fitted.n_iter_ == 320


def test_random_init_starts_where_scikit_learn_starts():
    from tsne_backends.initialization import initial_positions
    from tsne_backends.problem import Problem

    ours = initial_positions(Problem(50, 5, init="random", seed=3), None)
    theirs = 1e-4 * np.random.RandomState(3).standard_normal(size=(50, 2)).astype(np.float32)
    np.testing.assert_allclose(ours, theirs, rtol=1e-6)


def test_pca_init_is_scikit_learns(digits):
    from tsne_backends.initialization import initial_positions
    from tsne_backends.problem import Problem

    ours = initial_positions(Problem(*digits.shape), digits)
    scores = PCA(2, random_state=0).fit_transform(digits)
    theirs = scores / scores[:, 0].std() * 1e-4
    assert np.abs(ours - theirs).max() < 0.06 * 1e-4  # jitter of 1 % standard deviation


# Inputs


@pytest.mark.parametrize(
    "convert",
    [
        lambda X: X.astype(np.float64),
        lambda X: X.astype(np.int16),
        lambda X: X.tolist(),
        pd.DataFrame,
        lambda X: pl.DataFrame(X, schema=[f"f{i}" for i in range(X.shape[1])]),
        sp.csr_matrix,
        sp.csc_matrix,
        sp.csr_array,
        sp.coo_array,
        np.asfortranarray,
    ],
    ids=["float64", "int16", "list", "pandas", "polars", "csr", "csc", "csr_array", "coo", "F"],
)
def test_inputs(convert, digits):
    Y = ServerlessTSNE(**QUICK).fit_transform(convert(digits))
    assert Y.shape == (300, 2)
    assert np.isfinite(Y).all()


def test_sparse_and_dense_give_the_same_affinities(digits):
    dense = ServerlessTSNE(**QUICK, init="random").fit(digits)
    sparse = ServerlessTSNE(**QUICK, init="random").fit(sp.csr_matrix(digits))
    assert dense.kl_divergence_ == pytest.approx(sparse.kl_divergence_, rel=0.02)


@pytest.mark.parametrize("backend", ["opentsne", "sklearn"])
def test_precomputed_distances_and_graphs(backend, digits):
    start = ServerlessTSNE(**QUICK).fit_transform(digits)  # one basin for all three
    options = {"max_iter": 750, "random_state": 0, "init": start, "early_exaggeration": 1.0}
    options |= {"backend": backend, "perplexity": 10}
    plain = ServerlessTSNE(**options).fit(digits)
    D = pairwise_distances(digits)
    dense = ServerlessTSNE(**options, metric="precomputed").fit(D)
    graph = kneighbors_graph(digits, 40, mode="distance")
    sparse = ServerlessTSNE(**options, metric="precomputed").fit(graph)
    assert dense.kl_divergence_ == pytest.approx(plain.kl_divergence_, rel=0.02)
    assert sparse.kl_divergence_ == pytest.approx(plain.kl_divergence_, rel=0.02)
    with_self = kneighbors_graph(digits, 40, mode="distance", include_self=True)
    same = ServerlessTSNE(**options, metric="precomputed").fit(with_self)
    np.testing.assert_allclose(same.embedding_, sparse.embedding_)
    np.testing.assert_array_equal(dense.transform(D), dense.embedding_)
    moved = dense.transform(D[:10] + 0.5)
    assert np.isfinite(moved).all()


@pytest.mark.parametrize(
    "metric", ["cosine", "manhattan", "chebyshev", "correlation", "canberra", "l2", "nan_euclidean"]
)
def test_metrics(metric, digits):
    Y = ServerlessTSNE(**QUICK, metric=metric).fit_transform(digits)
    assert np.isfinite(Y).all()


def test_metric_parameters_and_callables(digits):
    def scaled(a, b, factor):
        return factor * np.sqrt(np.square(a - b).sum())

    options = {**QUICK, "perplexity": 10}
    for metric, parameters in ((scaled, {"factor": 0.5}), ("seuclidean", {"V": np.ones(64)})):
        fitted = ServerlessTSNE(**options, metric=metric, metric_params=parameters)
        assert np.isfinite(fitted.fit_transform(digits[:80])).all()
        assert np.isfinite(fitted.transform(digits[80:85])).all()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_components(n_components, digits):
    fitted = ServerlessTSNE(n_components, **QUICK).fit(digits)
    assert fitted.embedding_.shape == (300, n_components)
    assert fitted.backend_ == ("sklearn" if n_components == 3 else "native")
    assert fitted.transform(digits[:5] + 0.1).shape == (5, n_components)


def test_auto_takes_what_only_scikit_learn_takes(digits):
    X = digits[:60]
    four = ServerlessTSNE(4, **QUICK, method="exact", perplexity=10).fit(X)
    assert four.embedding_.shape == (60, 4)


def test_init_as_array(digits):
    start = 1e-4 * np.random.RandomState(5).standard_normal((300, 2))
    first = ServerlessTSNE(**QUICK, init=start).fit_transform(digits)
    again = ServerlessTSNE(**QUICK, init=start.tolist()).fit_transform(digits)
    np.testing.assert_array_equal(first, again)


@pytest.mark.parametrize("scale", [1e-30, 1e-6, 1e6, 1e30])
def test_scale_does_not_matter(scale, digits):
    X = digits.astype(np.float64) * scale
    fitted = ServerlessTSNE(**QUICK).fit(X)
    reference = ServerlessTSNE(**QUICK).fit(digits.astype(np.float64))
    assert fitted.kl_divergence_ == pytest.approx(reference.kl_divergence_, rel=0.02)
    assert np.abs(fitted.transform(X[:5] * 1.001) - fitted.embedding_[:5]).max() < 2


# Outputs


def test_set_output_keeps_the_index(digits):
    frame = pd.DataFrame(digits, index=[f"cell{i}" for i in range(300)])
    tsne = ServerlessTSNE(**QUICK).set_output(transform="pandas")
    result = tsne.fit_transform(frame)
    assert list(result.index[:2]) == ["cell0", "cell1"]
    assert list(result.columns) == ["serverlesstsne0", "serverlesstsne1"]
    assert list(tsne.transform(frame[10:12]).index) == ["cell10", "cell11"]
    with sklearn.config_context(transform_output="polars"):
        assert isinstance(ServerlessTSNE(**QUICK).fit_transform(digits), pl.DataFrame)


def test_feature_names(digits):
    frame = pd.DataFrame(digits[:, :3], columns=["a", "b", "c"])
    fitted = ServerlessTSNE(**QUICK).fit(frame)
    assert list(fitted.feature_names_in_) == ["a", "b", "c"]
    with pytest.raises(ValueError, match="feature names"):
        fitted.transform(frame.rename(columns={"a": "z"}))


def test_clone_pickle_and_worker_processes(digits):
    fitted = ServerlessTSNE(**QUICK, backend_options={"neighbors": "exact"}).fit(digits)
    assert clone(fitted).get_params() == fitted.get_params()
    thawed = pickle.loads(pickle.dumps(fitted))
    np.testing.assert_array_equal(thawed.embedding_, fitted.embedding_)
    assert thawed.plan_ == fitted.plan_
    maps = joblib.Parallel(n_jobs=2)(
        joblib.delayed(ServerlessTSNE(**QUICK, n_jobs=1).fit_transform)(digits) for _ in range(2)
    )
    np.testing.assert_array_equal(maps[0], maps[1])


def test_metadata_routing_does_not_disturb(digits):
    with sklearn.config_context(enable_metadata_routing=True):
        pipe = make_pipeline(StandardScaler(), ServerlessTSNE(**QUICK))
        assert pipe.fit_transform(digits).shape == (300, 2)


def test_a_failed_fit_leaves_nothing_behind(digits):
    fitted = ServerlessTSNE(**QUICK).fit(digits)
    with pytest.raises(ValueError, match="perplexity"):
        fitted.set_params(perplexity=1000).fit(digits[:, :3])
    with pytest.raises(NotFittedError):
        fitted.transform(digits)


def test_a_metric_that_cannot_work_is_refused_with_a_sentence(digits):
    with pytest.raises(ValueError, match=r"'mahalanobis'.*cannot be computed on these"):
        ServerlessTSNE(metric="mahalanobis").fit(digits)
    with pytest.raises(ValueError, match=r"'haversine'.*cannot be computed on these rows"):
        ServerlessTSNE(metric="haversine").fit(digits)
    with pytest.raises(ValueError, match="n_jobs=0"):
        ServerlessTSNE(n_jobs=0).fit(digits)
