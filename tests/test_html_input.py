"""Interactive maps: what is refused before a file appears, and what a file holds."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("bokeh")

from tsne_backends.errors import FileFormatError
from tsne_backends.plot import write_html


def positions(n=50, n_components=2):
    return np.random.default_rng(0).normal(size=(n, n_components)).astype(np.float32)


def description(path):
    """Return what the page is told of ids and columns."""
    document = re.search(
        r'<script type="application/json"[^>]*>(.*?)</script>', path.read_text("utf-8"), re.DOTALL
    )
    text = document[1].replace("&lt;", "<").replace("&gt;", ">").replace("&amp;", "&")
    return json.loads(next(found for found in strings(json.loads(text)) if '"columns"' in found))


def strings(value):
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        for inner in value.values() if isinstance(value, dict) else value:
            yield from strings(inner)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": ["a"] * 49}, "49"),
        ({"labels": {"good": ["a"] * 50, "bad": ["a"] * 51}}, "bad"),
        ({"labels": [None] * 50}, "missing"),
        ({"labels": [np.nan] * 50}, "missing"),
        ({"ids": range(49)}, "49 ids for the 50 rows"),
        ({"ids": "one text"}, "single text"),
        ({"ids": [*range(48), None, 49]}, "1 of 50 ids are missing, the first that of row 48"),
        ({"ids": [*map(str, range(49)), ""]}, "that of row 49"),
    ],
)
def test_bad_labels_and_ids_are_refused(given, message, tmp_path):
    with pytest.raises(ValueError, match=message) as caught:
        write_html(positions(), tmp_path / "map.html", **given)
    assert str(caught.value).endswith(".")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    "embedding",
    [
        np.full((50, 2), np.nan),
        np.where(np.arange(50) == 7, np.inf, positions().T).T,
        np.ones((50, 2)),
        np.ones(50),
        np.ones((0, 2)),
        np.array([["a", "b"]]),
    ],
    ids=["NaN", "infinite", "one place", "one axis", "empty", "text"],
)
def test_bad_maps_are_refused(embedding, tmp_path):
    with pytest.raises(ValueError, match=r"map .*\."):
        write_html(embedding, tmp_path / "map.html")
    assert list(tmp_path.iterdir()) == []


def test_bad_paths_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r"use \.html or \.htm"):
        write_html(positions(), tmp_path / "map.png")
    with pytest.raises(FileNotFoundError, match="create it first"):
        write_html(positions(), tmp_path / "nowhere" / "map.html")
    (tmp_path / "folder.html").mkdir()
    with pytest.raises(IsADirectoryError):
        write_html(positions(), tmp_path / "folder.html")


@pytest.mark.skipif(os.name == "nt", reason="file size limits are POSIX")
def test_a_file_that_cannot_be_finished_leaves_the_old_one(tmp_path):
    path = tmp_path / "map.html"
    path.write_text("old")
    code = (
        "import resource, signal, numpy as np\n"
        "signal.signal(signal.SIGXFSZ, signal.SIG_IGN)\n"
        "from tsne_backends.plot import write_html\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))\n"
        f"write_html(np.random.default_rng(0).normal(size=(50, 2)), {str(path)!r})\n"
    )
    done = subprocess.run([sys.executable, "-B", "-c", code], capture_output=True, text=True)
    assert done.returncode != 0
    assert "OSError" in done.stderr
    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_categories_are_in_natural_order_and_the_rare_share_a_grey(tmp_path):
    names = np.repeat([f"T{number}" for number in range(50)], 2)
    names = np.append(names, [f"T{number}" for number in range(39)])  # T39 to T49 are the rarest
    write_html(positions(len(names)), tmp_path / "map.html", labels=names)
    (column,) = description(tmp_path / "map.html")["columns"]
    assert column["names"] == [f"T{number}" for number in range(50)]
    assert len(column["colours"]) == len(set(column["colours"])) == 39

    write_html(positions(80), tmp_path / "map.html", labels=np.arange(80) % 40)
    (column,) = description(tmp_path / "map.html")["columns"]
    assert column["names"] == [str(number) for number in range(40)]
    assert len(set(column["colours"])) == 40


def test_a_few_extreme_values_do_not_stretch_the_scale(tmp_path):
    values = np.linspace(0, 1, 500)
    values[[3, 4]] = [1e6, np.nan]
    write_html(positions(500), tmp_path / "map.html", labels=values)
    (column,) = description(tmp_path / "map.html")["columns"]
    assert 0 <= column["low"] < column["high"] <= 1
    assert column["extend"] == "max"


def test_data_frames_give_a_column_each(tmp_path):
    pandas, polars = pytest.importorskip("pandas"), pytest.importorskip("polars")
    columns = {"kind": ["a", "b"] * 25, "size": np.arange(50) / 7}
    for frame in (columns, pandas.DataFrame(columns), polars.DataFrame(columns)):
        write_html(positions(), tmp_path / "map.html", labels=frame)
        kind, size = description(tmp_path / "map.html")["columns"]
        assert (kind["name"], kind["names"]) == ("kind", ["a", "b"])
        assert (size["name"], size["low"]) == ("size", 0)
    write_html(positions(), tmp_path / "map.html", labels=pandas.Series([1, 2] * 25, name="donor"))
    assert description(tmp_path / "map.html")["columns"][0]["name"] == "donor"


def test_maps_of_other_dimensions(tmp_path):
    write_html(positions(50, 1), tmp_path / "strip.html")
    write_html(positions(50, 3), tmp_path / "solid.html", title="Mine")
    text = (tmp_path / "solid.html").read_text("utf-8")
    assert "<title>Mine (first 2 of 3 dimensions)</title>" in text


def test_no_matplotlib_is_needed(tmp_path):
    code = (
        "import sys; sys.modules['matplotlib'] = None\n"
        "import numpy as np\n"
        "from tsne_backends.plot import write_html\n"
        f"write_html(np.eye(9)[:, :2], {str(tmp_path / 'map.html')!r}, labels=np.arange(9) / 8)\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
    assert (tmp_path / "map.html").stat().st_size > 1e6


def test_without_bokeh_the_extra_is_named(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "bokeh", None)
    with pytest.raises(ImportError, match=r"serverless-tsne\[interactive\]"):
        write_html(positions(), tmp_path / "map.html")
    assert list(tmp_path.iterdir()) == []
