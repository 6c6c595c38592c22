"""Bad input gets scikit-learn's kind of error, in a full sentence, before any work starts."""

import numpy as np
import pytest
import scipy.sparse as sp

from tsne_backends import (
    BackendWarning,
    EmbeddingError,
    ServerlessTSNE,
    UnknownBackendError,
    UnsupportedProblemError,
    quality_report,
)
from tsne_backends.backends.native import NativeBackend


@pytest.fixture(autouse=True)
def _no_work(monkeypatch):
    """Fail if an engine is started."""

    def started(*args, **kwargs):
        raise AssertionError("work began")

    monkeypatch.setattr(NativeBackend, "embed", started)


X = np.random.RandomState(0).rand(50, 4).astype(np.float32)


def with_value(value):
    bad = X.copy()
    bad[3, 1] = value
    return bad


@pytest.mark.parametrize(
    ("data", "parameters", "message"),
    [
        (with_value(np.nan), {}, "contains NaN"),
        (with_value(np.inf), {}, "infinity"),
        (X.astype(complex), {}, "[Cc]omplex"),
        (np.empty((0, 4)), {}, "0 sample"),
        (np.empty((50, 0)), {}, "0 feature"),
        (X[:1], {}, "minimum of 2"),
        (X[0], {}, "Expected 2D array"),
        (X[:30], {}, "perplexity .30.0. must be less than n_samples .30."),
        (X[:3], {}, "must be less than n_samples .3."),
        (-X[:50, :1] @ X[:, :1].T, {"metric": "precomputed", "init": "random"}, "Negative"),
        (X, {"metric": "precomputed", "init": "random"}, "square distance matrix; it is 50 × 4"),
        (X @ X.T, {"metric": "precomputed"}, 'init="pca" cannot be used'),
        (X, {"init": np.zeros((50, 3))}, r"init has shape \(50, 3\).*\(50, 2\)"),
        (X, {"init": np.full((50, 2), np.nan)}, "init contains NaN"),
        (X, {"init": "pac"}, "'init' parameter"),
        (X, {"metric": "euclidian"}, 'Did you mean "euclidean"'),
        (X, {"backend": "opentsen"}, 'Did you mean "opentsne"'),
        (X, {"backend_options": {"neighbours": "exact"}}, 'Did you mean "neighbors"'),
        (X, {"backend_options": {"neighbors": "exakt"}}, "must be .*exact.*it was 'exakt'"),
        (X, {"perplexity": 0}, "'perplexity' parameter"),
        (X, {"n_components": 0}, "'n_components' parameter"),
        (X, {"n_components": 4}, "more than the 3"),
        (X, {"max_iter": 100}, "'max_iter' parameter"),
        (X, {"learning_rate": -1}, "'learning_rate' parameter"),
        (X, {"method": "fast"}, "'method' parameter"),
        (X, {"callbacks": 3}, "'callbacks' parameter"),
        (X, {"n_components": 3, "method": "fft"}, "No backend can compute this"),
    ],
)
def test_refused(data, parameters, message):
    with pytest.raises(ValueError, match=message):
        ServerlessTSNE(**parameters).fit(data)


def test_what_stands_for_a_matrix_is_refused(tmp_path):
    """By fit and by plan, with the way to the matrix."""
    estimator = ServerlessTSNE()
    for work in (estimator.fit, estimator.plan):
        for name in ("x.csv", tmp_path / "x.csv"):
            with pytest.raises(TypeError, match=r'name of a file, ".*x\.csv"\. Read'):
                work(name)
    anndata = pytest.importorskip("anndata")
    for work in (estimator.fit, estimator.plan):
        with pytest.raises(TypeError, match=r"AnnData object\. Pass .*X_pca"):
            work(anndata.AnnData(X))
    with pytest.raises(TypeError, match="AnnData object"):
        quality_report(anndata.AnnData(X), X[:, :2])


@pytest.mark.parametrize("library", ["pandas", "polars"])
def test_a_column_of_text_is_named(library):
    frames = pytest.importorskip(library)
    columns = {"a": [0.5] * 50, "cell type": ["1.5", *["B cell"] * 49], "b": ["x"] * 50}
    with pytest.raises(ValueError, match='Column "cell type" of X holds text, such as "B cell"'):
        ServerlessTSNE().fit(frames.DataFrame(columns))


def test_sparse_graph_with_exact_method():
    graph = sp.csr_matrix(np.abs(X @ X.T))
    with pytest.raises(TypeError, match="dense distance matrix"):
        ServerlessTSNE(metric="precomputed", init="random", method="exact").fit(graph)


def test_explicit_backend_is_refused_never_swapped():
    with pytest.raises(UnsupportedProblemError, match="What would work: backend='sklearn'"):
        ServerlessTSNE(backend="opentsne", n_components=3).fit(X)
    with pytest.raises(UnknownBackendError, match="Known backends: auto, cuml, native, opentsne"):
        ServerlessTSNE(backend="gpu").fit(X)


def test_unset_after_a_failed_fit():
    estimator = ServerlessTSNE(backend="opentsne", n_components=3)
    with pytest.raises(UnsupportedProblemError):
        estimator.fit(X)
    assert not hasattr(estimator, "embedding_")


def test_diverged_map_is_an_error_not_a_result(monkeypatch):
    from tsne_backends.backend import Embedding

    def diverge(self, problem, X, run):
        return Embedding(np.full((len(X), 2), np.nan, dtype=np.float32), 0.0, 250)

    monkeypatch.setattr(NativeBackend, "embed", diverge)
    with pytest.raises(EmbeddingError, match=r"not finite.*smaller one"):
        ServerlessTSNE().fit(X)


def test_auto_falls_back_with_one_warning(monkeypatch):
    from tsne_backends import BackendUnavailableError

    def unavailable(self, problem, X, run):
        raise BackendUnavailableError("no container could be started")

    monkeypatch.setattr(NativeBackend, "embed", unavailable)
    with pytest.warns(
        BackendWarning, match="no container could be started.*going on with"
    ) as caught:
        fitted = ServerlessTSNE(max_iter=250).fit(X)
    assert len(caught) == 1
    assert fitted.backend_ == "opentsne"
    with pytest.raises(BackendUnavailableError):
        ServerlessTSNE(max_iter=250, backend="native").fit(X)
