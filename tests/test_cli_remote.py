"""The commands for the remote side, against the loopback."""

import subprocess
import sys
import time

import numpy as np
import pytest
from click.testing import CliRunner

from backends_remote import client, journal, outbox
from tsne_backends import ServerlessTSNE
from tsne_backends.cli.command import main


@pytest.fixture
def run(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")

    def invoke(*arguments):
        result = CliRunner().invoke(main, list(arguments))
        assert result.exception is None or isinstance(result.exception, SystemExit), result
        return result

    return invoke


@pytest.fixture
def fitted(cloud):
    X = np.random.default_rng().normal(size=(200, 10)).astype(np.float32)
    return ServerlessTSNE(backend="modal", perplexity=5, max_iter=250, random_state=0).fit(X)


def test_deploy_says_what_there_is_and_what_it_costs(cloud, run):
    journal.record_deployment(None)
    result = run("deploy")
    assert result.exit_code == 0
    for words in ('"serverless-tsne"', "T4 or L4", "300 s", "An hour costs", "$0.590", "May 2026"):
        assert words in result.output, words
    assert journal.deployment().version


def test_modals_own_command_deploys_as_well(cloud, run):
    run("undeploy")
    command = [sys.executable, "-m", "modal", "deploy", "-m", "backends_remote.modal_app"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert run("doctor").exit_code == 0
    assert journal.deployment().app == "serverless-tsne"


def test_undeploy_and_deploy_again(cloud, run):
    assert "Removed the service" in run("undeploy").output
    assert journal.deployment() is None
    assert "There was no service" in run("undeploy").output
    assert "✘" in run("doctor").output
    assert run("doctor").exit_code == 1
    assert run("deploy").exit_code == 0
    assert run("doctor").exit_code == 0


def test_doctor_looks_at_everything(cloud, run):
    journal.record_deployment(None)
    cloud.end_containers()
    asleep = run("doctor")
    assert "doctor --wake" in asleep.output
    assert journal.deployment().app == "serverless-tsne"  # found, and so usable
    result = run("doctor", "--wake")
    assert result.exit_code == 0, result.output
    for words in ("client", "account is set up", "round trip", "container", "version", "MB/s"):
        assert words in result.output, words
    assert "1 container(s)" in run("doctor").output


def test_doctor_names_the_first_thing_that_is_wrong(cloud, run, monkeypatch):
    cloud.faults.refuse_token = True
    result = run("doctor")
    assert result.exit_code == 1
    assert "modal setup" in result.output.splitlines()[-1]
    cloud.faults.refuse_token = False
    cloud.end_containers()
    cloud.faults.version = "0.0.9"
    assert "0.0.9" in run("doctor", "--wake").output
    cloud.end_containers()
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    assert "cannot be reached" in run("doctor").output


def test_jobs_attach_and_cancel(fitted, run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    job = fitted.details_["job"]
    listed = run("jobs").output
    assert job in listed
    assert "done" in listed
    assert "200 × 2" in listed
    assert f"Wrote {job}.npy (200 × 2)" in run("attach", job).output
    np.testing.assert_array_equal(np.load(f"{job}.npy"), fitted.embedding_)
    again = run("attach", job)
    assert again.exit_code == 2
    assert "--force" in again.output
    assert run("attach", job, "--force", "-o", "map.csv").exit_code == 0
    assert (tmp_path / "map.csv").read_text().count("\n") >= 200
    assert f"Cancelled {job}" in run("cancel", job).output
    assert "cancelled" in run("jobs").output


def test_unknown_jobs(cloud, run):
    assert "No job" in run("jobs").output
    for command in ("attach", "cancel"):
        result = run(command, "fc-none")
        assert result.exit_code == 2
        assert "fc-none" in result.output
        assert "serverless-tsne jobs" in result.output


def test_what_is_no_id_is_not_asked_about(cloud, run):
    cloud.faults.refuse_token = True  # which any question would show
    result = run("cancel", "abc")
    assert result.exit_code == 2
    assert 'begins with "fc-"; it was "abc"' in result.output


def test_data_are_listed_and_purged(cloud, run, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 100)
    run("data", "--purge")
    X = np.random.default_rng().normal(size=(200, 10)).astype(np.float32)
    ServerlessTSNE(backend="modal", perplexity=5, max_iter=250, random_state=0).fit(X)
    assert "1 data set(s)" in run("data", "--list").output
    assert "Removed 0" in run("data", "--purge", "--older-than", "1").output
    assert "Removed 1" in run("data", "--purge").output
    assert "0 data set(s)" in run("data").output
    assert run("data", "--list", "--purge").exit_code == 2
    refused = run("data", "--older-than", "1")
    assert refused.exit_code == 2
    assert "Add --purge" in refused.output


def test_undeploy_leaves_uploaded_data_or_purges_them(cloud, run, monkeypatch):
    monkeypatch.setattr(outbox, "INLINE_BYTES", 100)
    run("data", "--purge")
    X = np.random.default_rng().normal(size=(200, 10)).astype(np.float32)
    ServerlessTSNE(backend="modal", perplexity=5, max_iter=250, random_state=0).fit(X)
    assert "stay in your account until" in run("undeploy").output
    assert "1 data set(s)" in run("data").output
    output = run("undeploy", "--purge").output
    assert "Removed 1 data set(s)" in output
    assert "stay" not in output
    assert "0 data set(s)" in run("data").output
    run("deploy")


def test_commands_without_a_network_end_with_a_sentence(cloud, run, monkeypatch):
    monkeypatch.setenv("MODAL_SERVER_URL", "http://127.0.0.1:9")
    client.forget_look_ups()
    for command in (["deploy"], ["undeploy"], ["data"], ["cancel", "fc-1"]):
        began = time.monotonic()
        result = run(*command)
        assert result.exit_code == 2, command
        assert "cannot be reached" in result.output, command
        assert time.monotonic() - began < 10


def test_the_demo_goes_the_whole_remote_way(tmp_path):
    """In a process of its own: it brings its own loopback, and leaves no trace in the journal."""
    command = [sys.executable, "-m", "tsne_backends.cli", "demo", "--loopback"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)
    assert result.returncode == 0, result.stderr
    assert "on this machine, through the loopback with backend modal (openTSNE" in result.stdout
    assert "gpu:" not in result.stdout  # there is none
    assert np.load(tmp_path / "demo.npy").shape == (1797, 2)
    assert journal.deployment() is None


def test_help_lists_the_commands(run):
    output = run("--help").output
    for name in ("deploy", "doctor", "jobs", "attach", "cancel", "data", "undeploy"):
        assert f"  {name} " in output


def test_everything_the_engine_needs_is_shipped(cloud, run):
    """Modal's client leaves out what is not Python's, the kernels of the GPU among it."""
    cloud.plane.shipped.clear()
    assert run("deploy").exit_code == 0
    shipped = cloud.plane.shipped
    assert any(path.endswith("tsne_backends/gpu/kernels.cu") for path in shipped)
    assert any(path.endswith("tsne_backends/backends/cuml.py") for path in shipped)
    assert not any("__pycache__" in path for path in shipped)
