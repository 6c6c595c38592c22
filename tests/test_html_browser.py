"""Interactive maps in a real browser: points, hover, lasso, colours, search, and no network."""

import browser
import numpy as np
import pytest

pytest.importorskip("bokeh")

from tsne_backends.plot import write_html

NASTY = ["</script><b>bold</b>", "\"quoted\" & 'so'", "神経 細胞", "${1} $x @y {z}"]
COLUMNS = {
    "kind <i>of</i> @cell": np.array([*NASTY, None] * 20, dtype=object),
    "size": np.where(np.arange(100) % 10, np.arange(100) / 4, np.nan),
    "donor": np.arange(100) % 60,
}
IDS = [f"<u>cell</u> {row} é" for row in range(100)]


@pytest.fixture(scope="module")
def driver(tmp_path_factory):
    driver = browser.start(tmp_path_factory.mktemp("downloads"))
    yield driver
    driver.quit()


@pytest.fixture(scope="module")
def grid_file(tmp_path_factory):
    """A hundred points on a lattice, ten by ten, 3 apart sideways and 2 upwards."""
    path = tmp_path_factory.mktemp("maps") / "grid.html"
    rows, places = np.divmod(np.arange(100), 10)
    embedding = np.column_stack([places * 3.0, rows * 2.0])
    write_html(embedding, path, labels=COLUMNS, ids=IDS, title="<b>A</b> </script> “map” 図")
    return path


@pytest.fixture
def grid(driver, grid_file):
    page = browser.Page(driver, grid_file)
    yield page
    assert page.errors() == []
    assert {address.partition(":")[0] for address in page.requests()} <= {"file", "data", "blob"}


@pytest.fixture(scope="module")
def large_file(tmp_path_factory):
    path = tmp_path_factory.mktemp("maps") / "large.html"
    random = np.random.default_rng(0)
    embedding = random.normal(size=(100_000, 2))
    embedding[:2] = [[6, 6], [6.2, 6]]  # apart from all others
    write_html(embedding, path, labels={"half": embedding[:, 0] > 0, "x": embedding[:, 0]})
    return path


def box_around(pixels, rows, margin=8):
    """Return a polygon round the points of some rows."""
    xy = np.array([pixels[row] for row in rows])
    (left, top), (right, bottom) = xy.min(axis=0) - margin, xy.max(axis=0) + margin
    return [(left, top), (right, top), (right, bottom), (left, bottom), (left, top + 2)]


def colour_at(picture, x, y):
    return tuple(int(channel) for channel in picture[round(y), round(x)])


def choose(page, name):
    from selenium.webdriver.support.ui import Select

    Select(page.element("column")).select_by_visible_text(name)
    page.settle()


def test_every_point_is_drawn_where_it_belongs(grid):
    assert grid.run("return Bokeh.index.roots[0].canvas_view.webgl != null")
    picture = grid.picture()
    pixels = grid.pixels()
    assert len(pixels) == 100
    assert all(colour_at(picture, *at) != (255, 255, 255) for at in pixels.values())
    between = (np.array(pixels[0]) + pixels[11]) / 2
    assert colour_at(picture, *between) == (255, 255, 255)
    # 3 to 2, as in the embedding, whatever the window's shape; and y grows upwards.
    sideways = pixels[1][0] - pixels[0][0]
    upwards = pixels[0][1] - pixels[10][1]
    assert sideways / upwards == pytest.approx(1.5, rel=1e-3)


def test_the_map_keeps_its_aspect_when_the_window_changes(grid):
    try:
        grid.driver.set_window_size(900, 1000)
        grid.wait(lambda: grid.run("return innerWidth") == 900)
        grid.settle()
        pixels = grid.pixels()
        ratio = (pixels[1][0] - pixels[0][0]) / (pixels[0][1] - pixels[10][1])
        assert ratio == pytest.approx(1.5, rel=1e-3)
    finally:
        grid.driver.set_window_size(1200, 900)


def test_titles_names_and_ids_are_shown_as_text(grid):
    assert grid.driver.title == "<b>A</b> </script> “map” 図"
    assert grid.driver.find_element("tag name", "h1").text == grid.driver.title
    assert grid.run("return document.documentElement.lang") == "en"
    legend = [item.text for item in grid.deep("#legend span")]
    assert sorted(legend) == sorted([*NASTY, "missing"])
    assert grid.deep("b, u, i:not(#legend i)") == []
    for row in range(4):
        said = grid.hover(*grid.pixels()[row])
        assert IDS[row] in said
        assert "kind <i>of</i> @cell" in said
        assert NASTY[row] in said
    assert grid.deep("b, u, i:not(#legend i)") == []


def test_hover_tells_all_columns_and_names_what_is_missing(grid):
    pixels = grid.pixels()
    said = grid.hover(*pixels[57])
    assert "<u>cell</u> 57 é" in said
    assert "14.25" in said
    assert "57" in said.split("donor")[1]
    said = grid.hover(*pixels[50])
    assert "missing" in said.split("size")[1].split("donor")[0]
    assert "missing" in grid.hover(*pixels[54]).split("size")[0]


def test_the_lasso_lists_the_ids_inside_it(grid):
    pixels = grid.pixels()
    assert grid.element("count").text.startswith("Draw round")
    grid.tool("Lasso")
    triangle = [pixels[0], pixels[4], pixels[40]]
    middle = np.mean(triangle, axis=0)
    outside = [middle + (np.array(corner) - middle) * 1.15 for corner in triangle]
    grid.drag([*outside, outside[0] + np.array([2, 2])])
    expected = [IDS[10 * up + right] for up in range(5) for right in range(5 - up)]
    assert grid.element("ids").get_property("value").split("\n") == expected
    assert grid.element("count").text == "15 points"
    grid.element("clear").click()
    assert not grid.element("ids").is_displayed()


def test_ids_are_copied_and_downloaded(grid):
    pixels = grid.pixels()
    grid.tool("Lasso")
    grid.drag(box_around(pixels, [0, 12]))
    expected = [IDS[row] for row in (0, 1, 2, 10, 11, 12)]
    grid.element("copy").click()
    grid.wait(lambda: grid.element("copy").text == "Copied")
    box = grid.element("wanted")
    box.send_keys("\ue009v")  # Ctrl-V; a field of one line drops the line breaks
    assert "".join(box.get_property("value").split()) == "".join("".join(expected).split())
    # The page hands the browser a file; what is in it is read where it is made.
    grid.run(
        "const make = URL.createObjectURL; URL.createObjectURL = (blob) => {"
        "blob.text().then((text) => { window.written = text }); return make(blob); }"
    )
    grid.element("download").click()
    written = grid.wait(lambda: grid.run("return window.written"))
    assert written == "\n".join(expected) + "\n"


def test_another_column_gives_other_colours(grid):
    pixels = grid.pixels()
    first = grid.picture()
    kinds = [colour_at(first, *pixels[row]) for row in range(5)]
    assert len(set(kinds)) == 5
    assert colour_at(first, *pixels[5]) == kinds[0]

    choose(grid, "size")
    second = grid.picture()
    assert grid.element("bar").is_displayed()
    assert not grid.element("legend").is_displayed()
    assert grid.element("unknown").text == "missing: 10, in grey"
    assert colour_at(second, *pixels[1]) != colour_at(second, *pixels[99])
    assert colour_at(second, *pixels[50]) == kinds[4]  # both are missing

    choose(grid, "donor")
    names = [item.text for item in grid.deep("#legend span")]
    assert len(names) == 40
    assert names[-1] == "others (21 categories)"
    choose(grid, "kind <i>of</i> @cell")
    assert np.array_equal(grid.picture(), first)


def test_a_hidden_category_is_not_drawn_hovered_or_selected(grid):
    pixels = grid.pixels()
    names = [item.text for item in grid.deep("#legend span")]
    grid.deep("#legend button")[names.index(NASTY[0])].click()
    picture = grid.picture()
    assert colour_at(picture, *pixels[0]) == (255, 255, 255)
    assert colour_at(picture, *pixels[1]) != (255, 255, 255)
    grid.tool("Lasso")
    grid.drag(box_around(pixels, [0, 3]))
    assert grid.element("ids").get_property("value").split("\n") == IDS[1:4]
    grid.element("all").click()
    assert colour_at(grid.picture(), *pixels[0]) != (255, 255, 255)
    grid.element("none").click()
    assert not grid.element("ids").is_displayed()
    assert (grid.picture()[100:] == 255).all()


def test_pan_zoom_and_back(grid):
    before = np.array(grid.ranges())
    x, y = grid.pixels()[55]
    grid.drag([(x + 20, y + 20), (x + 60, y + 40), (x + 120, y + 70)])
    panned = np.array(grid.ranges())
    per_pixel = (before[1] - before[0]) / grid.run("return Bokeh.index.roots[0].model.inner_width")
    np.testing.assert_allclose(panned[:2] - before[:2], -100 * per_pixel, rtol=0.05)
    np.testing.assert_allclose(panned[2:] - before[2:], 50 * per_pixel, rtol=0.05)

    grid.wheel(x, y, -240)
    zoomed = np.array(grid.ranges())
    assert np.ptp(zoomed[:2]) < 0.9 * np.ptp(panned[:2])
    assert np.ptp(zoomed[:2]) / np.ptp(zoomed[2:]) == pytest.approx(
        np.ptp(panned[:2]) / np.ptp(panned[2:])
    )
    grid.tool("Whole map")
    grid.settle()
    np.testing.assert_allclose(grid.ranges(), before, atol=1e-6)


def test_search_finds_an_id(grid):
    grid.element("wanted").send_keys(IDS[37] + "\n")
    grid.settle()
    assert grid.element("answer").text == "Ringed on the map."
    assert grid.element("ids").get_property("value") == IDS[37]
    left, right = grid.ranges()[:2]
    assert (left + right) / 2 == pytest.approx(-1 + 2 * 7 / 9, abs=1e-3)
    grid.element("wanted").clear()
    grid.element("wanted").send_keys("nobody\n")
    assert grid.element("answer").text == 'No point has the id "nobody".'
    assert not grid.element("ids").is_displayed()


def test_one_column_or_none(driver, tmp_path):
    embedding = np.random.default_rng(0).normal(size=(200, 2))
    write_html(embedding, tmp_path / "plain.html")
    page = browser.Page(driver, tmp_path / "plain.html")
    assert not page.element("colours").is_displayed()
    assert (page.picture() < 250).any()
    assert page.errors() == []


def test_a_hundred_thousand_points(driver, large_file):
    page = browser.Page(driver, large_file)
    assert large_file.stat().st_size < 6e6
    first = page.picture()
    assert (first.min(axis=2) < 250).sum() > 10_000
    pixels = page.pixels()
    said = page.hover(*pixels[1])
    assert "True" in said.split("half")[1]
    page.tool("Lasso")
    page.drag(box_around(pixels, [0, 1], 6))
    assert page.element("ids").get_property("value") == "0\n1"
    xy = np.array([pixels[row] for row in range(100_000)])
    top = xy[2:, 1].min() - 5
    right, bottom = xy[2:].max(axis=0) + 5
    centre = np.median(xy[:, 0])
    page.drag([(centre, top), (right, top), (right, bottom), (centre, bottom), (centre, top + 5)])
    inside = int(page.element("count").text.split()[0].replace(",", ""))
    assert 45_000 < inside < 55_000
    listed = page.element("ids").get_property("value").split("\n")
    assert len(listed) == 2_001
    assert listed[-1].startswith("…")
    choose(page, "x")
    page.element("clear").click()
    assert (page.picture() != first).any(axis=2).sum() > 10_000
    assert page.errors() == []
    assert {address.partition(":")[0] for address in page.requests()} <= {"file", "data", "blob"}
