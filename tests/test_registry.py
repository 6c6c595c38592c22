"""The registry: lazy, read-only, tolerant of broken plug-ins."""

import importlib.metadata
import subprocess
import sys

import pytest

from tsne_backends import (
    BackendUnavailableError,
    BackendWarning,
    ServerlessTSNE,
    UnknownBackendError,
    list_backends,
    register_backend,
    registry,
)
from tsne_backends.backend import Verdict
from tsne_backends.backends.opentsne import OpenTSNEBackend


class Absent(OpenTSNEBackend):
    name = "absent"

    def available(self):
        return Verdict(False, "No GPU was found; install one.")


@pytest.fixture
def absent():
    register_backend("absent", Absent, "buy a GPU")
    yield
    registry.unregister_backend("absent")


def test_listing_is_read_only():
    with pytest.raises(TypeError):
        list_backends()["mine"] = None
    assert list(list_backends())[:4] == ["cuml", "native", "opentsne", "sklearn"]


@pytest.mark.parametrize("action", ["import tsne_backends", "tsne_backends.list_backends()"])
def test_importing_and_listing_load_no_engine(action):
    # scikit-learn itself may load pandas, and rich for its callbacks: what it loads is not ours.
    code = f"""
import sys, sklearn.base
theirs = set(sys.modules)
import tsne_backends
{action}
tsne_backends.ServerlessTSNE()
heavy = ["openTSNE", "usearch", "modal", "cuml", "cupy", "matplotlib", "numba", "pandas",
         "anndata", "click", "sklearn.manifold", "sklearn.neighbors",
         "sklearn.decomposition", "tsne_backends.backends.opentsne", "tsne_backends.native",
         "backends_remote"]
loaded = [name for name in heavy if name in sys.modules and name not in theirs]
assert not loaded, loaded
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout == done.stderr == ""


def test_unavailable_backend_says_what_is_missing(absent, digits):
    with pytest.raises(BackendUnavailableError, match=r"No GPU.*What would work: .*opentsne"):
        ServerlessTSNE(backend="absent").fit(digits)
    fitted = ServerlessTSNE(max_iter=250).fit(digits)  # auto passes it over, and says why
    assert fitted.backend_ == "native"
    assert fitted.plan_.verdicts["absent"] == Verdict(False, "No GPU was found; install one.")


def test_registering():
    with pytest.raises(ValueError, match="is taken"):
        register_backend("opentsne", Absent)
    with pytest.raises(ValueError, match="is taken"):
        register_backend("auto", Absent)
    with pytest.raises(TypeError, match="dotted path"):
        register_backend("mine", "no_colon_here")
    with pytest.raises(TypeError, match="subclass of Backend"):
        register_backend("mine", int)
    with pytest.raises(UnknownBackendError, match='Did you mean "sklearn"'):
        registry.load_backend("sklern")


@pytest.fixture
def broken():
    register_backend("broken", "no_such_module_anywhere:Backend")
    yield
    registry.unregister_backend("broken")


def test_a_broken_plugin_is_skipped_with_a_warning(broken, digits):
    with pytest.warns(BackendWarning, match='"broken" could not be loaded.*no_such_module'):
        fitted = ServerlessTSNE(max_iter=250).fit(digits)
    assert fitted.backend_ == "native"
    with (
        pytest.warns(BackendWarning),
        pytest.raises(ModuleNotFoundError, match="no_such_module"),
    ):
        ServerlessTSNE(backend="broken").fit(digits)


def test_entry_points_are_found(monkeypatch):
    class Distribution:
        name = "tsne-on-toaster"

    class Point:
        name = "toaster"
        value = "tsne_backends.backends.opentsne:OpenTSNEBackend"
        dist = Distribution

    def entry_points(group):
        assert group == "tsne_backends.backends"
        return [Point]

    monkeypatch.setattr(importlib.metadata, "entry_points", entry_points)
    registry._entry_points.cache_clear()
    try:
        assert list_backends()["toaster"].install == "pip install --upgrade tsne-on-toaster"
        assert isinstance(registry.load_backend("toaster"), OpenTSNEBackend)
    finally:
        registry._entry_points.cache_clear()
