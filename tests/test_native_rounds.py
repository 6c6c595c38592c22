"""Which points a list's rows are compared with, and how patient a search has to be."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_backends.native import scan as rooms
from tsne_backends.native import trial
from tsne_backends.native.candidates import nothing_held
from tsne_backends.native.features import as_they_are
from tsne_backends.native.jit import F
from tsne_backends.native.lists import make_lists
from tsne_backends.native.products import PANEL, panels_of, room_for_products, tiles_of
from tsne_backends.native.rounds import look_around
from tsne_backends.native.scan import Grouped, scan
from tsne_backends.native.trial import Trial, share_found


def looked(rows, points, starts, nearest, least, *, first_seen=50, patience=0.0, at_once=64):
    """Return how many points rows of no list were compared with, and those that they hold."""
    team_of_none = type("One", (), {"run": lambda self, work, n: work(0, n)})()
    held, chosen = nothing_held(len(rows), 20), np.zeros(len(starts), bool)
    compared = look_around(
        tiles_of(rows),
        np.einsum("ij,ij->i", rows, rows),
        F(1),
        panels_of(points, points, team_of_none),
        0,
        np.asarray(starts),
        np.asarray(nearest),
        np.asarray(least, np.float32),
        chosen,
        first_seen,
        F(patience),
        at_once,
        *room_for_products(),
        *held,
        20,
    )
    assert not chosen.any()
    named = [held.names[i, : held.fill[i]].tolist() for i in range(len(rows))]
    assert all(len(set(names)) == len(names) for names in named)
    return compared, named


SIZES = np.array([5, 0, 37, 16, 1, 100, 3, 0, 700, 7, 200, 64])
STARTS = np.concatenate([[0], np.cumsum(SIZES)])
N = int(STARTS[-1])


@pytest.mark.parametrize("at_once", [PANEL, 48, 1024])
@pytest.mark.parametrize("n_rows", [1, 6, 13])
def test_without_a_limit_to_patience_every_point_is_compared_once(n_rows, at_once):
    rng = np.random.RandomState(0)
    rows, points = (rng.standard_normal((n, 4)).astype(np.float32) for n in (n_rows, N))
    nearest = rng.permutation(len(SIZES))
    compared, named = looked(
        rows, points, STARTS, nearest, np.zeros(len(SIZES)), at_once=at_once, first_seen=1
    )
    assert compared == N
    true = np.argsort(cdist(rows, points), axis=1)[:, :20]
    assert all(set(near) <= set(names) for near, names in zip(true.tolist(), named, strict=True))


@pytest.mark.parametrize("patience", [0.0, 1e-9])
def test_lists_that_cannot_improve_any_row_are_skipped(patience):
    """Lists 8 and 10 are said to be beyond what the rows have found nearby."""
    points = np.random.RandomState(0).uniform(-1, 1, (N, 2)).astype(np.float32)
    least = np.zeros(len(SIZES))
    least[[8, 10]] = 5
    order = np.argsort(least, kind="stable")
    compared, named = looked(
        points[:7], points, STARTS, order, least, first_seen=200, patience=patience
    )
    assert compared == N - 900
    beyond = set(range(STARTS[8], STARTS[9])) | set(range(STARTS[10], STARTS[11]))
    assert not any(beyond & set(names) for names in named)


@pytest.mark.parametrize(("patience", "lists"), [(0.9, 4), (0.01, 7)])
def test_a_round_that_adds_too_little_is_the_last(patience, lists):
    """Rounds of one, one, two, three and three lists, of which the third adds three points."""
    rng = np.random.RandomState(0)
    points = rng.standard_normal((400, 3)).astype(np.float32)
    points /= np.linalg.norm(points, axis=1, keepdims=True)
    points[80:83] /= 2
    points[83:] *= 5
    starts, rows = 40 * np.arange(11), np.zeros((2, 3), np.float32)
    compared, named = looked(
        rows, points, starts, np.arange(10), np.zeros(10), first_seen=39, patience=patience
    )
    assert compared == 40 * lists
    assert all({80, 81, 82} <= set(names) for names in named)


def grouped(n, d, team, clusters=9):
    rng = np.random.RandomState(0)
    centres = 6 * rng.standard_normal((clusters, d))
    X = centres[rng.randint(clusters, size=n)] + rng.standard_normal((n, d))
    X = X.astype(np.float32)
    lists = make_lists(X, team, rng)
    X = X[lists.places]
    rows = as_they_are(X)
    return Grouped(rows, rows, lists)


def test_more_patience_compares_more_and_finds_more(team):
    points = grouped(9000, 12, team, clusters=1)
    kth = np.sort(cdist(points.whole[:400], points.whole[:], "sqeuclidean"), axis=1)[:, 15]
    seen, recall = [], []
    for patience in (0.5, 0.1, 0.02, 0.0):
        _, squared, compared = scan(points, points, points.panels(team), 15, 4, patience, team)
        seen.append(compared)
        recall.append(share_found(squared[:400], kth * np.float32(1 + 1e-4), 0))
    assert seen == sorted(seen)
    assert seen[0] < 0.3 * seen[-1]
    assert recall == sorted(recall)
    assert recall[0] < recall[-1] == 1


def test_some_rows_find_what_all_rows_find(team):
    points = grouped(5000, 6, team)
    panels = points.panels(team)
    indices, squared, _ = scan(points, points, panels, 10, 4, 0.0, team)
    which = np.sort(np.random.RandomState(1).permutation(5000)[:300])
    some = points.some(which, team)
    assert some.lists.starts[-1] == 300
    again, nearer, seen = scan(some, points, panels, 11, 4, 0.0, team)  # and themselves
    assert seen <= 5000
    for row, one in enumerate(which):
        assert set(again[row].tolist()) == {one, *indices[one].tolist()}
        np.testing.assert_allclose(np.sort(nearer[row])[1:], np.sort(squared[one]), rtol=1e-5)


@pytest.mark.parametrize(
    ("recalls", "seen", "expected"),
    [
        ((0.9845, 0.9855, 0.986), (1, 2, 3), (1, 0.9855)),
        ((0.99, 0.991), (1, 2), (0, 0.99)),
        ((0.996,), (1,), (0, 0.996)),
        ((0.5, 0.9, 0.98, 0.996), (1, 2, 3, 4), (3, 0.996)),
        ((0.3, 0.301), (1, 2), (0, 0.3)),
        ((0.9, 0.92, 0.94, 0.96, 0.98), (1, 2, 3, 4, 5), (4, 0.98)),
        ((0.9,), (9, 11), (0, 0.9)),
        ((), (11,), None),
    ],
)
def test_patience_is_as_short_as_serves(recalls, seen, expected, monkeypatch, team):
    """Scripted recalls and points compared, and how patient a search must be for them."""
    points = grouped(5000, 4, team)
    one = Trial(points, points, 10, team, np.random.RandomState(0))
    counts, found = iter(seen), iter(recalls)
    monkeypatch.setattr(trial, "scan", lambda *_: (None, None, next(counts)))
    monkeypatch.setattr(trial, "share_found", lambda *_: next(found))
    at, recall = expected or (None, 0.0)
    patience = 0.0 if at is None else trial.PATIENCE[at]
    assert one.patience(points, points, None, 4, most=10) == (patience, recall)
    assert list(found) == list(counts) == []


@pytest.mark.parametrize("k", [3, 15])
def test_recall_of_a_trial_is_that_of_the_search(k, monkeypatch, team):
    """Of one attempt that finds too little, on more rows than are tried by default."""
    monkeypatch.setattr(trial, "TRIED_ROWS", 3000)
    monkeypatch.setattr(trial, "PATIENCE", (0.8,))
    points = grouped(9000, 12, team, clusters=1)
    panels = points.panels(team)
    one = Trial(points, points, k, team, np.random.RandomState(0))
    kth = np.sort(cdist(points.whole[::9], points.whole[:], "sqeuclidean"), axis=1)[:, k]
    np.testing.assert_allclose(one.nearest() ** 2, np.quantile(kth, 0.01), rtol=0.2)
    patience, recall = one.patience(points, points, panels, 4, most=9000)
    _, squared, _ = scan(points, points, panels, k, 4, patience, team)
    true = share_found(squared[::9], kth * np.float32(1 + 1e-4), 0)
    assert 0.3 < true < 0.95
    assert abs(true - recall) < 0.02


def test_rows_of_large_lists_are_tried_more_often():
    starts = np.array([0, 4000, 4000, 4400, 4403, 8000])
    drawn = trial._drawn(starts, np.random.RandomState(0))
    assert (np.diff(drawn) > 0).all()
    counts = np.diff(np.searchsorted(drawn, starts))
    assert counts[1] == 0
    np.testing.assert_allclose(counts[[0, 4]] / counts.sum(), [0.5, 0.45], atol=0.12)
    assert 400 < counts.sum() <= trial.TRIED_ROWS


def test_a_row_that_is_its_own_nearest_is_no_discovery():
    squared = np.array([[0, 1, 5, 6], [0, 1, 2, 3]], np.float32)
    assert share_found(squared, np.array([4, 4], np.float32), 1) == pytest.approx(4 / 6)
    assert share_found(squared, np.array([4, 4], np.float32), 0) == pytest.approx(6 / 8)


def test_rows_of_one_call_are_fewer_where_points_are_many(monkeypatch, team):
    """Nothing interrupts a call."""
    sizes, look = [], rooms.look_around
    monkeypatch.setattr(rooms, "look_around", lambda *g: sizes.append(len(g[0])) or look(*g))
    points = grouped(5000, 6, team)
    panels = points.panels(team)
    _, expected, _ = scan(points, points, panels, 10, 4, 0.0, team)
    assert max(sizes) > 4
    sizes.clear()
    monkeypatch.setattr(rooms, "LONGEST_CALL", 5000 * 7 * 13)
    _, squared, _ = scan(points, points, panels, 10, 4, 0.0, team)
    assert set(sizes) == {1, 2}
    np.testing.assert_array_equal(np.sort(squared, axis=1), np.sort(expected, axis=1))
