"""Maps of one X with many parameters, which share what they have in common."""

from tsne_backends.sweeps.result import Sweep, SweepRow
from tsne_backends.sweeps.sweeping import sweep

__all__ = ["Sweep", "SweepRow", "sweep"]
