"""Tries an installed package as a first user would: ``python smoke.py``, in an empty folder.

Not part of the suite: it is run on the built wheel, without the sources and without the libraries
that only tests need, on the oldest and on the newest dependencies (`make smoke`).
"""

import importlib.metadata
import subprocess
import sys
from pathlib import Path


def main() -> None:
    """Import, embed, place, plan, and use the command; raises where something is missing."""
    import numpy as np

    import tsne_backends
    from tsne_backends import ServerlessTSNE, list_backends, quality_report

    installed = Path(tsne_backends.__file__).parent
    assert "site-packages" in installed.parts, f"not the installed package: {installed}"
    assert importlib.metadata.version("serverless-tsne") == tsne_backends.__version__
    for file in ("gpu/kernels.cu", "plot/html_page.js", "plot/html_page.html", "py.typed"):
        assert (installed / file).is_file(), f"{file} is not in the wheel"
    assert {"native", "opentsne", "sklearn", "cuml", "modal"} <= set(list_backends())

    X = np.random.default_rng(0).normal(size=(400, 8)).astype("float32")
    X[:200] += 9
    for backend in ("native", "opentsne", "sklearn"):
        tsne = ServerlessTSNE(backend=backend, max_iter=300, random_state=0).fit(X[:390])
        assert tsne.embedding_.shape == (390, 2)
        assert np.isfinite(tsne.transform(X[390:])).all()
        preserved = quality_report(X[:390], tsne.embedding_).neighbor_preservation.value
        assert preserved > 0.2, preserved
        print(f"{backend}: {tsne.timings_['total']:.2f} s, preserves {preserved:.2f}")
    print(ServerlessTSNE().plan(X))

    np.save("X.npy", X)
    run("--version")
    run("embed", "X.npy", "-o", "map.csv", "--max-iter", "300", "--random-state", "0")
    run("quality", "X.npy", "map.csv")
    run("backends")
    run("demo")
    assert Path("map.csv").read_text(encoding="utf-8").startswith("tsne1,tsne2\n")
    assert np.load("demo.npy").shape == (1797, 2)


def run(*arguments: str) -> None:
    """Run the installed command."""
    command = str(Path(sys.executable).with_name("serverless-tsne"))
    done = subprocess.run([command, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{arguments} ended with {done.returncode}: {done.stderr}"
    print("$ serverless-tsne", *arguments)


if __name__ == "__main__":
    main()
