"""Where one iteration of the native engine spends its time, beside what it must move and compute.

The roofs are what one core does at best: copying memory, and multiplying matrices. Run
``python -m benchmarks.roofline``; one thread, so that phases can be compared with one core.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np

from benchmarks import data, harness
from benchmarks.tables import Results, markdown
from tsne_backends.native.affinities import make_affinities
from tsne_backends.native.attraction import PULLED_POINTS, REPORTS, move, pull
from tsne_backends.native.calls import Call
from tsne_backends.native.candidates import absorb, nothing_held
from tsne_backends.native.codes import coded, step_of
from tsne_backends.native.crew import Work
from tsne_backends.native.engine import GO_ON, Engine
from tsne_backends.native.jit import F, as_points
from tsne_backends.native.layout import lay_out
from tsne_backends.native.order import hilbert_order
from tsne_backends.native.products import panels_of, points_at_once, room_for_products, tiles_of
from tsne_backends.native.repulsion import GridRepulsion, tile_size
from tsne_backends.native.schedule import PLAIN_SPACING, Stage
from tsne_backends.native.search import find_neighbors
from tsne_backends.native.simd import pairs_at_once
from tsne_backends.native.splitting import RADIUS
from tsne_backends.native.threads import Team

REPEATS = 15
#: Features of rows that are compared.
WIDTHS = (3, 10, 20, 80, 192, 768)


def main() -> None:
    """Print one table per size."""
    parser = harness.parser(__doc__, sizes=[10_000, 50_000], data=["mixture10"])
    options = harness.parsed(parser, sizes=[10_000])
    # Always anew: a line is a second's work.
    results = Results("roofline", options.out, quick=options.quick, fresh=True)
    for name in options.data:
        for n in options.sizes:
            for line in measure(name, n):
                results.add({"data": name, "n": n, **line})
    for line in (*comparisons(), *roofs()):
        results.add({"data": "", "n": "", **line})
    results.finish(markdown(results.rows))


def measure(name: str, n: int) -> list[dict[str, Any]]:
    """Time each phase on a map as it is in the middle of a run."""
    X = data.load(name, n)
    with Team(1) as team:
        found = find_neighbors(X, 90, team)
        if found is None:
            raise SystemExit(f"{name} at {n:,} rows needs another search; choose other data.")
        affinities = make_affinities(found.indices, found.squared, 30.0, team)
        start = 1e-4 * np.random.RandomState(0).standard_normal((n, 2))
        engine = Engine(affinities, start, team)
        rate = max(n / 48, 50.0)
        stages = [Stage("early", 250, 12.0, rate, 0.5), Stage("main", 250, 1.0, 12 * rate, 0.8)]
        Y = engine.run(stages, lambda _: None, lambda _: GO_ON).positions
        order = hilbert_order(Y)
        Y = np.ascontiguousarray(Y[order])
        rows = lay_out(affinities, order)
        forces, Z = np.empty_like(Y), np.empty(1)
        corners = Y.min(axis=0).astype(np.float64), Y.max(axis=0).astype(np.float64)
        tile = tile_size(n)
        n_tiles = -(-n // tile)
        sparse = (rows.starts, rows.words, rows.steps, rows.bits)
        pulls, update, gains = np.empty_like(Y), np.zeros_like(Y), np.ones_like(Y)
        attraction = Call(pull, -(-n // PULLED_POINTS), as_points(Y), *sparse, pulls)
        rates = np.array([1, 1e-6, 0.5], dtype=np.float32)  # at these, points stay where they are
        state = (rates, False, update, gains, np.empty((n_tiles, REPORTS)))
        step = Call(move, n_tiles, tile, Y, pulls, forces, Z, *state)
        grid = GridRepulsion(n)
        grid.lay(*corners, PLAIN_SPACING)
        repulsion = grid.work(Y, forces, Z)
        moving = Work((attraction, step), lambda: None, ())
        still = Stage("still", 1, 1.0, 1e-6, 0.5)
        push, pulling, convolve, whole = _seconds(
            lambda: team.do(repulsion),
            lambda: team.do(moving),
            lambda: team.do(grid.convolution.work),
            lambda: engine._iterate(still, PLAIN_SPACING),
        )
    assert grid.grid is not None
    nnz = np.count_nonzero(rows.words & np.uint32(2**rows.bits - 1))
    a, b = grid.grid.shape
    # A node's sum over near ones, by what `vectors.sum_rows` and `levels.gather` do for it; coarser
    # grids have a third as many nodes as the finest. Charge read, potential written twice.
    moved = 12 * nnz + 72 * n
    side, nodes = RADIUS + 1, a * b * 4 / 3
    operations = nodes * (2 * side**2 + RADIUS + 2 * side)
    return [
        _line("attraction and step", pulling, moved, 9 * nnz, f"{nnz / n:.0f} affinities"),
        _line("grids", convolve, 16 * nodes, operations, f"{a} × {b} nodes"),
        _line("spreading and reading", push - convolve, 2 * 64 * n + 40 * n, 230 * n, "16 nodes"),
        _line("all else", whole - push - pulling, None, None, f"{1e3 * whole:.2f} ms in all"),
    ]


def comparisons() -> list[dict[str, Any]]:
    """Time the search comparing rows with points that are not near, which is most of its work."""
    lines = []
    for width in WIDTHS:
        rows, points = np.random.RandomState(0).standard_normal((2, 1_020, width)).astype(F)
        held = nothing_held(len(rows), 1)
        held.forget(0)  # nothing is below any limit
        buffers = (*room_for_products(), *held)
        with Team(1) as team:
            ways = {"comparing": (tiles_of(rows), panels_of(points, points, team))}
            if pairs_at_once():
                step = step_of(np.einsum("ij,ij->i", rows, rows))
                codes = coded(rows, rows, step, team)
                others = coded(points, points, codes.step, team)
                ways["comparing codes"] = codes.tiles(0, len(rows)), others.panels
        works = [partial(_compare, *given, len(points), buffers) for given in ways.values()]
        # A product begins with a square, so that each feature is one multiplication and one sum.
        operations = 2 * width * len(rows) * len(points)
        for way, seconds in zip(ways, _seconds(*works), strict=True):
            lines.append(_line(way, seconds, None, operations, f"{width} features"))
    return lines


def _compare(tiles: Any, panels: Any, n: int, buffers: Sequence[Any]) -> None:
    """Compare rows with n points as the search does, in parts that stay in the cache."""
    at_once = points_at_once(panels.shape[1] - 1)
    for start in range(0, n, at_once):
        absorb(tiles, panels, start, min(start + at_once, n), 0, *buffers, 1)


def roofs() -> list[dict[str, Any]]:
    """Return what one core does at best: bytes copied, and operations in a product of matrices."""
    source = np.ones(2**25, dtype=np.float32)
    target = np.empty_like(source)
    square = np.ones((1500, 1500), dtype=np.float32)
    product = np.empty_like(square)
    with Team(1):
        copying, multiplying = _seconds(
            lambda: np.copyto(target, source), lambda: np.matmul(square, square, out=product)
        )
    return [
        _line("roof: copying", copying, 2 * source.nbytes, None, "128 MB"),
        _line("roof: a matrix product", multiplying, None, 2 * 1500**3, "1,500 × 1,500"),
    ]


def _seconds(*works: Callable[[], Any]) -> list[float]:
    """Return the median seconds of each; a slow spell hits all, because they take turns."""
    times: list[list[float]] = [[] for _ in works]
    for repeat in range(REPEATS + 1):
        for taken, work in zip(times, works, strict=True):
            start = time.perf_counter()
            work()
            if repeat:  # the first is for the caches
                taken.append(time.perf_counter() - start)
    return [statistics.median(taken) for taken in times]


def _line(
    phase: str, seconds: float, moved: float | None, operations: float | None, of: str
) -> dict[str, Any]:
    def rate(amount: float | None) -> str:
        return "" if amount is None else f"{amount / seconds / 1e9:.1f}"

    return {
        "phase": phase,
        "of": of,
        "ms": f"{1e3 * seconds:.2f}",
        "GB/s": rate(moved),
        "billion operations/s": rate(operations),
    }


if __name__ == "__main__":
    main()
