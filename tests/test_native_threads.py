"""The team of threads of our engine: what it shares out, how it ends, what it leaves behind."""

import threading
import time
from dataclasses import replace

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from tsne_backends import Problem, cost_native
from tsne_backends.machine import Machine
from tsne_backends.native.threads import Team


def test_thread_settings_are_left_as_they_were():
    before = [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()]
    with Team(2):
        assert all(pool["num_threads"] == 1 for pool in threadpool_info())
    assert [(pool["filepath"], pool["num_threads"]) for pool in threadpool_info()] == before


def test_every_tile_is_done_once_and_errors_surface():
    with Team(3) as team:
        done = np.zeros(1000, dtype=int)

        def count(first, stop):
            done[first:stop] += 1

        team.run(count, 1000)
        team.run(count, 0)
        assert (done == 1).all()

        def fail(first, stop):
            if stop > 500:
                raise KeyError("tile")

        with pytest.raises(KeyError, match="tile"):
            team.run(fail, 1000)
        team.run(count, 1000)  # and the team is still whole
    with pytest.raises(ValueError, match="at least one thread"):
        Team(0)


def test_an_interrupt_ends_the_work_of_every_thread():
    done, begun = [], threading.Event()

    def work(first, stop):
        if threading.current_thread() is threading.main_thread():
            assert begun.wait(10)
            raise KeyboardInterrupt
        begun.set()
        while not team.interrupted:
            time.sleep(0.001)
        done.append(first)

    with Team(2) as team:
        with pytest.raises(KeyboardInterrupt):
            team.run(work, 1000)
        assert len(done) == 1  # and the other thread has taken no more
        again = np.zeros(1000, dtype=int)
        team.run(lambda first, stop: again.__setitem__(slice(first, stop), 1), 1000)
        assert again.all()


def pools(kind=None):
    return {
        pool["filepath"]: pool["num_threads"]
        for pool in threadpool_info()
        if kind in (None, pool["user_api"])
    }


def test_the_last_of_overlapping_teams_gives_threads_back():
    with threadpool_limits(2):
        before = pools()
        with Team(1):
            with Team(1):
                assert set(pools("blas").values()) == {1}
            assert set(pools("blas").values()) == {1}
        assert pools() == before
        assert set(before.values()) == {2}


def fail_within_a_team():
    with Team(2):
        assert set(pools("blas").values()) == {1}
        raise KeyError("within")


def test_an_error_within_a_team_gives_threads_back():
    with threadpool_limits(2):
        before = pools()
        with pytest.raises(KeyError, match="within"):
            fail_within_a_team()
        assert pools() == before


@pytest.mark.parametrize(("n", "used"), [(2_000, 4), (10_000, 8), (200_000, 16)])
def test_no_more_threads_work_than_pay(n, used):
    problem = Problem(n, 10, n_threads=16)
    assert cost_native.iteration_threads(problem) == used
    assert cost_native.search_threads(problem) == 8
    assert cost_native.iteration_threads(replace(problem, n_threads=2)) == 2
    many, enough = (
        cost_native.optimise_seconds(replace(problem, n_threads=one), Machine(cores=16))
        for one in (16, used)
    )
    assert many == enough


@pytest.mark.parametrize(
    ("n", "n_threads", "than_two"),
    [(2_000, 4, 0.73), (2_000, 1, 1.50), (10_000, 4, 0.71), (10_000, 8, 0.60), (10_000, 1, 1.69)],
)
def test_the_model_knows_what_more_threads_are_worth(n, n_threads, than_two):
    """Shares of the seconds of two threads, as measured on 16 cores."""
    seconds = [
        cost_native.search_seconds(problem, Machine(cores=16))
        + cost_native.optimise_seconds(problem, Machine(cores=16))
        for problem in (Problem(n, 10, n_threads=one) for one in (n_threads, 2))
    ]
    assert seconds[0] / seconds[1] == pytest.approx(than_two, rel=0.15)
