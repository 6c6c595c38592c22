"""How many iterations of what: the phases of the optimisation.

`accelerated` is what ``max_iter="auto"`` means. Higher learning rate and momentum reach in 200
iterations a lower KL divergence than the plain schedule in 500 — but only from a map that has
settled: let loose on the one early exaggeration leaves, they throw islands apart, and a shorter or
hotter early exaggeration loses the arrangement of clusters. So early exaggeration stays as it is,
and some plain iterations follow it. Plain ones end it, too: points that still swing have not
come to rest beside their neighbours, least of all in large maps (see `COOLING`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

#: Spacing of the grid, in units of the map: under the plain schedule, under the fast one, and in
#: the last iterations, where forces are small and the map takes its final shape. Relative errors of
#: the forces are 1, 2 and 0.5 %. Errors turn signs, and with them the gains down: the plain
#: schedule's small steps end at a KL divergence 0.7 % higher with h = 1/2 than with 0.4, the fast
#: one's at one 0.2 % higher (10,000 rows of a mixture).
PLAIN_SPACING, FAST_SPACING, FINE = 0.4, 0.5, 1 / 3
FINE_ITERATIONS = 50


@dataclass(frozen=True)
class Stage:
    """Iterations under the same settings.

    Attributes
    ----------
    name : str
    n_iter : int
    exaggeration : float
        Factor on the attraction.
    learning_rate : float
        In scikit-learn's units.
    momentum : float
    fresh : bool
        Whether velocities and gains start anew.
    spacing : float
        Spacing of the grid in units of the map.
    patient : bool
        Whether lack of progress never ends this stage, as in early exaggeration.
    """

    name: str
    n_iter: int
    exaggeration: float
    learning_rate: float
    momentum: float
    fresh: bool = True
    spacing: float = PLAIN_SPACING
    patient: bool = False


#: Iterations of the accelerated schedule after early exaggeration: settling, fast, cooling down.
#: Without the last, 200,000 image patches of 48 features kept 0.315 of their 15 neighbours, with it
#: 0.380 (KL divergence 3.104, 3.013); 10,000 kept as many. Cooling within the 200, from the 150th
#: on, kept 0.375 of those and left a higher KL divergence elsewhere.
SETTLING, FAST, COOLING = 50, 200, 50
#: What the fast stage multiplies an automatic learning rate by, and its momentum.
FAST_RATE, FAST_MOMENTUM = 4.0, 0.9


def accelerated(early: Stage, main: Stage, rate_factor: float = FAST_RATE) -> Sequence[Stage]:
    """Return the stages of the fast schedule.

    Parameters
    ----------
    early, main : Stage
        Early exaggeration and the main stage as the plain schedule has them.
    rate_factor : float, default=4.0
        What the fast stage multiplies the learning rate by; 1 where the user has set the rate.

    Returns
    -------
    sequence of Stage
    """
    early = replace(early, spacing=FAST_SPACING)
    main = replace(main, spacing=FAST_SPACING)
    settle = replace(main, name="settling", n_iter=SETTLING)
    fast = replace(
        main,
        name="main",
        n_iter=FAST,
        learning_rate=rate_factor * main.learning_rate,
        momentum=FAST_MOMENTUM,
        fresh=False,
    )
    cool = replace(main, name="cooling", n_iter=COOLING, fresh=False)
    return early, settle, fast, cool
