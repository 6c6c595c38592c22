"""What a search keeps of what it compares."""

import numpy as np
import pytest
from scipy.spatial.distance import cdist

from tsne_backends.native.candidates import SPARE, _shrink, absorb, nothing_held
from tsne_backends.native.features import as_they_are
from tsne_backends.native.jit import U, kernel
from tsne_backends.native.products import PANEL, fill_panels, room_for_products, tiles_of
from tsne_backends.native.scan import distances_to_nearest
from tsne_backends.native.threads import Team


def absorbed(products, wanted, start, stop):
    """Return candidates of rows that have these products with points, taken in at two times."""
    n_rows, n = products.shape
    panels = np.empty((-(-n // PANEL), 1 + n_rows, PANEL), np.float32)
    fill_panels(np.ascontiguousarray(products.T), np.zeros((n, 1), np.float32), panels)
    tiles = tiles_of(np.float32(-0.5) * np.eye(n_rows, dtype=np.float32))
    held, half = nothing_held(n_rows, wanted), (start + stop) // 2
    for first, last in ((start, half), (half, stop)):
        absorb(tiles, panels, first, last, 1000, *room_for_products(), *held, wanted)
    return held[:3]


@pytest.mark.parametrize("n", [40, 64, 500, 3001])
@pytest.mark.parametrize("wanted", [1, 5, 33])
@pytest.mark.parametrize(
    "kind", ["any", "negative", "ties", "equal", "descending", "one far", "clustered"]
)
def test_the_nearest_are_among_the_candidates(kind, wanted, n):
    rng = np.random.RandomState(0)
    products = rng.standard_normal((7, n)).astype(np.float32)
    if kind == "negative":
        products -= 1000
    elif kind == "ties":
        products = np.round(products)
    elif kind == "equal":
        products[:] = 2.5
    elif kind == "descending":
        products = -np.sort(-products, axis=1)
    elif kind == "one far":
        products[:, -1] = 1e30
    elif kind == "clustered":
        products = np.where(rng.random_sample(products.shape) < 0.5, 1e-6 * products, products)
    products = products.astype(np.float32)
    for start, stop in ((0, n), (5, n - 3), (3, 9)):
        held, names, fill = absorbed(products, wanted, start, stop)
        assert (fill[len(products) :] == 0).all()
        for row, values, which, count in zip(products, held, names, fill, strict=False):
            assert min(wanted, stop - start) <= count <= 2 * wanted + 2 * PANEL
            kept = which[:count].astype(int) - 1000
            assert start <= kept.min()
            assert kept.max() < stop
            np.testing.assert_array_equal(row[kept], values[:count])
            assert len(set(kept.tolist())) == count
            nearest = np.sort(row[start:stop])[:wanted]
            np.testing.assert_array_equal(np.sort(values[:count])[: len(nearest)], nearest)


@pytest.mark.parametrize(("n", "k", "spare"), [(900, 20, 8), (2500, 1, 0), (30, 30, 5)])
def test_distances_to_the_nearest_of_all(n, k, spare, team):
    rng = np.random.RandomState(0)
    points = rng.standard_normal((n, 6)).astype(np.float32)
    rows = rng.standard_normal((150, 6)).astype(np.float32)
    found = distances_to_nearest(as_they_are(rows), as_they_are(points), k, spare, team)
    expected = np.sort(cdist(rows, points, "sqeuclidean"), axis=1)[:, k - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_nearest_of_equal_rows_are_at_no_distance(n_threads):
    rng = np.random.RandomState(0)
    points = np.repeat(rng.standard_normal((400, 5)), 3, axis=0).astype(np.float32)
    with Team(n_threads) as team:
        third, fourth = (
            distances_to_nearest(as_they_are(points[:70]), as_they_are(points), k, 9, team)
            for k in (3, 4)
        )
    np.testing.assert_array_equal(third, 0)
    assert (fourth > 0).all()


@kernel
def _cut(values, names, count, wanted, spare):
    return _shrink(values, names, U(count), U(wanted), U(spare))


@pytest.mark.parametrize("wanted", [1, 7, 90])
@pytest.mark.parametrize("beyond", [0, 1, SPARE, SPARE + 1, 100])
@pytest.mark.parametrize("spare", [0, SPARE])
@pytest.mark.parametrize(
    "kind", ["any", "equal", "zero", "half ties", "huge", "tiny", "neighbouring", "from 1e-30 on"]
)
def test_candidates_are_cut_to_those_wanted_and_few_more(kind, spare, beyond, wanted):
    count = wanted + max(beyond, 1)
    rng = np.random.RandomState(1)
    values = rng.standard_normal(count + 5).astype(np.float32)
    if kind == "equal":
        values[:] = -3
    elif kind == "zero":
        values[:] = 0
    elif kind == "half ties":
        values[::2] = np.median(values)
    elif kind == "huge":
        values *= np.float32(1e30)
    elif kind == "tiny":
        values *= np.float32(1e-37)
    elif kind == "neighbouring":
        values = np.where(values < 0, np.float32(1), np.nextafter(np.float32(1), np.float32(2)))
    elif kind == "from 1e-30 on":
        values = (10.0 ** rng.uniform(-30, 30, count + 5)).astype(np.float32)
    names = np.arange(100, 100 + len(values), dtype=np.uint32)
    before = values.copy()
    kept, bar = _cut(values, names, count, wanted, spare)
    assert wanted <= kept <= wanted + spare
    np.testing.assert_array_equal(values[:kept], before[names[:kept] - 100])
    assert len(set(names[:kept].tolist())) == kept
    left_out = np.delete(before[:count], names[:kept].astype(int) - 100)
    assert (left_out >= bar).all()
    assert (left_out >= values[:kept].max()).all()
    assert bar >= np.sort(before[:count])[wanted - 1]
