"""Past runs: kept safely, read forgivingly, and believed with sense."""

import json
import math
import multiprocessing
import os
import warnings
from dataclasses import replace

import numpy as np
import pytest

from tsne_backends import runs, store
from tsne_backends.backend import Estimate
from tsne_backends.cache import default_folder
from tsne_backends.errors import MemoryOfRunsWarning
from tsne_backends.learning import learned_estimate, measured_link
from tsne_backends.machine import Link
from tsne_backends.problem import Problem
from tsne_backends.runs import (
    MODEL_VERSION,
    PastRun,
    kind_of,
    past_runs,
    remember,
    seconds_since_call,
    thinned,
)

NOW = 2e9
DAY = 86_400.0
PROBLEM = Problem(10_000, 50, n_threads=2)
MODEL = Estimate(neighbours=1.0, optimise=10.0)


@pytest.fixture(autouse=True)
def _fresh_warnings(monkeypatch):
    monkeypatch.setattr(store, "_said", set())


def run(optimise=10.0, label="opentsne", age_days=0.0, **changes):
    made = PastRun(
        label,
        "this",
        kind_of(PROBLEM),
        PROBLEM.n_samples,
        PROBLEM.n_features,
        PROBLEM.n_threads,
        {"neighbours": 1.0, "optimise": optimise},
        MODEL.parts(),
        NOW - age_days * DAY,
    )
    return replace(made, **changes)


def learned(past, problem=PROBLEM, label="opentsne", estimate=MODEL):
    return learned_estimate(label, estimate, MODEL, problem, past, NOW).optimise


def test_without_runs_the_model_holds():
    assert learned([]) == 10
    assert learned([run(20.0, label="sklearn")]) == 10


def test_runs_of_this_size_are_believed():
    assert learned([run(14.0)]) == pytest.approx(14, rel=0.15)
    assert learned([run(14.0)] * 5) == pytest.approx(14, rel=0.05)
    assert learned([run(40.0)] * 3) == pytest.approx(40, rel=0.1)


def test_the_probe_is_where_learning_starts():
    """The machine was probed at half speed; runs are kept against the reference machine."""
    probed = Estimate(neighbours=2.0, optimise=20.0)
    assert learned([run(20.0)], estimate=probed) == pytest.approx(20, rel=0.01)
    far = replace(PROBLEM, n_samples=5_000_000, n_features=3)
    assert learned([run(14.0)], problem=far, estimate=probed) == pytest.approx(20, rel=0.1)


def test_one_slow_run_hardly_counts():
    assert learned([run(50.0)]) == pytest.approx(10, rel=0.15)
    assert learned([run(10.0), run(10.5), run(50.0), run(9.5)]) == pytest.approx(10, rel=0.1)
    assert learned([run(50.0), run(50.0)]) > 35  # two such runs are no accident


def test_recent_and_similar_runs_count_most():
    old, new = run(20.0, age_days=400), run(12.0)
    assert learned([old, old, new, new]) == pytest.approx(12, rel=0.1)
    other_size = run(20.0, n_samples=1_000_000)
    assert learned([other_size, other_size, new, new]) == pytest.approx(12, rel=0.1)
    there = replace(PROBLEM, n_samples=1_000_000)
    assert learned([other_size, other_size, new, new], there) == pytest.approx(20, rel=0.15)


def test_runs_of_another_kind_tell_nothing():
    """A metric written in Python says nothing about searching in general."""
    kinds = [
        replace(PROBLEM, metric=lambda a, b: 0.0),
        replace(PROBLEM, metric="manhattan"),
        replace(PROBLEM, is_sparse=True),
        replace(PROBLEM, method="exact"),
        replace(PROBLEM, n_components=3),
    ]
    assert len({kind_of(problem) for problem in (PROBLEM, *kinds)}) == 6
    assert learned([run(90.0, kind=kind_of(problem)) for problem in kinds] * 5) == 10


def test_another_gpu_of_the_same_backend_tells_a_little():
    past = [run(20.0, label="modal:T4")] * 10
    assert learned(past, label="modal:T4") == pytest.approx(20, rel=0.05)
    assert 10 < learned(past, label="modal:L4") < 20


def test_the_price_follows_the_seconds():
    paid = replace(MODEL, usd=0.011)
    twice = learned_estimate("opentsne", paid, MODEL, PROBLEM, [run(21.0)] * 9, NOW)
    assert twice.usd == pytest.approx(0.001 * twice.total)


@pytest.mark.parametrize("seconds", [0.0, 1e-9, 1e9])
@pytest.mark.parametrize("age_days", [-1e4, 0, 1e6])
def test_finite_whatever_a_line_says(seconds, age_days):
    value = learned([run(seconds, age_days=age_days)] * 3)
    assert math.isfinite(value)
    assert value > 0


def transfer_run(n_bytes, seconds):
    return run(seconds={"upload": seconds}, n_bytes={"upload": n_bytes})


def test_the_link_is_what_transfers_show():
    past = [transfer_run(1_000, 0.1)] * 3 + [transfer_run(50e6, 10.1)] * 3
    link = measured_link([*past, transfer_run(50e6, 200.0)], Link())
    assert link.measured
    assert link.round_trip_seconds == pytest.approx(0.1)
    assert link.upload_bytes_per_second == pytest.approx(5e6, rel=0.01)
    assert link.download_bytes_per_second == Link().download_bytes_per_second
    assert measured_link([], Link()) == Link()
    for strange in (transfer_run(1e9, 0.0), transfer_run(0, 1.0), transfer_run(30_000, 1e-12)):
        assert math.isfinite(measured_link([strange], Link()).upload_bytes_per_second)


def test_a_new_place_is_noticed_after_a_few_transfers():
    before = [transfer_run(50e6, 10.0)] * 20
    there = [transfer_run(50e6, 100.0)] * 4
    home = measured_link(before, Link()).upload_bytes_per_second
    assert home == pytest.approx(5e6, rel=0.02)
    assert measured_link([*before, *there[:1]], Link()).upload_bytes_per_second == home
    away = measured_link([*before, *there], Link()).upload_bytes_per_second
    assert away == pytest.approx(5e5, rel=0.02)


def test_without_a_home_the_files_go_to_the_temporary_folder(monkeypatch):
    monkeypatch.setattr("platformdirs.user_cache_path", lambda name: f"~/.cache/{name}")
    assert store.folder().is_absolute()
    assert default_folder() == store.folder() / "shared"


def test_the_last_call_and_a_clock_set_back():
    past = [run(ended_at=NOW - 500), run(ended_at=NOW - 100), run(label="x", ended_at=NOW + 60)]
    assert seconds_since_call(past, NOW) == {"opentsne": 100, "x": -60}


# Keeping them.


def test_remembered_runs_are_read_again():
    remember(run(12.0))
    remember(run(13.0, n_bytes={"upload": 5.0}))
    assert [one.seconds["optimise"] for one in past_runs()] == [12.0, 13.0]
    assert past_runs()[1] == run(13.0, n_bytes={"upload": 5.0})


def path():
    return store.folder() / runs.FILE


def test_damaged_lines_are_left_out_with_one_warning():
    remember(run(12.0))
    with path().open("ab") as file:
        file.write(b'{"label": "open\n\xff\xfe\n[1]\n')
    with pytest.warns(MemoryOfRunsWarning, match="damaged line") as caught:
        assert len(past_runs()) == 1
    assert len(caught) == 1
    with path().open("ab") as file:
        file.write(b'{"label": "half a li')  # a process died here
    remember(run(14.0))
    with warnings.catch_warnings():
        warnings.simplefilter("error")  # said once already
        assert [one.seconds["optimise"] for one in past_runs()] == [12.0, 14.0]


@pytest.mark.parametrize(
    "wrong",
    [
        {"n_samples": 0},
        {"n_samples": "many"},
        {"n_samples": 1.5},
        {"seconds": {"optimise": -1.0}},
        {"seconds": {"optimise": math.nan}},
        {"seconds": {"optimise": math.inf}},
        {"seconds": {"naps": 1.0}},
        {"seconds": 3},
        {"n_bytes": {"upload": -5}},
        {"ended_at": math.nan},
        {"label": 7},
        {"kind": None},
        {"unknown": 1},
    ],
)
def test_lines_without_sense_are_not_believed(wrong):
    remember(run(12.0))
    line = {**json.loads(path().read_text()), **wrong}
    path().write_text(json.dumps(line) + "\n")
    with pytest.warns(MemoryOfRunsWarning, match="line without sense"):
        assert past_runs() == ()


def test_lines_of_another_version_are_passed_over_in_silence():
    remember(run(12.0))
    path().write_text(path().read_text().replace(f'"version": {MODEL_VERSION}', '"version": 0'))
    assert past_runs() == ()


def test_a_folder_that_cannot_be_written_is_said_once(monkeypatch, tmp_path):
    (tmp_path / "file").write_text("in the way")
    monkeypatch.setattr(store, "folder", lambda: tmp_path / "file" / "cache")
    with pytest.warns(MemoryOfRunsWarning, match="cannot be written"):
        remember(run())
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        remember(run())
    assert past_runs() == ()


@pytest.mark.skipif(os.name != "posix", reason="permissions are POSIX's here")
def test_a_read_only_folder_does_not_stop_a_fit(monkeypatch, tmp_path, digits):
    from tsne_backends import ServerlessTSNE

    def refuse(*_, **__):
        raise PermissionError("read-only file system")

    monkeypatch.setattr(store.Path, "mkdir", refuse)
    with pytest.warns(MemoryOfRunsWarning, match="read-only"):
        assert ServerlessTSNE(max_iter=250).fit(digits).embedding_.shape == (300, 2)


def test_the_file_does_not_grow_without_end(monkeypatch):
    monkeypatch.setattr(runs, "THIN_AT", 20)
    for number in range(45):
        remember(run(1.0 + number))
    kept = past_runs()
    assert len(path().read_bytes().splitlines()) <= 21
    assert kept[-1].seconds["optimise"] == 45.0
    assert [one.seconds["optimise"] for one in kept] == sorted(
        one.seconds["optimise"] for one in kept
    )


def test_thinning_keeps_the_newest_of_every_size():
    from dataclasses import asdict

    entries = [asdict(run(n_samples=10**power)) for power in (3, 4, 5)]
    entries += [asdict(run(1.0 + number)) for number in range(100)]
    sizes = [entry["n_samples"] for entry in thinned(entries)]
    assert {1_000, 10_000, 100_000} == set(sizes)
    assert sizes.count(10_000) == runs.KEEP_PER_SIZE


def _remember_many(folder, number):
    from pathlib import Path

    store.folder = lambda: Path(folder)
    for step in range(20):
        remember(run(1.0 + number * 20 + step))


def test_concurrent_processes_lose_nothing(tmp_path, monkeypatch):
    context = multiprocessing.get_context("spawn")
    workers = [context.Process(target=_remember_many, args=(tmp_path, n)) for n in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    monkeypatch.setattr(store, "folder", lambda: tmp_path)
    found = sorted(one.seconds["optimise"] for one in past_runs())
    np.testing.assert_array_equal(found, np.arange(1.0, 81.0))
