"""What the user allows: from the call, then the environment, then the configuration file.

Here three sources become one `Settings`; what follows from it is decided in ``planning``. Nonsense
is refused rather than ignored, because one of the settings keeps data on this machine.
"""

from __future__ import annotations

import math
import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tsne_backends.errors import ConfigurationError, did_you_mean

PREFERENCES = ("time", "cost", "order")
ENVIRONMENT_PREFIX = "SERVERLESS_TSNE_"

_YES = ("1", "true", "yes", "on")
_NO = ("0", "false", "no", "off")


@dataclass(frozen=True)
class Settings:
    """What ``auto`` may do, and what it should aim at.

    Attributes
    ----------
    allow_remote : bool
        Whether data may leave this machine at all.
    backends : tuple of str or None
        The only backends ``auto`` considers; of two equally quick ones the first is taken.
    max_cost : float or None
        USD one fit may cost at most, the idle time of a rented machine included.
    prefer : {"time", "cost", "order"}
        What is best: finished first, cheapest, or first in ``backends``.
    remember : bool
        Whether the seconds of each run are kept to improve the next estimate.
    sources : mapping of str to str
        For each setting that was made: where, in words for messages.
    """

    allow_remote: bool = True
    backends: tuple[str, ...] | None = None
    max_cost: float | None = None
    prefer: str = "time"
    remember: bool = True
    sources: Mapping[str, str] | None = None

    def source(self, name: str) -> str:
        """Return where a setting was made, in words for messages.

        Parameters
        ----------
        name : str
            Of an attribute of these settings.

        Returns
        -------
        str
            Such as ``"the parameter max_cost"``; ``"the default"`` where nobody made it.
        """
        return (self.sources or {}).get(name, "the default")


def read_settings(parameters: Mapping[str, Any]) -> Settings:
    """Combine call, environment and configuration file; the first that says something wins.

    Parameters
    ----------
    parameters : mapping of str to object
        Settings given in the call; None means that the call says nothing.

    Returns
    -------
    Settings

    Raises
    ------
    ConfigurationError
        A variable or the file holds something that has no meaning; it names the place.
    """
    found: dict[str, Any] = {}
    sources: dict[str, str] = {}
    for values, place in (
        (_from_file(), f'"{{name}}" in {config_file()}'),
        (_from_environment(), f"the environment variable {ENVIRONMENT_PREFIX}{{NAME}}"),
        (parameters, "the parameter {name}"),
    ):
        for name, value in values.items():
            if value is not None:
                found[name] = value
                sources[name] = place.format(name=name, NAME=name.upper())
    return Settings(**found, sources=sources)


def settings_of(estimator: Any) -> Settings:
    """Read the settings with what an estimator's parameters say of them.

    Parameters
    ----------
    estimator : ServerlessTSNE

    Returns
    -------
    Settings

    Raises
    ------
    ConfigurationError
        As in `read_settings`.
    """
    return read_settings(
        {name: getattr(estimator, name) for name in ("max_cost", "allow_remote", "prefer")}
    )


def config_file() -> Path:
    """Return where the configuration file is looked for; it need not exist."""
    import platformdirs

    return Path(platformdirs.user_config_path("serverless-tsne")) / "config.toml"


def _from_environment() -> dict[str, Any]:
    found = {}
    for name, parse in _PARSERS.items():
        variable = ENVIRONMENT_PREFIX + name.upper()
        text = os.environ.get(variable, "").strip()
        if text:  # an empty variable says nothing, as everywhere on a command line
            found[name] = _parsed(parse, text, f"The environment variable {variable}")
    return found


def _from_file() -> dict[str, Any]:
    path = config_file()
    try:
        text = path.read_text(encoding="utf-8")
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(
            f"The configuration file {path} cannot be read ({error}); repair it or remove it."
        ) from error
    try:
        content = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigurationError(
            f"The configuration file {path} is not valid TOML: {error}. Correct that line."
        ) from error
    found = {}
    for name, value in content.items():
        if name not in _PARSERS:
            raise ConfigurationError(
                f'The configuration file {path} sets "{name}", which does not exist; known '
                f"settings: {', '.join(_PARSERS)}.{did_you_mean(name, _PARSERS)}"
            )
        where = f'"{name}" in the configuration file {path}'
        found[name] = _parsed(_PARSERS[name], value, where)
    return found


def _parsed(parse: Callable[[Any], Any], value: Any, where: str) -> Any:
    try:
        return parse(value)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(f"{where} is {value!r}, but it must be {error}.") from None


# Each parser takes the text of a variable or a value of the file, and raises with what is legal.


def _switch(value: Any) -> bool:
    if isinstance(value, bool):
        return value
    text = value.lower() if isinstance(value, str) else ""
    if text not in _YES + _NO:
        raise ValueError(f"one of {', '.join(_YES)} or {', '.join(_NO)}")
    return text in _YES


def _dollars(value: Any) -> float:
    legal = "a number of US dollars, 0 or more"
    if isinstance(value, bool):
        raise ValueError(legal)
    try:
        number = float(value)
    except (ValueError, TypeError):
        raise ValueError(legal) from None
    if not (math.isfinite(number) and number >= 0):
        raise ValueError(legal)
    return number


def _names(value: Any) -> tuple[str, ...]:
    parts = value.split(",") if isinstance(value, str) else value
    parts = parts if isinstance(parts, list) else []
    names = tuple(part.strip() if isinstance(part, str) else "" for part in parts)
    if not names or not all(names) or len(set(names)) < len(names):
        raise ValueError('backend names without repetition, such as "opentsne,sklearn"')
    return names


def _preference(value: Any) -> str:
    if value not in PREFERENCES:
        raise ValueError(f"one of {', '.join(PREFERENCES)}")
    return str(value)


_PARSERS: dict[str, Callable[[Any], Any]] = {
    "allow_remote": _switch,
    "backends": _names,
    "max_cost": _dollars,
    "prefer": _preference,
    "remember": _switch,
}
