"""How a room of the loopback says which of Modal's remote procedures it answers.

Here is the mark alone. The answers are in the rooms, and ``control_plane`` puts them together.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

F = TypeVar("F", bound=Callable[..., Any])


def procedure(*names: str) -> Callable[[F], F]:
    """Mark a method as the answer to procedures of the protocol."""

    def mark(function: F) -> F:
        # The type of a function knows no attributes; the mark is read back by `procedures_of`.
        function.procedures = names  # type: ignore[attr-defined]
        return function

    return mark


def procedures_of(room: object) -> dict[str, Callable[[Any], Any]]:
    """Return a room's answers by the name of the procedure."""
    methods = [getattr(room, name) for name in dir(type(room))]
    return {
        name: method
        for method in methods
        if callable(method)
        for name in getattr(method, "procedures", ())
    }
