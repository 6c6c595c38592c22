"""Grids of growing spacing, and repulsion on them, against plain computations."""

import numpy as np
import pytest
from native_truth import corners_of, cubic, on_grid, relative, true_repulsion
from scipy.signal import convolve2d

from tsne_backends.native.convolution import Summed, Transformed, convolution
from tsne_backends.native.crew import Work
from tsne_backends.native.grid import MAX_NODES, Grid, coarser_shape, make_grid
from tsne_backends.native.repulsion import GridRepulsion
from tsne_backends.native.splitting import CUT, RADIUS, smooth_part, stencil
from tsne_backends.native.threads import Team

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
    ("span", "levels"), [((15, 15), 1), ((40, 30), 2), ((90, 100), 4), ((300, 0), 1), ((250, 8), 3)]
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
    split = convolution(Grid((0.0, 0.0), 0.4, tuple(shapes), 0.4))
    whole = Transformed(shape, 0.4, 0.0)
    # Charges as points have them: a spline's weights, not single nodes.
    rough = (rng.random_sample(shape) < 0.02).astype(np.float32)
    weights = np.array([1, 4, 1]) / 6
    charge = convolve2d(rough, np.outer(weights, weights), "same")
    whole.charge[:] = charge
    inner = tuple(slice(split.margin, split.margin + side) for side in shape)
    split.charge[inner] = charge
    for one in (split, whole):
        team.do(one.work)
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
        self.work = Work((), self.record, ())

    def record(self):
        self.seen = self.charge.copy()


@pytest.mark.parametrize("margin", [0, RADIUS])
@pytest.mark.parametrize("shape", [(20, 34), (34, 16)])
def test_splines_of_twice_the_width_see_the_same_charges(shape, margin, team):
    rng = np.random.RandomState(1)
    coarse_shape = tuple(side + 3 for side in coarser_shape(shape))  # rounded up to what is quick
    coarser = Recorded(coarse_shape, margin)
    nothing = np.zeros((RADIUS + 1, RADIUS + 1), np.float32)
    fine = Summed(shape, nothing, coarser)
    places = 1.5 + rng.random_sample((40, 2)) * (np.array(shape) - 4)
    inner = tuple(slice(RADIUS, RADIUS + side) for side in shape)
    on_fine = [cubic(np.arange(side) - places[:, i, None]) for i, side in enumerate(shape)]
    fine.charge[inner] = on_fine[0].T @ on_fine[1]
    coarser.field[:] = rng.standard_normal(coarser.field.shape)
    team.do(fine.work)
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
    alone = Summed(shape, weights, Recorded(coarser_shape(shape), 0))
    inner = tuple(slice(RADIUS, RADIUS + side) for side in shape)
    alone.charge[inner] = rng.standard_normal(shape)
    team.do(alone.work)
    apart = np.abs(np.arange(-RADIUS, RADIUS + 1))
    expected = convolve2d(alone.charge[inner], weights[apart][:, apart], "same")
    np.testing.assert_allclose(alone.field[inner], expected, atol=2e-4)


@pytest.mark.parametrize("span", [(60, 90), (500, 0)])
def test_repulsion_does_not_depend_on_threads(span):
    Y = (np.random.RandomState(3).random_sample((4000, 2)) * span).astype(np.float32)
    found = []
    for n_threads in (1, 2, 5):
        with Team(n_threads) as team:
            repulsion, out = GridRepulsion(len(Y)), np.empty_like(Y)
            for _ in range(3):
                Z = on_grid(repulsion, Y, *corners_of(Y), 0.4, out, team)
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
    Z = on_grid(GridRepulsion(len(Y)), Y, *corners_of(Y), 1 / 3, out, team)
    forces, true_Z = true_repulsion(Y)
    assert relative(out, forces) < 0.02
    assert pytest.approx(true_Z, rel=2e-3) == Z


def test_far_points_on_split_grids_hardly_push_themselves(team):
    """200 points, 25 apart and at all places within a cell: what is left is a grid's own error."""
    rng = np.random.RandomState(6)
    Y = 25.0 * np.stack(np.meshgrid(np.arange(20), np.arange(10)), axis=-1).reshape(-1, 2)
    Y = (Y + rng.random_sample(Y.shape)).astype(np.float32)
    out = np.empty_like(Y)
    repulsion = GridRepulsion(len(Y))
    Z = on_grid(repulsion, Y, *corners_of(Y), 0.4, out, team)
    forces, true_Z = true_repulsion(Y)
    assert len(repulsion.grid.shapes) > 3
    assert np.abs(out - forces).max() < 2e-3
    assert pytest.approx(true_Z, abs=1e-3 * len(Y)) == Z


def test_a_grid_is_left_and_found_again(team):
    """From one grid to several and back, nothing of the former is left in the sums."""
    rng = np.random.RandomState(7)
    small = rng.standard_normal((800, 2)).astype(np.float32)
    large = (30 * rng.standard_normal((800, 2))).astype(np.float32)
    lasting = GridRepulsion(800)
    for Y in (small, large, large, small):
        given = (Y, *corners_of(Y), 0.4)
        ours, anew = np.empty_like(Y), np.empty_like(Y)
        Z = on_grid(lasting, *given, ours, team)
        assert on_grid(GridRepulsion(800), *given, anew, team) == Z
        np.testing.assert_array_equal(ours, anew)
    assert lasting.grids_made == 3


@pytest.mark.parametrize("width", [1e9, 1e30])
def test_an_endless_map_of_one_dimension_gets_a_grid_at_once(width):
    high = np.array([width, 0.0])
    grid = make_grid(np.zeros(2), high, 0.4)
    assert grid.shape[0] * grid.shape[1] < 1.1 * MAX_NODES
    assert grid.fits(np.zeros(2), high, 0.4)
