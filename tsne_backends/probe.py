"""How fast this machine is: three small kernels, measured once in under a second and remembered.

The kernels stand for what t-SNE spends its time on, and need no engine: walking trees, gathering
neighbours, products of matrices. (A Fourier transform was tried: its time doubled or halved with
the state of the allocator.) `this_machine` is the door: facts and speeds in one.
"""

from __future__ import annotations

import logging
import math
import multiprocessing
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

import numpy as np

from tsne_backends import store
from tsne_backends.machine import Machine, Speeds, machine_id, memory_bytes, usable_cores

logger = logging.getLogger("tsne_backends")

#: Seconds of the kernels on one core of the machine on which ``cost`` was measured (an AMD EPYC,
#: Zen 4; medians of 12 quiet probes, which agreed within 1 %).
REFERENCE_TREE_SECONDS, REFERENCE_GATHER_SECONDS = 13.45e-3, 7.7e-3
REFERENCE_MATRIX_SECONDS = 8.35e-3

#: Each kernel runs this often; the quickest run is the one that other work disturbed least.
REPEATS = 5
#: A speed beyond these bounds is not a speed but a stopped clock or a damaged file.
PLAUSIBLE_SPEEDS = (0.01, 100.0)
#: A further thread adds at least this; less was measured beside other work, not on this machine.
LEAST_THREAD_EFFICIENCY = 0.25

FILE = "machines.json"
#: Changes where the kernels do, so that speeds measured by others are not believed.
PROBE_VERSION = 1

_known: dict[str, Speeds] = {}


def this_machine(*, probe: bool) -> Machine:
    """Return what is known of this machine's processor and memory.

    Parameters
    ----------
    probe : bool
        Whether to measure the speeds where they are not known yet, which takes under a second.
        Worker processes never do: their neighbours would disturb them.

    Returns
    -------
    Machine
        With the reference's speeds where they are not known.
    """
    key = machine_id()
    if key not in _known:
        speeds = _stored_speeds(key)
        if speeds is None and probe and multiprocessing.parent_process() is None:
            speeds = measure_and_store()
        if speeds is not None:
            _known[key] = speeds
    speeds = _known.get(key, Speeds())
    return Machine(cores=usable_cores(), memory_bytes=memory_bytes(), speeds=speeds)


def measure_and_store() -> Speeds:
    """Measure this machine and remember the result, in this process and in the cache folder."""
    began = time.perf_counter()
    speeds = measure(usable_cores())
    logger.info("Measured this machine in %.1f s.", time.perf_counter() - began)
    entry = {**asdict(speeds), "version": PROBE_VERSION, "measured_at": round(time.time())}
    store.update_json(FILE, {machine_id(): entry})
    _known[machine_id()] = speeds
    return speeds


def measure(cores: int) -> Speeds:
    """Run the kernels.

    Parameters
    ----------
    cores : int
        Threads to try at once.
    """
    from scipy.sparse import csr_matrix
    from scipy.spatial import cKDTree

    from tsne_backends.libraries import library_threads

    rng = np.random.default_rng(0)
    points = rng.normal(size=(3_000, 3))
    tree = cKDTree(points)
    rows, columns = np.repeat(np.arange(3_000), 90), rng.integers(0, 3_000, 3_000 * 90)
    affinities = csr_matrix((np.ones(len(rows)), (rows, columns)), shape=(3_000, 3_000))
    matrix = rng.normal(size=(768, 768)).astype(np.float32)

    def walk(workers: int) -> Any:
        return tree.query(points, 31, workers=workers)

    with library_threads(1):
        one = _quickest(lambda: walk(1))
        gathers = _quickest(lambda: [affinities @ points[:, :2] for _ in range(10)])
        products = _quickest(lambda: matrix @ matrix)
    efficiency = Speeds.thread_efficiency
    if cores > 1:
        efficiency = (one / _quickest(lambda: walk(cores)) - 1) / (cores - 1)
    low, high = PLAUSIBLE_SPEEDS
    core = math.sqrt(REFERENCE_TREE_SECONDS / one * REFERENCE_GATHER_SECONDS / gathers)
    return Speeds(
        core=min(high, max(low, core)),
        matrix=min(high, max(low, REFERENCE_MATRIX_SECONDS / products)),
        thread_efficiency=min(1.0, max(LEAST_THREAD_EFFICIENCY, efficiency)),
        measured=True,
    )


def _quickest(kernel: Callable[[], Any]) -> float:
    seconds = []
    for _ in range(REPEATS):
        start = time.perf_counter()
        kernel()
        seconds.append(time.perf_counter() - start)
    return max(min(seconds), 1e-9)  # a clock may stand still


def _stored_speeds(key: str) -> Speeds | None:
    """Return the speeds of an earlier probe; None where there was none or it makes no sense."""
    entry = store.read_json(FILE).get(key)
    if entry is None:
        return None
    low, high = PLAUSIBLE_SPEEDS
    try:
        if entry["version"] != PROBE_VERSION:
            return None
        core, matrix = float(entry["core"]), float(entry["matrix"])
        if not (low <= core <= high and low <= matrix <= high):
            raise ValueError(f"speeds of {core:g} and {matrix:g} are beyond belief")
        return Speeds(core, matrix, float(entry["thread_efficiency"]), measured=True)
    except (KeyError, TypeError, ValueError) as error:
        store.warn_once(f"The speeds in {store.folder() / FILE} make no sense ({error!r}).")
        return None
