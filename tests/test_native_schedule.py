"""Which iterations our engine performs, and that plans show the same."""

from dataclasses import replace

import numpy as np
import pytest
from native_truth import mixture, native

from tsne_backends import Problem, ServerlessTSNE
from tsne_backends.backends.native import NativeBackend
from tsne_backends.native.schedule import FAST_MOMENTUM, Stage, accelerated


def stages_run(max_iter):
    seen = []
    X = mixture(300)
    watch = {"callbacks": lambda i, *_: seen.append(i), "n_iter_without_progress": 1000}
    fitted = native(max_iter=max_iter, **watch).fit(X)
    return seen, fitted


def test_max_iter_auto_is_a_schedule_of_550():
    seen, fitted = stages_run("auto")
    assert seen == list(range(50, 551, 50))
    assert fitted.n_iter_ == 550
    names = {"early exaggeration", "settling", "main", "cooling"}
    assert set(fitted.details_["gradients"]) == names


def test_max_iter_of_a_thousand_is_scikit_learns():
    seen, fitted = stages_run(1000)
    assert seen == list(range(50, 1001, 50))
    assert set(fitted.details_["gradients"]) == {"early exaggeration", "main"}


@pytest.mark.parametrize("backend", ["opentsne", "sklearn"])
def test_other_engines_take_auto_for_a_thousand(backend):
    X = mixture(60)
    plain, auto = (
        ServerlessTSNE(backend=backend, perplexity=5, random_state=0, max_iter=m).fit(X)
        for m in (1000, "auto")
    )
    assert plain.n_iter_ == auto.n_iter_
    np.testing.assert_array_equal(plain.embedding_, auto.embedding_)


def test_the_fast_stage_comes_after_settling_and_before_cooling():
    early, main = (
        Stage("early exaggeration", 250, 12.0, 50.0, 0.5),
        Stage("main", 750, 1.0, 80.0, 0.8),
    )
    first, settle, fast, cool = accelerated(early, main)
    assert (first.n_iter, first.exaggeration, first.momentum) == (250, 12.0, 0.5)
    for plain in (settle, cool):
        assert (plain.momentum, plain.learning_rate) == (0.8, 80.0)
    assert fast.learning_rate > settle.learning_rate
    assert fast.momentum == FAST_MOMENTUM
    assert [fast.fresh, cool.fresh] == [False, False]  # each goes on with the velocities there are


def test_a_given_learning_rate_is_used_as_given_in_every_stage():
    schedule = NativeBackend().schedule
    problem = Problem(5000, 10, max_iter="auto", learning_rate=123.0)
    assert {phase.learning_rate for phase in schedule(problem)} == {123.0}
    automatic = schedule(replace(problem, learning_rate="auto"))
    _, settle, fast, cool = (phase.learning_rate for phase in automatic)
    assert (fast, cool) == (4 * settle, settle)


def test_the_plan_shows_the_schedule_that_runs():
    plan = native(max_iter="auto").plan(shape=(5000, 10))
    names = ["early exaggeration", "settling", "main", "cooling"]
    assert [phase.name for phase in plan.phases] == names
    assert sum(phase.n_iter for phase in plan.phases) == 550
    other = ServerlessTSNE(backend="opentsne", max_iter="auto").plan(shape=(5000, 10))
    assert sum(phase.n_iter for phase in other.phases) == 1000
