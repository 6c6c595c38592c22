"""Quality reports against their definitions; standard errors against the spread of samples."""

import json

import numpy as np
import pytest
from scipy.sparse import csr_matrix
from scipy.stats import spearmanr
from sklearn.manifold import trustworthiness
from sklearn.metrics import pairwise_distances, silhouette_score

from tsne_backends import quality_report
from tsne_backends.quality import kl_divergence, neighbor_preservation

rng = np.random.RandomState(0)
CENTRES = 5 * rng.standard_normal((4, 6))
CLASSES = rng.randint(4, size=1_200)
X = CENTRES[CLASSES] + rng.standard_normal((1_200, 6))
Y = X[:, :2] + 0.5 * rng.standard_normal((1_200, 2))
FEW = slice(0, 400)


def test_all_rows_give_the_definitions():
    report = quality_report(X[FEW], Y[FEW], CLASSES[FEW], perplexity=10)
    assert report.neighbor_preservation.value == pytest.approx(
        neighbor_preservation(X[FEW], Y[FEW])
    )
    assert report.trustworthiness.value == pytest.approx(
        trustworthiness(X[FEW], Y[FEW], n_neighbors=15)
    )
    assert report.kl_divergence.value == pytest.approx(kl_divergence(X[FEW], Y[FEW], perplexity=10))
    upper = np.triu_indices(400, 1)
    expected = spearmanr(pairwise_distances(X[FEW])[upper], pairwise_distances(Y[FEW])[upper])
    assert report.distance_correlation.value == pytest.approx(expected.statistic)
    assert report.silhouette.value == pytest.approx(silhouette_score(Y[FEW], CLASSES[FEW]))
    assert [score.standard_error for score in report.scores] == [0, 0, 0, 0, 0]


def test_a_copy_of_the_data_is_the_best_map():
    report = quality_report(Y, Y, perplexity=None)
    assert report.neighbor_preservation.value == 1
    assert report.trustworthiness.value == 1
    assert report.distance_correlation.value == pytest.approx(1)
    assert report.kl_divergence is None
    assert report.silhouette is None


def test_exchanged_data_and_map_are_refused():
    with pytest.raises(ValueError, match="6 columns and X has 2, so they seem to be exchanged"):
        quality_report(Y, X)
    with pytest.raises(ValueError, match="exchanged"):
        kl_divergence(Y, X)


def test_a_random_map_scores_as_chance_does():
    report = quality_report(X, rng.standard_normal((1_200, 2)), perplexity=None)
    assert report.neighbor_preservation.value == pytest.approx(15 / 1199, abs=0.01)
    assert report.trustworthiness.value == pytest.approx(0.5, abs=0.03)
    assert abs(report.distance_correlation.value) < 0.03


def test_standard_errors_are_the_spread_of_samples():
    """30 samples of 150 rows: their spread is known to within 13 % (one standard deviation)."""
    reports = [
        quality_report(X, Y, CLASSES, perplexity=10, sample=150, random_state=seed)
        for seed in range(30)
    ]
    exact = quality_report(X, Y, CLASSES, perplexity=10, sample=None)
    for name in (
        "neighbor_preservation",
        "trustworthiness",
        "kl_divergence",
        "distance_correlation",
        "silhouette",
    ):
        scores = [getattr(report, name) for report in reports]
        values = np.array([score.value for score in scores])
        told = np.mean([score.standard_error for score in scores])
        assert 0.6 < values.std(ddof=1) / told < 1.6, name
        if name != "distance_correlation":  # which never takes all of 720,000 pairs
            off = abs(values.mean() - getattr(exact, name).value)
            assert off < 4 * told / 30**0.5, name


def test_the_same_seed_gives_the_same_report():
    first, second = (quality_report(X, Y, sample=50, perplexity=None) for _ in range(2))
    assert first == second
    assert first != quality_report(X, Y, sample=50, perplexity=None, random_state=1)


def test_sparse_data_are_judged_as_dense_ones_are():
    dense = np.where(X[FEW] > 1, X[FEW], 0)
    ours, theirs = (
        quality_report(one, Y[FEW], perplexity=10) for one in (csr_matrix(dense), dense)
    )
    for a, b in zip(ours.scores, theirs.scores, strict=True):
        assert a.value == pytest.approx(b.value, abs=1e-3)


def test_far_from_the_origin_nothing_changes():
    near, far = (
        quality_report(one.astype(np.float32), Y[FEW], perplexity=None)
        for one in (X[FEW], X[FEW] + 1_000)
    )
    for a, b in zip(near.scores, far.scores, strict=True):
        assert a.value == pytest.approx(b.value, abs=2e-3)


def test_repeated_rows_do_no_harm():
    doubled = np.repeat(X[:100], 4, axis=0)
    report = quality_report(doubled, np.repeat(Y[:100], 4, axis=0), perplexity=5)
    assert all(np.isfinite(score.value) for score in report.scores)
    assert report.trustworthiness.value > 0.8


def test_five_hundred_classes():
    classes = np.arange(1_200) % 500
    report = quality_report(X, Y, classes, perplexity=None, sample=100)
    assert -1 < report.silhouette.value < 0
    assert "500 classes" in report.silhouette.meaning


def test_rows_without_a_label_are_left_out_of_the_silhouette():
    labels = np.array([None if i % 3 == 0 else f"c{c}" for i, c in enumerate(CLASSES)])
    report = quality_report(X, Y, labels, perplexity=None)
    some = np.arange(1_200) % 3 != 0
    assert report.silhouette.value == pytest.approx(silhouette_score(Y[some], CLASSES[some]))


@pytest.mark.parametrize(
    ("labels", "why"),
    [
        (["same"] * 400, "all labels are the same"),
        ([f"cell_{i}" for i in range(400)], "no two rows share a label"),
    ],
)
def test_a_silhouette_that_is_not_defined_says_why(labels, why):
    report = quality_report(X[FEW], Y[FEW], labels, perplexity=None)
    assert report.silhouette.value is None
    assert why in report.silhouette.meaning
    assert f"not defined  it compares classes, and {why}" in str(report)


def test_table_html_and_plain_values():
    report = quality_report(X, Y, CLASSES, sample=200, perplexity=10)
    lines = str(report).splitlines()
    assert lines[0] == "Map of 1,200 rows, 6 → 2 dimensions"
    assert lines[1].startswith("15-neighbour preservation  0.")
    assert " ± 0." in lines[1]
    assert "200 rows of 1,200" in lines[1]
    assert len(lines) == 6
    assert report._repr_html_().count("<tr>") == 5
    values = json.loads(json.dumps(report.to_dict()))
    assert values["n_samples"] == 1_200
    assert values["trustworthiness"]["value"] == report.trustworthiness.value
    assert values["kl_divergence"]["standard_error"] > 0


def test_one_and_three_dimensions():
    for dimensions in (1, 3):
        report = quality_report(X[FEW], X[FEW, :dimensions], perplexity=10)
        assert report.n_components == dimensions
        assert report.kl_divergence.value > 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"embedding": Y[:399]}, "one row for each of the 400 rows"),
        ({"embedding": np.full((400, 2), np.nan)}, "not finite"),
        ({"embedding": np.ones((400, 2))}, "in one place"),
        ({"X": np.ones((400, 3))}, "All rows of X are equal"),
        ({"X": np.full((400, 3), np.nan)}, "NaN"),
        ({"k": 200}, "less than half of the 400 rows"),
        ({"k": 0}, "at least 1"),
        ({"perplexity": 400}, "less than the number of rows"),
        ({"perplexity": 0.5}, "at least 1"),
        ({"sample": 0}, "positive integer"),
        ({"sample": 1}, "at least 2"),
        ({"labels": ["a"] * 3}, "has 3 values, but the data have 400 rows"),
        ({"labels": np.linspace(0, 1, 400)}, "holds quantities"),
    ],
)
def test_refusals(changes, message):
    given = {"X": X[FEW], "embedding": Y[FEW], **changes}
    with pytest.raises(ValueError, match=message):
        quality_report(**given)
