"""t-SNE of AnnData objects and their files, beside scanpy's own."""

import os
import warnings

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tsne_backends.anndata import tsne
from tsne_backends.cli.command import main
from tsne_backends.files import h5ad
from tsne_backends.files.in_place import PAGE_BYTES, changed_in_place

anndata = pytest.importorskip("anndata")
h5py = pytest.importorskip("h5py")

QUICK = {"max_iter": 250, "backend": "native"}


@pytest.fixture
def scanpy():
    # What it and its dependencies warn of at import is not ours.
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return pytest.importorskip("scanpy")


@pytest.fixture
def cells():
    """60 cells of 80 genes with components and another representation."""
    random = np.random.default_rng(0)
    adata = anndata.AnnData(random.normal(size=(60, 80)).astype(np.float32))
    adata.obsm["X_pca"] = random.normal(size=(60, 20)).astype(np.float32)
    adata.obsm["X_scVI"] = random.normal(size=(60, 5)).astype(np.float32)
    return adata


@pytest.fixture
def path(cells, tmp_path):
    cells.write_h5ad(tmp_path / "cells.h5ad")
    return tmp_path / "cells.h5ad"


# Objects.


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("key_added", [None, "mine"])
def test_the_layout_is_scanpys(scanpy, key_added):
    theirs, ours = (scanpy.datasets.pbmc68k_reduced() for _ in range(2))
    given = {"use_rep": "X_pca", "perplexity": 20, "n_jobs": 1, "key_added": key_added}
    scanpy.tl.tsne(theirs, **given)
    tsne(ours, **given, max_iter=250)
    assert set(ours.obsm) == set(theirs.obsm)
    assert set(ours.uns) == set(theirs.uns)
    obsm_key, uns_key = (key_added or "X_tsne"), (key_added or "tsne")
    one, other = theirs.obsm[obsm_key], ours.obsm[obsm_key]
    assert (type(one), one.shape, one.dtype) == (type(other), other.shape, other.dtype)
    expected = {"params": {**theirs.uns[uns_key]["params"], "learning_rate": "auto"}}
    assert ours.uns[uns_key] == expected


@pytest.mark.filterwarnings("ignore")
def test_scanpy_draws_it(scanpy, tmp_path):
    pytest.importorskip("matplotlib").use("Agg")
    adata = scanpy.datasets.pbmc68k_reduced()
    tsne(adata, n_pcs=10, **QUICK)
    axes = scanpy.pl.tsne(adata, color="bulk_labels", show=False)
    drawn = np.concatenate([np.asarray(points.get_offsets()) for points in axes.collections])
    assert {tuple(place) for place in adata.obsm["X_tsne"]} <= {tuple(p) for p in drawn}
    adata.write_h5ad(tmp_path / "written.h5ad")
    again = anndata.read_h5ad(tmp_path / "written.h5ad")
    assert again.uns["tsne"]["params"]["perplexity"] == 30


def test_the_representation_is_chosen_as_in_scanpy(cells):
    def map_of(adata, **how):
        return tsne(adata, copy=True, **how, **QUICK, perplexity=10).obsm["X_tsne"]

    by_default = map_of(cells)
    np.testing.assert_array_equal(by_default, map_of(cells, use_rep="X_pca"))
    assert not np.array_equal(by_default, map_of(cells, n_pcs=5))
    assert not np.array_equal(by_default, map_of(cells, use_rep="X_scVI"))
    np.testing.assert_array_equal(map_of(cells, n_pcs=0), map_of(cells, use_rep="X"))
    few = cells[:, :30].copy()
    np.testing.assert_array_equal(map_of(few), map_of(few, use_rep="X"))
    assert "X_tsne" not in cells.obsm
    cells.obsm["frame"] = pd.DataFrame(cells.obsm["X_scVI"], index=cells.obs_names)
    cells.obsm["frame"].columns = list("abcde")
    np.testing.assert_array_equal(map_of(cells, use_rep="frame"), map_of(cells, use_rep="X_scVI"))


def test_a_map_repeats_and_nothing_is_returned(cells):
    assert tsne(cells, perplexity=10, **QUICK) is None
    first = cells.obsm["X_tsne"]
    tsne(cells, perplexity=10, **QUICK)
    np.testing.assert_array_equal(first, cells.obsm["X_tsne"])


@pytest.mark.parametrize(
    ("how", "error", "message"),
    [
        ({"use_rep": "X_pa"}, ValueError, 'Did you mean "X_pca"'),
        ({"n_pcs": 21}, ValueError, '"X_pca" has 20 columns'),
        ({"perplexty": 5}, TypeError, 'Did you mean "perplexity"'),
        ({"perplexity": 60}, ValueError, "must be less than n_samples"),
    ],
)
def test_what_is_refused(cells, how, error, message):
    with pytest.raises(error, match=message):
        tsne(cells, **how)
    assert set(cells.obsm) == {"X_pca", "X_scVI"}
    assert "tsne" not in cells.uns


def test_many_variables_without_components_are_refused(cells):
    del cells.obsm["X_pca"]
    with pytest.raises(ValueError, match=r"run sc\.pp\.pca\(adata\)"):
        tsne(cells)
    with pytest.raises(TypeError, match="given a ndarray"):
        tsne(np.ones((5, 5)))


@pytest.mark.parametrize("use_rep", ["X_pca", "X"])
def test_backed_files(path, cells, use_rep):
    backed = anndata.read_h5ad(path, backed="r+")
    tsne(backed, use_rep, perplexity=10, **QUICK)
    assert backed.isbacked
    tsne(cells, use_rep, perplexity=10, **QUICK)
    np.testing.assert_array_equal(backed.obsm["X_tsne"], cells.obsm["X_tsne"])
    with pytest.raises(ValueError, match="to_memory"):
        tsne(backed, copy=True)
    backed.write()
    backed.file.close()
    assert "X_tsne" in anndata.read_h5ad(path).obsm


def test_a_sparse_x_in_a_file(cells, tmp_path):
    from scipy.sparse import csr_matrix

    cells.X = csr_matrix(np.where(cells.X > 1, cells.X, 0))
    cells.write_h5ad(tmp_path / "sparse.h5ad")
    backed = anndata.read_h5ad(tmp_path / "sparse.h5ad", backed="r")
    tsne(backed, "X", perplexity=10, **QUICK)
    assert backed.obsm["X_tsne"].shape == (60, 2)
    backed.file.close()


# Files.


def embed(*arguments):
    given = ["embed", *map(str, arguments), "--perplexity", "10", "--max-iter", "250"]
    given += ["--random-state", "0"]
    return CliRunner().invoke(main, given)


def test_a_file_is_changed_in_place(path, cells):
    node = path.stat().st_ino
    result = embed(path, "--rep", "X_pca", "--in-place")
    assert result.exit_code == 0, result.output
    assert path.stat().st_ino == node  # neither copied nor replaced
    again = anndata.read_h5ad(path)
    assert again.obsm["X_tsne"].shape == (60, 2)
    np.testing.assert_array_equal(again.X, cells.X)
    np.testing.assert_array_equal(again.obsm["X_pca"], cells.obsm["X_pca"])
    refused = embed(path, "--rep", "X_pca", "--in-place")
    assert refused.exit_code == 2
    assert 'has obsm["X_tsne"] already; pass --force' in refused.output
    assert embed(path, "--rep", "X_scVI", "--in-place", "--force").exit_code == 0
    assert embed(path, "--rep", "X_scVI", "--in-place", "--key-added", "X_two").exit_code == 0
    changed = anndata.read_h5ad(path)
    assert not np.array_equal(changed.obsm["X_tsne"], again.obsm["X_tsne"])
    np.testing.assert_array_equal(changed.obsm["X_two"], changed.obsm["X_tsne"])


def test_x_is_not_read_where_a_representation_is_named(path):
    with h5py.File(path, "r+") as file:
        shape = file["X"].shape
        del file["X"]
        file["X"] = "not a matrix at all"
    assert shape == (60, 80)
    assert embed(path, "--rep", "X_pca", "--in-place").exit_code == 0


def test_a_copy_may_have_another_key(path, tmp_path):
    assert embed(path, "-o", tmp_path / "two.h5ad", "--key-added", "X_mine").exit_code == 0
    assert "X_mine" in anndata.read_h5ad(tmp_path / "two.h5ad").obsm
    assert "X_mine" not in anndata.read_h5ad(path).obsm


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "either an output with --output, or pass --in-place"),
        (["--in-place", "-o", "other.h5ad"], "either an output"),
        (["-o", "map.csv", "--key-added", "k"], "--key-added names a part of an .h5ad"),
        (["--in-place", "--rep", "X_pa"], 'Did you mean "X_pca"'),
    ],
)
def test_what_the_command_refuses(path, arguments, message):
    before = path.read_bytes()
    result = embed(path, *arguments)
    assert result.exit_code == 2
    assert message in result.output
    assert path.read_bytes() == before


def test_other_formats_and_files_in_use_are_refused(path, tmp_path):
    np.save(tmp_path / "X.npy", np.ones((50, 3)))
    result = embed(tmp_path / "X.npy", "--in-place")
    assert result.exit_code == 2
    assert "Only .h5ad files can be changed in place" in result.output
    missing = embed(tmp_path / "cell.h5ad", "--in-place")
    assert missing.exit_code == 2
    assert 'Did you mean "cells.h5ad"' in missing.output
    with h5py.File(path, "r"):
        result = embed(path, "--in-place", "--rep", "X_pca")
    assert result.exit_code == 2
    assert "is open in another program" in result.output


@pytest.mark.parametrize("error", [OSError("no space left"), KeyboardInterrupt()])
@pytest.mark.parametrize("at", ["inside", "while new parts are written"])
def test_a_failure_leaves_the_file_as_it_was(path, monkeypatch, error, at):
    before = path.read_bytes()

    def fail(*_):
        raise error

    if at == "inside":
        monkeypatch.setattr(h5ad, "add_to_obsm", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(type(error)):
        h5ad.add_in_place(path, np.ones((60, 2), dtype=np.float32))
    assert path.read_bytes() == before


def test_a_file_that_changed_meanwhile_is_left_alone(path):
    def change():
        with changed_in_place(path) as file:
            file.create_dataset("note", data=1)
            with h5py.File(path, "r+") as other:
                other.create_dataset("theirs", data=2)

    with pytest.raises(OSError, match="was changed by another program"):
        change()
    with h5py.File(path) as file:
        assert "theirs" in file
        assert "note" not in file


def test_little_is_overwritten(cells, tmp_path):
    """What was in the file stays where it was, but for the pages that point to what is new."""
    big = anndata.AnnData(np.random.default_rng(0).normal(size=(2_000, 300)).astype(np.float32))
    path = tmp_path / "big.h5ad"
    big.write_h5ad(path)
    before = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    h5ad.add_in_place(path, np.ones((2_000, 2), dtype=np.float32))
    after = np.frombuffer(path.read_bytes(), dtype=np.uint8)
    assert len(after) >= len(before) + 2_000 * 2 * 4
    changed = np.flatnonzero(before != after[: len(before)]) // PAGE_BYTES
    assert len(np.unique(changed)) <= 8
    np.testing.assert_array_equal(anndata.read_h5ad(path).X, big.X)
