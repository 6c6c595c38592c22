"""Settings every test shares; loaded before any numerical library."""

import contextlib
import os
from pathlib import Path

# Spinning OpenMP threads of several test processes ruin one another on a machine of few cores.
os.environ.setdefault("OMP_WAIT_POLICY", "passive")

import numpy as np
import pytest


@pytest.fixture(scope="session")
def digits() -> np.ndarray:
    """300 real rows of 64 features, float32."""
    from sklearn.datasets import load_digits

    return load_digits().data[:300].astype(np.float32)


@pytest.fixture(scope="session", autouse=True)
def _warm_engine():
    """Compile our engine before the first test: plans count the seconds of compiling it."""
    from tsne_backends import native
    from tsne_backends.native.warm import warm_up

    # numba compares a kernel with its own file only, not with those of functions compiled into it.
    folder = Path(native.__file__).parent
    newest = max(source.stat().st_mtime for source in folder.glob("*.py"))
    for kept in (*folder.glob("__pycache__/*.nbi"), *Path(__file__).parent.rglob("*.nbi")):
        with contextlib.suppress(FileNotFoundError):  # another test process was quicker
            if kept.stat().st_mtime < newest:
                kept.unlink()
    warm_up()


@pytest.fixture(scope="module")
def team():
    """Two threads of our engine."""
    from tsne_backends.native.threads import Team

    with Team(2) as team:
        yield team


@pytest.fixture(autouse=True)
def _own_cache_folder(tmp_path_factory, monkeypatch):
    """Keep the user's own cache and configuration folders out of the tests."""
    folder = str(tmp_path_factory.mktemp("xdg"))
    for name in ("XDG_CACHE_HOME", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.setenv(name, folder)


@pytest.fixture(scope="session")
def _loopback():
    """Modal's control plane on this machine, with our service deployed by the real client."""
    from backends_remote import account
    from backends_remote.loopback import Loopback

    with pytest.MonkeyPatch.context() as patch, Loopback() as loopback:
        patch.setenv("XDG_DATA_HOME", str(loopback.storage.folder))
        account.deploy()
        yield loopback


@pytest.fixture
def cloud(_loopback, _own_cache_folder):
    """The loopback with nothing wrong, known to this test's journal as deployed."""
    import time

    from backends_remote import journal
    from backends_remote.deployment import APP_NAME
    from backends_remote.loopback import Faults
    from tsne_backends import __version__

    vars(_loopback.faults).update(vars(Faults()))
    # Of several containers, any may take the next call, also one that lacks what was sent before.
    if any(pool.n_containers > 1 for pool in _loopback.plane.pools.values()):
        _loopback.end_containers()
    journal.record_deployment(journal.Deployment(APP_NAME, __version__, time.time()))
    yield _loopback
    vars(_loopback.faults).update(vars(Faults()))


@pytest.fixture(scope="session")
def _kernel_folder(tmp_path_factory):
    """Where the GPU kernels are compiled for the processor, once."""
    return tmp_path_factory.mktemp("kernels")


@pytest.fixture
def gpu(monkeypatch, _kernel_folder):
    """A GPU with RAPIDS, played by the processor; its value says what is to go wrong."""
    import fake_rapids
    from cuda_on_cpu import COMPILER

    if COMPILER is None:  # the kernels are CUDA C: without a compiler nothing here can run them
        pytest.skip("needs a C++ compiler, with which the GPU kernels run on the processor")
    return fake_rapids.install(monkeypatch, _kernel_folder)


@pytest.fixture
def bounded():
    """End a test that hangs, with a trace of where it does."""

    import signal

    def too_long(*_):
        raise AssertionError("the test took longer than its limit")

    before = signal.signal(signal.SIGALRM, too_long)
    signal.alarm(20)
    yield
    signal.alarm(0)
    signal.signal(signal.SIGALRM, before)
