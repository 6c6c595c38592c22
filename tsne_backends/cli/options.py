"""Options that several commands of ``serverless-tsne`` share: the estimator's parameters.

The commands that take them are `embed` and `plan`.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from tsne_backends.settings import PREFERENCES

if TYPE_CHECKING:
    from tsne_backends.estimator import ServerlessTSNE


#: Of the option --rep, in every command that reads data.
REP_HELP = (
    'Key in obsm of an .h5ad file, or "X"; X_pca if not given, or X where it is narrow, as in '
    "scanpy."
)


class _Iterations(click.ParamType):  # type: ignore[type-arg] # click 8.1 has none
    """A whole number, or the word "auto"."""

    name = "integer|auto"

    def convert(self, value: Any, param: Any, ctx: Any) -> int | str:
        if value == "auto":
            return "auto"
        converted: int = click.INT.convert(value, param, ctx)
        return converted


#: Estimator parameters offered by commands, with click's type and a line of help. Their defaults
#: are the estimator's own.
_PARAMETERS: dict[str, tuple[Any, str]] = {
    "n_components": (int, "Dimensions of the map."),
    "perplexity": (float, "Effective number of neighbours."),
    "early_exaggeration": (float, "Attraction in the first 250 iterations."),
    "learning_rate": (str, '"auto", or a number in scikit-learn\'s units.'),
    "max_iter": (_Iterations(), 'Iterations, early exaggeration included, or "auto".'),
    "n_iter_without_progress": (int, "Iterations without progress before stopping."),
    "min_grad_norm": (float, "Gradient norm at which to stop."),
    "metric": (str, 'Metric, or "precomputed" for a distance matrix.'),
    "init": (click.Choice(["pca", "random"]), "Initial positions."),
    "random_state": (int, "Seed; makes the run repeatable."),
    "method": (click.Choice(["auto", "barnes_hut", "exact", "fft"]), "How repulsion is computed."),
    "angle": (float, "Barnes–Hut's trade-off, 0 exact to 1 fast."),
    "n_jobs": (int, "Threads; all cores if not given."),
    "backend": (str, 'Engine, or "auto".'),
    "max_cost": (float, "US dollars one run may cost at most."),
    "allow_remote": (bool, "Whether data may leave this machine."),
    "prefer": (click.Choice(PREFERENCES), 'What "auto" aims at.'),
}


def estimator_options(command: Callable[..., None]) -> Callable[..., None]:
    """Add an option for every row of `_PARAMETERS`, with the estimator's default."""
    from tsne_backends.estimator import ServerlessTSNE

    defaults = inspect.signature(ServerlessTSNE).parameters
    for name, (kind, text) in reversed(_PARAMETERS.items()):
        option = click.option(
            f"--{name.replace('_', '-')}",
            name,
            type=kind,
            default=defaults[name].default,
            show_default=defaults[name].default is not None,
            help=text,
        )
        command = option(command)
    return click.option(
        "--backend-option",
        "options",
        multiple=True,
        metavar="KEY=VALUE",
        help="Option of the engine.",
    )(command)


def make_estimator(
    parameters: dict[str, Any], options: tuple[str, ...], **more: Any
) -> ServerlessTSNE:
    """Build the estimator, and refuse what can be refused without the data.

    Parameters
    ----------
    parameters : dict
        What `estimator_options` gave the command.
    options : tuple of str
        The ``KEY=VALUE`` of ``--backend-option``.
    **more
        Further parameters of the estimator.

    Raises
    ------
    ValueError
        A parameter is not legal, or the backend or metric is not known.
    """
    from tsne_backends.estimator import ServerlessTSNE
    from tsne_backends.registry import load_backend
    from tsne_backends.validation import check_metric

    rate = _learning_rate(parameters.pop("learning_rate"))
    chosen = dict(map(_option, options))
    tsne = ServerlessTSNE(**parameters, learning_rate=rate, backend_options=chosen, **more)
    tsne._validate_params()
    check_metric(tsne.metric)
    if tsne.backend != "auto":
        load_backend(tsne.backend)
    return tsne


def _learning_rate(text: str) -> float | str:
    if text == "auto":
        return text
    try:
        return float(text)
    except ValueError:
        raise ValueError(f'--learning-rate must be "auto" or a number; it was "{text}".') from None


def _option(text: str) -> tuple[str, Any]:
    key, equals, value = text.partition("=")
    if not (key and equals):
        raise ValueError(f'--backend-option takes KEY=VALUE; it was "{text}".')
    try:
        return key, json.loads(value)
    except json.JSONDecodeError:
        return key, value
