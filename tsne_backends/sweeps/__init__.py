"""Maps of one X with many parameters, which share what they have in common.

This is the door: ``sweeping`` checks and plans, ``runs`` computes, and ``result`` holds what comes
back. Pictures of it are in `tsne_backends.plot`.
"""

from tsne_backends.sweeps.result import Sweep, SweepRow
from tsne_backends.sweeps.sweeping import sweep

__all__ = ["Sweep", "SweepRow", "sweep"]
