"""Options that mean the same to several engines."""

from __future__ import annotations

from tsne_backends.backend import Option

#: Which neighbour search to use; `tsne_backends.neighbors.neighbors_graph` and each engine's own
#: searches know these words.
NEIGHBORS = Option(
    "auto",
    "which neighbour search to use",
    lambda value: value in ("auto", "exact", "approximate"),
    '"auto", "exact" or "approximate"',
)
