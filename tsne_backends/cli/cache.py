"""The command ``serverless-tsne cache``: what is kept between runs, and how to keep less of it.

It counts and removes whole entries; what is in them, and when one serves, is the matter of
`tsne_backends.cache`. Measurements of this machine and of past runs lie elsewhere and stay.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import click

#: Bytes in each unit a size may be given in.
UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9, "T": 10**12}


@click.command()
@click.option("--size", is_flag=True, help="Print the size in bytes and nothing else.")
@click.option(
    "--prune",
    metavar="SIZE",
    help="Remove what was used longest ago until the rest fits into SIZE, such as 500M or 2G; "
    "0 removes everything.",
)
@click.option(
    "--folder",
    type=click.Path(path_type=Path),
    help="A folder given as `memory=`, instead of the one `embed --cache` uses.",
)
def cache(size: bool, prune: str | None, folder: Path | None) -> None:
    """Show or prune the neighbours graphs that `embed --cache` keeps."""
    from joblib import Memory

    from tsne_backends.cache import default_folder
    from tsne_backends.wording import size as in_words

    limit = None if prune is None else _bytes(prune)
    folder = folder or default_folder()
    if not folder.is_dir():
        if size:
            click.echo(0)
        else:
            click.echo(f"Nothing is kept in {folder}, which does not exist.")
        return
    memory = Memory(folder, verbose=0)
    before = _items(memory)
    if limit is not None:
        memory.reduce_size(bytes_limit=limit)
    kept = _items(memory)
    n_bytes = sum(item.size for item in kept)
    if size:
        click.echo(n_bytes)
        return
    if limit is not None:
        removed = sum(item.size for item in before) - n_bytes
        click.echo(f"Removed {len(before) - len(kept)} entries, {in_words(removed)}.")
    click.echo(f"{len(kept)} entries, {in_words(n_bytes)}, in {folder}.")


def _items(memory: Any) -> list[Any]:
    """Return what joblib keeps: objects with a ``size`` in bytes."""
    return list(memory.store_backend.get_items())


def _bytes(size: str) -> int:
    found = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)B?", size.strip().upper())
    if found is None:
        raise ValueError(
            f'--prune takes a size such as 500M, 2G or 0; it was "{size}". Give a number with '
            "K, M, G or T behind it, or bytes."
        )
    return int(float(found[1]) * UNITS[found[2]])
