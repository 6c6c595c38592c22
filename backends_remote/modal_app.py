"""The Modal app: a pinned image, one class on a GPU, and our `service` behind its two methods.

``serverless-tsne deploy`` deploys it, and so does ``modal deploy -m backends_remote.modal_app``.
The class takes and returns bytes only, so that client and container may run different Pythons.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path

import modal

from backends_remote.deployment import (
    APP_NAME,
    DATA_FOLDER,
    DEFAULT_TIMEOUT_SECONDS,
    ENGINES,
    FALL_BACK_GPUS,
    IMAGE_PACKAGES,
    KERNELS_FOLDER,
    MAX_CONTAINERS,
    PYTHONS,
    VOLUME_NAME,
)
from backends_remote.place import Place
from backends_remote.service import Service
from tsne_backends.transfer import IDLE_SECONDS

app = modal.App(APP_NAME)
volume = modal.Volume.from_name(VOLUME_NAME, create_if_missing=True, version=2)


def _image() -> modal.Image:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    return (
        modal.Image.debian_slim(python_version=here if here in PYTHONS else PYTHONS[-1])
        .pip_install(*IMAGE_PACKAGES)
        .env({"OMP_WAIT_POLICY": "passive"})
        # The client's own files, so that both sides are of one version; also those that are not
        # Python's: the kernels of the GPU.
        .add_local_python_source(
            "tsne_backends", "backends_remote", ignore=["**/__pycache__/**", "**/*.pyc"]
        )
    )


@app.cls(
    image=_image(),
    gpu=list(FALL_BACK_GPUS),
    volumes={DATA_FOLDER: volume},
    timeout=DEFAULT_TIMEOUT_SECONDS,
    scaledown_window=int(IDLE_SECONDS),
    max_containers=MAX_CONTAINERS,
    # Modal starts a preempted input again by itself. Retries would also repeat, and bill, a run
    # whose container dies of the data: our client decides that.
    retries=0,
)
class Embedder:
    """One container: start-up once, then any number of maps."""

    @modal.enter()
    def start(self) -> None:
        """Import the engine, create the CUDA context and compile the kernels, before any call."""
        from backends_remote.warmup import keep_kernels, warm_up

        os.environ.setdefault("CUDA_MODULE_LOADING", "LAZY")
        keep_kernels(Path(DATA_FOLDER, KERNELS_FOLDER))
        self.service = Service(ENGINES, Place(Path(DATA_FOLDER), volume.reload))
        warm_up(ENGINES)

    @modal.method()
    def wake(self) -> bytes:
        """Answer who is here; see `Service.wake`."""
        return self.service.wake()

    @modal.method()
    def embed(self, request: bytes, data: bytes) -> bytes:
        """Make one map; see `Service.embed`."""
        return self.service.embed(request, data)
