"""Pictures of maps: what is drawn, in which colours, and that files appear whole or not at all."""

import os
import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.colors import to_hex

from tsne_backends.errors import FileFormatError
from tsne_backends.plot import LEGEND_ROWS, MARKERS, PALETTE, save_figure, scatter


def positions(n=60, n_components=2):
    return np.random.default_rng(0).normal(size=(n, n_components)).astype(np.float32)


def drawn(figure):
    return np.concatenate([c.get_offsets() for c in figure.axes[0].collections])


def names_in(figure):
    return [text.get_text() for text in figure.legends[0].get_texts()]


def test_every_point_is_drawn_in_another_order():
    Y = positions()
    figure = scatter(Y, title="A map")
    axes = figure.axes[0]
    assert not np.allclose(drawn(figure), Y)
    np.testing.assert_allclose(np.sort(drawn(figure), axis=0), np.sort(Y, axis=0))
    np.testing.assert_array_equal(drawn(figure), drawn(scatter(Y)))  # the same each time
    assert axes.get_aspect() == 1
    assert list(axes.get_xticks()) == list(axes.get_yticks()) == []
    assert axes.get_title() == "A map"
    assert figure.legends == []


def test_labels_stay_with_their_points():
    Y = positions(40)
    labels = np.where(Y[:, 0] > 0, "right", "left")
    points = scatter(Y, labels).axes[0].collections[0]
    colours = np.array([to_hex(colour) for colour in points.get_facecolors()])
    right = points.get_offsets()[:, 0] > 0
    assert set(colours[right]) == {PALETTE[1]}
    assert set(colours[~right]) == {PALETTE[0]}


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([10, 2, 10, 9]), ["2", "9", "10"]),
        (["b", "a", "b", "c"], ["a", "b", "c"]),
        (np.array(["b", None, 3, "b"], dtype=object), ["3", "None", "b"]),
        ([True, False, True, True], ["False", "True"]),
    ],
)
def test_categories_have_a_legend(labels, names):
    assert names_in(scatter(positions(4), labels)) == names


def test_pandas_categories():
    pd = pytest.importorskip("pandas")
    labels = pd.Series(["T", "B", "T"], dtype="category", index=[5, 6, 7])
    assert names_in(scatter(positions(3), labels)) == ["B", "T"]


def test_many_categories_differ_in_colour_or_shape():
    n = 45
    figure = scatter(positions(n), np.arange(n))
    handles = figure.legends[0].legend_handles
    assert len({(handle.get_color(), handle.get_marker()) for handle in handles}) == n
    assert len(figure.axes[0].collections) == 5
    assert figure.legends[0]._ncols == -(-n // LEGEND_ROWS)
    most = len(PALETTE) * len(MARKERS)
    with pytest.raises(ValueError, match=f"{most + 1} categories, but at most {most}"):
        scatter(positions(most + 1), np.arange(most + 1))


def test_quantities_have_a_colour_scale():
    values = np.linspace(0, 1, 30)
    values[:3] = np.nan, np.inf, -np.inf
    figure = scatter(positions(30), values)
    assert figure.legends == []
    assert len(figure.axes) == 2  # the map and the scale
    grey, coloured = figure.axes[0].collections
    assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (3, 27)


def test_one_dimension_is_a_strip():
    Y = positions(50, 1)
    figure = scatter(Y)
    x, y = drawn(figure).T
    np.testing.assert_allclose(np.sort(x), np.sort(Y[:, 0]))
    assert len(set(y)) == 50
    assert np.abs(y).max() <= 1
    assert figure.axes[0].get_aspect() == "auto"


def test_three_dimensions_say_that_two_are_drawn():
    Y = positions(50, 3)
    figure = scatter(Y, title="Cells")
    np.testing.assert_allclose(np.sort(drawn(figure), axis=0), np.sort(Y[:, :2], axis=0))
    assert figure.axes[0].get_title() == "Cells (first 2 of 3 dimensions)"
    assert scatter(Y).axes[0].get_title() == "Map (first 2 of 3 dimensions)"


def test_more_points_are_smaller_and_clearer():
    few, many = (scatter(positions(n)).axes[0].collections[0] for n in (100, 20_000))
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha()
    assert many.get_rasterized()
    assert not few.get_rasterized()


@pytest.mark.parametrize(
    ("Y", "labels", "message"),
    [
        (np.zeros(3), None, r"shape \(3,\)"),
        (np.zeros((0, 2)), None, r"shape \(0, 2\)"),
        (np.array([[0, np.nan]]), None, "not finite"),
        (np.zeros((3, 2)), [1, 2], r"labels has shape \(2,\).*3 rows"),
    ],
)
def test_what_cannot_be_drawn(Y, labels, message):
    with pytest.raises(ValueError, match=message):
        scatter(Y, labels)


@pytest.mark.parametrize(
    ("name", "magic"), [("map.png", b"\x89PNG"), ("map.pdf", b"%PDF"), ("MAP.SVG", b"<?xml")]
)
def test_pictures_are_saved(tmp_path, name, magic):
    save_figure(scatter(positions(), np.arange(60) % 3), tmp_path / name)
    assert (tmp_path / name).read_bytes().startswith(magic)
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_unknown_pictures_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r'ending is ".pgn".*Did you mean "png"'):
        save_figure(scatter(positions()), tmp_path / "map.pgn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_spoils_no_picture(tmp_path, monkeypatch, error):
    path = tmp_path / "map.png"
    path.write_bytes(b"precious")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        save_figure(scatter(positions()), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


def test_without_matplotlib_the_command_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    with pytest.raises(ImportError, match=r'pip install "serverless-tsne\[plot\]"'):
        scatter(positions())


def test_matplotlib_is_loaded_late_and_pyplot_never():
    code = """
import sys
import tsne_backends.plot
assert "matplotlib" not in sys.modules
tsne_backends.plot.scatter([[0, 1], [1, 0]])
assert "matplotlib" in sys.modules and "matplotlib.pyplot" not in sys.modules
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
