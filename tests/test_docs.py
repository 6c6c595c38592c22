"""Every Python example in README and docs runs; the backend in the docs keeps the contract."""

import doctest
import pathlib
import re
import subprocess
import sys

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
FENCE = re.compile(r"^```python\n(.*?)^```", re.MULTILINE | re.DOTALL)


def blocks(page: pathlib.Path) -> list[str]:
    return FENCE.findall(page.read_text(encoding="utf-8"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_examples_run(page, tmp_path, monkeypatch):
    """Blocks of one page share a namespace, in order; interactive ones are checked as doctests."""
    from sklearn.datasets import load_digits

    monkeypatch.chdir(tmp_path)
    digits = load_digits()
    names = {"X": digits.data[:300], "labels": digits.target[:300], "__name__": "docs"}
    for number, block in enumerate(blocks(page)):
        if block.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            runner = doctest.DocTestRunner(optionflags=flags)
            runner.run(test, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0
            names.update(test.globs)
        elif "BackendContract" not in block:
            exec(compile(block, f"{page.name}[{number}]", "exec"), names)


def test_the_backend_of_the_docs_keeps_the_contract(tmp_path):
    """Extract the package and the test module of docs/writing-a-backend.md and run them."""
    source, tests = blocks(ROOT / "docs" / "writing-a-backend.md")[:2]
    (tmp_path / "my_backend.py").write_text(source, encoding="utf-8")
    (tmp_path / "test_my_backend.py").write_text(tests, encoding="utf-8")
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(tmp_path)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
    assert re.search(r"\b1[0-9] passed", done.stdout)


def test_links_between_pages_exist():
    for page in [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]:
        for target in re.findall(r"\]\(([^)#:]+?)(?:#[^)]*)?\)", page.read_text(encoding="utf-8")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"
