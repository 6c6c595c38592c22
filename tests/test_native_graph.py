"""The neighbours graph: rows that missed some, searching these again, and what that is good for."""

import numpy as np
import pytest
from native_truth import blobs, graph, native
from scipy.spatial.distance import cdist
from scipy.special import xlogy

from tsne_backends.native import search, trial
from tsne_backends.native.graph import LONG_ROW, rows_that_missed, sort_long_rows, without_itself
from tsne_backends.native.perplexity import conditional_affinities
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.threads import Team


def nearest(indices, squared, k, missing=0.0):
    """Return k neighbours of each row, a share of the nearest left out."""
    left_out = np.random.RandomState(0).random_sample(indices.shape) < missing
    order = np.argsort(np.where(left_out, np.inf, squared), axis=1, kind="stable")[:, :k]
    both = (np.take_along_axis(some, order, axis=1) for some in (indices, squared))
    return tuple(np.ascontiguousarray(one) for one in both)


def missed_by_brute_force(indices, squared, finders=None):
    rows = [set(row) for row in indices.tolist()]
    kth = squared.max(axis=1)
    missed = set()
    for i in range(len(indices)) if finders is None else finders.tolist():
        row = indices[i]
        missed |= {j for j in row[squared[i] < kth[row]].tolist() if i not in rows[j]}
    return missed


def test_a_row_missed_what_has_found_it(team):
    indices, squared = nearest(*graph(blobs(1200, 4), 60), 40, missing=0.005)
    expected = missed_by_brute_force(indices, squared)
    assert 50 < len(expected) < 600
    found = rows_that_missed(indices, squared, np.arange(1200), team)
    assert (np.diff(found) > 0).all()
    assert set(found.tolist()) == expected
    for finders in (np.arange(600), found):
        some = rows_that_missed(indices, squared, finders, team)
        by_them = missed_by_brute_force(indices, squared, finders)
        assert set(some.tolist()) == by_them
        assert 0 < len(by_them) < len(expected)


def test_of_long_rows_some_neighbours_are_asked(team):
    """All that are named have missed one, and most of those that have are named."""
    indices, squared = nearest(*graph(blobs(900, 4), 700), 600, missing=0.03)
    expected = missed_by_brute_force(indices, squared)
    found = set(rows_that_missed(indices, squared, np.arange(900), team).tolist())
    assert found <= expected
    assert 0.9 * len(expected) < len(found) < len(expected)


def test_nothing_is_missed_where_another_is_as_near(team):
    """Of equal rows each has found others at its own last distance, but for a rounding."""
    X = np.repeat(blobs(300, 4), 4, axis=0)
    indices, squared = nearest(*graph(X, 41), 38)
    squared *= 1 + np.float32(1e-6) * np.random.RandomState(0).random_sample(squared.shape)
    squared = squared.astype(np.float32)
    assert missed_by_brute_force(indices, squared) != set()
    assert len(rows_that_missed(indices, squared, np.arange(1200), team)) == 0


def test_a_row_is_taken_off_its_own_nearest():
    rows = np.array([4, 7])
    indices = np.array([[9, 4, 2, 3], [1, 2, 3, 5]], np.uint32)  # equal to 7, and in its place
    squared = np.array([[3, 0, 5, 1], [0, 0, 0, 2]], np.float32)
    others, apart = without_itself(rows, indices, squared)
    assert others.tolist() == [[9, 2, 3], [1, 2, 3]]
    assert apart.tolist() == [[3, 5, 1], [0, 0, 0]]


@pytest.mark.parametrize("k", [LONG_ROW, LONG_ROW + 1])
def test_only_long_rows_are_sorted(k):
    rng = np.random.RandomState(0)
    indices = np.array([rng.permutation(2000)[:k] for _ in range(700)], np.uint32)
    squared = (indices * 2).astype(np.float32)
    before = indices.copy()
    assert sort_long_rows(indices, squared) == (k > LONG_ROW)
    np.testing.assert_array_equal(squared, indices * 2)
    np.testing.assert_array_equal(indices, np.sort(before) if k > LONG_ROW else before)


def scattered(n, d=8, seed=0):
    """Return a cluster with heavy tails: rows far out have their neighbours in other lists."""
    return np.random.RandomState(seed).standard_t(2, size=(n, d)).astype(np.float32)


def hasty(monkeypatch):
    """Let lists serve few rows, and however many neighbours they find at the first look."""
    monkeypatch.setattr(search, "SMALLEST_LISTED", 100)
    monkeypatch.setattr(search, "MOST_WORK", 2)
    monkeypatch.setattr(search, "GOOD_RECALL", 0.5)
    monkeypatch.setattr(search, "LEAST_RECALL", 0.5)
    monkeypatch.setattr(trial, "PATIENCE", (0.3,))


def test_rows_searched_again_have_their_true_neighbours(monkeypatch, team):
    hasty(monkeypatch)
    looked = []
    find = search.rows_that_missed
    monkeypatch.setattr(
        search, "rows_that_missed", lambda *g: looked.append(find(*g)) or looked[-1]
    )
    X = scattered(3000)
    found = find_neighbors(X, 30, team, exact=False)
    assert len(looked) == search.MOST_LOOKS
    again = looked[0]
    assert 30 < len(again) < 1500
    assert len(looked[1]) < len(again) / 4
    distances = cdist(X[found.places], X[found.places], "sqeuclidean")
    kth = np.sort(distances, axis=1)[:, 30:31] * 1.0001
    near = np.take_along_axis(distances, found.indices, axis=1)
    assert (near[again] <= kth[again]).all()
    assert (found.indices[again] != again[:, None]).all()
    monkeypatch.setattr(search, "MOST_LOOKS", 0)
    once = find_neighbors(X, 30, team, exact=False)
    np.testing.assert_array_equal(once.places, found.places)
    before = np.take_along_axis(distances, once.indices, axis=1)
    assert 0.001 < (near > kth).mean() < (before > kth).mean() / 2
    others = np.setdiff1d(np.arange(3000), np.concatenate(looked))
    np.testing.assert_array_equal(once.indices[others], found.indices[others])


def test_a_second_look_compares_no_more_pairs_than_the_first(monkeypatch, team):
    """However many rows have missed some."""
    hasty(monkeypatch)
    sizes, seen, scan = [], [], search.scan

    def counted(rows, *given):
        sizes.append(len(rows.whole))
        found = scan(rows, *given)
        seen.append(found[2])
        return found

    monkeypatch.setattr(search, "scan", counted)
    monkeypatch.setattr(search, "AGAIN_AT_ONCE", 200)
    monkeypatch.setattr(search, "rows_that_missed", lambda *_: np.arange(3000))
    assert find_neighbors(scattered(3000), 10, team, exact=False) is not None
    assert sizes[0] == 3000
    assert max(sizes[1:]) <= 200
    assert 0 < sum(sizes[1:]) <= search.MOST_LOOKS * seen[0]


@pytest.mark.parametrize("k", [4, 30])
def test_no_row_is_a_neighbour_of_its_own_among_duplicates(k, monkeypatch, team):
    hasty(monkeypatch)
    monkeypatch.setattr(search, "rows_that_missed", lambda *_: np.arange(0, 3000, 7))
    found = find_neighbors(np.repeat(scattered(300), 10, axis=0), k, team, exact=False)
    assert (found.indices != np.arange(3000)[:, None]).all()
    assert (found.squared[::7].max(axis=1) == 0).all() == (k < 10)


def test_a_second_look_is_the_same_at_any_number_of_threads(monkeypatch):
    hasty(monkeypatch)
    X, found, looks = scattered(3000), [], []
    find = search.rows_that_missed
    monkeypatch.setattr(search, "rows_that_missed", lambda *g: looks.append(1) or find(*g))
    for n_threads in (1, 3):
        with Team(n_threads) as team:
            found.append(find_neighbors(X, 30, team, exact=False))
    assert len(looks) == 2 * search.MOST_LOOKS
    np.testing.assert_array_equal(found[0].indices, found[1].indices)
    np.testing.assert_array_equal(found[0].squared, found[1].squared)


def divergence(X, Y, k, perplexity, team):
    """Return the KL divergence of a map in double precision."""
    n = len(Y)
    P, Q = np.zeros((n, n)), 1 / (1 + cdist(Y, Y, "sqeuclidean"))
    indices, squared = graph(X, k)
    p = conditional_affinities(squared, perplexity, team).astype(np.float64)
    np.put_along_axis(P, indices.astype(np.int64), p, axis=1)
    P = (P + P.T) / (2 * n)
    np.fill_diagonal(Q, 0)
    return (xlogy(P, P) - xlogy(P, Q / Q.sum())).sum()


def test_what_was_missed_was_most_of_what_the_divergence_lacked(monkeypatch, team):
    hasty(monkeypatch)
    X = scattered(3000)
    off = []
    for looks in (0, search.MOST_LOOKS):
        monkeypatch.setattr(search, "MOST_LOOKS", looks)
        fitted = native(perplexity=20, backend_options={"neighbors": "approximate"}).fit(X)
        true = divergence(X, fitted.embedding_, 60, 20.0, team)
        off.append(abs(fitted.kl_divergence_ / true - 1))
    assert off[0] > 0.01
    assert off[1] < 0.5 * off[0]
