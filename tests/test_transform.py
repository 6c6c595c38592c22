"""New rows on a fitted map."""

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.neighbors import KNeighborsTransformer

from tsne_backends import ServerlessTSNE

QUICK = {"max_iter": 250, "random_state": 0}


def test_transform_places_rows_near_their_like():
    rng = np.random.RandomState(0)
    centres = 10 * rng.standard_normal((4, 6))
    X = (centres[np.arange(400) % 4] + rng.standard_normal((400, 6))).astype(np.float32)
    new = (centres[np.arange(80) % 4] + rng.standard_normal((80, 6))).astype(np.float32)
    fitted = ServerlessTSNE(max_iter=500, random_state=0).fit(X)
    places = fitted.transform(new)
    middles = np.array([fitted.embedding_[c::4].mean(axis=0) for c in range(4)])
    nearest = np.argmin(((places[:, None] - middles) ** 2).sum(axis=2), axis=1)
    assert (nearest == np.arange(80) % 4).all()


def test_transform_of_a_row_depends_on_nothing_else(digits):
    fitted = ServerlessTSNE(**QUICK).fit(digits[:250])
    together = fitted.transform(digits[250:])
    alone = np.vstack([fitted.transform(digits[i : i + 1]) for i in range(250, 255)])
    np.testing.assert_allclose(alone, together[:5], atol=1e-3)
    before = fitted.embedding_.copy()
    fitted.transform(digits[250:])
    np.testing.assert_array_equal(before, fitted.embedding_)


def test_transform_keeps_fitted_rows_in_place(digits):
    fitted = ServerlessTSNE(**QUICK).fit(digits)
    np.testing.assert_array_equal(fitted.transform(digits[40:60]), fitted.embedding_[40:60])
    sparse = ServerlessTSNE(**QUICK).fit(sp.csr_matrix(digits))
    rows = sp.csr_matrix(digits[40:60])
    np.testing.assert_array_equal(sparse.transform(rows), sparse.embedding_[40:60])
    mixed = sparse.transform(sp.vstack([rows, rows[:2] * 1.1]).tocsr())
    np.testing.assert_array_equal(mixed[:20], sparse.embedding_[40:60])


def test_transform_takes_dense_for_sparse_and_sparse_for_dense(digits):
    sparse = sp.csr_matrix(digits)
    dense_fit = ServerlessTSNE(**QUICK).fit(digits)
    np.testing.assert_array_equal(dense_fit.transform(sparse[:5]), dense_fit.embedding_[:5])
    sparse_fit = ServerlessTSNE(**QUICK).fit(sparse)
    np.testing.assert_array_equal(sparse_fit.transform(digits[:5]), sparse_fit.embedding_[:5])
    assert np.isfinite(sparse_fit.transform(digits[:5] + 0.5)).all()


@pytest.mark.parametrize(("dtype", "far"), [(np.float32, 1e30), (np.float64, 1e200)])
def test_transform_of_rows_far_away_is_finite(dtype, far, digits):
    fitted = ServerlessTSNE(**QUICK).fit(digits.astype(dtype))
    assert np.isfinite(fitted.transform(np.full((2, 64), far, dtype))).all()


def test_transform_needs_no_more_neighbours_than_a_sparse_graph_holds(digits):
    transformer = KNeighborsTransformer(n_neighbors=16).fit(digits)
    fitted = ServerlessTSNE(**QUICK, perplexity=5, metric="precomputed", init="random")
    fitted.fit(transformer.transform(digits))
    assert np.isfinite(fitted.transform(transformer.transform(digits[:4] + 0.3))).all()


def test_three_dimensional_maps_place_rows_near_their_twins():
    rng = np.random.RandomState(0)
    X = (8 * rng.standard_normal((4, 6)))[np.arange(600) % 4] + rng.standard_normal((600, 6))
    fitted = ServerlessTSNE(3, max_iter=500, random_state=0).fit(X)
    moved = np.linalg.norm(fitted.transform(X + 1e-6) - fitted.embedding_, axis=1)
    assert np.quantile(moved, 0.9) < 0.15 * np.ptp(fitted.embedding_)
