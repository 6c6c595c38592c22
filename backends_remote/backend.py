"""`ModalBackend`: a rented GPU behind the one interface of all backends.

It says what can be sent, what that should take and cost, and when the provider is to end a run. The
way to the map and back is in ``session``; the model behind the estimates, with the list of GPUs
and prices, is in `tsne_backends.transfer`.
"""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar

from backends_remote import journal
from backends_remote.deployment import FALL_BACK_GPUS, TIMEOUTS_SECONDS
from tsne_backends import transfer
from tsne_backends.answers import Embedding, Estimate, Offer, Verdict
from tsne_backends.backend import Backend, Option, Parameter
from tsne_backends.errors import CostLimitError
from tsne_backends.gpu.refusals import (
    refuse_components,
    refuse_init,
    refuse_method,
    refuse_metric,
    refuse_metric_params,
    refuse_perplexity,
)
from tsne_backends.machine import Link, Machine
from tsne_backends.problem import Problem
from tsne_backends.run import Run
from tsne_backends.transfer import GPUS, Gpu
from tsne_backends.wording import dollars, size

#: The provider ends a run only where it takes this many times what is expected, and so long more.
TIMEOUT_FACTOR, TIMEOUT_MARGIN_SECONDS = 4.0, 300.0
#: Bytes of X encoded per second by two threads, and the seconds to choose the encoding before that,
#: at once and per feature; ``benchmarks/codecs.py`` at 10 to 768 features.
ENCODE_BYTES_PER_SECOND = 300e6
CHOOSE_SECONDS, CHOOSE_FEATURE_SECONDS = 0.12, 1.2e-3
#: What the extra "modal" installs.
PACKAGES = ("modal", "zstandard")


class ModalBackend(Backend):
    """cuML on a GPU of the user's own Modal account."""

    name = "modal"
    where = "a GPU in your Modal account"
    remote = True
    parameters: ClassVar[Mapping[str, Parameter]] = MappingProxyType(
        {
            "n_components": Parameter("sent to the service", refuse=refuse_components),
            "perplexity": Parameter("sent to the service", refuse=refuse_perplexity),
            "early_exaggeration": Parameter("sent to the service"),
            "learning_rate": Parameter("sent to the service"),
            "max_iter": Parameter("sent to the service"),
            "n_iter_without_progress": Parameter("sent to the service"),
            "min_grad_norm": Parameter("sent to the service"),
            "metric": Parameter("sent to the service", refuse=refuse_metric),
            "metric_params": Parameter("sent to the service", refuse=refuse_metric_params),
            "init": Parameter("sent to the service", refuse=refuse_init),
            "random_state": Parameter("sent to the service", "as a seed"),
            "method": Parameter("sent to the service", refuse=refuse_method),
            "angle": Parameter("sent to the service"),
            "n_jobs": Parameter("encoding here", "the service uses its whole machine"),
        }
    )
    options: ClassVar[Mapping[str, Option]] = MappingProxyType(
        {
            "gpu": Option(
                None,
                "kind of GPU",
                lambda value: value is None or value in GPUS,
                f"one of {', '.join(GPUS)}, or None for the quickest",
            ),
            "transfer_loss": Option(
                0.02,
                "largest share of neighbours that sending X smaller may change; 0 is bit-exact",
                lambda value: type(value) in (int, float) and 0 <= value <= 0.25,
                "a number from 0 to 0.25",
            ),
            "codec": Option(
                None,
                "how X is sent",
                lambda value: value in (None, "raw", "lossless", "float16", "rotated"),
                '"raw", "lossless", "float16", "rotated", or None for the smallest within '
                "transfer_loss (raw where encoding should take longer than it saves)",
            ),
            "timeout": Option(
                None,
                "seconds after which the provider ends a run",
                lambda value: (
                    value is None
                    or (type(value) in (int, float) and 0 < value <= TIMEOUTS_SECONDS[-1])
                ),
                f"a number up to {TIMEOUTS_SECONDS[-1]}, or None for a limit by what is expected",
            ),
        }
    )

    def available(self) -> Verdict:
        """Say whether Modal's client is there, an account set up, and our service known there."""
        missing = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
        if missing:
            return Verdict(
                False,
                f"Modal's client is not complete ({' and '.join(missing)} not installed); run "
                '`pip install "serverless-tsne[modal]"` and `modal setup`.',
            )
        if not _has_account():
            return Verdict(False, "No Modal account is set up here; run `modal setup`.")
        known = _known_service()
        if known is None:
            return Verdict(
                False,
                "No service is known to be deployed; run `serverless-tsne deploy` once, or "
                "`serverless-tsne doctor` if you deployed it from elsewhere.",
            )
        return Verdict(True, f'The service "{known}" is deployed in your Modal account.')

    def can_run(self, problem: Problem) -> Verdict:
        """Say whether the service computes ``problem``, and whether X can be sent as asked."""
        verdict = super().can_run(problem)
        if verdict.ok and (refusal := self._refuse_codec(problem)):
            return Verdict(False, refusal)
        return verdict

    def estimate(self, problem: Problem, machine: Machine) -> Estimate | None:
        """Predict the offer that would be quickest."""
        open_offers = [offer for offer in self.offers(problem, machine) if not offer.refusal]
        estimates = [offer.estimate for offer in open_offers if offer.estimate is not None]
        return min(estimates, key=lambda estimate: estimate.total, default=None)

    def offers(self, problem: Problem, machine: Machine) -> Sequence[Offer]:
        """Offer every kind of GPU, or the one that was asked for."""
        wanted = self.option(problem, "gpu")
        return tuple(
            self._offer(problem, gpu, machine)
            for gpu in GPUS.values()
            if wanted is None or gpu.name == wanted
        )

    def ask(self, machine: Machine) -> Machine:
        """Ask the provider whether the two cheapest kinds of GPU have a container ready.

        Each question is a round trip, and three more the first time. So nobody asks for the other
        kinds, whose last call tells, or for containers with a longer time limit.
        """
        from backends_remote.client import Client

        warm = dict(machine.known_warm)
        for gpu in FALL_BACK_GPUS:
            client = Client(gpu, TIMEOUTS_SECONDS[0])
            client.connect()
            warm[f"{self.name}:{gpu}"] = client.stats().n_containers > 0
        return replace(machine, known_warm=warm)

    def embed(self, problem: Problem, X: Any, run: Run) -> Embedding:
        """Send X, have the map made, and fetch it; see `session.Session`."""
        from backends_remote.session import Session, Terms

        gpu = self._gpu(problem)
        rented = transfer.remote_estimate(problem, gpu, Link(), warm=True)
        max_seconds = _seconds_paid_for(run.max_cost, gpu, rented)
        terms = Terms(
            gpu=gpu.name,
            timeout_seconds=self._timeout(problem, rented, max_seconds),
            transfer_loss=float(self.option(problem, "transfer_loss")),
            codec=self.option(problem, "codec"),
            max_seconds=max_seconds,
        )
        return Session(problem, X, run, terms).embed()

    def abandon(self) -> None:
        """Cancel the jobs that other threads of this process wait for."""
        from backends_remote.session import cancel_all_waited_for

        cancel_all_waited_for()

    def _refuse_codec(self, problem: Problem) -> str | None:
        """Return why the codec asked for cannot send this X."""
        from backends_remote.distances import ROTATABLE, is_measurable

        asked, metric = self.option(problem, "codec"), str(problem.metric)
        if asked in ("float16", "rotated") and not is_measurable(metric, sparse=problem.is_sparse):
            return (
                f'What the codec "{asked}" loses cannot be measured in the metric "{metric}"; pass '
                'codec="lossless", or none.'
            )
        exact = self.option(problem, "transfer_loss") == 0
        if asked == "rotated" and (problem.is_sparse or exact or metric not in ROTATABLE):
            return (
                'The codec "rotated" needs dense X, a Euclidean or cosine metric and a '
                'transfer_loss above 0; pass codec="lossless", or none.'
            )
        return None

    def _offer(self, problem: Problem, gpu: Gpu, machine: Machine) -> Offer:
        n_bytes, encode_seconds = self._encoded(problem, machine)
        options: dict[str, Any] = {"gpu": gpu.name}
        if not encode_seconds:
            options["codec"] = "raw"
        estimate = transfer.remote_estimate(
            problem,
            gpu,
            machine.link,
            warm=machine.is_warm(f"{self.name}:{gpu.name}", transfer.IDLE_SECONDS),
            upload_bytes=n_bytes,
            encode_seconds=encode_seconds,
        )
        return Offer(gpu.name, estimate, _does_not_fit(problem, gpu), options)

    def _encoded(self, problem: Problem, machine: Machine) -> tuple[float, float]:
        """Return the bytes that would be sent and the seconds to make them, 0 if X goes raw."""
        raw = float(problem.n_bytes)
        if self.option(problem, "codec") == "raw" or not raw:
            return raw, 0.0
        from backends_remote.codec import estimated_bytes

        small = estimated_bytes(
            problem.n_samples,
            problem.n_features,
            8 if problem.dtype == "float64" else 4,
            max_loss=self.option(problem, "transfer_loss"),
            metric=str(problem.metric_name),
            is_sparse=problem.is_sparse,
            nnz=problem.n_bytes // 8 if problem.is_sparse else 0,
        )
        seconds = raw / (ENCODE_BYTES_PER_SECOND * machine.parallel(problem.n_threads) / 2)
        seconds += CHOOSE_SECONDS + CHOOSE_FEATURE_SECONDS * min(problem.n_features, 1000)
        rate = machine.link.upload_bytes_per_second
        return (raw, 0.0) if raw / rate <= seconds + small / rate else (small, seconds)

    def _gpu(self, problem: Problem) -> Gpu:
        """Return the kind of GPU: the plan's, or where nobody planned, the cheapest."""
        return GPUS[self.option(problem, "gpu") or FALL_BACK_GPUS[0]]

    def _timeout(self, problem: Problem, expected: Estimate, max_seconds: float | None) -> int:
        """Return when the provider is to end the run: what was asked for, else one of a few.

        Every limit is a pool of containers of its own; the user's money, which tends to be the same
        each time, makes one more.
        """
        asked = self.option(problem, "timeout")
        if asked is None:
            work = expected.neighbours + expected.optimise
            needed = TIMEOUT_FACTOR * work + TIMEOUT_MARGIN_SECONDS
            asked = next((one for one in TIMEOUTS_SECONDS if one >= needed), TIMEOUTS_SECONDS[-1])
        return max(1, int(asked if max_seconds is None else min(asked, max_seconds)))


def _has_account() -> bool:
    """Whether Modal's own configuration exists; it is not read here."""
    if os.environ.get("MODAL_TOKEN_ID") and os.environ.get("MODAL_TOKEN_SECRET"):
        return True
    return Path(os.environ.get("MODAL_CONFIG_PATH") or "~/.modal.toml").expanduser().is_file()


def _known_service() -> str | None:
    """Return the name of the app that is known to be deployed."""
    known = journal.deployment()
    return None if known is None else known.app


def _does_not_fit(problem: Problem, gpu: Gpu) -> str:
    """Return why a problem is too large for a kind of GPU, and which would take it."""
    needed, share = transfer.gpu_bytes(problem), transfer.USABLE_MEMORY
    if needed <= share * gpu.memory_bytes:
        return ""
    larger = [one for one in GPUS.values() if needed <= share * one.memory_bytes]
    advice = (
        f"{larger[0].name} would take it, at {dollars(larger[0].usd_per_hour)} an hour."
        if larger
        else "no GPU on offer would take it; use fewer rows."
    )
    rows = int(problem.n_samples * share * gpu.memory_bytes / needed)
    return (
        f"It needs about {size(needed)}, and a {gpu.name} has {size(gpu.memory_bytes)}, enough for "
        f"{rows:,} such rows; {advice}"
    )


def _seconds_paid_for(max_cost: float | None, gpu: Gpu, rented: Estimate) -> float | None:
    """Return how long a run may take for the user's money, the idle time after it counted.

    Raises
    ------
    CostLimitError
        The money does not even pay for the idle time; nothing was sent.
    """
    if max_cost is None:
        return None
    seconds = (max_cost - rented.idle_usd) / (gpu.usd_per_hour / 3600)
    if seconds <= 0:
        raise CostLimitError(
            f"max_cost is {dollars(max_cost)}, but a {gpu.name} that waits for "
            f"{transfer.IDLE_SECONDS:.0f} s after a run costs {dollars(rented.idle_usd)} alone."
        )
    return seconds
