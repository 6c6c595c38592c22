"""The command ``serverless-tsne plot``: coordinates, and labels, become a picture or a page.

What can be refused without the data is refused here, before they are read. Files are read in
`tsne_backends.files` and `tsne_backends.labels`, and everything is drawn in `tsne_backends.plot`.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

if TYPE_CHECKING:
    from tsne_backends.files import Table
    from tsne_backends.labels import LabelColumn


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option(
    "-o", "--output", required=True, type=click.Path(path_type=Path), help="File to write."
)
@click.option(
    "--color",
    "colors",
    metavar="[FILE:]COLUMN",
    multiple=True,
    help="Colour by these labels or quantities; for .html several times, to choose from.",
)
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
    colors: tuple[str, ...],
    facet: str | None,
    title: str | None,
    rep: str | None,
    key: str | None,
    force: bool,
    **looks: Any,
) -> None:
    """Draw the map in INPUT as .png, .pdf or .svg, or as .html to move about in.

    Reads what `embed` writes; of a table with columns tsne1, tsne2 only these. Labels come from
    FILE:COLUMN (.csv, .tsv, .parquet, .h5ad), FILE (.npy, .txt), or COLUMN of INPUT itself; where
    INPUT has no columns, of the first FILE named.
    """
    from tsne_backends.files import read_coordinates
    from tsne_backends.labels import with_files

    # What can be refused without the data is refused before they are read.
    is_page = output.suffix.lower() in (".html", ".htm")
    if is_page:
        _check_page(output, {"facet": facet, **looks}, force=force)
    else:
        _check_picture(output, colors, force=force)
    table = read_coordinates(source, rep=rep, key=key)
    specs = with_files([*colors, *([] if facet is None else [facet])], source)
    columns = [_labels(spec, source, table) for spec in specs]
    labels, groups = columns[: len(colors)], columns[len(colors) :]
    if source.suffix.lower() == ".h5ad":
        table, labels, groups = _placed(table, labels, groups)
    if is_page:
        _write_page(output, table, labels, title)
    else:
        _draw(output, table, next(iter(labels), None), next(iter(groups), None), title, **looks)


def _check_page(output: Path, looks: dict[str, Any], *, force: bool) -> None:
    from tsne_backends.files import check_replaceable
    from tsne_backends.optional import import_optional

    check_replaceable(output, force=force)
    given = [name for name, value in looks.items() if value not in (None, "auto")]
    if given:
        option = "--labels" if given[0] == "placement" else f"--{given[0].replace('_', '-')}"
        raise ValueError(
            f'{option} is for pictures, and "{output}" is a page that shows one map in the size of '
            "its window; leave it out, or write .png, .pdf or .svg."
        )
    import_optional("bokeh", "interactive", "Interactive maps")


def _check_picture(output: Path, colors: tuple[str, ...], *, force: bool) -> None:
    from tsne_backends.optional import import_optional
    from tsne_backends.plot import check_picture

    check_picture(output, force=force)
    if len(colors) > 1:
        raise ValueError(
            f"--color was given {len(colors)} times, but a picture has the colours of one column; "
            "give one, or write .html, where one can choose."
        )
    import_optional("matplotlib", "plot", "Pictures")


def _labels(spec: str, source: Path, table: Table) -> LabelColumn:
    from tsne_backends.labels import read_label_column

    return read_label_column(spec, source, table.row_names, len(table.matrix))


def _placed(
    table: Table, labels: list[LabelColumn], groups: list[LabelColumn]
) -> tuple[Table, list[LabelColumn], list[LabelColumn]]:
    """Leave out rows that hold NaN alone: in .h5ad files, those were not sampled."""
    placed = ~np.isnan(table.matrix).all(axis=1)
    if placed.all() or not placed.any():
        return table, labels, groups
    click.echo(f"{(~placed).sum():,} of {len(placed):,} rows have no place on this map.")
    names = table.row_names and tuple(np.array(table.row_names, dtype=object)[placed])
    kept = [
        [replace(column, values=column.values[placed]) for column in columns]
        for columns in (labels, groups)
    ]
    return replace(table, matrix=table.matrix[placed], row_names=names), kept[0], kept[1]


def _write_page(output: Path, table: Table, labels: list[LabelColumn], title: str | None) -> None:
    from tsne_backends.plot import write_html

    columns = {column.name: column for column in labels}
    write_html(table.matrix, output, labels=columns, ids=table.row_names, title=title)
    click.echo(f"Wrote {output} ({len(table.matrix):,} points; open it in a browser).")


def _draw(
    output: Path,
    table: Table,
    labels: LabelColumn | None,
    groups: LabelColumn | None,
    title: str | None,
    *,
    dpi: int | None,
    max_facets: int | None,
    **looks: Any,
) -> None:
    from tsne_backends.plot import facets, save_figure, scatter

    if groups is None:
        figure = scatter(table.matrix, labels, title, **looks)
    else:
        figure = facets(table.matrix, groups, labels, title, max_facets=max_facets, **looks)
    save_figure(figure, output, dpi)
    width, height = figure.get_size_inches()
    click.echo(f"Wrote {output} ({len(table.matrix):,} points, {width:.1f} × {height:.1f} inches).")
