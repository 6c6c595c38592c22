"""Every benchmark there is, in the order of the report, and what keeps one from running here.

What a benchmark does is in the module of its name. They are run by ``__main__``, and their results
become a report in ``report``.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


def _nothing() -> str:
    return ""


def _no_gpu() -> str:
    from tsne_backends.gpu.hardware import gpu_verdict

    verdict = gpu_verdict()
    return "" if verdict.ok else verdict.reason


def _costs_money() -> str:
    return (
        "It rents a GPU and costs money, so it is started by hand: python -m benchmarks.modal_live."
    )


@dataclass(frozen=True)
class Benchmark:
    """One module of this package.

    Attributes
    ----------
    name : str
        Of the module, and of its files among the results.
    title : str
    measures : str
        What it compares, and in which figures.
    missing : callable
        Returns why it cannot run here, nothing where it can.
    """

    name: str
    title: str
    measures: str
    missing: Callable[[], str] = _nothing


BENCHMARKS = (
    Benchmark(
        "engine",
        "Our own engine and the others",
        "our own engine against openTSNE, scikit-learn and, where installed, scikit-learn-intelex "
        "and manifolds-rs: seconds, memory, KL divergence, neighbours kept, order of the distances "
        "between groups; five seeds up to 50,000 rows",
    ),
    Benchmark(
        "divergence",
        "How true the KL divergence is that our own engine tells",
        "what it tells against exact neighbours and, up to 50,000 rows, an exact normalisation, in "
        "per cent, for both schedules; no times",
    ),
    Benchmark(
        "cpu",
        "The backend `opentsne`",
        "our `opentsne` backend against openTSNE as it is and scikit-learn's TSNE: seconds, "
        "memory, KL divergence, neighbours kept",
    ),
    Benchmark(
        "roofline",
        "One iteration of our own engine",
        "milliseconds, bytes and operations of each phase, on one core",
    ),
    Benchmark(
        "neighbors",
        "Searching neighbours",
        "every kept search on every kind of data: seconds and recall",
    ),
    Benchmark(
        "sampling",
        "A map of a sample",
        "a map of half and of a tenth of all rows, the others placed on it, against the map of "
        "all: seconds, memory, KL divergence, neighbours kept",
    ),
    Benchmark(
        "transform",
        "Placing new rows",
        "as many new rows as were fitted: our kernels against openTSNE's transform, seconds and "
        "neighbours kept",
    ),
    Benchmark(
        "overhead",
        "What the estimator costs",
        "the estimator over its bare engine; importing it over `import sklearn.base`",
    ),
    Benchmark(
        "selection",
        "How well `auto` chooses",
        "regret in simulated worlds and on real runs; milliseconds of a plan",
    ),
    Benchmark(
        "codecs",
        "What is sent instead of X",
        "bytes, MB/s, foreseen and true loss of neighbours of every codec",
    ),
    Benchmark(
        "transfer",
        "The way to a rented GPU and back",
        "the real client over a throttled loopback, against sending float32: seconds, bytes, and "
        "memory of an upload. The engine's own time is left out",
    ),
    Benchmark(
        "plots",
        "Pictures",
        "seconds of a picture from 1,000 to 1,000,000 points, loading matplotlib included",
    ),
    Benchmark(
        "gpu_arithmetic",
        "The arithmetic of GPU engines, on the processor",
        "what cuML's grid and learning rates cost a map, and what our GPU kernels reach: KL "
        "divergence and neighbours kept, no times",
    ),
    Benchmark(
        "gpu",
        "A GPU of this machine",
        "the `cuml` backend: seconds by phase, memory, quality; our kernels against cuML's "
        "optimiser, searches against each other",
        _no_gpu,
    ),
    Benchmark(
        "modal_live",
        "A rented GPU",
        "the published table on a real Modal account; says first what it costs at most, and asks",
        _costs_money,
    ),
)
