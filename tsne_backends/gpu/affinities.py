"""Affinities on the GPU: perplexity, symmetry, and the layout in which the descent reads them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsne_backends.gpu.kernels import launch


@dataclass(frozen=True)
class Affinities:
    """The symmetric affinities of all rows, each edge held by both of its rows.

    Every row has its own k neighbours, and besides them the rows that have it as theirs without
    being among them ("incoming"). All arrays lie on the GPU.

    Attributes
    ----------
    n_samples, k : int
    neighbors : cupy.ndarray of shape (k, n_samples), int32
    joint : cupy.ndarray of shape (k, n_samples), float32
        (p(j|i) + p(i|j)) / 2n.
    starts : cupy.ndarray of shape (n_samples + 1,), int64
        Where each row's incoming edges begin in the two arrays below.
    columns : cupy.ndarray, int32
    values : cupy.ndarray, float32
    """

    n_samples: int
    k: int
    neighbors: Any
    joint: Any
    starts: Any
    columns: Any
    values: Any


def joint_affinities(neighbors: Any, squared: Any, perplexity: float) -> Affinities:
    """Return the affinities of a neighbours graph.

    Parameters
    ----------
    neighbors : cupy.ndarray of shape (n_samples, k), int32, C order
        The nearest other rows; no row holds itself, or any other twice.
    squared : cupy.ndarray of shape (n_samples, k), float32
        Their squared distances, in any unit.
    perplexity : float
        Of the Gaussian around each row (van der Maaten & Hinton 2008), over the k neighbours.

    Returns
    -------
    Affinities
    """
    import cupy

    n, k = neighbors.shape
    conditional = cupy.ascontiguousarray(squared.T)
    launch("conditional", n, conditional, cupy.int32(n), cupy.int32(k), cupy.float32(perplexity))
    joint = cupy.empty_like(conditional)
    incoming = cupy.zeros(n, dtype=cupy.int32)
    sizes = (cupy.int32(n), cupy.int32(k))
    scale = cupy.float32(0.5 / n)
    launch("join", n * k, neighbors, conditional, joint, incoming, *sizes, scale)
    del conditional
    starts = cupy.zeros(n + 1, dtype=cupy.int64)
    starts[1:] = cupy.cumsum(incoming, dtype=cupy.int64)
    n_incoming = int(starts[-1])
    columns = cupy.empty(n_incoming, dtype=cupy.int32)
    values = cupy.empty(n_incoming, dtype=cupy.float32)
    cursor = cupy.zeros(n, dtype=cupy.int32)
    launch("hand_over", n * k, neighbors, joint, starts, cursor, columns, values, *sizes)
    launch("sort_incoming", n, starts, columns, values, sizes[0])
    return Affinities(n, k, cupy.ascontiguousarray(neighbors.T), joint, starts, columns, values)


def attraction(
    affinities: Affinities, positions: Any, forces: Any, *, divergence: Any = None
) -> None:
    """Sum the attractive forces of every row into ``forces``.

    Parameters
    ----------
    affinities : Affinities
    positions, forces : cupy.ndarray of shape (2, n_samples), float32
    divergence : cupy.ndarray of shape (n_samples,), float32, optional
        Gets every row's Σ p log(p (1 + d²)), from which the KL divergence is made.
    """
    import cupy

    a = affinities
    launch(
        "attract",
        a.n_samples,
        a.neighbors,
        a.joint,
        a.starts,
        a.columns,
        a.values,
        positions,
        forces,
        forces if divergence is None else divergence,
        cupy.int32(a.n_samples),
        cupy.int32(a.k),
        cupy.int32(divergence is not None),
    )
