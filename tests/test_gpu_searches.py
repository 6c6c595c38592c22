"""Neighbours graphs on the GPU, on a stand-in of RAPIDS: the searches, their recall and order."""

import re
from dataclasses import replace

import numpy as np
import pytest
from fake_rapids import Resources
from gpu_runs import blobs, fit, sized

from tsne_backends.registry import load_backend
from tsne_backends.run import Run

pytestmark = pytest.mark.usefixtures("gpu")


def approximately(n=5_000, **changes):
    from tsne_backends.gpu import neighbors

    X = blobs(n, 6)
    problem = replace(sized(n, 6, perplexity=5.0), **changes)
    graph = neighbors.gpu_graph(problem, X, 15, "approximate")
    assert not Resources.pending, "cuVS was not waited for"
    return graph.search


def test_large_data_are_searched_approximately():
    assert "cells" in approximately()


@pytest.mark.parametrize("n", [2_500, 5_000])  # with fewer cells than are searched at last, too
def test_a_search_that_falls_short_is_replaced(gpu, caplog, n):
    gpu["near"] = lambda found: np.roll(found, 7, axis=0)
    assert "brute force" in approximately(n)
    assert re.search(r"found \d+ %", caplog.text)


def test_unclustered_data_by_cells_keep_their_recall():
    from tsne_backends.gpu.neighbors import gpu_graph

    X = np.random.RandomState(0).standard_normal((3_000, 12)).astype(np.float32)
    search = gpu_graph(sized(3_000, 12, perplexity=5.0), X, 15, "approximate").search
    assert "of 54 cells" in search
    assert float(search.partition("recall ")[2][:5]) >= 0.95


@pytest.mark.parametrize("search", ["exact", "approximate"])
def test_narrow_clusters_far_apart_keep_their_neighbours(search):
    """Products of matrices in single precision cannot tell such rows apart; cells can."""
    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.neighbors import gpu_graph
    from tsne_backends.neighbors import neighbors_graph

    rng = np.random.RandomState(0)
    centres = 1e4 * rng.standard_normal((4, 10))
    X = (centres[np.arange(2_000) % 4] + rng.standard_normal((2_000, 10))).astype(np.float32)
    problem = sized(2_000, 10, perplexity=5.0)
    graph = gpu_graph(problem, X, 15, search)
    truth = neighbors_graph(problem, X.astype(np.float64), "exact").indices
    shares = [
        len(np.intersect1d(a, b)) / 15 for a, b in zip(on_host(graph.indices), truth, strict=True)
    ]
    assert np.mean(shares) > 0.99
    assert "cell" in graph.search


def test_equal_distances_come_in_order_of_their_rows():
    """Whatever order a search leaves them in: a seed would not repeat otherwise."""
    import cupy

    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.searches import _settled

    found = np.array([[3, 0, 2, 1], [2, 3, 0, 1]])
    distances = np.array([[1.0, 0.0, 1.0, 1.0], [2.0, 1.0, 1.0, -1e-9]], np.float32)
    indices, kept = _settled(cupy.asarray(found), cupy.asarray(distances))
    assert on_host(indices).tolist() == [[1, 2, 3], [0, 3, 2]]
    assert on_host(kept).tolist() == [[1, 1, 1], [1, 1, 2]]
    absent, _ = _settled(cupy.asarray(found + 5), cupy.asarray(distances))
    assert on_host(absent)[0].tolist() == [5, 6, 7]


@pytest.mark.parametrize("is_sorted", [True, False])
@pytest.mark.parametrize("has_self", [True, False])
def test_neighbours_are_settled_whatever_order_they_are_found_in(is_sorted, has_self):
    import cupy

    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.searches import _settled

    rng, n, width = np.random.RandomState(0), 50, 31
    others = [np.delete(np.arange(n), row) for row in range(n)]
    found = np.stack([rng.choice(one, width, replace=False) for one in others])
    if has_self:
        found[:, rng.randint(width)] = np.arange(n)
    distances = rng.randint(8, size=(n, width)).astype(np.float32)  # many are equal
    if is_sorted:
        distances.sort(axis=1)
    indices, kept = _settled(cupy.asarray(found), cupy.asarray(distances))
    for row in range(n):
        order = np.lexsort((found[row], distances[row]))
        expected = order[found[row][order] != row][: width - 1]
        assert on_host(indices)[row].tolist() == found[row][expected].tolist()
        assert on_host(kept)[row].tolist() == distances[row][expected].tolist()


@pytest.mark.parametrize("wrong", [-1, 40, 2**32 - 1])
def test_what_is_no_row_is_infinitely_far(wrong):
    """cuVS marks places that it could not fill by such numbers."""
    import cupy

    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.searches import _without_self

    found = cupy.asarray(np.array([[0, 1, 2], [1, 0, wrong]]))
    points = cupy.asarray(np.arange(80, dtype=np.float32).reshape(40, 2))[:2]
    _, squared = _without_self(points, found)
    assert on_host(squared)[1].tolist() == [8.0, np.inf]


@pytest.mark.parametrize("d", [1, 64, 65, 3_000])
def test_distances_of_what_was_found_keep_their_digits(d):
    import cupy

    from tsne_backends.gpu.arrays import on_host
    from tsne_backends.gpu.searches import _without_self

    rng, n = np.random.RandomState(0), 40
    X = (1 + 1e-2 * rng.standard_normal((n, d))).astype(np.float32)
    found = np.stack([rng.permutation(n)[:12] for _ in range(n)])
    indices, squared = map(on_host, _without_self(cupy.asarray(X), cupy.asarray(found)))
    difference = X[indices].astype(float) - X.astype(float)[:, None]
    np.testing.assert_allclose(squared, (difference**2).sum(axis=2), rtol=5e-6)
    assert (np.diff(squared, axis=1) >= 0).all()


def test_the_graph_is_found_once_for_every_smaller_perplexity(gpu, tmp_path):
    from backends_remote.kept import GraphMemory

    backend, X, cache = load_backend("cuml"), blobs(), GraphMemory()
    first = backend.embed(sized(300, 8, max_iter=250), X, Run(cache=cache))
    gpu["memory"] = True  # a second search would fail
    second = backend.embed(sized(300, 8, max_iter=250, perplexity=10.0), X, Run(cache=cache))
    assert second.details["n_neighbors"] == 30
    assert first.details["neighbours"] == second.details["neighbours"]
    gpu.clear()
    fit(memory=tmp_path)
    gpu["memory"] = True
    fit(memory=tmp_path, learning_rate=100.0)
    fit(memory=tmp_path, perplexity=5.0)
