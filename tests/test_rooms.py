"""The architecture page names every module, and a module imports only what its row says."""

import ast
import pathlib
import re

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PACKAGES = ("tsne_backends", "backends_remote")
PAGE = (ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
ROW = re.compile(
    r"^\| (`(?:tsne_backends|backends_remote)/[^|]*) \| [^|]* \| ([^|]*) \|$", re.MULTILINE
)
#: Words for what needs no list.
ANYTHING = re.compile(r"everything|the rest of")


def files_of(cell: str) -> list[pathlib.Path]:
    """Return the modules that the first cell of a row names; bare names are in the last folder."""
    files: list[pathlib.Path] = []
    folder = ROOT
    for name in re.findall(r"`([^`]+)`", cell):
        where = ROOT if name.startswith(PACKAGES) else folder
        found = [*where.glob(f"*{name}" if name.startswith(".") else name)]
        assert found, f"docs/architecture.md names {name}, which does not exist"
        folder = found[0] if found[0].is_dir() else found[0].parent
        files += [file for one in found for file in (one.glob("*.py") if one.is_dir() else [one])]
    return [file for file in files if file.suffix == ".py"]


ROWS = [(files_of(cell), words) for cell, words in ROW.findall(PAGE)]


def name_of(file: pathlib.Path) -> str:
    """Return a module as rows write it: `plan`, `gpu/arrays`, `backends_remote/wire`."""
    return str(file.relative_to(ROOT).with_suffix("")).removeprefix("tsne_backends/")


def imported(file: pathlib.Path) -> set[str]:
    """Return the modules of ours that a module imports, as rows write them."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if not isinstance(node, ast.ImportFrom) or not node.module:
            continue
        if node.module.partition(".")[0] not in PACKAGES:
            continue
        path = ROOT / node.module.replace(".", "/")
        for name in node.names:
            inside = (path / name.name).with_suffix(".py")
            found.add(name_of(inside) if inside.exists() else name_of(path))
    return found


def allowed(file: pathlib.Path, words: str) -> set[str]:
    """Return what a row lets a module import, with what every module may."""
    open_to_all = re.search(r"^Open to all: (.*)\.$", PAGE, re.MULTILINE)
    assert open_to_all
    folder = name_of(file).rpartition("/")[0]
    named = [*re.findall(r"[\w/]+", words), *re.findall(r"`([\w/]+)`", open_to_all[1])]
    top = name_of(file).partition("/")[0]
    return {*named, *(f"{within}/{one}" for one in named for within in (folder, top))}


@pytest.mark.parametrize(
    ("file", "words"),
    [(file, words) for files, words in ROWS for file in files],
    ids=lambda value: name_of(value) if isinstance(value, pathlib.Path) else "",
)
def test_a_module_imports_what_its_row_says(file, words):
    if ANYTHING.search(words):
        return
    beside = {name_of(other) for files, _ in ROWS if file in files for other in files}
    theirs = allowed(file, words) | beside
    surplus = {one for one in imported(file) - theirs if one.partition("/")[0] not in theirs}
    if "tsne_backends" in theirs:  # all of it, to a module of the remote side
        surplus = {one for one in surplus if one.startswith("backends_remote/")}
    assert surplus == set()


def test_every_module_has_a_row():
    modules = {file for package in PACKAGES for file in (ROOT / package).rglob("*.py")}
    listed = {file for files, _ in ROWS for file in files}
    left_out = {name_of(file) for file in modules - listed if file.name != "__init__.py"}
    assert left_out == set()


def test_the_local_side_does_not_know_the_remote_one():
    """Only the registry and `cli/command.py` do, each by a dotted path."""
    for file in (ROOT / "tsne_backends").rglob("*.py"):
        assert not {one for one in imported(file) if one.startswith("backends_remote")}, file
