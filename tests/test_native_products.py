"""Products of rows and points, and which of them are below a bar."""

import numpy as np
import pytest
from numba.core.errors import TypingError
from scipy.spatial.distance import cdist

from tsne_backends.native.jit import U32, U, kernel
from tsne_backends.native.lists import _assign
from tsne_backends.native.products import (
    FAR,
    PANEL,
    TILE,
    compare,
    lowest_bit,
    panels_of,
    points_at_once,
    room_for_products,
    tiles_of,
)


@kernel
def _compared(tiles, tile, panels, panel, bars, products, nearer):
    return compare(tiles, U(tile), panels, U(panel), bars, products, nearer)


@pytest.mark.parametrize("n", [PANEL - 1, PANEL, 3 * PANEL + 1, 100 * PANEL])
@pytest.mark.parametrize("width", [1, 2, 20, 193])
def test_every_pair_of_a_tile_and_a_panel_is_compared(width, n, team):
    rng = np.random.RandomState(0)
    rows = rng.standard_normal((2 * TILE + 1, width)).astype(np.float32)
    points = rng.standard_normal((n, width)).astype(np.float32)
    tiles, panels = tiles_of(rows), panels_of(points, points, team)
    assert tiles.shape == (3, width, TILE)
    assert panels.shape == (-(-n // PANEL), 1 + width, PANEL)
    expected = np.full((3 * TILE, len(panels) * PANEL), FAR, np.float64)
    norms = (rows.astype(np.float64) ** 2).sum(axis=1)
    expected[: len(rows), :n] = cdist(rows, points, "sqeuclidean") - norms[:, None]
    expected[len(rows) :, :n] = (points.astype(np.float64) ** 2).sum(axis=1)
    bars = np.median(expected[:, :n], axis=1).astype(np.float32)
    for tile in range(3):
        some = slice(tile * TILE, (tile + 1) * TILE)
        for panel in (0, len(panels) - 1):
            products, nearer = room_for_products()
            hits = _compared(tiles, tile, panels, panel, bars, products, nearer)
            truth = expected[some, panel * PANEL : (panel + 1) * PANEL]
            assert (hits != 0) == (truth < bars[some, None]).any()
            if hits != 0:
                np.testing.assert_allclose(products, truth, rtol=1e-5, atol=1e-4)
                bits = (nearer[:, None] >> np.arange(PANEL)) & 1
                np.testing.assert_array_equal(bits, products < bars[some, None])
                assert hits == np.bitwise_or.reduce(nearer)


def test_nothing_is_said_to_be_nearer_where_nothing_is(team):
    points = np.random.RandomState(0).standard_normal((PANEL, 3)).astype(np.float32)
    tiles, panels = tiles_of(points[:TILE]), panels_of(points, points, team)
    lowest = cdist(points[:TILE], points, "sqeuclidean").min(axis=1)
    bars = (lowest - (points[:TILE] ** 2).sum(axis=1) - 0.01).astype(np.float32)
    assert _compared(tiles, 0, panels, 0, bars, *room_for_products()) == 0
    bars[3] += 0.02
    assert _compared(tiles, 0, panels, 0, bars, *room_for_products()) == 1 << 3


def test_what_is_left_out_of_points_counts_in_full(team):
    """Axes that are left out add to every distance as if at right angles."""
    whole = np.random.RandomState(0).standard_normal((PANEL, 5)).astype(np.float32)
    panels = panels_of(np.ascontiguousarray(whole[:, :2]), whole, team)
    np.testing.assert_allclose(panels[0, 0], (whole**2).sum(axis=1), rtol=1e-6)
    np.testing.assert_array_equal(panels[0, 1:], whole[:, :2].T)


def test_what_is_at_a_bar_is_not_below_it(team):
    points = np.zeros((PANEL, 1), np.float32)
    products, nearer = room_for_products()
    tiles, panels = tiles_of(np.ones((TILE, 1), np.float32)), panels_of(points, points, team)
    bars = np.array([0, 1e-30, -1, FAR, -FAR, 0], np.float32)
    hits = _compared(tiles, 0, panels, 0, bars, products, nearer)
    every = (1 << PANEL) - 1
    assert nearer.tolist() == [0, every, 0, every, 0, 0]
    assert hits == every


@pytest.mark.parametrize("which", [0, 2, 4, 5, 6])
def test_vectors_are_not_read_from_arrays_of_another_kind(which, team):
    points = np.zeros((PANEL, 4), np.float32)
    tiles, panels = tiles_of(points[:TILE]), panels_of(points, points, team)
    arguments = [tiles, 0, panels, 0, np.zeros(TILE, np.float32), *room_for_products()]
    good = arguments[which]
    for wrong in (good.astype(np.float64), np.repeat(good, 2, axis=-1)[..., ::2]):
        arguments[which] = wrong
        with pytest.raises(TypingError, match="Vectors are of contiguous"):
            _compared(*arguments)


@pytest.mark.parametrize(("width", "expected"), [(1, 1024), (20, 1024), (768, 336), (10**6, PANEL)])
def test_as_many_points_are_compared_at_once_as_the_cache_holds(width, expected):
    assert points_at_once(width) == expected


@pytest.mark.parametrize(("n", "n_centroids"), [(7, 1), (1021, 15), (1500, 200)])
@pytest.mark.parametrize("d", [2, 3000])
def test_every_row_gets_its_nearest_centroid(d, n_centroids, n, team):
    rng = np.random.RandomState(0)
    points = rng.standard_normal((n, d)).astype(np.float32)
    centroids = points[rng.permutation(n)[:n_centroids]]
    owner, squared = _assign(points, centroids, team)
    distances = cdist(points, centroids, "sqeuclidean")
    np.testing.assert_array_equal(owner, distances.argmin(axis=1))
    np.testing.assert_allclose(squared, distances.min(axis=1), rtol=1e-5, atol=1e-5 * d)


@kernel
def _lowest(bits):
    return lowest_bit(U32(bits))


def test_the_lowest_bit_is_found():
    assert [_lowest(bits) for bits in (1, 2, 12, 1 << 31)] == [0, 1, 2, 31]
