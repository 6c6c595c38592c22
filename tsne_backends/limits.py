"""What closes a way that could run: the user's settings, and this machine's memory.

Each function returns the reason as a sentence, or nothing.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tsne_backends.machine import Machine
from tsne_backends.settings import Settings
from tsne_backends.wording import dollars, price, size

if TYPE_CHECKING:
    from tsne_backends.plan import Candidate


def set_by_user(way: Candidate, settings: Settings, asked: str) -> str:
    """Return which of the user's settings closes a way.

    Parameters
    ----------
    way : Candidate
    settings : Settings
    asked : str
        Where the user asked for a backend by name, a list of backends does not apply.
    """
    if way.remote and not settings.allow_remote:
        return (
            "Data may not leave this machine: allow_remote is switched off by "
            f"{settings.source('allow_remote')}."
        )
    if too_dear := _too_dear(way, settings):
        return too_dear
    if asked == "auto" and settings.backends is not None and way.backend not in settings.backends:
        return f"It is not among the backends listed by {settings.source('backends')}."
    return ""


def set_by_memory(way: Candidate, machine: Machine) -> str:
    """Return whether a local way would need more memory than there is."""
    if way.remote or way.estimate is None or way.estimate.memory_bytes <= machine.memory_bytes:
        return ""
    return (
        f"It would need about {size(way.estimate.memory_bytes)} of memory; this machine has "
        f"{size(machine.memory_bytes)}."
    )


def _too_dear(way: Candidate, settings: Settings) -> str:
    limit = settings.max_cost
    if limit is None or not way.remote or way.usd <= limit:
        return ""
    allowed = f"{settings.source('max_cost')} allows {dollars(limit)}."
    if way.estimate is None:
        return f"What it costs is not known, and {allowed}"
    return f"It would cost {price(way.estimate)}; {allowed}"
