"""Labels from Python objects and from files of every format, by name and by order."""

import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import polars as pl
import pytest

from tsne_backends.errors import FileFormatError
from tsne_backends.labels import as_labels, class_codes, read_label_column

NAMES = ("c1", "c2", "c3", "c4")


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def write(name, *lines):
    Path(name).write_text("\n".join(lines) + "\n", encoding="utf-8")


def labels_of(spec, row_names=NAMES, n=4, source="x.npy"):
    return read_label_column(spec, Path(source), row_names, n)


@pytest.mark.parametrize(
    ("labels", "expected"),
    [
        ([1, 2, 1], ["1", "2", "1"]),
        ([True, False, None], ["True", "False", None]),
        (["a", "", None], ["a", None, None]),
        (np.array(["a", "b", " "]), ["a", "b", None]),
        (np.array([b"a", b"b", b"c"]), ["a", "b", "c"]),
        (np.array([3, 1, 2], dtype=np.uint8), ["3", "1", "2"]),
        (np.ma.masked_array([1, 2, 3], [0, 1, 0]), ["1", None, "3"]),
        (
            np.array(["2020-01-01", "NaT", "2020-01-02"], dtype="M8[D]"),
            ["2020-01-01", None, "2020-01-02"],
        ),
        (pd.Series(["a", None, "b"], dtype="category"), ["a", None, "b"]),
        (pd.Series([1, None, 2], dtype="Int64"), ["1", None, "2"]),
        (pd.Series(["a", None, "b"], dtype="string"), ["a", None, "b"]),
        (pd.Categorical([1, 2, 2]), ["1", "2", "2"]),
        (pl.Series([1, None, 2]), ["1", None, "2"]),
        (pl.Series(["a", None, "b"], dtype=pl.Categorical), ["a", None, "b"]),
        (pl.Series([True, False, True]), ["True", "False", "True"]),
    ],
)
def test_categories_from_python(labels, expected):
    column = as_labels(labels, 3)
    assert not column.is_quantity
    assert column.values.dtype == object
    assert list(column.values) == expected
    assert column.missing.tolist() == [value is None for value in column.values]


@pytest.mark.parametrize(
    "labels",
    [
        [1.5, None, 2],
        np.array([1.5, np.nan, 2], dtype=np.float32),
        pd.Series([1.5, None, 2]),
        pd.Series([1.5, None, 2], dtype="Float64"),
        pl.Series([1.5, None, 2]),
        (1.5, float("nan"), 2),
    ],
    ids=lambda labels: f"{type(labels).__module__}.{type(labels).__name__}",
)
def test_quantities_from_python(labels):
    column = as_labels(labels, 3)
    assert column.is_quantity
    assert column.values.dtype == np.float64
    np.testing.assert_array_equal(column.values, [1.5, np.nan, 2])
    assert column.missing.tolist() == [False, True, False]


def test_names_of_columns():
    assert as_labels([1, 2], 2).name == "labels"
    assert as_labels([1, 2], 2, "batch").name == "batch"
    assert as_labels(pd.Series([1, 2], name="leiden"), 2).name == "leiden"
    column = as_labels([1, 2], 2)
    assert as_labels(column, 2).name == "labels"
    assert as_labels(column, 2, "batch").name == "batch"
    np.testing.assert_array_equal(as_labels(column, 2).values, column.values)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        (["a"], "has 1 values, but the data have 2 rows; give one label"),
        ([None, float("nan")], "Every value of"),
        (np.zeros((2, 2)), r"shape is \(2, 2\)"),
        (pd.DataFrame({"kind": ["a", "b"], "n": 1}), r"a table of 2\. .*labels\['kind'\]"),
        ("ab", "were of type str"),
        ({"a": 1}, "type dict"),
        (5, "type int"),
    ],
)
def test_what_are_no_labels(labels, message):
    with pytest.raises(ValueError, match=message):
        as_labels(labels, 2)


def test_codes_of_classes():
    codes, names = class_codes(as_labels(["b", "a", None, "b"], 4))
    assert codes.tolist() == [1, 0, -1, 1]
    assert names.tolist() == ["a", "b"]
    assert class_codes(as_labels([10.0, 2.0, np.nan], 3))[0].tolist() == [1, 0, -1]
    with pytest.raises(ValueError, match=r"holds quantities, such as 1\.5"):
        class_codes(as_labels([1.5, 2.0], 2))


@pytest.mark.parametrize(("ending", "delimiter"), [(".csv", ","), (".tsv", "\t")])
def test_text_tables_are_matched_by_name(ending, delimiter):
    rows = ["cell,type,score", "c3,T,0.5", "c1,B,NA", "c9,T,1e3", "c2,,2", "c4,B,3"]
    write("labels" + ending, *(row.replace(",", delimiter) for row in rows))
    column = labels_of(f"labels{ending}:type")
    assert column.name == "type"
    assert column.values.tolist() == ["B", None, "T", "B"]
    np.testing.assert_array_equal(labels_of(f"labels{ending}:score").values, [np.nan, 2, 0.5, 3])


def test_rows_without_names_are_taken_in_order():
    write("labels.csv", "type,batch", "T,1", "B,1", "T,2", "B,2")
    assert labels_of("labels.csv:type", None).values.tolist() == ["T", "B", "T", "B"]
    # A first column in which two rows are the same names no rows.
    assert labels_of("labels.csv:batch").values.tolist() == ["1", "1", "2", "2"]


def test_names_of_which_none_fits_are_told():
    write("labels.csv", "cell,type", "a,T", "b,B", "c,T", "d,B")
    with pytest.warns(UserWarning, match='"a" and "c1".*in order'):
        assert labels_of("labels.csv:type").values.tolist() == ["T", "B", "T", "B"]


def test_numbers_as_names():
    write("labels.csv", "row,type", "2,T", "0,B", "1,B")
    assert labels_of("labels.csv:type", ("0", "1", "2"), 3).values.tolist() == ["B", "B", "T"]


@pytest.mark.parametrize(
    ("cells", "is_quantity"),
    [
        (["1", "2", "1", "2"], False),
        (["1", "2", "NA", "1", "2"], False),
        (["1", "2", "3", "4"], True),  # every row another number
        (["1.0", "2.0", "1.0", "2.0"], True),
        (["1e3", "2", "1e3", "2"], True),
        (["1", "b", "1", "b"], False),
        (["1_0", "2_0", "1_0", "2_0"], False),
        ([str(i % 40) for i in range(200)], False),
        ([str(i % 41) for i in range(200)], True),
    ],
)
def test_numbers_in_text(cells, is_quantity):
    write("labels.csv", "a,b", *(f"{cell},x" for cell in cells))
    column = labels_of("labels.csv:a", None, len(cells))
    assert column.is_quantity == is_quantity


def test_parquet():
    frame = pd.DataFrame(
        {
            "type": pd.Categorical(["T", None, "B", "B"]),
            "n_genes": [900, 800, 700, 600],
            "plate": [1, 2, 1, 2],
            "score": [0.5, None, 1, 2],
        },
        index=["c4", "c3", "c2", "c1"],
    )
    frame.to_parquet("labels.parquet")
    assert labels_of("labels.parquet:type").values.tolist() == ["B", "B", None, "T"]
    assert labels_of("labels.parquet:n_genes").values.tolist() == [600, 700, 800, 900]
    assert labels_of("labels.parquet:plate").values.tolist() == ["2", "1", "2", "1"]
    np.testing.assert_array_equal(labels_of("labels.parquet:score").values, [2, 1, np.nan, 0.5])
    frame.reset_index(drop=True).to_parquet("plain.parquet")
    assert labels_of("plain.parquet:n_genes").values.tolist() == [900, 800, 700, 600]


def test_h5ad():
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame(
        {
            "cell_type": pd.Categorical(["T", "B", None, "B"]),
            "n_genes": [600, 700, 800, 900],
            "batch": ["x", "y", "x", "y"],
            "passed": [True, False, True, True],
        },
        index=["c4", "c3", "c2", "c1"],
    )
    anndata.AnnData(np.zeros((4, 2), np.float32), obs=obs).write_h5ad("cells.h5ad")
    assert labels_of("cells.h5ad:cell_type").values.tolist() == ["B", None, "B", "T"]
    # A column of the source itself is in its order.
    own = labels_of("cell_type", ("c4", "c3", "c2", "c1"), source="cells.h5ad")
    assert own.values.tolist() == ["T", "B", None, "B"]
    assert labels_of("n_genes", None, source="cells.h5ad").is_quantity
    assert labels_of("batch", None, source="cells.h5ad").values.tolist() == ["x", "y", "x", "y"]
    assert labels_of("passed", None, source="cells.h5ad").values[1] == "False"
    with pytest.raises(FileFormatError, match=r'no column "cell_typ".*Did you mean "cell_type"'):
        labels_of("cell_typ", None, source="cells.h5ad")


def test_plain_files():
    np.save("labels.npy", np.arange(4))
    assert labels_of("labels.npy").values.tolist() == ["0", "1", "2", "3"]
    write("labels.txt", "T cell", "", "B", "B")
    column = labels_of("labels.txt")
    assert column.values.tolist() == ["T cell", None, "B", "B"]
    assert column.name == "labels"


def test_colons_in_names():
    write("go.csv", "GO:1,x", "a,1", "b,1", "a,2", "b,2")
    assert labels_of("go.csv:GO:1", None).values.tolist() == ["a", "b", "a", "b"]
    assert labels_of("GO:1", None, source="go.csv").values.tolist() == ["a", "b", "a", "b"]
    with pytest.raises(FileNotFoundError, match=r'no file "C:\\data\\x.csv"'):
        labels_of(r"C:\data\x.csv:type")


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        ("labels.csv:typ", 'no column "typ", only "cell", "type".*Did you mean "type"'),
        ("label.csv:type", 'no file "label.csv".*Did you mean "labels.csv"'),
        ("labels.csv", 'Say which column of "labels.csv"'),
        ("labels.csv:", "Say which column"),
        ("type", '"x.npy" has no column "type"'),
        ("labels.npy:type", 'leave ":type" out'),
        ("partial.csv:type", 'no label for 2 of 4 rows of the data: "c2", "c3"'),
        ("short.txt", "has 2 rows, but the data have 4"),
        ("ragged.csv:type", "Line 3 .* has 3 values"),
        ("empty.csv:type", "is empty"),
        ("header.csv:type", "no rows"),
        ("semicolons.csv:type", "separated by semicolons"),
        ("broken.parquet:type", "cannot be read as .parquet"),
        ("broken.h5ad:type", "cannot be read as .h5ad"),
        ("broken.npy", "cannot be read as .npy"),
        ("objects.npy", "holds Python objects"),
        ("square.npy", r"shape \(2, 2\)"),
        ("blank.csv:type", "Every value"),
        ("latin.csv:type", "cannot be read as .csv"),
    ],
)
def test_refusals(spec, message):
    write("labels.csv", "cell,type", "c1,T", "c2,B", "c3,T", "c4,B")
    write("partial.csv", "cell,type", "c1,T", "c4,B")
    write("short.txt", "a", "b")
    write("ragged.csv", "cell,type", "c1,T", "c2,B,x")
    write("header.csv", "cell,type")
    write("semicolons.csv", "cell;type", "c1;T")
    write("blank.csv", "cell,type", *(f"{name}," for name in NAMES))
    Path("latin.csv").write_bytes("cell,type\nc1,é\n".encode("latin-1"))
    Path("empty.csv").touch()
    for name in ("broken.parquet", "broken.h5ad", "broken.npy"):
        Path(name).write_bytes(b"nonsense")
    np.save("labels.npy", np.arange(4))
    np.save("square.npy", np.ones((2, 2)))
    np.save("objects.npy", np.array([{}, None], dtype=object))
    with pytest.raises((ValueError, FileNotFoundError), match=message):
        labels_of(spec)


def test_files_with_all_names_do_not_warn():
    write("labels.csv", "cell,type", "c4,T", "c3,B", "c2,T", "c1,B")
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert labels_of("labels.csv:type").values.tolist() == ["B", "T", "B", "T"]
