"""What a backend answers: a verdict, an estimate, offers, and at last an embedding.

Plain values without behaviour of their own; who gives them, and when, is in ``backend``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

#: The parts of a run that are predicted, in the order in which they happen.
ESTIMATED_PARTS = ("start", "upload", "neighbours", "optimise", "download")


@dataclass(frozen=True)
class Verdict:
    """A yes or no that never loses its reason.

    Attributes
    ----------
    ok : bool
        The answer.
    reason : str
        A full sentence a user can act on.
    """

    ok: bool
    reason: str

    def __bool__(self) -> bool:
        return self.ok


@dataclass(frozen=True)
class Estimate:
    """What one run is expected to take.

    Attributes
    ----------
    neighbours : float
        Seconds for the neighbours graph.
    optimise : float
        Seconds for affinities, initial positions and all iterations.
    start, upload, download : float
        Seconds until a remote machine is ready, and for sending X and fetching the map; 0 where
        the work stays on this machine.
    usd : float
        What the run is billed, in US dollars.
    idle_usd : float
        What a rented machine may be billed on top while it waits for another run.
    memory_bytes : float
        Peak memory where the run happens; 0 where unknown.
    """

    neighbours: float
    optimise: float
    start: float = 0.0
    upload: float = 0.0
    download: float = 0.0
    usd: float = 0.0
    idle_usd: float = 0.0
    memory_bytes: float = 0.0

    @property
    def total(self) -> float:
        """Seconds from beginning to end."""
        return sum(self.parts().values())

    def parts(self) -> dict[str, float]:
        """Return the seconds of each part."""
        return {part: getattr(self, part) for part in ESTIMATED_PARTS}


@dataclass(frozen=True)
class Offer:
    """One way in which a backend could run a problem: on one kind of GPU, say.

    Attributes
    ----------
    variant : str
        What tells it from the backend's other offers, such as ``"L4"``; empty if there is but one.
    estimate : Estimate or None
        None where the backend cannot say; ``auto`` then prefers any backend that can.
    refusal : str
        A sentence where this way, unlike others of the backend, is closed; else empty.
    options : mapping
        What to add to ``backend_options`` to run it this way.
    """

    variant: str = ""
    estimate: Estimate | None = None
    refusal: str = ""
    options: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Embedding:
    """What an engine returns.

    Attributes
    ----------
    coordinates : ndarray of shape (n_samples, n_components), float32
        The map.
    kl_divergence : float
        The engine's value of the objective at the end, without exaggeration.
    n_iter : int
        Iterations run, those with early exaggeration included.
    details : mapping
        What the engine chose and which version it is; plain Python values only.
    quality : mapping
        What the engine measured of the finished map, by name; empty where it measures nothing.
    """

    coordinates: NDArray[np.float32]
    kl_divergence: float
    n_iter: int
    details: Mapping[str, Any] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
