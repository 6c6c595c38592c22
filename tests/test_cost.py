"""The cost model: published timings, growth, continuity, and numbers beyond all reason."""

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.data import load
from benchmarks.published import MODAL_T4, OPENTSNE_12_CORES
from benchmarks.tables import RESULTS, read_rows
from tsne_backends import cost, cost_native, transfer
from tsne_backends.backends.native import NativeBackend
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.backends.sklearn import SklearnBackend
from tsne_backends.machine import Link, Machine, Speeds
from tsne_backends.native import exact
from tsne_backends.problem import Problem

#: The one machine of the published column whose speed nobody told: fitted to it.
M4_PRO = Machine(cores=12, speeds=Speeds(core=0.732, matrix=0.732, thread_efficiency=0.676))
ENGINES = {
    "native": NativeBackend(),
    "opentsne": OpenTSNEBackend(),
    "sklearn": SklearnBackend(),
}


def published_problem(n, **changes):
    # A learning rate of 200 in openTSNE's and cuML's units is 50 in scikit-learn's.
    return Problem(n, 10, n_bytes=40 * n, learning_rate=50.0, n_threads=12, **changes)


@pytest.mark.parametrize(("n", "seconds"), MODAL_T4.items())
def test_published_remote_timings(n, seconds):
    link = Link(0.05, 100e6 / 8, 100e6 / 8)
    problem = published_problem(n, options={"neighbors": "exact"})  # as cuML had it then
    estimate = transfer.remote_estimate(problem, transfer.GPUS["T4"], link, warm=True)
    assert estimate.total == pytest.approx(seconds, rel=0.05)


@pytest.mark.parametrize(("n", "seconds"), OPENTSNE_12_CORES.items())
def test_published_local_timings(n, seconds):
    problem = published_problem(n, method="fft", repeatable=False)
    assert ENGINES["opentsne"].estimate(problem, M4_PRO).total == pytest.approx(seconds, rel=0.05)


FOUR_CORES = Machine(cores=4)


def every_estimate(problem, machine=FOUR_CORES):
    yield ENGINES["native"].estimate(problem, machine)
    yield ENGINES["opentsne"].estimate(problem, machine)
    yield ENGINES["sklearn"].estimate(problem, machine)
    yield ENGINES["sklearn"].estimate(replace(problem, method="exact"), machine)
    for gpu in transfer.GPUS.values():
        yield transfer.remote_estimate(problem, gpu, machine.link, warm=False)


def sized(n, d, max_iter=1000, **changes):
    return Problem(n, d, n_bytes=4 * n * d, max_iter=max_iter, n_threads=4, **changes)


def parts(estimate):
    """Seconds by part; a container starts during the upload, so these two count together."""
    found = estimate.parts()
    return {**found, "start": found["start"] + found.pop("upload")}


ROWS, FEATURES = st.integers(2, 10_000_000), st.integers(1, 10_000)


@settings(max_examples=200, deadline=None)
@given(n=ROWS, d=FEATURES, more=st.floats(1, 10), which=st.sampled_from(["n", "d", "max_iter"]))
def test_more_never_takes_less(n, d, more, which):
    size = {"n": n, "d": d, "max_iter": 1000}
    larger = {**size, which: math.ceil(size[which] * more)}
    for small, large in zip(
        every_estimate(sized(**size)), every_estimate(sized(**larger)), strict=True
    ):
        for part, seconds in parts(small).items():
            assert seconds <= parts(large)[part] * (1 + 1e-9), part
        assert small.memory_bytes <= large.memory_bytes * (1 + 1e-9)


@settings(max_examples=200, deadline=None)
@given(
    n=ROWS,
    d=FEATURES,
    efficiency=st.floats(0, 1),
    threads=st.sampled_from([1, 2, 16, 64]),
    method=st.sampled_from(["auto", "barnes_hut", "fft"]),
)
def test_no_cliff_between_formulas(n, d, efficiency, threads, method):
    """A thousandth more rows never costs more than half a percent more: no power beyond two."""
    machine = Machine(cores=64, speeds=Speeds(matrix=2.0, thread_efficiency=efficiency))
    n = max(n, 2_000)
    for repeatable in (True, False):
        before, after = (
            ENGINES["opentsne"].estimate(
                Problem(rows, d, n_threads=threads, method=method, repeatable=repeatable), machine
            )
            for rows in (n, n + n // 1_000)
        )
        for part, seconds in before.parts().items():
            assert after.parts()[part] <= seconds * 1.005 + 1e-6


def test_the_choice_of_search_has_no_cliff_over_features():
    seconds = [
        ENGINES["opentsne"].estimate(sized(200_000, d), Machine()).neighbours for d in range(1, 200)
    ]
    assert max(np.divide(seconds[1:], seconds[:-1])) < 1.5


@pytest.mark.parametrize("n", [1, 2, 10_000_000, 10**9])
@pytest.mark.parametrize("d", [1, 10_000])
@pytest.mark.parametrize("angle", [0.0, 1.0])
def test_finite_beyond_all_data(n, d, angle):
    for estimate in every_estimate(sized(n, d, angle=angle)):
        assert all(math.isfinite(value) and value >= 0 for value in vars(estimate).values())


def test_beyond_the_data_the_largest_power_rules():
    """At 10 million rows brute force is quadratic; cells, our graph and our grid are not."""
    small, large = sized(10_000_000, 50), sized(20_000_000, 50)
    t4 = transfer.GPUS["T4"]

    def growth(**options):
        few, many = replace(small, options=options), replace(large, options=options)
        return transfer.gpu_neighbours_seconds(many, t4) / transfer.gpu_neighbours_seconds(few, t4)

    assert growth(neighbors="exact") == pytest.approx(4, rel=0.01)
    assert growth() == pytest.approx(2**1.5, rel=0.06)  # less the launches
    one, two = (ENGINES["opentsne"].estimate(problem, Machine()) for problem in (small, large))
    assert 1.9 < two.optimise / one.optimise < 2.3
    assert 2 <= two.neighbours / one.neighbours < 3


def test_features_cost_what_products_cost():
    """10,000 features on an H100: bound by arithmetic, 2 operations a pair at half its peak."""
    wide = sized(100_000, 10_000, options={"neighbors": "exact"})
    seconds = transfer.gpu_neighbours_seconds(wide, transfer.GPUS["H100"])
    assert seconds == pytest.approx(1e10 * 2 * 10_000 / (0.5 * 67e12), rel=0.02)


def test_threads_and_speed_help_as_far_as_they_are_there():
    problem = replace(sized(50_000, 50), n_threads=8)

    def total(cores, core=1.0):
        speeds = Speeds(core=core, matrix=core, thread_efficiency=0.5)
        return ENGINES["opentsne"].estimate(problem, Machine(cores=cores, speeds=speeds)).total

    assert total(1) > total(2) > total(8) == total(64)
    assert total(1, core=2.0) == pytest.approx(total(1) / 2, rel=0.01)


def test_the_fast_schedule_costs_what_its_own_iterations_do():
    """250 early iterations and 300 wide ones, of which the plain schedule has 750."""
    plain, fast = (sized(2_000_000, 10, max_iter=max_iter) for max_iter in (1000, "auto"))
    fixed = cost_native.optimise_seconds(replace(plain, max_iter=0), Machine())
    early = cost_native.optimise_seconds(replace(plain, max_iter=250), Machine()) - fixed
    main = cost_native.optimise_seconds(plain, Machine()) - fixed - early
    found = cost_native.optimise_seconds(fast, Machine()) - fixed
    assert found == pytest.approx(early + 0.4 * main, rel=0.05)


def test_constants_of_the_model_are_those_of_the_engine():
    for name in ("POINT_SECONDS", "NODE_SECONDS", "GRID_SECONDS"):
        assert getattr(cost_native, name) == getattr(exact, name)
    assert cost_native.EXACT_PAIR_SECONDS == exact.PAIR_SECONDS


def test_other_metrics_sparse_data_and_given_distances_cost_more_or_less():
    def neighbours(**changes):
        problem = sized(5_000, 500, **changes)
        return ENGINES["opentsne"].estimate(problem, Machine()).neighbours

    assert neighbours(metric="manhattan") > 5 * neighbours()
    assert neighbours(metric=lambda a, b: 0.0) > neighbours(metric="manhattan")
    assert neighbours(metric="precomputed") < neighbours(metric="manhattan")
    few = replace(sized(5_000, 500), is_sparse=True, n_bytes=5_000 * 8)
    many = replace(few, n_bytes=5_000 * 500 * 8)
    cheap, dear = (ENGINES["opentsne"].estimate(one, Machine()).neighbours for one in (few, many))
    assert cheap < dear


@pytest.mark.parametrize(
    ("since", "warm"), [(None, False), (0.0, True), (299.0, True), (301.0, False), (-5.0, False)]
)
def test_warm_or_cold_by_the_last_call(since, warm):
    machine = Machine(seconds_since_call={} if since is None else {"modal:L4": since})
    assert machine.is_warm("modal:L4", transfer.IDLE_SECONDS) is warm
    assert not machine.is_warm("modal:T4", transfer.IDLE_SECONDS)
    assert replace(machine, known_warm={"modal:L4": not warm}).is_warm("modal:L4", 300) is not warm
    problem, gpu = sized(50_000, 10), transfer.GPUS["L4"]
    start = transfer.remote_estimate(problem, gpu, Link(), warm=warm).start
    assert start < 1 if warm else 10 <= start <= 15


def test_price_is_time_by_rate():
    problem, gpu = sized(50_000, 10), transfer.GPUS["T4"]
    estimate = transfer.remote_estimate(problem, gpu, Link(round_trip_seconds=0.0), warm=False)
    billed = estimate.total - transfer.WARM_CALL_SECONDS
    assert estimate.usd == pytest.approx(0.590 * billed / 3600)
    assert estimate.idle_usd == pytest.approx(0.590 * 300 / 3600)


def test_connections_beyond_reason():
    problem, gpu = sized(50_000, 10), transfer.GPUS["T4"]
    endless = Link(0.0, math.inf, math.inf)
    estimate = transfer.remote_estimate(problem, gpu, endless, warm=True)
    assert estimate.upload == estimate.download == 0
    for wrong in (0.0, -1.0, math.nan):
        with pytest.raises(ValueError, match="upload_bytes_per_second must be more than 0"):
            Link(upload_bytes_per_second=wrong)
    for wrong in (-1.0, math.nan, math.inf):
        with pytest.raises(ValueError, match="round trip"):
            Link(round_trip_seconds=wrong)


def test_memory_follows_what_was_measured():
    """Peaks of resident memory measured at these sizes: 312 MB and 206 MB."""
    graph = cost.graph_engine_bytes(sized(50_000, 10))
    assert 312e6 <= graph <= 2 * 312e6
    exact = cost.exact_engine_bytes(sized(3_000, 10))
    assert 206e6 <= exact <= 2 * 206e6


def test_memory_of_our_engine_follows_what_was_measured():
    """Growth of resident memory beside X in the committed table, where rows outweigh the rest."""
    rows = [row for row in read_rows(RESULTS / "engine.csv") if row["engine"] == "native"]
    for row in rows:
        if row["n"] < 50_000:
            continue
        d = load(row["data"], 100).shape[1]
        foreseen = cost_native.peak_bytes(sized(row["n"], d)) - 4 * row["n"] * d
        assert 0.8 <= foreseen / (float(row["peak_mb"]) * 2**20) <= 2.5, row


def test_the_prices_in_the_documentation_are_those_of_the_model():
    page = (Path(__file__).parent.parent / "docs" / "remote.md").read_text(encoding="utf-8")
    for gpu in transfer.GPUS.values():
        idle = gpu.usd_per_hour / 3600 * transfer.IDLE_SECONDS
        assert f"| {gpu.name} | ${gpu.usd_per_hour:.3f} | ${idle:.3f} |" in page
    assert f"list price of {transfer.PRICES_OF}" in page
