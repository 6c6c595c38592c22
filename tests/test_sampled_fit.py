"""Maps of a sample on the command line: what is written, where the rest goes, what is refused."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tsne_backends import ServerlessTSNE, sample_rows
from tsne_backends.cli.command import main
from tsne_backends.sampled_fit import fit_sample

QUICK = ["--max-iter", "250", "--random-state", "0", "--perplexity", "10"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="X")
def _data(digits):
    """Write x.npy, of 200 rows, and return its content."""
    np.save("x.npy", digits[:200])
    return digits[:200]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def embed(*arguments):
    result = run("embed", *arguments, *QUICK)
    assert result.exit_code == 0, result.output
    return result.output


def reference(X, rows):
    return ServerlessTSNE(max_iter=250, random_state=0, perplexity=10).fit(X[rows])


def test_the_map_is_that_of_the_sampled_rows(X):
    output = embed("x.npy", "-o", "map.npz", "--sample", 90)
    rows = sample_rows(200, 90, random_state=0)
    with np.load("map.npz") as archive:
        np.testing.assert_array_equal(archive["rows"], rows)
        np.testing.assert_array_equal(archive["embedding"], reference(X, rows).embedding_)
        assert "row_names" not in archive.files
    assert "Drew 90 of 200 rows." in output
    assert "Wrote map.npz (90 × 2)." in output


@pytest.mark.parametrize("ending", [".csv", ".tsv", ".parquet"])
@pytest.mark.usefixtures("X")
def test_tables_number_the_rows(ending):
    embed("x.npy", "-o", "map" + ending, "--sample", 90)
    frame = {
        ".csv": pd.read_csv,
        ".tsv": lambda path: pd.read_csv(path, sep="\t"),
        ".parquet": pd.read_parquet,
    }[ending]("map" + ending)
    assert list(frame.columns) == ["id", "tsne1", "tsne2"]
    assert frame["id"].astype(int).tolist() == sample_rows(200, 90).tolist()


def test_tables_name_the_rows_where_the_data_do(X):
    names = [f"cell_{i}" for i in range(200)]
    pd.DataFrame(X, index=names).to_csv("x.csv")
    embed("x.csv", "-o", "map.csv", "--sample", 90)
    assert pd.read_csv("map.csv")["id"].tolist() == [names[i] for i in sample_rows(200, 90)]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv"])
def test_the_rest_is_placed_in_the_order_of_the_data(X, ending):
    output = embed("x.npy", "-o", "map" + ending, "--sample", 90, "--place-rest")
    rows = sample_rows(200, 90)
    tsne = reference(X, rows)
    expected = np.empty((200, 2), np.float32)
    rest = np.setdiff1d(np.arange(200), rows)
    expected[rows], expected[rest] = tsne.embedding_, tsne.transform(X[rest])
    if ending == ".npy":
        written = np.load("map.npy")
    elif ending == ".npz":
        with np.load("map.npz") as archive:
            assert archive.files == ["embedding"]
            written = archive["embedding"]
    else:
        frame = pd.read_csv("map.csv")
        assert list(frame.columns) == ["tsne1", "tsne2"]
        written = frame.to_numpy(np.float32)
    np.testing.assert_array_equal(written, expected)
    told = [line.partition(" ")[0] for line in output.splitlines() if line[0] != " "]
    assert [told[0], *told[-2:]] == ["Read", "Placed", "Wrote"]
    assert "Placed the other 110 rows on the map." in output
    assert "(200 × 2)" in output


def test_h5ad_holds_nan_where_a_row_has_no_place(digits):
    anndata = pytest.importorskip("anndata")
    kinds = pd.Categorical(["common"] * 190 + ["rare"] * 10)
    obs = pd.DataFrame({"cell_type": kinds}, index=[f"c{i}" for i in range(200)])
    anndata.AnnData(digits[:200], obs=obs).write_h5ad("cells.h5ad")
    sampling = ["--rep", "X", "--sample", 60, "--stratify", "cell_type"]
    output = embed("cells.h5ad", "-o", "map.h5ad", *sampling)
    assert "of every class of cell_type at least 10" in output
    placed = np.isfinite(anndata.read_h5ad("map.h5ad").obsm["X_tsne"]).all(axis=1)
    rows = sample_rows(200, 60, stratify=kinds)
    np.testing.assert_array_equal(np.flatnonzero(placed), rows)
    assert placed[190:].all()
    embed("cells.h5ad", "-o", "whole.h5ad", *sampling, "--place-rest")
    assert np.isfinite(anndata.read_h5ad("whole.h5ad").obsm["X_tsne"]).all()


def test_labels_among_the_data_are_not_embedded(X):
    """Also where they are numbers, which could be."""
    columns = pd.DataFrame(X, columns=[f"f{i}" for i in range(X.shape[1])])
    columns.insert(0, "kind", [0] * 195 + [1] * 5)
    columns.to_csv("x.csv", index=False)
    output = embed("x.csv", "-o", "map.csv", "--sample", 90, "--stratify", "kind")
    rows = sample_rows(200, 90, stratify=columns["kind"])
    expected = reference(pd.read_csv("x.csv").to_numpy()[:, 1:], rows).embedding_
    frame = pd.read_csv("map.csv", index_col="id")
    np.testing.assert_array_equal(frame.to_numpy(np.float32), expected)
    first = output.splitlines()[0]
    assert first.startswith('Read all columns but "kind" of x.csv in ')


@pytest.mark.usefixtures("X")
def test_strata_from_a_file_of_their_own():
    Path("types.txt").write_text("\n".join(["a"] * 195 + ["b"] * 5) + "\n")
    embed("x.npy", "-o", "map.npz", "--sample", 40, "--stratify", "types.txt")
    with np.load("map.npz") as archive:
        assert set(range(195, 200)) <= set(archive["rows"].tolist())


def test_a_sample_of_all_rows_is_an_ordinary_map(X):
    embed("x.npy", "-o", "map.csv", "--sample", 500)
    frame = pd.read_csv("map.csv")
    assert list(frame.columns) == ["tsne1", "tsne2"]
    expected = reference(X, np.arange(200)).embedding_
    np.testing.assert_array_equal(frame.to_numpy(np.float32), expected)


def test_sparse_rows_are_placed_too(X):
    from scipy.sparse import csr_matrix

    rows = sample_rows(200, 120)
    tsne = ServerlessTSNE(max_iter=250, random_state=0, perplexity=10)
    placed = fit_sample(tsne, csr_matrix(X), rows, place_rest=True)
    assert placed.is_whole
    assert np.isfinite(placed.embedding).all()


@pytest.mark.usefixtures("X")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--place-rest"], "--place-rest needs a sample"),
        (["--stratify", "types.txt"], "--stratify needs a sample"),
        (["--sample", 0], "positive integer"),
        (["--sample", -5], "positive integer"),
        (["--sample", 10], "too small for perplexity 10"),
        (["--sample", 90, "--metric", "precomputed"], "takes distances"),
        (["--sample", 90, "--stratify", "type"], '"absent.npy" has no column "type"'),
        (["--sample", 90, "--stratify", "typos.txt"], 'no file "typos.txt"'),
    ],
)
def test_refusals_before_the_data_are_read(arguments, message):
    result = run("embed", "absent.npy", "-o", "map.csv", *QUICK, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert "absent.npy" not in result.output.replace(f"{message}", "")
    assert not Path("map.csv").exists()


@pytest.mark.usefixtures("X")
def test_npy_cannot_say_which_rows_it_holds():
    result = run("embed", "absent.npy", "-o", "map.npy", "--sample", 90, *QUICK)
    assert result.exit_code == 2
    assert "could not tell which rows were sampled" in result.output


@pytest.mark.usefixtures("X")
def test_labels_that_do_not_fit_are_refused():
    Path("types.txt").write_text("a\nb\n")
    result = run(
        "embed", "x.npy", "-o", "map.npz", "--sample", 90, "--stratify", "types.txt", *QUICK
    )
    assert result.exit_code == 2
    assert '"types.txt" has 2 rows, but the data have 200' in result.output


def test_a_row_that_cannot_be_placed_is_found_before_the_fit(X, monkeypatch):
    flawed = X.copy()
    rows = sample_rows(200, 90)
    flawed[np.setdiff1d(np.arange(200), rows)[0], 0] = np.nan
    np.save("flawed.npy", flawed)

    def fit(self, X):
        raise AssertionError("work was started")

    monkeypatch.setattr(ServerlessTSNE, "fit", fit)
    result = run("embed", "flawed.npy", "-o", "map.npy", "--sample", 90, "--place-rest", *QUICK)
    assert result.exit_code == 2
    assert "no place on a map" in result.output
