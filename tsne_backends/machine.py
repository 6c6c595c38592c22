"""What is known of this machine: for now, how many cores the process may really use."""

from __future__ import annotations

import os

import joblib


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
    """
    cores = usable_cores()
    if n_jobs is None or n_jobs == 0:
        return cores
    return n_jobs if n_jobs > 0 else max(1, cores + 1 + n_jobs)
