"""Data matrices, maps and labels in files: the door for the command line and for pictures.

Nothing here unpickles. Objects in memory are the business of ``anndata`` and ``labels``, which
asks ``columns`` for those in files.
"""

from tsne_backends.files.coordinates import read_coordinates
from tsne_backends.files.h5ad import OBSM_KEY, add_in_place, check_in_place
from tsne_backends.files.readers import Table
from tsne_backends.files.reading import READABLE, read_table, require_format
from tsne_backends.files.replacing import check_replaceable, whole_or_not_at_all
from tsne_backends.files.writing import WRITABLE, check_output, write_embedding

__all__ = [
    "OBSM_KEY",
    "READABLE",
    "WRITABLE",
    "Table",
    "add_in_place",
    "check_in_place",
    "check_output",
    "check_replaceable",
    "read_coordinates",
    "read_table",
    "require_format",
    "whole_or_not_at_all",
    "write_embedding",
]
