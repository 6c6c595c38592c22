"""New rows found and settled by our engine, against plain computations in double precision."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_backends import ServerlessTSNE, placement
from tsne_backends.native import search, trial
from tsne_backends.native.axes import along, principal_axes
from tsne_backends.native.perplexity import conditional_affinities
from tsne_backends.native.placing import settle
from tsne_backends.native.precision import MAX_ERROR, is_precise_enough
from tsne_backends.native.search import find_nearest, find_neighbors

STEPS = {"exaggeration": 1.5, "learning_rate": 0.1, "momentum": 0.8, "max_gradient": 0.25}


def blobs(n, d, seed=0):
    rng = np.random.RandomState(seed)
    centres = 6 * np.random.RandomState(0).standard_normal((20, d))
    return (centres[rng.randint(20, size=n)] + rng.standard_normal((n, d))).astype(np.float32)


@pytest.mark.parametrize(("n", "n_new"), [(1, 5), (60, 30), (3000, 700), (900, 5000)])
def test_nearest_of_new_rows(n, n_new, team):
    X, new, k = blobs(n, 7), blobs(n_new, 7, seed=1), min(n, 12)
    indices, squared = find_nearest(X, new, k, team)
    true = np.sort(cdist(new, X, "sqeuclidean"), axis=1)[:, :k]
    found = np.take_along_axis(cdist(new, X, "sqeuclidean"), indices, axis=1)
    np.testing.assert_allclose(np.sort(found, axis=1), true, rtol=1e-4)
    unit = found / squared
    np.testing.assert_allclose(unit, np.median(unit), rtol=1e-3)
    assert all(len(set(row)) == k for row in indices)


def test_nearest_of_new_rows_where_lists_are_left_out(monkeypatch, team):
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    X, new = blobs(20_000, 7), blobs(600, 7, seed=1)
    indices, _ = find_nearest(X, new, 15, team)
    distances = cdist(new, X, "sqeuclidean")
    kth = np.sort(distances, axis=1)[:, 14] * (1 + 1e-4)
    recall = (np.take_along_axis(distances, indices, axis=1) <= kth[:, None]).mean()
    assert recall > trial.LEAST_RECALL - 0.02


def wide(n, d, seed=0):
    """Clusters whose features matter less and less along hidden directions, as in embeddings."""
    rng = np.random.RandomState(seed)
    centres = 2 * np.random.RandomState(0).standard_normal((30, d))
    hidden = (centres[rng.randint(30, size=n)] + rng.standard_normal((n, d))) * np.arange(
        1, d + 1
    ) ** -0.6
    mixing, _ = np.linalg.qr(np.random.RandomState(1).standard_normal((d, d)))
    return (hidden @ mixing).astype(np.float32)


def test_wide_rows_are_compared_along_axes_and_judged_by_all_features(monkeypatch, team):
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    X, k = wide(6000, 300), 20
    found = find_neighbors(X, k, team)
    assert "80 principal axes" in found.words
    ordered = X[found.places]
    distances = cdist(ordered[:500], ordered, "sqeuclidean")
    near = np.take_along_axis(distances, found.indices[:500].astype(np.int64), axis=1)
    ratio = near / found.squared[:500]
    np.testing.assert_allclose(ratio, np.median(ratio), rtol=1e-3)
    np.fill_diagonal(distances[:, :500], np.inf)
    kth = np.sort(distances, axis=1)[:, k - 1] * (1 + 1e-4)
    assert (near <= kth[:, None]).mean() > trial.LEAST_RECALL - 0.02
    new = wide(700, 300, seed=2)
    indices, _ = find_nearest(X, new, k, team)
    distances = cdist(new, X, "sqeuclidean")
    kth = np.sort(distances, axis=1)[:, k - 1] * (1 + 1e-4)
    near = np.take_along_axis(distances, indices, axis=1)
    assert (near <= kth[:, None]).mean() > trial.LEAST_RECALL - 0.02


def test_where_few_axes_say_too_little_all_features_are_compared(monkeypatch, team):
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    monkeypatch.setattr(search, "WIDTHS", ((4, (0.0,)),))
    found = find_neighbors(wide(6000, 60), 20, team)
    assert "axes" not in found.words


def test_axes_hold_what_varies_most(team):
    X = np.random.RandomState(0).standard_normal((3000, 50)).astype(np.float32)
    X[:, 7] *= 9
    X[:, 20] *= 5
    axes = principal_axes(X, 2, np.random.RandomState(0))
    assert np.abs(axes[[7, 20], [0, 1]]).min() > 0.95
    np.testing.assert_allclose(along(X, axes, team), X @ axes, rtol=1e-4, atol=1e-4)
    assert along(X, None, team) is X


def test_equal_rows_are_at_no_distance_whatever_their_type(team):
    X = blobs(3000, 7)
    _, squared = find_nearest(X, X[100:400].astype(np.float64), 5, team)
    assert (squared.min(axis=1) == 0).all()


def test_far_outliers_do_not_keep_others_from_being_told_apart(team):
    X = blobs(2000, 4).astype(np.float64)
    far = np.vstack([X, np.full((1, 4), 1e9)])
    new = X[:200] + 0.1
    indices, _ = find_nearest(far, new, 5, team)
    true = np.sort(cdist(new, X, "sqeuclidean"), axis=1)[:, :5]
    found = np.sort(np.take_along_axis(cdist(new, far, "sqeuclidean"), indices, axis=1), axis=1)
    np.testing.assert_allclose(found, true, rtol=1e-3)
    assert find_neighbors(far, 5, team) is not None


@pytest.mark.parametrize(("offset", "scale"), [(1e6, 1.0), (0.0, 1e-25), (0.0, 1e25)])
def test_neither_place_nor_unit_of_the_data_matters(offset, scale, team):
    X = blobs(1500, 4).astype(np.float64)
    moved = find_neighbors((X + offset) * scale, 6, team)
    assert moved is not None
    distances = cdist(X[moved.places], X[moved.places], "sqeuclidean")
    near = np.sort(np.take_along_axis(distances, moved.indices.astype(np.int64), axis=1), axis=1)
    np.testing.assert_allclose(near, np.sort(distances, axis=1)[:, 1:7], rtol=1e-3, atol=1e-9)


def test_what_single_precision_cannot_tell_apart_is_left_to_others(team):
    X = blobs(2000, 4).astype(np.float64)
    X[::2] += 1e9
    assert find_nearest(X, X[:200] + 0.1, 5, team) is None
    assert find_neighbors(X, 5, team) is None
    X[0] = 1e30
    assert find_neighbors(X, 5, team) is None


@pytest.mark.parametrize(
    ("d", "expected"), [(10, True), (64, True), (200, True), (320, False), (6400, False)]
)
def test_roundings_of_many_features_add_up(d, expected):
    kth = 2.0**-23 / (0.5 * MAX_ERROR)  # half of what a rounding of 1 may be, beside it
    squared, squares = np.full((50, 3), kth, np.float32), np.ones(50, np.float32)
    assert is_precise_enough(squared, squares, d) is expected


def true_places(Y, start, indices, P, n_iter):
    """Descend in double precision, repulsion summed over all points of the map."""
    y, Y = start.astype(np.float64), Y.astype(np.float64)
    update, gains = np.zeros_like(y), np.ones_like(y)
    for _ in range(n_iter):
        apart = y[:, None] - Y
        kernel = 1 / (1 + (apart**2).sum(axis=2))
        push = ((kernel**2)[:, :, None] * apart).sum(axis=1) / kernel.sum(axis=1, keepdims=True)
        near = y[:, None] - Y[indices]
        pull = ((P / (1 + (near**2).sum(axis=2)))[:, :, None] * near).sum(axis=1)
        gradient = STEPS["exaggeration"] * pull - push
        length = np.linalg.norm(gradient, axis=1, keepdims=True)
        gradient *= np.minimum(1, STEPS["max_gradient"] / np.maximum(length, 1e-12))
        agree = gradient * update > 0
        gains = np.where(agree, np.maximum(gains * 0.8, 0.01), gains + 0.2)
        update = STEPS["momentum"] * update - STEPS["learning_rate"] * gains * gradient
        y += update
    return y


@pytest.mark.parametrize("n_components", [1, 2])
def test_new_points_settle_where_double_precision_says(n_components, team):
    rng = np.random.RandomState(0)
    Y = (12 * rng.standard_normal((1500, n_components))).astype(np.float32)
    indices = rng.randint(1500, size=(40, 1)) + np.zeros((1, 6), dtype=np.int64)
    indices[:, 1:] = np.argsort(cdist(Y[indices[:, 0]], Y), axis=1)[:, 1:6]
    P = conditional_affinities(rng.random_sample((40, 6)).astype(np.float32), 3, team)
    start = Y[indices].mean(axis=1)
    ours = settle(Y, start, indices, P, team, n_iter=20, **STEPS)
    np.testing.assert_allclose(ours, true_places(Y, start, indices, P, 20), atol=0.02)
    far = np.linalg.norm(settle(Y, start, indices, P, team, n_iter=250, **STEPS) - start, axis=1)
    assert np.median(far) < 3


def test_places_do_not_depend_on_threads_or_company(monkeypatch):
    X, new = blobs(1500, 7), blobs(400, 7, seed=1)
    fitted = ServerlessTSNE(backend="native", max_iter=250, random_state=0).fit(X)
    together = fitted.transform(new)
    np.testing.assert_array_equal(fitted.set_params(n_jobs=1).transform(new), together)
    np.testing.assert_allclose(fitted.transform(new[7:9]), together[7:9], atol=1e-4)


def test_the_grid_and_opentsne_agree(monkeypatch):
    X, new = blobs(1500, 7), blobs(300, 7, seed=1)
    fitted = ServerlessTSNE(backend="native", max_iter=500, random_state=0).fit(X)
    ours = fitted.transform(new)
    monkeypatch.setattr(placement, "GRID_MIN_SAMPLES", 10_000)
    apart = np.linalg.norm(fitted.transform(new) - ours, axis=1)
    assert 0 < np.median(apart) < 0.02
    assert np.quantile(apart, 0.95) < 0.2


@pytest.mark.parametrize("metric", ["euclidean", "cosine", "manhattan"])
def test_fitted_rows_keep_their_places_in_every_metric(metric):
    X = blobs(1200, 7)
    fitted = ServerlessTSNE(backend="native", max_iter=250, metric=metric, random_state=0).fit(X)
    np.testing.assert_array_equal(fitted.transform(X[100:400]), fitted.embedding_[100:400])
    moved = np.linalg.norm(fitted.transform(X[:300] + 1e-4) - fitted.embedding_[:300], axis=1)
    assert np.median(moved) < 0.05 * np.ptp(fitted.embedding_)
