"""Every Python example in README and docs runs; the backend in the docs keeps the contract.

Those of scanpy.md run where scanpy is installed. The tutorial runs in ``test_notebook``, the
scripts of the gallery in ``test_examples``, the pages' command lines in ``test_docs_commands``.
"""

import doctest
import inspect
import pathlib
import pkgutil
import re
import subprocess
import sys
from typing import Any

import pytest

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md")])
LINKING = [
    *PAGES,
    ROOT / "CONTRIBUTING.md",
    ROOT / "CHANGELOG.md",
    ROOT / "benchmarks" / "README.md",
    ROOT / "benchmarks" / "results" / "README.md",
    ROOT / "benchmarks" / "results" / "report.md",
]
FENCE = re.compile(r"^```([^`\n]*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
#: Pages whose examples need more than this package, and the fixture that has it.
NEEDS = {
    "migrating.md": "cloud",
    "remote.md": "cloud",
    "scanpy.md": "scanpy",
    "sweeps.md": "cluster",
}
#: The address in the documentation for which a test has that of its own cluster.
SCHEDULER = "scheduler:8786"


def path_of(page: pathlib.Path) -> str:
    return page.relative_to(ROOT).as_posix()


def fences(page: pathlib.Path) -> list[tuple[str, str]]:
    """Return the language of every fence of a page, and what is in it."""
    return FENCE.findall(page.read_text(encoding="utf-8"))


def blocks(page: pathlib.Path) -> list[str]:
    return [block for language, block in fences(page) if language == "python"]


@pytest.fixture
def scanpy():
    pytest.importorskip("matplotlib").use("Agg")  # its pictures would open a window
    return pytest.importorskip("scanpy")


@pytest.fixture
def cluster():
    distributed = pytest.importorskip("distributed")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, processes=False, dashboard_address=None
    ) as cluster:
        yield cluster


def with_marks(page: pathlib.Path) -> Any:
    # What scanpy and its dependencies warn of is not ours.
    marks = [pytest.mark.filterwarnings("ignore")] if page.name == "scanpy.md" else []
    return pytest.param(page, marks=marks, id=page.name)


@pytest.mark.parametrize("page", [with_marks(page) for page in PAGES])
def test_examples_run(page, tmp_path, monkeypatch, request):
    """Blocks of one page share a namespace, in order; interactive ones are checked as doctests."""
    from sklearn.datasets import load_digits

    monkeypatch.chdir(tmp_path)
    needed = request.getfixturevalue(NEEDS[page.name]) if page.name in NEEDS else None
    digits = load_digits()
    names = {"X": digits.data[:300], "labels": digits.target[:300], "__name__": "docs"}
    for number, block in enumerate(blocks(page)):
        if SCHEDULER in block:
            block = block.replace(SCHEDULER, needed.scheduler_address)
        if block.lstrip().startswith(">>>"):
            test = doctest.DocTestParser().get_doctest(block, names, page.name, str(page), 0)
            flags = doctest.ELLIPSIS | doctest.NORMALIZE_WHITESPACE
            runner = doctest.DocTestRunner(optionflags=flags)
            runner.run(test, clear_globs=False)
            assert runner.summarize(verbose=False).failed == 0
            names.update(test.globs)
        elif "BackendContract" not in block:
            exec(compile(block, f"{page.name}[{number}]", "exec"), names)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_no_python_is_fenced_as_something_else(page):
    """It would not run."""
    for language, block in fences(page):
        assert not re.match(r"py(?!thon$)", language)
        assert language == "python" or ">>>" not in block


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


@pytest.mark.parametrize("page", LINKING, ids=path_of)
def test_links_lead_somewhere(page):
    """Files exist, and headings where a link names one; links to the network are not tried."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(page)):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, heading = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), f"{page.name} links to {target}"
        if heading:
            assert heading in headings(file), f"{page.name} links to {target}"


def prose(page: pathlib.Path) -> str:
    """Return a page without its code, where brackets mean other things."""
    text = re.sub(
        r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL
    )
    return re.sub(r"`[^`\n]+`", "code", text)


def headings(page: pathlib.Path) -> set[str]:
    """Return the targets a forge gives to the headings of a page."""
    found = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", one.lower()).replace(" ", "-") for one in found}


def test_every_page_is_in_the_table_of_contents():
    index = (ROOT / "docs" / "index.md").read_text(encoding="utf-8")
    listed = set(re.findall(r"^([\w-]+\.(?:md|ipynb))$", index, re.MULTILINE))
    pages = {page.name for page in (ROOT / "docs").iterdir() if page.suffix in (".md", ".ipynb")}
    assert listed == pages - {"index.md"}


def test_tables_from_the_code_are_up_to_date():
    sys.path.insert(0, str(ROOT / "docs"))
    try:
        import make_tables
    finally:
        sys.path.remove(str(ROOT / "docs"))
    for name, table, content in make_tables.tables():
        page = (ROOT / "docs" / name).read_text(encoding="utf-8")
        assert make_tables.with_table(page, table, content) == page, "run docs/make_tables.py"


def test_the_reference_names_everything_public():
    """Each name can be imported, and none that the package exports is forgotten."""
    import tsne_backends
    from tsne_backends import errors, plot

    page = (ROOT / "docs" / "reference.md").read_text(encoding="utf-8")
    listed = re.findall(r"^   ([\w.]+)$", page, re.MULTILINE)
    for name in listed:
        assert pkgutil.resolve_name(f"tsne_backends.{name}").__doc__, name
    ends = {name.rpartition(".")[2] for name in listed}
    theirs = [name for name, value in vars(errors).items() if inspect.isclass(value)]
    functions = [name for name in plot.__all__ if not name.isupper() and name != "check_picture"]
    assert not {*tsne_backends.__all__, *theirs, *functions} - {*ends, "Iterable"}
