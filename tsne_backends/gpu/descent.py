"""Gradient descent on the GPU: the schedule, the stopping rules and the reports of every engine.

The forces come from ``affinities`` and ``repulsion``, and the step of a row is in ``kernels.cu``.
How long each phase is, is said in `tsne_backends.problem`, when to stop in
`tsne_backends.stopping`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from tsne_backends.gpu.affinities import Affinities, attraction
from tsne_backends.gpu.arrays import on_host
from tsne_backends.gpu.grid import Box, corners
from tsne_backends.gpu.kernels import launch
from tsne_backends.gpu.repulsion import Repulsion
from tsne_backends.problem import GRADIENT_FACTOR, Phase, Problem
from tsne_backends.run import REPORT_EVERY, Run
from tsne_backends.stopping import ProgressCheck

#: Iterations between two looks at where the rows are, for which the GPU must be waited for.
STRETCH = 10
assert REPORT_EVERY % STRETCH == 0  # reports are made at the end of a stretch


@dataclass
class _Motion:
    """What a phase carries from one iteration to the next, besides the positions.

    Attributes
    ----------
    velocity, gains, forces : cupy.ndarray of shape (n_samples, 2), float32
    divergence, norms : cupy.ndarray of shape (n_samples,), float32
        Of the last report, and of the last iteration: squared gradients, gains included.
    normalisation : cupy.ndarray of shape (), float64
        Of the last iteration.
    """

    velocity: Any
    gains: Any
    forces: Any
    divergence: Any
    norms: Any
    normalisation: Any = None


@dataclass
class Descent:
    """Moves the rows, phase by phase, and knows the KL divergence of where they are.

    Attributes
    ----------
    positions : cupy.ndarray of shape (n_samples, 2), float32
        Where the rows are.
    done : int
        Iterations run, those of another engine before included.
    stopped : bool
        Whether a callback has asked to stop.
    """

    problem: Problem
    affinities: Affinities
    repulsion: Repulsion
    positions: Any
    run: Run
    done: int = 0
    stopped: bool = False

    def run_phases(self, phases: Sequence[Phase]) -> None:
        """Run phases one after the other, each from rest, as in scikit-learn."""
        for phase in phases:
            if not self.stopped:
                self._run_phase(phase)

    def report(self) -> None:
        """Tell where the rows are now, as after the iterations of another engine."""
        coordinates = on_host(self.positions)
        self.stopped = self.run.report(self.done, self.kl_divergence(), coordinates)

    def kl_divergence(self) -> float:
        """Return the KL divergence, without exaggeration."""
        import cupy

        _, normalisation = self.repulsion.field(self.positions)
        divergence = cupy.empty(self.affinities.n_samples, dtype=cupy.float32)
        forces = cupy.empty_like(self.positions)
        attraction(self.affinities, self.positions, forces, divergence=divergence)
        return _kl(divergence, normalisation)

    def _run_phase(self, phase: Phase) -> None:
        early = phase.name == "early exaggeration"
        patience = None if early else self.problem.n_iter_without_progress
        check = ProgressCheck(patience, self.problem.min_grad_norm)
        motion = self._at_rest()
        for begin in range(0, phase.n_iter, STRETCH):
            end = min(begin + STRETCH, phase.n_iter)
            is_report = end % REPORT_EVERY == 0
            self._run_stretch(phase, motion, end - begin, is_report)
            if is_report and self._should_end(check, end, motion):
                return

    def _at_rest(self) -> _Motion:
        import cupy

        n = self.affinities.n_samples
        return _Motion(
            velocity=cupy.zeros_like(self.positions),
            gains=cupy.ones_like(self.positions),
            forces=cupy.empty_like(self.positions),
            divergence=cupy.empty(n, dtype=cupy.float32),
            norms=cupy.empty(n, dtype=cupy.float32),
        )

    def _run_stretch(self, phase: Phase, motion: _Motion, n_iter: int, is_report: bool) -> None:
        """Run iterations on one grid; once more, with one each, if rows have left it."""
        before = [one.copy() for one in (self.positions, motion.velocity, motion.gains)]
        box = self.repulsion.frame(self.positions)
        for to_go in reversed(range(n_iter)):
            self.done += 1
            self.run.step(self.done)
            self._iterate(phase, motion, box, is_report and not to_go)
        if self.repulsion.was_left():
            self.positions, motion.velocity, motion.gains = before
            for to_go in reversed(range(n_iter)):
                self._iterate(phase, motion, None, is_report and not to_go)

    def _iterate(self, phase: Phase, motion: _Motion, box: Box | None, is_report: bool) -> None:
        import cupy

        n, divergence = self.affinities.n_samples, motion.divergence if is_report else None
        field, motion.normalisation = self.repulsion.field(self.positions, box)
        attraction(self.affinities, self.positions, motion.forces, divergence=divergence)
        launch(
            "move",
            n,
            self.positions,
            motion.velocity,
            motion.gains,
            motion.forces,
            field,
            motion.normalisation,
            motion.norms,
            cupy.int32(n),
            cupy.float32(phase.exaggeration),
            cupy.float32(phase.learning_rate * GRADIENT_FACTOR),
            cupy.float32(phase.momentum),
        )

    def _should_end(self, check: ProgressCheck, iteration: int, motion: _Motion) -> bool:
        import cupy

        corners(self.positions)  # raises where a report would hand out what is not finite
        kl = _kl(motion.divergence, motion.normalisation)
        self.stopped = self.run.report(self.done, kl, on_host(self.positions))
        norm = GRADIENT_FACTOR * float(motion.norms.sum(dtype=cupy.float64)) ** 0.5
        return self.stopped or check.finished(iteration, kl, norm)


def last_iterations(phases: Sequence[Phase], n_iter: int) -> list[Phase]:
    """Return the end of a schedule: its last ``n_iter`` iterations."""
    kept: list[Phase] = []
    for phase in reversed(phases):
        take = min(n_iter, phase.n_iter)
        n_iter -= take
        if take:
            kept.insert(0, replace(phase, n_iter=take))
    return kept


def _kl(divergence: Any, normalisation: Any) -> float:
    """Return Σ p log(p / q) with q = 1 / (1 + d²) / Z: as Σ p = 1, log Z comes in once."""
    import cupy

    # Edges are held by both rows, so that the rows' sums are over ordered pairs, as is Σ p = 1.
    return float(divergence.sum(dtype=cupy.float64) + cupy.log(normalisation))
