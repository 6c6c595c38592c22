"""The cost model of GPUs and of rented machines: seconds, bytes and dollars, as pure functions.

A remote run has five parts, each with its own growth: the container's start, the upload of X, the
neighbours graph, the optimisation, and the download of the map.

Source of the GPU constants: the published timings (V. Svensson, Serverless GPUs for fast TSNE
visualization, https://www.nxn.se/p/serverless-gpus-for-fast-tsne-visualization) of cuML's FFT t-SNE
on a Modal T4 with a warm container (10 features, float32, perplexity 30, 1,000 iterations; 50,000
to 1,058,909 rows), which with N in 100,000 rows are 3.10 + 3.18 N + 0.829 N² seconds to 1.2 %. We
read the quadratic term as cuML's brute-force neighbours, take away a transfer at 100 Mbit/s from
the linear one, and give the rest to the iterations.

Our own kernels were measured on an H200 (``benchmarks/results/gpu.md``): 1,000 iterations took 0.35
s and 1.75 microseconds a row. By memory bandwidth that is 0.94 of the published time per row on a
T4, whose constant is kept. The published time per iteration is seven times the measured one; what
more a rented machine takes is kept for rented machines, because none of ours was measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from types import MappingProxyType

from tsne_backends.answers import Estimate
from tsne_backends.machine import Link
from tsne_backends.problem import Problem


@dataclass(frozen=True)
class Gpu:
    """What the model needs to know of a kind of GPU.

    Attributes
    ----------
    name : str
        As Modal names it.
    memory_bytes : float
    flops_per_second : float
        float32, dense, without tensor cores.
    bytes_per_second : float
        Memory bandwidth.
    usd_per_hour : float
        Modal's list price; see `PRICES_OF`.
    """

    name: str
    memory_bytes: float
    flops_per_second: float
    bytes_per_second: float
    usd_per_hour: float


#: When the prices below were read.
PRICES_OF = "May 2026"

#: Speeds and memory from NVIDIA's data sheets (A100 and H100 in their SXM form).
GPUS = MappingProxyType(
    {
        gpu.name: gpu
        for gpu in (
            Gpu("T4", 16e9, 8.1e12, 320e9, 0.590),
            Gpu("L4", 24e9, 30.3e12, 300e9, 0.799),
            Gpu("L40S", 48e9, 91.6e12, 864e9, 1.951),
            Gpu("A100-80GB", 80e9, 19.5e12, 2039e9, 2.498),
            Gpu("H100", 80e9, 67e12, 3350e9, 3.949),
        )
    }
)
_T4 = GPUS["T4"]
#: Kinds that are not on offer there but stand under desks and in racks; the same source.
OTHER_GPUS = (
    Gpu("B200", 180e9, 75e12, 8000e9, 0.0),
    Gpu("H200", 141e9, 67e12, 4800e9, 0.0),
    Gpu("GH200", 96e9, 67e12, 4000e9, 0.0),
    Gpu("V100", 16e9, 15.7e12, 900e9, 0.0),
    Gpu("A10", 24e9, 31.2e12, 600e9, 0.0),
    Gpu("A10G", 24e9, 35e12, 600e9, 0.0),
    Gpu("RTX 6000 ADA", 48e9, 91.1e12, 960e9, 0.0),
    Gpu("RTX A6000", 48e9, 38.7e12, 768e9, 0.0),
    Gpu("RTX 5090", 32e9, 104.8e12, 1792e9, 0.0),
    Gpu("RTX 4090", 24e9, 82.6e12, 1008e9, 0.0),
    Gpu("RTX 3090", 24e9, 35.6e12, 936e9, 0.0),
)

#: A container's start on top of a warm call: published as 10 to 15 s.
COLD_START_SECONDS = 12.5
#: A call of a warm container takes this and two round trips.
WARM_CALL_SECONDS = 0.3
#: A container stays warm this long after a call, and is paid for; the published figure.
IDLE_SECONDS = 300.0

#: Brute-force neighbours on a T4, per pair of rows: selecting the nearest, bound by memory; the
#: products run at half the data sheet's speed, 2 operations per feature.
GPU_PAIR_SECONDS, GPU_FLOPS_SHARE = 7.8e-11, 0.5
#: Search by cells (`tsne_backends.gpu.searches`): pairs of one row as a multiple of the root of n,
#: and seconds to launch the work on each of as many cells: beside an H200, of 10 features 1 to 2.2
#: ms, of 768 features 3 ms.
GPU_PROBES, GPU_CELL_SECONDS = 17, 1.5e-3
#: One iteration: launching kernels, on any GPU alike, as measured beside an H200, and per row, on a
#: T4, bound by memory.
GPU_ITERATION_SECONDS, GPU_ROW_SECONDS = 3.5e-4, 2.8e-8
#: What more an iteration takes on a rented machine, by the published timings.
RENTED_ITERATION_SECONDS = 2.2e-3
#: Share of the work per row that grows with the number of neighbours.
GPU_NEIGHBOUR_SHARE = 0.5
#: Metrics whose neighbours are those of Euclidean points made of X: all GPU searches take them.
GPU_EUCLIDEAN_METRICS = ("euclidean", "l2", "cosine", "correlation")
#: Most neighbours of a row: cuML takes 1,023, the row itself among them.
GPU_MAX_NEIGHBORS = 1_022
#: Bytes on the GPU per neighbour, where our kernels run all iterations and where cuML runs some;
#: and for CUDA's context, the libraries' code, grids, and temporary matrices, which are cut to
#: size. On an H200, 50,000 to 1,058,909 rows of 10 features took up to 0.9 of what these come to,
#: the context not counted.
GPU_ENTRY_BYTES, GPU_ENTRY_BYTES_CUML = 80.0, 125.0
GPU_FIXED_BYTES = 1.5e9
#: Loading the GPU libraries in a fresh process; measured beside an H200, as is the next.
LOAD_SECONDS = 2.0
#: What the first map of a machine takes longer: kernels are compiled, ours and CuPy's, and CuPy
#: keeps them for later processes.
COMPILE_SECONDS = 25.0

#: Share of a GPU's memory that a run may take; the rest is the engine's and the driver's.
USABLE_MEMORY = 0.9

#: A map is sent back as float32.
MAP_ENTRY_BYTES = 4


def kind_of(name: str) -> Gpu:
    """Return the kind of GPU that a driver's name belongs to; the slowest where none is known."""
    words = name.upper().replace("-", " ").split()
    for gpu in (*OTHER_GPUS, *GPUS.values()):
        if set(gpu.name.partition("-")[0].split()) <= set(words):
            return gpu
    return _T4


def gpu_search_seconds(search: str, problem: Problem, gpu: Gpu) -> float:
    """Return the seconds of one neighbour search on one GPU.

    Parameters
    ----------
    search : {"brute", "cells"}
        All pairs compared, or those of near cells.
    problem : Problem
    gpu : Gpu
    """
    selection = GPU_PAIR_SECONDS * _T4.bytes_per_second / gpu.bytes_per_second
    products = 2 * problem.n_features / (GPU_FLOPS_SHARE * gpu.flops_per_second)
    n = float(problem.n_samples)
    if search == "brute":
        return n**2 * (selection + products)
    return math.sqrt(n) * (GPU_CELL_SECONDS + GPU_PROBES * n * (selection + products))


def gpu_searches_for(problem: Problem) -> tuple[str, ...]:
    """Return the searches that serve a problem, of those that `gpu_search_seconds` knows.

    All pairs are compared in metrics and for sparse rows that no other search takes, and where
    ``neighbors="exact"`` is asked for.
    """
    euclidean = problem.metric in GPU_EUCLIDEAN_METRICS
    if problem.is_sparse or not euclidean or problem.options.get("neighbors") == "exact":
        return ("brute",)
    return ("brute", "cells")


def quicker_gpu_search(problem: Problem, gpu: Gpu) -> str:
    """Return the search that is quickest on one GPU."""
    return min(
        gpu_searches_for(problem), key=lambda search: gpu_search_seconds(search, problem, gpu)
    )


def gpu_neighbours_seconds(problem: Problem, gpu: Gpu) -> float:
    """Return the seconds of the neighbour search on one GPU."""
    return gpu_search_seconds(quicker_gpu_search(problem, gpu), problem, gpu)


def gpu_optimise_seconds(problem: Problem, gpu: Gpu) -> float:
    """Return the seconds of affinities and iterations on one GPU."""
    share = 1 - GPU_NEIGHBOUR_SHARE + GPU_NEIGHBOUR_SHARE * problem.n_neighbors / 90
    rows = GPU_ROW_SECONDS * problem.n_samples * share
    rows *= _T4.bytes_per_second / gpu.bytes_per_second
    return problem.iterations * (GPU_ITERATION_SECONDS + rows)


def gpu_bytes(problem: Problem) -> float:
    """Return the peak memory of a run on one GPU: X and its copy in single precision, the graph."""
    ours = problem.options.get("refine", "all") == "all"
    entry = GPU_ENTRY_BYTES if ours else GPU_ENTRY_BYTES_CUML
    entries = float(problem.n_samples) * min(problem.n_neighbors, GPU_MAX_NEIGHBORS)
    given = 8.0 if problem.dtype == "float64" else 4.0
    data = (given + 4.0) * problem.n_samples * problem.n_features
    return (
        GPU_FIXED_BYTES + (2.0 * problem.n_bytes if problem.is_sparse else data) + entry * entries
    )


def upload_seconds(n_bytes: float, link: Link) -> float:
    """Return the seconds to send ``n_bytes``."""
    return link.round_trip_seconds + n_bytes / link.upload_bytes_per_second


def download_seconds(problem: Problem, link: Link) -> float:
    """Return the seconds to fetch the map."""
    n_bytes = MAP_ENTRY_BYTES * problem.n_samples * problem.n_components
    return link.round_trip_seconds + n_bytes / link.download_bytes_per_second


def remote_estimate(
    problem: Problem,
    gpu: Gpu,
    link: Link,
    *,
    warm: bool,
    upload_bytes: float | None = None,
    encode_seconds: float = 0.0,
) -> Estimate:
    """Return what one run on a rented GPU takes and costs.

    Parameters
    ----------
    problem : Problem
    gpu : Gpu
    link : Link
    warm : bool
        Whether a container waits already.
    upload_bytes : float, optional
        Bytes that are sent; X as it lies in memory where not given.
    encode_seconds : float, default=0
        Seconds to make these bytes of X.

    Returns
    -------
    Estimate
        ``start`` is encoding and what is left to wait when X has arrived, because the container
        starts meanwhile: together with ``upload``, the longer of the two. ``usd`` is for the
        container's time from its start to the end of the run, and ``idle_usd`` for the time it
        then waits for another.
    """
    call = WARM_CALL_SECONDS + 2 * link.round_trip_seconds
    boot = 0.0 if warm else COLD_START_SECONDS
    upload = upload_seconds(problem.n_bytes if upload_bytes is None else upload_bytes, link)
    wait = max(0.0, boot - encode_seconds - upload)
    neighbours = gpu_neighbours_seconds(problem, gpu)
    optimise = gpu_optimise_seconds(problem, gpu)
    optimise += problem.iterations * RENTED_ITERATION_SECONDS
    download = download_seconds(problem, link)
    usd_per_second = gpu.usd_per_hour / 3600
    return Estimate(
        start=call + encode_seconds + wait,
        upload=upload,
        neighbours=neighbours,
        optimise=optimise,
        download=download,
        usd=usd_per_second * (encode_seconds + wait + upload + neighbours + optimise + download),
        idle_usd=usd_per_second * IDLE_SECONDS,
        memory_bytes=gpu_bytes(problem),
    )
