"""The steps of our engine: each point's move, spacings of the grid, and what is compiled."""

import subprocess
import sys

import numpy as np
import pytest
import scipy.sparse as sp
from native_truth import (
    corners_of,
    laid_out,
    make_call,
    on_grid,
    relative,
    some_map,
    true_repulsion,
)
from sklearn.neighbors import kneighbors_graph

from tsne_backends.native.affinities import make_affinities
from tsne_backends.native.attraction import PULLED_POINTS, REPORTS, move, pull, sum_up
from tsne_backends.native.engine import GO_ON, NEXT_STAGE, Engine
from tsne_backends.native.jit import as_points
from tsne_backends.native.repulsion import GridRepulsion, tile_size
from tsne_backends.native.schedule import (
    FAST_SPACING,
    FINE,
    FINE_ITERATIONS,
    PLAIN_SPACING,
    Stage,
)
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.threads import Team

# One step.

N = 2500
RATE, MOMENTUM, EXAGGERATION = N / 12 / 4, 0.8, 12.0


def some_affinities(Y):
    """Symmetric affinities, of unequal weight, of points that are more or less near."""
    rng = np.random.RandomState(1)
    P = kneighbors_graph(Y + rng.standard_normal(Y.shape), 20)
    P.data *= rng.random_sample(len(P.data)) ** 2
    P = sp.csr_matrix(P + P.T)
    return P / P.sum()


def true_gradient(P, Y, one_axis):
    """4 Σ (exaggeration p - q) k (y_i - y_j), in double precision."""
    P, Y = sp.coo_matrix(P), Y.astype(np.float64)
    apart = Y[P.row] - Y[P.col]
    weights = P.data / (1 + (apart**2).sum(axis=1))
    pull = [np.bincount(P.row, weights * apart[:, axis], minlength=len(Y)) for axis in (0, 1)]
    push, Z = true_repulsion(Y)
    gradient = 4 * (EXAGGERATION * np.stack(pull, axis=1) - push / Z)
    if one_axis:
        gradient[:, 1] = 0
    return gradient


def true_step(Y, gradient, update, gains):
    """scikit-learn's step of gradient descent, and openTSNE's limit to it."""
    against = update * gradient < 0
    gains = np.maximum(np.where(against, gains + 0.2, gains * 0.8), 0.01)
    gradient = gains * gradient
    update = MOMENTUM * update - RATE * gradient
    length = np.linalg.norm(update, axis=1, keepdims=True)
    update = update * np.minimum(1, 5 / np.maximum(length, 1e-300))
    return Y + update, update, gains, gradient


@pytest.fixture(scope="module", params=[False, True], ids=["two axes", "one axis"])
def step(request, team):
    """A step by our kernel, and the true one, each as positions, updates, gains and reports."""
    one_axis = request.param
    Y = some_map(N, 40)
    rng = np.random.RandomState(2)
    if one_axis:
        Y[:, 1] = 0
    P = some_affinities(Y)
    gradient = true_gradient(P, Y, one_axis)
    update = (RATE * gradient.std() * rng.standard_normal((N, 2))).astype(np.float32)
    update[::50] += np.float32(10)  # too long a step, and to be cut
    gains = (3 * rng.random_sample((N, 2))).astype(np.float32)
    gains[::7] = 0.011  # at the floor after one more disagreement
    if one_axis:
        update[:, 1] = 0
    true = true_step(
        Y.astype(np.float64), gradient, update.astype(np.float64), gains.astype(np.float64)
    )
    push, Z = true_repulsion(Y)
    if one_axis:
        push[:, 1] = 1  # rounding on a grid leaves something
    rows = laid_out(P, 20)
    pulls, moved, tile = np.empty_like(Y), Y.copy(), tile_size(N)
    reports = np.empty((-(-N // tile), REPORTS))
    sparse = rows.starts, rows.words, rows.steps, rows.bits
    make_call(team, pull, -(-N // PULLED_POINTS), as_points(Y), *sparse, pulls)
    forces = pulls, push.astype(np.float32), np.array([Z])
    rates = np.array([EXAGGERATION, RATE, MOMENTUM], dtype=np.float32), one_axis
    make_call(team, move, len(reports), tile, moved, *forces, *rates, update, gains, reports)
    return (moved, update, gains, reports), true, tile


def test_points_move_as_in_double_precision(step):
    (moved, update, _, _), (true_moved, true_update, _, _), _ = step
    assert relative(moved, true_moved) < 1e-6
    assert relative(update, true_update) < 1e-4
    np.testing.assert_allclose(moved, true_moved, rtol=1e-4, atol=1e-4)
    np.testing.assert_allclose(update, true_update, rtol=1e-3, atol=1e-5)


def test_no_step_is_longer_than_five(step):
    (_, update, _, _), (_, true_update, _, _), _ = step
    lengths, true = (np.linalg.norm(u.astype(np.float64), axis=1) for u in (update, true_update))
    assert 0 < (true > 4.999).sum() < N / 10
    np.testing.assert_array_equal(lengths > 4.999, true > 4.999)
    assert lengths.max() < 5.0001


def test_gains_grow_by_a_fifth_or_fall_by_one_to_a_floor(step):
    (_, _, gains, _), (_, _, true_gains, true_gradient), _ = step
    clear = np.abs(true_gradient) > 1e-4 * np.abs(true_gradient).max()
    assert clear.mean() > 0.4
    np.testing.assert_allclose(gains[clear], true_gains[clear], rtol=1e-5)
    assert (true_gains == 0.01).any()
    assert np.isclose(true_gains, 0.211).any()


def test_tiles_report_their_corners_and_the_norm_of_gains_and_gradient(step, team):
    (_, _, _, reports), (true_moved, _, _, true_gradient), tile = step
    assert len(reports) > 2
    for report, start in zip(reports, range(0, N, tile), strict=True):
        rows = slice(start, start + tile)
        np.testing.assert_allclose(report[:2], true_moved[rows].min(axis=0), rtol=1e-4, atol=1e-4)
        np.testing.assert_allclose(report[2:4], true_moved[rows].max(axis=0), rtol=1e-4, atol=1e-4)
        assert report[4] == pytest.approx((true_gradient[rows] ** 2).sum(), rel=1e-4)
    whole = np.empty(REPORTS)
    make_call(team, sum_up, 1, reports, whole)
    np.testing.assert_array_equal(whole[:2], reports[:, :2].min(axis=0))
    np.testing.assert_array_equal(whole[2:4], reports[:, 2:4].max(axis=0))
    assert whole[4] == pytest.approx(reports[:, 4].sum())


def test_points_on_one_axis_stay_on_it(step):
    (moved, update, _, _), (true_moved, true_update, _, _), _ = step
    np.testing.assert_array_equal(moved[:, 1] == 0, true_moved[:, 1] == 0)
    np.testing.assert_array_equal(update[:, 1] == 0, true_update[:, 1] == 0)


# Spacings of the grid.


@pytest.mark.parametrize(
    ("h", "force_error", "Z_error"),
    [
        (FINE, 0.006, 6e-6),
        (PLAIN_SPACING, 0.011, 1e-5),
        (FAST_SPACING, 0.026, 4e-5),
        (2 / 3, 0.062, 1e-4),
    ],
)
def test_the_grid_errs_little_at_every_spacing_in_use(h, force_error, Z_error, team):
    """Measured: 0.53, 1.0, 2.4 and 5.8 % of the forces; of Z, 3e-7, 5e-6, 2e-5 and 8e-6."""
    Y = some_map(2000, 40)
    forces, Z = true_repulsion(Y)
    ours = np.empty_like(Y)
    grid = GridRepulsion(len(Y))
    our_Z = on_grid(grid, Y, *corners_of(Y), h, ours, team)
    assert grid.grid.h == h
    assert relative(ours, forces) < force_error
    assert abs(our_Z / Z - 1) < Z_error


def test_the_last_iterations_are_fine_also_where_a_stage_ends_early(monkeypatch):
    X = np.random.RandomState(0).standard_normal((200, 5)).astype(np.float32)
    stages = [Stage("a", 100, 12.0, 50.0, 0.5), Stage("b", 100, 1.0, 50.0, 0.5)]
    seen, iterate, answers = [], Engine._iterate, iter([NEXT_STAGE])

    def watched(engine, stage, h):
        seen.append((stage.name, h))
        iterate(engine, stage, h)

    monkeypatch.setattr(Engine, "_iterate", watched)
    with Team(1) as team:
        found = find_neighbors(X, 30, team)
        affinities = make_affinities(found.indices, found.squared, 10.0, team)
        engine = Engine(affinities, 1e-4 * X[found.places][:, :2], team)
        outcome = engine.run(stages, lambda _: None, lambda _: next(answers, GO_ON))
    assert outcome.n_iter == 150
    assert [name for name, _ in seen] == 50 * ["a"] + 100 * ["b"]
    coarse = 150 - FINE_ITERATIONS
    assert [h for _, h in seen] == coarse * [PLAIN_SPACING] + FINE_ITERATIONS * [FINE]


# Compilation.

COMPILED_LATER = """
import importlib, pkgutil
import numpy as np
from tsne_backends import ServerlessTSNE, native
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.threads import Team
from tsne_backends.native.warm import is_compiled, warm_up, warm_up_many, warm_up_placing

def compiled():
    found = set()
    for one in pkgutil.iter_modules(native.__path__, native.__name__ + "."):
        for name, value in vars(importlib.import_module(one.name)).items():
            for types in getattr(value, "signatures", ()):
                found.add((value.py_func.__module__, value.py_func.__name__, str(types)))
    return found

warm_up()
assert is_compiled()
warm_up_many()
warm_up_placing()
before = compiled()
groups = 8 * np.eye(5)[np.arange(1200) % 5]
X = (groups + np.random.RandomState(0).standard_normal((1200, 5))).astype(DTYPE)
fitted = ServerlessTSNE(COMPONENTS, backend="native", max_iter=250, random_state=0).fit(X)
assert fitted.n_iter_ == 250
for n_new in (20, 400):
    fitted.transform(X[:n_new] + DTYPE(0.01))
with Team(2) as team:
    assert "recall" in find_neighbors(np.tile(X, (8, 1)), 10, team, exact=False).words
assert ("tsne_backends.native.placing", "_settle") in {one[:2] for one in before}
for one in sorted(compiled() - before):
    print(*one)
"""


@pytest.mark.parametrize(("dtype", "n_components"), [("float32", 2), ("float64", 1)])
def test_warming_up_compiles_all_that_large_data_and_new_rows_use(dtype, n_components):
    code = COMPILED_LATER.replace("DTYPE", f"np.{dtype}").replace("COMPONENTS", str(n_components))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == ""
