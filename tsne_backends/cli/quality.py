"""The command ``serverless-tsne quality``: judges a map that any program has made.

The scores, and the words about them, are those of `tsne_backends.report.quality_report`.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np
from numpy.typing import NDArray

from tsne_backends.cli.options import REP_HELP

if TYPE_CHECKING:
    from tsne_backends.files import Table


@click.command()
@click.argument("source", metavar="DATA", type=click.Path(path_type=Path))
@click.argument("embedding", metavar="MAP", type=click.Path(path_type=Path))
@click.option("--rep", help=f"{REP_HELP} Of DATA.")
@click.option("--key", help="Name of the array in an .npz file DATA.")
@click.option("--map-rep", help='Key in obsm of an .h5ad file MAP, "X_tsne" if not given.')
@click.option(
    "--labels", metavar="COLUMN", help="Classes for the silhouette: FILE:COLUMN, or COLUMN of DATA."
)
@click.option("--neighbors", "k", type=int, default=15, show_default=True, help="Neighbours.")
@click.option(
    "--perplexity", type=float, default=30.0, show_default=True, help="Of the KL divergence."
)
@click.option("--no-kl", is_flag=True, help="Leave the KL divergence out; quicker at many rows.")
@click.option(
    "--sample", type=int, default=5_000, show_default=True, help="Rows that scores are averaged on."
)
@click.option("--random-state", type=int, default=0, show_default=True, help="Seed of the sample.")
@click.option("--n-jobs", type=int, help="Threads; all cores if not given.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON instead of a table.")
def quality(
    source: Path,
    embedding: Path,
    rep: str | None,
    key: str | None,
    map_rep: str | None,
    labels: str | None,
    k: int,
    perplexity: float,
    no_kl: bool,
    sample: int,
    random_state: int,
    n_jobs: int | None,
    as_json: bool,
) -> None:
    """Judge MAP, the coordinates of the rows of DATA.

    DATA is a file that `embed` reads, MAP one that `plot` draws: of a table with columns tsne1,
    tsne2 only these are the map. Where MAP has fewer rows than DATA, as the map of a sample
    has, its rows are found by their names, or by their numbers if DATA have no names.
    """
    from tsne_backends.files import read_coordinates, read_table
    from tsne_backends.labels import as_labels, check_label_spec, read_label_column
    from tsne_backends.report import quality_report

    within = None if labels is None else check_label_spec(labels, source)
    # The map is the smaller file: what is wrong with it shows before the data are read.
    placed = read_coordinates(embedding, rep=map_rep)
    data = read_table(source, rep=rep, key=key, without=within)
    rows, shown = _placed_rows(data, placed, source, embedding)
    X, classes = data.matrix[rows], None
    if labels is not None:
        n = data.matrix.shape[0]
        column = read_label_column(labels, source, data.row_names, n)
        classes = as_labels(type(column)(column.name, column.values[rows]), len(rows))
    report = quality_report(
        X,
        shown,
        classes,
        k=k,
        perplexity=None if no_kl else perplexity,
        sample=sample,
        random_state=random_state,
        n_jobs=n_jobs,
    )
    click.echo(json.dumps(report.to_dict(), indent=2) if as_json else str(report))


def _placed_rows(data: Table, placed: Table, source: Path, path: Path) -> tuple[Any, NDArray[Any]]:
    """Return which rows of the data are on the map, and their places."""
    shown = placed.matrix
    n, suffix = data.matrix.shape[0], path.suffix.lower()
    rows = _rows_in(path) if suffix == ".npz" else None
    if rows is None:
        rows = _rows_by_name(data, placed, n)
    if rows is None and len(shown) == n:
        rows = np.arange(n)
    if rows is None or len(rows) != len(shown) or not ((rows >= 0) & (rows < n)).all():
        raise ValueError(
            f'"{path}" has {len(shown)} rows, but "{source}" has {n}, and their names do not tell '
            "which belong together; give the data that the map was made of."
        )
    if suffix == ".h5ad":  # holds NaN for rows that were not sampled
        on_map = ~np.isnan(shown).all(axis=1)
        rows, shown = rows[on_map], shown[on_map]
    return rows, shown


def _rows_in(path: Path) -> NDArray[Any] | None:
    """Return the row numbers that `embed --sample` has written beside a map."""
    with np.load(path, allow_pickle=False) as archive:
        return np.asarray(archive["rows"]) if "rows" in archive.files else None


def _rows_by_name(data: Table, placed: Table, n: int) -> NDArray[Any] | None:
    """Return the rows of the data that the map names, or None where names do not tell."""
    if placed.row_names is None or (data.row_names is None and len(placed.row_names) == n):
        return None
    known: Sequence[str] = data.row_names or [str(row) for row in range(n)]
    numbers = {name: row for row, name in enumerate(known)}
    if len(numbers) < n or any(name not in numbers for name in placed.row_names):
        return None
    return np.array([numbers[name] for name in placed.row_names])
