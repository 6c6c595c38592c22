"""Which lists the rows of one list are compared with, and when they have seen enough.

The lists near to it come first, in rounds of ever more of them. Where a round adds next to nothing
to what was found, further ones would add less: rows in dense places are done soon, others go on.
What comparing is, is in ``candidates``.
"""

from __future__ import annotations

import math
from typing import Any

from tsne_backends.native.candidates import absorb
from tsne_backends.native.jit import F0, U0, U1, F, U, finite_kernel, finite_part
from tsne_backends.native.products import FAR, PANEL

#: Points of the lists of a first round, in neighbours wanted and at least; how many times as many
#: each further round comes to.
FIRST_SEEN, LEAST_SEEN, GROWTH = 12, 512, 1.5
#: Where every list is searched, all others are one round once this share of the points was seen.
NEAR = 0.02
#: More than products, or codes that order candidates like the rows, err by.
ROUNDED = 1.0005


@finite_kernel
def look_around(
    tiles: Any,
    squares: Any,
    scale: Any,
    panels: Any,
    number: Any,
    starts: Any,
    nearest: Any,
    least: Any,
    chosen: Any,
    first_seen: Any,
    patience: Any,
    at_once: Any,
    products: Any,
    nearer: Any,
    near: Any,
    names: Any,
    fill: Any,
    limit: Any,
    wanted: Any,
) -> Any:
    """Compare the rows of a list with the lists around it until that adds next to nothing.

    Parameters
    ----------
    tiles, panels : ndarray
        The rows, and all points; see ``products``.
    squares : ndarray of shape (n_rows,), float32
    scale : float32
        Products times the scale, with these squares, are squared distances.
    number : int
        What the first point is called.
    starts : ndarray of shape (n_lists + 1,), int64
        Where the points of each list begin.
    nearest : ndarray of shape (n_lists,), int64
        Lists, the nearest first.
    least : ndarray of shape (n_lists,), float32
        What the points of each list are away from the rows at least.
    chosen : ndarray of shape (n_lists + 1,), bool
        Scratch, all False; is so again afterwards.
    first_seen : int
        Points of a first round's lists.
    patience : float
        The share of the candidates wanted that a round must add, or it is the last; with 0, every
        list is looked at. What was nearer than a row's limit counts as added, and limits follow
        only when candidates are cut, so that some of it is not among those wanted.
    at_once : int
        Points that are compared with all rows before the next are; a multiple of PANEL.
    products, nearer : ndarray
        Scratch; see `compare`.
    near, names, fill, limit
        See `Held`.
    wanted : int
        Candidates per row that are needed.

    Returns
    -------
    int
        Points that the rows were compared with.
    """
    n_lists, n_rows = U(len(nearest)), U(len(squares))
    n_points = U(starts[n_lists])
    done, seen, compared = U0, U0, U0
    goal = F(first_seen)
    while done < n_lists:
        reach = _reach(squares, scale, limit)
        if patience == F0 and F(seen) > F(NEAR) * F(n_points):
            goal = F(n_points)
        # In the order of memory, so that adjacent lists become one stretch.
        low, high = n_lists, U0
        while done < n_lists and F(seen) <= goal:
            one = U(nearest[done])
            seen += U(starts[one + U1] - starts[one])
            if least[one] <= reach:
                chosen[one] = True
                low, high = min(low, one), max(high, one + U1)
            done += U1
        added, begun, joined = U0, U0, False
        for each in range(low, high):
            if not chosen[each]:
                continue
            chosen[each] = False
            if not joined:
                begun = U(starts[each])
            joined = chosen[each + U1]
            if not joined:
                stop = U(starts[each + U1])
                compared += stop - begun
                # A panel that is in two stretches is compared twice.
                while begun < stop:
                    end = min(begun - begun % U(PANEL) + U(at_once), stop)
                    added += absorb(
                        tiles,
                        panels,
                        begun,
                        end,
                        number,
                        products,
                        nearer,
                        near,
                        names,
                        fill,
                        limit,
                        wanted,
                    )
                    begun = end
        if F(added) < F(patience) * F(n_rows) * F(wanted):
            break
        goal = F(GROWTH) * max(goal, F(seen))
    return compared


@finite_part
def _reach(squares: Any, scale: Any, limit: Any) -> Any:
    """Return the largest distance within which any of the rows may still find a neighbour."""
    most = F0
    for i in range(U(len(squares))):
        if limit[i] == FAR:
            return FAR
        most = max(most, squares[i] + scale * limit[i])
    return F(math.sqrt(most)) * F(ROUNDED)
