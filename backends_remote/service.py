"""The service: bytes in, an engine, bytes out. Runs, and is tested, on any machine.

Nothing that arrives is trusted: sizes, types, shapes and parameters are checked against limits, and
nothing is unpickled. Nothing is raised either: what goes wrong is said in the answer, by name, so
that the client can raise its own error for it.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Mapping
from typing import Any

import numpy as np

from backends_remote import wire
from backends_remote.decoding import decode
from backends_remote.deployment import MAX_FRAME_BYTES
from backends_remote.kept import GraphMemory, KeptData
from backends_remote.packing import CodecError
from backends_remote.place import Place
from backends_remote.request import problem_from
from tsne_backends import __version__
from tsne_backends.answers import Embedding
from tsne_backends.backend import Backend
from tsne_backends.dispatch import check_finite
from tsne_backends.errors import (
    BackendUnavailableError,
    DamagedFrameError,
    EmbeddingError,
    GpuMemoryError,
    UnsupportedProblemError,
    VersionMismatchError,
)
from tsne_backends.gpu.driver import find_gpus
from tsne_backends.machine import thread_count
from tsne_backends.problem import Problem
from tsne_backends.registry import list_backends, load_backend
from tsne_backends.run import Callback, Run
from tsne_backends.transfer import USABLE_MEMORY, gpu_bytes
from tsne_backends.wording import size

logger = logging.getLogger("tsne_backends")

#: Largest X after decoding, in bytes: what fits the largest GPU.
MAX_DATA_BYTES = 64 << 30

#: A request without its data; parameters need a thousandth of it.
MAX_REQUEST_BYTES = 1 << 20


class RefusalError(Exception):
    """Why there will be no map; ``name`` is what the client turns into an error of its own."""

    def __init__(self, name: str, sentence: str) -> None:
        super().__init__(sentence)
        self.name = name


class _OutOfTimeError(Exception):
    """The time was up that the client allows."""


class Service:
    """One container's worth of service; keeps data sets and graphs between calls.

    Parameters
    ----------
    engines : tuple of str, default=("cuml",)
        Backends to compute with, the first that is available.
    place : Place, optional
        Where uploaded data lie; None where all data come with the request. Those that have lain
        there too long are removed at once.
    max_frame_bytes, max_data_bytes : int
        Limits on encoded and decoded data.
    """

    def __init__(
        self,
        engines: tuple[str, ...] = ("cuml",),
        place: Place | None = None,
        max_frame_bytes: int = MAX_FRAME_BYTES,
        max_data_bytes: int = MAX_DATA_BYTES,
    ) -> None:
        self._engines = engines
        self._place = place
        self._max_frame_bytes = max_frame_bytes
        self._max_data_bytes = max_data_bytes
        self._kept = KeptData()
        if place is not None:
            place.expire()

    def wake(self) -> bytes:
        """Say who is here; also what starts a container early.

        Returns
        -------
        bytes
            A frame of kind ``"answer"`` with ``status`` ``"awake"``.
        """
        engine = next((name for name in self._engines if _unusable(name) == ""), "")
        return wire.pack("answer", {"status": "awake", **self._identity(), "engine": engine})

    def embed(self, request: bytes, data: bytes) -> bytes:
        """Compute one map.

        Parameters
        ----------
        request : bytes
            A frame of kind ``"request"``: ``version``, ``parameters`` (see `request`), ``data``
            (``digest``, ``place`` and, on a volume, ``parts``) and ``max_seconds``.
        data : bytes
            A frame of kind ``"data"``; empty where the data lie on the volume or were sent before.

        Returns
        -------
        bytes
            A frame of kind ``"answer"`` with ``status`` ``"done"`` and the map as its block,
            ``"data needed"``, or ``"refused"`` with ``error`` and ``message``.
        """
        try:
            return self._embed(request, data)
        except RefusalError as refusal:
            return self._refuse(refusal.name, str(refusal))
        except _OutOfTimeError:
            return self._refuse("cost limit", "The run was ended at the time you allow it.")
        except VersionMismatchError as error:
            return self._refuse("version", str(error))
        except (DamagedFrameError, CodecError) as error:
            return self._refuse("damaged", str(error))
        except BackendUnavailableError as error:
            return self._refuse("no engine", str(error))
        except (UnsupportedProblemError, ValueError) as error:
            return self._refuse("unsupported", str(error))
        except EmbeddingError as error:
            return self._refuse("diverged", str(error))
        except MemoryError as error:
            return self._refuse("memory", str(error) or "Memory ran out.")
        except Exception as error:  # the client must hear of it in words, not as a pickle
            logger.exception("A map failed in a way that has no name.")
            sentence = f"The service failed with {type(error).__name__} ({error})."
            return self._refuse("failed", sentence)

    def _embed(self, request: bytes, data: bytes) -> bytes:
        header = self._read_request(request)
        seconds: dict[str, float] = {}
        began = time.perf_counter()
        found = self._data(header.get("data"), data)
        if found is None:
            return wire.pack("answer", {"status": "data needed", **self._identity()})
        X, graphs = found
        seconds["decoding"] = time.perf_counter() - began
        problem = problem_from(header.get("parameters"), X, thread_count(None))
        engine = self._engine(problem)
        run = Run(
            callbacks=_deadline(header.get("max_seconds")),
            cache=graphs,
        )
        try:
            embedding = engine.embed(problem, X, run)
        except (MemoryError, GpuMemoryError) as error:
            raise RefusalError("memory", self._too_large(problem)) from error
        check_finite(embedding, engine.name, problem)
        self._kept.trim()
        return self._done(engine, embedding, {**seconds, **run.timings})

    def _read_request(self, request: bytes) -> Mapping[str, Any]:
        if len(request) > MAX_REQUEST_BYTES:
            raise RefusalError(
                "too large",
                f"A request may have {MAX_REQUEST_BYTES} bytes; it had {len(request)}.",
            )
        head, _ = wire.unpack(request, "request")
        version = head.header.get("version")
        if version != __version__:
            raise RefusalError(
                "version",
                f"The service is of version {__version__}, but the client is of {version!s:.20}; "
                "run `serverless-tsne deploy`, so that both are the same.",
            )
        return head.header

    def _data(self, wanted: Any, data: bytes) -> tuple[Any, GraphMemory] | None:
        """Return X and its graphs: from memory, from the request, or from the volume."""
        if not isinstance(wanted, dict):
            raise DamagedFrameError("The request does not say which data it is about.")
        digest = wanted.get("digest")
        if not isinstance(digest, str) or not _is_digest(digest):
            raise DamagedFrameError("The request does not say which data it is about.")
        if digest in self._kept:
            return self._kept.get(digest)
        if data:
            self._check_size(len(data))
            head, blocks = wire.unpack(data, "data")
        elif wanted.get("place") == "volume" and self._place is not None:
            lying = self._place.read(digest, self._sizes(wanted.get("parts")))
            if lying is None:
                return None
            head, blocks = lying
            if head.digest != digest:
                return None
        else:
            return None
        if head.digest != digest:
            raise DamagedFrameError("The data are not those that the request is about.")
        X = decode(
            head.header.get("codec", ""),
            head.header.get("layout", {}),
            blocks,
            max_bytes=self._max_data_bytes,
        )
        values = X.data if hasattr(X, "tocsr") else X
        if not np.isfinite(values).all():
            raise ValueError("X holds NaN or infinite values.")
        return self._kept.put(digest, X)

    def _sizes(self, parts: Any) -> list[int]:
        """Return the bytes of every part, if they make sense and are few enough."""
        whole = isinstance(parts, list) and all(type(part) is int and part > 0 for part in parts)
        if not whole or not 0 < len(parts) <= wire.MAX_BLOCKS:
            raise DamagedFrameError("The request does not say in which parts the data lie.")
        self._check_size(sum(parts))
        return list(parts)

    def _check_size(self, n_bytes: int) -> None:
        if n_bytes > self._max_frame_bytes:
            raise RefusalError(
                "too large",
                f"The service takes {self._max_frame_bytes} bytes of encoded data; these are "
                f"{n_bytes}. A larger transfer_loss makes them fewer.",
            )

    def _engine(self, problem: Problem) -> Backend:
        reasons = {name: _unusable(name) for name in self._engines}
        usable = [name for name, reason in reasons.items() if not reason]
        if not usable:
            sentences = " ".join(reasons.values())
            raise RefusalError("no engine", f"The container has no engine. {sentences}")
        engine = load_backend(usable[0])
        able = engine.can_run(problem)
        if not able.ok:
            raise RefusalError("unsupported", able.reason)
        return engine

    def _too_large(self, problem: Problem) -> str:
        """Return what did not fit, and how many rows would."""
        needed, there = gpu_bytes(problem), self._identity()["gpu_bytes"]
        if not there:
            return "Memory ran out in the container; use fewer rows."
        rows = int(problem.n_samples * min(1.0, USABLE_MEMORY * there / needed) / 1.25)
        return (
            f"The GPU's memory of {size(there)} ran out, of which this problem needs about "
            f"{size(needed)}; about {rows:,} rows fit, or a larger GPU."
        )

    def _done(self, engine: Backend, embedding: Embedding, seconds: Mapping[str, float]) -> bytes:
        coordinates = np.ascontiguousarray(embedding.coordinates, dtype="<f4")
        header = {
            "status": "done",
            **self._identity(),
            "backend": engine.name,
            "shape": list(coordinates.shape),
            "kl_divergence": float(embedding.kl_divergence),
            "n_iter": int(embedding.n_iter),
            "details": _plain(embedding.details),
            "quality": {name: float(value) for name, value in embedding.quality.items()},
            "seconds": {name: round(value, 4) for name, value in seconds.items()},
        }
        return wire.pack("answer", header, [coordinates.tobytes()])

    def _refuse(self, name: str, sentence: str) -> bytes:
        header = {"status": "refused", **self._identity(), "error": name, "message": sentence}
        return wire.pack("answer", header)

    def _identity(self) -> dict[str, Any]:
        gpus, _ = find_gpus()
        return {
            "version": __version__,
            "gpu": gpus[0].name if gpus else "",
            "gpu_bytes": float(gpus[0].memory_bytes) if gpus else 0.0,
            "container": os.environ.get("MODAL_TASK_ID", f"process {os.getpid()}"),
        }


def _unusable(name: str) -> str:
    """Return why an engine cannot be used here; empty where it can."""
    if name not in list_backends():
        return f'There is no backend "{name}" in this version.'
    verdict = load_backend(name).available()
    return "" if verdict.ok else f"{name}: {verdict.reason}"


def _is_digest(value: str) -> bool:
    """Whether a text is a SHA-256 in hexadecimal; it becomes part of a path."""
    return len(value) == 64 and set(value) <= set("0123456789abcdef")


def _deadline(max_seconds: Any) -> list[Callback]:
    """Return the callback, if any, that ends a run when the client's money is spent.

    Raises
    ------
    DamagedFrameError
        The seconds are none.
    """
    if max_seconds is None:
        return []
    if not (type(max_seconds) in (int, float) and max_seconds >= 0):
        raise DamagedFrameError(f"max_seconds must not be negative; it was {max_seconds!r:.40}.")
    end = time.monotonic() + max_seconds

    def check(iteration: int, kl: float, embedding: Any) -> bool:
        if time.monotonic() > end:
            raise _OutOfTimeError
        return False

    return [check]


def _plain(value: Any) -> Any:
    """Return values that JSON knows; an engine may report numbers of numpy."""
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, (str, bool, type(None))):
        return value
    if isinstance(value, (int, np.integer)):
        return int(value)
    if isinstance(value, (float, np.floating)):
        return float(value) if np.isfinite(value) else str(value)
    return str(value)
