"""The benchmark harness: one real run in its own process, and the arithmetic around it."""

import csv
import importlib
import json

import numpy as np
import pytest

from benchmarks import (
    data,
    engine,
    harness,
    modal_live,
    roofline,
    sampling,
    selection,
    tables,
    transfer,
)
from benchmarks.catalogue import BENCHMARKS


def test_one_run_in_its_own_process():
    facts, embedding = harness.run_in_process(
        "benchmarks.cpu", {"engine": "ours-750", "data": "digits", "n": 150}
    )
    assert embedding.shape == (150, 2)
    assert facts["iterations"] == 750
    assert facts["seconds"] >= facts["optimisation_s"] > 0
    assert facts["peak_mb"] >= 0


def test_a_table_of_engines_goes_on_where_it_was(tmp_path, capsys):
    jobs = list(harness.jobs_of(["native-auto"], "digits", 150, 1, "seed"))
    for _ in range(2):  # the second time, nothing is left to measure
        results = tables.Results("engine", tmp_path)
        harness.measure("benchmarks.engine", results, jobs, engine.judged)
        capsys.readouterr()
    (row,) = tables.read_rows(tmp_path / "engine.csv")
    assert (row["engine"], row["n"], row["iterations"]) == ("native-auto", 150, 550)
    assert {"kl", "preservation", "spearman"} <= set(row)
    (line,) = engine._summary([row])
    assert line["seeds"] == 1
    assert tables.Results("engine", tmp_path, fresh=True).rows == []
    assert tables.Results("engine", tmp_path, quick=True).path.name == "engine-quick.csv"


def test_a_sample_against_all_rows(tmp_path):
    results = tables.Results("sampling", tmp_path)
    jobs = harness.jobs_of(list(sampling.SEEDED), "digits", 300, 1, "seed")
    harness.measure("benchmarks.sampling", results, jobs, sampling._judged)
    rows = results.rows
    assert [row["engine"] for row in rows] == ["full", "sample 1/2", "sample 1/10"]
    assert [row["fitted_rows"] for row in rows] == [300, 150, 30]
    assert rows[0]["kl"] < rows[1]["kl"] < rows[2]["kl"]
    assert sampling._summary(rows)[0]["full / this"] == "1.0"


@pytest.mark.parametrize("name", [one.name for one in BENCHMARKS])
def test_every_benchmark_has_the_same_command_line(name, monkeypatch, capsys):
    benchmark = importlib.import_module(f"benchmarks.{name}")
    monkeypatch.setattr("sys.argv", [name, "--help"])
    with pytest.raises(SystemExit):
        benchmark.main()
    told = capsys.readouterr().out
    assert all(option in told for option in ("--sizes", "--out", "--quick", "--fresh"))


def test_verdicts_on_quality():
    """Two seeds, on which ours is better in KL and worse in neighbours by more than the spread."""
    figures = {"openTSNE": ((1.0, 0.50, 0.7), (1.2, 0.52, 0.8)), "native": ((0.9, 0.4, 0.7),) * 2}
    rows = [
        {"data": "d", "n": "9", "engine": engine, "seed": str(seed)}
        | dict(zip(("kl", "preservation", "spearman"), values, strict=True))
        for engine, seeds in figures.items()
        for seed, values in enumerate(seeds)
    ]
    (line,) = engine._verdicts(rows)
    assert line["kl"] == "+0.2000 (0.1414)"
    assert line["preservation"] == "-0.1100 (0.0141) !"
    assert line["spearman"] == "-0.0500 (0.0707)"
    assert engine._verdicts(rows[:1] + rows[2:3]) == []


def test_the_roofline_of_an_iteration():
    lines = roofline.measure("mixture10", 2_500)
    assert [line["phase"] for line in lines] == [
        "attraction and step",
        "grids",
        "spreading and reading",
        "all else",
    ]
    assert all(float(line["ms"]) > 0 for line in lines[:-1])
    compared = roofline.comparisons()
    assert {line["phase"] for line in compared} >= {"comparing"}
    assert all(float(line["billion operations/s"]) > 0 for line in compared)
    roofs = roofline.roofs()
    assert [bool(line["GB/s"]) for line in roofs] == [True, False]
    assert [bool(line["billion operations/s"]) for line in roofs] == [False, True]


def test_a_failed_run_says_why():
    with pytest.raises(RuntimeError, match="KeyError: 'no_such_engine'"):
        harness.run_in_process(
            "benchmarks.cpu", {"engine": "no_such_engine", "data": "digits", "n": 150}
        )


@pytest.mark.parametrize(
    ("name", "features"),
    [
        ("digits", 64),
        ("patches48", 48),
        ("patches768", 768),
        ("mixture10", 10),
        ("noise20", 20),
        ("swissroll", 3),
        ("farblobs", 10),
        ("heavytails", 10),
    ],
)
def test_data(name, features):
    X = data.load(name, 100)
    assert X.shape == (100, features)
    assert X.dtype == np.float32
    np.testing.assert_array_equal(X, data.load(name, 100))


def test_tables(tmp_path):
    assert list(harness.alternate("AB", 2)) == [(0, "A"), (0, "B"), (1, "A"), (1, "B")]
    rows = [{"engine": "A", "seconds": s} for s in (3, 1, 2)] + [{"engine": "B", "seconds": 5}]
    table = tables.medians(rows, ["engine"], ["seconds"])
    assert table[0] == {"engine": "A", "seconds": 2, "repeats": 3}
    assert tables.markdown(table).splitlines()[2] == "| A | 2.0 | 3 |"
    tables.write_rows(tmp_path / "t.csv", rows)
    with (tmp_path / "t.csv").open(newline="") as file:
        assert [row["seconds"] for row in csv.DictReader(file)] == ["3", "1", "2", "5"]
    assert "processor" in tables.machine()


@pytest.mark.parametrize(
    ("knowledge", "mean", "tail"),
    [(selection.KNOWLEDGE[0], 0.05, 0.3), (selection.KNOWLEDGE[2], 0.03, 0.25)],
    ids=lambda value: getattr(value, "name", value),
)
def test_auto_chooses_well_in_simulated_worlds(knowledge, mean, tail):
    """Few worlds, for a quick answer: the benchmark draws thousands, and finds 2.4 and 1.9 %."""
    regrets = selection.simulate(knowledge, 150)
    assert np.mean(regrets["auto"]) <= mean
    assert np.quantile(regrets["auto"], 0.95) <= tail
    assert min(regrets["auto"]) >= -1e-9
    assert np.mean(regrets["always here"]) > 5 * np.mean(regrets["auto"])
    assert np.mean(regrets["always rented"]) > 10 * np.mean(regrets["auto"])


def test_the_ceiling_of_a_live_benchmark_follows_the_price():
    ceiling = modal_live.cost_ceiling("T4", repeats=3)
    assert 0.2 < ceiling < 2
    assert modal_live.cost_ceiling("H100", repeats=3) > 5 * ceiling


def test_a_table_of_transfers_compares_the_two_ways():
    line = {"data": "x", "d": 10, "mbit_per_s": 10, "share_of_float32": 0.3, "loss": 0.01}
    rows = [
        {**line, "way": way, "seconds": seconds}
        for way, seconds in (("ours", 1.0), ("float32", 2.0), ("ours", 3.0), ("float32", 6.0))
    ]
    (compared,) = transfer._table(rows)
    assert compared["ratio"] == 2.0
    assert compared["repeats"] == 2


@pytest.fixture
def gpu_benchmark(gpu, monkeypatch, tmp_path):
    """Run the benchmark of the GPU on a stand-in, and return its rows."""
    from benchmarks import gpu as benchmark

    monkeypatch.setattr(benchmark, "WARM_ROWS", 100)

    def run(*words):
        command = ["gpu", "--sizes", "120", "--features", "10", "--repeats", "1"]
        monkeypatch.setattr("sys.argv", [*command, "--out", str(tmp_path), *words])
        benchmark.main()
        with (tmp_path / "gpu.csv").open(newline="") as file:
            return list(csv.DictReader(file))

    return run


def test_the_benchmark_of_the_gpu_is_one_command(gpu_benchmark, tmp_path):
    from benchmarks import gpu as benchmark

    engines = [name for name in benchmark.ENGINES if name not in ("openTSNE", "native")]
    rows = gpu_benchmark("--engines", *engines)
    assert [row["engine"] for row in rows] == engines
    assert all(float(row["neighbours_s"]) >= 0 and float(row["kl"]) > 0 for row in rows)
    assert all(0 < float(row["optimisation_s"]) <= float(row["seconds"]) for row in rows)
    assert "NVIDIA L4" in (tmp_path / "gpu.json").read_text()
    assert (tmp_path / "gpu.md").read_text().startswith("NVIDIA L4")
    assert (tmp_path / "gpu.png").stat().st_size > 1_000


def test_maps_of_a_gpu_can_be_judged_elsewhere(gpu_benchmark, tmp_path):
    engines, maps = ("ours", "cuML, last 250 ours"), str(tmp_path / "maps")
    rows = gpu_benchmark("--engines", *engines, "--maps", maps)
    assert [row["kl"] for row in rows] == ["", ""]
    described = (tmp_path / "gpu.json").read_text()
    judged = gpu_benchmark("--judge", maps)
    assert [row["engine"] for row in judged] == list(engines)
    assert all(0 < float(row["kl"]) < 5 for row in judged)
    assert [row["seconds"] for row in judged] == [row["seconds"] for row in rows]
    assert json.loads((tmp_path / "gpu.json").read_text()) == json.loads(described)


def test_the_benchmark_of_the_gpu_says_what_is_missing(monkeypatch, tmp_path):
    from benchmarks import gpu as benchmark
    from tsne_backends.backend import Verdict

    monkeypatch.setattr(benchmark, "gpu_verdict", lambda: Verdict(False, "No GPU is here."))
    monkeypatch.setattr("sys.argv", ["gpu", "--out", str(tmp_path)])
    with pytest.raises(SystemExit, match=r"Nothing was measured\. No GPU is here\."):
        benchmark.main()
    assert not list(tmp_path.iterdir())
