"""Rows in whole numbers of 16 bits, and searches by them."""

import numba
import numpy as np
import pytest
from numba.extending import intrinsic
from scipy.spatial.distance import cdist

from tsne_backends.native import search, simd
from tsne_backends.native.codes import LONGEST, coded, step_of
from tsne_backends.native.jit import U
from tsne_backends.native.products import PANEL, TILE, compare, room_for_products
from tsne_backends.native.search import find_nearest, find_neighbors

compares = pytest.mark.skipif(
    not simd.pairs_at_once(), reason="this processor does not add products of pairs in one step"
)


def compared(codes, team, compare=compare):
    """Return half of the squared distances of all rows, in squared steps, pair by pair."""

    @numba.njit
    def run(tiles, tile, panels, panel, bars, products, nearer):
        return compare(tiles, U(tile), panels, U(panel), bars, products, nearer)

    n = len(codes.added)
    tiles, panels = codes.tiles(0, n), codes.panels
    halves = np.empty((TILE * len(tiles), PANEL * len(panels)))
    bars = np.full(len(halves), 3e38, np.float32)
    for tile in range(len(tiles)):
        for panel in range(len(panels)):
            products, nearer = room_for_products()
            assert run(tiles, tile, panels, panel, bars, products, nearer) == 2**PANEL - 1
            some = slice(tile * TILE, (tile + 1) * TILE)
            halves[some, panel * PANEL : (panel + 1) * PANEL] = products
    return halves[:n, :n]


@pytest.mark.parametrize("n", [1, 16, 50])
@pytest.mark.parametrize("width", [1, 2, 7])
def test_codes_are_laid_out_two_axes_at_a_time(width, n, team):
    rows = np.random.RandomState(0).standard_normal((n, width)).astype(np.float32)
    codes = coded(rows, rows, step_of((rows**2).sum(axis=1)), team)
    numbers = np.rint(rows / codes.step)
    assert codes.panels.shape == (-(-n // PANEL), 1 + -(-width // 2), PANEL)
    points = codes.panels.transpose(0, 2, 1).reshape(-1, codes.panels.shape[1])[:n]
    values = points[:, 1:].copy().view(np.int16)
    assert np.abs(values[:, :width] - numbers).max() <= 1
    assert (values[:, width:] == 0).all()
    squares = (values.astype(np.int64) ** 2).sum(axis=1)
    np.testing.assert_array_equal(points[:, 0], -(-squares // 2))
    assert LONGEST - width < np.sqrt(squares.max()) < LONGEST + width


def line_by_line(tiles):
    return tiles.transpose(0, 2, 1).reshape(-1, tiles.shape[1])


@pytest.mark.parametrize("n", [1, 16, 50])
def test_rows_are_read_from_panels_with_the_opposite_sign(n, team):
    rows = np.random.RandomState(0).standard_normal((n, 5)).astype(np.float32)
    codes = coded(rows, rows, step_of((rows**2).sum(axis=1)), team)
    before = codes.panels.copy()
    points = line_by_line(codes.panels)[:n]
    for start, end in ((0, n), (n // 3, n), (n // 2, n // 2), (n // 4, n - n // 4)):
        lines = line_by_line(codes.tiles(start, end))
        m = end - start
        np.testing.assert_array_equal(lines[:m, 0], points[start:end, 0])
        values = points[start:end, 1:].copy().view(np.int16)
        np.testing.assert_array_equal(lines[:m, 1:].copy().view(np.int16), -values)
        assert (lines[m:] == 0).all()
    np.testing.assert_array_equal(codes.panels, before)


def test_codes_of_some_rows(team):
    rows = np.random.RandomState(0).standard_normal((50, 5)).astype(np.float32)
    codes = coded(rows, rows, step_of((rows**2).sum(axis=1)), team)
    for which in (np.arange(50)[::-3], np.array([49, 3, 3, 17])):
        some = codes[which]
        np.testing.assert_array_equal(some.added, codes.added[which])
        points = line_by_line(codes.panels)[which]
        np.testing.assert_array_equal(line_by_line(some.panels)[: len(which)], points)
        assert some.step == codes.step


def test_many_blocks_are_coded_as_one(team, monkeypatch):
    rows = np.random.RandomState(0).standard_normal((500, 9)).astype(np.float32)
    narrow = np.ascontiguousarray(rows[:, :5])
    whole = coded(narrow, rows, step_of((rows**2).sum(axis=1)), team)
    monkeypatch.setattr("tsne_backends.native.features.BLOCK_VALUES", 100)
    parts = coded(narrow, rows, whole.step, team)
    np.testing.assert_array_equal(parts.panels, whole.panels)
    np.testing.assert_array_equal(parts.added, whole.added)


@compares
@pytest.mark.parametrize("width", [1, 2, 3, 20, 97])
def test_codes_are_as_far_apart_as_rows(width, team):
    rows = 100 * np.random.RandomState(0).standard_normal((50, width)).astype(np.float32)
    step = step_of((rows**2).sum(axis=1))
    near = np.sqrt(2 * compared(coded(rows, rows, step, team), team)) * step
    # Half a step along each axis, of two rows; and half of an odd square, which is lost.
    bound = step * (np.sqrt(width) + 1)
    assert np.abs(near - cdist(rows, rows)).max() < bound
    assert np.abs(np.diag(near)).max() <= bound


@compares
def test_codes_that_are_as_long_as_can_be_do_not_overflow(team):
    """Opposite rows, along one axis and along all."""
    rows = np.zeros((4, 64), np.float32)
    rows[0, 5], rows[1, 5] = 8e3, -8e3
    rows[2:] = [[1e3], [-1e3]]
    codes = coded(rows, rows, step_of((rows**2).sum(axis=1)), team)
    assert np.abs(codes.panels[:, 1:].view(np.int16)).max() == LONGEST
    np.testing.assert_allclose(
        2 * compared(codes, team) * codes.step**2, cdist(rows, rows) ** 2, rtol=1e-3, atol=1e3
    )


@compares
def test_what_axes_leave_out_counts_as_if_at_right_angles(team):
    whole = np.random.RandomState(0).standard_normal((40, 9)).astype(np.float32)
    narrow, step = np.ascontiguousarray(whole[:, :4]), step_of((whole**2).sum(axis=1))
    left = (whole[:, 4:] ** 2).sum(axis=1)
    expected = cdist(narrow, narrow, "sqeuclidean") + left[:, None] + left
    codes = coded(narrow, whole, step, team)
    halves = compared(codes, team)
    np.testing.assert_allclose(codes.scale * halves, expected, rtol=1e-3, atol=1e-3)
    # What the axes leave out of the rows is taken off again.
    along = codes.added[:, None] + codes.scale * halves
    np.testing.assert_allclose(along, expected - left[:, None], rtol=1e-3, atol=1e-3)


@compares
def test_equal_rows_have_equal_codes(team):
    rows = np.repeat(np.random.RandomState(0).standard_normal((3, 7)), 5, axis=0)
    rows = rows.astype(np.float32)
    same = np.repeat(np.eye(3, dtype=bool), 5, axis=0).repeat(5, axis=1)
    halves = compared(coded(rows, rows, step_of((rows**2).sum(axis=1)), team), team)
    assert np.abs(halves[same]).max() <= 1
    assert halves[~same].min() > 1e6


@compares
def test_shorter_vectors_sum_the_same(team, monkeypatch):
    """As a processor does that adds to eight sums at once; its instructions run here, too."""
    rows = np.random.RandomState(0).standard_normal((30, 11)).astype(np.float32)
    codes = coded(rows, rows, step_of((rows**2).sum(axis=1)), team)
    expected = compared(codes, team)
    asked = []
    monkeypatch.setattr(simd, "pairs_at_once", lambda: asked.append(8) or 8)
    fresh = intrinsic(compare._defn)
    np.testing.assert_array_equal(compared(codes, team, fresh), expected)
    assert asked


def noise(n, d, seed=0):
    return np.random.RandomState(seed).standard_normal((n, d)).astype(np.float32)


def far_out(n, d):
    X = noise(n, d)
    X[7] *= 1e4
    return X


@compares
@pytest.mark.parametrize("exact", [False, True])
@pytest.mark.parametrize(("make", "used"), [(noise, True), (far_out, False)])
def test_codes_find_what_rows_find_and_are_left_where_they_would_not(
    make, used, exact, team, monkeypatch
):
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    X, calls = make(5000, 60) if exact else make(20_000, 3), []
    monkeypatch.setattr(search, "coded", lambda *given: calls.append(1) or coded(*given))
    found = find_neighbors(X, 20, team)
    assert ("exact" in found.words) == exact
    assert len(calls) == (used and 1 + exact)  # the exact search comes after the attempt
    if used and exact:
        monkeypatch.setattr(search, "EXACT_STEPS", 1e9)
        assert find_neighbors(X, 20, team).words == found.words
        assert len(calls) == 3
    monkeypatch.setattr(search, "pairs_at_once", lambda: 0)
    plain = find_neighbors(X, 20, team)
    assert plain.words[:20] == found.words[:20]
    np.testing.assert_array_equal(plain.places, found.places)
    same = np.sort(plain.indices, axis=1) == np.sort(found.indices, axis=1)
    assert same.mean() > 0.999


@compares
def test_new_rows_longer_than_all_others_are_coded(team, monkeypatch):
    monkeypatch.setattr(search, "EXACT_WORK", 0)
    X, new = noise(20_000, 3), 3 * noise(40, 3, seed=1)
    calls = []
    monkeypatch.setattr(search, "coded", lambda *given: calls.append(1) or coded(*given))
    indices, _ = find_nearest(X, new, 5, team)
    assert calls
    distances = cdist(new, X)
    kth = np.sort(distances, axis=1)[:, 4]
    near = np.take_along_axis(distances, indices, axis=1)
    assert (near <= kth[:, None] * (1 + 1e-5)).mean() > 0.97
