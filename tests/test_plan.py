"""The decision: who is chosen, who is refused, and that the words say so."""

import json
import math
import re
from dataclasses import replace
from types import MappingProxyType

import pytest
from services import Service

from tsne_backends import BackendUnavailableError, ServerlessTSNE, UnsupportedProblemError
from tsne_backends.backend import Estimate, Offer, Verdict
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.errors import LimitError
from tsne_backends.machine import Link, Machine
from tsne_backends.planning import make_plan
from tsne_backends.problem import Problem
from tsne_backends.settings import Settings
from tsne_backends.wording import dollars, seconds, size


def engine(name_, estimate=None, *, remote_=False, offers_=None, verdict=None):
    """Return a backend that expects what it is told to."""

    class Engine(OpenTSNEBackend):
        name = name_
        remote = remote_
        options = MappingProxyType({})

        def available(self):
            return Verdict(True, f"{name_} is here.") if verdict is None else verdict

        def offers(self, problem, machine):
            return [Offer(estimate=estimate)] if offers_ is None else offers_

    return Engine()


def took(total, usd=0.0, **more):
    return Estimate(neighbours=0.25 * total, optimise=0.75 * total, usd=usd, **more)


def plan_of(*engines, asked="auto", problem=None, **settings):
    problem = problem or Problem(50_000, 10, n_bytes=2_000_000)
    machine = Machine(memory_bytes=16e9)
    return make_plan(
        problem, {one.name: one for one in engines}, asked, machine, Settings(**settings)
    )


def test_the_quickest_is_chosen():
    plan = plan_of(engine("a", took(30)), engine("b", took(10)), engine("c", took(20)))
    assert plan.order == ("b", "c", "a")
    assert plan.chosen == "b"
    assert plan.estimate.total == 10


def test_what_is_as_good_goes_by_the_list():
    assert plan_of(engine("a", took(10.4)), engine("b", took(10))).chosen == "a"
    assert plan_of(engine("a", took(11)), engine("b", took(10))).chosen == "b"
    assert plan_of(engine("a", took(0.3)), engine("b", took(0.2))).chosen == "a"


def test_data_stay_here_where_that_is_as_good():
    away, here = engine("away", took(10, 0.01), remote_=True), engine("here", took(10.4))
    plan = plan_of(away, here)
    assert plan.chosen == "here"
    assert "hardly faster, so X stays here" in plan.table()
    assert plan_of(away, engine("here", took(12))).chosen == "away"


def test_without_an_estimate_a_backend_comes_last():
    plan = plan_of(engine("unknown"), engine("known", took(1000)))
    assert plan.order == ("known", "unknown")
    assert "of unknown speed" in plan.table()
    assert plan_of(engine("x"), engine("y")).chosen == "x"


def test_cheapest_and_first_listed():
    engines = (
        engine("fast", took(10, 0.5, idle_usd=0.1), remote_=True),
        engine("cheap", took(20, 0.1, idle_usd=0.1), remote_=True),
        engine("free", took(500)),
    )
    assert plan_of(*engines).order == ("fast", "cheap", "free")
    cheapest = plan_of(*engines, prefer="cost")
    assert cheapest.order == ("free", "cheap", "fast")
    assert "dearer" in cheapest.table()
    listed = plan_of(*engines, prefer="order", backends=("cheap", "free"))
    assert listed.order == ("cheap", "free")
    assert "listed later" in listed.table()


def test_a_list_of_backends_is_a_subset_for_auto_only():
    engines = (engine("a", took(10)), engine("b", took(20)))
    sources = {"backends": "the environment variable SERVERLESS_TSNE_BACKENDS"}
    plan = plan_of(*engines, backends=("b",), sources=sources)
    assert plan.chosen == "b"
    assert "not among the backends listed by the environment" in plan.verdicts["a"].reason
    assert plan_of(*engines, asked="a", backends=("b",)).chosen == "a"
    with pytest.raises(LimitError, match="not among the backends listed"):
        plan_of(*engines, backends=("c",))


def test_remote_switched_off():
    away, here = engine("away", took(1), remote_=True), engine("here", took(100))
    sources = {"allow_remote": "the parameter allow_remote"}
    plan = plan_of(away, here, allow_remote=False, sources=sources)
    assert plan.chosen == "here"
    assert plan.verdicts["away"].reason == (
        "Data may not leave this machine: allow_remote is switched off by the parameter "
        "allow_remote."
    )
    with pytest.raises(LimitError, match=r"switched off.*What would work: backend='here'"):
        plan_of(away, here, asked="away", allow_remote=False)
    with pytest.raises(LimitError, match="switched off"):
        plan_of(away, allow_remote=False)


def test_max_cost_counts_the_idle_time():
    away = engine("away", took(1, 0.004, idle_usd=0.05), remote_=True)
    here = engine("here", took(100))
    assert plan_of(away, here, max_cost=0.06).chosen == "away"
    plan = plan_of(away, here, max_cost=0.05)
    assert plan.chosen == "here"
    assert "$0.004 and up to $0.050 while the machine waits" in plan.verdicts["away"].reason
    assert "the default allows $0.050." in plan.verdicts["away"].reason
    with pytest.raises(LimitError, match=r"It would cost \$0\.004"):
        plan_of(away, here, asked="away", max_cost=0.01)
    assert plan_of(away, here, max_cost=0.0).chosen == "here"
    unknown = engine("away", remote_=True)
    assert "not known" in plan_of(unknown, here, max_cost=1.0).verdicts["away"].reason


def test_memory_that_does_not_fit():
    large = engine("large", took(1, memory_bytes=20e9))
    small = engine("small", took(100, memory_bytes=1e9))
    plan = plan_of(large, small)
    assert plan.chosen == "small"
    assert plan.verdicts["large"].reason == (
        "It would need about 20 GB of memory; this machine has 16 GB."
    )
    with pytest.raises(UnsupportedProblemError, match="20 GB"):
        plan_of(large, small, asked="large")
    away = engine("away", took(1, memory_bytes=20e9), remote_=True)
    assert plan_of(away, small).chosen == "away"  # the other machine's memory is its own affair


def test_ten_million_rows_do_not_fit_a_laptop():
    problem = Problem(100_000_000, 10, n_bytes=4_000_000_000)
    with pytest.raises(UnsupportedProblemError, match="GB of memory"):
        make_plan(problem, {"opentsne": OpenTSNEBackend()}, machine=Machine(memory_bytes=16e9))


def test_unavailable_and_unable():
    missing = engine("missing", took(1), verdict=Verdict(False, "No GPU; buy one."))
    here = engine("here", took(100))
    plan = plan_of(missing, here)
    assert plan.chosen == "here"
    assert plan.candidates[-1].estimate is None
    with pytest.raises(BackendUnavailableError, match=r"No GPU; buy one.*backend='here'"):
        plan_of(missing, here, asked="missing")


def test_a_backend_that_stands_back_is_taken_only_by_name():
    modest = engine("a", took(1))
    modest.should_run = lambda problem: Verdict(False, "Others do this better.")
    plan = plan_of(modest, engine("b", took(5)))
    assert plan.order == ("b",)
    assert plan.verdicts["a"] == Verdict(False, "Others do this better.")
    assert "a is out: Others do this better." in plan.sentence()
    assert plan_of(modest, engine("b", took(5)), asked="a").order == ("a",)


def test_a_backend_without_an_offer_is_out():
    plan = plan_of(engine("none", offers_=[]), engine("here", took(1)))
    assert plan.order == ("here",)
    assert plan.verdicts["none"].reason == "It offers no way to run this; take another backend."
    with pytest.raises(UnsupportedProblemError, match="offers no way"):
        plan_of(engine("none", offers_=[]), asked="none")


# Several kinds of GPU.


def service_plan(problem=None, machine=None, **settings):
    problem = problem or Problem(400_000, 50, n_bytes=80_000_000, n_threads=2)
    machine = machine or Machine(cores=2, memory_bytes=16e9, link=Link(0.02, 1e8, 1e8))
    backends = {"opentsne": OpenTSNEBackend(), "service": Service()}
    asked = settings.pop("asked", "auto")
    return make_plan(problem, backends, asked, machine, Settings(**settings))


def test_every_gpu_is_priced_and_the_best_taken():
    plan = service_plan()
    assert plan.chosen in ("service:T4", "service:L4")
    quickest = min(way.total for way in plan.usable)
    assert plan.estimate.total <= 1.05 * quickest + 0.2
    assert plan.candidates[0].options == {"gpu": plan.chosen.partition(":")[2]}
    cheapest = service_plan(prefer="cost", asked="service")
    assert cheapest.candidates[0].usd == min(way.usd for way in cheapest.usable)


def test_the_users_gpu_is_the_only_one():
    problem = Problem(400_000, 50, n_bytes=80_000_000, options={"gpu": "L4"})
    assert set(service_plan(problem, asked="service").verdicts) == {"service:L4"}


def test_a_gpu_that_is_too_small_is_out_and_the_others_are_not(monkeypatch):
    monkeypatch.setattr(Service, "gpus", ("T4", "H100"))
    problem = Problem(6_000_000, 50, n_bytes=1_200_000_000)
    plan = service_plan(problem, asked="service")
    assert plan.order == ("service:H100",)
    assert plan.verdicts["service:T4"] == Verdict(False, "It does not fit.")


def test_a_cold_container_and_a_slow_line_keep_small_data_here():
    small = Problem(2_000, 50, n_bytes=400_000, n_threads=2)
    assert service_plan(small).chosen == "opentsne"
    wide = Problem(20_000, 3_000, n_bytes=240_000_000, n_threads=2)
    slow = Machine(cores=2, memory_bytes=16e9, link=Link(0.02, 1e5, 1e6))
    assert service_plan(wide, slow).chosen == "opentsne"
    assert service_plan(wide).chosen.startswith("service")


def test_the_table_shows_a_local_start_where_there_is_one(monkeypatch):
    """The parts add up: compiling our engine is the start of its first run."""
    monkeypatch.setattr("tsne_backends.native.warm.is_compiled", lambda: False)
    monkeypatch.setattr("tsne_backends.native.warm.is_loaded", lambda: False)
    rows = ServerlessTSNE().plan(shape=(5_000, 10)).table().splitlines()
    started = {row.split()[0]: row.split()[3] for row in rows[1:] if " ✔ " in row}
    assert started["native"] not in ("–", "0.0")
    assert started["opentsne"] == "–"


def test_a_warm_container_starts_at_once():
    machine = Machine(cores=2, memory_bytes=16e9, link=Link(0.02, 1e8, 1e8))
    cold = service_plan(machine=machine)
    since = {"service:T4": 60.0, "service:L4": 60.0}
    warm = service_plan(machine=replace(machine, seconds_since_call=since))
    waited = cold.estimate.start - warm.estimate.start
    assert waited + cold.estimate.upload == pytest.approx(12.5)


# The words.


def test_the_table():
    problem = Problem(250_000, 768, n_bytes=768_000_000, n_threads=8)
    gpu = engine("cuml", verdict=Verdict(False, "no NVIDIA GPU found (nvidia-smi missing)."))
    backends = {"service": Service(), "opentsne": OpenTSNEBackend(), "cuml": gpu}
    machine = Machine(cores=8, memory_bytes=64e9, link=Link(0.05, 12.5e6, 12.5e6))
    plan = make_plan(problem, backends, machine=machine)
    heading, first, *_, last = plan.table().splitlines()
    columns = ["start", "upload", "neighbours", "optimise", "download", "total", "cost"]
    assert heading.split() == ["backend", "verdict", *columns]
    assert re.match(r"service:\w+ +✔ chosen +0\.4 s +61 s( +[\d.]+ s){4} +\$0\.\d{3}$", first)
    assert last == "cuml        ✘ no NVIDIA GPU found (nvidia-smi missing)."
    local = next(line for line in plan.table().splitlines() if line.startswith("opentsne"))
    assert re.match(r"opentsne +✔ slower +– +– +\d+ s +\d+ (s|min) +– +\d+ (s|min) +–$", local)
    assert "more if no other run follows" in repr(plan)
    assert "Upload at 100 Mbit/s, assumed until something was sent." in repr(plan)
    assert plan.to_dict()["link"]["upload_bytes_per_second"] == 12.5e6
    assert "early exaggeration: 250 iterations" in repr(plan)


def test_the_sentence_says_what_the_table_says():
    plan = service_plan()
    words = plan.sentence()
    assert f"400,000 × 50 runs on {plan.chosen} in about {seconds(plan.estimate.total)}" in words
    assert "for $0.0" in words
    assert "opentsne is slower, " in words
    refused = plan_of(engine("a", took(1)), engine("b", verdict=Verdict(False, "It is broken.")))
    assert "b is out: It is broken." in refused.sentence()


def test_the_outcome_is_told():
    plan = plan_of(engine("a", took(2)), engine("b"))
    assert plan.link is None
    assert "Upload at" not in repr(plan)
    assert plan.outcome() == "Nothing has run yet."
    assert plan.after_run("a", took(4)).outcome() == "a took 4.0 s; 2.0 s were expected."
    assert plan.after_run("b", took(4)).outcome() == (
        "b took 4.0 s; nobody could tell how long it would."
    )


def test_html_shows_every_row_and_escapes():
    plan = plan_of(engine("a", took(1)), engine("b", verdict=Verdict(False, "<b> & no.")))
    html = plan._repr_html_()
    assert "<td>✔ chosen</td>" in html
    assert "✘ &lt;b&gt; &amp; no." in html
    assert html.count("<tr>") == 3


def test_plain_values_fit_json():
    sent = {"codec": "int8", "n_bytes": 4_000, "loss": 0.01}
    plan = service_plan().after_run("opentsne", took(3.0), sent)
    plain = json.loads(json.dumps(plan.to_dict()))
    assert plain["chosen"] == plan.chosen
    assert plain["order"] == list(plan.order)
    assert plain["candidates"][0]["estimate"]["total"] == pytest.approx(plan.estimate.total)
    assert plain["candidates"][0]["verdict"] == "chosen"
    assert plain["ran"] == "opentsne"
    assert plain["actual"]["total"] == 3.0
    assert plain["transfer"] == sent


def test_what_it_took_stands_below_what_ran():
    plan = plan_of(engine("a", took(2)), engine("b", took(5))).after_run("b", took(4))
    lines = plan.table().splitlines()
    below = lines[[line.startswith("b ") for line in lines].index(True) + 1]
    assert below.split() == ["took", "–", "–", "1.0", "s", "3.0", "s", "–", "4.0", "s", "–"]


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.04, "0.0 s"),
        (9.4, "9.4 s"),
        (41.2, "41 s"),
        (900, "15 min"),
        (1e5, "28 h"),
        (math.inf, "–"),
    ],
)
def test_seconds(value, text):
    assert seconds(value) == text


def test_dollars_and_bytes():
    assert [dollars(value) for value in (0, 0.00004, 0.0061, 1.5, 1234)] == [
        "$0.000",
        "$0.000040",
        "$0.006",
        "$1.50",
        "$1,234.00",
    ]
    assert [size(value) for value in (5, 1500, 4e7, 7.68e8, 2.5e9, 3e12)] == [
        "5 bytes",
        "1.5 kB",
        "40 MB",
        "768 MB",
        "2.5 GB",
        "3,000 GB",
    ]
