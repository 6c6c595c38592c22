"""How quantities read, everywhere the same: seconds, bytes, US dollars.

Sentences and tables are made of these elsewhere; those about a plan in ``plan_view``.
"""

from __future__ import annotations

import math

from tsne_backends.answers import Estimate

#: In place of a figure that nobody can tell.
NOTHING = "–"


def seconds(value: float) -> str:
    """Return seconds with two digits where they matter, or minutes, or hours."""
    if not math.isfinite(value):
        return NOTHING
    if value < 9.5:
        return f"{value:.1f} s"
    if value < 600:
        return f"{value:.0f} s"
    if value < 7200:
        return f"{value / 60:.0f} min"
    return f"{value / 3600:,.0f} h"


def dollars(value: float) -> str:
    """Return US dollars, to a tenth of a cent below one dollar, and finer below that."""
    if value >= 1:
        return f"${value:,.2f}"
    return f"${value:.3f}" if value == 0 or value >= 0.0005 else f"${value:.6f}"


def price(estimate: Estimate) -> str:
    """Return what a run costs, and what may come on top."""
    if not estimate.idle_usd:
        return dollars(estimate.usd)
    return (
        f"{dollars(estimate.usd)} and up to {dollars(estimate.idle_usd)} while the machine waits "
        "for another run"
    )


def size(n_bytes: float) -> str:
    """Return bytes in the unit that suits them."""
    for unit, factor in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if n_bytes >= factor:
            return f"{n_bytes / factor:,.{0 if n_bytes >= 10 * factor else 1}f} {unit}"
    return f"{n_bytes:.0f} bytes"
