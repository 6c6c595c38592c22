"""Threads of BLAS and OpenMP: held while something is computed, and given back by the last."""

import sys
from concurrent.futures import ThreadPoolExecutor
from types import ModuleType

import pytest
from threadpoolctl import ThreadpoolController, threadpool_info, threadpool_limits

from tsne_backends import libraries
from tsne_backends.libraries import library_threads


def threads(kind=None):
    return {
        pool["filepath"]: pool["num_threads"]
        for pool in threadpool_info()
        if kind in (None, pool["user_api"])
    }


@pytest.fixture
def two_threads():
    with threadpool_limits(2):
        yield threads()


def test_libraries_are_held_and_given_back(two_threads):
    assert set(two_threads.values()) == {2}
    with library_threads(1):
        assert set(threads().values()) == {1}
        with library_threads(2):  # what overlaps allows no more
            assert set(threads("blas").values()) == {1}
        assert set(threads().values()) == {1}
    assert threads() == two_threads


def test_an_error_gives_threads_back(two_threads):
    with pytest.raises(KeyError, match="within"), library_threads(1):
        raise KeyError("within")
    assert threads() == two_threads


def test_what_is_found_is_given_back_each_time():
    for n_threads in (2, 1, 2):
        with threadpool_limits(n_threads):
            with library_threads(1):
                assert set(threads().values()) == {1}
            assert set(threads().values()) == {n_threads}


@pytest.mark.parametrize("first_out", [0, 1])
def test_overlapping_computations_of_several_threads_leave_what_the_first_found(
    first_out, two_threads
):
    """As two fits do, each of which allows two threads and then, within, one."""
    with ThreadPoolExecutor(1) as one, ThreadPoolExecutor(1) as other:
        openmp = [pool.submit(threads, "openmp").result() for pool in (one, other)]
        fits = [(pool, library_threads(2), library_threads(1)) for pool in (one, other)]
        (first, whole, within), (second, whole_second, within_second) = fits
        first.submit(whole.__enter__).result()
        first.submit(within.__enter__).result()
        second.submit(whole_second.__enter__).result()
        assert set(threads("blas").values()) == {1}  # what the first holds stays held
        second.submit(within_second.__enter__).result()
        for pool, outer, inner in (fits[first_out], fits[1 - first_out]):
            assert set(threads("blas").values()) == {1}
            pool.submit(inner.__exit__, None, None, None).result()
            pool.submit(outer.__exit__, None, None, None).result()
        assert threads() == two_threads
        assert [pool.submit(threads, "openmp").result() for pool in (one, other)] == openmp
    with threadpool_limits(1):  # and nobody is kept from changing them
        assert set(threads().values()) == {1}
    assert threads() == two_threads


def test_libraries_are_looked_up_again_once_something_was_imported(monkeypatch):
    looks = []

    def look():
        looks.append(1)
        return ThreadpoolController()

    monkeypatch.setattr(libraries, "_looked_up", None)
    monkeypatch.setattr(libraries, "ThreadpoolController", look)
    for _ in range(2):
        with library_threads(1):
            assert set(threads().values()) == {1}
        assert len(looks) == 1
    monkeypatch.setitem(sys.modules, "tests.imported_since", ModuleType("imported_since"))
    with library_threads(1):
        assert set(threads().values()) == {1}
    assert len(looks) == 2
