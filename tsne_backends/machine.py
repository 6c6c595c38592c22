"""What is known of this machine: for now its cores, and how its threads should wait."""

from __future__ import annotations

import importlib
import os
from types import ModuleType

import joblib

#: What OpenMP threads do between two parallel loops. Where a runtime finds it unset it spins, which
#: is a little quicker on an idle machine and ruinous on a busy one: 1,797 digits beside another job
#: on 2 cores took 26.7 s spinning and 5.0 s waiting passively.
WAIT_POLICY = "OMP_WAIT_POLICY"


def usable_cores() -> int:
    """Return the number of cores this process may use, at least 1.

    Respects CPU affinity and container limits (through joblib), and ``OMP_NUM_THREADS``, which
    joblib's worker processes set to keep nested parallelism from oversubscribing the machine.
    """
    cores = max(1, int(joblib.cpu_count()))
    limit = os.environ.get("OMP_NUM_THREADS", "").strip()
    return min(cores, int(limit)) if limit.isdigit() and int(limit) > 0 else cores


def thread_count(n_jobs: int | None) -> int:
    """Turn scikit-learn's ``n_jobs`` into a number of threads, at least 1.

    Parameters
    ----------
    n_jobs : int or None
        ``None`` means every usable core: scikit-learn's own t-SNE gradient does the same.
        ``-1`` is all cores, ``-2`` all but one, and so on.

    Returns
    -------
    int
        Threads to use; never more than the usable cores unless asked for by a positive number.

    Raises
    ------
    ValueError
        ``n_jobs`` is 0.
    """
    cores = usable_cores()
    if n_jobs == 0:
        raise ValueError("n_jobs=0 means no thread at all; pass None or -1 for every core.")
    if n_jobs is None:
        return cores
    return n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)


def import_with_passive_threads(name: str) -> ModuleType:
    """Import a module whose OpenMP runtime is its own, and keep its idle threads from spinning.

    The runtime reads the environment when it is loaded, so the setting lasts for it alone; the
    environment is left as it was, and a policy the user has set is respected.

    Parameters
    ----------
    name : str
        The module; nothing but the import happens where it is loaded already.
    """
    if WAIT_POLICY in os.environ:
        return importlib.import_module(name)
    os.environ[WAIT_POLICY] = "passive"
    try:
        return importlib.import_module(name)
    finally:
        os.environ.pop(WAIT_POLICY, None)  # another thread may have been here first
