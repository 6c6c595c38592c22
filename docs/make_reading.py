"""Makes the pictures of docs/reading.md, and prints the figures it quotes.

``python docs/make_reading.py`` writes docs/images/reading-*.png, in half a minute on two cores. All
data are drawn at random, so that what is true of them is known.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.spatial.distance import pdist
from scipy.stats import spearmanr

from tsne_backends import ServerlessTSNE, quality_report
from tsne_backends.plot import PALETTE, save_figure

IMAGES = Path(__file__).parent / "images"
DPI = 80
PANEL_INCHES = 2.6


def main() -> None:
    """Draw and write all pictures."""
    sizes()
    distances()
    starts()
    perplexities()
    noise()


def sizes() -> None:
    """Three clusters of equal width on the map: one is ten times as wide in the data."""
    X, labels = clusters(widths=(1, 10, 1), rows=(1000, 1000, 250), places=(0, 100, 200))
    Y = embed(X)
    widths = [np.linalg.norm(X[labels == k].std(axis=0)) for k in range(3)]
    on_map = [radius(Y[labels == k]) for k in range(3)]
    print("sizes: widths in the data", np.round(widths / widths[0], 1))
    print("sizes: radius on the map", np.round(on_map, 1), "rows", np.bincount(labels))
    draw("sizes", [(Y, labels, "width 1, 10 and 1; 1,000, 1,000, 250 rows")])


def distances() -> None:
    """Two near clusters and a far one."""
    panels = []
    for perplexity in (10, 30, 100):
        X, labels = clusters(widths=(1, 1, 1), rows=(500, 500, 500), places=(0, 10, 100))
        Y = embed(X, perplexity=perplexity)
        centres = np.array([np.median(Y[labels == k], axis=0) for k in range(3)])
        near, _, far = pdist(centres)[[0, 1, 2]]
        print(f"distances: perplexity {perplexity}: 1–2 {near:.0f}, 2–3 {far:.0f} (data 10 and 90)")
        panels.append((Y, labels, f"perplexity {perplexity}"))
    draw("distances", panels)


def starts() -> None:
    """Ten clusters in a row, from principal components and from chance."""
    X, labels = clusters(widths=(1,) * 10, rows=(150,) * 10, places=tuple(range(0, 120, 12)))
    panels = []
    for init in ("pca", "random"):
        kept = []
        for seed in range(5):
            Y = embed(X, init=init, random_state=seed)
            kept.append(order_kept(X, Y, labels))
        print(f"starts: {init}: Spearman of centre distances {np.round(kept, 2)}")
        panels.append((Y, labels, f'init="{init}"'))
    draw("starts", panels)


def perplexities() -> None:
    """The same clusters within clusters."""
    rng = np.random.default_rng(1)
    coarse, fine = rng.normal(0, 30, (4, 10)), rng.normal(0, 5, (4, 3, 10))
    centres = (coarse[:, None] + fine).reshape(12, 10)
    X = np.concatenate([rng.normal(centre, 1, (60, 10)) for centre in centres])
    labels = np.repeat(np.arange(4), 180)
    panels = [(embed(X, perplexity=p), labels, f"perplexity {p}") for p in (3, 30, 150)]
    draw("perplexity", panels)


def noise() -> None:
    """Points without any structure."""
    X = np.random.default_rng(0).normal(size=(500, 100))
    panels = []
    for perplexity in (2, 5, 30):
        Y = embed(X, perplexity=perplexity)
        report = quality_report(X, Y, perplexity=perplexity).to_dict()
        print("noise: perplexity", perplexity, report)
        panels.append((Y, np.zeros(len(Y), dtype=int), f"perplexity {perplexity}"))
    draw("noise", panels)


def clusters(
    widths: Sequence[float], rows: Sequence[int], places: Sequence[float]
) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Return Gaussian clusters in ten dimensions, on a line."""
    rng = np.random.default_rng(0)
    parts = []
    for width, n, place in zip(widths, rows, places, strict=True):
        part = rng.normal(0, width, (n, 10))
        part[:, 0] += place
        parts.append(part)
    return np.concatenate(parts), np.repeat(np.arange(len(rows)), rows)


def embed(
    X: NDArray[np.float64], perplexity: float = 30, init: str = "pca", random_state: int = 0
) -> NDArray[np.float32]:
    """Return a map by the native engine."""
    tsne = ServerlessTSNE(
        backend="native", perplexity=perplexity, init=init, random_state=random_state
    )
    embedding: NDArray[np.float32] = tsne.fit_transform(X)
    return embedding


def radius(Y: NDArray[np.float32]) -> float:
    """Return the median distance from the middle."""
    return float(np.median(np.linalg.norm(Y - np.median(Y, axis=0), axis=1)))


def order_kept(X: NDArray[np.float64], Y: NDArray[np.float32], labels: NDArray[np.int64]) -> float:
    """Return Spearman's correlation of the distances between centres, data against map."""
    centres = [np.array([Z[labels == k].mean(axis=0) for k in np.unique(labels)]) for Z in (X, Y)]
    return float(spearmanr(pdist(centres[0]), pdist(centres[1])).statistic)


def draw(name: str, panels: Sequence[tuple[NDArray[np.float32], NDArray[np.int64], str]]) -> None:
    """Write one row of maps."""
    figure = Figure(figsize=(PANEL_INCHES * len(panels), PANEL_INCHES + 0.3), layout="constrained")
    for axes, (Y, labels, title) in zip(
        figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True
    ):
        axes.scatter(Y[:, 0], Y[:, 1], c=[PALETTE[k] for k in labels], s=3, linewidths=0)
        axes.set(title=title, xticks=[], yticks=[], box_aspect=1)
        axes.set_aspect("equal", adjustable="datalim")
        axes.title.set_fontsize(9)
    save_figure(figure, IMAGES / f"reading-{name}.png", DPI)


if __name__ == "__main__":
    main()
