"""The optimisation: forces, steps, reports, and the order of the points in memory.

Only the order in which things happen is here. How often and how far is in ``schedule``; the forces
are in ``repulsion``, ``exact`` and ``attraction``; when to stop early is for the caller to say.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from tsne_backends.native.affinities import Affinities
from tsne_backends.native.attraction import (
    PULLED_POINTS,
    REPORTS,
    move,
    pull,
    sum_logarithms,
    sum_up,
)
from tsne_backends.native.calls import Call
from tsne_backends.native.crew import How, Program, Work
from tsne_backends.native.exact import is_affordable, over_pairs
from tsne_backends.native.grid import far_middle
from tsne_backends.native.jit import as_points
from tsne_backends.native.layout import SparseRows, in_order, lay_out
from tsne_backends.native.order import hilbert_order
from tsne_backends.native.repulsion import GridRepulsion, tile_size
from tsne_backends.native.schedule import FINE, FINE_ITERATIONS, Stage
from tsne_backends.native.threads import Team

#: Iterations between two reports.
REPORT_EVERY = 50
#: Iterations after which points are sorted anew, besides at the start. The map takes shape in the
#: first hundred, and again once early exaggeration ends; later points move little beside one
#: another. Sorting costs as much as 14 iterations (200,000 rows); with five sorts in a run, the
#: first 600 iterations took 1 to 4 % longer.
SORT_AT = (100, 300)

#: Up to this many rows the last Z is summed over all pairs, in less than a tenth of a second; on
#: the grid log Z is about 0.0002 too low.
EXACT_Z_ROWS = 10_000

#: Up to this many points, pairs are summed even where the grid was asked for: single precision
#: could not tell the potential of few far points from nothing.
FEWEST_ON_GRID = 128

#: Called before every iteration with its number, from 1 over all stages.
Step = Callable[[int], object]


@dataclass(frozen=True)
class State:
    """What a report tells.

    Attributes
    ----------
    iteration : int
        Iterations run, over all stages.
    in_stage : int
        Iterations run in this stage.
    stage : Stage
    kl_divergence : float
    gradient_norm : float
        Norm of gains × gradient, in scikit-learn's units.
    positions : ndarray of shape (n, 2), float32
        In the rows' own order.
    """

    iteration: int
    in_stage: int
    stage: Stage
    kl_divergence: float
    gradient_norm: float
    positions: NDArray[np.float32]


#: What a report answers: go on, end this stage, or end the run.
GO_ON, NEXT_STAGE, STOP = 0, 1, 2
Report = Callable[[State], int]


@dataclass
class Outcome:
    """The finished map.

    Attributes
    ----------
    positions : ndarray of shape (n, 2), float32
        In the rows' own order.
    kl_divergence : float
    n_iter : int
    repulsion : dict of str to str
        For each stage ``"exact"`` or ``"fft"``, as it ended.
    grids : int
        Grids made.
    """

    positions: NDArray[np.float32]
    kl_divergence: float
    n_iter: int
    repulsion: dict[str, str] = field(default_factory=dict)
    grids: int = 0


class Engine:
    """Gradient descent on the KL divergence of a map of one or two dimensions.

    Parameters
    ----------
    affinities : Affinities
        Of n rows; laid out here, and not kept.
    positions : ndarray of shape (n, n_components), floating
        Where the points start; one or two components. The map of a start that is farther from 0
        than it is wide lies about 0, because single precision is finest there.
    team : Team
    exact : bool or None, default=None
        Whether repulsion is summed over pairs; None takes the quicker way.
    """

    def __init__(
        self,
        affinities: Affinities,
        positions: NDArray[np.floating],
        team: Team,
        exact: bool | None = None,
    ) -> None:
        n, self._components = positions.shape
        self._team = team
        self._exact = exact
        self._Y = np.zeros((n, 2), dtype=np.float32)
        with np.errstate(over="ignore", invalid="ignore"):  # noticed below
            self._Y[:, : self._components] = positions - far_middle(positions)
        self._pulls = np.empty_like(self._Y)
        self._repulsion = np.empty_like(self._Y)
        self._Z = np.empty(1, dtype=np.float64)
        self._rates = np.empty(3, dtype=np.float32)
        self._update = np.zeros_like(self._Y)
        self._gains = np.ones_like(self._Y)
        self._tile = tile_size(n)
        self._n_tiles = -(-n // self._tile)
        self._reports = np.empty((self._n_tiles, REPORTS), dtype=np.float64)
        self._report = np.empty(REPORTS, dtype=np.float64)
        self._grid = GridRepulsion(n)
        self._pairs: Work | None = None
        self._use_pairs = False
        self._programs: tuple[Work, Program, Program] | None = None
        if not np.isfinite(self._Y).all():
            raise FloatingPointError(
                "Some initial positions are beyond what single precision holds; scale them down."
            )
        self._low = self._Y.min(axis=0).astype(np.float64)
        self._high = self._Y.max(axis=0).astype(np.float64)
        self._order = hilbert_order(self._Y)
        self._Y = self._Y[self._order]
        self._entropy_term = affinities.entropy_term
        # What makes the forces, and the rest.
        self._layouts = [lay_out(affinities, self._order)]
        if affinities.threshold > 0:
            self._layouts.append(lay_out(affinities, self._order, makes_forces=False))

    def run(self, stages: Sequence[Stage], step: Step, report: Report) -> Outcome:
        """Run all stages.

        Parameters
        ----------
        stages : sequence of Stage
        step : callable
            ``step(iteration)`` before each iteration, from 1 over all stages.
        report : callable
            ``report(state)`` every 50 iterations of a stage; `GO_ON`, `NEXT_STAGE` or `STOP`.

        Returns
        -------
        Outcome
        """
        done, used = 0, {}
        last = sum(stage.n_iter for stage in stages)
        for stage in stages:
            if stage.fresh:
                self._update[:] = 0
                self._gains[:] = 1
            answer = GO_ON
            for in_stage in range(1, stage.n_iter + 1):
                if done in SORT_AT:
                    self._sort()
                step(done + 1)
                h = FINE if done >= last - FINE_ITERATIONS else stage.spacing
                if done % REPORT_EVERY == 0 or in_stage == 1:
                    self._choose(h)
                self._iterate(stage, h)
                done += 1
                if in_stage % REPORT_EVERY == 0:
                    answer = report(self._state(done, in_stage, stage, h))
                    if answer != GO_ON:
                        last -= stage.n_iter - in_stage
                        break
            used[stage.name] = "exact" if self._use_pairs else "fft"
            if answer == STOP:
                break
        kl = self.kl_divergence(FINE)
        return Outcome(self.positions(), kl, done, used, self._grid.grids_made)

    def positions(self) -> NDArray[np.float32]:
        """Return the map in the rows' own order, of shape (n, n_components)."""
        own = np.empty_like(self._Y)
        own[self._order] = self._Y
        return np.ascontiguousarray(own[:, : self._components])

    def kl_divergence(self, h: float = FINE) -> float:
        """Return the KL divergence of all affinities, those left out of the forces included.

        Parameters
        ----------
        h : float, default=1/3
            Spacing of the grid Z is summed on.
        """
        is_exact = h == FINE and len(self._Y) <= EXACT_Z_ROWS
        self._team.do(self._over_pairs() if is_exact else self._repel(h))
        log_Z = float(np.log(max(self._Z[0], 1e-300)))
        return self._entropy_term + sum(map(self._logarithms, self._layouts)) + log_Z

    def _logarithms(self, rows: SparseRows) -> float:
        """Return Σ p log(1 + |y_i - y_j|²) over some affinities."""
        sums = np.empty(self._n_tiles, dtype=np.float64)
        given = (rows.starts, rows.words, rows.steps, rows.bits, sums)
        self._team.run(sum_logarithms, self._n_tiles, self._tile, as_points(self._Y), *given)
        return rows.mass * float(sums.sum())

    def _state(self, done: int, in_stage: int, stage: Stage, h: float) -> State:
        norm = math.sqrt(self._report[4])
        kl = self.kl_divergence(h)
        return State(done, in_stage, stage, kl, norm, self.positions())

    def _sort(self) -> None:
        """Sort points along a curve over the map: forces then read what the cache holds."""
        order = hilbert_order(self._Y)
        self._programs = None  # which holds the rows
        self._order = self._order[order]
        for state in (self._Y, self._update, self._gains):
            state[:] = state[order]
        for at, rows in enumerate(self._layouts):
            self._layouts[at] = in_order(rows, order, self._team)

    def _choose(self, h: float) -> None:
        n = len(self._Y)
        exact = self._exact
        if exact is None or n <= FEWEST_ON_GRID:
            exact = is_affordable(n, self._high - self._low, h)
        self._use_pairs = exact

    def _over_pairs(self) -> Work:
        self._pairs = self._pairs or over_pairs(self._Y, self._repulsion, self._Z)
        return self._pairs

    def _repel(self, h: float) -> Work:
        """Return what writes repulsion and Z."""
        if self._use_pairs:
            return self._over_pairs()
        corners = self._low, self._high
        if not self._grid.serves(*corners, h):
            self._programs = None  # whose buffers go before there are new ones
            self._grid.lay(*corners, h)
        return self._grid.work(self._Y, self._repulsion, self._Z)

    def _iterate(self, stage: Stage, h: float) -> None:
        work = self._repel(h)
        if self._programs is None or self._programs[0] is not work:
            self._programs = work, *self._steps_with(work)
        _, before, after = self._programs
        self._rates[:] = stage.exaggeration, stage.learning_rate, stage.momentum
        self._team.perform(before, work.between, after)
        if not math.isfinite(sum(self._report.tolist())):
            raise FloatingPointError(
                "The gradient is no longer finite: the learning rate is too large."
            )
        self._low, self._high = self._report[:2], self._report[2:4]

    def _steps_with(self, repulsion: Work) -> tuple[Program, Program]:
        """Return an iteration's programs: attraction is for who has no part in repulsion."""
        rows, Y = self._layouts[0], self._Y
        affinities = (rows.starts, rows.words, rows.steps, rows.bits)
        attraction = Call(pull, -(-len(Y) // PULLED_POINTS), as_points(Y), *affinities, self._pulls)
        forces = (self._pulls, self._repulsion, self._Z, self._rates, self._components == 1)
        state = (self._update, self._gains, self._reports)
        step = Call(move, self._n_tiles, self._tile, Y, *forces, *state)
        together = Call(sum_up, 1, self._reports, self._report)
        return repulsion.programs(
            first=[(How.BEGIN, attraction)],
            last=[(How.END, None), (How.SHARE, step), (How.SHARE, together)],
        )
