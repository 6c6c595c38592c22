"""Reading and writing files: every format there and back, every refusal, nothing half written."""

import os
import pickle
import sys

import numpy as np
import pytest
import scipy.io
import scipy.sparse

from tsne_backends.errors import FileFormatError
from tsne_backends.files import (
    check_output,
    read_table,
    whole_or_not_at_all,
    write_embedding,
)
from tsne_backends.optional import import_optional

X = np.array([[1, 2, 3], [4, 0.1, 6], [7, 8, -9e-5], [0, 0, 1]], dtype=np.float32)
MAP = np.array([[0.1, -2], [3e-7, 4], [5, 1 / 3], [7, 8]], dtype=np.float32)
NAMES = ("AAAC", "12_3", "c, d", 'e"f')


@pytest.fixture
def h5ad(tmp_path):
    anndata = pytest.importorskip("anndata")
    import pandas as pd

    data = anndata.AnnData(
        scipy.sparse.csr_matrix(X),
        obs=pd.DataFrame({"batch": ["a", "b", "a", "b"]}, index=list(NAMES)),
        obsm={
            "X_pca": X[:, :2].astype(np.float64),
            "frame": pd.DataFrame(X, list(NAMES), ["a", "b", "c"]),
        },
        layers={"counts": X},
    )
    path = tmp_path / "cells.h5ad"
    data.write_h5ad(path)
    return path


def text(tmp_path, name, content):
    path = tmp_path / name
    path.write_text(content, encoding="utf-8")
    return path


# Reading


def write_npy(path):
    np.save(path, X)


def write_npz(path):
    np.savez(path, notes=np.arange(3), data=X)


def write_sparse_npz(path):
    scipy.sparse.save_npz(path, scipy.sparse.csc_matrix(X))


def write_mtx(path):
    scipy.io.mmwrite(path, scipy.sparse.coo_matrix(X))


def write_dense_mtx(path):
    scipy.io.mmwrite(path, X)


@pytest.mark.parametrize(
    ("name", "write", "is_sparse"),
    [
        ("x.npy", write_npy, False),
        ("x.npz", write_npz, False),
        ("x.npz", write_sparse_npz, True),
        ("x.mtx", write_mtx, True),
        ("x.mtx", write_dense_mtx, False),
    ],
)
def test_numbers_come_back(tmp_path, name, write, is_sparse):
    write(tmp_path / name)
    table = read_table(tmp_path / name)
    assert scipy.sparse.issparse(table.matrix) == is_sparse
    matrix = table.matrix.toarray() if is_sparse else table.matrix
    np.testing.assert_array_equal(matrix.astype(np.float32), X)
    assert table.row_names is None


def test_endings_are_read_in_any_case(tmp_path):
    with open(tmp_path / "X.NPY", "wb") as file:
        np.save(file, X)
    np.testing.assert_array_equal(read_table(tmp_path / "X.NPY").matrix, X)


@pytest.mark.parametrize(
    ("content", "matrix", "names"),
    [
        ("1,2,3\n4,5,6\n", [[1, 2, 3], [4, 5, 6]], None),
        ("\ufeffa,b\r\n1,2\r\n\r\n", [[1, 2]], None),
        ("x\n1\n2\n", [[1], [2]], None),
        ("0,1\n1,0\n", [[0, 1], [1, 0]], None),
        pytest.param("0,1,2\n5,6,7\n", [[5, 6, 7]], None, id="pandas without index"),
        pytest.param(",0,1,2\n0,5,6,7\n", [[5, 6, 7]], ("0",), id="pandas with index"),
        pytest.param('"V1","V2"\n"1",5,6\n"2",7,8\n', [[5, 6], [7, 8]], ("1", "2"), id="R"),
        ("id,x\nc1,1\nc2,2\n", [[1], [2]], ("c1", "c2")),
        ("id,x\n1_2,1\n1_3,2\n", [[1], [2]], ("1_2", "1_3")),
        ("a,1,2\nb,3,4\n", [[1, 2], [3, 4]], ("a", "b")),
    ],
)
@pytest.mark.parametrize("suffix", ["csv", "tsv"])
def test_text_tables(tmp_path, suffix, content, matrix, names):
    if suffix == "tsv":
        content = content.replace(",", "\t")
    table = read_table(text(tmp_path, f"x.{suffix}", content))
    np.testing.assert_array_equal(table.matrix, matrix)
    assert table.row_names == names


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("id,x,cell\na,1,B cell\n", r'Column "cell" .*text \("B cell" on line 2\).*remove it'),
        ("x,y\n1,2\n3,1_0\n", r'Column "y" .*"1_0" on line 3'),
        ("x,y\n1,2\n\n3,\n", r'Column "y" .*no value on line 4'),
        ("1,NA,3\n4,5,6\n", r'Column "2" .*no value on line 1'),
        ("1,2\n3\n", r"Line 2 .*1 values.*2 columns"),
        ("", "is empty"),
        ("a,b\n", "a header but no rows"),
        ("id\nn\nm\n", "no column of numbers"),
        ("a;b\n1;2\n", "separated by semicolons"),
    ],
)
def test_bad_text_tables_say_where(tmp_path, content, message):
    with pytest.raises(FileFormatError, match=message):
        read_table(text(tmp_path, "x.csv", content))


@pytest.mark.parametrize(
    "name", [f"x.{s}" for s in ("npy", "npz", "csv", "parquet", "h5ad", "mtx")]
)
def test_damaged_files_are_called_so(tmp_path, name):
    (tmp_path / name).write_bytes(b"\xff\xfe\x00 this is nothing \x80")
    with pytest.raises(FileFormatError, match="cannot be read as"):
        read_table(tmp_path / name)


class Bomb:
    def __reduce__(self):
        return (os.mkdir, ("exploded",))


@pytest.mark.parametrize("suffix", ["npy", "npz"])
def test_pickles_are_never_loaded(tmp_path, monkeypatch, suffix):
    monkeypatch.chdir(tmp_path)
    objects = np.array([[Bomb()]], dtype=object)
    (np.save if suffix == "npy" else np.savez)(tmp_path / f"x.{suffix}", objects)
    with pytest.raises(FileFormatError, match=r"Python objects.*could run any program"):
        read_table(tmp_path / f"x.{suffix}")
    (tmp_path / "raw.npy").write_bytes(pickle.dumps(Bomb()))
    with pytest.raises(FileFormatError, match="cannot be read as"):
        read_table(tmp_path / "raw.npy")
    assert not (tmp_path / "exploded").exists()


@pytest.mark.parametrize(
    ("array", "message"),
    [
        (np.arange(5.0), r"shape \(5,\).*two dimensions"),
        (np.zeros((2, 2, 2)), "two dimensions"),
        (np.zeros((2, 2), dtype=complex), "complex128.*real numbers"),
        (np.array([["a"]]), "real numbers"),
    ],
)
def test_what_is_no_data_matrix(tmp_path, array, message):
    np.save(tmp_path / "x.npy", array)
    with pytest.raises(FileFormatError, match=message):
        read_table(tmp_path / "x.npy")


def test_arrays_of_an_archive(tmp_path):
    path = tmp_path / "x.npz"
    np.savez(path, train=X, test=X[:1], labels=np.arange(4))
    np.testing.assert_array_equal(read_table(path, key="test").matrix, X[:1])
    with pytest.raises(FileFormatError, match=r"2 arrays.*--key.*\"labels\" \(4,\)"):
        read_table(path)
    with pytest.raises(FileFormatError, match=r'no array "trian".*Did you mean "train"'):
        read_table(path, key="trian")


def test_h5ad(h5ad):
    table = read_table(h5ad)
    np.testing.assert_array_equal(table.matrix.toarray(), X)
    assert table.row_names == NAMES
    np.testing.assert_array_equal(read_table(h5ad, rep="X_pca").matrix, X[:, :2])
    np.testing.assert_array_equal(read_table(h5ad, rep="frame").matrix, X)
    with pytest.raises(FileFormatError, match=r'"X", "X_pca", "frame".*Did you mean "X_pca"'):
        read_table(h5ad, rep="X_pac")


def test_wide_h5ad_gives_its_principal_components(tmp_path):
    anndata = pytest.importorskip("anndata")
    wide, path = np.ones((4, 51), np.float32), tmp_path / "wide.h5ad"
    anndata.AnnData(wide, obsm={"X_pca": X}).write_h5ad(path)
    table = read_table(path)
    np.testing.assert_array_equal(table.matrix, X)
    assert table.part == 'obsm["X_pca"]'
    assert read_table(path, rep="X").matrix.shape == (4, 51)
    anndata.AnnData(wide, obsm={"other": X}).write_h5ad(path)
    with pytest.raises(FileFormatError, match=r'51 variables .* no "X_pca".*--rep .* "X", "other"'):
        read_table(path)
    assert read_table(path, rep="X").part == "X"


@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet"])
@pytest.mark.parametrize("names", [None, NAMES])
def test_a_column_of_labels_is_left_out(tmp_path, suffix, names):
    import pandas as pd

    frame = pd.DataFrame(X, names, ["a", "b", "c"])
    frame.insert(1, "kind", ["T", "B", "T", "B"])
    path = tmp_path / f"x.{suffix}"
    if suffix == "parquet":
        pytest.importorskip("pyarrow")
        frame.to_parquet(path)
    else:
        frame.to_csv(path, sep="," if suffix == "csv" else "\t", index=names is not None)
    with pytest.raises(FileFormatError, match='Column "kind"'):
        read_table(path)
    table = read_table(path, without="kind")
    np.testing.assert_array_equal(table.matrix.astype(np.float32), X)
    assert table.row_names == names
    assert table.part == 'all columns but "kind"'
    with pytest.raises(FileFormatError, match='Column "kind"'):
        read_table(path, without="kinds")


@pytest.mark.filterwarnings("ignore:Element")  # of anndata, about our counterfeit
def test_h5ad_reads_no_more_than_asked(h5ad):
    import h5py

    with h5py.File(h5ad, "r+") as file:
        del file["X"], file["layers"]
        file["X"] = file["layers"] = "neither a matrix nor a group of layers"
    assert read_table(h5ad, rep="X_pca").matrix.shape == (4, 2)
    with pytest.raises(FileFormatError, match="two dimensions"):
        read_table(h5ad)
    with h5py.File(h5ad, "r+") as file:
        del file["X"]
    with pytest.raises(FileFormatError, match=r'has no X; .*--rep: "X_pca", "frame"'):
        read_table(h5ad)


def test_old_h5ad(tmp_path):
    h5py = pytest.importorskip("h5py")
    with h5py.File(tmp_path / "old.h5ad", "w") as file:
        file["X"] = X
        file["obs"] = np.zeros(4, dtype=[("index", "S4")])
    with pytest.raises(FileFormatError, match=r"save it again"):
        read_table(tmp_path / "old.h5ad")


@pytest.mark.parametrize("index", [None, list(NAMES), [10, 11, 12, 13]])
def test_parquet_of_pandas(tmp_path, index):
    pd = pytest.importorskip("pandas")
    pd.DataFrame(X, index=index, columns=["a", "b", "c"]).to_parquet(tmp_path / "x.parquet")
    table = read_table(tmp_path / "x.parquet")
    np.testing.assert_array_equal(table.matrix, X)
    assert table.matrix.dtype == np.float32
    assert table.row_names == (None if index is None else tuple(map(str, index)))


def test_parquet_of_polars(tmp_path):
    pl = pytest.importorskip("polars")
    path = tmp_path / "x.parquet"
    pl.DataFrame({"cell": ["a", "b"], "x": [1, 2], "y": [0.5, 1.5]}).write_parquet(path)
    table = read_table(path)
    np.testing.assert_array_equal(table.matrix, [[1, 0.5], [2, 1.5]])
    assert table.row_names == ("a", "b")
    pl.DataFrame({"x": [1.0, 2], "kind": ["a", "b"]}).write_parquet(path)
    with pytest.raises(FileFormatError, match=r'Column "kind" .*string.*remove it'):
        read_table(path)
    pl.DataFrame({"x": [1.0, None]}).write_parquet(path)
    with pytest.raises(FileFormatError, match=r'Column "x" .*no value in 1 rows'):
        read_table(path)
    pl.DataFrame({"cell": ["a", "b"]}).write_parquet(path)
    with pytest.raises(FileFormatError, match="no column of numbers"):
        read_table(path)


@pytest.mark.parametrize(
    ("name", "options", "error", "message"),
    [
        ("x.cvs", {}, FileFormatError, r'ending ".cvs".*Did you mean ".csv"'),
        ("x.csv.gz", {}, FileFormatError, "Unpack the file first"),
        ("xy.npy", {}, FileNotFoundError, 'no file .*Did you mean "x.npy"'),
        ("x.npy", {"rep": "X_pca"}, FileFormatError, "--rep chooses .*.h5ad"),
        ("x.npy", {"key": "a"}, FileFormatError, "--key chooses .*.npz"),
        ("folder.npy", {}, IsADirectoryError, "folder.npy"),
    ],
)
def test_inputs_refused(tmp_path, name, options, error, message):
    np.save(tmp_path / "x.npy", X)
    (tmp_path / "folder.npy").mkdir()
    with pytest.raises(error, match=message):
        read_table(tmp_path / name, **options)


@pytest.mark.parametrize(
    ("suffix", "module"), [("h5ad", "anndata"), ("parquet", "pyarrow.parquet")]
)
def test_a_missing_library_is_named_with_the_command(tmp_path, monkeypatch, suffix, module):
    monkeypatch.setitem(sys.modules, module, None)
    path = tmp_path / f"x.{suffix}"
    path.touch()
    command = rf"pip install \"serverless-tsne\[{suffix if suffix == 'parquet' else 'anndata'}\]\""
    with pytest.raises(ImportError, match=command):
        read_table(path)
    with pytest.raises(ImportError, match=command):  # before the work, not after it
        check_output(tmp_path / f"y.{suffix}", path)


def test_a_library_that_is_there_is_returned():
    assert import_optional("csv", "plot", "Tables").__name__ == "csv"


# Writing


def test_binary_maps_come_back(tmp_path):
    write_embedding(tmp_path / "map.npy", MAP, NAMES)
    back = np.load(tmp_path / "map.npy")
    assert back.dtype == np.float32
    np.testing.assert_array_equal(back, MAP)
    write_embedding(tmp_path / "map.npz", MAP, NAMES)
    with np.load(tmp_path / "map.npz", allow_pickle=False) as archive:
        np.testing.assert_array_equal(archive["embedding"], MAP)
        assert tuple(archive["row_names"]) == NAMES


@pytest.mark.parametrize("names", [None, NAMES])
@pytest.mark.parametrize("suffix", ["csv", "tsv", "parquet", "npz"])
def test_maps_and_names_come_back_bit_by_bit(tmp_path, suffix, names):
    path = tmp_path / f"map.{suffix}"
    write_embedding(path, MAP, names)
    table = read_table(path)
    np.testing.assert_array_equal(table.matrix.astype(np.float32), MAP)
    assert table.row_names == (None if suffix == "npz" else names)


def test_columns_are_named(tmp_path):
    write_embedding(tmp_path / "map.tsv", MAP[:1], ["a"])
    assert (tmp_path / "map.tsv").read_bytes() == b"id\ttsne1\ttsne2\na\t0.1\t-2.0\n"


def test_h5ad_is_a_copy_with_the_map(tmp_path, h5ad):
    anndata = pytest.importorskip("anndata")
    before = h5ad.read_bytes()
    write_embedding(tmp_path / "out.h5ad", MAP, source=h5ad)
    assert h5ad.read_bytes() == before
    data = anndata.read_h5ad(tmp_path / "out.h5ad")
    np.testing.assert_array_equal(data.obsm["X_tsne"], MAP)
    np.testing.assert_array_equal(data.layers["counts"], X)
    assert tuple(data.obs_names) == NAMES
    write_embedding(h5ad, MAP + 1, source=h5ad)  # in place, and once more over the first
    write_embedding(h5ad, MAP + 2, source=h5ad)
    data = anndata.read_h5ad(h5ad)
    np.testing.assert_array_equal(data.obsm["X_tsne"], MAP + 2)
    assert "X_pca" in data.obsm


@pytest.mark.parametrize(
    ("name", "source", "error", "message"),
    [
        ("out.cvs", "in.npy", FileFormatError, r"ending is \".cvs\".*Did you mean \".csv\""),
        ("out.mtx", "in.npy", FileFormatError, "cannot be written"),
        ("out", "in.npy", FileFormatError, "cannot be written"),
        ("out.h5ad", "in.npy", FileFormatError, "input must be an .h5ad file too"),
        ("out.h5ad", None, FileFormatError, "input must be an .h5ad file too"),
        ("in.npy", "in.npy", FileFormatError, "is the input"),
        ("old.npy", "in.npy", FileExistsError, "exists already; pass --force"),
        ("in.h5ad", "in.h5ad", FileExistsError, "pass --force to add the map to it"),
        ("reslts/out.npy", "in.npy", FileNotFoundError, 'create it first.*mean "results"'),
        ("folder.npy", "in.npy", IsADirectoryError, "is a folder"),
    ],
)
def test_outputs_refused_before_the_work(tmp_path, name, source, error, message):
    for existing in ("in.npy", "old.npy", "in.h5ad"):
        (tmp_path / existing).touch()
    for folder in ("results", "folder.npy"):
        (tmp_path / folder).mkdir()
    source = None if source is None else tmp_path / source
    with pytest.raises(error, match=message):
        check_output(tmp_path / name, source)


def test_force(tmp_path):
    for name in ("in.npy", "old.npy", "in.h5ad"):
        (tmp_path / name).touch()
    check_output(tmp_path / "old.npy", tmp_path / "in.npy", force=True)
    check_output(tmp_path / "in.h5ad", tmp_path / "in.h5ad", force=True)
    with pytest.raises(FileFormatError, match="is the input"):  # force does not cover the input
        check_output(tmp_path / "in.npy", tmp_path / "in.npy", force=True)


def test_a_closed_folder(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match="may not be written to"):
        check_output(tmp_path / "out.npy")


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
@pytest.mark.parametrize("moment", ["write", "fsync", "replace"])
@pytest.mark.parametrize("existing", [None, b"precious"])
def test_a_failure_leaves_nothing_and_spoils_nothing(
    tmp_path, monkeypatch, error, moment, existing
):
    path = tmp_path / "map.npy"
    if existing:
        path.write_bytes(existing)

    def fail(*arguments, **keywords):
        raise error

    def attempt():
        with whole_or_not_at_all(path) as unfinished:
            unfinished.write_bytes(b"half of")
            assert list(tmp_path.glob(".*")) == [unfinished]
            if moment == "write":
                fail()
            monkeypatch.setattr(os, moment, fail)

    with pytest.raises(type(error)):
        attempt()
    assert list(tmp_path.iterdir()) == ([path] if existing else [])
    assert not existing or path.read_bytes() == existing


@pytest.mark.parametrize("suffix", ["npy", "npz", "csv", "parquet"])
def test_every_writer_goes_through_the_temporary_file(tmp_path, monkeypatch, suffix):
    path = tmp_path / f"map.{suffix}"
    path.write_bytes(b"precious")

    def fail(*arguments):
        assert path.read_bytes() == b"precious"
        raise OSError("disk full")

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(OSError, match="disk full"):
        write_embedding(path, MAP)
    assert list(tmp_path.iterdir()) == [path]


def test_the_data_reach_the_disk_before_the_name(tmp_path, monkeypatch):
    events = []
    fsync, replace = os.fsync, os.replace
    monkeypatch.setattr(os, "fsync", lambda file: (events.append("fsync"), fsync(file)))
    monkeypatch.setattr(os, "replace", lambda *a: (events.append("replace"), replace(*a)))
    write_embedding(tmp_path / "map.npy", MAP)
    assert events == ["fsync", "replace"]


@pytest.mark.skipif(os.name != "posix", reason="modes and links as on Unix")
def test_modes_and_links_are_kept(tmp_path):
    (tmp_path / "plain").touch()
    write_embedding(tmp_path / "new.npy", MAP)
    assert (tmp_path / "new.npy").stat().st_mode == (tmp_path / "plain").stat().st_mode
    (tmp_path / "new.npy").chmod(0o640)
    (tmp_path / "link.npy").symlink_to("new.npy")
    write_embedding(tmp_path / "link.npy", MAP + 1)
    assert (tmp_path / "link.npy").is_symlink()
    np.testing.assert_array_equal(np.load(tmp_path / "new.npy"), MAP + 1)
    assert (tmp_path / "new.npy").stat().st_mode & 0o777 == 0o640


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
def test_names_that_are_numbers_come_back_as_names(tmp_path, ending):
    if ending == ".parquet":
        pytest.importorskip("pyarrow")
    path = tmp_path / f"map{ending}"
    embedding = np.arange(6, dtype=np.float32).reshape(3, 2)
    write_embedding(path, embedding, ["7", "3", "12"])
    table = read_table(path)
    assert table.row_names == ("7", "3", "12")
    np.testing.assert_array_equal(table.matrix, embedding)
