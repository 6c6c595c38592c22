"""The affinities of our engine: perplexity, symmetry, what makes the forces, how it is laid out."""

import math

import numpy as np
import pytest
import scipy.sparse as sp
from native_truth import blobs, graph, matrix_of

from tsne_backends.native import affinities as native_affinities
from tsne_backends.native.affinities import make_affinities
from tsne_backends.native.layout import in_order, lay_out
from tsne_backends.native.perplexity import conditional_affinities
from tsne_backends.native.vectors import PULLS


def conditional(squared, perplexity):
    """Return each row's Gaussian affinities by bisection of the bandwidth."""
    rows = []
    for d in squared.astype(np.float64):
        low, high = 1e-20, 1e20
        for _ in range(100):
            beta = math.sqrt(low * high)
            p = np.exp(-beta * (d - d.min()))
            p /= p.sum()
            entropy = -(p[p > 0] * np.log(p[p > 0])).sum()
            low, high = (beta, high) if entropy > math.log(perplexity) else (low, beta)
        rows.append(p)
    return np.array(rows)


@pytest.mark.parametrize("scale", [1e-12, 1.0, 1e12])
@pytest.mark.parametrize("perplexity", [2.0, 15.0])
def test_perplexity(perplexity, scale, team):
    _, squared = graph(blobs(400, 5), 45)
    scaled = (squared * scale).astype(np.float32)
    p = conditional_affinities(scaled, perplexity, team).astype(np.float64)
    np.testing.assert_allclose(p.sum(axis=1), 1, atol=1e-5)
    entropy = -(p * np.log(np.maximum(p, 1e-300))).sum(axis=1)
    np.testing.assert_allclose(np.exp(entropy), perplexity, rtol=1e-3)
    np.testing.assert_allclose(p, conditional(squared, perplexity), atol=1e-3)


def full(rows):
    return matrix_of(rows).toarray()


def symmetric(indices, squared, perplexity):
    n = len(indices)
    P = np.zeros((n, n))
    np.put_along_axis(P, indices.astype(np.int64), conditional(squared, perplexity), axis=1)
    return (P + P.T) / (2 * n)


@pytest.mark.parametrize(("n", "k"), [(300, 30), (1200, 30), (400, 300)])
def test_symmetric_affinities(n, k, team):
    indices, squared = graph(blobs(n, 5), k)
    P = symmetric(indices, squared, 10.0)
    ours = make_affinities(indices.copy(), squared.copy(), 10.0, team, dropped_mass=0.0)
    order = np.random.RandomState(0).permutation(n)
    laid_out = full(lay_out(ours, order))
    np.testing.assert_allclose(laid_out, P[order][:, order], atol=1e-3 / n)
    assert laid_out.sum() == pytest.approx(1, abs=1e-5)
    np.testing.assert_allclose(laid_out, laid_out.T, atol=2.0**-20 * laid_out.max())
    assert ours.entropy_term == pytest.approx((P[P > 0] * np.log(P[P > 0])).sum(), rel=1e-4)
    rows = lay_out(ours, order)
    assert (rows.starts % PULLS == 0).all()
    again = np.random.RandomState(1).permutation(n)
    anew = in_order(rows, again, team)
    assert (anew.starts % PULLS == 0).all()
    np.testing.assert_array_equal(full(anew), laid_out[again][:, again])


@pytest.mark.parametrize(("n", "bits"), [(11, 24), (257, 23), (70_000, 15)])
def test_a_column_has_the_bits_it_needs_and_an_affinity_the_others(n, bits, team):
    indices = ((np.arange(n)[:, None] + [1, 5, n // 4]) % n).astype(np.uint32)
    signed = np.random.RandomState(0).random_sample(indices.shape).astype(np.float32)
    signed *= np.where(signed < 0.5, -1, 1) / n  # some in one direction only
    rows = lay_out(native_affinities.Affinities(indices, signed, 0.0, 0.0), np.arange(n))
    assert rows.bits == bits
    row = np.repeat(np.arange(n), indices.shape[1])
    column, p = indices.ravel(), signed.ravel().astype(np.float64)
    given = sp.csr_matrix((np.abs(p), (row, column)), shape=(n, n))
    given += sp.csr_matrix((np.maximum(-p, 0), (column, row)), shape=(n, n))
    given /= given.sum()
    apart = matrix_of(rows) - given
    assert np.abs(apart).max() < (0.51 * 2.0**-bits + 1e-6) * given.max()


def all_and_kept(team, monkeypatch, perplexity):
    """All symmetric affinities of 800 points, and what of them makes the forces."""
    monkeypatch.setattr(native_affinities, "FEWEST_DROPPED", 0)
    indices, squared = graph(blobs(800, 4), 60)
    ours = make_affinities(indices, squared.copy(), perplexity, team, dropped_mass=0.05)
    kept = full(lay_out(ours, np.arange(800)))
    return symmetric(indices, squared, perplexity), kept


def test_the_smallest_affinities_are_left_out_by_mass(team, monkeypatch):
    P, kept = all_and_kept(team, monkeypatch, 40.0)
    left_out = P[(kept == 0)].sum()
    assert 0.03 < left_out < 0.05
    assert (kept > 0).sum() < 0.8 * (P > 0).sum()
    assert kept.sum() == pytest.approx(1, abs=1e-5)
    assert ((kept > 0).sum(axis=1) > 0).all()
    np.testing.assert_allclose(kept[kept > 0] * (1 - left_out), P[kept > 0], rtol=0.01)


def test_the_rest_has_every_other_pair_in_one_row(team, monkeypatch):
    monkeypatch.setattr(native_affinities, "FEWEST_DROPPED", 0)
    indices, squared = graph(blobs(800, 4), 60)
    P = symmetric(indices, squared, 40.0)
    ours = make_affinities(indices, squared, 40.0, team)
    order = np.random.RandomState(0).permutation(800)
    kept, rest = (lay_out(ours, order, makes_forces=forces) for forces in (True, False))
    assert kept.mass + rest.mass == pytest.approx(1, abs=1e-5)
    once = full(rest)
    assert once.sum() == pytest.approx(1, abs=1e-5)
    assert not (once * once.T).any()
    assert not (full(kept) * (once + once.T)).any()
    together = kept.mass * full(kept) + rest.mass / 2 * (once + once.T)
    np.testing.assert_allclose(together, P[order][:, order], atol=2e-3 / 800)
    anew = in_order(rest, np.argsort(order), team)
    assert anew.mass == rest.mass
    np.testing.assert_array_equal(full(anew)[order][:, order], once)


def test_nothing_is_the_rest_of_all(team):
    indices, squared = graph(blobs(300, 4), 30)
    ours = make_affinities(indices, squared, 10.0, team, dropped_mass=0.0)
    rest = lay_out(ours, np.arange(300), makes_forces=False)
    assert len(rest.words) == 0
    assert rest.mass == 0
    assert not rest.steps.any()


def test_never_more_than_half_of_the_affinities_are_left_out(team, monkeypatch):
    P, kept = all_and_kept(team, monkeypatch, 20.0)
    assert P[(kept == 0)].sum() < 0.02  # 5 % of the mass are more than half of the entries here
    assert 0.49 < (kept > 0).sum() / (P > 0).sum() < 0.56


def test_flat_affinities_are_kept_whole(team, monkeypatch):
    monkeypatch.setattr(native_affinities, "FEWEST_DROPPED", 0)
    indices, _ = graph(blobs(300, 4), 30)
    squared = np.ones(indices.shape, dtype=np.float32)
    ours = make_affinities(indices, squared, 10.0, team)
    assert ours.threshold == 0
    kept = full(lay_out(ours, np.arange(300)))
    assert ((kept > 0).sum(axis=1) >= 30).all()


def test_an_outlier_keeps_its_neighbours(team, monkeypatch):
    monkeypatch.setattr(native_affinities, "FEWEST_DROPPED", 0)
    X = np.vstack([blobs(500, 4), np.full((1, 4), 60.0)])
    indices, squared = graph(X, 30)
    rows = lay_out(make_affinities(indices, squared, 10.0, team), np.arange(501))
    assert (full(rows) > 0).sum(axis=1).min() >= 5
