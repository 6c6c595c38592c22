"""The package's door: its public names, and what importing it loads."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

import tsne_backends


def test_public_names_are_imported_when_they_are_used():
    code = """
import sys
before = set(sys.modules)
import tsne_backends
loaded = {name.partition(".")[0] for name in set(sys.modules) - before}
assert not loaded & {"numpy", "sklearn", "joblib"}, loaded
assert set(tsne_backends.__all__) < set(dir(tsne_backends))
for name in tsne_backends.__all__:
    assert getattr(tsne_backends, name).__name__ == name
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        tsne_backends.nothing  # noqa: B018 — looking it up is what raises


def test_type_checkers_see_what_is_imported():
    tree = ast.parse(Path(tsne_backends.__file__).read_text(encoding="utf-8"))
    seen = {
        name.asname: node.module.removeprefix("tsne_backends.")
        for node in ast.walk(tree)
        if isinstance(node, ast.ImportFrom) and node.module.startswith("tsne_backends.")
        for name in node.names
    }
    assert seen == tsne_backends._HOMES
