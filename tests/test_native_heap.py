"""What is freed between the steps of a fit goes back to the system, where its C library lets us."""

import ctypes
import platform
import sys
from pathlib import Path

import numpy as np
import pytest

from tsne_backends.native import heap

HAS_GLIBC = platform.libc_ver()[0] == "glibc"
#: What this test frees, in KiB.
BLOCKS, BLOCK_KIB = 64, 512


def resident_kib():
    import resource  # which Windows has not

    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * resource.getpagesize() // 1024


def freed_below_what_is_in_use():
    """Return an array that keeps the heap from shrinking by what was freed below it."""
    np.zeros(16 << 20, dtype=np.int8)  # freed at once: from now on smaller ones are on the heap
    blocks = [np.ones(BLOCK_KIB << 10, dtype=np.int8) for _ in range(BLOCKS)]
    return blocks[-1]


@pytest.mark.skipif(not HAS_GLIBC, reason="other C libraries give back, or not, by themselves")
def test_what_was_freed_below_what_is_in_use_goes_back():
    in_use = freed_below_what_is_in_use()
    before = resident_kib()
    heap.give_back(heap.FEWEST_ROWS - 1)
    assert abs(resident_kib() - before) < BLOCK_KIB
    heap.give_back(heap.FEWEST_ROWS)
    assert before - resident_kib() > 0.8 * BLOCKS * BLOCK_KIB
    assert in_use.all()


@pytest.mark.parametrize("system", ["darwin", "win32"])
def test_other_systems_are_not_asked(monkeypatch, system):
    def refuse(_):
        raise AssertionError("There is no such library.")

    monkeypatch.setattr(sys, "platform", system)
    monkeypatch.setattr(ctypes, "CDLL", refuse)
    heap.give_back(10**6)


def test_a_library_without_it_is_left_alone(monkeypatch):
    monkeypatch.setattr(sys, "platform", "linux")
    monkeypatch.setattr(ctypes, "CDLL", lambda _: object())  # as musl, which has no malloc_trim
    heap.give_back(10**6)
