"""Rows with all their features: read where they are, or copied, they have the same neighbours."""

import numpy as np
import pytest
from native_truth import blobs
from scipy.spatial.distance import cdist

from tsne_backends.native import features, search
from tsne_backends.native.features import as_they_are, both_as_read, features_of
from tsne_backends.native.precision import MOST_COPIED, PLACING_ROWS, extent_of, place_of
from tsne_backends.native.search import find_nearest, find_neighbors
from tsne_backends.native.threads import Team

#: Widths of rows that are copied, and of rows that are not: along all axes, and along some.
COPIED, READ, NARROWED = 20, 150, 250


def rows_of(n, d, offset=0.0, scale=1.0):
    return (scale * (blobs(n, d) + offset)).astype(np.float32)


def as_given(X, kind):
    """Return the rows as an array of another kind."""
    if kind == "read-only":
        X = X.copy()
        X.flags.writeable = False
        return X
    return {"float64": X.astype(np.float64), "by column": np.asfortranarray(X), "plain": X}[kind]


@pytest.mark.parametrize("kind", ["plain", "read-only", "float64", "by column"])
@pytest.mark.parametrize("d", [COPIED, READ, NARROWED])
@pytest.mark.parametrize("exact", [True, False])
def test_rows_of_any_kind_have_their_neighbours(d, kind, exact, team):
    X = rows_of(5000, d)
    given = as_given(X, kind)
    found = find_neighbors(given, 10, team, exact=exact)
    np.testing.assert_array_equal(given, X)
    near = np.empty_like(found.indices)
    near[found.places] = found.places[found.indices]
    true = np.argsort(cdist(X[:300], X), axis=1)[:, 1:11]
    common = [len(np.intersect1d(*pair)) for pair in zip(near[:300], true, strict=True)]
    assert np.mean(common) / 10 > (0.9999 if exact else 0.98)


@pytest.mark.parametrize(("offset", "scale"), [(0, 1), (300, 1), (0, 1e-8), (0, 1e12)])
def test_read_or_copied_they_are_the_same_distances_apart(offset, scale, team, monkeypatch):
    X = rows_of(3000, READ, offset, scale)
    (rows,) = features_of(place_of(X), extent_of(X, place_of(X)), X)
    assert not rows.copies
    read = find_neighbors(X, 8, team)
    monkeypatch.setattr(features, "MOST_COPIED", READ)
    copied = find_neighbors(X, 8, team)
    for found in (read, copied):
        found.squared.sort(axis=1)
        order = np.argsort(found.places)
        found.squared[:] = found.squared[order]
    np.testing.assert_allclose(read.squared, copied.squared, rtol=1e-3)


@pytest.mark.parametrize("d", [COPIED, READ, NARROWED])
@pytest.mark.parametrize("kind", ["read-only", "float64", "by column"])
@pytest.mark.parametrize("listed", [True, False])
def test_new_rows_and_old_may_be_of_different_kinds(d, kind, listed, team, monkeypatch):
    X = rows_of(5000, d)
    if listed:
        monkeypatch.setattr(search, "EXACT_WORK", 0)
    new = X[:200] + np.float32(0.1)
    apart = cdist(new, X, "sqeuclidean")
    true = np.sort(apart, axis=1)[:, :6]
    for given in ((X, as_given(new, kind)), (as_given(X, kind), new)):
        indices, _ = find_nearest(*given, 6, team)
        found = np.sort(np.take_along_axis(apart, indices, 1), axis=1)
        assert np.isclose(found, true, rtol=1e-4).mean() > (0.98 if listed else 0.9999)


def test_threads_do_not_matter_to_wide_rows():
    X = rows_of(5000, NARROWED)
    X[100:140] = X[100]
    results = []
    for n_threads in (1, 3):
        with Team(n_threads) as team:
            results.append(find_neighbors(X, 10, team, exact=False))
    for one, other in zip(*(vars(found).values() for found in results), strict=True):
        np.testing.assert_array_equal(one, other)
    equal = np.isin(results[0].places, np.arange(100, 140))
    assert (results[0].squared[equal] == 0).all()


def test_wide_rows_are_not_copied(team):
    X = rows_of(400, READ)
    (wide,) = features_of(place_of(X), 30.0, X)
    assert wide.in_order(np.arange(400)[::-1], team).values is X
    (narrow,) = features_of(place_of(X[:, :COPIED]), 30.0, X[:, :COPIED])
    assert narrow.in_order(np.arange(400), team).place is None
    assert COPIED <= MOST_COPIED < READ < NARROWED
    assert search.LEAST_NARROWED * search.WIDTHS[0][0] < NARROWED


@pytest.mark.parametrize("d", [COPIED, READ])
def test_rows_are_moved_and_scaled_and_in_order(d, team):
    X = rows_of(400, d, offset=50, scale=3)
    middle, unit = place_of(X)
    order = np.random.RandomState(0).permutation(400)
    (rows,) = features_of((middle, unit), extent_of(X, (middle, unit)), X)
    ordered = rows.in_order(order, team)
    expected = ((X - middle) / unit)[order]
    assert ordered.shape == expected.shape
    for which in (slice(30, 90), order[:7]):
        np.testing.assert_allclose(ordered[which], expected[which], rtol=1e-6)
    squares = (expected.astype(np.float64) ** 2).sum(axis=1)
    np.testing.assert_allclose(ordered.squares(team), squares, rtol=1e-5)
    again = ordered.in_order(np.argsort(order), team)
    np.testing.assert_allclose(again[:], (X - middle) / unit, rtol=1e-6)
    values, at, _, _, scale = both_as_read(ordered, ordered)
    apart = scale * ((values[at[3]].astype(np.float64) - values[at[8]]) ** 2).sum()
    assert apart == pytest.approx(((expected[3] - expected[8]) ** 2).sum(), rel=1e-4)


@pytest.mark.parametrize("scale", [1e-12, 1e18])
def test_rows_whose_squares_could_not_be_summed_as_they_are_are_copied(scale, team):
    X = rows_of(400, READ, scale=scale)
    place = place_of(X)
    (rows,) = features_of(place, extent_of(X, place), X)
    assert rows.copies
    found = find_neighbors(X, 5, team)
    assert np.isfinite(found.squared).all()
    assert (found.squared > 0).all()


def test_rows_that_are_equal_where_looked_at_are_measured_by_the_others():
    X = np.zeros((4 * PLACING_ROWS, 3), np.float32)
    X[1::4] = 1e-25 * np.random.RandomState(0).uniform(0.1, 1, (PLACING_ROWS, 3))
    middle, unit = place_of(X)
    assert (middle == 0).all()
    assert unit == pytest.approx(float(X.max()))
    assert place_of(np.zeros((10, 2)))[1] == 1


@pytest.mark.parametrize("value", [1e20, -1e20])
def test_a_feature_that_is_far_off_and_the_same_for_all_does_not_matter(value, team):
    X = np.column_stack([blobs(500, 4), np.full(500, value)])
    assert extent_of(X, place_of(X)) < 100
    assert find_neighbors(X, 5, team) is not None


def test_rows_may_be_taken_as_they_are():
    X = rows_of(50, 3)
    np.testing.assert_array_equal(as_they_are(X)[10:20], X[10:20])
