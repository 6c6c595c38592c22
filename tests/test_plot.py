"""Pictures of maps: what must hold of their pixels, legends and names, and what is refused."""

import subprocess
import sys

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.colors import to_hex, to_rgb

from tsne_backends.plot import PALETTE, facets, scatter
from tsne_backends.plot.colors import BACKDROP, MISSING


def positions(n=60, n_components=2):
    return np.random.default_rng(0).normal(size=(n, n_components)).astype(np.float32)


def islands(n_groups, each=30):
    """Groups far apart, on a grid; returns coordinates and the group of each point."""
    groups = np.repeat(np.arange(n_groups), each)
    centres = np.column_stack(divmod(groups, int(np.ceil(np.sqrt(n_groups))))) * 10.0
    return centres + np.random.default_rng(0).normal(size=(len(groups), 2)), groups


def drawn(figure):
    return np.concatenate([c.get_offsets() for c in figure.axes[0].collections])


def legend_names(figure):
    return [text.get_text() for legend in figure.legends for text in legend.get_texts()]


def names_on_map(figure):
    return [text.get_text() for text in figure.axes[0].texts]


def pixels(figure):
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].astype(int)


def shows(image, colour, alpha=0.9):
    """Whether a colour is there, drawn with this opacity on white."""
    wanted = 255 * (alpha * np.array(to_rgb(colour)) + 1 - alpha)
    return (np.abs(image - wanted).max(axis=2) <= 3).sum() >= 5


def assert_nothing_is_clipped(figure):
    image = pixels(figure)
    for edge in (image[:3], image[-3:], image[:, :3], image[:, -3:]):
        assert (edge == 255).all()
    painter = FigureCanvasAgg(figure).get_renderer()
    texts = [*figure.texts, *(text for axes in figure.axes for text in axes.texts)]
    for part in [*texts, *figure.legends]:
        box = part.get_window_extent(painter)
        assert box.x0 >= 0
        assert box.y0 >= 0
        assert box.x1 <= figure.bbox.x1
        assert box.y1 <= figure.bbox.y1
    for legend in figure.legends:
        for axes in figure.axes:
            assert not legend.get_window_extent(painter).overlaps(axes.get_window_extent(painter))
    boxes = [text.get_window_extent(painter) for text in figure.axes[0].texts]
    for number, box in enumerate(boxes):
        assert not any(box.overlaps(other) for other in boxes[:number])


def test_every_point_is_drawn_in_another_order():
    Y = positions()
    figure = scatter(Y, title="A map")
    axes = figure.axes[0]
    assert not np.allclose(drawn(figure), Y)
    np.testing.assert_allclose(np.sort(drawn(figure), axis=0), np.sort(Y, axis=0))
    np.testing.assert_array_equal(drawn(figure), drawn(scatter(Y)))  # the same each time
    assert axes.get_aspect() == 1
    assert list(axes.get_xticks()) == list(axes.get_yticks()) == []
    assert figure.texts[0].get_text() == "A map"
    assert figure.legends == []


def test_labels_stay_with_their_points():
    Y = positions(40)
    labels = np.where(Y[:, 0] > 0, "right", "left")
    points = scatter(Y, labels).axes[0].collections[0]
    colours = np.array([to_hex(colour) for colour in points.get_facecolors()])
    right = points.get_offsets()[:, 0] > 0
    assert set(colours[right]) == {PALETTE[1]}
    assert set(colours[~right]) == {PALETTE[0]}


def test_the_last_class_does_not_hide_the_first():
    labels = np.repeat(["a", "b"], 2000)
    Y = np.tile(np.random.default_rng(0).normal(size=(2000, 2)), (2, 1))
    colours = scatter(Y, labels).axes[0].collections[0].get_facecolors()
    on_top = np.mean([to_hex(colour) == PALETTE[1] for colour in colours[-1000:]])
    assert 0.4 < on_top < 0.6


@pytest.mark.parametrize(
    ("labels", "names"),
    [
        (np.array([10, 2, 10, 9]), ["2", "9", "10"]),
        (["T10", "T2", "b", "T10"], ["T2", "T10", "b"]),
        (np.array(["b", None, 3, "b"], dtype=object), ["3", "b", "missing (1)"]),
        ([True, False, True, True], ["False", "True"]),
        (["$a$", "a_b", "_c", "x"], ["$a$", "_c", "a_b", "x"]),
    ],
)
def test_categories_have_a_legend(labels, names):
    figure = scatter(positions(4), labels, placement="legend")
    assert [name.replace(r"\$", "$") for name in legend_names(figure)] == names
    assert_nothing_is_clipped(figure)


def test_names_with_dollar_signs_are_no_formulas():
    Y, groups = islands(2)
    prices = np.array(["$1 to $2", r"$\none$"])[groups]
    figure = scatter(Y, prices, placement="on-map")
    assert set(names_on_map(figure)) == {r"\$1 to \$2", r"\$\none\$"}
    pixels(figure)  # would raise: \none is no symbol
    scale = scatter(Y, np.linspace(0, 1, len(Y)), label_name=r"$\none$")
    assert scale.axes[-1].get_title(loc="left") == r"\$\none\$"
    pixels(scale)


def test_a_pandas_series_brings_its_name():
    pd = pytest.importorskip("pandas")
    labels = pd.Series(["T", "B", "T"], dtype="category", index=[5, 6, 7], name="cell type")
    figure = scatter(positions(3), labels, placement="legend")
    assert legend_names(figure) == ["B", "T"]
    assert figure.legends[0].get_title().get_text() == "cell type"


@pytest.mark.parametrize("n_groups", [3, 12, 40])
def test_names_stand_at_their_clusters(n_groups):
    Y, groups = islands(n_groups)
    figure = scatter(Y, groups, "A title")
    assert sorted(names_on_map(figure), key=int) == [str(group) for group in range(n_groups)]
    assert figure.legends == []
    assert_nothing_is_clipped(figure)
    for text in figure.axes[0].texts:
        nearest = np.argmin(((Y - text.get_position()) ** 2).sum(axis=1))
        assert groups[nearest] == int(text.get_text())
    image = pixels(figure)
    assert all(shows(image, colour) for colour in PALETTE[:n_groups])
    assert not any(shows(image, colour) for colour in PALETTE[n_groups:])


def test_categories_without_a_place_get_a_legend():
    rng = np.random.default_rng(0)
    figure = scatter(positions(600), rng.integers(0, 4, 600))
    assert names_on_map(figure) == []
    assert legend_names(figure) == ["0", "1", "2", "3"]
    assert scatter(positions(600), rng.integers(0, 4, 600), placement="none").legends == []


def test_names_without_room_go_into_the_legend():
    Y, groups = islands(36)
    names = np.array([f"a rather long name, number {group}" for group in range(36)])[groups]
    figure = scatter(Y, names, placement="on-map", width=4, height=3)
    on_map, in_legend = len(names_on_map(figure)), len(legend_names(figure))
    assert on_map > 0
    assert in_legend > 0
    assert on_map + in_legend == 36
    assert_nothing_is_clipped(figure)


@pytest.mark.parametrize("width", [None, 8.0])
@pytest.mark.parametrize("placement", ["auto", "legend"])
def test_long_names_and_titles_fit(width, placement):
    n = 40
    names = [f"a category with quite a long name that goes on and on, {i}" for i in range(n)]
    title = "A title that is much longer than the picture is wide, so it has to be broken " * 2
    figure = scatter(positions(n), names, title, width=width, placement=placement)
    assert len({*legend_names(figure), *names_on_map(figure)}) == n
    assert_nothing_is_clipped(figure)
    assert width is None or figure.get_size_inches()[0] == width


def test_missing_labels_are_drawn_below_and_named():
    Y, groups = islands(4)
    labels = [None if number % 3 == 0 else str(group) for number, group in enumerate(groups)]
    figure = scatter(Y, labels)
    grey, coloured = figure.axes[0].collections
    assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (40, 80)
    assert legend_names(figure) == ["missing (40)"]
    assert sorted(names_on_map(figure)) == ["0", "1", "2", "3"]
    assert shows(pixels(figure), MISSING)


def test_the_rarest_categories_can_be_merged():
    labels = np.repeat(["a", "b", "c", "d"], [5, 1, 9, 2])
    figure = scatter(positions(17), labels, max_categories=3, placement="legend")
    assert legend_names(figure) == ["a", "c", "others (2 categories)"]


def test_quantities_have_a_scale_that_outliers_do_not_stretch():
    values = np.linspace(0, 1, 300)
    values[:2], values[-1] = np.nan, 1e6
    figure = scatter(positions(300), values, label_name="ink")
    grey, coloured = figure.axes[0].collections
    assert (len(grey.get_offsets()), len(coloured.get_offsets())) == (2, 298)
    bar = figure.axes[1]
    assert bar.get_ylim()[1] < 1.1
    assert bar.get_title(loc="left") == "ink"
    assert legend_names(figure) == ["missing (2)"]
    assert_nothing_is_clipped(figure)
    # The outlier alone would leave all others in the darkest colour.
    assert len({to_hex(colour) for colour in coloured.get_facecolors()}) > 100


def test_facets_show_each_category_over_the_whole_map():
    Y, groups = islands(4)
    donors = np.array(["x", "y", "z"])[np.arange(len(Y)) % 3].astype(object)
    donors[:5] = None
    figure = facets(Y, donors, groups, "By donor", label_name="group")
    titles = [axes.get_title(loc="left") for axes in figure.axes]
    assert titles == ["x (38)", "y (38)", "z (39)", "missing (5)"]
    assert len({(*axes.get_xlim(), *axes.get_ylim()) for axes in figure.axes}) == 1
    for axes in figure.axes:
        below, above = axes.collections
        assert to_hex(below.get_facecolors()[0]) == BACKDROP
        assert len(below.get_offsets()) + len(above.get_offsets()) == len(Y)
    assert legend_names(figure) == ["0", "1", "2", "3"]
    assert_nothing_is_clipped(figure)


@pytest.mark.parametrize("n_facets", [1, 4, 7, 12])
def test_facets_of_any_number_fit(n_facets):
    figure = facets(positions(240), np.arange(240) % n_facets, positions(240)[:, 0], "Title")
    assert len(figure.axes) == n_facets + 1
    assert_nothing_is_clipped(figure)


def test_facets_can_be_merged():
    figure = facets(positions(300), np.arange(300) % 30, max_facets=4)
    assert figure.axes[-1].get_title(loc="left") == "others (27 categories)"
    assert len(figure.axes) == 4


def test_one_dimension_is_a_strip():
    Y = positions(50, 1)
    figure = scatter(Y, np.arange(50) % 3)
    x, y = drawn(figure).T
    np.testing.assert_allclose(np.sort(x), np.sort(Y[:, 0]))
    assert len(set(y)) == 50
    assert np.abs(y).max() <= 1
    assert figure.axes[0].get_aspect() == "auto"


def test_three_dimensions_say_that_two_are_drawn():
    Y = positions(50, 3)
    figure = scatter(Y, title="Cells")
    np.testing.assert_allclose(np.sort(drawn(figure), axis=0), np.sort(Y[:, :2], axis=0))
    assert figure.texts[0].get_text() == "Cells (first 2 of 3 dimensions)"


@pytest.mark.parametrize("Y", [np.array([[3.0, 4.0]]), np.array([[0.0, 1], [0, 2], [0, 5]])])
def test_a_point_and_a_line_are_maps(Y):
    image = pixels(scatter(Y))
    assert shows(image, PALETTE[0])


def test_points_follow_number_and_size():
    few, many = (scatter(positions(n)).axes[0].collections[0] for n in (100, 100_000))
    large = scatter(positions(100_000), width=20).axes[0].collections[0]
    assert many.get_sizes()[0] < few.get_sizes()[0]
    assert many.get_alpha() < few.get_alpha()
    assert large.get_sizes()[0] > many.get_sizes()[0]
    assert many.get_rasterized()


@pytest.mark.parametrize(
    ("Y", "more", "message"),
    [
        (np.zeros(3), {}, r"shape \(3,\)"),
        (np.zeros((0, 2)), {}, r"shape \(0, 2\)"),
        (np.array([["a", "b"]]), {}, "matrix of finite numbers"),
        (np.array([[0, 1], [0, np.nan]]), {}, "1 of the 2 points.*first in row 1"),
        (np.ones((5, 2)), {}, "All 5 points of the map lie at the same place"),
        (positions(3), {"labels": [1, 2]}, "2 values.* 3 rows"),
        (positions(3), {"labels": [None, "", None]}, "Every value.*missing"),
        (positions(500), {"labels": np.arange(500)}, "500 categories, but at most 40"),
        (positions(3), {"max_categories": 41}, "max_categories is 41"),
        (positions(3), {"placement": "onmap"}, 'placement is "onmap".*Did you mean "on-map"'),
        (positions(3), {"width": 0.1}, "width is 0.1; choose from"),
        (positions(3), {"height": np.nan}, "height is nan; choose from"),
        (positions(3), {"width": 1, "height": 1, "title": "A long title " * 4}, "leaves"),
        (positions(40), {"labels": [f"long name {i}" for i in range(40)], "width": 2}, "legend"),
    ],
)
def test_what_cannot_be_drawn(Y, more, message):
    with pytest.raises(ValueError, match=message):
        scatter(Y, **more)


@pytest.mark.parametrize(
    ("by", "more", "message"),
    [
        (np.arange(26) % 13, {}, "13 categories, but at most 12 panels"),
        (np.linspace(0, 1, 26), {}, "is a quantity, but panels are made of categories"),
        (np.arange(26) % 2, {"max_facets": 13}, "max_facets is 13"),
        (np.arange(5), {}, "5 values.* 26 rows"),
        (np.arange(26) % 12, {"width": 2}, "leaves"),
    ],
)
def test_what_cannot_be_split(by, more, message):
    with pytest.raises(ValueError, match=message):
        facets(positions(26), by, **more)


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
