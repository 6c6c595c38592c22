"""The team of threads of our engine: what it shares out, how it ends, what it leaves behind."""

import threading
import time

import numpy as np
import pytest
from threadpoolctl import threadpool_info, threadpool_limits

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


@pytest.mark.parametrize("first_out", [0, 1])
def test_the_last_of_overlapping_teams_gives_threads_back(first_out):
    with threadpool_limits(2):
        before = pools()
        teams = [Team(1), Team(1)]
        for team in teams:
            team.__enter__()
        teams[first_out].__exit__(None, None, None)
        assert set(pools("blas").values()) == {1}
        teams[1 - first_out].__exit__(None, None, None)
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
