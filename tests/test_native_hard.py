"""Inputs that are hard on our engine: equal, far, wide, huge and tied rows, and what they take."""

import gc
import itertools
import tracemalloc

import numpy as np
import pytest
from native_truth import corners_of, on_grid, some_map
from sklearn.metrics import pairwise_distances, silhouette_score
from sklearn.neighbors import NearestNeighbors

from tsne_backends import ServerlessTSNE
from tsne_backends.native import affinities, search
from tsne_backends.native.repulsion import GridRepulsion
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.threads import Team
from tsne_backends.quality import kl_divergence


def native(**parameters):
    defaults = {"backend": "native", "random_state": 0, "max_iter": 250, "perplexity": 10}
    return ServerlessTSNE(**{**defaults, **parameters})


def clusters(n, d, seed=0):
    """Rows around 12 centres, and whose each is."""
    rng = np.random.RandomState(seed)
    groups = rng.randint(12, size=n)
    X = 4 * rng.standard_normal((12, d))[groups] + rng.standard_normal((n, d))
    return X.astype(np.float32), groups


def kept_together(rows, groups):
    """The share of each row's 15 nearest that are of its group."""
    near = NearestNeighbors(n_neighbors=15).fit(rows).kneighbors(return_distance=False)
    return (groups[near] == groups[:, None]).mean()


@pytest.fixture
def listed(monkeypatch):
    """Search lists and drop affinities however few rows there are."""
    monkeypatch.setattr(search, "SMALLEST_LISTED", 0)
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    monkeypatch.setattr(search, "MOST_WORK", 2)
    monkeypatch.setattr(affinities, "FEWEST_DROPPED", 0)


#: As few as can be searched through lists for 30 neighbours, in three tiles.
N = 3000


def half_equal(d=5, n=N):
    X, groups = clusters(n, d)
    X[::2], groups[::2] = 15.0, 12
    return X, groups


def two_blobs(apart):
    """Rows of two sets of the same clusters, which set each is of, and which cluster of it."""
    X, groups = clusters(N, 5)
    second = np.arange(N) % 3 == 0
    X[second] += np.float32(apart)
    return X, second, groups + 12 * second


def test_half_of_all_rows_equal_lie_together(listed):
    X, groups = half_equal()
    fitted = native().fit(X)
    assert "recall" in fitted.details_["neighbours"]
    assert fitted.embedding_.shape == (N, 2)
    assert np.isfinite(fitted.embedding_).all()
    assert kept_together(fitted.embedding_, groups) > kept_together(X, groups) - 0.03


def test_constant_data_make_a_map(listed):
    fitted = native().fit(np.full((N, 5), 3.5))
    assert "recall" in fitted.details_["neighbours"]
    assert fitted.embedding_.shape == (N, 2)
    assert np.isfinite(fitted.embedding_).all()
    assert np.isfinite(fitted.kl_divergence_)
    assert fitted.embedding_.std() > 0.1


def test_far_outliers_leave_the_others_where_they_belong(listed):
    X, groups = clusters(N, 5)
    X[:5] = 1e8 * np.random.RandomState(1).standard_normal((5, 5))
    fitted = native().fit(X)
    assert "recall" in fitted.details_["neighbours"]
    assert fitted.embedding_.shape == (N, 2)
    assert np.isfinite(fitted.embedding_).all()
    together = kept_together(fitted.embedding_[5:], groups[5:])
    assert together > kept_together(X[5:], groups[5:]) - 0.05


@pytest.mark.parametrize(("apart", "by_ours"), [(100, True), (1e4, False)])
def test_two_far_blobs_are_apart_on_the_map(apart, by_ours, listed):
    """At 1e4, single precision cannot tell neighbours apart: another search finds them."""
    X, second, groups = two_blobs(apart)
    fitted = native().fit(X)
    assert ("recall" in fitted.details_["neighbours"]) == by_ours
    assert ("inverted lists" in fitted.details_["neighbours"]) == by_ours
    assert fitted.embedding_.shape == (N, 2)
    assert np.isfinite(fitted.embedding_).all()
    assert silhouette_score(fitted.embedding_, second) > 0.25
    assert kept_together(fitted.embedding_, second) > 0.99
    assert kept_together(fitted.embedding_, groups) > kept_together(X, groups) - 0.03


@pytest.mark.parametrize("scale", [1e6, 1e-6])
def test_the_unit_of_the_data_does_not_matter(scale, listed):
    X, groups = clusters(N, 5)
    plain, scaled = native().fit(X), native().fit(scale * X)
    assert "recall" in scaled.details_["neighbours"]
    assert scaled.embedding_.shape == (N, 2)
    assert np.isfinite(scaled.embedding_).all()
    assert scaled.kl_divergence_ == pytest.approx(plain.kl_divergence_, rel=0.02)
    together = kept_together(scaled.embedding_, groups)
    assert together == pytest.approx(kept_together(plain.embedding_, groups), abs=0.01)


def test_rows_at_equal_distances_lie_beside_their_neighbours(listed):
    """On a grid of integers, all neighbours are tied."""
    X = np.array(list(itertools.product(range(15), repeat=3)), dtype=np.float32)
    fitted = native().fit(X)
    Y = fitted.embedding_
    assert "recall" in fitted.details_["neighbours"]
    assert Y.shape == (len(X), 2)
    assert np.isfinite(Y).all()
    beside = np.flatnonzero(X[:, 2] < 14)  # the next row is one step along the last axis
    steps = np.linalg.norm(Y[beside] - Y[beside + 1], axis=1)
    others = np.linalg.norm(Y - np.random.RandomState(0).permutation(Y), axis=1)
    assert np.median(steps) < 0.2 * np.median(others)


@pytest.mark.parametrize(("way", "words"), [("auto", "exact"), ("approximate", "recall")])
def test_many_equal_rows_are_searched_as_any_others(way, words):
    X, groups = half_equal(8, 6000)
    fitted = native(backend_options={"neighbors": way}).fit(X)
    assert "inverted lists" in fitted.details_["neighbours"]
    assert words in fitted.details_["neighbours"]
    assert fitted.embedding_.shape == (6000, 2)
    assert np.isfinite(fitted.embedding_).all()
    assert kept_together(fitted.embedding_, groups) > kept_together(X, groups) - 0.03


# Memory.


def traced_peak(call):
    """What a call returns, and the bytes allocated at its peak."""
    gc.collect()
    tracemalloc.start()
    try:
        return call(), tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_a_search_among_many_equal_rows_takes_little_memory():
    """Measured: 7 MB."""
    X, _ = clusters(20_000, 4)
    X[:15_000] = 2.0
    with Team(2) as team:
        found, peak = traced_peak(lambda: find_neighbors(X, 30, team))
    assert (found.squared[found.places < 15_000] == 0).all()
    assert peak < 25e6


def test_a_search_of_wide_rows_takes_memory_as_the_data_do():
    """Measured: 3.0 times the 24 MB of the data; features × features would be 1.6 GB."""
    X = np.random.RandomState(0).standard_normal((300, 20_000)).astype(np.float32)
    with Team(2) as team:
        found, peak = traced_peak(lambda: find_neighbors(X, 10, team))
    assert found is not None
    assert peak < 6 * X.nbytes


def test_a_listed_search_of_wide_rows_takes_memory_as_the_data_do(listed):
    """Measured: 0.6 times the 19 MB of the data, which are read where they are."""
    X = clusters(12_000, 40)[0] @ np.random.RandomState(1).standard_normal((40, 400))
    X = X.astype(np.float32)
    with Team(2) as team:
        found, peak = traced_peak(lambda: find_neighbors(X, 30, team))
    assert "80 principal axes" in found.words
    assert peak < 0.9 * X.nbytes


def test_a_grid_goes_before_a_larger_one_is_made():
    """Measured: 34 MB for one grid, and for one after another."""
    large = some_map(2000, 300)
    out = np.empty_like(large)

    def forces(*maps):
        with Team(1) as team:
            repulsion = GridRepulsion(len(large))
            for Y in maps:
                on_grid(repulsion, Y, *corners_of(Y), 0.4, out, team)
            return repulsion.grids_made

    forces(large)  # what is imported and kept is no grid
    n_grids, alone = traced_peak(lambda: forces(large))
    assert n_grids == 1
    n_grids, after_another = traced_peak(lambda: forces(0.9 * large, large))
    assert n_grids == 2
    assert after_another < 1.05 * alone


def test_placing_takes_little_memory_per_new_row():
    """Measured: 1,249 bytes; 25 neighbours and their distances take 300."""
    X, _ = clusters(12_000, 10)
    fitted = native(n_jobs=2, max_iter=250).fit(X[:2000])
    fitted.transform(X[2000:2200])  # what is imported and compiled is no memory per row
    placed, peak = traced_peak(lambda: fitted.transform(X[2000:]))
    assert np.isfinite(placed).all()
    assert peak / len(placed) < 1500


@pytest.mark.parametrize(("max_iter", "most"), [(250, 1560), (1000, 2710)])
def test_a_fit_takes_little_memory_per_row(max_iter, most):
    """Measured: 1,416 and 2,465 bytes besides X; the map's width, and with it the grid, grows."""
    X, _ = clusters(20_000, 10)
    parameters = {"perplexity": 30, "n_jobs": 2, "max_iter": max_iter}
    native().fit(X[:500])  # what is imported at the first fit is no memory per row
    fitted, peak = traced_peak(lambda: native(**parameters).fit(X))
    assert np.isfinite(fitted.embedding_).all()
    assert peak / len(X) < most


# Starts.


@pytest.mark.parametrize("early_exaggeration", [1, 12])
def test_where_a_start_lies_does_not_matter(early_exaggeration):
    X, _ = clusters(400, 8)
    start = 0.5 * np.random.RandomState(0).standard_normal((400, 2))
    parameters = {"method": "fft", "early_exaggeration": early_exaggeration}
    near = native(init=start, **parameters).fit(X)
    for offset in (1e7, 1e9):
        far = native(init=start + offset, **parameters).fit(X)
        assert np.isfinite(far.embedding_).all()
        assert far.kl_divergence_ == pytest.approx(near.kl_divergence_, rel=0.05)
        assert kl_divergence(X, far.embedding_, 10) == pytest.approx(far.kl_divergence_, rel=0.01)


def test_points_too_far_apart_to_feel_one_another_stay():
    X, _ = clusters(60, 8)
    start = 1e5 * np.stack([np.arange(60), np.arange(60) % 7], axis=1)
    fitted = native(init=start, early_exaggeration=1).fit(X)
    assert set(fitted.details_["gradients"].values()) == {"exact"}
    assert np.isfinite(fitted.embedding_).all()
    assert np.isfinite(fitted.kl_divergence_)
    moved = fitted.embedding_ - start
    assert np.linalg.norm(moved - moved.mean(axis=0), axis=1).max() < 2000  # steps of at most 5


# Metrics and threads.


def after_50_iterations(data, **parameters):
    stop = {"init": "random", "callbacks": lambda *_: True}
    return native(**stop, **parameters).fit(data).embedding_


def relative(a, b):
    return np.linalg.norm(a - b) / np.linalg.norm(b)


def test_parameters_of_a_metric_reach_the_search():
    X = np.random.RandomState(0).standard_t(2, size=(300, 6))
    true = pairwise_distances(X, metric="minkowski", p=3)
    expected = after_50_iterations(true, metric="precomputed")
    ours = after_50_iterations(X, metric="minkowski", metric_params={"p": 3})
    assert relative(ours, expected) < 1e-3
    assert relative(after_50_iterations(X, metric="minkowski"), expected) > 0.1


def test_a_function_is_a_metric():
    X = np.random.RandomState(0).standard_t(2, size=(200, 6))
    true = pairwise_distances(X, metric="chebyshev")
    expected = after_50_iterations(true, metric="precomputed")
    ours = after_50_iterations(X, metric=lambda a, b: np.abs(a - b).max())
    assert relative(ours, expected) < 1e-3
    assert relative(after_50_iterations(X), expected) > 0.1


def test_a_search_along_axes_repeats_at_any_number_of_threads():
    rng = np.random.RandomState(0)
    hidden = (2 * rng.standard_normal((30, 200)))[rng.randint(30, size=4200)]
    hidden = (hidden + rng.standard_normal((4200, 200))) * np.arange(1, 201) ** -0.6
    mixing, _ = np.linalg.qr(rng.standard_normal((200, 200)))
    X = (hidden @ mixing).astype(np.float32)
    options = {"neighbors": "approximate"}
    one, two = (
        native(perplexity=6, n_jobs=jobs, backend_options=options).fit(X) for jobs in (1, 2)
    )
    assert "80 principal axes" in one.details_["neighbours"]
    np.testing.assert_array_equal(one.embedding_, two.embedding_)
    assert one.kl_divergence_ == two.kl_divergence_
