"""Each kernel of our engine against a plain computation in double precision."""

import math

import native_truth
import numpy as np
import pytest
from native_truth import (
    blobs,
    corners_of,
    graph,
    make_call,
    matrix_of,
    on_pairs,
    relative,
    some_map,
    true_repulsion,
)
from scipy.spatial.distance import cdist

from tsne_backends.native import affinities as native_affinities
from tsne_backends.native import layout, search
from tsne_backends.native.affinities import make_affinities
from tsne_backends.native.attraction import REPORTS, move, pull, sum_logarithms
from tsne_backends.native.exact import MOST_PAIRED_ROWS, is_affordable, over_pairs
from tsne_backends.native.grid import MAX_NODES, make_grid, smooth_at_least
from tsne_backends.native.jit import as_points
from tsne_backends.native.layout import lay_out
from tsne_backends.native.order import hilbert_order
from tsne_backends.native.repulsion import LEAST_PAIR, GridRepulsion, tile_size
from tsne_backends.native.search import find_neighbors


def on_grid(Y, h, team):
    out = np.empty_like(Y)
    Z = native_truth.on_grid(GridRepulsion(len(Y)), Y, *corners_of(Y), h, out, team)
    return out, Z


@pytest.mark.parametrize(
    ("h", "force_error", "Z_error"), [(1 / 3, 0.007, 2e-4), (1 / 2, 0.03, 1e-3), (1.0, 0.18, 7e-3)]
)
@pytest.mark.parametrize("width", [5, 15, 40])
def test_grid_repulsion(h, force_error, Z_error, width, team):
    Y = some_map(1500, width)
    forces, Z = true_repulsion(Y)
    ours, our_Z = on_grid(Y, h, team)
    assert relative(ours, forces) < force_error
    assert abs(our_Z / Z - 1) < Z_error


@pytest.mark.parametrize("width", [1e-4, 1e-2, 0.5])
def test_grid_repulsion_of_a_tiny_map(width, team):
    """At the start all points lie within one cell; the forces must still be theirs."""
    Y = some_map(1000, width)
    forces, Z = true_repulsion(Y)
    ours, our_Z = on_grid(Y, 1 / 2, team)
    assert relative(ours, forces) < 0.03
    assert our_Z == pytest.approx(Z, rel=1e-3)


def test_grid_repulsion_along_one_axis(team):
    Y = some_map(800, 300)
    Y[:, 1] = 0
    forces, Z = true_repulsion(Y)
    ours, our_Z = on_grid(Y, 1 / 3, team)
    assert relative(ours[:, 0], forces[:, 0]) < 0.01
    assert our_Z == pytest.approx(Z, rel=1e-3)


def test_grid_repulsion_far_from_the_origin(team):
    Y = some_map(500, 20)
    near, near_Z = on_grid(Y, 1 / 3, team)
    far, far_Z = on_grid(Y + np.float32(1000), 1 / 3, team)
    assert relative(far, near) < 0.01
    assert far_Z == pytest.approx(near_Z, rel=1e-3)


def test_a_point_does_not_push_itself(team):
    Y = np.array([[0.13, 0.31], [400.0, 300.0]], dtype=np.float32)
    out, _ = on_grid(Y, 1 / 2, team)
    assert np.abs(out).max() < 2e-3  # 0.02 with the force of its own charge


@pytest.mark.parametrize("n", [2, 3, 15, 16, 17, 31, 255, 256, 257, 700])
@pytest.mark.parametrize("width", [1, 20, 1e6])
def test_exact_repulsion(width, n, team):
    Y = some_map(n, width)
    forces, Z = true_repulsion(Y)
    out = np.empty_like(Y)
    our_Z = np.empty(1)
    work = over_pairs(Y, out, our_Z)
    for _ in range(2):  # what was summed before does not stay
        team.do(work)
        assert our_Z[0] == pytest.approx(max(Z, LEAST_PAIR * n), rel=1e-5)
        assert relative(out, forces) < 1e-5


@pytest.mark.parametrize(
    ("n", "width", "expected"),
    [
        (2_000, 1, True),
        (2_600, 20, False),  # a grid under a small map is quick
        (3_700, 130, True),
        (4_500, 130, False),
        (MOST_PAIRED_ROWS, 1e6, True),
        (MOST_PAIRED_ROWS + 1, 1e6, False),
    ],
)
def test_pairs_are_summed_where_that_takes_little_longer_than_a_grid(n, width, expected):
    assert is_affordable(n, np.array([width, width], dtype=np.float64), 0.4) == expected


def test_exact_repulsion_of_one_point_on_a_line_and_of_equal_points(team):
    out = np.empty((40, 2), np.float32)
    assert on_pairs(np.ones((1, 2), np.float32), out[:1], team) == LEAST_PAIR
    assert not out[:1].any()
    assert on_pairs(np.ones((40, 2), np.float32), out, team) == 40 * 39
    assert not out.any()
    line = some_map(40, 9) * np.array([1, 0], np.float32)
    assert on_pairs(line, out, team) == pytest.approx(true_repulsion(line)[1])
    assert not out[:, 1].any()


def test_the_grid_is_bounded_when_points_fly_apart(team):
    Y = np.vstack([some_map(300, 10), [[3e7, -2e7]]]).astype(np.float32)
    out, Z = on_grid(Y, 1 / 2, team)
    assert np.isfinite(out).all()
    assert np.isfinite(Z)
    grid = make_grid(Y.min(axis=0).astype(float), Y.max(axis=0).astype(float), 1 / 2)
    assert grid.shape[0] * grid.shape[1] <= 1.01 * MAX_NODES


def test_a_grid_serves_until_the_map_leaves_it_or_shrinks():
    low, high = np.array([-50.0, -50.0]), np.array([50.0, 50.0])
    grid = make_grid(low, high, 1 / 2)
    assert grid.fits(low, high, 1 / 2)
    assert not grid.fits(low, high, 1 / 3)
    assert not grid.fits(low - 10, high, 1 / 2)
    assert not grid.fits(low, high + 10, 1 / 2)
    assert not grid.fits(low / 4, high / 4, 1 / 2)
    assert not grid.fits(low * np.nan, high, 1 / 2)


def test_smooth_sizes():
    assert [smooth_at_least(n) for n in (1, 7, 11, 121, 211, 217)] == [1, 8, 12, 125, 216, 225]


def test_hilbert_order_visits_neighbours():
    side = 32
    cells = np.stack(np.meshgrid(np.arange(side), np.arange(side)), axis=-1).reshape(-1, 2)
    # At 1,024 cells a side, a step of the coarser curve is 33 fine cells long.
    path = cells[hilbert_order(cells.astype(np.float32))]
    steps = np.abs(np.diff(path, axis=0)).sum(axis=1)
    assert (steps == 1).all()
    assert sorted(map(tuple, path)) == sorted(map(tuple, cells))


def test_hilbert_order_of_one_spot():
    np.testing.assert_array_equal(hilbert_order(np.zeros((5, 2), np.float32)), np.arange(5))


# Neighbours.


@pytest.mark.parametrize(
    ("X", "k"),
    [
        (blobs(700, 5), 30),
        (blobs(2500, 40), 20),
        (np.random.RandomState(0).standard_normal((1500, 20)), 15),
        (np.random.RandomState(0).standard_normal((9, 2)), 8),
        (np.random.RandomState(0).standard_normal((2, 3)), 1),
        (blobs(600, 3) * 1e6 + 3e8, 10),
        (blobs(600, 3) * 1e-6, 10),
    ],
)
def test_exact_search(X, k, team):
    found = find_neighbors(X, k, team, exact=True)
    points = X[found.places].astype(np.float64)
    distances = cdist(points, points)
    np.fill_diagonal(distances, np.inf)
    kth = np.sort(distances, axis=1)[:, k - 1]
    ours = np.take_along_axis(distances, found.indices.astype(np.int64), axis=1)
    assert (ours <= kth[:, None] * (1 + 1e-4)).mean() > 0.999
    assert all(len(set(row)) == k for row in found.indices.tolist())
    scale = ours.max() ** 2 / found.squared.max()
    np.testing.assert_allclose(found.squared * scale, ours**2, rtol=2e-3, atol=1e-9 * scale)
    assert sorted(found.places.tolist()) == list(range(len(X)))


def test_search_through_lists_finds_nearly_all(team):
    X = blobs(8000, 6)
    exact = find_neighbors(X, 30, team, exact=True)
    listed = find_neighbors(X, 30, team, exact=False)
    assert "recall" in listed.words
    assert "exact" in exact.words
    np.testing.assert_array_equal(exact.places, listed.places)
    kth = exact.squared.max(axis=1, keepdims=True)
    assert (listed.squared <= kth * 1.00001).mean() > 0.96


def test_search_says_where_lists_do_not_help(team, monkeypatch):
    X = np.random.RandomState(0).standard_normal((5000, 60)).astype(np.float32)
    assert find_neighbors(X, 30, team, exact=False) is None
    monkeypatch.setattr(search, "EXACT_WORK", 0.0)
    assert find_neighbors(X, 30, team).words == "inverted lists (exact)"
    monkeypatch.setattr(search, "LAST_WORK", 0.0)
    assert find_neighbors(X, 30, team) is None


def test_no_search_takes_more_work_than_the_most(team, monkeypatch):
    X = np.random.RandomState(0).standard_normal((20_000, 3)).astype(np.float32)
    monkeypatch.setattr(search, "EXACT_WORK", 0.0)
    assert "recall" in find_neighbors(X, 10, team).words
    seen_512 = 20_000 * 512 * (3 + search.PAIR_WORK)
    monkeypatch.setattr(search, "LAST_WORK", seen_512 - 1.0)
    assert find_neighbors(X, 10, team) is None


@pytest.mark.parametrize("far", [1e6, 1e9])
def test_a_far_outlier_hides_no_neighbours(far, team):
    X = np.vstack([np.random.RandomState(0).rand(99, 2), [[far, 0]]])
    found = find_neighbors(X, 10, team)
    true, _ = graph(X[found.places], 10)
    near = found.places < 99  # the outlier has all others at one distance, in single precision
    np.testing.assert_array_equal(np.sort(found.indices, axis=1)[near], np.sort(true, axis=1)[near])


@pytest.mark.parametrize("X", [np.zeros((50, 3)), np.repeat(blobs(10, 3), 6, axis=0)])
def test_search_among_duplicates(X, team):
    found = find_neighbors(X, 5, team)
    assert (found.squared == 0).all()
    assert (found.indices != np.arange(len(X))[:, None]).all()


# Gradient.


def kl_divergence(P, Y):
    kernel = 1 / (1 + cdist(Y, Y, "sqeuclidean"))
    np.fill_diagonal(kernel, 0)
    Q = kernel / kernel.sum()
    positive = P > 0
    return (P[positive] * np.log(P[positive] / Q[positive])).sum()


def test_the_forces_are_the_gradient_of_the_divergence(team):
    """By central differences of the divergence, all in double precision but our own step."""
    n = 150
    indices, squared = graph(blobs(n, 5), 30)
    ours = make_affinities(indices, squared, 10.0, team, dropped_mass=0.0)
    rows = lay_out(ours, np.arange(n))
    P = matrix_of(rows).toarray()
    Y = some_map(n, 20)
    push, pulls, update, gains = (np.zeros_like(Y) for _ in range(4))
    gains += 1
    Z = on_pairs(Y, push, team)
    sparse = (rows.starts, rows.words, rows.steps, rows.bits)
    make_call(team, pull, 1, as_points(Y), *sparse, pulls)
    rates = np.array([1, 1, 0], dtype=np.float32)  # a step of the gradient, without momentum
    state = (rates, False, update, gains, np.empty((1, REPORTS)))
    make_call(team, move, 1, n, Y.copy(), pulls, push, np.array([Z]), *state)
    gradient = -update / np.float32(0.8)  # a step from rest, whose gain falls to 0.8
    step, numeric = 1e-4, np.zeros((n, 2))
    for i in range(0, n, 7):
        for axis in range(2):
            there, back = Y.astype(np.float64), Y.astype(np.float64)
            there[i, axis] += step
            back[i, axis] -= step
            numeric[i, axis] = (kl_divergence(P, there) - kl_divergence(P, back)) / (2 * step)
    np.testing.assert_allclose(gradient[::7], numeric[::7], atol=1e-6)
    assert np.abs(numeric).max() > 1e-4


@pytest.mark.parametrize("bits", [12, 24])
@pytest.mark.parametrize("k", [5, 24, 30])
def test_logarithms_give_the_divergence(k, bits, team, monkeypatch):
    """Of all affinities, those that make no forces included; of a million rows with 12 bits."""
    monkeypatch.setattr(layout, "MOST_BITS", bits)
    monkeypatch.setattr(native_affinities, "FEWEST_DROPPED", 0)
    n, perplexity = 400, k / 3
    ours = make_affinities(*graph(blobs(n, 5), k), perplexity, team)
    every = make_affinities(*graph(blobs(n, 5), k), perplexity, team, 0.0)
    assert ours.threshold > 0
    P = matrix_of(lay_out(every, np.arange(n))).toarray()
    order = np.random.RandomState(0).permutation(n)
    Y = some_map(n, 30)
    value, tile = ours.entropy_term + math.log(true_repulsion(Y)[1]), tile_size(n)
    for makes_forces in (True, False):
        rows = lay_out(ours, order, makes_forces=makes_forces)
        sums = np.empty(-(-n // tile))
        sparse = (rows.starts, rows.words, rows.steps, rows.bits)
        team.run(sum_logarithms, len(sums), tile, as_points(Y[order]), *sparse, sums)
        value += rows.mass * sums.sum()
    assert value == pytest.approx(
        kl_divergence(P.astype(np.float64), Y.astype(np.float64)), rel=1e-4
    )
