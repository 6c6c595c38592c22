"""From fit to plan and back: probing, consent, fall-back, and what a run teaches the next."""

import logging
from dataclasses import replace

import numpy as np
import pytest
from services import Service

from tsne_backends import (
    BackendWarning,
    ServerlessTSNE,
    cost_native,
    decision,
    probe,
    register_backend,
)
from tsne_backends.errors import ConfigurationError, LimitError
from tsne_backends.machine import machine_id
from tsne_backends.outline import outline
from tsne_backends.probe import this_machine
from tsne_backends.registry import unregister_backend
from tsne_backends.runs import past_runs, remember
from tsne_backends.validation import describe

QUICK = {"max_iter": 250, "random_state": 0}


@pytest.fixture
def service(monkeypatch):
    """A remote backend, quick enough by its estimates to be chosen for anything."""
    from tsne_backends import transfer

    monkeypatch.setattr(transfer, "COLD_START_SECONDS", 0.0)
    monkeypatch.setattr(transfer, "WARM_CALL_SECONDS", 0.0)
    monkeypatch.setattr(transfer, "GPU_ITERATION_SECONDS", 1e-6)
    monkeypatch.setattr(transfer, "RENTED_ITERATION_SECONDS", 0.0)
    monkeypatch.setattr("tsne_backends.planning.AS_GOOD_SECONDS", 0.0)
    monkeypatch.setattr(decision, "measured_link", lambda runs, link: FAST)
    monkeypatch.setattr(Service, "asked_for", [])
    register_backend("service", Service, "deploy it")
    yield
    unregister_backend("service")


from tsne_backends.machine import Link  # noqa: E402

FAST = Link(0.001, 1e12, 1e12)


def test_a_fit_is_remembered_and_corrects_the_next_plan(digits):
    first = ServerlessTSNE(**QUICK).fit(digits)
    (run,) = past_runs()
    assert run.label == first.backend_ == first.plan_.ran
    assert run.machine == machine_id()
    assert (run.n_samples, run.n_features) == digits.shape
    assert run.asked == "auto"
    assert set(run.seconds) == set(run.reference) == {"neighbours", "optimise"}
    assert run.seconds["optimise"] == pytest.approx(first.plan_.actual.optimise, rel=0.01)
    slow = {part: 7 * seconds for part, seconds in run.reference.items()}
    for _ in range(4):
        remember(replace(run, seconds=slow))
    ways = ServerlessTSNE(**QUICK).plan(digits).candidates
    same = next(way for way in ways if way.label == run.label)
    assert same.total == pytest.approx(7 * sum(run.reference.values()), rel=0.2)


def test_the_plan_holds_actual_beside_predicted(digits):
    fitted = ServerlessTSNE(**QUICK).fit(digits)
    actual = fitted.plan_.actual
    assert actual.neighbours == fitted.timings_["neighbours"]
    parts = ("affinities", "initialisation", "optimisation")
    assert actual.optimise == pytest.approx(sum(fitted.timings_[part] for part in parts))
    assert "took" in repr(fitted.plan_)
    assert fitted.plan_.estimate.total > 0


def test_callbacks_are_not_the_engines_time(digits):
    import time

    fitted = ServerlessTSNE(**QUICK, callbacks=lambda *_: time.sleep(0.2)).fit(digits)
    (run,) = past_runs()
    parts = ("affinities", "initialisation", "optimisation")
    all_told = sum(fitted.timings_[part] for part in parts)
    assert run.seconds["optimise"] <= all_told - 5 * 0.2 + 1e-3


def test_a_run_that_ended_early_counts_with_its_iterations(digits):
    same = {"backend": "opentsne", "random_state": 0}
    ServerlessTSNE(max_iter=5000, callbacks=lambda i, *_: i >= 300, **same).fit(digits)
    ServerlessTSNE(max_iter=300, **same).fit(digits)
    early, whole = past_runs()
    assert early.reference == whole.reference
    ServerlessTSNE(random_state=0, callbacks=lambda i, *_: i >= 100).fit(digits)
    assert len(past_runs()) == 2  # early exaggeration was cut short: it tells nothing


def test_a_fast_schedule_is_held_against_its_own_cost(digits):
    tsne = ServerlessTSNE(backend="native", max_iter="auto", random_state=0).fit(digits)
    (run,) = past_runs()
    problem = describe(tsne, outline(digits), draw_seed=False)
    expected = cost_native.optimise_seconds(problem, this_machine(probe=False).as_reference())
    assert run.reference["optimise"] == pytest.approx(expected, rel=1e-3)


def test_a_cached_graph_teaches_nothing_about_searching(digits, tmp_path):
    for _ in range(2):
        ServerlessTSNE(**QUICK, memory=str(tmp_path)).fit(digits)
    assert all(set(run.seconds) == {"optimise"} for run in past_runs())


def test_a_list_that_names_no_backend_is_refused(digits, monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_BACKENDS", "opentsne,sklaern")
    with pytest.raises(ConfigurationError, match=r'BACKENDS lists "sklaern".*mean "sklearn"'):
        ServerlessTSNE(**QUICK).fit(digits)


def test_nothing_is_remembered_where_that_is_off(digits, monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_REMEMBER", "0")
    ServerlessTSNE(**QUICK).fit(digits)
    assert past_runs() == ()


def test_runs_of_other_machines_are_not_believed(digits, monkeypatch):
    monkeypatch.setattr(decision, "machine_id", lambda: "another")
    ServerlessTSNE(**QUICK).fit(digits)
    monkeypatch.setattr(decision, "machine_id", machine_id)
    monkeypatch.setattr(
        "tsne_backends.planning.learned_estimate",
        lambda *_: pytest.fail("believed another machine"),
    )
    ServerlessTSNE(**QUICK).plan(digits)


def test_small_fits_do_not_probe_and_plans_do(digits, monkeypatch):
    probe._known.clear()
    probed = []
    monkeypatch.setattr(probe, "measure", lambda cores: probed.append(cores) or probe.Speeds())
    ServerlessTSNE(**QUICK).fit(digits)
    assert not probed
    monkeypatch.setattr(decision, "WORTH_A_PROBE_SECONDS", 0.0)
    ServerlessTSNE(**QUICK).fit(digits)
    assert len(probed) == 1
    probe._known.clear()
    ServerlessTSNE().plan(digits)
    assert len(probed) == 1  # stored by the first


# Plans without a fit.


def test_plan_takes_what_fit_takes(digits):
    import pandas as pd
    import scipy.sparse as sp

    tsne = ServerlessTSNE()
    by_shape = tsne.plan(shape=digits.shape)
    assert by_shape.to_dict() == tsne.plan(digits).to_dict()
    assert tsne.plan(digits.tolist()).n_samples == 300
    frame = pd.DataFrame(digits)
    assert tsne.plan(frame).n_bytes == digits.nbytes
    assert tsne.plan(frame.assign(more=1.0)).n_bytes == 300 * 65 * 8
    sparse = sp.csr_matrix(digits)
    assert tsne.plan(sparse).n_bytes == pytest.approx(sparse.data.nbytes * 2, rel=0.1)
    assert tsne.plan(shape=(300, 64), dtype="float64").n_bytes == 2 * digits.nbytes


def test_plan_looks_at_no_value_and_moves_no_generator(digits):
    holes = np.full_like(digits, np.nan)
    random = np.random.RandomState(0)
    tsne = ServerlessTSNE(random_state=random)
    tsne.plan(holes)
    assert random.randint(10**9) == np.random.RandomState(0).randint(10**9)


@pytest.mark.parametrize(
    ("shape", "words"),
    [
        ((1, 10), "at least 2 rows"),
        ((0, 10), "two positive integers"),
        ((100.5, 10), "two positive integers"),
        ((100, 10, 3), "two positive integers"),
        ((20, 10), "perplexity"),
    ],
)
def test_plan_refuses_shapes_that_fit_would(shape, words):
    with pytest.raises(ValueError, match=words):
        ServerlessTSNE().plan(shape=shape)


def test_plan_refuses_other_nonsense(digits):
    for given in ({}, {"X": digits, "shape": (300, 64)}):
        with pytest.raises(ValueError, match="either X or its shape"):
            ServerlessTSNE().plan(**given)
    with pytest.raises(ValueError, match="two dimensions"):
        ServerlessTSNE().plan(digits[0])
    with pytest.raises(ValueError, match="dtype must be"):
        ServerlessTSNE().plan(shape=(300, 5), dtype="float16")
    with pytest.raises(ValueError, match="square"):
        ServerlessTSNE(metric="precomputed", init="random").plan(digits)
    with pytest.raises(ValueError, match="max_iter"):
        ServerlessTSNE(max_iter=1).plan(digits)


def test_no_network_without_a_remote_backend(digits, monkeypatch):
    import socket

    monkeypatch.setattr(socket, "socket", lambda *_, **__: pytest.fail("a socket was opened"))
    ServerlessTSNE(**QUICK).fit(digits)
    ServerlessTSNE().plan(shape=(1_000_000, 768))


# Remote backends.


@pytest.mark.usefixtures("service")
def test_auto_takes_the_quicker_service_says_so_once_and_learns(digits, caplog):
    with caplog.at_level(logging.WARNING):
        fitted = ServerlessTSNE(**QUICK).fit(digits)
        assert fitted.backend_ == "service"
        assert fitted.plan_.ran == fitted.plan_.chosen
        assert Service.asked_for == [fitted.plan_.chosen.partition(":")[2]]
        ServerlessTSNE(**QUICK).fit(digits)
    said = [record.message for record in caplog.records if "Sending X" in record.message]
    assert len(said) == 1
    assert said[0].startswith("Sending X (77 kB) to service:")
    assert "a test's account" in said[0]
    assert "expected cost $0.0" in said[0]
    assert "allow_remote=False keeps data on this machine" in said[0]
    assert past_runs()[0].n_bytes == {"upload": digits.nbytes, "download": 300 * 2 * 4}
    assert {"upload", "download"} <= set(past_runs()[0].seconds)


@pytest.mark.usefixtures("service")
def test_the_notice_goes_to_the_terminal_without_any_setup(digits):
    import subprocess
    import sys

    code = "import logging; logging.getLogger('tsne_backends').warning('Sending X')"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stderr == "Sending X\n"


@pytest.mark.usefixtures("service")
def test_no_consent_no_transfer(digits, monkeypatch):
    assert ServerlessTSNE(**QUICK, allow_remote=False).fit(digits).backend_ != "service"
    monkeypatch.setenv("SERVERLESS_TSNE_ALLOW_REMOTE", "0")
    assert ServerlessTSNE(**QUICK).fit(digits).backend_ != "service"
    with pytest.raises(LimitError, match="SERVERLESS_TSNE_ALLOW_REMOTE"):
        ServerlessTSNE(**QUICK, backend="service").fit(digits)
    assert Service.asked_for == []
    assert ServerlessTSNE(**QUICK, backend="service", allow_remote=True).fit(digits).n_iter_ == 250


@pytest.mark.usefixtures("service")
def test_max_cost_keeps_data_here(digits):
    assert ServerlessTSNE(**QUICK, max_cost=0.001).fit(digits).backend_ != "service"
    with pytest.raises(LimitError, match="max_cost"):
        ServerlessTSNE(**QUICK, backend="service", max_cost=0.001).fit(digits)


@pytest.mark.usefixtures("service")
def test_a_service_that_does_not_start_is_passed_over(digits, monkeypatch, caplog):
    monkeypatch.setattr(Service, "starts", False)
    with pytest.warns(BackendWarning, match=r'"service:\w+" could not start \(no network\)'):
        fitted = ServerlessTSNE(**QUICK).fit(digits)
    assert fitted.backend_ == fitted.plan_.ran == fitted.plan_.order[2]
    assert fitted.plan_.chosen.startswith("service")
    assert past_runs()[0].label == fitted.backend_
    assert sum("Sending X" in record.message for record in caplog.records) == 1


@pytest.mark.usefixtures("service")
def test_a_plan_after_a_run_has_the_schedule_of_what_ran(digits, monkeypatch):
    monkeypatch.setattr(Service, "starts", False)
    monkeypatch.setenv("SERVERLESS_TSNE_BACKENDS", "service,native")
    tsne = ServerlessTSNE(max_iter="auto", random_state=0)
    assert sum(phase.n_iter for phase in tsne.plan(digits).phases) == 1000
    with pytest.warns(BackendWarning, match="could not start"):
        tsne.fit(digits)
    assert tsne.backend_ == "native"
    assert sum(phase.n_iter for phase in tsne.plan_.phases) == tsne.n_iter_ == 550
    assert tsne.learning_rate_ == tsne.plan_.phases[0].learning_rate


@pytest.mark.usefixtures("service")
def test_the_remote_side_is_asked_where_it_could_win(digits, monkeypatch):
    from tsne_backends import transfer

    monkeypatch.setattr(transfer, "COLD_START_SECONDS", 12.5)
    questions = []

    def ask(self, machine):
        questions.append(machine)
        return replace(machine, known_warm={"service:T4": True})

    monkeypatch.setattr(Service, "ask", ask)
    plan = ServerlessTSNE(**QUICK).plan(digits)
    assert plan.chosen == "service:T4"  # which is warm, by its own word
    assert len(questions) == 1
    ServerlessTSNE(**QUICK, allow_remote=False).plan(digits)
    ServerlessTSNE(**QUICK, backend="opentsne").plan(digits)
    monkeypatch.setattr(transfer, "WARM_CALL_SECONDS", 100.0)
    ServerlessTSNE(**QUICK).plan(digits)
    assert len(questions) == 1  # forbidden, not asked for, or hopeless: nobody is asked

    def fail(self, machine):
        raise OSError("no route to host")

    monkeypatch.setattr(transfer, "WARM_CALL_SECONDS", 0.0)
    monkeypatch.setattr(Service, "ask", fail)
    assert ServerlessTSNE(**QUICK).plan(digits).chosen == "native"


@pytest.mark.usefixtures("service")
def test_a_recent_call_makes_the_next_start_warm(digits, monkeypatch):
    from tsne_backends import transfer

    monkeypatch.setattr(transfer, "COLD_START_SECONDS", 12.5)
    tsne = ServerlessTSNE(**QUICK, backend="service", backend_options={"gpu": "L4"})
    assert tsne.plan(digits).estimate.start > 12
    tsne.fit(digits)
    assert tsne.plan(digits).estimate.start < 1
    later = decision.now() + 301
    monkeypatch.setattr(decision, "now", lambda: later)
    assert tsne.plan(digits).estimate.start > 12
    monkeypatch.setattr(decision, "now", lambda: later - 1e6)  # the clock was set back
    assert tsne.plan(digits).estimate.start > 12
