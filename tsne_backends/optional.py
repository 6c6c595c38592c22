"""Imports libraries that are not always installed, with the command that installs them.

These are the libraries of files, tables and pictures. What an engine needs, its backend says
itself, and the command that installs it is in ``registry``.
"""

from __future__ import annotations

import importlib
from typing import Any


def import_optional(module: str, extra: str, purpose: str) -> Any:
    """Import a library that is not always installed.

    Parameters
    ----------
    module : str
        Dotted name.
    extra : str
        The extra of this package that installs it.
    purpose : str
        What needs it, in the plural, for the message.

    Raises
    ------
    ImportError
        It is not installed; the message holds the command that installs it.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"{purpose} need {module.partition('.')[0]}, which cannot be imported ({error}); run "
            f'`pip install "serverless-tsne[{extra}]"`.'
        ) from error
