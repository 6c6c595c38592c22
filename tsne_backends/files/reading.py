"""Which formats a data matrix can be read from, and whether a file can be read at all.

How each format is read is in ``readers``. Finished maps are read in ``coordinates``, labels in
``columns``.
"""

from __future__ import annotations

from pathlib import Path

from tsne_backends.errors import FileFormatError, did_you_mean
from tsne_backends.files.readers import Table, read
from tsne_backends.optional import import_optional

READABLE = (".npy", ".npz", ".csv", ".tsv", ".parquet", ".h5ad", ".mtx")


def read_table(
    path: Path, *, rep: str | None = None, key: str | None = None, without: str | None = None
) -> Table:
    """Read a data matrix; rows are samples.

    Parameters
    ----------
    path : Path
        ``.npy``, ``.npz`` (dense, or SciPy sparse), ``.csv``, ``.tsv``, ``.parquet``, ``.h5ad`` or
        ``.mtx``.
    rep : str or None, default=None
        For ``.h5ad``: a key in ``obsm``, or ``"X"``. None is ``"X_pca"``, or X itself where it has
        no more than 50 variables, as in scanpy.
    key : str or None, default=None
        For ``.npz``: the name of the array, where several have two dimensions.
    without : str or None, default=None
        For ``.csv``, ``.tsv`` and ``.parquet``: a column that holds labels, and no data.

    Returns
    -------
    Table

    Raises
    ------
    FileFormatError
        The ending is not known, the file is damaged, or it holds no data matrix.
    ImportError
        A library for this format is not installed.
    OSError
        There is no such file, or it may not be read.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        advice = did_you_mean(suffix, READABLE)
        if suffix in (".gz", ".bz2", ".xz", ".zip"):
            advice = " Unpack the file first."
        elif suffix in (".txt", ".dat", ".tab"):
            advice = " A table is read as .csv with commas, or as .tsv with tabs between values."
        raise FileFormatError(
            f'The ending "{suffix}" of "{path}" is not one that can be read; use one of '
            f"{', '.join(READABLE)}.{advice}"
        )
    for option, value, wanted in (("--rep", rep, ".h5ad"), ("--key", key, ".npz")):
        if value is not None and suffix != wanted:
            raise FileFormatError(
                f'{option} chooses a part of an {wanted} file, which "{path}" is not; leave it out.'
            )
    check_readable(path)
    return read(path, rep, key, without)


def check_readable(path: Path) -> None:
    """Refuse a file that is not there, may not be read, or whose format needs a library.

    Raises
    ------
    FileNotFoundError
        There is no such file; the message suggests the nearest in its folder.
    ImportError
        The library for its format is not installed; the message has the command to run.
    OSError
        It may not be read, or is a folder.
    """
    if not path.exists():
        siblings = [other.name for other in path.parent.glob("*")]
        raise FileNotFoundError(f'There is no file "{path}".{did_you_mean(path.name, siblings)}')
    path.open("rb").close()  # raises, in the system's words, for a folder or a file that is closed
    require_format(path.suffix.lower())


def require_format(suffix: str) -> None:
    """Raise ImportError, with the command to run, where a format's library is not installed."""
    if suffix == ".h5ad":
        import_optional("anndata", "anndata", "Files of .h5ad")
    elif suffix == ".parquet":
        import_optional("pyarrow.parquet", "parquet", "Files of .parquet")
