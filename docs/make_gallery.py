"""Makes the pictures of docs/plots.md, and the demo's: ``python docs/make_gallery.py``.

They go to docs/images, as plot-* and demo.png. Needs no network: scikit-learn's handwritten digits,
and points drawn at random where a picture shows what the digits cannot. Every map of digits is the
same one, computed here.
"""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.datasets import load_digits

from tsne_backends import ServerlessTSNE
from tsne_backends.labels import LabelColumn
from tsne_backends.plot import facets, save_figure, scatter

IMAGES = Path(__file__).parent / "images"
#: Enough for a page, and small enough for a repository.
DPI = 90


def main() -> None:
    """Draw and write all pictures."""
    random = np.random.default_rng(0)
    digits = load_digits()
    Y = ServerlessTSNE(random_state=0).fit_transform(digits.data)
    digit = digits.target
    demo = scatter(Y, digit, "t-SNE of 1,797 handwritten digits", label_name="digit")
    save_figure(demo, IMAGES / "demo.png", dpi=DPI)
    write("digits", scatter(Y, digit, "1,797 handwritten digits", label_name="digit"))
    write("facets", facets(Y, thirds_of_ink(digits.data), digit, "By ink", label_name="digit"))
    write("legend", scatter(Y, digit, "With a legend", label_name="digit", placement="legend"))

    known = digit.astype(object)
    known[random.random(len(known)) < 0.3] = None
    title = "Three of ten labels missing, the rarest merged"
    write("missing", scatter(Y, known, title, label_name="digit", max_categories=7))

    ink = digits.data.sum(axis=1) / digits.data.sum(axis=1).mean()
    ink[:9] *= 40
    write("quantity", scatter(Y, ink, "A quantity with nine outliers", label_name="ink"))

    batch = np.array([f"batch {number}" for number in random.integers(1, 13, len(Y))])
    write("twelve", facets(Y, batch, None, "Twelve batches that mix well"))

    points, kind = blobs(12_000, 40, random)
    names = LabelColumn("cell type", np.array([f"cell type {k + 1}" for k in kind], dtype=object))
    write("forty", scatter(points, names, "Forty categories", placement="legend"))
    write("forty-names", scatter(points, names, "Forty categories", placement="on-map"))

    points, kind = blobs(1_000_000, 12, random, spread=2.2)
    write("million", scatter(points, kind.astype(str), "A million points", label_name="cluster"))


def thirds_of_ink(images: NDArray[Any]) -> LabelColumn:
    """Return which third of the images, by their ink, each one is in."""
    ink = images.sum(axis=1)
    place = np.searchsorted(np.quantile(ink, [1 / 3, 2 / 3]), ink)
    return LabelColumn("ink", np.array(["1 light", "2 medium", "3 dark"], dtype=object)[place])


def blobs(
    n_points: int, n_blobs: int, random: np.random.Generator, spread: float = 1.0
) -> tuple[NDArray[Any], NDArray[Any]]:
    """Return Gaussian blobs of unequal size, and which one each point is in."""
    centres = random.uniform(-20, 20, size=(n_blobs, 2))
    share = random.dirichlet(np.full(n_blobs, 4.0))
    blob = random.choice(n_blobs, size=n_points, p=share)
    width = random.uniform(0.5, 1.5, n_blobs)[blob, None] * spread
    return centres[blob] + random.normal(size=(n_points, 2)) * width, blob


def write(name: str, figure: Any) -> None:
    """Write one picture, and tell its size."""
    path = IMAGES / f"plot-{name}.png"
    save_figure(figure, path, dpi=DPI)
    print(f"{path.name}: {path.stat().st_size / 1000:.0f} kB")


if __name__ == "__main__":
    main()
