"""The commands ``plan`` and ``calibrate``."""

import inspect
import json
import re

import numpy as np
import pytest
from click.testing import CliRunner

from tsne_backends import BackendUnavailableError, ServerlessTSNE, calibration, probe
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.cli.command import main
from tsne_backends.runs import past_runs


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)


def run(*arguments):
    return CliRunner().invoke(main, [str(argument) for argument in arguments])


def test_plan_of_a_shape():
    result = run("plan", "--shape", "250000x768")
    assert result.exit_code == 0, result.output
    assert result.output.startswith("Plan for 250,000 × 768\nbackend ")
    assert re.search(r"^native    ✔ chosen .* s ", result.output, re.MULTILINE)
    assert re.search(r"^opentsne  ✔ slower ", result.output, re.MULTILINE)
    assert re.search(r"^sklearn   ✔ slower ", result.output, re.MULTILINE)
    assert re.search(r"^This machine: \d+ cores?, .* GB, .*\. One core is ", result.output, re.M)
    assert "learning rate 62500" in result.output


def test_plan_says_what_the_estimator_says(digits):
    np.save("x.npy", digits)
    result = run("plan", "x.npy", "--json", "--max-iter", "400", "--n-jobs", "1")
    plan = ServerlessTSNE(max_iter=400, n_jobs=1).plan(digits)
    assert json.loads(result.output) == plan.to_dict()


def test_plan_reads_only_the_head_of_a_large_file(tmp_path):
    """Forty gigabytes of zeros that take no room on disk, let alone in memory."""
    shape = (10_000_000, 1_000)
    with open("large.npy", "wb") as file:
        header = {"descr": "<f4", "fortran_order": False, "shape": shape}
        np.lib.format.write_array_header_1_0(file, header)
        file.truncate(file.tell() + 4 * shape[0] * shape[1])
    result = run("plan", "large.npy")
    assert "No backend can compute this" in result.output or "10,000,000 × 1,000" in result.output


def test_plan_of_other_files(digits):
    np.savetxt("x.csv", digits[:100], delimiter=",")
    result = run("plan", "x.csv")
    assert result.output.startswith("Plan for 100 × 64")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "either a file or --shape"),
        (["x.npy", "--shape", "10x10"], "either a file or --shape"),
        (["--shape", "10"], "--shape takes ROWSxFEATURES"),
        (["--shape", "-5x10"], "--shape takes ROWSxFEATURES"),
        (["--shape", "1x10"], "at least 2 rows"),
        (["--shape", "100x0"], "two positive integers"),
        (["--shape", "100x5", "--backend", "opentsn"], 'Did you mean "opentsne"'),
        (["--shape", "100x5", "--max-cost", "-1"], "max_cost"),
        (["missing.npy"], "missing.npy"),
        (["empty.npy"], "empty.npy"),
    ],
)
def test_plan_refuses_nonsense(arguments, words):
    open("empty.npy", "w").close()
    result = run("plan", *arguments)
    assert result.exit_code == 2
    assert words in result.output
    assert "Traceback" not in result.output


def test_plan_obeys_limits(monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_BACKENDS", "sklearn")
    result = run("plan", "--shape", "5000x10")
    assert re.search(r"^sklearn   ✔ chosen", result.output, re.MULTILINE)
    assert "opentsne  ✘ It is not among the backends listed by" in result.output


def test_plan_has_the_options_of_embed():
    embed = {option.name for option in main.commands["embed"].params}
    plan = {option.name for option in main.commands["plan"].params}
    shared = inspect.signature(ServerlessTSNE).parameters.keys() & embed
    assert shared - {"verbose"} <= plan


def test_calibrate_measures_and_remembers(monkeypatch):
    monkeypatch.setattr(calibration, "SIZES", ((300, 5), (400, 5)))
    monkeypatch.setattr(calibration, "ITERATIONS", 250)
    result = run("calibrate", "--seconds", "60")
    assert result.exit_code == 0, result.output
    lines = result.output.splitlines()
    assert re.match(r"native: 300 × 5 took [\d.]+ s, expected [\d.]+ s\.$", lines[0])
    assert {line.partition(":")[0] for line in lines[:6]} == {"native", "opentsne", "sklearn"}
    assert [(one.label, one.n_samples) for one in past_runs()] == [
        ("native", 300),
        ("opentsne", 300),
        ("sklearn", 300),
        ("native", 400),
        ("opentsne", 400),
        ("sklearn", 400),
    ]
    probe._known.clear()
    assert probe.this_machine(probe=False).speeds.measured


def test_calibrate_keeps_its_time_limit(monkeypatch):
    """What cannot end in time is left out."""
    monkeypatch.setattr(calibration, "SIZES", ((300, 5), (1_000_000, 10)))
    monkeypatch.setattr(calibration, "ITERATIONS", 250)
    result = run("calibrate", "--seconds", "10")
    assert {one.n_samples for one in past_runs()} == {300}
    assert "1,000,000" not in result.output


def test_calibrate_passes_over_engines_that_refuse(monkeypatch):
    from tsne_backends.backend import Verdict
    from tsne_backends.backends.sklearn import SklearnBackend

    monkeypatch.setattr(calibration, "SIZES", ((300, 5),))
    monkeypatch.setattr(SklearnBackend, "can_run", lambda *_: Verdict(False, "It is tired."))
    assert run("calibrate", "--seconds", "60").exit_code == 0
    assert {one.label for one in past_runs()} == {"native", "opentsne"}


def test_calibrate_passes_over_engines_that_do_not_start(monkeypatch):
    def does_not_start(*_):
        raise BackendUnavailableError("Its library is broken.")

    monkeypatch.setattr(calibration, "SIZES", ((300, 5),))
    monkeypatch.setattr(OpenTSNEBackend, "embed", does_not_start)
    assert run("calibrate", "--seconds", "60").exit_code == 0
    assert {one.label for one in past_runs()} == {"native", "sklearn"}


def test_calibrate_refuses_to_work_for_nothing(monkeypatch):
    monkeypatch.setenv("SERVERLESS_TSNE_REMEMBER", "off")
    result = run("calibrate")
    assert result.exit_code == 2
    assert "would be forgotten" in result.output
    assert run("calibrate", "--seconds", "0").exit_code == 2
