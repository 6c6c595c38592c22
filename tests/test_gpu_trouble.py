"""Trouble on the GPU, on a stand-in of RAPIDS: it has a name, and memory is given back."""

import sys
import weakref
from dataclasses import replace

import numpy as np
import pytest
from gpu_runs import blobs, fit, sized

from tsne_backends import ServerlessTSNE
from tsne_backends.backends import cuml as module
from tsne_backends.errors import (
    BackendUnavailableError,
    BackendWarning,
    GpuMemoryError,
)
from tsne_backends.registry import load_backend
from tsne_backends.run import Run

pytestmark = pytest.mark.usefixtures("gpu")


def test_memory_that_runs_out_is_named_and_given_back(gpu, monkeypatch):
    """In the middle of the descent, with arrays at hand: they are gone before the pool is told."""
    import cupy

    from tsne_backends.gpu.descent import Descent

    living = []

    def run_out(descent, phases):
        living.extend(map(weakref.ref, (descent.positions, descent.affinities.joint)))
        raise MemoryError("out of memory allocating 7 bytes")

    pool = cupy.get_default_memory_pool()
    alive_when_freed = []
    free = pool.free_all_blocks
    monkeypatch.setattr(
        pool,
        "free_all_blocks",
        lambda: (alive_when_freed.append(sum(one() is not None for one in living)), free()),
    )
    monkeypatch.setattr(Descent, "run_phases", run_out)
    with pytest.raises(GpuMemoryError, match=r"300 rows × 8 with 90 neighbours") as error:
        fit()
    assert living
    assert alive_when_freed[-1] == 0
    assert "7 bytes" in error.value.__notes__[0]
    assert cupy.get_default_pinned_memory_pool().freed
    monkeypatch.undo()


def test_after_memory_ran_out_the_gpu_can_be_used_again(gpu):
    gpu["memory"] = True
    with pytest.raises(GpuMemoryError):
        fit()
    gpu.clear()
    assert np.isfinite(fit().embedding_).all()


@pytest.mark.parametrize(
    ("error", "named"),
    [
        (MemoryError("std::bad_alloc"), GpuMemoryError),
        (RuntimeError("CUFFT_ALLOC_FAILED"), GpuMemoryError),
        (RuntimeError("CUBLAS_STATUS_ALLOC_FAILED"), GpuMemoryError),
        (RuntimeError("cudaErrorNoKernelImageForDevice: no kernel"), BackendUnavailableError),
        (RuntimeError("cudaErrorInitializationError: initialization"), BackendUnavailableError),
        (RuntimeError("cudaErrorInsufficientDriver: CUDA driver"), BackendUnavailableError),
        (ImportError("libnvrtc.so.13: cannot open"), BackendUnavailableError),
        (OSError("libcuvs_c.so"), BackendUnavailableError),
        (ValueError("something else"), ValueError),
    ],
)
def test_every_librarys_trouble_has_a_name(error, named):
    from tsne_backends.gpu.trouble import run_on_gpu

    def fail():
        raise error

    with pytest.raises(named) as raised:
        run_on_gpu(fail, 0, "It was too large.")
    assert type(raised.value) is named


def test_auto_goes_on_with_the_next_backend(gpu, monkeypatch):
    gpu["memory"] = True
    with pytest.warns(BackendWarning, match="memory of the GPU ran out"):
        fitted = ServerlessTSNE(prefer="order", max_iter=250, random_state=0).fit(blobs())
    assert fitted.backend_ == "native"


def test_an_engine_that_cannot_be_loaded(monkeypatch):
    monkeypatch.setitem(sys.modules, "cuvs.common", None)
    with pytest.raises(BackendUnavailableError, match=r"cannot be loaded.*`pip install"):
        load_backend("cuml").embed(sized(300, 8), blobs(), Run())


def test_a_device_that_is_not_there(monkeypatch):
    with pytest.raises(BackendUnavailableError, match="invalid device ordinal"):
        load_backend("cuml").embed(sized(300, 8, options={"device": 2}), blobs(), Run())


@pytest.mark.parametrize(
    ("changes", "second", "words"),
    [
        ({}, {"memory_bytes": 1e9}, "a NVIDIA L4 has 1"),
        ({"metric": "manhattan"}, {}, "CUDA_VISIBLE_DEVICES=1"),
        ({}, {}, "invalid device ordinal"),  # taken, and the stand-in has no second GPU
    ],
)
def test_data_on_the_second_gpu_are_judged_by_that_gpu(monkeypatch, changes, second, words):
    """A plan does not know where X lies; the backend does, before any work."""
    import cupy
    from fake_rapids import GPU

    gpus = [GPU, replace(GPU, **second)]
    monkeypatch.setattr(module, "visible_gpus", lambda: (gpus, ""))
    monkeypatch.setattr(cupy.ndarray, "device", cupy.cuda.Device(1))
    problem = sized(300, 8, **changes)
    assert load_backend("cuml").can_run(problem).ok
    with pytest.raises(BackendUnavailableError, match=words):
        load_backend("cuml").embed(problem, cupy.asarray(blobs()), Run())


def test_other_errors_stay_what_they_are():
    def fail(*_):
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fit(callbacks=fail)
