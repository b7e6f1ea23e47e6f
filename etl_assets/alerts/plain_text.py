"""A notice as plain text: for e-mails, for Apprise, and for the first line of everything.

What belongs here: words and their order. What does not: any markup.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from etl_assets.alerts.notice import Notice

COLOURS: Mapping[str, str] = {
    "info": "#2563eb",
    "warning": "#b45309",
    "error": "#b91c1c",
    "critical": "#7f1d1d",
    "over": "#15803d",
}
"""Dark enough that white text on them can be read."""

_LABELS = {"recovered": "over", "test": "test"}


def headline(notice: Notice) -> str:
    """Give the first line: `[error] shop/orders 2025-01-09 failed to load`."""
    label = _LABELS.get(notice.status, notice.severity.value)
    return f"[{label}{', again' if notice.status == 'again' else ''}] {notice.title}"


def footer(notice: Notice) -> str:
    """Say how to take care of what a notice is about; empty where nothing can be done about it any more."""
    if not notice.problems or notice.status in ("recovered", "news"):
        return ""
    number = str(notice.problems[0]) if len(notice.problems) == 1 else "NUMBER"
    return f"etl-assets alerts ack {number}, or: etl-assets alerts mute '#{number}' --for 2h"


def plain_text(notice: Notice) -> str:
    """Give the whole notice as text."""
    return "\n".join(_lines(notice)) + "\n"


def _lines(notice: Notice) -> Iterator[str]:
    yield headline(notice)
    yield ""
    for fact in notice.facts:
        first, *more = fact.text.splitlines() or [""]
        yield f"{fact.label}: {first}"
        yield from (f"  {line}" for line in more)
        if fact.url:
            yield f"  {fact.url}"
    if notice.error:
        yield from ("", "Error:", f"  {notice.error}")
    if notice.did:
        yield from ("", "What was done already:", f"  {notice.did}")
    for entry in notice.entries:
        yield ""
        yield f"- {entry.label}: {entry.text}" if entry.label else f"- {entry.text}"
        if entry.url:
            yield f"  {entry.url}"
    if notice.steps:
        yield from ("", "What to do:")
    for step in notice.steps:
        yield f"- {step.text}"
        yield from (f"    {line}" for line in (step.command, step.url) if line)
    if said := footer(notice):
        yield from ("", said)
