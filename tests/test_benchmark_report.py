"""`make bench`: which benchmarks it runs, and the report of what they found."""

import json
import pathlib
import re
import subprocess
import sys

import pytest

from benchmarks import __main__ as bench
from benchmarks import headline, report, tables
from benchmarks.catalogue import BENCHMARKS
from benchmarks.published import MODAL_T4, SOURCE

RUNS = [
    {"engine": engine, "data": "mixture10", "n": n, "seconds": seconds}
    for engine, n, seconds in (
        ("native", 2_000, 0.5),
        ("native", 2_000, 0.9),
        ("native", 2_000, 0.6),
        ("native", 10_000, 2.5),
        ("openTSNE", 2_000, 3.0),
    )
]


@pytest.fixture
def results(tmp_path):
    """Return a folder in which two benchmarks have results, one with a long table and a picture."""
    for run in RUNS:
        pathlib.Path(tmp_path / "engine.md").write_text("| n |\n|---|\n" + "| 7 |\n" * 40)
        tables.Results("engine", tmp_path).add(run)
    (tmp_path / "engine.json").write_text(json.dumps(tables.machine()))
    headline.draw(headline.lines(RUNS), tmp_path / "engine.png", "2 cores")
    tables.Results("overhead", tmp_path).finish("| what |\n|---|\n| import |\n")
    return tmp_path


def test_every_benchmark_is_in_the_catalogue():
    folder = pathlib.Path(bench.__file__).parent
    modules = {
        path.stem for path in folder.glob("*.py") if "def main(" in path.read_text(encoding="utf-8")
    }
    assert {one.name for one in BENCHMARKS} == modules - {"__main__"}


def test_only_what_was_measured_or_cited_is_drawn():
    drawn = headline.lines(RUNS)
    assert [
        (one.name, dict(one.seconds)) for one in drawn if one.kind == headline.MEASURED_HERE
    ] == [
        ("openTSNE, its defaults", {2_000: 3.0}),
        ("native, 1,000 iterations", {2_000: 0.6, 10_000: 2.5}),
    ]
    ours = {"engine": "ours", "data": "mixture10", "n": 2_000, "seconds": 1.5}
    assert headline.lines(RUNS, [ours])[2].seconds == {2_000: 1.5}
    gpu = {"engine": "ours", "data": "mixture10", "n": 50_000, "seconds": 0.9}
    (there,) = [
        one
        for one in headline.lines(RUNS, [ours], [gpu])
        if one.kind == headline.MEASURED_ELSEWHERE
    ]
    assert there.seconds == {50_000: 0.9}
    published = [one for one in drawn if one.kind == headline.PUBLISHED]
    assert [one.seconds for one in published][1] == MODAL_T4
    warm, cold = (one.seconds for one in drawn if one.kind == headline.PREDICTED)
    assert all(0 < warm[n] < cold[n] for n in headline.PREDICTED_ROWS)
    row = headline.table(drawn)[1]
    assert (row["is"], row["2,000"], row["50,000"]) == ("measured here", "0.6 s", "")


def test_a_report_shows_results_and_reasons(results):
    text, page = (path.read_text(encoding="utf-8") for path in report.write_report(results))
    for benchmark in BENCHMARKS:
        assert f"## {benchmark.title}\n" in text
        assert benchmark.missing() in text
    assert "<details><summary>42 lines</summary>" in text
    assert "| import |" in text
    assert SOURCE in text
    assert text.count("**Not run.**") == len(BENCHMARKS) - 2
    assert "commit" in text
    assert "<td>import</td>" in page
    assert "](" not in page
    assert len(re.findall('src="data:image/png;base64,iVBOR', page)) == 2
    assert not re.search(r'(?:src|href)="(?!data:)', page)


def test_the_report_of_nothing_names_every_benchmark(tmp_path):
    written, _ = report.write_report(tmp_path, quick=True)
    assert written.name == "report-quick.md"
    text = written.read_text(encoding="utf-8")
    assert text.count("**Not run.**") == len(BENCHMARKS)


def test_the_committed_report_shows_the_committed_tables():
    text = (tables.RESULTS / "report.md").read_text(encoding="utf-8")
    for benchmark in BENCHMARKS:
        summary = tables.RESULTS / f"{benchmark.name}.md"
        if summary.exists():
            assert summary.read_text(encoding="utf-8") in text, (
                "run python -m benchmarks --report-only"
            )


def test_a_failed_benchmark_is_told_at_the_end(monkeypatch, tmp_path, capfd):
    """The others run all the same, and the report is written."""
    commands, real = [], subprocess.run

    def run(command, **options):
        if "-m" not in command:
            return real(command, **options)
        commands.append(command)
        return subprocess.CompletedProcess(command, 1 if "benchmarks.roofline" in command else 0)

    monkeypatch.setattr(subprocess, "run", run)
    arguments = ["bench", "roofline", "plots", "modal_live", "--quick", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match=r"failed, see above: roofline\."):
        bench.main()
    assert [command[2:4] for command in commands] == [
        ["benchmarks.roofline", "--quick"],
        ["benchmarks.plots", "--quick"],
    ]
    assert (tmp_path / "report-quick.html").exists()
    assert "Not run. It rents a GPU" in capfd.readouterr().out


def test_an_unknown_benchmark_is_refused(monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["bench", "roofing"])
    with pytest.raises(SystemExit):
        bench.main()
    assert "There is no benchmark roofing" in capsys.readouterr().err


def test_one_quick_benchmark_from_the_command_line(tmp_path):
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks", "overhead", "--quick", "--out", str(tmp_path)],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    text = (tmp_path / "report-quick.md").read_text(encoding="utf-8")
    assert "| from tsne_backends import ServerlessTSNE |" in text
