"""The judges of every engine against brute force in float64."""

import numpy as np
import pytest
from sklearn.metrics import pairwise_distances
from threadpoolctl import threadpool_info, threadpool_limits

from tsne_backends import quality, searches
from tsne_backends.quality import exact_graph, kl_divergence, neighbor_preservation

rng = np.random.RandomState(0)
X = rng.standard_normal((150, 5))


def reference_affinities(X, perplexity):
    """Bisect each row's kernel to the perplexity over its 3 × perplexity nearest neighbours."""
    D = pairwise_distances(X) ** 2
    np.fill_diagonal(D, np.inf)
    P = np.zeros_like(D)
    for row, distances in enumerate(D):
        near = np.argsort(distances)[: int(3 * perplexity)]
        low, high = 1e-10, 1e10
        for _ in range(200):
            beta = np.sqrt(low * high)
            p = np.exp(-beta * (distances[near] - distances[near].min()))
            p /= p.sum()
            entropy = -(p * np.log(p + 1e-300)).sum()
            low, high = (beta, high) if entropy > np.log(perplexity) else (low, beta)
        P[row, near] = p
    P = P + P.T
    return P / P.sum()


def kl_between(P, Y):
    freedom = max(Y.shape[1] - 1, 1)
    Q = (1 + pairwise_distances(Y) ** 2 / freedom) ** (-(freedom + 1) / 2)
    np.fill_diagonal(Q, 0)
    Q /= Q.sum()
    some = P > 0
    return (P[some] * np.log(P[some] / Q[some])).sum()


@pytest.mark.parametrize("n_components", [1, 2, 3])
def test_kl_divergence_is_that_of_the_definition(n_components):
    Y = 3 * rng.standard_normal((150, n_components))
    expected = kl_between(reference_affinities(X, 10), Y)
    assert kl_divergence(X, Y, perplexity=10) == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_every_row_has_the_perplexity_asked_for(scale):
    """Also one with neighbours at very different distances, and in any unit."""
    apart = np.random.RandomState(1).standard_t(1, size=(150, 2))
    Y = rng.standard_normal((150, 2))
    expected = kl_between(reference_affinities(apart, 10), Y)
    assert kl_divergence(scale * apart, Y, perplexity=10) == pytest.approx(expected, rel=1e-6)


def test_a_row_with_one_neighbour_far_away_has_its_perplexity():
    squared = np.abs(rng.standard_normal((4, 90)))
    squared[:, 0] = 1e3, 1e9, 1e15, 1e30
    p = quality._conditional(squared, np.log(30))
    entropies = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropies), 30, rtol=1e-6)


def test_equal_rows_have_equal_affinities():
    p = quality._conditional(np.ones((2, 30)), np.log(10))
    np.testing.assert_allclose(p, 1 / 30)


def test_sampled_normalisation_is_close():
    Y = 5 * rng.standard_normal((150, 2))
    exact = kl_divergence(X, Y, perplexity=10)
    assert kl_divergence(X, Y, perplexity=10, sample=100) == pytest.approx(exact, abs=0.1)


def test_a_given_graph_is_used():
    Y = rng.standard_normal((150, 2))
    graph = exact_graph(X, 40)
    assert graph.indices.shape == (150, 40)
    plain = kl_divergence(X, Y, perplexity=10)
    assert kl_divergence(X, Y, perplexity=10, graph=graph) == pytest.approx(plain)
    assert neighbor_preservation(X, Y, graph=graph) == neighbor_preservation(X, Y)


def test_a_graph_of_too_few_neighbours_is_refused():
    Y = rng.standard_normal((150, 2))
    with pytest.raises(ValueError, match=r"holds 20 .* 30 are needed; pass exact_graph\(X, 30\)"):
        kl_divergence(X, Y, perplexity=10, graph=exact_graph(X, 20))
    with pytest.raises(ValueError, match="holds 5 neighbours per row, but 15 are needed"):
        neighbor_preservation(X, Y, graph=exact_graph(X, 5))
    with pytest.raises(ValueError, match=r"k must be from 1 to n_samples - 1 \(149\); it was 150"):
        exact_graph(X, 150)


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_searches_keep_to_n_jobs(monkeypatch, n_jobs):
    wide, seen = rng.standard_normal((150, 60)), set()

    def counted(*arguments, brute=searches._brute):
        seen.update(library["num_threads"] for library in threadpool_info())
        return brute(*arguments)

    monkeypatch.setattr(searches, "_brute", counted)
    with threadpool_limits(3):
        neighbor_preservation(wide, wide[:, :2], n_jobs=n_jobs)
    assert seen == {n_jobs}


def test_neighbor_preservation_from_perfect_to_chance():
    flat = rng.standard_normal((400, 2))
    assert neighbor_preservation(flat, flat) == 1
    chance = neighbor_preservation(flat, rng.standard_normal((400, 2)))
    assert chance == pytest.approx(15 / 399, abs=0.02)
    assert 0.9 < neighbor_preservation(flat, flat, sample=50) <= 1


@pytest.mark.parametrize(
    ("embedding", "message"),
    [
        (np.zeros((3, 2)), "one row for each of the 150"),
        (np.full((150, 2), np.nan), "not finite"),
    ],
)
def test_maps_that_cannot_be_judged(embedding, message):
    for judge in (kl_divergence, neighbor_preservation):
        with pytest.raises(ValueError, match=message):
            judge(X, embedding)
    with pytest.raises(ValueError, match="k must be from 1 to"):
        neighbor_preservation(X, np.zeros((150, 2)), k=150)
