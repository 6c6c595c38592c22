"""How a plan reads: as a sentence, a table of text, HTML for notebooks, or plain values.

Everywhere the same words; what they say was decided in ``planning``. How seconds, bytes and dollars
read is in ``wording``.
"""

from __future__ import annotations

import html as html_module
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from tsne_backends.answers import ESTIMATED_PARTS, Estimate
from tsne_backends.problem import GRADIENT_FACTOR
from tsne_backends.wording import NOTHING, dollars, price, seconds, size

if TYPE_CHECKING:
    from tsne_backends.plan import Candidate, Plan

#: Parts that local runs need not have; they are shown as a dash where they take no time there.
REMOTE_PARTS = ("start", "upload", "download")
HEADINGS = ("backend", "verdict", *ESTIMATED_PARTS, "total", "cost")


def sentence(plan: Plan) -> str:
    """Return the decision in one line."""
    chosen, *others = plan.usable
    about = f" in about {seconds(chosen.total)}" if chosen.estimate else ""
    price_tag = f" for {price(chosen.estimate)}" if chosen.estimate and chosen.remote else ""
    words = [
        f"{plan.n_samples:,} × {plan.n_features:,} runs on {chosen.label}{about}{price_tag}: "
        f"{chosen.verdict.reason}"
    ]
    for way in others:
        expected = f", {seconds(way.total)}" if way.estimate else ""
        words.append(f"{way.label} is {verdict_words(way, plan)}{expected}.")
    refused = plan.candidates[len(plan.usable) :]
    words += [f"{way.label} is out: {way.verdict.reason}" for way in refused]
    return " ".join(words)


def outcome(plan: Plan) -> str:
    """Return in one line what a run took beside what was expected."""
    if plan.ran is None or plan.actual is None:
        return "Nothing has run yet."
    estimate = next(way.estimate for way in plan.candidates if way.label == plan.ran)
    expected = (
        "nobody could tell how long it would"
        if estimate is None
        else (f"{seconds(estimate.total)} were expected")
    )
    return f"{plan.ran} took {seconds(plan.actual.total)}; {expected}.{_sent(plan)}"


def _sent(plan: Plan) -> str:
    """Return what was sent and what that cost in neighbours, where anything was."""
    if not plan.transfer:
        return ""
    sent = plan.transfer["n_bytes"]
    what = f"{size(sent)} of X" if sent else "no X, which the service still had"
    return (
        f" It sent {what} (codec {plan.transfer['codec']}, which changes "
        f"{100 * plan.transfer['loss']:.1f} % of the neighbours, as measured)."
    )


def verdict_words(way: Candidate, plan: Plan) -> str:
    """Return why a candidate that can run is, or is not, the one that does."""
    chosen = plan.candidates[0]
    if way is chosen:
        return "chosen"
    if way.estimate is None:
        return "of unknown speed"
    if plan.prefer == "order":
        return "listed later"
    if plan.prefer == "cost" and way.usd > chosen.usd:
        return "dearer"
    if way.total > chosen.total:
        return "slower"
    return "hardly faster, so X stays here" if way.remote and not chosen.remote else "as good"


def text(plan: Plan, *, complete: bool = False) -> str:
    """Return the table as text; ``complete`` adds size, schedule and what an idle machine costs."""
    lines = _aligned(_rows(plan))
    if complete:
        lines = [f"Plan for {plan.n_samples:,} × {plan.n_features:,}", *lines, *_notes(plan)]
    return "\n".join(lines)


def html(plan: Plan) -> str:
    """Return the table as HTML."""
    rows = []
    for cells in _rows(plan)[1:]:
        if len(cells) == 2:  # a refusal takes the room of the figures
            name, reason = map(html_module.escape, cells)
            rows.append(f"<td>{name}</td><td colspan='{len(HEADINGS) - 1}'>{reason}</td>")
        else:
            rows.append("".join(f"<td>{html_module.escape(cell)}</td>" for cell in cells))
    head = "".join(f"<th>{heading}</th>" for heading in HEADINGS)
    body = "".join(f"<tr>{row}</tr>" for row in rows)
    notes = "".join(f"<div>{html_module.escape(note)}</div>" for note in _notes(plan))
    return (
        f"<div>Plan for {plan.n_samples:,} × {plan.n_features:,}</div>"
        f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>{notes}"
    )


def fitted_html(tsne: Any) -> str:
    """Return in one line of HTML what made the map of a fitted estimator, with its plan folded."""
    rows, columns = tsne.embedding_.shape
    words = (
        f"Map of {rows:,} × {columns} by backend {tsne.backend_}: {tsne.n_iter_} iterations, KL "
        f"divergence {tsne.kl_divergence_:.3f}, {seconds(tsne.timings_['total'])}"
    )
    return f"<details><summary>{html_module.escape(words)}</summary>{html(tsne.plan_)}</details>"


def plain(plan: Plan) -> dict[str, Any]:
    """Return the plan as plain Python values, fit for JSON."""
    return {
        "chosen": plan.chosen,
        "order": list(plan.order),
        "candidates": [
            {
                "label": way.label,
                "backend": way.backend,
                "ok": way.verdict.ok,
                "reason": way.verdict.reason,
                "verdict": verdict_words(way, plan) if way.verdict.ok else "refused",
                "remote": way.remote,
                "options": dict(way.options),
                "estimate": _plain_estimate(way.estimate),
            }
            for way in plan.candidates
        ],
        "prefer": plan.prefer,
        "link": None if plan.link is None else vars(plan.link).copy(),
        "phases": [vars(phase).copy() for phase in plan.phases],
        "n_samples": plan.n_samples,
        "n_features": plan.n_features,
        "n_bytes": plan.n_bytes,
        "ran": plan.ran,
        "actual": _plain_estimate(plan.actual),
        "transfer": dict(plan.transfer),
    }


def _rows(plan: Plan) -> list[tuple[str, ...]]:
    """Return headings and cells; a row of two is a refusal, whose reason needs the whole width."""
    rows: list[tuple[str, ...]] = [HEADINGS]
    for way in plan.candidates:
        if way.verdict.ok:
            mark = f"✔ {verdict_words(way, plan)}"
            rows.append((way.label, mark, *_cells(way.estimate, way.remote)))
        else:
            rows.append((way.label, f"✘ {way.verdict.reason}"))
        if way.label == plan.ran:
            rows.append(("", "took", *_cells(plan.actual, way.remote)))
    return rows


def _cells(estimate: Estimate | None, remote: bool) -> list[str]:
    if estimate is None:
        return [NOTHING] * (len(HEADINGS) - 2)
    cells = [
        seconds(value) if remote or value or part not in REMOTE_PARTS else NOTHING
        for part, value in estimate.parts().items()
    ]
    return [*cells, seconds(estimate.total), dollars(estimate.usd) if remote else NOTHING]


def _aligned(rows: Sequence[tuple[str, ...]]) -> list[str]:
    full = [cells for cells in rows if len(cells) > 2]
    widths = [max(len(cells[column]) for cells in full) for column in range(len(HEADINGS))]
    widths[0] = max(len(cells[0]) for cells in rows)
    lines = []
    for cells in rows:
        if len(cells) == 2:
            lines.append(f"{cells[0]:<{widths[0]}}  {cells[1]}")
            continue
        name, verdict, *figures = cells
        columns = [f"{name:<{widths[0]}}", f"{verdict:<{widths[1]}}"]
        columns += [f"{cell:>{width}}" for cell, width in zip(figures, widths[2:], strict=True)]
        lines.append("  ".join(columns).rstrip())
    return lines


def _notes(plan: Plan) -> list[str]:
    rates = ", ".join(
        f"{phase.name}: {phase.n_iter} iterations at learning rate {phase.learning_rate:g} "
        f"(openTSNE's {phase.learning_rate * GRADIENT_FACTOR:g})"
        for phase in plan.phases
    )
    notes = [rates]
    for way in plan.usable:
        if way.estimate and way.estimate.idle_usd:
            notes.append(
                f"{way.label}: up to {dollars(way.estimate.idle_usd)} more if no other run follows "
                "while the machine waits."
            )
    if plan.link is not None:
        rate = 8 * plan.link.upload_bytes_per_second / 1e6
        source = "as measured" if plan.link.measured else "assumed until something was sent"
        notes.append(f"Upload at {rate:.3g} Mbit/s, {source}.")
    return notes


def _plain_estimate(estimate: Estimate | None) -> dict[str, float] | None:
    return None if estimate is None else {**vars(estimate), "total": estimate.total}
