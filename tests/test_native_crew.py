"""Calls that compiled code makes, and the threads that make them in step."""

import threading
import time
from types import SimpleNamespace

import llvmlite.binding as llvm
import numpy as np
import pytest

from tsne_backends.native import crew as native_crew
from tsne_backends.native.board import pause, waiting
from tsne_backends.native.calls import Call
from tsne_backends.native.crew import Crew, How, Program, Work
from tsne_backends.native.jit import F, U, kernel
from tsne_backends.native.threads import Team


@kernel
def note_all(first, stop, floats, doubles, words, some, real, whole, flag):
    for t in range(U(first), U(stop)):
        floats[t, U(1)] = floats[t, U(0)] * some
        doubles[t] = real + floats.shape[0]
        words[t] = whole if flag else 0


@kernel
def double_of_last(first, stop, looks, source, target):
    """A tile needs all that the last call has written: the sum of it."""
    for t in range(U(first), U(stop)):
        for _ in range(looks):
            pause()
        total = 0
        for at in range(U(len(source))):
            total += source[at]
        target[t] = total


@kernel
def count_tile(first, stop, looks, counts):
    for t in range(U(first), U(stop)):
        for _ in range(looks):
            pause()
        counts[t] += 1


@pytest.fixture(params=[0, 1, 4])
def crew(request):
    crew = Crew(request.param)
    yield crew
    crew.close()


def test_every_kind_of_argument_arrives(crew):
    floats = np.arange(12, dtype=np.float32).reshape(6, 2)
    doubles, words = np.zeros(6), np.zeros(6, dtype=np.uint32)
    given = (F(0.5), -2.25, -7, True)
    expected = floats[:, 0] * 0.5
    call = Call(note_all, 6, floats, doubles, words, *given)
    crew.perform(Program((How.SHARE, call)))
    np.testing.assert_array_equal(floats[:, 1], expected)
    assert (doubles == 6 - 2.25).all()
    assert (words == 2**32 - 7).all()


def test_arrays_with_gaps_are_refused():
    gaps = np.zeros((6, 4), dtype=np.float32)[:, :2]
    with pytest.raises(ValueError, match="contiguous"):
        Call(note_all, 6, gaps, np.zeros(6), np.zeros(6, dtype=np.uint32), F(0.5), -2.25, -7, True)


def test_a_call_begins_when_all_tiles_of_the_last_are_done(crew):
    """Ten calls, each of which adds up what the last has written in 7 tiles."""
    here, there = np.zeros(7, dtype=np.int64), np.zeros(7, dtype=np.int64)
    ways = [Call(double_of_last, 7, 20, *way) for way in ((here, there), (there, here))]
    program = Program(*((How.SHARE, ways[k % 2]) for k in range(10)))
    for _ in range(200):
        here[:] = 1
        crew.perform(program)
        assert (here == 7**10).all()


def test_what_was_begun_goes_on_beside_other_calls_and_is_completed(crew):
    aside, main = np.zeros(40, dtype=np.int64), np.zeros(5, dtype=np.int64)
    begin, share = Call(count_tile, 40, 200, aside), Call(count_tile, 5, 50, main)
    opens = Program((How.BEGIN, begin), (How.SHARE, share))
    ends = Program((How.SHARE, share), (How.END, None))
    for k in range(1, 101):
        crew.perform(opens)
        crew.perform(ends)
        assert (aside == k).all()
        assert (main == 2 * k).all()


def test_threads_that_sleep_are_woken_to_what_is_begun(monkeypatch):
    """The caller takes no tile: others do all of them, also when they have slept before."""
    monkeypatch.setattr(native_crew, "LOOKS", 2)
    crew, counts = Crew(2), np.zeros(50, dtype=np.int64)
    begins = Program((How.BEGIN, Call(count_tile, 50, 2000, counts)))
    for k in range(1, 6):
        wait_for(lambda: len(crew._asleep) == 2)
        crew.perform(begins)
        # Who wakes before the call is posted, and looks in vain, is woken by the next program.
        wait_for(lambda k=k: crew.perform(Program()) or (counts == k).all())
        crew.perform(Program((How.END, None)))
    crew.close()
    assert not any(helper.is_alive() for helper in crew._helpers)


def wait_for(condition):
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.001)


def test_the_caller_sleeps_while_another_has_the_last_tile(monkeypatch):
    naps = []
    monkeypatch.setattr(native_crew, "LOOKS", 50)
    monkeypatch.setattr(native_crew, "time", SimpleNamespace(sleep=naps.append))
    crew, counts = Crew(1), np.zeros(2, dtype=np.int64)
    program = Program((How.SHARE, Call(count_tile, 2, 200_000, counts)))
    performed, deadline = 0, time.monotonic() + 20
    # On a busy machine the other thread may come too late for many a tile.
    while performed < 20 or not (naps or time.monotonic() > deadline):
        crew.perform(program)
        performed += 1
        assert (counts == performed).all()
    crew.close()
    assert set(naps) == {native_crew.NAP_SECONDS}


def test_a_crew_can_be_closed_with_a_call_begun():
    crew, counts = Crew(1), np.zeros(10_000, dtype=np.int64)
    crew.perform(Program((How.BEGIN, Call(count_tile, len(counts), 1000, counts))))
    crew.close()
    assert counts.sum() < len(counts)


def test_a_team_does_work_with_something_between_and_leaves_no_thread():
    before = threading.active_count()
    counts, seen = np.zeros(3, dtype=np.int64), []
    calls = (Call(count_tile, 3, 1, counts),)
    with Team(3) as team:
        team.do(Work(calls, lambda: seen.append(counts.copy()), calls))
    np.testing.assert_array_equal(seen, [[1, 1, 1]])
    assert (counts == 2).all()
    assert threading.active_count() == before


def test_after_an_error_between_no_thread_is_at_work_and_the_team_is_whole():
    counts = np.zeros(100_000, dtype=np.int64)
    begun = Program((How.BEGIN, Call(count_tile, len(counts), 1000, counts)))
    ended = Program((How.END, None))

    def fail():
        raise KeyError("between")

    with Team(3) as team:
        with pytest.raises(KeyError, match="between"):
            team.perform(begun, fail, ended)
        done = counts.copy()
        assert done.sum() < len(counts)
        few = np.zeros(20, dtype=np.int64)
        call = Call(count_tile, 20, 10, few)
        team.perform(Program((How.BEGIN, call)), lambda: None, ended)
        assert (few == 1).all()
        np.testing.assert_array_equal(counts, done)


def test_a_team_that_was_not_entered_starts_no_thread():
    before, counts = threading.active_count(), np.zeros(3, dtype=np.int64)
    Team(3).do(Work((Call(count_tile, 3, 1, counts),), lambda: None, ()))
    assert (counts == 1).all()
    assert threading.active_count() == before


@pytest.mark.parametrize(
    "triple", ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu", "arm64-apple-darwin"]
)
def test_waiting_is_an_instruction_of_the_processor(triple):
    name, given = waiting(triple)
    arguments = ", ".join(str(value.type) for value in given)
    parsed = llvm.parse_assembly(f"declare void @{name}({arguments})")
    assert parsed.get_function(name).is_declaration
    assert waiting("riscv64-unknown-linux-gnu") == ("", [])
