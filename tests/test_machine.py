"""What is known of this machine: facts, GPUs, measured speeds, and damaged memories of them."""

import json
import math
import os
import stat
import sys

import pytest

from tsne_backends import machine, probe, store
from tsne_backends.errors import MemoryOfRunsWarning
from tsne_backends.gpu import driver
from tsne_backends.gpu.driver import find_gpus
from tsne_backends.machine import Machine, Speeds, machine_id, memory_bytes


@pytest.fixture(autouse=True)
def _nothing_known(monkeypatch):
    probe._known.clear()
    monkeypatch.setattr(store, "_said", set())
    yield
    probe._known.clear()


def test_no_core_from_a_container_limit(monkeypatch):
    monkeypatch.setattr("joblib.cpu_count", lambda: 0)
    assert machine.usable_cores() == 1
    assert probe.this_machine(probe=False).cores == 1


def test_memory_is_the_containers(monkeypatch):
    import psutil

    total = psutil.virtual_memory().total
    limits = {"/sys/fs/cgroup/memory.max": "1000000\n"}

    def read(path, encoding):
        if str(path) in limits:
            return limits[str(path)]
        raise FileNotFoundError

    monkeypatch.setattr(machine.Path, "read_text", read)
    assert memory_bytes() == 1e6
    for text in ("max\n", "0\n", "-1\n", str(2**63)):
        limits["/sys/fs/cgroup/memory.max"] = text
        assert memory_bytes() == total


@pytest.mark.parametrize("value", [0.0, -1.0, math.nan, math.inf])
def test_speeds_must_be_speeds(value):
    for name in ("core", "matrix"):
        with pytest.raises(ValueError, match=f"more than 0; {name} was"):
            Speeds(**{name: value})


@pytest.mark.parametrize("value", [-0.1, 1.1, math.nan])
def test_efficiency_must_be_a_share(value):
    with pytest.raises(ValueError, match="thread_efficiency must be from 0 to 1"):
        Speeds(thread_efficiency=value)


def test_a_machine_has_a_core():
    with pytest.raises(ValueError, match="at least one core"):
        Machine(cores=0)
    one = Machine(cores=4, speeds=Speeds(thread_efficiency=0.5))
    assert [one.parallel(threads) for threads in (-1, 0, 1, 2, 4, 64)] == [1, 1, 1, 1.5, 2.5, 2.5]


def test_equal_machines_share_a_name_that_tells_nothing():
    assert machine_id() == machine_id()
    assert len(machine_id()) == 12
    assert int(machine_id(), 16) >= 0


def fake_nvidia_smi(folder, script):
    program = folder / "nvidia-smi"
    program.write_text(f"#!{sys.executable}\n{script}\n")
    program.chmod(program.stat().st_mode | stat.S_IXUSR)


@pytest.mark.skipif(os.name != "posix", reason="the fake program is a script")
@pytest.mark.parametrize(
    ("script", "names", "reason"),
    [
        ("print('NVIDIA L4, 23034, 580.65.06')", ["NVIDIA L4"], ""),
        ("print('A, 1000, 1\\nB, 2000, 2')", ["A", "B"], ""),
        ("print('No devices were found')", [], "nvidia-smi lists none"),
        ("raise SystemExit(9)", [], "nvidia-smi failed"),
        ("import time; time.sleep(60)", [], "nvidia-smi failed"),
    ],
)
def test_gpus_as_the_driver_tells(script, names, reason, tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(driver, "GPU_QUERY_SECONDS", 1.0)
    assert find_gpus() == ([], "no NVIDIA GPU found (nvidia-smi missing)")
    fake_nvidia_smi(tmp_path, script)
    gpus, why_none = find_gpus()
    assert [gpu.name for gpu in gpus] == names
    assert reason in why_none
    if names == ["NVIDIA L4"]:
        assert gpus[0].memory_bytes == 23034 * 2**20
        assert gpus[0].driver == "580.65.06"


def test_the_probe_measures_once(monkeypatch):
    assert not probe.this_machine(probe=False).speeds.measured
    first = probe.this_machine(probe=True).speeds
    assert first.measured
    assert 0.05 < first.core < 20
    assert 0.05 < first.matrix < 20
    monkeypatch.setattr(probe, "measure", lambda cores: pytest.fail("measured again"))
    assert probe.this_machine(probe=True).speeds == first
    probe._known.clear()  # as in another process
    assert probe.this_machine(probe=True).speeds == first


def test_worker_processes_do_not_probe(monkeypatch):
    monkeypatch.setattr("multiprocessing.parent_process", object)
    monkeypatch.setattr(probe, "measure", lambda cores: pytest.fail("measured in a worker"))
    assert not probe.this_machine(probe=True).speeds.measured


def test_a_clock_that_stands_still(monkeypatch):
    monkeypatch.setattr(probe.time, "perf_counter", lambda: 5.0)
    speeds = probe.measure(2)
    low, high = probe.PLAUSIBLE_SPEEDS
    assert low <= speeds.core <= high
    assert low <= speeds.matrix <= high


def stored(**changes):
    entry = {"core": 2.0, "matrix": 3.0, "thread_efficiency": 0.5, "version": probe.PROBE_VERSION}
    return {machine_id(): {**entry, **changes}}


def test_stored_speeds_are_used():
    store.update_json(probe.FILE, stored())
    speeds = probe.this_machine(probe=False).speeds
    assert (speeds.core, speeds.matrix, speeds.thread_efficiency) == (2.0, 3.0, 0.5)


@pytest.mark.parametrize(
    "wrong",
    [
        {"core": 0},
        {"core": -1},
        {"core": 1e9},
        {"core": "fast"},
        {"core": None},
        {"matrix": math.nan},
        {"thread_efficiency": 7},
    ],
)
def test_speeds_without_sense_are_said_once_and_ignored(wrong):
    store.update_json(probe.FILE, stored(**wrong))
    with pytest.warns(MemoryOfRunsWarning, match="make no sense") as caught:
        seen = [probe.this_machine(probe=False).speeds for _ in range(2)]
    assert seen == [Speeds(), Speeds()]
    assert len(caught) == 1


@pytest.mark.parametrize("content", ["", "{", "[1]", '{"a"', "\x00\x01"])
def test_a_damaged_file_is_said_once_and_replaced(content):
    path = store.folder() / probe.FILE
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content)
    with pytest.warns(MemoryOfRunsWarning, match="cannot be read") as caught:
        measured = probe.this_machine(probe=True).speeds
    assert len(caught) == 1
    assert json.loads(path.read_text())[machine_id()]["core"] == measured.core


def test_another_version_of_the_probe_is_not_believed():
    store.update_json(probe.FILE, stored(version=probe.PROBE_VERSION + 1))
    assert probe.this_machine(probe=False).speeds == Speeds()
