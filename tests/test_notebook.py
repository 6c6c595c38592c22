"""In notebooks: the progress bar, what estimators show, and the tutorial, in real kernels."""

import importlib.util
from pathlib import Path

import pytest

from tsne_backends import ServerlessTSNE

nbformat = pytest.importorskip("nbformat")
pytest.importorskip("nbclient")
pytest.importorskip("ipykernel")

DOCS = Path(__file__).parent.parent / "docs"


def run_cells(*sources):
    """Execute cells in a kernel of their own and return them with their outputs."""
    from nbclient import NotebookClient

    book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(one) for one in sources])
    NotebookClient(book, timeout=120, kernel_name="python3").execute()
    return book.cells


def html_in(cell):
    return [one.data["text/html"] for one in cell.outputs if "text/html" in one.get("data", {})]


PREPARE = """
from sklearn.datasets import load_digits
from tsne_backends import ServerlessTSNE, display
X = load_digits().data[:300]
tsne = ServerlessTSNE(backend="native", max_iter=250, random_state=0)
"""

#: What is drawn goes through IPython's own messages; they are read from its publisher.
WATCH = """
drawn = []
publish = get_ipython().display_pub.publish
def watched(data, *more, **how):
    drawn.append((data.get("text/html"), how.get("update", False)))
    return publish(data, *more, **how)
get_ipython().display_pub.publish = watched
display.REDRAW_SECONDS = 0.0
"""


@pytest.fixture(scope="module")
def cells():
    return run_cells(
        PREPARE,
        WATCH,
        "coordinates = tsne.fit_transform(X)",
        "get_ipython().display_pub.publish = publish",
        "import json; print(json.dumps(drawn))",
        "tsne",
        "ServerlessTSNE()",
        "tsne.plan_",
        "import sys; print('ipywidgets' in sys.modules)",
    )


def test_a_bar_is_drawn_moved_and_removed(cells):
    import json

    drawn = json.loads(cells[4].outputs[0].text)
    first, *moves, last = drawn
    assert first[1] is False
    assert "<progress" in first[0]
    assert all(is_update for _, is_update in moves)
    assert sum("optimisation: 250/250" in content for content, _ in moves) >= 1
    assert any(", KL " in content for content, _ in moves)
    assert last == ["", True]
    assert html_in(cells[2]) == [""]  # nothing is left of it in the file
    assert not [one for one in cells[2].outputs if one.output_type == "stream"]
    assert cells[8].outputs[0].text.strip() == "False"


def test_estimators_tell_which_engine_made_the_map(cells):
    (fitted,), (new,) = html_in(cells[5]), html_in(cells[6])
    assert "Map of 300 × 2 by backend native: 250 iterations, KL divergence" in fitted
    assert "sk-top-container" in fitted
    assert "sk-top-container" in new
    assert "Map of" not in new


def test_plans_are_tables(cells):
    (table,) = html_in(cells[7])
    assert "<table>" in table
    assert "✔ chosen" in table
    assert "took" in table


def test_outside_notebooks_a_fitted_estimator_shows_the_same(digits):
    from sklearn import config_context

    tsne = ServerlessTSNE(backend="native", max_iter=250).fit(digits)
    assert "by backend native" in tsne._repr_mimebundle_()["text/html"]
    with config_context(display="text"):
        assert set(tsne._repr_mimebundle_()) == {"text/plain"}


@pytest.fixture(scope="module")
def tutorial():
    specification = importlib.util.spec_from_file_location("tutorial", DOCS / "make_tutorial.py")
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_tutorial_runs(tutorial, tmp_path):
    book = tutorial.execute(tutorial.notebook(), tmp_path)  # raises where a cell fails
    pictures = [
        one
        for cell in book.cells
        for one in cell.get("outputs", [])
        if "image/png" in one.get("data", {})
    ]
    assert len(pictures) == 3
    assert not list(tmp_path.iterdir())


def test_the_tutorial_in_the_documentation_is_that_one_with_its_results(tutorial):
    written = nbformat.read(DOCS / "tutorial.ipynb", as_version=4)
    nbformat.validate(written)
    expected = tutorial.notebook().cells
    assert [(one.cell_type, one.source) for one in written.cells] == [
        (one.cell_type, one.source) for one in expected
    ]
    code = [cell for cell in written.cells if cell.cell_type == "code"]
    assert all(cell.execution_count for cell in code)
    assert not [
        one
        for cell in code
        for one in cell.outputs
        if one.output_type != "display_data" and one.output_type != "execute_result"
    ]
    assert (DOCS / "tutorial.ipynb").stat().st_size < 500_000
