"""Every script of the gallery runs as it stands, and ends with a picture."""

import os
import pathlib
import subprocess
import sys

import pytest

EXAMPLES = pathlib.Path(__file__).parent.parent / "docs" / "examples"
SCRIPTS = sorted(EXAMPLES.glob("plot_*.py"))
#: Runs a script, then asks what it left.
PROGRAM = """
import runpy, sys
from matplotlib.figure import Figure
names = runpy.run_path(sys.argv[1])
figures = [value for value in names.values() if isinstance(value, Figure)]
assert figures, "no picture"
for figure in figures:
    figure.savefig(sys.argv[2], dpi=30)
"""


@pytest.mark.parametrize("script", SCRIPTS, ids=lambda script: script.stem)
def test_examples_run(script, tmp_path):
    pytest.importorskip("matplotlib")
    if script.stem == "plot_anndata":
        pytest.importorskip("anndata")
    done = subprocess.run(
        [
            sys.executable,
            "-W",
            "error::DeprecationWarning:tsne_backends",
            "-c",
            PROGRAM,
            str(script),
            "picture.png",
        ],
        cwd=tmp_path,
        env={**os.environ, "MPLBACKEND": "Agg"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert (tmp_path / "picture.png").stat().st_size > 1_000
    assert sorted(path.name for path in tmp_path.iterdir()) == ["picture.png"]


def test_there_are_examples():
    assert len(SCRIPTS) >= 6
