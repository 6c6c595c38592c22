"""The command ``serverless-tsne``: `demo`, `backends`, `warmup`.

Commands that need more than a few lines have modules of their own beside this one; those for the
remote side are in ``backends_remote``.

Bad input ends with exit code 2 and one sentence, an interrupt with 130; neither leaves half a file.
"""

from __future__ import annotations

import importlib
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import click

from tsne_backends import __version__
from tsne_backends.cli import INTERRUPTED
from tsne_backends.cli.cache import cache
from tsne_backends.cli.embed import embed, log_to_terminal, summarise
from tsne_backends.cli.plan import calibrate, plan
from tsne_backends.cli.plot import plot
from tsne_backends.cli.quality import quality
from tsne_backends.errors import BackendError

#: Exit code after what a user can mend.
BAD_INPUT = 2


#: Commands for the remote side, and where they are; imported only when they are asked for.
_REMOTE_COMMANDS = ("deploy", "doctor", "jobs", "attach", "cancel", "data", "undeploy")
_REMOTE_MODULE = "backends_remote.cli"


class _Group(click.Group):
    """A group whose commands end bad input and interrupts with a sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*super().list_commands(ctx), *_REMOTE_COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _REMOTE_COMMANDS:
            command: click.Command = getattr(importlib.import_module(_REMOTE_MODULE), cmd_name)
            return command
        return super().get_command(ctx, cmd_name)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            with warnings.catch_warnings():
                warnings.showwarning = _show_warning
                return super().invoke(ctx)
        except KeyboardInterrupt:
            click.echo("Interrupted.", err=True)
            sys.exit(INTERRUPTED)
        except (BackendError, ValueError, TypeError, OSError, ImportError, MemoryError) as error:
            click.echo(f"Error: {error}", err=True)
            sys.exit(BAD_INPUT)


@click.group(cls=_Group, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="serverless-tsne")
def main() -> None:
    """t-SNE on the fastest engine within reach."""


main.add_command(embed)
main.add_command(quality)
main.add_command(plan)
main.add_command(calibrate)
main.add_command(plot)
main.add_command(cache)


@main.command()
@click.option(
    "--output-dir",
    type=click.Path(path_type=Path),
    default=Path(),
    help="Where to write; made if it is not there.",
)
@click.option("--force", is_flag=True, help="Replace demo.npy and demo.png.")
@click.option("-v", "--verbose", is_flag=True, help="Show the decision and the progress.")
@click.option(
    "--loopback",
    is_flag=True,
    help="Go the whole remote way, with a stand-in for Modal's service on this machine.",
)
def demo(output_dir: Path, force: bool, verbose: bool, loopback: bool) -> None:
    """Embed scikit-learn's 1,797 handwritten digits; write demo.npy and demo.png."""
    from tsne_backends.files import check_replaceable, write_embedding

    log_to_terminal(verbose)
    coordinates, picture = output_dir / "demo.npy", output_dir / "demo.png"
    output_dir.mkdir(parents=True, exist_ok=True)
    for path in (coordinates, picture):
        check_replaceable(path, force=force, otherwise="choose another folder with --output-dir")

    from sklearn.datasets import load_digits

    from tsne_backends.estimator import ServerlessTSNE

    digits = load_digits()
    if not loopback:
        _compile_once()
    backend = "modal" if loopback else "auto"
    tsne = ServerlessTSNE(backend=backend, random_state=0, verbose=int(verbose))
    if loopback:
        click.echo("Loopback: a stand-in for Modal and its GPU on this machine; nothing leaves it.")
        remote = importlib.import_module(_REMOTE_MODULE)
        remote.with_loopback(lambda: tsne.fit(digits.data))
    else:
        tsne.fit(digits.data)
    write_embedding(coordinates, tsne.embedding_)
    summarise(tsne, coordinates, where="this machine, through the loopback" if loopback else None)
    try:
        from tsne_backends.plot import save_figure, scatter

        title = "t-SNE of 1,797 handwritten digits"
        figure = scatter(tsne.embedding_, digits.target, title, label_name="digit")
    except ImportError:
        click.echo('No picture: run `pip install "serverless-tsne[plot]"` for demo.png.')
        return
    save_figure(figure, picture)
    click.echo(f"Wrote {picture}.")


def _compile_once() -> None:
    """Compile the native engine where that was not done yet, so that a first try shows it."""
    from tsne_backends.native.warm import is_compiled, warm_up

    if not is_compiled():
        click.echo("Compiling the native engine, once on this machine; that takes a few seconds.")
    warm_up()


@main.command()
def warmup() -> None:
    """Compile the native engine now, so that no fit and no `transform` has to wait for it.

    Needed once per machine, version and Python; a second time takes a fraction of a second. Where
    there is a GPU that can be used, its kernels are compiled, too.
    """
    from tsne_backends.native.warm import is_compiled, warm_up, warm_up_many, warm_up_placing

    known = is_compiled()
    started = time.perf_counter()
    warm_up()
    warm_up_many()
    warm_up_placing()
    seconds = time.perf_counter() - started
    done = "was compiled already; loading it" if known else "is compiled; that"
    click.echo(f"The native engine {done} took {seconds:.1f} s.")
    _warm_up_gpu()


def _warm_up_gpu() -> None:
    from tsne_backends.registry import load_backend
    from tsne_backends.warming import warm_up

    gpu = load_backend("cuml")
    if not gpu.available().ok:
        return
    started = time.perf_counter()
    warm_up(gpu)
    click.echo(f"The GPU is ready; that took {time.perf_counter() - started:.1f} s.")


@main.command()
def backends() -> None:
    """Show each backend: usable or not, why, how to get it, and its options."""
    from rich import box
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    from tsne_backends.registry import list_backends, load_backend

    table = Table("backend", "runs on", "usable", "why", box=box.SIMPLE)
    settings = Table("backend", "backend_options, with their defaults", box=box.SIMPLE)
    for name, entry in list_backends().items():
        try:
            backend = load_backend(name)
            verdict = backend.available()
            usable, why, where = verdict.ok, verdict.reason, backend.where
            options = "\n".join(
                f"{key} = {option.default}: {option.meaning}"
                for key, option in backend.options.items()
            )
        except Exception as error:  # whatever a plug-in does, the others are still shown
            usable, why, where, options = False, f"{type(error).__name__}: {error}", "?", ""
        if not usable and entry.install and "`" not in why:  # a reason with a command knows better
            why += f" Its packages: {entry.install}"
        # Unescaped, rich would take the "[cuml]" of an install command for its own markup.
        table.add_row(*map(escape, (name, where, "✔ yes" if usable else "✘ no", why)))
        if options:
            settings.add_row(*map(escape, (name, options)))
    # A pipe has no width of its own; let every sentence stay whole there.
    Console(width=None if sys.stdout.isatty() else 160).print(table, settings)


def _show_warning(message: Warning | str, *place: Any, **more: Any) -> None:
    """Print a warning as a sentence; the line of our source it came from tells a user nothing."""
    click.echo(f"Warning: {message}", err=True)
