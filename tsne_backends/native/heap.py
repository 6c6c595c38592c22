"""Freed memory, given back to the system before more is taken.

glibc maps large arrays and gives them back when they are freed, but only those that are larger than
any freed before, or than 32 MB (mallopt(3), M_MMAP_THRESHOLD). The others stay in its heap below
whatever is still in use, and the next step's arrays come on top.
"""

from __future__ import annotations

import ctypes
import sys

#: Fewer rows than this leave too little to be worth the few milliseconds.
FEWEST_ROWS = 20_000


def give_back(n_rows: int) -> None:
    """Give back what is free of the heap, after a step that was made for so many rows.

    Where the C library cannot be asked, as on macOS, Windows and musl, nothing happens.

    Parameters
    ----------
    n_rows : int
    """
    if n_rows < FEWEST_ROWS or not sys.platform.startswith("linux"):
        return
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)
