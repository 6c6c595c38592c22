"""Makes what docs/plots-interactive.md shows: ``python docs/make_interactive.py``.

The picture is a screenshot of a headless Chromium, after a lasso; the figures are printed.
"""

import statistics
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from sklearn.datasets import load_digits

ROOT = Path(__file__).parent.parent
sys.path.insert(0, str(ROOT / "tests"))

import browser  # noqa: E402, from the folder of tests

from tsne_backends import ServerlessTSNE  # noqa: E402
from tsne_backends.plot import write_html  # noqa: E402

SIZES = (1_000, 10_000, 100_000)
REPEATS = 5


def main() -> None:
    """Take the picture, then measure."""
    with tempfile.TemporaryDirectory() as folder:
        driver = browser.start(Path(folder))
        try:
            _picture(driver, Path(folder) / "digits.html")
            _figures(driver, Path(folder) / "random.html")
        finally:
            driver.quit()


def _picture(driver: Any, path: Path) -> None:
    digits = load_digits()
    Y = ServerlessTSNE(random_state=0).fit_transform(digits.data)
    labels = {"digit": digits.target, "ink": digits.data.mean(axis=1)}
    write_html(Y, path, labels=labels, title="1,797 handwritten digits")
    page = browser.Page(driver, path)
    pixels = page.pixels()
    sixes = np.array([pixels[row] for row in np.flatnonzero(digits.target == 6)])
    middle, angles = np.median(sixes, axis=0), np.linspace(0, 2 * np.pi, 24)
    reach = 1.2 * np.percentile(np.abs(sixes - middle), 90, axis=0)
    circle = middle + reach * np.column_stack([np.cos(angles), np.sin(angles)])
    page.tool("Lasso")
    page.drag(circle)
    page.hover(*sixes[np.argmin(((sixes - middle) ** 2).sum(axis=1))])
    driver.save_screenshot(str(ROOT / "docs" / "images" / "interactive.png"))


def _figures(driver: Any, path: Path) -> None:
    random = np.random.default_rng(0)
    write_html(random.normal(size=(100, 2)), path)  # loads Bokeh
    print("| points | seconds to write | MB | seconds to open |\n|---|---|---|---|")
    for n in SIZES:
        Y = random.normal(size=(n, 2)).astype(np.float32)
        labels = {"category": random.integers(0, 20, n), "quantity": random.normal(size=n)}
        written, opened = [], []
        for _ in range(REPEATS):
            start = time.perf_counter()
            write_html(Y, path, labels=labels)
            written.append(time.perf_counter() - start)
            start = time.perf_counter()
            browser.Page(driver, path)
            opened.append(time.perf_counter() - start)
        megabytes = path.stat().st_size / 1e6
        write, load = statistics.median(written), statistics.median(opened)
        print(f"| {n:,} | {write:.2f} | {megabytes:.2f} | {load:.1f} |")


if __name__ == "__main__":
    main()
