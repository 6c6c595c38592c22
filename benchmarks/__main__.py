"""Every benchmark that can run here, one after the other, and one report of all: ``make bench``.

``python -m benchmarks --quick`` ends in a quarter of an hour on two cores; without ``--quick`` it
measures what the committed tables still lack (``--fresh``: everything), for hours.
``--report-only`` writes the report of the tables that are there.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from pathlib import Path

from benchmarks.catalogue import BENCHMARKS
from benchmarks.report import write_report
from benchmarks.tables import RESULTS


def main() -> None:
    """Run, report, and say which benchmarks failed."""
    parser = argparse.ArgumentParser(description=__doc__)
    names = [one.name for one in BENCHMARKS]
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(names)}")
    parser.add_argument("--quick", action="store_true", help="small; in files of their own")
    parser.add_argument("--fresh", action="store_true", help="measure again what is there")
    parser.add_argument("--report-only", action="store_true", help="measure nothing")
    parser.add_argument("--out", type=Path, default=RESULTS, help="folder of the results")
    options = parser.parse_args()
    if unknown := set(options.names) - set(names):
        parser.error(f"There is no benchmark {', '.join(sorted(unknown))}; there are {names}.")
    failed = [] if options.report_only else _run(options, options.names or names)
    print("Report:", *write_report(options.out, quick=options.quick), sep="\n  ")
    if failed:
        sys.exit(f"These benchmarks failed, see above: {', '.join(failed)}.")


def _run(options: argparse.Namespace, names: list[str]) -> list[str]:
    """Run each in a process of its own; return those that failed."""
    flags = [f"--{flag}" for flag in ("quick", "fresh") if getattr(options, flag)]
    failed = []
    for benchmark in BENCHMARKS:
        if benchmark.name not in names:
            continue
        print(f"== {benchmark.title} ({benchmark.name})", flush=True)
        if missing := benchmark.missing():
            print(f"Not run. {missing}", flush=True)
            continue
        start = time.perf_counter()
        command = [sys.executable, "-m", f"benchmarks.{benchmark.name}", *flags]
        done = subprocess.run([*command, "--out", str(options.out)], check=False)
        print(f"== {time.perf_counter() - start:.0f} s", flush=True)
        if done.returncode:
            failed.append(benchmark.name)
    return failed


if __name__ == "__main__":
    main()
