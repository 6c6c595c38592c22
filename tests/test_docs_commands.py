"""Every `serverless-tsne` line of README and docs runs, page by page, on small data."""

import pathlib
import re
import shlex

import numpy as np
import pytest
from click.testing import CliRunner

from tsne_backends.cli.command import main

ROOT = pathlib.Path(__file__).parent.parent
FENCE = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
LINE = re.compile(r"^\$ serverless-tsne ([^#\n]*)", re.MULTILINE)
#: Those that need an account; `test_cli_remote` runs them against the loopback.
REMOTE = {"deploy", "doctor", "jobs", "attach", "cancel", "data", "undeploy"}
#: A page speaks of more rows, and of a longer time, than a test has.
SMALLER = {"--sample 100000": "--sample 60", "calibrate": "calibrate --seconds 1"}
ROWS = 120


def commands(page):
    fences = FENCE.findall(page.read_text(encoding="utf-8"))
    found = [line for fence in fences for line in LINE.findall(fence)]
    return [line.strip() for line in found if line.split()[0] not in REMOTE]


PAGES = [page for page in (ROOT / "README.md", *(ROOT / "docs").glob("*.md")) if commands(page)]


def obs():
    import pandas as pd

    random = np.random.default_rng(0)
    cell_types = random.choice(["B cell", "T cell", "monocyte"], ROWS)
    columns = {"cell_type": cell_types, "leiden": random.choice(["0", "1", "2"], ROWS)}
    columns |= {
        "donor": random.choice(["a", "b"], ROWS),
        "n_genes": random.integers(200, 900, ROWS),
    }
    return pd.DataFrame(columns, index=[f"cell{number}" for number in range(ROWS)])


def write_cells(name, *keys):
    import anndata

    random = np.random.default_rng(1)
    cells = anndata.AnnData(random.random((ROWS, 8), dtype=np.float32), obs=obs())
    for key in ("X_pca", "X_scVI"):
        cells.obsm[key] = random.normal(size=(ROWS, 10)).astype(np.float32)
    for key in keys:
        cells.obsm[key] = random.normal(size=(ROWS, 2)).astype(np.float32)
    cells.write_h5ad(name)


def write_map_table(name):
    rows = np.random.default_rng(2).normal(size=(ROWS, 2))
    lines = [f"cell{number},{x},{y}" for number, (x, y) in enumerate(rows)]
    pathlib.Path(name).write_text("\n".join(["id,tsne1,tsne2", *lines]), encoding="utf-8")


#: How to make what a page expects a user to have.
MAKERS = {
    "cells.h5ad": write_cells,
    "map.h5ad": lambda name: write_cells(name, "X_tsne"),
    "X.npy": lambda name: np.save(name, np.random.default_rng(3).normal(size=(ROWS, 6))),
    "coords.npy": lambda name: np.save(name, np.random.default_rng(4).normal(size=(ROWS, 2))),
    "coords.csv": write_map_table,
    "labels.csv": lambda name: obs().to_csv(name, index_label="id"),
    "cells.csv": lambda name: obs().to_csv(name, index_label="id"),
}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_the_commands_of_a_page_run(page, tmp_path, monkeypatch):
    for name in ("anndata", "pandas", "matplotlib", "bokeh"):
        pytest.importorskip(name)
    monkeypatch.chdir(tmp_path)
    runner, embeds = CliRunner(), False
    for line in commands(page):
        for longer, shorter in SMALLER.items():
            line = line.replace(longer, shorter)
        words = shlex.split(line)
        written = words[words.index("-o") + 1] if "-o" in words else None
        for name in {word.partition(":")[0] for word in words} & {*MAKERS}:
            if name != written and not pathlib.Path(name).exists():
                MAKERS[name](name)
        if words[:2] == ["plot", "cells.h5ad"] and not embeds:  # a page about finished maps
            write_cells("cells.h5ad", "X_tsne")
        embeds |= words[0] == "embed"
        done = runner.invoke(main, words)
        assert done.exit_code == 0, f"serverless-tsne {line}\n{done.output}"
        assert written is None or pathlib.Path(written).stat().st_size > 0


def test_there_are_commands():
    assert sum(len(commands(page)) for page in PAGES) > 25
