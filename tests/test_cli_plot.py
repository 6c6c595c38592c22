"""`serverless-tsne plot`: from files to a picture, and every refusal before one is begun."""

import csv

import numpy as np
import pytest
from click.testing import CliRunner

pytest.importorskip("matplotlib")

from tsne_backends.cli.command import main
from tsne_backends.errors import FileFormatError
from tsne_backends.files import read_coordinates, write_embedding
from tsne_backends.labels import read_label_column

N = 60
Y = np.random.default_rng(0).normal(size=(N, 2)).astype(np.float32)
NAMES = [f"cell {number}" for number in range(N)]


def run(*arguments):
    return CliRunner().invoke(main, ["plot", *map(str, arguments)])


def write_rows(path, header, columns):
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(header)
        writer.writerows(zip(*columns, strict=True))


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """coords.npy, and labels.csv with the columns id, cell_type, donor, depth, many, none."""
    monkeypatch.chdir(tmp_path)
    np.save("coords.npy", Y)
    columns = {
        "id": NAMES,
        "cell_type": np.resize(["B", "T", ""], N),
        "donor": np.resize(["d1", "d2"], N),
        "depth": np.linspace(0.5, 9.5, N),
        "many": [f"type {number}" for number in range(N)],
        "none": [""] * N,
    }
    write_rows("labels.csv", list(columns), list(columns.values()))
    return tmp_path


@pytest.mark.parametrize("ending", [".png", ".pdf", ".svg"])
def test_a_map_with_colours_and_facets(folder, ending):
    result = run(
        *("coords.npy", "--color", "labels.csv:cell_type", "--facet", "labels.csv:donor"),
        *("-o", f"map{ending}", "--title", "A map", "--width", 8, "--dpi", 80),
    )
    assert result.exit_code == 0, result.output
    assert f"Wrote map{ending} (60 points, 8.0 ×" in result.output
    assert (folder / f"map{ending}").stat().st_size > 1000


@pytest.mark.parametrize("suffix", [".npy", ".npz", ".csv", ".tsv", ".parquet"])
def test_what_embed_writes_is_read_back_with_its_row_names(folder, suffix):
    if suffix == ".parquet":
        pytest.importorskip("pyarrow")
    path = folder / f"map{suffix}"
    write_embedding(path, Y, NAMES)
    table = read_coordinates(path)
    np.testing.assert_array_equal(np.asarray(table.matrix, dtype=np.float32), Y)
    assert table.row_names == (None if suffix == ".npy" else tuple(NAMES))
    assert run(path, "-o", folder / "map.png", "--color", "labels.csv:depth").exit_code == 0


def test_labels_beside_the_coordinates(folder):
    columns = [NAMES, Y[:, 0], Y[:, 1], np.resize(["B", "T"], N)]
    write_rows("all.csv", ["id", "tsne1", "tsne2", "cell_type"], columns)
    np.testing.assert_allclose(read_coordinates(folder / "all.csv").matrix, Y)
    result = run("all.csv", "--color", "cell_type", "-o", "map.svg", "--labels", "legend")
    assert result.exit_code == 0, result.output
    assert b"<!-- cell_type -->" in (folder / "map.svg").read_bytes()


def test_an_h5ad_is_drawn_from_its_map(folder):
    anndata = pytest.importorskip("anndata")
    pd = pytest.importorskip("pandas")
    obs = pd.DataFrame({"donor": pd.Categorical(np.resize(["x", "y"], N))}, index=NAMES)
    data = anndata.AnnData(np.ones((N, 3), np.float32), obs=obs, obsm={"X_tsne": Y, "X_big": Y})
    data.write_h5ad(folder / "cells.h5ad")
    result = run("cells.h5ad", "--facet", "donor", "-o", "map.png")
    assert result.exit_code == 0, result.output
    result = run("cells.h5ad", "--rep", "X_umap", "-o", "other.png")
    assert result.exit_code == 2
    assert 'no representation "X_umap"' in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["coords.npy", "-o", "map.pngg"], 'Did you mean ".png"'),
        (["coords.npy", "-o", "there.png"], '"there.png" exists already; pass --force'),
        (["coords.npy", "-o", "nowhere/map.png"], 'The folder "nowhere"'),
        (["cords.npy", "-o", "map.png"], 'no file "cords.npy". Did you mean "coords.npy"'),
        (["broken.npy", "-o", "map.png"], "cannot be read as .npy"),
        (["data.npy", "-o", "map.png"], "holds 30 columns, so it seems to be data"),
        (["nan.npy", "-o", "map.png"], "1 of the 60 points of the map have coordinates"),
        (["same.npy", "-o", "map.png"], "All 60 points of the map lie at the same place"),
        (["ragged.csv", "-o", "map.png"], 'Line 3 of "ragged.csv" has 1 values'),
        (["labels.csv", "-o", "map.png"], '"labels.csv" is no map: it has no columns tsne1'),
        (["text.csv", "-o", "map.png"], 'Line 2 of "text.csv" has a coordinate'),
        (["empty.csv", "-o", "map.png"], "has a header but no rows"),
        (["coords.npy", "-o", "map.png", "--color", "short.txt"], "has 2 rows"),
        (["coords.npy", "-o", "map.png", "--color", "labels.csv:none"], "missing"),
        (["coords.npy", "-o", "map.png", "--color", "labels.csv:many"], "60 categories"),
        (["coords.npy", "-o", "map.png", "--facet", "labels.csv:doner"], 'Did you mean "donor"'),
        (["coords.npy", "-o", "map.png", "--facet", "labels.csv:depth"], "is a quantity"),
        (["coords.npy", "-o", "map.png", "--facet", "labels.csv:many"], "at most 12 panels"),
        (["coords.npy", "-o", "map.png", "--color", "lables.csv:donor"], '"labels.csv"'),
        (["coords.npy", "-o", "map.png", "--color", "donor"], "FILE:COLUMN"),
        (["coords.npy", "-o", "map.png", "--rep", "X_pca"], "--rep chooses"),
        (["coords.npy", "-o", "map.png", "--width", 50, "--dpi", 2400], "more than 32,000 dots"),
        (["coords.npy", "-o", "map.png", "--width", 0], "--width"),
        (["coords.npy", "-o", "map.png", "--labels", "map"], "--labels"),
    ],
)
def test_bad_input_ends_with_a_sentence_and_no_picture(folder, arguments, message):
    (folder / "there.png").write_bytes(b"precious")
    (folder / "broken.npy").write_bytes(b"\x93NUMPY garbage")
    np.save("data.npy", np.zeros((N, 30)))
    np.save("nan.npy", np.where(np.arange(N)[:, None] == 7, np.nan, Y))
    np.save("same.npy", np.ones((N, 2)))
    (folder / "ragged.csv").write_text("tsne1,tsne2\n1,2\n3\n")
    (folder / "text.csv").write_text("tsne1,tsne2\n1,two\n")
    (folder / "empty.csv").write_text("tsne1,tsne2\n")
    (folder / "short.txt").write_text("a\nb\n")
    before = sorted(folder.iterdir())
    result = run(*arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert sorted(folder.iterdir()) == before
    assert (folder / "there.png").read_bytes() == b"precious"


def test_too_many_categories_can_be_merged(folder):
    result = run("coords.npy", "-o", "m.png", "--color", "labels.csv:many", "--max-categories", 5)
    assert result.exit_code == 0, result.output
    assert run("coords.npy", "-o", "m.png", "--force").exit_code == 0


def test_a_coordinate_that_is_missing_in_parquet(folder):
    pyarrow = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    table = pyarrow.table({"tsne1": [0.0, None], "tsne2": [1.0, 2.0], "type": ["a", "b"]})
    parquet.write_table(table, folder / "map.parquet")
    result = run("map.parquet", "-o", "map.png")
    assert result.exit_code == 2
    assert "not finite, the first in row 1" in result.output


def test_a_sparse_matrix_is_not_a_map(folder):
    from scipy.sparse import csr_matrix, save_npz

    save_npz(folder / "data.npz", csr_matrix(np.eye(3)))
    with pytest.raises(FileFormatError, match="seems to be data"):
        read_coordinates(folder / "data.npz")


def test_a_page_to_move_about_in(folder):
    pytest.importorskip("bokeh")
    write_embedding(folder / "map.csv", Y, NAMES)
    colours = ("--color", "labels.csv:cell_type", "--color", "labels.csv:depth")
    result = run("map.csv", *colours, "-o", "map.html", "--title", "A <b>map</b>")
    assert result.exit_code == 0, result.output
    page = (folder / "map.html").read_text(encoding="utf-8")
    assert "cell 59" in page
    assert "cell_type" in page
    assert "A <b>map</b>" not in page
    assert run("map.csv", "-o", "map.html").exit_code == 2  # it exists


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["-o", "map.html", "--facet", "labels.csv:donor"], "--facet is for pictures"),
        (["-o", "map.html", "--dpi", 80], "--dpi is for pictures"),
        (["-o", "map.html", "--labels", "legend"], "--labels is for pictures"),
        (["-o", "map.html", "--max-categories", 5], "--max-categories is for pictures"),
        (["-o", "map.html", "--color", "labels.csv:none"], 'Every value of "none" is missing'),
        (["-o", "a.png", *2 * ["--color", "labels.csv:donor"]], "--color was given 2 times"),
    ],
)
def test_options_that_do_not_go_together(folder, arguments, message):
    pytest.importorskip("bokeh")
    before = sorted(folder.iterdir())
    result = run("coords.npy", *arguments)
    assert (result.exit_code, message in result.output) == (2, True), result.output
    assert sorted(folder.iterdir()) == before


def test_a_column_alone_is_of_the_file_that_another_option_names(folder):
    result = run(
        *("coords.npy", "--color", "labels.csv:cell_type", "--facet", "donor"), "-o", "map.png"
    )
    assert result.exit_code == 0, result.output
    result = run("coords.npy", "--color", "labels.csv:cell_type", "--facet", "doner", "-o", "b.png")
    assert (result.exit_code, 'Did you mean "donor"' in result.output) == (2, True)


@pytest.mark.parametrize("suffix", [".csv", ".npz", ".h5ad"])
def test_the_map_of_a_sample_finds_its_labels(folder, suffix):
    source, colour = "X.npy", "labels.csv:cell_type"
    X = np.random.default_rng(0).normal(size=(N, 5)).astype(np.float32)
    np.save("X.npy", X)
    if suffix == ".h5ad":
        anndata = pytest.importorskip("anndata")
        cells = anndata.AnnData(X)
        cells.obs["batch"] = np.resize(["a", "b"], N)
        cells.write_h5ad("X.h5ad")
        source, colour = "X.h5ad", "batch"
    options = ["--sample", 40, "--perplexity", 5, "--max-iter", 250, "--random-state", 0]
    made = CliRunner().invoke(main, ["embed", source, "-o", f"map{suffix}", *map(str, options)])
    assert made.exit_code == 0, made.output
    result = run(f"map{suffix}", "--color", colour, "-o", "map.png")
    assert result.exit_code == 0, result.output
    assert "(40 points" in result.output


def test_labels_of_a_sample_are_found_by_number(folder):
    write_embedding(folder / "map.csv", Y[:3], ["7", "2", "59"])
    table = read_coordinates(folder / "map.csv")
    column = read_label_column("labels.csv:depth", folder / "map.csv", table.row_names, 3)
    np.testing.assert_allclose(column.values, np.linspace(0.5, 9.5, N)[[7, 2, 59]])
