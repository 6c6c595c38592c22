"""A remote backend for tests: rented GPUs by its estimates, this CPU by its work."""

from types import MappingProxyType
from typing import ClassVar

from tsne_backends import transfer
from tsne_backends.backend import Offer, Option, Verdict
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.errors import BackendUnavailableError


class Service(OpenTSNEBackend):
    name = "service"
    where = "a test's account"
    remote = True
    gpus: ClassVar = ("T4", "L4")
    starts: ClassVar = True
    options: ClassVar = MappingProxyType(
        {"gpu": Option("T4", "kind of GPU", lambda value: value in transfer.GPUS, "a GPU")}
    )
    asked_for: ClassVar[list] = []

    def available(self):
        return Verdict(True, "A service is deployed.")

    def offers(self, problem, machine):
        wanted = problem.options.get("gpu")
        return [
            self._offer(transfer.GPUS[gpu], problem, machine)
            for gpu in self.gpus
            if wanted in (None, gpu)
        ]

    def _offer(self, gpu, problem, machine):
        warm = machine.is_warm(f"service:{gpu.name}", transfer.IDLE_SECONDS)
        estimate = transfer.remote_estimate(problem, gpu, machine.link, warm=warm)
        refusal = "It does not fit." if estimate.memory_bytes > gpu.memory_bytes else ""
        return Offer(gpu.name, estimate, refusal, {"gpu": gpu.name})

    def option(self, problem, key):
        return problem.options.get(key, "auto" if key == "neighbors" else 1.0)

    def embed(self, problem, X, run):
        if not self.starts:
            raise BackendUnavailableError("no network")
        self.asked_for.append(problem.options.get("gpu"))
        with run.phase("upload"):
            run.n_bytes["upload"] = problem.n_bytes
        embedding = super().embed(problem, X, run)
        with run.phase("download"):
            run.n_bytes["download"] = embedding.coordinates.nbytes
        return embedding
