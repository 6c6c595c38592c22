"""`serverless-tsne quality`: figures of the report, maps of samples, exit codes."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from click.testing import CliRunner

from tsne_backends import ServerlessTSNE, quality_report, sample_rows
from tsne_backends.cli.command import main

QUICK = ["--max-iter", "250", "--random-state", "0", "--perplexity", "10"]
PROJECTION = np.random.RandomState(0).standard_normal((64, 2))


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


@pytest.fixture(name="X")
def _data(digits):
    """Write x.npy and a map of it, map.npy, of 200 rows."""
    np.save("x.npy", digits[:200])
    np.save("map.npy", digits[:200] @ PROJECTION)
    return digits[:200]


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def report_of(*arguments):
    result = run("quality", *arguments, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.output)


def test_json_is_the_report(X):
    Path("kinds.csv").write_text("kind\n" + "\n".join(["a", "b"] * 100) + "\n")
    found = report_of("x.npy", "map.npy", "--labels", "kinds.csv:kind", "--sample", 50)
    expected = quality_report(X, X @ PROJECTION, ["a", "b"] * 100, sample=50)
    assert found == expected.to_dict()


def test_a_table_for_people(X):
    result = run("quality", "x.npy", "map.npy", "--no-kl", "--neighbors", 5)
    assert result.exit_code == 0
    expected = quality_report(X, X @ PROJECTION, k=5, perplexity=None)
    assert result.output == f"{expected}\n"


@pytest.mark.parametrize("ending", [".csv", ".npz", ".parquet"])
def test_the_map_of_a_sample_is_judged_by_its_own_rows(X, ending):
    path = "sampled" + ending
    assert run("embed", "x.npy", "-o", path, "--sample", 90, *QUICK).exit_code == 0
    found = report_of("x.npy", path, "--perplexity", 10)
    rows = sample_rows(200, 90)
    tsne = ServerlessTSNE(max_iter=250, random_state=0, perplexity=10).fit(X[rows])
    expected = quality_report(X[rows], tsne.embedding_, perplexity=10).to_dict()
    for name in ("neighbor_preservation", "trustworthiness", "kl_divergence"):
        # Text tables come back in double precision.
        assert found[name]["value"] == pytest.approx(expected[name]["value"], abs=1e-6)
    assert found["n_samples"] == 90


def test_h5ad_with_rows_that_have_no_place(digits):
    anndata = pytest.importorskip("anndata")
    obs = pd.DataFrame({"kind": ["a", "b"] * 100}, index=[f"c{i}" for i in range(200)])
    anndata.AnnData(digits[:200], obs=obs).write_h5ad("cells.h5ad")
    command = ["embed", "cells.h5ad", "--rep", "X", "-o", "map.h5ad", "--sample", 90, *QUICK]
    assert run(*command).exit_code == 0
    found = report_of("cells.h5ad", "map.h5ad", "--rep", "X", "--labels", "kind", "--no-kl")
    assert found["n_samples"] == 90
    assert found["silhouette"]["value"] is not None
    assert found["kl_divergence"] is None


def test_rows_are_matched_by_name(X):
    names = [f"c{i}" for i in range(200)]
    pd.DataFrame(X, index=names).to_csv("x.csv")
    shuffled = pd.DataFrame(X @ PROJECTION, index=names, columns=["a", "b"]).iloc[::-1]
    shuffled.to_csv("map.csv")
    found = report_of("x.csv", "map.csv", "--no-kl")["trustworthiness"]["value"]
    straight = report_of("x.npy", "map.npy", "--no-kl")["trustworthiness"]["value"]
    assert straight > 0.6  # where rows are mixed up it is 0.5
    # Distances in double and in single precision order pixels' many ties differently.
    assert found == pytest.approx(straight, abs=0.01)


def test_labels_beside_a_map_are_no_part_of_it(X):
    tsne1, tsne2 = (X @ PROJECTION).T
    pd.DataFrame({"tsne1": tsne1, "tsne2": tsne2, "cluster": np.arange(200) % 7}).to_csv("n.csv")
    pd.DataFrame({"tsne1": tsne1, "tsne2": tsne2, "cell": ["T", "B"] * 100}).to_csv("t.csv")
    expected = report_of("x.npy", "map.npy", "--no-kl")
    for path in ("n.csv", "t.csv"):
        assert report_of("x.npy", path, "--no-kl") == expected


def test_row_names_beside_a_map_in_npz_are_used(X):
    names = np.array([f"c{i}" for i in range(200)])
    pd.DataFrame(X, index=names).to_csv("x.csv")
    np.savez("map.npz", embedding=(X @ PROJECTION)[::-1], row_names=names[::-1])
    assert report_of("x.csv", "map.npz", "--no-kl")["trustworthiness"]["value"] > 0.6


@pytest.mark.usefixtures("X")
def test_one_class_is_said_in_words():
    Path("kinds.txt").write_text("a\n" * 200)
    result = run("quality", "x.npy", "map.npy", "--labels", "kinds.txt", "--no-kl")
    assert result.exit_code == 0
    assert "all labels are the same" in result.output


@pytest.mark.usefixtures("X")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["x.npy", "short.npy"], '"short.npy" has 150 rows, but "x.npy" has 200'),
        (["x.npy", "nan.npy"], "not finite"),
        (["x.npy", "point.npy"], "in one place"),
        (["constant.npy", "map.npy"], "All rows of X are equal"),
        (["x.npy", "maps.npy"], 'Did you mean "map.npy"?'),
        (["x.npy", "map.npy", "--labels", "kinds.csv:kind"], 'no file "kinds.csv"'),
        (["x.npy", "map.npy", "--labels", "kind"], 'has no column "kind"'),
        (["x.npy", "map.npy", "--sample", "0"], "positive integer"),
        (["x.npy", "map.npy", "--neighbors", "100"], "less than half of the 200 rows"),
        (["x.npy", "map.npy", "--map-rep", "X_umap"], "leave it out"),
        (["x.npy", "map.npy", "--labels", "scores.txt"], "holds quantities"),
    ],
)
def test_refusals(X, arguments, message):
    np.save("short.npy", X[:150, :2])
    np.save("nan.npy", np.full((200, 2), np.nan))
    np.save("point.npy", np.ones((200, 2)))
    np.save("constant.npy", np.ones((200, 3)))
    Path("scores.txt").write_text("".join(f"{i / 7}\n" for i in range(200)))
    result = run("quality", *arguments)
    assert result.exit_code == 2, result.output
    assert message in result.output
    assert result.output.startswith("Error: ")
