"""The loops in vectors against plain computations."""

import numpy as np
import pytest
from native_truth import cubic
from numba.core.errors import TypingError

from tsne_backends.native.jit import F, U, as_points, kernel
from tsne_backends.native.pairs import OTHERS, PUSHED, repel
from tsne_backends.native.splitting import RADIUS
from tsne_backends.native.vectors import (
    LANES,
    PULLS,
    attract,
    interpolate,
    log_distances,
    sum_rows,
)


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
def _pull(points, x, y, words, bits, first, stop):
    return attract(points, F(x), F(y), words, U(bits), U(first), U(stop))


@kernel
def _logs(points, x, y, words, bits, first, stop):
    return log_distances(points, F(x), F(y), words, U(bits), U(first), U(stop))


def a_row(width, n_entries, bits):
    """A map, words of which some are a row's, their affinities and how far others are off."""
    rng = np.random.RandomState(0)
    Y = (width * rng.standard_normal((200, 2))).astype(np.float32)
    columns = rng.randint(200, size=6 * PULLS).astype(np.uint32)
    values = rng.randint(2**bits, size=6 * PULLS).astype(np.uint32)
    values[::5] = 0
    some = slice(PULLS, PULLS + n_entries)
    apart = Y[7].astype(np.float64) - Y[columns[some]].astype(np.float64)
    return Y, columns << np.uint32(bits) | values, values[some], apart


@pytest.mark.parametrize("bits", [8, 15, 24])
@pytest.mark.parametrize("n_entries", [0, PULLS, 5 * PULLS])
def test_a_row_of_affinities_attracts(n_entries, bits):
    Y, words, values, apart = a_row(3, n_entries, bits)
    found = _pull(as_points(Y), *Y[7], words, bits, PULLS, PULLS + n_entries)
    weights = values / (1 + (apart**2).sum(axis=1))
    np.testing.assert_allclose(found, weights @ apart, rtol=1e-5, atol=1e-6 * 2**bits)


@pytest.mark.parametrize("width", [0, 1e-6, 1e-2, 1, 30, 1e6])
@pytest.mark.parametrize("n_entries", [0, PULLS, 3 * PULLS])
def test_logarithms_of_distances_are_summed(n_entries, width):
    Y, words, values, apart = a_row(width, n_entries, 12)
    found = _logs(as_points(Y), *Y[7], words, 12, PULLS, PULLS + n_entries)
    logs = np.log1p((apart**2).sum(axis=1))
    assert found == pytest.approx(values @ logs, rel=2e-6, abs=float(2e-6 * values.sum()))


@pytest.mark.parametrize("far", [1e20, np.inf, np.nan])
def test_logarithms_of_what_is_no_number_are_none(far):
    Y = np.zeros((2, 2), np.float32)
    Y[1] = far
    words = np.full(PULLS, 1 << 8 | 1, np.uint32)
    assert not np.isfinite(_logs(as_points(Y), 0, 0, words, 8, 0, PULLS))


@kernel
def _push(axes, row, pushes):
    return repel(axes, U(row), pushes)


@pytest.mark.parametrize("row", [0, PUSHED, OTHERS - PUSHED, OTHERS, 3 * OTHERS - PUSHED])
def test_points_and_all_later_ones_push_each_other(row):
    rng = np.random.RandomState(0)
    axes = (3 * rng.standard_normal((2, 3 * OTHERS))).astype(np.float32)
    before = rng.standard_normal(axes.shape).astype(np.float32)
    pushes = before.copy()
    found = _push(axes, row, pushes)
    kernels, expected = 0.0, before.astype(np.float64)
    for i in range(row, row + PUSHED):
        for j in range(i + 1, axes.shape[1]):
            apart = axes[:, i].astype(np.float64) - axes[:, j]
            kernel = 1 / (1 + apart @ apart)
            kernels += kernel
            expected[:, i] += kernel**2 * apart
            expected[:, j] -= kernel**2 * apart
    assert found == pytest.approx(kernels, rel=1e-6)
    np.testing.assert_allclose(pushes, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("which", [0, 2])
def test_pairs_are_not_read_from_arrays_of_another_kind(which):
    good = np.ones((2, 2 * OTHERS), np.float32)
    for wrong in (good.astype(np.float64), good[:, ::2]):
        arguments = [good, 0, good]
        arguments[which] = wrong
        with pytest.raises(TypingError, match="Vectors are of contiguous float32"):
            _push(*arguments)
