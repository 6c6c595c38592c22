"""Writes and executes tutorial.ipynb: ``python docs/make_tutorial.py``, from the repository's root.

The cells stand here, as text that can be reviewed; what they print is real.
"""

from pathlib import Path

import nbformat
from nbclient import NotebookClient
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

PATH = Path(__file__).with_name("tutorial.ipynb")

CELLS = (
    """# A first map, and a second look

1,797 handwritten digits, each an image of 8 × 8 pixels: 64 features. t-SNE lays them out in two
dimensions so that neighbours stay neighbours.""",
    """>>> %matplotlib inline
# Small pictures keep this file small.
%config InlineBackend.print_figure_kwargs = {"dpi": 55, "bbox_inches": "tight"}
from sklearn.datasets import load_digits

from tsne_backends import ServerlessTSNE, sweep
from tsne_backends.plot import plot_sweep, scatter
from tsne_backends.quality import neighbor_preservation

digits = load_digits()
X, labels = digits.data.astype("float32"), digits.target.astype(str)
X.shape""",
    """## What would run, and how long it would take

A plan computes nothing. It lists every engine with what it is expected to take on this machine,
or why it is out.""",
    """>>> ServerlessTSNE().plan(X)""",
    """## The map

`memory` keeps the neighbours for the next fit of the same data.""",
    """>>> folder = "kept-neighbours"
tsne = ServerlessTSNE(memory=folder, random_state=0).fit(X)
tsne.backend_, tsne.n_iter_, round(tsne.kl_divergence_, 3)""",
    """The plan, with what the run took below what was expected:""",
    """>>> tsne.plan_""",
    """The estimator itself tells the same under scikit-learn's diagram:""",
    """>>> tsne""",
    """>>> scatter(tsne.embedding_, labels, "Handwritten digits")""",
    """## A second look

With a lower perplexity nothing is searched again. `init=tsne` starts from the first map, so that
both are arranged alike.""",
    """>>> closer = ServerlessTSNE(memory=folder, perplexity=10, random_state=0, init=tsne)
closer.fit(X)
scatter(closer.embedding_, labels, "Perplexity 10, arranged as before")""",
    """## Several maps at once

A sweep computes a map for every combination and shares what they have in common. `preservation`
is the share of the 15 nearest neighbours that are among the 15 nearest on the map. KL divergences
compare only at equal perplexity.""",
    """>>> grid = {"perplexity": [5, 30, 100], "random_state": [0, 1]}
result = sweep(X, grid, memory=folder, max_iter=500)
result""",
    """>>> plot_sweep(result, labels)""",
    """>>> result.best("preservation").parameters""",
    """## How good is a map?

The neighbours are exact here, whichever search the engine used.""",
    """>>> round(neighbor_preservation(X, tsne.embedding_, k=15), 3)""",
    """## New rows on an old map

`transform` places rows that were not there when the map was made; the map does not move.""",
    """>>> first = ServerlessTSNE(random_state=0).fit(X[:1500])
places = first.transform(X[1500:])
nearest = ((places[:, None] - first.embedding_[None]) ** 2).sum(axis=2).argmin(axis=1)
share = (labels[:1500][nearest] == labels[1500:]).mean()
f"{share:.0%} of the new digits lie next to one that shows the same digit." """,
    """>>> from shutil import rmtree

rmtree(folder)""",
)


def notebook() -> nbformat.NotebookNode:
    """Return the notebook without results."""
    cells = []
    for number, text in enumerate(CELLS):
        is_code = text.startswith(">>> ")
        make = new_code_cell if is_code else new_markdown_cell
        cells.append(make(text.removeprefix(">>> ").strip(), id=f"cell-{number}"))
    kernel = {"name": "python3", "display_name": "Python 3", "language": "python"}
    return new_notebook(cells=cells, metadata={"kernelspec": kernel})


def execute(book: nbformat.NotebookNode, folder: Path) -> nbformat.NotebookNode:
    """Run all cells in ``folder`` and return the notebook with what they gave."""
    NotebookClient(
        book, timeout=120, resources={"metadata": {"path": str(folder)}}, record_timing=False
    ).execute()
    return book


if __name__ == "__main__":
    nbformat.write(execute(notebook(), PATH.parent), PATH)
    print(f"Wrote {PATH} ({PATH.stat().st_size / 1000:.0f} kB).")
