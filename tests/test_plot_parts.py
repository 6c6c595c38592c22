"""Parts of pictures: palette and scale, density of many points, places of names, files."""

import os
import sys
from pathlib import Path

import numpy as np
import pytest

pytest.importorskip("matplotlib")

from tsne_backends.errors import FileFormatError
from tsne_backends.plot import PALETTE, save_figure, scatter
from tsne_backends.plot import density as density_module
from tsne_backends.plot.colors import clipped_range, colouring, shorten
from tsne_backends.plot.density import mean_values, mixed_colours, opacity, sums_per_pixel
from tsne_backends.plot.placing_labels import places
from tsne_backends.plot.points import DENSITY_FROM, size_and_alpha


def test_the_palette_stays_apart_under_colour_blindness(monkeypatch):
    pytest.importorskip("colorspacious")
    monkeypatch.syspath_prepend(Path(__file__).parents[1] / "docs")
    from make_palette import TAKEN, from_hex, least_distances, views

    assert len(set(PALETTE)) == len(PALETTE) == 40
    # Distances in CAM02-UCS: full sight, without green, without red receptors. 1 can just be seen.
    assert (least_distances(views(from_hex(PALETTE))) > (10, 7, 7)).all()
    assert (least_distances(views(from_hex(PALETTE[:20]))) > (18, 10, 10)).all()
    assert (least_distances(views(from_hex(PALETTE[:10]))) > (19, 14, 14)).all()
    assert (least_distances(views(from_hex((*PALETTE, *TAKEN)))) > (10, 7, 7)).all()


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        (np.linspace(0, 100, 101), (0, 100, "neither")),
        (np.append(np.linspace(0, 1, 1000), 50), (0, 1, "max")),
        (np.append(np.linspace(0, 1, 1000), [50, -50]), (0, 1, "both")),
        (np.append(np.linspace(0, 1, 1000), [-50, np.nan]), (0, 1, "min")),
        (np.full(5, 7.0), (6.5, 7.5, "neither")),
        (np.append(np.zeros(999), 3), (0, 3, "neither")),  # counts of a rare gene
    ],
)
def test_the_scale_is_clipped_only_where_values_are_far_out(values, expected):
    low, high, extend = clipped_range(values)
    assert (low, high) == pytest.approx(expected[:2], abs=0.02)
    assert extend == expected[2]


def test_long_names_keep_both_ends():
    assert shorten("short  name\n") == "short name"
    short = shorten("CD8-positive, alpha-beta memory T cell, number 17")
    assert len(short) == 32
    assert short.startswith("CD8-positive, a")
    assert short.endswith("number 17")


def test_many_points_become_an_image_of_their_colours():
    n = DENSITY_FROM + 1
    rng = np.random.default_rng(0)
    groups = rng.integers(0, 3, n)
    Y = rng.normal(size=(n, 2)) + groups[:, None] * 20
    figure = scatter(Y, groups.astype(str))
    axes = figure.axes[0]
    assert list(axes.collections) == []
    (image,) = axes.get_images()
    values = np.asarray(image.get_array())
    filled = values[..., 3] > 0
    shown = {tuple(np.round(255 * colour).astype(int)) for colour in values[filled][:, :3]}
    assert shown == {tuple(bytes.fromhex(colour[1:])) for colour in PALETTE[:3]}
    assert sorted(text.get_text() for text in axes.texts) == ["0", "1", "2"]
    # The pixels of a group lie where its points are.
    rows, columns = np.nonzero(filled)
    left, right, bottom, top = image.get_extent()
    x = left + (columns + 0.5) / values.shape[1] * (right - left)
    y = bottom + (rows + 0.5) / values.shape[0] * (top - bottom)
    assert abs(x.min() - Y[:, 0].min()) < 0.2
    assert abs(y.max() - Y[:, 1].max()) < 0.2


def test_density_can_be_asked_for_and_refused():
    Y = np.random.default_rng(0).normal(size=(100, 2))
    assert len(scatter(Y, density=True).axes[0].get_images()) == 1
    assert len(scatter(Y, Y[:, 0], density=False).axes[0].collections) == 1
    assert len(scatter(Y, Y[:, 0], density=True).axes[0].get_images()) == 1


def test_pixels_mix_colours_by_share():
    xy = np.array([[0.5, 0.5]] * 4 + [[1.5, 0.5]])
    red, blue = [1.0, 0, 0], [0, 0, 1.0]
    colours = np.array([red, red, red, blue, blue])
    image = mixed_colours(xy, colours, (0, 2, 0, 1), (2, 1))
    np.testing.assert_allclose(image[0, :, :3], [[0.75, 0, 0.25], [0, 0, 1]])
    assert 0 < image[0, 1, 3] < image[0, 0, 3] == 1


def test_pixels_show_mean_values():
    xy = np.array([[0.5, 0.5], [0.5, 0.5], [1.5, 0.5]])
    image = mean_values(
        xy,
        np.array([0.0, 1.0, 1.0]),
        lambda values: np.stack([values] * 4, axis=-1),
        (0, 3, 0, 1),
        (3, 1),
    )
    np.testing.assert_allclose(image[0, :2, 0], [0.5, 1])
    assert image[0, 2, 3] == 0


def test_opacity_tells_how_many():
    alpha = opacity(np.array([0.0, 1, 10, 100, 1000]))
    assert alpha[0] == 0
    assert (np.diff(alpha) > 0).all()
    assert alpha[-1] == 1


def test_datashader_counts_the_same(monkeypatch):
    pytest.importorskip("datashader")
    rng = np.random.default_rng(0)
    xy, weights = rng.uniform(-1, 1, size=(5000, 2)), rng.random((5000, 2))
    frame = ((-1.1, 1.1, -1.2, 1.2), (37, 23))
    plain = sums_per_pixel(xy, weights, *frame)
    monkeypatch.setattr(density_module, "DATASHADER_FROM", 1)
    monkeypatch.setattr(density_module, "_by_numpy", None)  # so it cannot be what is compared
    shaded = sums_per_pixel(xy, weights, *frame)
    assert plain[0].sum() == 5000
    for one, other in zip(plain, shaded, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-9)


def test_a_place_is_in_the_biggest_clump():
    rng = np.random.default_rng(0)
    small, large = rng.normal(size=(100, 2)), rng.normal(size=(300, 2)) + 30
    angle = rng.uniform(0, 2 * np.pi, 300)
    ring = 20 * np.column_stack([np.cos(angle), np.sin(angle)]) + np.array([100, 0])
    inside = rng.normal(size=(200, 2)) + np.array([100, 0])
    xy = np.concatenate([small, large, ring, inside])
    first, second, third = places(xy, np.repeat([0, 1, 2], [400, 300, 200]), 3)
    assert abs(first.x - 30) < 2
    assert abs(first.y - 30) < 2
    assert 0.6 < first.held < 0.8
    # The middle of a ring belongs to whoever is inside.
    assert np.hypot(second.x - 100, second.y) > 15
    assert third.is_clear
    assert abs(third.x - 100) < 2


def test_a_category_under_others_has_no_place():
    xy = np.random.default_rng(0).normal(size=(1000, 2))
    rare, common = places(xy, (np.arange(1000) % 10 > 0).astype(int), 2)
    assert not rare.is_clear
    assert common.is_clear


def test_opaque_until_points_cannot_shrink():
    area = 400.0 * 400
    sizes, alphas = zip(*(size_and_alpha(n, area) for n in (10, 1000, 10**5, 10**6)), strict=True)
    assert list(sizes) == sorted(sizes, reverse=True)
    assert alphas[:2] == (0.9, 0.9)
    assert alphas[2] > alphas[3] >= 0.2


def test_labels_with_a_name_of_their_own():
    pd = pytest.importorskip("pandas")
    assert colouring(pd.Series([1.0, 2.0], name="ink"), 2).title == "ink"
    assert colouring(pd.Series([1.0, 2.0], name="ink"), 2, "depth").title == "depth"
    assert colouring([1.0, 2.0], 2).title == ""
    assert colouring(None, 2) is None


@pytest.mark.parametrize(
    ("name", "magic"), [("map.png", b"\x89PNG"), ("map.pdf", b"%PDF"), ("MAP.SVG", b"<?xml")]
)
def test_pictures_are_saved(tmp_path, name, magic):
    figure = scatter(np.random.default_rng(0).normal(size=(60, 2)), np.arange(60) % 3)
    save_figure(figure, tmp_path / name)
    data = (tmp_path / name).read_bytes()
    assert data.startswith(magic)
    assert name != "MAP.SVG" or data.count(b"<image") == 1  # the points
    assert [path.name for path in tmp_path.iterdir()] == [name]


def test_dots_per_inch(tmp_path):
    figure = scatter([[0, 1], [1, 0]], width=3, height=2)
    save_figure(figure, tmp_path / "map.png", dpi=50)
    header = (tmp_path / "map.png").read_bytes()[16:24]
    assert (int.from_bytes(header[:4], "big"), int.from_bytes(header[4:], "big")) == (150, 100)
    with pytest.raises(ValueError, match="more than 32,000 dots"):
        save_figure(scatter([[0, 1], [1, 0]], width=50), tmp_path / "large.png", dpi=1000)
    with pytest.raises(ValueError, match="dpi is 0"):
        save_figure(figure, tmp_path / "large.png", dpi=0)
    assert [path.name for path in tmp_path.iterdir()] == ["map.png"]


def test_unknown_pictures_are_refused(tmp_path):
    with pytest.raises(FileFormatError, match=r'ending is ".pgn".*Did you mean ".png"'):
        save_figure(scatter([[0, 1], [1, 0]]), tmp_path / "map.pgn")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("error", [OSError("disk full"), KeyboardInterrupt()])
def test_a_failure_spoils_no_picture(tmp_path, monkeypatch, error):
    path = tmp_path / "map.png"
    path.write_bytes(b"precious")

    def fail(*arguments):
        raise error

    monkeypatch.setattr(os, "replace", fail)
    with pytest.raises(type(error)):
        save_figure(scatter([[0, 1], [1, 0]]), path)
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_bytes() == b"precious"


def test_without_datashader_very_many_points_are_still_drawn(monkeypatch):
    monkeypatch.setattr(density_module, "DATASHADER_FROM", 1)
    monkeypatch.setattr(density_module, "find_spec", lambda name: None)
    monkeypatch.setitem(sys.modules, "datashader", None)
    figure = scatter(np.random.default_rng(0).normal(size=(50, 2)), density=True)
    assert np.asarray(figure.axes[0].get_images()[0].get_array())[..., 3].max() == 1
