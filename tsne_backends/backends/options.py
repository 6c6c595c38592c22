"""Options that mean the same to several engines.

An option that only one engine has stands in the module of that engine. What an option is, and how
its value is checked, is said in `tsne_backends.backend`.
"""

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
