"""The command ``serverless-tsne embed``, and the words about a finished map.

What a sample is, and what becomes of rows outside it, is in ``sampling`` and ``sampled_fit``.
"""

from __future__ import annotations

import logging
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import numpy as np

from tsne_backends.cli.options import REP_HELP, estimator_options, make_estimator

if TYPE_CHECKING:
    from tsne_backends.estimator import ServerlessTSNE
    from tsne_backends.files import Table
    from tsne_backends.sampled_fit import SampledMap, Writer


@click.command()
@click.argument("source", metavar="INPUT", type=click.Path(path_type=Path))
@click.option("-o", "--output", type=click.Path(path_type=Path), help="File to write.")
@click.option("--in-place", is_flag=True, help="Add the map to INPUT, an .h5ad file, instead.")
@click.option("--key-added", help="Key of the map in obsm of an .h5ad file; X_tsne by default.")
@click.option("--rep", help=REP_HELP)
@click.option("--key", help="Name of the array in an .npz file.")
@click.option("--force", is_flag=True, help="Replace the output if it exists.")
@click.option(
    "--cache",
    is_flag=True,
    help="Keep the neighbours graph; see `serverless-tsne cache`.",
)
@click.option("--sample", type=int, metavar="N", help="Make the map of N rows drawn by chance.")
@click.option(
    "--stratify",
    metavar="COLUMN",
    help="Draw rows of every class: FILE:COLUMN, or COLUMN of INPUT.",
)
@click.option("--place-rest", is_flag=True, help="Place the rows outside the sample on its map.")
@click.option("-v", "--verbose", is_flag=True, help="Show the decision and the progress.")
@estimator_options
def embed(
    source: Path,
    output: Path | None,
    in_place: bool,
    key_added: str | None,
    rep: str | None,
    key: str | None,
    force: bool,
    cache: bool,
    sample: int | None,
    stratify: str | None,
    place_rest: bool,
    options: tuple[str, ...],
    verbose: bool,
    **parameters: Any,
) -> None:
    """Embed the rows of INPUT and write their map.

    Reads .npy, .npz (dense or sparse), .csv, .tsv, .parquet, .h5ad and .mtx; writes .npy, .npz,
    .csv, .tsv, .parquet, and .h5ad (a copy of the input with obsm["X_tsne"]; with --in-place the
    input itself, which is not copied then).

    The map of a sample holds the sampled rows only: tables name them in a column id (row numbers
    from 0 where INPUT has no names), .npz numbers them in an array rows, .h5ad has NaN elsewhere.
    With --place-rest it holds every row, in the order of INPUT.
    """
    from tsne_backends.cache import default_folder
    from tsne_backends.files import read_table
    from tsne_backends.labels import check_label_spec
    from tsne_backends.sampled_fit import check_sampled_fit, write_sampled_map

    log_to_terminal(verbose)
    write = _checked_writer(source, output, in_place, key_added, force=force)
    output = output or source
    # Reading can take minutes, so what can be refused without the data is refused first.
    memory = str(default_folder()) if cache else None
    tsne = make_estimator(parameters, options, memory=memory, verbose=int(verbose))
    check_sampled_fit(tsne, sample, stratify, place_rest, output)
    labels = None if stratify is None else check_label_spec(stratify, source)
    started = time.perf_counter()
    table = read_table(source, rep=rep, key=key, without=labels)
    reading = time.perf_counter() - started
    part = f"{table.part} of " if table.part else ""
    click.echo(f"Read {part}{source} in {reading:.2f} s.")
    if sample is None:
        tsne.fit(table.matrix)
        write(tsne.embedding_, table.row_names, None)
        summarise(tsne, output)
        return
    placed = _embed_sample(tsne, table, source, sample, stratify, place_rest)
    write_sampled_map(write, output.suffix, placed, table.row_names)
    summarise(tsne, output, placed)


def summarise(
    tsne: ServerlessTSNE,
    output: Path,
    placed: SampledMap | None = None,
    *,
    where: str | None = None,
) -> None:
    """Print what was run, what it took, and what was written.

    Parameters
    ----------
    tsne : ServerlessTSNE
        Fitted.
    output : Path
    placed : SampledMap, optional
        What was written, where the fit was of a sample.
    where : str, optional
        What it ran on, where that is not what the backend says.
    """
    from tsne_backends.registry import load_backend

    rows, columns = tsne.embedding_.shape
    where = where or load_backend(tsne.backend_).where
    phases = {name: seconds for name, seconds in tsne.timings_.items() if name != "total"}
    click.echo(
        f"Embedded {rows} × {tsne.n_features_in_} on {where} with backend {tsne.backend_} "
        f"({tsne.details_.get('engine', 'version unknown')}): {tsne.n_iter_} iterations, "
        f"KL divergence {tsne.kl_divergence_:.3f} nats."
    )
    for name, value in tsne.details_.items():
        if isinstance(value, dict):
            value = ", ".join(f"{part} {choice}" for part, choice in value.items())
        if value not in ("", None):  # as of a GPU that was not there
            click.echo(f"  {name}: {value}")
    click.echo(
        f"{tsne.timings_['total']:.2f} s: "
        + ", ".join(f"{name} {seconds:.2f} s" for name, seconds in phases.items())
        + "."
    )
    click.echo(f"  {tsne.plan_.outcome()}")
    if placed is not None and placed.is_whole:
        if others := len(placed.embedding) - rows:
            click.echo(f"Placed the other {others:,} rows on the map.")
        rows = len(placed.embedding)
    click.echo(f"Wrote {output} ({rows} × {columns}).")


def log_to_terminal(verbose: bool) -> None:
    """Show the package's log on the terminal, if asked to."""
    if verbose:
        logging.basicConfig(format="%(message)s", stream=sys.stderr)
        logging.getLogger("tsne_backends").setLevel(logging.INFO)


def _checked_writer(
    source: Path, output: Path | None, in_place: bool, key_added: str | None, *, force: bool
) -> Writer:
    """Return what will write the map, after refusing what could not be written."""
    from tsne_backends.files import (
        OBSM_KEY,
        add_in_place,
        check_in_place,
        check_output,
        require_format,
        write_embedding,
    )

    if in_place == (output is not None):
        raise click.UsageError("Name either an output with --output, or pass --in-place.")
    obsm_key = key_added or OBSM_KEY
    if output is None:
        require_format(".h5ad")
        check_in_place(source, obsm_key, force=force)
        return lambda embedding, row_names, rows: add_in_place(source, embedding, obsm_key)
    if key_added is not None and output.suffix.lower() != ".h5ad":
        raise ValueError(
            f'--key-added names a part of an .h5ad file, which "{output}" is not; leave it out.'
        )
    check_output(output, source, force=force)
    return lambda embedding, row_names, rows: write_embedding(
        output, embedding, row_names, source, obsm_key, rows
    )


def _embed_sample(
    tsne: ServerlessTSNE,
    table: Table,
    source: Path,
    sample: int,
    stratify: str | None,
    place_rest: bool,
) -> SampledMap:
    """Draw rows, fit their map, place the others where asked for, and say so."""
    from tsne_backends.labels import class_codes, read_label_column
    from tsne_backends.sampled_fit import fit_sample
    from tsne_backends.sampling import sample_rows

    n = table.matrix.shape[0]
    labels, words = None, ""
    if stratify is not None:
        labels = read_label_column(stratify, source, table.row_names, n)
    rows = sample_rows(n, sample, stratify=labels, random_state=tsne.random_state or 0)
    if labels is not None:
        drawn = np.bincount(np.unique(class_codes(labels)[0][rows], return_inverse=True)[1])
        words = f", of every class of {labels.name} at least {drawn.min():,}"
    click.echo(f"Drew {len(rows):,} of {n:,} rows{words}.")
    return fit_sample(tsne, table.matrix, rows, place_rest)
