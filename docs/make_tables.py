"""Writes the tables of the documentation that follow from the code: ``python docs/make_tables.py``.

The table of parameters comes from the backends' own tables, the break-even sizes and the constants
from the cost model, the commands from the command line itself, seconds and quality from the
results of a benchmark. Each stands between two comments of a page; the test-suite compares.
"""

from __future__ import annotations

import ast
import inspect
import re
from collections.abc import Iterator
from pathlib import Path

import click
import speed_tables

from backends_remote.backend import ModalBackend
from tsne_backends import ServerlessTSNE, cost, cost_native, transfer
from tsne_backends.backend import ESTIMATOR_PARAMETERS, Parameter
from tsne_backends.backends.cuml import CumlBackend
from tsne_backends.backends.native import NativeBackend
from tsne_backends.backends.opentsne import OpenTSNEBackend
from tsne_backends.backends.sklearn import SklearnBackend
from tsne_backends.cli.command import main as main_command
from tsne_backends.machine import Link, Machine
from tsne_backends.problem import Problem

DOCS = Path(__file__).parent

#: What the break-even sizes are computed for.
CORES = (2, 8, 32)
FEATURES = (10, 50, 200, 768, 2_000)
MEGABITS_PER_SECOND = (10, 100, 1_000)
ROUND_TRIP_SECONDS = 0.05
#: Rows between which the break-even is looked for, and steps to each factor of ten.
FEWEST_ROWS, MOST_ROWS, STEPS = 1_000, 10_000_000, 20


def main() -> None:
    """Write every table into its page."""
    for page, name, table in tables():
        path = DOCS / page
        path.write_text(with_table(path.read_text(encoding="utf-8"), name, table), encoding="utf-8")


def tables() -> list[tuple[str, str, str]]:
    """Return the page, the name and the Markdown of every table."""
    return [
        ("parameters.md", "parameters", parameters()),
        ("parameters.md", "options", options()),
        ("choosing.md", "break-even", break_even()),
        ("choosing.md", "constants", constants()),
        ("commands.md", "commands", commands()),
        ("native.md", "speed", speed_tables.all_data()),
        ("native.md", "peers", speed_tables.peers()),
        ("native.md", "fastest peers", speed_tables.fastest_peers()),
        ("gpu.md", "gpu", speed_tables.gpu()),
        ("../README.md", "speed", speed_tables.selected()),
    ]


def with_table(page: str, name: str, table: str) -> str:
    """Return a page with what stands between the comments of a table replaced."""
    begin, end = f"<!-- {name}: written by make_tables.py -->\n", f"<!-- end of {name} -->"
    if begin not in page or end not in page:
        raise ValueError(f"The page has no place for the table {name!r}: {begin.strip()}.")
    pattern = re.compile(re.escape(begin) + ".*?" + re.escape(end), re.DOTALL)
    return pattern.sub(lambda _: f"{begin}\n{table}\n{end}", page)


# The parameters.


def parameters() -> str:
    """Return for every parameter that changes the map what each engine makes of it."""
    engines = (OpenTSNEBackend, NativeBackend, SklearnBackend, CumlBackend)
    defaults = inspect.signature(ServerlessTSNE).parameters
    lines = [
        "| `ServerlessTSNE` | default | " + " | ".join(f"`{one.name}`" for one in engines) + " |",
        "|---" * (2 + len(engines)) + "|",
    ]
    for name in ESTIMATOR_PARAMETERS:
        cells = [_in_words(engine.parameters[name]) for engine in engines]
        lines.append(f"| `{name}` | `{_literal(defaults[name].default)}` | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def options() -> str:
    """Return every backend's options."""
    lines = ["| backend | option | default | meaning | takes |", "|---|---|---|---|---|"]
    for engine in (NativeBackend, OpenTSNEBackend, SklearnBackend, CumlBackend, ModalBackend):
        for key, option in engine.options.items():
            lines.append(
                f"| `{engine.name}` | `{key}` | `{_literal(option.default)}` | {option.meaning} | "
                f"{option.legal} |"
            )
    return "\n".join(lines) + "\n"


def _in_words(parameter: Parameter) -> str:
    words = parameter.to if parameter.how == "as given" else f"{parameter.to}: {parameter.how}"
    return words + (" †" if parameter.refuse else "")


def _literal(value: object) -> str:
    return f'"{value}"' if isinstance(value, str) else str(value)


# The break-even sizes.


def break_even() -> str:
    """Return the rows from which on a rented GPU should finish before this processor."""
    return "\n".join(f"**{cores} cores**\n\n{_of_cores(cores)}" for cores in CORES)


def _of_cores(cores: int) -> str:
    rates = " | ".join(f"{rate:,} Mbit/s" for rate in MEGABITS_PER_SECOND)
    lines = [f"| features | {rates} |", "|---:" * (1 + len(MEGABITS_PER_SECOND)) + "|"]
    for features in FEATURES:
        cells = []
        for rate in MEGABITS_PER_SECOND:
            cold, warm = (_rows(cores, features, rate, warm=warm) for warm in (False, True))
            cells.append(f"{cold} / {warm}")
        lines.append(f"| {features:,} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _rows(cores: int, features: int, megabits_per_second: float, *, warm: bool) -> str:
    rate = megabits_per_second * 1e6 / 8
    machine = Machine(cores=cores, link=Link(ROUND_TRIP_SECONDS, rate, rate), assume_warm=warm)
    n, factor = float(FEWEST_ROWS), 10 ** (1 / STEPS)
    while n <= MOST_ROWS:
        if _gpu_wins(round(n), features, machine):
            return _rounded(n)
        n *= factor
    return "–"


def _gpu_wins(n: int, features: int, machine: Machine) -> bool:
    problem = Problem(n, features, n_bytes=4 * n * features, n_threads=machine.cores)
    here = NativeBackend().estimate(problem, machine)
    there = ModalBackend().estimate(problem, machine)
    # Whether the engine is compiled on the machine that writes this page does not matter.
    return there is not None and there.total < here.total - here.start


def _rounded(n: float) -> str:
    """Return two digits: the steps between the sizes that were tried are 12 %."""
    digits = len(str(round(n))) - 2
    return f"{round(round(n), -digits):,}"


# The constants of the model.


def constants() -> str:
    """Return every constant of the cost model that is a number, with the comment above it."""
    lines = ["| constant | value | what it is |", "|---|---:|---|"]
    for module in (cost_native, cost, transfer):
        source = Path(str(module.__file__)).read_text(encoding="utf-8")
        name = module.__name__.rpartition(".")[2]
        lines += [f"| **`{name}`** | | |", *_constants_of(source)]
    return "\n".join(lines) + "\n"


def _constants_of(source: str) -> Iterator[str]:
    lines = source.splitlines()
    for statement in ast.parse(source).body:
        if not isinstance(statement, ast.Assign) or not _is_numbers(statement.value):
            continue
        names = re.sub(r"\w+", r"`\g<0>`", ast.unparse(statement.targets[0]).strip("()"))
        value = ast.get_source_segment(source, statement.value)
        first = statement.lineno - 1
        comment: list[str] = []
        while lines[first - 1].startswith("#: "):
            first -= 1
            comment.insert(0, lines[first].removeprefix("#: "))
        words = " ".join(comment).replace("|", "\\|") or "together with the line above"
        yield f"| {names} | {value} | {words} |"


def _is_numbers(value: ast.expr) -> bool:
    """Say whether an expression is a number, several, or arithmetic of numbers."""
    parts = ast.walk(value)
    legal = (ast.Constant, ast.Tuple, ast.BinOp, ast.UnaryOp, ast.operator, ast.unaryop, ast.Load)
    return all(
        isinstance(part, legal) and not isinstance(getattr(part, "value", 0), str) for part in parts
    )


# The commands.


def commands() -> str:
    """Return every command of the command line with its options."""
    group = click.Context(main_command, info_name="serverless-tsne")
    parts = []
    for name in main_command.list_commands(group):
        command = main_command.get_command(group, name)
        assert command is not None
        context = click.Context(command, info_name=name, parent=group)
        usage = " ".join(("serverless-tsne", name, *command.collect_usage_pieces(context)))
        options = [one for one in command.params if isinstance(one, click.Option)]
        records = [one.get_help_record(context) for one in options]
        rows = [f"| `{_cell(record[0])}` | {_cell(record[1])} |" for record in records if record]
        table = "\n".join(["| option | meaning |", "|---|---|", *rows, ""]) if rows else ""
        about = inspect.cleandoc(command.help or "")
        parts.append(f"### {name}\n\n`{usage}`\n\n{about}\n\n{table}")
    return "\n".join(parts)


def _cell(text: str) -> str:
    return re.sub(r"\s+", " ", text).replace("|", "\\|")


if __name__ == "__main__":
    main()
