"""Grids of growing spacing, and the loops in vectors, against plain computations."""

import numpy as np
import pytest
from native_truth import relative, true_repulsion
from numba.core.errors import TypingError
from scipy.interpolate import BSpline
from scipy.signal import convolve2d
from scipy.spatial.distance import cdist

from tsne_backends.native import search, threads
from tsne_backends.native.candidates import SPARE, _shrink, absorb, nothing_held
from tsne_backends.native.convolution import Summed, Transformed, convolution
from tsne_backends.native.grid import MAX_NODES, Grid, coarser_shape, make_grid
from tsne_backends.native.jit import U32, F, U, as_points, kernel
from tsne_backends.native.repulsion import GridRepulsion
from tsne_backends.native.scan import distances_to_nearest
from tsne_backends.native.splitting import CUT, RADIUS, smooth_part, stencil
from tsne_backends.native.threads import Team
from tsne_backends.native.vectors import (
    COMPARED,
    LANES,
    PULLS,
    attract,
    below,
    interpolate,
    lowest_bit,
    sum_rows,
)


@pytest.fixture(scope="module")
def team():
    with Team(2) as team:
        yield team


def cubic(x):
    """Return the cubic B-spline about 0."""
    values = BSpline.basis_element([-2, -1, 0, 1, 2], extrapolate=False)(x)
    return np.nan_to_num(values)


# The kernel's parts.


def test_what_a_grid_leaves_is_the_kernel_beyond_its_cut_and_smooth_within():
    r = np.linspace(0, 8, 200)
    whole, left = smooth_part(r**2, 0.0), smooth_part(r**2, 3.0)
    np.testing.assert_allclose(whole, 1 / (1 + r**2))
    np.testing.assert_array_equal(left[r >= 3], whole[r >= 3])
    assert (left < whole)[r < 3].all()
    assert (left > 0).all()
    steps = np.diff(left, 4)
    assert np.abs(steps).max() < np.abs(np.diff(whole, 4)).max() / 20


@pytest.mark.parametrize("cut", [0.0, CUT / 2])
def test_a_stencil_holds_all_of_its_part(cut):
    """Its sum is that of the part, spread over the plane: nothing is lost beyond the radius."""
    h = 0.4
    ours = stencil(h, cut * h).astype(np.float64)
    assert ours.shape == (RADIUS + 1, RADIUS + 1)
    np.testing.assert_array_equal(ours, ours.T)
    copies = np.where(np.arange(RADIUS + 1) > 0, 2, 1)
    r = h * np.arange(-60, 61)
    squares = r[:, None] ** 2 + r**2
    part = smooth_part(squares, cut * h) - smooth_part(squares, CUT * h)
    assert (ours * np.outer(copies, copies)).sum() == pytest.approx(part.sum(), rel=2e-3)
    with pytest.raises(ValueError, match="read-only"):
        stencil(h, cut * h)[0, 0] = 1


# Grids.


@pytest.mark.parametrize(
    ("span", "levels"), [((20, 20), 1), ((40, 30), 2), ((90, 100), 3), ((300, 0), 1), ((250, 8), 2)]
)
def test_grids_get_coarser_until_one_is_small(span, levels):
    high = np.array(span, dtype=float)
    grid = make_grid(np.zeros(2), high, 0.4)
    assert len(grid.shapes) == levels
    for finer, coarser in zip(grid.shapes[:-1], grid.shapes[1:], strict=True):
        assert finer[0] % 2 == finer[1] % 2 == 0
        assert all(np.array(coarser) >= coarser_shape(finer))
        assert all(np.array(coarser) <= 1.3 * np.array(coarser_shape(finer)))
    assert grid.fits(np.zeros(2), high, 0.4)


@pytest.mark.parametrize("shape", [(90, 74), (120, 200), (400, 350)])
def test_split_over_grids_the_kernel_is_the_same(shape, team):
    """Potentials at random charges, against one grid that is transformed as a whole."""
    rng = np.random.RandomState(0)
    shapes = [shape]
    while shapes[-1][0] > 50:
        rows, columns = coarser_shape(shapes[-1])
        shapes.append((rows + rows % 2, columns + columns % 2))
    split = convolution(Grid((0.0, 0.0), 0.4, tuple(shapes), 0.4), team)
    whole = Transformed(shape, 0.4, 0.0, team)
    # Charges as points have them: a spline's weights, not single nodes.
    rough = (rng.random_sample(shape) < 0.02).astype(np.float32)
    weights = np.array([1, 4, 1]) / 6
    charge = convolve2d(rough, np.outer(weights, weights), "same")
    whole.charge[:] = charge
    inner = tuple(slice(split.margin, split.margin + side) for side in shape)
    split.charge[inner] = charge
    for one in (split, whole):
        one.run()
    smooth = [
        convolve2d(field, np.outer(weights, weights), "same")[2:-2, 2:-2]
        for field in (split.field[inner], whole.field)
    ]
    assert relative(*smooth) < 1e-3


class Recorded:
    """A coarser grid whose potential is given, and whose charge is looked at."""

    def __init__(self, shape, margin):
        padded = tuple(side + 2 * margin for side in shape)
        self.charge, self.field = np.zeros(padded, np.float32), np.zeros(padded, np.float32)
        self.margin = margin

    def run(self):
        self.seen = self.charge.copy()


@pytest.mark.parametrize("margin", [0, RADIUS])
@pytest.mark.parametrize("shape", [(20, 34), (34, 16)])
def test_splines_of_twice_the_width_see_the_same_charges(shape, margin, team):
    rng = np.random.RandomState(1)
    coarse_shape = tuple(side + 3 for side in coarser_shape(shape))  # rounded up to what is quick
    coarser = Recorded(coarse_shape, margin)
    nothing = np.zeros((RADIUS + 1, RADIUS + 1), np.float32)
    fine = Summed(shape, nothing, coarser, team)
    places = 1.5 + rng.random_sample((40, 2)) * (np.array(shape) - 4)
    inner = tuple(slice(RADIUS, RADIUS + side) for side in shape)
    on_fine = [cubic(np.arange(side) - places[:, i, None]) for i, side in enumerate(shape)]
    fine.charge[inner] = on_fine[0].T @ on_fine[1]
    coarser.field[:] = rng.standard_normal(coarser.field.shape)
    fine.run()
    on_coarse = [
        cubic(np.arange(side) - 1 - places[:, i, None] / 2) for i, side in enumerate(coarse_shape)
    ]
    within = tuple(slice(margin, margin + side) for side in coarse_shape)
    np.testing.assert_allclose(coarser.seen[within], on_coarse[0].T @ on_coarse[1], atol=1e-5)
    if margin:
        assert not coarser.seen[:margin].any()
        assert not coarser.seen[:, -margin:].any()
    field = coarser.field[within].astype(np.float64)
    there = np.einsum("ia,ab,ib->i", on_coarse[0], field, on_coarse[1])
    here = np.einsum("ia,ab,ib->i", on_fine[0], fine.field[inner].astype(float), on_fine[1])
    np.testing.assert_allclose(here, there, atol=1e-5)


@pytest.mark.parametrize("shape", [(16, 18), (30, 50)])
def test_near_charges_are_summed(shape, team):
    rng = np.random.RandomState(2)
    weights = rng.random_sample((RADIUS + 1, RADIUS + 1)).astype(np.float32)
    weights += weights.T
    alone = Summed(shape, weights, Recorded(coarser_shape(shape), 0), team)
    inner = tuple(slice(RADIUS, RADIUS + side) for side in shape)
    alone.charge[inner] = rng.standard_normal(shape)
    alone.run()
    apart = np.abs(np.arange(-RADIUS, RADIUS + 1))
    expected = convolve2d(alone.charge[inner], weights[apart][:, apart], "same")
    np.testing.assert_allclose(alone.field[inner], expected, atol=2e-4)


@pytest.mark.parametrize("span", [(60, 90), (500, 0)])
def test_repulsion_does_not_depend_on_threads(span, monkeypatch):
    monkeypatch.setattr(threads, "SHORTEST_SHARED_SECONDS", 0.0)  # or little would be shared out
    Y = (np.random.RandomState(3).random_sample((4000, 2)) * span).astype(np.float32)
    corners = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
    found = []
    for n_threads in (1, 2, 5):
        with Team(n_threads) as team:
            repulsion, out = GridRepulsion(len(Y), team), np.empty_like(Y)
            for _ in range(3):
                Z = repulsion.forces(Y, *corners, 0.4, out)
            found.append((Z, out, repulsion.convolution.field))
    for Z, out, field in found[1:]:
        assert found[0][0] == Z
        np.testing.assert_array_equal(out, found[0][1])
        np.testing.assert_array_equal(field, found[0][2])


# Whole forces.


@pytest.mark.parametrize("span", [(250, 8), (60, 60), (700, 500)])
def test_forces_on_thin_and_wide_maps(span, team):
    """Also of points at the corners, on up to six grids."""
    Y = (np.random.RandomState(4).random_sample((2500, 2)) * span).astype(np.float32)
    # Pairs, or distances would be so large that there is no force to speak of.
    Y[1::2] = Y[::2] + np.random.RandomState(5).standard_normal((1250, 2)).astype(np.float32)
    out = np.empty_like(Y)
    low, high = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
    Z = GridRepulsion(len(Y), team).forces(Y, low, high, 1 / 3, out)
    forces, true_Z = true_repulsion(Y)
    assert relative(out, forces) < 0.02
    assert pytest.approx(true_Z, rel=2e-3) == Z


def test_far_points_on_split_grids_hardly_push_themselves(team):
    """200 points, 25 apart and at all places within a cell: what is left is a grid's own error."""
    rng = np.random.RandomState(6)
    Y = 25.0 * np.stack(np.meshgrid(np.arange(20), np.arange(10)), axis=-1).reshape(-1, 2)
    Y = (Y + rng.random_sample(Y.shape)).astype(np.float32)
    out = np.empty_like(Y)
    low, high = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
    repulsion = GridRepulsion(len(Y), team)
    Z = repulsion.forces(Y, low, high, 0.4, out)
    forces, true_Z = true_repulsion(Y)
    assert len(repulsion.grid.shapes) > 3
    assert np.abs(out - forces).max() < 2e-3
    assert pytest.approx(true_Z, abs=1e-3 * len(Y)) == Z


def test_a_grid_is_left_and_found_again(team):
    """From one grid to several and back, nothing of the former is left in the sums."""
    rng = np.random.RandomState(7)
    small = rng.standard_normal((800, 2)).astype(np.float32)
    large = (30 * rng.standard_normal((800, 2))).astype(np.float32)
    lasting = GridRepulsion(800, team)
    for Y in (small, large, large, small):
        corners = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
        ours, anew = np.empty_like(Y), np.empty_like(Y)
        Z = lasting.forces(Y, *corners, 0.4, ours)
        assert GridRepulsion(800, team).forces(Y, *corners, 0.4, anew) == Z
        np.testing.assert_array_equal(ours, anew)
    assert lasting.grids_made == 3


@pytest.mark.parametrize("width", [1e9, 1e30])
def test_an_endless_map_of_one_dimension_gets_a_grid_at_once(width):
    high = np.array([width, 0.0])
    grid = make_grid(np.zeros(2), high, 0.4)
    assert grid.shape[0] * grid.shape[1] < 1.1 * MAX_NODES
    assert grid.fits(np.zeros(2), high, 0.4)


# Vectors.


@kernel
def _sums(charge, i, j, weights, scratch, line):
    sum_rows(charge, U(i), U(j), weights, scratch, U(line))


def test_rows_are_summed_in_vectors():
    rng = np.random.RandomState(0)
    charge = rng.standard_normal((2 * RADIUS + 5, 3 * LANES)).astype(np.float32)
    weights = rng.standard_normal((RADIUS + 1, RADIUS + 1)).astype(np.float32)
    scratch = np.zeros((RADIUS + 4, 3 * LANES), np.float32)
    i, line = RADIUS + 2, 3
    _sums(charge, i, LANES, weights, scratch, line)
    for b in range(RADIUS + 1):
        expected = weights[0, b] * charge[i]
        for a in range(1, RADIUS + 1):
            expected = expected + weights[a, b] * (charge[i - a] + charge[i + a])
        found = scratch[line + b]
        np.testing.assert_allclose(found[LANES : 2 * LANES], expected[LANES : 2 * LANES], atol=1e-5)
        assert not found[:LANES].any()
        assert not found[2 * LANES :].any()
    assert not scratch[:line].any()


@kernel
def _read(field, row, column, f, g):
    return interpolate(field, U(row), U(column), F(f), F(g))


@pytest.mark.parametrize("f", [0.0, 0.3, 0.999])
@pytest.mark.parametrize("g", [0.0, 0.6])
def test_a_field_and_its_slope_are_read_with_cubic_splines(f, g):
    field = np.random.RandomState(0).standard_normal((9, 11)).astype(np.float32)
    row, column, step = 3, 4, 1e-5

    def at(u, v):
        across = cubic(np.arange(9) - (row + 1 + u)), cubic(np.arange(11) - (column + 1 + v))
        return across[0] @ field.astype(np.float64) @ across[1]

    value, down, right = _read(field, row, column, f, g)
    assert value == pytest.approx(at(f, g), abs=1e-5)
    assert down == pytest.approx((at(f - step, g) - at(f + step, g)) / (2 * step), abs=1e-4)
    assert right == pytest.approx((at(f, g - step) - at(f, g + step)) / (2 * step), abs=1e-4)


@kernel
def _pull(points, x, y, columns, values, first, stop):
    return attract(points, F(x), F(y), columns, values, U(first), U(stop))


@pytest.mark.parametrize("n_entries", [0, PULLS, 5 * PULLS])
def test_a_row_of_affinities_attracts(n_entries):
    rng = np.random.RandomState(0)
    Y = (3 * rng.standard_normal((50, 2))).astype(np.float32)
    columns = rng.randint(50, size=6 * PULLS).astype(np.uint32)
    values = rng.random_sample(6 * PULLS).astype(np.float32)
    values[::5] = 0
    own = Y[7].astype(np.float64)
    found = _pull(as_points(Y), *Y[7], columns, values, PULLS, PULLS + n_entries)
    some = slice(PULLS, PULLS + n_entries)
    apart = own - Y[columns[some]].astype(np.float64)
    weights = values[some] / (1 + (apart**2).sum(axis=1))
    np.testing.assert_allclose(found, weights @ apart, rtol=1e-5, atol=1e-6)


@kernel
def _bits(values, row, column, bar):
    return below(values, U(row), U(column), F(bar))


@pytest.mark.parametrize("values", [np.ones((40, 40)), np.ones((40, 40), np.float32).T[:, :33]])
def test_vectors_are_not_read_from_arrays_of_another_kind(values):
    with pytest.raises(TypingError, match="Vectors are of contiguous float32"):
        _bits(values, 0, 0, 0.5)


@kernel
def _lowest(bits):
    return lowest_bit(U32(bits))


def test_what_is_below_a_bar_is_told_in_bits():
    values = np.random.RandomState(0).standard_normal((4, 2 * COMPARED)).astype(np.float32)
    values[2, 9] = 0.5  # at the bar is not below it
    for column in (0, 3, COMPARED):
        bits = int(_bits(values, 2, column, 0.5))
        expected = values[2, column : column + COMPARED] < 0.5
        assert [bits >> at & 1 for at in range(COMPARED)] == expected.tolist()
    assert [_lowest(bits) for bits in (1, 2, 12, 1 << 31)] == [0, 1, 2, 31]


# Candidates.


def absorbed(products, wanted):
    held, names, fill, limit = nothing_held(len(products), wanted)
    half = products.shape[1] // 2
    for offset, some in ((0, products[:, :half]), (half, products[:, half:])):
        some = np.ascontiguousarray(some)
        absorb(some, offset, held, names, fill, limit, wanted)
    return held, names, fill


@pytest.mark.parametrize("n", [40, 64, 500, 3001])
@pytest.mark.parametrize("wanted", [1, 5, 33])
@pytest.mark.parametrize(
    "kind", ["any", "negative", "ties", "equal", "descending", "one far", "clustered"]
)
def test_the_nearest_are_among_the_candidates(kind, wanted, n):
    rng = np.random.RandomState(0)
    products = rng.standard_normal((6, n)).astype(np.float32)
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
    held, names, fill = absorbed(products, wanted)
    for row, values, which, count in zip(products, held, names, fill, strict=True):
        assert min(wanted, n) <= count <= 2 * wanted + 2 * COMPARED
        kept = which[:count]
        np.testing.assert_array_equal(row[kept], values[:count])
        assert len(set(kept.tolist())) == count
        nearest = np.sort(row)[:wanted]
        np.testing.assert_array_equal(np.sort(values[:count])[: len(nearest)], nearest)


@pytest.mark.parametrize(("n", "k", "spare"), [(900, 20, 8), (2500, 1, 0), (30, 30, 5)])
def test_distances_to_the_nearest_of_all(n, k, spare, team):
    rng = np.random.RandomState(0)
    points = rng.standard_normal((n, 6)).astype(np.float32)
    rows = rng.standard_normal((150, 6)).astype(np.float32)
    found = distances_to_nearest(rows, points, k, spare, team)
    expected = np.sort(cdist(rows, points, "sqeuclidean"), axis=1)[:, k - 1]
    np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.parametrize("n_threads", [1, 2])
def test_the_nearest_of_equal_rows_are_at_no_distance(n_threads):
    rng = np.random.RandomState(0)
    points = np.repeat(rng.standard_normal((400, 5)), 3, axis=0).astype(np.float32)
    with Team(n_threads) as team:
        third, fourth = (distances_to_nearest(points[:70], points, k, 9, team) for k in (3, 4))
    np.testing.assert_array_equal(third, 0)
    assert (fourth > 0).all()


@kernel
def _cut(values, names, count, wanted):
    return _shrink(values, names, U(count), U(wanted))


@pytest.mark.parametrize("wanted", [1, 7, 90])
@pytest.mark.parametrize("beyond", [0, 1, SPARE, SPARE + 1, 100])
@pytest.mark.parametrize("kind", ["any", "equal", "half ties", "huge"])
def test_candidates_are_cut_to_little_more_than_those_wanted(kind, beyond, wanted):
    count = wanted + max(beyond, wanted)
    values = np.random.RandomState(1).standard_normal(count + 5).astype(np.float32)
    if kind == "equal":
        values[:] = -3
    elif kind == "half ties":
        values[::2] = np.median(values)
    elif kind == "huge":
        values *= np.float32(1e30)
    names = np.arange(100, 100 + len(values), dtype=np.uint32)
    before = values.copy()
    kept, bar = _cut(values, names, count, wanted)
    assert wanted <= kept <= wanted + SPARE
    np.testing.assert_array_equal(values[:kept], before[names[:kept] - 100])
    assert len(set(names[:kept].tolist())) == kept
    left_out = np.delete(before[:count], names[:kept].astype(int) - 100)
    assert (left_out >= bar).all()
    assert bar >= np.sort(before[:count])[wanted - 1]


def test_as_many_points_are_looked_at_as_help(monkeypatch, team):
    """Scripted recalls, and how many points are then looked at."""
    X = np.random.RandomState(0).standard_normal((20_000, 3)).astype(np.float32)
    for recalls, expected in [
        ((0.968, 0.9705, 0.971), (1, 0.9705)),
        ((0.98, 0.9815), (0, 0.98)),
        ((0.995,), (0, 0.995)),
        ((0.5, 0.9, 0.98, 0.993), (3, 0.993)),
        ((0.3, 0.301), (0, 0.3)),
    ]:
        hunt = search._Search(X, X, 10, team)
        points, rows = hunt._arrange(3)
        script = iter(recalls)
        monkeypatch.setattr(search, "scan", lambda *_: (None, np.zeros((20_000, 10), np.float32)))
        monkeypatch.setattr(search, "distances_to_nearest", lambda *_: np.ones(512, np.float32))
        monkeypatch.setattr(search, "share_found", lambda *_, script=script: next(script))
        seen, recall = hunt._learn(points, rows, 4)
        assert (search._attempts(20_000, 10).index(seen), recall) == expected
