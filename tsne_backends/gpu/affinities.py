"""Affinities on the GPU: perplexity, symmetry, layout, and the attraction that follows from them.

They are laid out as the loops in ``kernels.cu`` read them. Neighbours come from ``neighbors``, the
opposite force from ``repulsion``, and ``descent`` puts both forces together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from tsne_backends.gpu.kernels import launch

#: Edges that one thread sums, of those that come in at a row.
PIECE = 128
#: Pieces that lie side by side, as many as threads run in step.
BUNDLE = 32


@dataclass(frozen=True)
class Affinities:
    """The symmetric affinities of all rows, each edge held by both of its rows.

    Every row has its own k neighbours, and besides them the rows that have it as theirs without
    being among them ("incoming"), cut into pieces. Of the pieces, the longest first, 32 are a
    bundle: their first edges lie side by side, then their second ones, so that threads which run in
    step read neighbouring words (the layout SELL-C-σ of Kreutzer et al. 2014). All arrays lie on
    the GPU.

    Attributes
    ----------
    n_samples, k : int
    neighbors : cupy.ndarray of shape (k, n_samples), int32
    joint : cupy.ndarray of shape (k, n_samples), float32
        (p(j|i) + p(i|j)) / 2n.
    columns : cupy.ndarray, int32
        Where incoming edges come from, bundle after bundle; 0 beyond the end of a piece.
    values : cupy.ndarray, float32
        Their affinities; 0 beyond the end of a piece.
    starts : cupy.ndarray of shape (n_samples + 1,), int32
        Where each row's pieces begin among all pieces, if these lie row after row.
    pieces : cupy.ndarray of shape (n_pieces,), int32
        The number of each piece among those, the longest first, as all that follow.
    owners, lengths : cupy.ndarray of shape (n_pieces,), int32
        The row of each piece, and its number of edges.
    bundles : cupy.ndarray of shape (n_bundles,), int64
        Where each bundle begins in ``columns``.
    sums : cupy.ndarray of shape (3, n_pieces), float32
        Room for what is summed over each piece.
    """

    n_samples: int
    k: int
    neighbors: Any
    joint: Any
    columns: Any
    values: Any
    starts: Any
    pieces: Any
    owners: Any
    lengths: Any
    bundles: Any
    sums: Any


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
    sizes = (cupy.int32(n), cupy.int32(k))
    launch("conditional", n, conditional, *sizes, cupy.float32(perplexity))
    joint = cupy.empty_like(conditional)
    launch("join", n * k, neighbors, conditional, joint, *sizes, cupy.float32(0.5 / n))
    del conditional
    by_column = cupy.ascontiguousarray(neighbors.T)
    counts, columns, values = _incoming(by_column, joint)
    joint = cupy.abs(joint)
    return Affinities(n, k, by_column, joint, *_in_bundles(counts, columns, values))


def _in_bundles(counts: Any, columns: Any, values: Any) -> tuple[Any, ...]:
    """Return the fields of `Affinities` from ``columns`` on, of edges that lie row after row."""
    import cupy

    starts = cupy.zeros(len(counts) + 1, dtype=cupy.int32)
    starts[1:] = cupy.cumsum((counts + (PIECE - 1)) // PIECE)
    n_pieces = int(starts[-1])
    numbers = cupy.arange(n_pieces, dtype=cupy.int32)
    owners = cupy.searchsorted(starts[1:], numbers, side="right").astype(cupy.int32)
    # A row's pieces are full but for its last: they begin where the row does, PIECE apart.
    within = PIECE * (numbers - starts[owners]).astype(cupy.int64)
    firsts = (cupy.cumsum(counts) - counts)[owners] + within
    lengths = cupy.minimum(counts[owners] - within, PIECE).astype(cupy.int32)
    # Where every row is every other's neighbour, there are none to sort.
    pieces = cupy.argsort(-lengths).astype(cupy.int32) if n_pieces else numbers
    firsts, owners, lengths = (
        cupy.ascontiguousarray(one[pieces]) for one in (firsts, owners, lengths)
    )
    ends = cupy.cumsum(BUNDLE * lengths[::BUNDLE].astype(cupy.int64))
    bundles = ends - BUNDLE * lengths[::BUNDLE]
    size = int(ends[-1]) if n_pieces else 0
    by_step = cupy.zeros(size, dtype=cupy.int32), cupy.zeros(size, dtype=cupy.float32)
    launch(
        "bundle",
        n_pieces,
        firsts,
        lengths,
        bundles,
        columns,
        values,
        *by_step,
        cupy.int32(n_pieces),
    )
    sums = cupy.empty((3, n_pieces), dtype=cupy.float32)
    return *by_step, starts, pieces, owners, lengths, bundles, sums


def _incoming(neighbors: Any, joint: Any) -> tuple[Any, Any, Any]:
    """Return how many edges come in at each row, where they come from, and their affinities."""
    import cupy

    n = neighbors.shape[1]
    edges = cupy.flatnonzero(joint.ravel() < 0)
    to = neighbors.ravel()[edges]
    order = cupy.argsort(to)  # equal ones stay in order, whatever the threads do
    edges = edges[order]
    counts = cupy.bincount(to, minlength=n).astype(cupy.int64)
    return counts, (edges % n).astype(cupy.int32), -joint.ravel()[edges]


def attraction(
    affinities: Affinities, positions: Any, forces: Any, *, divergence: Any = None
) -> None:
    """Sum the attractive forces of every row into ``forces``.

    Parameters
    ----------
    affinities : Affinities
    positions, forces : cupy.ndarray of shape (n_samples, 2), float32
    divergence : cupy.ndarray of shape (n_samples,), float32, optional
        Gets every row's Σ p log(p (1 + d²)), from which the KL divergence is made.
    """
    import cupy

    a, want_kl = affinities, cupy.int32(divergence is not None)
    n, pieces = cupy.int32(a.n_samples), cupy.int32(len(a.pieces))
    launch(
        "attract_pieces",
        len(a.pieces),
        a.pieces,
        a.owners,
        a.lengths,
        a.bundles,
        a.columns,
        a.values,
        positions,
        a.sums,
        pieces,
        want_kl,
    )
    launch(
        "attract",
        a.n_samples,
        a.neighbors,
        a.joint,
        a.starts,
        a.sums,
        positions,
        forces,
        forces if divergence is None else divergence,
        n,
        cupy.int32(a.k),
        pieces,
        want_kl,
    )
