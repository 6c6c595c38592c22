"""The command `plot`: a file of coordinates, and of labels, becomes a picture."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from tsne_backends.label_columns import LabelColumn
    from tsne_backends.readers import Table


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="Picture to write."
)
@click.option("--color", metavar="[FILE:]COLUMN", help="Colour by these labels or quantities.")
@click.option("--facet", metavar="[FILE:]COLUMN", help="One panel for each of these categories.")
@click.option("--title", help="Written above the map.")
@click.option(
    "--labels",
    "placement",
    type=click.Choice(["auto", "on-map", "legend", "none"]),
    default="auto",
    show_default=True,
    help="Where the names of categories go.",
)
@click.option(
    "--max-categories",
    type=click.IntRange(2, 40),
    help="Merge the rarest categories, so that no more names than this remain.",
)
@click.option(
    "--max-facets",
    type=click.IntRange(2, 12),
    help="Merge the rarest categories of --facet, so that no more panels than this remain.",
)
@click.option("--width", type=click.FloatRange(1, 100), help="Of the picture, in inches.")
@click.option("--height", type=click.FloatRange(1, 100), help="Of the picture, in inches.")
@click.option(
    "--dpi", type=click.IntRange(10, 2400), help="Dots per inch; 200, and 300 in .pdf and .svg."
)
@click.option("--rep", help="Key in obsm of an .h5ad file, instead of X_tsne.")
@click.option("--key", help="Name of the array in an .npz file.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
def plot(
    source: Path,
    output: Path,
    color: str | None,
    facet: str | None,
    title: str | None,
    placement: str,
    max_categories: int | None,
    max_facets: int | None,
    width: float | None,
    height: float | None,
    dpi: int | None,
    rep: str | None,
    key: str | None,
    force: bool,
) -> None:
    """Draw the map in INPUT as .png, .pdf or .svg.

    Reads what `embed` writes; of a table with columns tsne1, tsne2 only these. Labels come from
    FILE:COLUMN (.csv, .tsv, .parquet, .h5ad), FILE (.npy, .txt), or COLUMN of INPUT itself.
    """
    from tsne_backends.files import import_optional
    from tsne_backends.plot import check_picture, facets, save_figure, scatter

    # What can be refused without the data is refused before they are read.
    check_picture(output, force=force)
    import_optional("matplotlib", "plot", "Pictures")
    table, labels, groups = _read(source, color, facet, rep, key)
    if groups is None:
        figure = scatter(
            table.matrix,
            labels,
            title,
            placement=placement,
            max_categories=max_categories,
            width=width,
            height=height,
        )
    else:
        figure = facets(
            table.matrix,
            groups,
            labels,
            title,
            placement=placement,
            max_categories=max_categories,
            max_facets=max_facets,
            width=width,
            height=height,
        )
    save_figure(figure, output, dpi)
    width, height = figure.get_size_inches()
    click.echo(f"Wrote {output} ({len(table.matrix):,} points, {width:.1f} × {height:.1f} inches).")


def _read(
    source: Path, color: str | None, facet: str | None, rep: str | None, key: str | None
) -> tuple[Table, LabelColumn | None, LabelColumn | None]:
    """Read the map, the labels to colour by and those to split by."""
    from tsne_backends.coordinates import read_coordinates
    from tsne_backends.label_columns import read_label_column

    table = read_coordinates(source, rep=rep, key=key)
    n_samples = len(table.matrix)
    labels, groups = (
        None if spec is None else read_label_column(spec, source, table.row_names, n_samples)
        for spec in (color, facet)
    )
    return table, labels, groups
