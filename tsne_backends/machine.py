"""What is known of this machine without measuring: cores, memory, and how threads wait.

`Machine` also carries what ``probe`` measured and what ``runs`` remembers; the cost model reads it
and never looks at the machine itself.
"""

from __future__ import annotations

import hashlib
import importlib
import math
import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import cache
from pathlib import Path
from types import ModuleType

import joblib

#: What OpenMP threads do between two parallel loops. Where a runtime finds it unset it spins, which
#: is a little quicker on an idle machine and ruinous on a busy one: 1,797 digits beside another job
#: on 2 cores took 26.7 s spinning and 5.0 s waiting passively.
WAIT_POLICY = "OMP_WAIT_POLICY"


@dataclass(frozen=True)
class Link:
    """The way to a remote machine.

    The defaults are assumptions until real transfers were seen, and cautious ones: a home
    connection of 20 Mbit/s up and 100 down, 80 ms from the data centre.

    Attributes
    ----------
    round_trip_seconds : float
        Time of the smallest exchange.
    upload_bytes_per_second, download_bytes_per_second : float
        Rates of long transfers; infinity is legal, zero is not.
    measured : bool
        Whether the values come from transfers of this machine.
    """

    round_trip_seconds: float = 0.08
    upload_bytes_per_second: float = 2.5e6
    download_bytes_per_second: float = 12.5e6
    measured: bool = False

    def __post_init__(self) -> None:
        if not (math.isfinite(self.round_trip_seconds) and self.round_trip_seconds >= 0):
            raise ValueError(
                "The round trip to a remote machine must be a number of seconds, 0 or more; it "
                f"was {self.round_trip_seconds!r}."
            )
        for name in ("upload_bytes_per_second", "download_bytes_per_second"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be more than 0; it was {getattr(self, name)!r}.")


@dataclass(frozen=True)
class Speeds:
    """How fast a processor is, relative to the one the constants in ``cost`` were measured on.

    Attributes
    ----------
    core : float
        One core at irregular work: trees, gathers, small transforms.
    matrix : float
        One core at products of matrices.
    thread_efficiency : float
        What each further thread adds, as a share of the first; 0 to 1.
    measured : bool
        Whether this processor was measured, or is taken for the reference.
    """

    core: float = 1.0
    matrix: float = 1.0
    thread_efficiency: float = 0.85
    measured: bool = False

    def __post_init__(self) -> None:
        for name in ("core", "matrix"):
            value = getattr(self, name)
            if not (math.isfinite(value) and value > 0):
                raise ValueError(
                    f"A processor's speed must be finite and more than 0; {name} was {value!r}."
                )
        if not 0 <= self.thread_efficiency <= 1:
            raise ValueError(
                f"thread_efficiency must be from 0 to 1; it was {self.thread_efficiency!r}."
            )


@dataclass(frozen=True)
class Machine:
    """What the cost model needs to know of this machine.

    Attributes
    ----------
    cores : int
        Cores this process may use.
    memory_bytes : float
        Memory this process may use; infinity where the system does not say.
    speeds : Speeds
    link : Link
        The way to remote machines.
    seconds_since_call : mapping of str to float
        For each label of a remote backend (``"modal:L4"``): seconds since its last run ended.
    known_warm : mapping of str to bool
        For labels whose remote side was asked: whether a container waits.
    assume_warm : bool
        Whether to take every remote machine for warm, to see if asking is worth it.
    """

    cores: int = 1
    memory_bytes: float = math.inf
    speeds: Speeds = Speeds()
    link: Link = Link()
    seconds_since_call: Mapping[str, float] = field(default_factory=dict)
    known_warm: Mapping[str, bool] = field(default_factory=dict)
    assume_warm: bool = False

    def __post_init__(self) -> None:
        if self.cores < 1:
            raise ValueError(f"A machine has at least one core; cores was {self.cores!r}.")

    def as_reference(self) -> Machine:
        """Return this machine with the reference processor: what runs are compared with."""
        return replace(self, speeds=Speeds())

    def is_warm(self, label: str, idle_seconds: float) -> bool:
        """Say whether a remote machine is ready: what its side answered, else by the last call.

        Parameters
        ----------
        label : str
            Backend and variant.
        idle_seconds : float
            How long a container waits for the next call before it ends.
        """
        if self.assume_warm or label in self.known_warm:
            return self.assume_warm or self.known_warm[label]
        # Negative where the clock was set back, which tells nothing.
        return 0 <= self.seconds_since_call.get(label, -1.0) < idle_seconds

    def parallel(self, n_threads: int) -> float:
        """Return how many times faster several threads are than one.

        Parameters
        ----------
        n_threads : int
            Threads; those beyond the cores of this machine add nothing.

        Returns
        -------
        float
            At least 1.
        """
        useful = max(1, min(n_threads, self.cores))
        return 1.0 + (useful - 1) * self.speeds.thread_efficiency


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


def memory_bytes() -> float:
    """Return the bytes of memory this process may use: the machine's, or its container's limit."""
    import psutil

    limits = [float(psutil.virtual_memory().total)]
    for path in ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes"):
        try:
            limits.append(float(Path(path).read_text(encoding="ascii")))
        except (OSError, ValueError):  # no container, or "max"
            continue
    return min(limit for limit in limits if limit > 0)


def processor_name() -> str:
    """Return the processor's name as its maker gives it, or the architecture."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError):
        return platform.processor() or platform.machine()
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


@cache
def machine_id() -> str:
    """Return 12 characters that equal machines share: processor, number of cores, memory, system.

    No name of the host goes in: equal nodes of a cluster, and the containers that come and go on
    one server, can then learn from each other's runs.
    """
    import psutil

    gib = round(psutil.virtual_memory().total / 2**30)
    facts = f"{processor_name()}|{os.cpu_count()}|{gib}|{platform.system()}|{platform.machine()}"
    return hashlib.sha256(facts.encode()).hexdigest()[:12]
