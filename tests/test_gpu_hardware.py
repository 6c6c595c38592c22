"""Whether a GPU can be used: every piece that can be missing, and what is said of it."""

import importlib.metadata
import os

import pytest
from test_machine import fake_nvidia_smi

from tsne_backends import ServerlessTSNE
from tsne_backends.errors import BackendUnavailableError
from tsne_backends.gpu import hardware
from tsne_backends.gpu.driver import LocalGpu
from tsne_backends.gpu.hardware import Release, gpu_verdict, visible_gpus
from tsne_backends.transfer import GPUS, kind_of

T4 = LocalGpu("Tesla T4", 15e9, "580.65.06", "7.5")
OLD_DRIVER = LocalGpu("NVIDIA L4", 23e9, "550.54.14", "8.9")
ANCIENT = LocalGpu("Tesla P100-PCIE-16GB", 16e9, "470.82.01", "6.0")


@pytest.fixture
def machine(monkeypatch):
    """Sets what the machine has: GPUs, the release of cuML, and which modules are missing."""

    def set_up(gpus=(T4,), why="", release=None, missing=()):
        monkeypatch.setattr(hardware, "_gpus_once", lambda path: (tuple(gpus), why))
        monkeypatch.setattr(hardware, "installed_release", lambda: release)
        find = hardware.importlib.util.find_spec
        monkeypatch.setattr(
            hardware.importlib.util,
            "find_spec",
            lambda name: (name not in missing or None) if name in hardware.MODULES else find(name),
        )
        return gpu_verdict()

    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return set_up


NO_PROGRAM = "no NVIDIA GPU found (nvidia-smi missing)"
NEW, OLD = Release("26.10.0", 13), Release("26.06.0", 13)


@pytest.mark.parametrize(
    ("has", "words"),
    [
        ({"gpus": (), "why": NO_PROGRAM}, ["No NVIDIA GPU found (nvidia-smi missing)."]),
        ({"gpus": (), "why": NO_PROGRAM, "release": NEW}, ["cuML 26.10.0 is installed, but no"]),
        (
            {"missing": hardware.MODULES},
            ["There is a GPU (Tesla T4)", "cupy and cuml and cuvs", '"serverless-tsne[cuml]"'],
        ),
        (
            {"gpus": (OLD_DRIVER,), "missing": hardware.MODULES},
            ["pip install cuml-cu12 cuvs-cu12"],
        ),
        (
            {"gpus": (ANCIENT,), "missing": hardware.MODULES},
            ["driver 470.82.01 is older than 535", "update the driver"],
        ),
        ({"release": NEW, "missing": ["cuvs"]}, ["cuvs cannot be imported"]),
        ({"release": OLD}, ["26.06.0 is too old", "26.08", "install --upgrade"]),
        (
            {"gpus": (OLD_DRIVER,), "release": NEW},
            ["550.54.14 is too old", "580 or newer", "cuml-cu12 cuvs-cu12"],
        ),
        (
            {"gpus": (ANCIENT,), "release": Release("26.10.0", 12)},
            ["470.82.01 is too old", "535 or newer"],
        ),
        (
            {"gpus": (LocalGpu("Quadro P400", 2e9, "590.1", "6.1"),), "release": NEW},
            ["compute capability 6.1", "7.5 (Turing)"],
        ),
    ],
)
def test_what_is_missing_is_said(machine, has, words):
    verdict = machine(**has)
    assert not verdict.ok
    for word in words:
        assert word in verdict.reason
    assert verdict.reason.endswith(".")


def test_everything_is_there(machine):
    verdict = machine(release=NEW)
    assert verdict.ok
    assert "Tesla T4 with driver 580.65.06 and cuML 26.10.0" in verdict.reason
    unknown = machine(gpus=(OLD_DRIVER,), release=Release("26.10.0", None))
    assert unknown.ok, "without a name that tells, the older CUDA's needs are checked"


def test_other_systems_hear_of_linux(machine, monkeypatch):
    monkeypatch.setattr(hardware.sys, "platform", "win32")
    assert "WSL 2" in machine(release=NEW).reason


@pytest.mark.parametrize(
    ("value", "names"),
    [
        (None, ["Tesla T4", "NVIDIA L4"]),
        ("1", ["NVIDIA L4"]),
        ("1,0", ["NVIDIA L4", "Tesla T4"]),
        ("0,-1,1", ["Tesla T4"]),
        ("1,9,0", ["NVIDIA L4"]),
        ("7", []),
        ("", []),
        ("-1", []),
        ("GPU-8932f937", ["Tesla T4", "NVIDIA L4"]),
    ],
)
def test_hidden_gpus(machine, monkeypatch, value, names):
    machine(gpus=(T4, OLD_DRIVER), release=NEW)
    if value is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", value)
    gpus, why_none = visible_gpus()
    assert [gpu.name for gpu in gpus] == names
    assert names or "CUDA_VISIBLE_DEVICES" in why_none
    assert gpu_verdict().ok is bool(names and "Tesla T4" in names[0])


@pytest.mark.skipif(os.name != "posix", reason="the fake program is a script")
def test_the_driver_is_asked_once_and_without_what_it_does_not_know(tmp_path, monkeypatch):
    script = (
        "import sys, pathlib; log = pathlib.Path(__file__).with_suffix('.log')\n"
        "asked = log.read_text() if log.exists() else ''\n"
        "log.write_text(asked + sys.argv[1] + '\\n')\n"
        "if 'compute_cap' in sys.argv[1]: sys.exit('Field compute_cap is not valid')\n"
        "print('Tesla T4, 15360, 450.80.02')"
    )
    fake_nvidia_smi(tmp_path, script)
    monkeypatch.setenv("PATH", str(tmp_path))
    for _ in range(3):
        (gpu,), _ = visible_gpus()
    assert (gpu.name, gpu.driver, gpu.capability) == ("Tesla T4", "450.80.02", "")
    (log,) = tmp_path.glob("*.log")
    assert len(log.read_text().splitlines()) == 2


def test_asking_for_the_gpu_without_one_names_what_works(machine):
    machine(gpus=(), why=NO_PROGRAM)
    with pytest.raises(BackendUnavailableError, match=r"nvidia-smi missing") as error:
        ServerlessTSNE(backend="cuml").fit([[0.0, 1.0]] * 40)
    assert "opentsne" in str(error.value)


def test_installed_release_by_the_names_of_packages(monkeypatch):
    def version(name):
        if name == "cuml-cu12":
            return "26.08.00"
        raise importlib.metadata.PackageNotFoundError

    monkeypatch.setattr(importlib.metadata, "version", version)
    release = hardware.installed_release()
    assert (release.version, release.cuda, release.is_recent) == ("26.08.00", 12, True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("Tesla T4", "T4"),
        ("NVIDIA L4", "L4"),
        ("NVIDIA L40S", "L40S"),
        ("NVIDIA A100-SXM4-80GB", "A100-80GB"),
        ("NVIDIA H100 80GB HBM3", "H100"),
        ("NVIDIA GeForce GTX 1660", "T4"),
        ("", "T4"),
    ],
)
def test_kinds_by_the_names_drivers_give(name, kind):
    assert kind_of(name) is GPUS[kind]


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("NVIDIA H200", "H200"),
        ("NVIDIA GH200 480GB", "GH200"),
        ("NVIDIA A10G", "A10G"),
        ("Tesla V100-SXM2-16GB", "V100"),
        ("NVIDIA GeForce RTX 4090", "RTX 4090"),
        ("NVIDIA RTX 6000 Ada Generation", "RTX 6000 ADA"),
    ],
)
def test_kinds_that_are_not_on_offer(name, kind):
    assert kind_of(name).name == kind
    assert kind_of(name).bytes_per_second > GPUS["T4"].bytes_per_second


def test_only_the_first_gpu_runs_what_is_cumls_own(machine):
    from tsne_backends import Problem
    from tsne_backends.registry import load_backend

    machine(gpus=(T4, T4), release=NEW)
    backend = load_backend("cuml")
    assert backend.can_run(Problem(5_000, 10, options={"device": 1})).ok
    verdict = backend.can_run(Problem(5_000, 10, options={"device": 1, "refine": 50}))
    assert "CUDA_VISIBLE_DEVICES=1" in verdict.reason
