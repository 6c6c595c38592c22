"""Whether the kernels are compiled, and compiling them.

The kernels themselves are in the other files, made by ``jit``; what compiling is expected to take
is in `tsne_backends.cost_native`.
"""

from __future__ import annotations

import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

#: A kernel of every module of which `warm_up` compiles some; of the last that it comes to, the
#: last.
_WITNESSES = (
    "lists._nearest",
    "rounds.look_around",
    "candidates.finish",
    "perplexity._calibrate",
    "affinities._symmetrise",
    "layout._in_order",
    "order._keys",
    "exact._repel",
    "attraction.move",
    "crew._perform",
    "levels.gather",
    "spreading.read",
)


def is_compiled() -> bool:
    """Say whether kernels compiled by this version of Python lie on disk, without loading numba.

    Returns
    -------
    bool
        False, too, where any of them was compiled from an older source.
    """
    here = Path(__file__).parent
    folders = _cache_folders(here)
    return all(_lies_in(folders, here, witness) for witness in _WITNESSES)


def _lies_in(folders: list[tuple[Path, str]], here: Path, witness: str) -> bool:
    """Say whether a kernel lies in one of the folders, compiled from its source as it is now."""
    source = (here / f"{witness.partition('.')[0]}.py").stat().st_mtime
    pattern = f"{witness}-*.py{sys.version_info.major}{sys.version_info.minor}*.nbi"
    for folder, depth in folders:
        try:
            found = [path.stat().st_mtime for path in folder.glob(depth + pattern)]
        except OSError:  # no such folder, or none of ours
            continue
        if any(compiled >= source for compiled in found):
            return True
    return False


def is_loaded() -> bool:
    """Say whether this process has the kernels already, so that a run has nothing to wait for."""
    return warm_up.cache_info().currsize > 0


def _cache_folders(here: Path) -> list[tuple[Path, str]]:
    """Return where numba keeps what it compiled, and how deep: by choice, beside the source, or
    in the user's cache folder where the source cannot be written to.
    """
    chosen = os.environ.get("NUMBA_CACHE_DIR")
    if chosen:
        return [(Path(chosen), "*/")]
    import platformdirs

    return [(here / "__pycache__", ""), (Path(platformdirs.user_cache_dir("numba")), "*/")]


@cache
def warm_up() -> None:
    """Compile what every fit needs, or load it from disk, by runs of every kind on few points."""
    import numpy as np

    from tsne_backends.native.affinities import make_affinities
    from tsne_backends.native.engine import GO_ON, SORT_AT, Engine
    from tsne_backends.native.schedule import Stage
    from tsne_backends.native.search import find_neighbors
    from tsne_backends.native.threads import Team

    X = np.random.RandomState(0).standard_normal((300, 3)).astype(np.float32)
    with _without_collecting(), Team(1) as team:
        neighbors = find_neighbors(X, 6, team)
        assert neighbors is not None
        affinities = make_affinities(neighbors.indices, neighbors.squared, 2.0, team)
        # Until points are sorted anew.
        stage = Stage("main", SORT_AT[0] + 1, 1.0, 50.0, 0.5)
        for exact in (True, False):
            # So wide that its grid has coarser ones.
            engine = Engine(affinities, 10 * X[:, :2], team, exact)
            engine.run([stage], lambda _: None, lambda _: GO_ON)


@contextmanager
def _without_collecting() -> Iterator[None]:
    """Let no garbage be collected meanwhile, in any thread.

    Compiling makes so many objects that looking for garbage among them, of which there is little,
    takes a twelfth of the time. Without it 56 MB more are in use until it is done again.
    """
    collecting = gc.isenabled()
    try:
        gc.disable()
        yield
    finally:
        if collecting:
            gc.enable()


def warm_up_many() -> None:
    """Compile what many rows need besides: comparing them in whole numbers, where the processor
    does that, and looking again for some.
    """
    import numpy as np

    from tsne_backends.native.codes import coded, step_of
    from tsne_backends.native.features import as_they_are
    from tsne_backends.native.graph import rows_that_missed
    from tsne_backends.native.lists import make_lists
    from tsne_backends.native.scan import Grouped, scan
    from tsne_backends.native.simd import pairs_at_once
    from tsne_backends.native.threads import Team

    rng = np.random.RandomState(0)
    X = rng.standard_normal((300, 3)).astype(np.float32)
    with _without_collecting(), Team(1) as team:
        lists = make_lists(X, team, rng)
        rows = as_they_are(X[lists.places])
        points = Grouped(rows, rows, lists)
        if pairs_at_once():
            codes = coded(rows, rows, step_of(rows.squares(team)), team)
            points = Grouped(rows, codes, lists)
        indices, squared, _ = scan(points, points, points.panels(team), 3, 4, 0.1, team)
        rows_that_missed(indices, squared, np.arange(300), team)


def warm_up_placing() -> None:
    """Compile what places new rows on a map; a fit does not need it."""
    import numpy as np

    from tsne_backends.native.placing import settle
    from tsne_backends.native.search import find_nearest
    from tsne_backends.native.threads import Team

    X = np.random.RandomState(0).standard_normal((300, 3)).astype(np.float32)
    with _without_collecting(), Team(1) as team:
        find_nearest(X, X[:2], 3, team)
        settle(
            X[:, :2].copy(),
            X[:2, :2].copy(),
            np.zeros((2, 1), dtype=np.int64),
            np.ones((2, 1), dtype=np.float32),
            team,
            n_iter=1,
            exaggeration=1.0,
            learning_rate=0.1,
            momentum=0.8,
            max_gradient=0.25,
        )
