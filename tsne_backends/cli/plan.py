"""The commands ``serverless-tsne plan`` and ``serverless-tsne calibrate``.

Here are their arguments and the sentence about the machine. A plan is made by the estimator and
worded in `tsne_backends.plan_view`; the runs that measure are in `tsne_backends.calibration`.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from tsne_backends.cli.options import REP_HELP, estimator_options, make_estimator

if TYPE_CHECKING:
    from tsne_backends.machine import Machine


def _shape(text: str) -> tuple[int, int]:
    """Return the numbers in ``250000x768``."""
    found = re.fullmatch(r"([0-9_]+) *[x×] *([0-9_]+)", text.strip())
    if found is None:
        raise ValueError(f'--shape takes ROWSxFEATURES, such as 250000x768; it was "{text}".')
    return int(found[1]), int(found[2])


@click.command()
@click.argument("source", metavar="[INPUT]", required=False, type=click.Path(path_type=Path))
@click.option("--shape", metavar="ROWSxFEATURES", help="Size of the data, instead of a file.")
@click.option(
    "--dtype",
    type=click.Choice(["float32", "float64"]),
    default="float32",
    show_default=True,
    help="Type of the data given by --shape.",
)
@click.option("--rep", help=REP_HELP)
@click.option("--key", help="Name of the array in an .npz file.")
@click.option("--json", "as_json", is_flag=True, help="Print the plan as JSON.")
@estimator_options
def plan(
    source: Path | None,
    shape: str | None,
    dtype: str,
    rep: str | None,
    key: str | None,
    as_json: bool,
    options: tuple[str, ...],
    **parameters: Any,
) -> None:
    """Say which backend would embed INPUT, and what each would take; compute nothing.

    The first plan on a machine measures its speed, for a fraction of a second.
    """
    from tsne_backends.probe import this_machine

    if (source is None) == (shape is None):
        raise ValueError("Give either a file or --shape ROWSxFEATURES, and not both.")
    tsne = make_estimator(parameters, options)
    if source is not None:
        made = tsne.plan(_matrix(source, rep, key))
    else:
        made = tsne.plan(shape=_shape(shape or ""), dtype=dtype)
    if as_json:
        click.echo(json.dumps(made.to_dict(), indent=2))
        return
    click.echo(repr(made))
    click.echo(_machine_sentence(this_machine(probe=False)))


@click.command()
@click.option(
    "--seconds", type=click.FloatRange(1, 3600), default=60.0, show_default=True, help="Time limit."
)
def calibrate(seconds: float) -> None:
    """Measure this machine with real runs, so that estimates need not guess.

    The result stays in the user's cache folder; it holds sizes and seconds, nothing else.
    """
    from tsne_backends.calibration import calibrate as measure
    from tsne_backends.probe import this_machine
    from tsne_backends.store import folder
    from tsne_backends.wording import seconds as words

    for run in measure(seconds):
        click.echo(
            f"{run.label}: {run.n_samples:,} × {run.n_features} took {words(run.seconds)}, "
            f"expected {words(run.expected)}."
        )
    click.echo(_machine_sentence(this_machine(probe=False)))
    click.echo(f"Kept in {folder()}.")


def _matrix(source: Path, rep: str | None, key: str | None) -> Any:
    """Return the data, or for .npy a view of the file, of which only the head is read."""
    import numpy as np

    from tsne_backends.files import read_table

    if source.suffix.lower() == ".npy" and source.is_file():
        try:
            return np.load(source, mmap_mode="r", allow_pickle=False)
        except (ValueError, EOFError):
            pass  # damaged: the reader says how
    return read_table(source, rep=rep, key=key).matrix


def _machine_sentence(machine: Machine) -> str:
    from tsne_backends.gpu.driver import find_gpus
    from tsne_backends.wording import size

    gpus, why_none = find_gpus()
    graphics = ", ".join(f"{gpu.name} with {size(gpu.memory_bytes)}" for gpu in gpus) or why_none
    words = [f"This machine: {machine.cores} cores, {size(machine.memory_bytes)}, {graphics}."]
    speeds = machine.speeds
    if speeds.measured:
        words.append(
            f"One core is {speeds.core:.2f} times as fast as the reference, {speeds.matrix:.2f} "
            f"times at products of matrices; each further thread adds "
            f"{100 * speeds.thread_efficiency:.0f} %."
        )
    else:
        words.append("Its speed was not measured and is taken for the reference.")
    return " ".join(words)
