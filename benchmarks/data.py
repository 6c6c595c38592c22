"""Data sets by name and size; all of them are made or shipped without a network.

The same name, size and seed give the same rows in every benchmark. How maps of them are judged is
in ``judging``.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

PATCH_SIDES = {"patches48": 4, "patches192": 8, "patches768": 16}


def load(name: str, n: int, seed: int = 0) -> NDArray[np.float32]:
    """Return ``n`` rows of a data set, float32.

    Parameters
    ----------
    name : str
        One of ``"digits"``, ``"patches48"``, ``"patches192"``, ``"patches768"``, ``"mixture10"``,
        ``"noise20"``, ``"swissroll"``, ``"farblobs"`` and ``"heavytails"``, in this order:
        handwritten digits (at most 1,797 rows); all overlapping square patches of a photograph that
        scikit-learn ships, in 48 to 768 dimensions; 30 Gaussian clusters in 10 dimensions, as scVI
        gives them; Gaussian noise in 20; a swiss roll; two blobs of 10 dimensions a hundred of
        their widths apart; one cluster of 10 dimensions with Student's t of 2 degrees of freedom.
    n : int
        Rows.
    seed : int, default=0
        Which rows, or which noise.
    """
    rng = np.random.default_rng(seed)
    if name in PATCH_SIDES:
        return _patches(n, PATCH_SIDES[name], rng)
    makers = {
        "digits": _digits,
        "mixture10": _mixture,
        "noise20": _noise,
        "swissroll": _swiss_roll,
        "farblobs": _far_blobs,
        "heavytails": _heavy_tails,
    }
    return makers[name](n, rng)


def _digits(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    from sklearn.datasets import load_digits

    rows = load_digits().data.astype(np.float32)
    return rows[np.sort(rng.permutation(len(rows))[:n])]


def _patches(n: int, side: int, rng: np.random.Generator) -> NDArray[np.float32]:
    from sklearn.datasets import load_sample_images

    photograph = load_sample_images().images[0].astype(np.float32) / 255
    windows = np.lib.stride_tricks.sliding_window_view(photograph, (side, side, 3))[:, :, 0]
    height, width = windows.shape[:2]
    chosen = rng.choice(height * width, n, replace=False)
    return np.ascontiguousarray(windows[chosen // width, chosen % width].reshape(n, -1))


def _mixture(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    clusters, d = 30, 10
    centres = 4 * rng.normal(size=(clusters, d))
    widths = rng.uniform(0.5, 1.5, size=clusters)
    labels = rng.choice(clusters, size=n, p=rng.dirichlet(np.full(clusters, 2.0)))
    points = centres[labels] + widths[labels, None] * rng.normal(size=(n, d))
    return points.astype(np.float32)


def _noise(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.normal(size=(n, 20)).astype(np.float32)


def _swiss_roll(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    angle = 1.5 * np.pi * (1 + 2 * rng.random(n))
    points = np.column_stack([angle * np.cos(angle), 21 * rng.random(n), angle * np.sin(angle)])
    return (points + 0.05 * rng.normal(size=points.shape)).astype(np.float32)


def _far_blobs(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    points = rng.normal(size=(n, 10))
    points[n // 2 :, 0] += 100
    return points.astype(np.float32)


def _heavy_tails(n: int, rng: np.random.Generator) -> NDArray[np.float32]:
    return rng.standard_t(2, size=(n, 10)).astype(np.float32)
