"""Neighbour searches against brute force in float64."""

import logging
from dataclasses import replace

import numpy as np
import pytest
import scipy.sparse as sp
from sklearn.metrics import pairwise_distances

from tsne_backends import neighbors, searches
from tsne_backends.neighbors import choose_search, neighbors_graph, neighbors_of_new
from tsne_backends.problem import Problem

rng = np.random.RandomState(0)
CLUSTERS = (6 * rng.standard_normal((10, 6))[np.arange(1200) % 10]).astype(np.float32)
CLUSTERS += rng.standard_normal(CLUSTERS.shape).astype(np.float32)


def reference(X, k, metric="euclidean"):
    D = pairwise_distances(np.asarray(X, dtype=np.float64), metric=metric)
    np.fill_diagonal(D, np.inf)
    return np.sort(D, axis=1)[:, :k]


def describe(X, **changes):
    return replace(Problem(*X.shape, perplexity=10, n_threads=2), **changes)


@pytest.mark.parametrize("search", ["tree", "brute", "hnsw"])
@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_every_search_finds_the_neighbours(search, metric, monkeypatch):
    monkeypatch.setattr(neighbors, "choose_search", lambda *_: search)
    graph = neighbors_graph(describe(CLUSTERS, metric=metric), CLUSTERS)
    assert graph.indices.shape == graph.distances.shape == (1200, 30)
    assert (graph.indices != np.arange(1200)[:, None]).all()
    assert (np.diff(graph.distances, axis=1) >= 0).all()
    true = reference(CLUSTERS, 30, metric)
    found = np.isclose(graph.distances, true, rtol=1e-2, atol=1e-6).mean()
    assert found >= (0.95 if search == "hnsw" else 0.999)


@pytest.mark.parametrize("search", ["tree", "brute", "hnsw"])
def test_duplicates_never_list_the_row_itself(search, monkeypatch):
    X = np.repeat(CLUSTERS[:20], 50, axis=0)
    monkeypatch.setattr(neighbors, "choose_search", lambda *_: search)
    graph = neighbors_graph(describe(X), X)
    assert (graph.indices != np.arange(1000)[:, None]).all()
    np.testing.assert_allclose(graph.distances, 0, atol=1e-2)


def test_choice_by_size():
    def choice(n, d, **changes):
        return choose_search(Problem(n, d, **changes))

    assert choice(1_000, 10) == "brute"
    assert choice(50_000, 10) == "tree"
    assert choice(30_000, 50) == "brute"
    assert choice(50_000, 50) == "hnsw"
    assert choice(5_000, 2) == "tree"
    assert choice(1_000_000, 10) == "tree"
    assert choice(1_000_000, 50) == "hnsw"
    assert choice(1_000, 10, metric="manhattan") == "sklearn"
    assert choice(1_000, 10, is_sparse=True) == "sklearn"
    assert choice(1_000, 1_000, metric="precomputed") == "precomputed"
    assert choose_search(Problem(1_000_000, 50), "exact") == "brute"
    assert choose_search(Problem(5_000, 50), "approximate") == "hnsw"
    assert choose_search(Problem(200, 50), "approximate") == "brute"  # too few to sample


def test_low_recall_falls_back_to_exact(monkeypatch, caplog):
    monkeypatch.setattr(searches, "MIN_RECALL", 1.1)
    with caplog.at_level(logging.WARNING):
        graph = neighbors_graph(describe(CLUSTERS), CLUSTERS, "approximate")
    assert "exact" in graph.search
    assert "searching exactly instead" in caplog.text


def test_approximate_search_is_repeatable_with_a_seed():
    problem = describe(CLUSTERS, repeatable=True)
    first, again = (neighbors_graph(problem, CLUSTERS, "approximate") for _ in range(2))
    np.testing.assert_array_equal(first.indices, again.indices)


def test_sparse_graph_with_too_few_neighbours():
    D = sp.random(100, 100, density=0.1, format="csr", random_state=0)
    problem = Problem(100, 100, metric="precomputed", is_sparse=True, perplexity=10)
    with pytest.raises(ValueError, match=r"Row \d+ of the sparse.*lower the perplexity"):
        neighbors_graph(problem, D)


def test_explicit_zeros_of_a_sparse_graph_are_duplicates():
    D = np.ones((5, 5)) * 7
    D[0, 3] = 0
    graph = sp.csr_matrix(np.where(D == 0, -1, D))
    graph.data[graph.data < 0] = 0
    found = neighbors_graph(
        Problem(5, 5, metric="precomputed", is_sparse=True, perplexity=1), graph
    )
    assert found.indices[0, 0] == 3
    assert found.distances[0, 0] == 0


def test_neighbors_of_new_rows():
    indices, distances = neighbors_of_new(describe(CLUSTERS), CLUSTERS, CLUSTERS[:7], 4)
    np.testing.assert_array_equal(indices[:, 0], np.arange(7))
    np.testing.assert_allclose(distances[:, 1], reference(CLUSTERS, 1)[:7, 0], rtol=1e-4)
    D = pairwise_distances(CLUSTERS[:7], CLUSTERS)
    given = describe(CLUSTERS, metric="precomputed")
    for matrix in (D, sp.csr_matrix(D + 1e-9)):
        found, _ = neighbors_of_new(given, None, matrix, 4)
        np.testing.assert_array_equal(found, indices)


def test_callables_and_metric_parameters_reach_the_search():
    def scaled(a, b, factor):
        return factor * np.sqrt(np.square(a - b).sum())

    X = CLUSTERS[:100]
    plain = neighbors_graph(describe(X), X)
    half = neighbors_graph(describe(X, metric=scaled, metric_params={"factor": 0.5}), X)
    weighted = neighbors_graph(describe(X, metric="seuclidean", metric_params={"V": [4.0] * 6}), X)
    for graph in (half, weighted):
        np.testing.assert_allclose(graph.distances, plain.distances / 2, rtol=1e-3)


@pytest.mark.parametrize("offset", [1.0, 1e8])
def test_a_new_row_near_the_mean_is_compared_in_the_same_place(offset):
    """Fitted and new rows must be centred together or not at all."""
    X = 5 * rng.standard_normal((200, 3)) + offset
    new = X.mean(axis=0, keepdims=True) + 0.01
    indices, _ = neighbors_of_new(Problem(*X.shape), X, new, 1)
    assert indices[0, 0] == np.argmin(((X - new) ** 2).sum(axis=1))
