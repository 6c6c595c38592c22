"""Samples of rows: sizes, proportions, floors, repeatability, refusals."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix

from tsne_backends import sample_rows
from tsne_backends.sampling import MIN_PER_CLASS, allocate


def test_a_uniform_sample_has_each_row_once_in_order_and_repeats():
    rows = sample_rows(10_000, 500, random_state=3)
    assert rows.dtype == np.int64
    assert len(np.unique(rows)) == 500
    assert (np.diff(rows) > 0).all()
    np.testing.assert_array_equal(rows, sample_rows(10_000, 500, random_state=3))
    assert not np.array_equal(rows, sample_rows(10_000, 500, random_state=4))


def test_every_row_is_as_likely_as_any_other():
    drawn = np.bincount(
        np.concatenate([sample_rows(40, 10, random_state=seed) for seed in range(2_000)])
    )
    # 2,000 draws with a chance of 1/4: 500 with a standard deviation of 19.4.
    assert abs(drawn - 500).max() < 5 * 19.4


@pytest.mark.parametrize(
    "X",
    [
        50,
        np.zeros((50, 3)),
        np.zeros((50, 3)).tolist(),
        csr_matrix((50, 3)),
        pd.DataFrame({"a": range(50)}),
        np.int32(50),
    ],
    ids=lambda X: type(X).__name__,
)
def test_only_the_number_of_rows_counts(X):
    np.testing.assert_array_equal(sample_rows(X, 7), sample_rows(50, 7))


def test_a_sample_as_large_as_the_data_is_the_data():
    for n in (50, 51, 10**9):
        np.testing.assert_array_equal(sample_rows(50, n), np.arange(50))
        np.testing.assert_array_equal(sample_rows(50, n, stratify=[1, 2] * 25), np.arange(50))


def test_classes_share_in_proportion_and_rare_ones_keep_a_floor():
    labels = np.repeat(["large", "middle", "small", "tiny"], [70_000, 29_000, 900, 20])
    rows = sample_rows(len(labels), 10_000, stratify=labels)
    names, counts = np.unique(labels[rows], return_counts=True)
    drawn = dict(zip(names, counts, strict=True))
    assert len(rows) == 10_000
    assert drawn["tiny"] == 20  # all that there are
    assert drawn["small"] == MIN_PER_CLASS  # in proportion, it would be 90
    assert drawn["large"] / drawn["middle"] == pytest.approx(70 / 29, rel=1e-3)


def test_rows_of_a_class_are_drawn_from_all_over_it():
    labels = np.tile(["a", "b"], 5_000)
    rows = sample_rows(10_000, 1_000, stratify=labels)
    assert (labels[rows] == "a").sum() == 500
    assert 4_000 < rows[labels[rows] == "a"].mean() < 6_000


def test_missing_labels_are_a_class():
    labels = np.array(["a"] * 5_000 + [None] * 50, dtype=object)
    rows = sample_rows(labels.reshape(-1, 1), 200, stratify=labels)
    assert (rows >= 5_000).sum() == 50


def test_whole_numbers_in_floats_are_classes():
    labels = [1.0] * 90 + [2.0] * 10 + [np.nan] * 5
    rows = sample_rows(105, 21, stratify=labels)
    assert [(rows < 90).sum(), ((rows >= 90) & (rows < 100)).sum(), (rows >= 100).sum()] == [
        9,
        7,
        5,
    ]


@given(st.lists(st.integers(1, 3_000), min_size=1, max_size=30), st.floats(0, 1))
def test_allocation_keeps_its_promises(sizes, share):
    sizes = np.array(sizes)
    n = max(len(sizes), int(share * sizes.sum()))
    quota = allocate(sizes, n)
    assert quota.sum() == n
    assert (quota <= sizes).all()
    assert (quota >= np.minimum(sizes, min(MIN_PER_CLASS, n // len(sizes)))).all()
    larger = sizes[:, None] > sizes[None, :]  # a larger class never gets less
    assert not (larger & (quota[:, None] < quota[None, :])).any()


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((10, 0), {}, "must be a positive integer; it was 0"),
        ((10, -3), {}, "positive integer"),
        ((10, 2.5), {}, r"it was 2\.5"),
        ((10, True), {}, "it was True"),
        ((10, 1e5), {}, "positive integer"),
        ((0, 5), {}, "at least one row"),
        (("cells", 5), {}, "type str"),
        ((None, 5), {}, "type NoneType"),
        ((10, 5), {"stratify": list("abcdefghij")}, "one of each of 10 classes"),
        ((10, 5), {"stratify": ["a"] * 9}, "has 9 values, but the data have 10 rows"),
        ((10, 5), {"stratify": [None] * 10}, 'Every value of "stratify" is missing'),
        ((10, 5), {"stratify": np.arange(10) / 4}, "holds quantities"),
        ((10, 99), {"stratify": ["a"]}, "has 1 values"),
    ],
)
def test_refusals(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        sample_rows(*arguments, **options)
