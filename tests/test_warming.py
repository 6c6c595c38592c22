"""What a machine or a container does before its first map."""

import os

import numpy as np
import pytest
from cuda_on_cpu import signatures

from backends_remote.deployment import DATA_DAYS, DAY_SECONDS, KERNELS_FOLDER
from backends_remote.place import Place
from backends_remote.warmup import keep_kernels, warm_up
from tsne_backends import warming
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.gpu import affinities, descent, grid, kernels, repulsion, searches
from tsne_backends.registry import load_backend


@pytest.fixture
def cache_folder(monkeypatch):
    """CuPy's choice of a folder, put back afterwards."""
    monkeypatch.setenv("CUPY_CACHE_DIR", "")
    monkeypatch.delenv("CUPY_CACHE_DIR")
    return lambda: os.environ.get("CUPY_CACHE_DIR")


def test_kernels_are_kept_where_containers_come_and_go(tmp_path, cache_folder):
    keep_kernels(tmp_path / "volume" / "kernels")
    assert cache_folder() == str(tmp_path / "volume" / "kernels")
    keep_kernels(tmp_path / "other")
    assert cache_folder() == str(tmp_path / "volume" / "kernels"), "what was chosen stays"


def test_without_a_folder_to_write_to_there_is_a_word_and_no_error(tmp_path, cache_folder, caplog):
    (tmp_path / "file").touch()
    keep_kernels(tmp_path / "file" / "kernels")
    assert cache_folder() is None
    assert "cannot be kept" in caplog.text


def test_kernels_do_not_expire_with_data(tmp_path):
    for name in (KERNELS_FOLDER, "a" * 64):
        (tmp_path / name).mkdir()
        file = tmp_path / name / "one"
        file.touch()
        long_ago = file.stat().st_mtime - (DATA_DAYS + 1) * DAY_SECONDS
        os.utime(file, (long_ago, long_ago))
    Place(tmp_path).expire()
    assert [one.name for one in tmp_path.iterdir()] == [KERNELS_FOLDER]


def test_every_kind_of_kernel_is_run(gpu, monkeypatch):
    seen = []
    backend = load_backend("cuml")
    embed = type(backend).embed

    def watched(self, problem, X, run):
        answer = embed(self, problem, X, run)
        seen.append(answer.details["neighbours"].partition(" (")[0])
        assert np.isfinite(answer.coordinates).all()
        return answer

    launched = set()
    for module in (affinities, descent, grid, repulsion, searches):
        monkeypatch.setattr(
            module,
            "launch",
            lambda name, *arguments: launched.add(name) or kernels.launch(name, *arguments),
        )
    monkeypatch.setattr(type(backend), "embed", watched)
    warming.warm_up(backend)
    assert launched == set(signatures(kernels.source()))
    assert seen == ["brute force on the GPU", "32 of 40 cells on the GPU"]


def test_a_container_warms_up_what_is_available_and_never_stops_at_trouble(monkeypatch, caplog):
    made = []
    monkeypatch.setattr(
        OpenTSNEBackend, "embed", lambda self, problem, X, run: made.append(problem.method)
    )
    warm_up(("no such engine", "opentsne"))
    assert made == ["auto", "fft"]

    def broken(self, problem, X, run):
        raise RuntimeError("no memory")

    monkeypatch.setattr(OpenTSNEBackend, "embed", broken)
    warm_up(("opentsne",))
    assert "Warming up opentsne failed: RuntimeError: no memory" in caplog.text
