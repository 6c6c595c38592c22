"""The kernels of the GPU, compiled for the processor, against float64 sums over all pairs."""

import ctypes
import importlib.util
import pathlib
import sys
from itertools import pairwise

import numpy as np
import pytest
from scipy.special import xlogy

from tsne_backends.gpu import descent as descent_module
from tsne_backends.gpu import grid, kernels, repulsion
from tsne_backends.gpu.affinities import BUNDLE, PIECE, attraction, joint_affinities
from tsne_backends.gpu.arrays import on_host
from tsne_backends.gpu.descent import Descent, last_iterations
from tsne_backends.problem import Problem
from tsne_backends.quality import exact_graph
from tsne_backends.run import Run

N, K = 500, 30


@pytest.fixture
def cupy(gpu):
    return sys.modules["cupy"]


@pytest.fixture(scope="module")
def graph():
    X = np.random.RandomState(0).standard_normal((N, 5)).astype(np.float32)
    X[:20] = X[20]  # duplicates
    return exact_graph(X, K)


def affinities_of(cupy, graph, perplexity=10.0):
    squared = graph.unit_distances() ** 2
    return joint_affinities(
        cupy.asarray(graph.indices.astype(np.int32)),
        cupy.asarray(squared.astype(np.float32)),
        perplexity,
    )


def incoming(affinities):
    """Owner, column and value of every incoming edge, in the order of the pieces."""
    a = affinities
    starts = np.repeat(on_host(a.bundles), BUNDLE)[: len(a.pieces)]
    starts = starts + np.arange(len(a.pieces)) % BUNDLE
    edges = []
    for t in np.argsort(on_host(a.pieces)):
        at = starts[t] + BUNDLE * np.arange(on_host(a.lengths)[t])
        owner = int(on_host(a.owners)[t])
        edges += [
            (owner, *edge)
            for edge in zip(on_host(a.columns)[at], on_host(a.values)[at], strict=True)
        ]
    owners, columns, values = zip(*edges, strict=True) if edges else ((), (), ())
    return np.array(owners, int), np.array(columns, int), np.array(values)


def dense(affinities):
    """The matrix that the device's layout stands for."""
    P = np.zeros((affinities.n_samples,) * 2)
    rows = np.arange(affinities.n_samples)
    for column, value in zip(on_host(affinities.neighbors), on_host(affinities.joint), strict=True):
        P[rows, column] += value
    owners, columns, values = incoming(affinities)
    np.add.at(P, (owners, columns), values)
    return P


def positions_of(cupy, spread=40.0, n=N, seed=1):
    return cupy.asarray(
        (spread * np.random.RandomState(seed).standard_normal((n, 2))).astype(np.float32)
    )


def all_pairs(Y):
    difference = Y[:, None] - Y[None]
    q = 1 / (1 + (difference**2).sum(axis=2))
    return difference, q


@pytest.mark.parametrize("perplexity", [2.0, 10.0, 25.0])
def test_affinities_have_the_perplexity_asked_for(cupy, graph, perplexity):
    squared = graph.unit_distances().astype(np.float32) ** 2
    conditional = cupy.asarray(np.ascontiguousarray(squared.T))
    kernels.launch("conditional", N, conditional, np.int32(N), np.int32(K), np.float32(perplexity))
    p = on_host(conditional).astype(float)
    np.testing.assert_allclose(p.sum(axis=0), 1, rtol=1e-5)
    reached = np.exp(-xlogy(p, p).sum(axis=0))
    free = np.ones(N, bool)
    free[:21] = False  # 20 equal neighbours: no kernel has a lower perplexity
    np.testing.assert_allclose(reached[free], perplexity, rtol=1e-3)
    if perplexity == 25.0:
        np.testing.assert_allclose(reached, perplexity, rtol=1e-3)
    else:
        assert (reached[:21] >= 19.9).all()


def test_affinities_are_those_of_opentsne(cupy):
    from openTSNE.affinity import joint_probabilities_nn

    X = np.random.RandomState(3).standard_normal((N, 5)).astype(np.float32)
    graph = exact_graph(X, K)
    ours = dense(affinities_of(cupy, graph))
    theirs = joint_probabilities_nn(graph.indices, graph.unit_distances(), [10.0])
    assert (ours == ours.T).all()
    assert ours.sum() == pytest.approx(1, rel=1e-5)
    np.testing.assert_allclose(ours, theirs.toarray(), atol=2e-3 * ours.max())


def test_incoming_edges_come_in_one_order_whatever_the_threads_do(cupy, graph):
    affinities = affinities_of(cupy, graph)
    expected = {
        row: [
            other
            for column in range(K)
            for other in range(21, N)  # those before have no affinity to any but one another
            if graph.indices[other, column] == row and other not in graph.indices[row]
        ]
        for row in (33, 250, 400)
    }
    owners, columns, _ = incoming(affinities)
    for row, others in expected.items():
        assert columns[owners == row].tolist() == others


def test_a_row_that_all_others_have_as_neighbour(cupy):
    """Hubs have more incoming edges than one thread should sum: they are cut into pieces."""
    rng = np.random.RandomState(0)
    indices = np.stack([rng.choice(np.arange(1, N), 4, replace=False) for _ in range(N)])
    indices[:, 0] = 0
    indices[0] = [1, 2, 3, 4]
    for row in range(N):  # no row is its own neighbour, or has one twice
        others = [i for i in range(5, N) if i != row and i not in indices[row]]
        own = indices[row] == row
        indices[row, own] = others[: own.sum()]
    squared = np.sort(rng.uniform(size=(N, 4)), axis=1).astype(np.float32)
    affinities = joint_affinities(
        cupy.asarray(indices.astype(np.int32)), cupy.asarray(squared), 2.0
    )
    lengths = on_host(affinities.lengths)
    assert lengths[0] == PIECE
    assert (np.diff(lengths) <= 0).all()
    assert len(affinities.columns) == BUNDLE * lengths[::BUNDLE].sum()
    assert np.diff(on_host(affinities.starts))[0] == -(-(N - 5) // PIECE)
    positions = positions_of(cupy)
    forces = cupy.empty_like(positions)
    attraction(affinities, positions, forces)
    P, (difference, q) = dense(affinities), all_pairs(on_host(positions).astype(float))
    np.testing.assert_allclose(P, P.T)
    np.testing.assert_allclose(
        on_host(forces), ((P * q)[:, :, None] * difference).sum(axis=1), rtol=1e-4, atol=1e-8
    )


def test_attraction_and_divergence(cupy, graph):
    affinities = affinities_of(cupy, graph)
    positions = positions_of(cupy)
    forces, divergence = cupy.empty_like(positions), cupy.asarray(np.empty(N, np.float32))
    attraction(affinities, positions, forces, divergence=divergence)
    P, (difference, q) = dense(affinities), all_pairs(on_host(positions).astype(float))
    np.testing.assert_allclose(
        on_host(forces), ((P * q)[:, :, None] * difference).sum(axis=1), rtol=1e-4, atol=1e-9
    )
    np.testing.assert_allclose(
        on_host(divergence), (xlogy(P, P) - P * np.log(q)).sum(axis=1), rtol=1e-4, atol=1e-9
    )


@pytest.mark.parametrize(
    ("spread", "error"), [(1e-4, 0.005), (0.01, 0.005), (1.0, 0.001), (10.0, 0.007), (30.0, 0.02)]
)
def test_repulsion_by_grid(cupy, spread, error):
    """Relative errors of forces (root mean square) and normalisation."""
    n = 3_000
    positions = positions_of(cupy, spread, n)
    field, normalisation = repulsion.Repulsion(n, exact=False).field(positions)
    difference, q = all_pairs(on_host(positions).astype(float))
    forces = ((q * q)[:, :, None] * difference).sum(axis=1)
    found = -0.5 * on_host(field)[1:].T
    assert float(normalisation) == pytest.approx(q.sum() - n, rel=5e-5)
    assert np.sqrt(((found - forces) ** 2).sum() / (forces**2).sum()) < error


def test_repulsion_pair_by_pair(cupy):
    positions = positions_of(cupy, 10.0)
    field, normalisation = repulsion.Repulsion(N).field(positions)
    difference, q = all_pairs(on_host(positions).astype(float))
    forces = ((q * q)[:, :, None] * difference).sum(axis=1)
    np.testing.assert_allclose(-0.5 * on_host(field)[1:].T, forces, rtol=1e-3, atol=1e-5)
    assert float(normalisation) == pytest.approx(q.sum() - N, rel=1e-5)


def test_the_grid_follows_the_map_and_stays_within_bounds(cupy):
    small, wide = (grid.box_around(positions_of(cupy, spread), 0.5) for spread in (0.1, 100.0))
    assert (small.step, wide.step) == (0.1, 0.5)
    assert max(small.nodes) < 40 < 500 < max(wide.nodes)
    lost = grid.box_around(positions_of(cupy, 1e6), 0.5)
    assert max(lost.nodes) <= grid.MAX_NODES
    assert lost.step > 100
    flat = positions_of(cupy, 10.0)
    flat[:, 1] = 0.0
    assert grid.box_around(flat, 0.5).nodes[1] < 20


def test_kernels_and_python_agree_on_the_width_of_a_bundle():
    assert f"#define BUNDLE {BUNDLE}\n" in kernels.source()


def test_reports_of_maps_that_diverged_are_errors(cupy, graph):
    from tsne_backends.errors import EmbeddingError

    problem = Problem(N, 5, perplexity=10.0, learning_rate=1e30, max_iter=300)
    descent = Descent(
        problem, affinities_of(cupy, graph), repulsion.Repulsion(N), positions_of(cupy), Run()
    )
    with pytest.raises(EmbeddingError, match="diverged on the GPU"):
        descent.run_phases(last_iterations(problem.phases, 50))


def test_sizes_of_grids_are_few_and_transform_fast():
    sizes = grid._sizes()
    assert len(sizes) < 55
    assert (sizes[0], sizes[-1]) == (grid.MARGIN, grid.MAX_NODES)
    assert all(small < large for small, large in pairwise(sizes))
    for size in sizes:
        assert 2**30 * 3**20 * 5**15 % size == 0


def test_room_is_for_twice_what_the_map_grew_by(cupy):
    forces = repulsion.Repulsion(N, exact=False)
    start = on_host(positions_of(cupy))
    width = float(np.ptp(start, axis=0).max())
    for factor, room in [(1.0, 0.05), (1.1, 0.2), (1.1, 0.05), (5.0, 0.5)]:
        box = forces.frame(cupy.asarray(np.float32(factor) * start))
        least = (factor * width * (1 + room)) / box.step + grid.MARGIN
        assert least <= max(box.nodes) <= 1.3 * least


@pytest.mark.parametrize("is_far", [True, False])
def test_a_row_that_leaves_the_grid_is_noticed_once(cupy, is_far):
    forces = repulsion.Repulsion(N, exact=False)
    positions = positions_of(cupy)
    box = forces.frame(positions)
    forces.field(positions, box)
    assert not forces.was_left()
    positions[7] = np.float32(1e30 if is_far else np.nan)
    forces.field(positions, box)
    assert forces.was_left()
    assert not forces.was_left()


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("stop_at", [50, 1_000])
def test_iterations_are_done_over_where_rows_left_the_grid(
    cupy, graph, monkeypatch, exact, stop_at
):
    """Too small grids for ten iterations end where a grid of its own for each does, to the bit."""
    problem = Problem(N, 5, perplexity=10.0, learning_rate=300.0, max_iter=300)
    asked = []
    was_left = repulsion.Repulsion.was_left
    monkeypatch.setattr(
        repulsion.Repulsion, "was_left", lambda self: asked.append(was_left(self)) or asked[-1]
    )

    class Watched(Run):
        """Keeps what is reported, and stops at the iteration it is told."""

        def report(self, iteration, kl, embedding):
            told.append((iteration, kl, embedding.copy()))
            return iteration >= stop_at

    told = []

    def run(stretch, room):
        monkeypatch.setattr(descent_module, "STRETCH", stretch)
        monkeypatch.setattr(repulsion, "LEAST_ROOM", room)
        monkeypatch.setattr(repulsion, "MOST_ROOM", room)
        asked.clear()
        told.clear()
        forces = repulsion.Repulsion(N, exact=exact)
        descent = Descent(
            problem, affinities_of(cupy, graph), forces, positions_of(cupy, 20.0), Watched()
        )
        descent.run_phases(last_iterations(problem.phases, 105))
        assert descent.done == min(105, stop_at)
        assert descent.stopped == (stop_at == 50)
        return on_host(descent.positions), list(told)

    expected, reported = run(1, 0.0)
    assert asked == [False] * min(105, stop_at)
    found, reported_too = run(10, -0.2)
    assert asked == [not exact] * (11 if stop_at > 50 else 5)
    np.testing.assert_array_equal(found, expected)
    assert [one[0] for one in reported] == [50, 105][: len(reported_too)]
    for (_, kl, positions), (_, kl_too, positions_too) in zip(reported, reported_too, strict=True):
        assert kl == kl_too
        np.testing.assert_array_equal(positions, positions_too)


def test_the_gradient_is_that_of_the_divergence(cupy, graph):
    """One step from rest moves against the finite differences of the KL divergence."""
    affinities = affinities_of(cupy, graph)
    problem = Problem(N, 5, perplexity=10.0, learning_rate=1.0, min_grad_norm=0.0)
    start = positions_of(cupy, 5.0)
    descent = Descent(
        problem, affinities, repulsion.Repulsion(N), cupy.asarray(on_host(start)), Run()
    )
    (one,) = last_iterations(problem.phases, 1)
    descent.run_phases([one])
    # The first gain is 0.8, and the rate is 4 in units without the factor 4.
    gradient = (on_host(start) - on_host(descent.positions)) / (0.8 * 4 * 1.0)
    P = dense(affinities)

    def kl(Y):
        _, q = all_pairs(Y)
        np.fill_diagonal(q, 0)
        return (xlogy(P, P) - xlogy(P, np.where(P > 0, q / q.sum(), 1))).sum()

    Y = on_host(start).astype(float)
    for row in (0, 33, 400):
        for axis in (0, 1):
            up, down = Y.copy(), Y.copy()
            up[row, axis] += 1e-4
            down[row, axis] -= 1e-4
            slope = (kl(up) - kl(down)) / 2e-4
            assert gradient[row, axis] == pytest.approx(slope / 4, rel=5e-3, abs=1e-7)


@pytest.mark.skipif(
    importlib.util.find_spec("nvidia") is None, reason="needs NVIDIA's compiler, nvidia-cuda-nvrtc"
)
@pytest.mark.parametrize("architecture", [75, 80, 86, 89, 90, 100, 120])
def test_nvidias_compiler_takes_the_kernels(architecture):
    """From Turing to Blackwell; compiling needs no GPU."""
    folders = importlib.util.find_spec("nvidia").submodule_search_locations
    found = [path for folder in folders for path in pathlib.Path(folder).rglob("libnvrtc.so.1*")]
    if not found:  # other packages of NVIDIA's share the folder; the gate's has the compiler
        pytest.skip("needs NVIDIA's compiler, nvidia-cuda-nvrtc")
    nvrtc = ctypes.CDLL(str(found[0]))
    program, options = (
        ctypes.c_void_p(),
        [b"--std=c++17", b"--gpu-architecture=sm_%d" % architecture],
    )
    text = kernels.source().encode()
    assert nvrtc.nvrtcCreateProgram(ctypes.byref(program), text, b"kernels", 0, None, None) == 0
    code = nvrtc.nvrtcCompileProgram(program, 2, (ctypes.c_char_p * 2)(*options))
    length = ctypes.c_size_t()
    nvrtc.nvrtcGetProgramLogSize(program, ctypes.byref(length))
    log = ctypes.create_string_buffer(length.value)
    nvrtc.nvrtcGetProgramLog(program, log)
    nvrtc.nvrtcDestroyProgram(ctypes.byref(program))
    assert code == 0, log.value.decode()
    assert "warning" not in log.value.decode()


def test_positions_that_are_not_finite_are_named(cupy):
    from tsne_backends.errors import EmbeddingError

    positions = positions_of(cupy)
    positions[3, 0] = np.float32(np.nan)
    with pytest.raises(EmbeddingError, match="diverged on the GPU"):
        repulsion.Repulsion(N, exact=False).field(positions)


def test_the_end_of_a_schedule():
    phases = Problem(1_000, 5, max_iter=1_000).phases
    assert [p.n_iter for p in last_iterations(phases, 1_000)] == [250, 750]
    assert [p.n_iter for p in last_iterations(phases, 800)] == [50, 750]
    assert [p.name for p in last_iterations(phases, 100)] == ["main"]
    assert last_iterations(phases, 0) == []
