"""A notice as Slack shows it: Block Kit within an attachment, whose bar has the severity's colour.

What belongs here: blocks, and Slack's limits and escapes. What does not: sending them.
"""

from __future__ import annotations

from typing import Any

from slack_sdk.models.attachments import BlockAttachment
from slack_sdk.models.blocks import (
    ActionsBlock,
    Block,
    ButtonElement,
    ContextBlock,
    HeaderBlock,
    MarkdownTextObject,
    PlainTextObject,
    SectionBlock,
)

from etl_assets.alerts.notice import Fact, Notice, Step
from etl_assets.alerts.plain_text import COLOURS, footer, headline

LONGEST_SECTION = 2_900
LONGEST_FIELD = 1_900
MOST_FIELDS = 10
MOST_BUTTONS = 5


def slack_body(notice: Notice, mention: str) -> dict[str, Any]:
    """Give the JSON of a webhook's message.

    Args:
        notice: What to say.
        mention: Whom to mention, as Slack spells it; empty for nobody.
    """
    colour = COLOURS["over" if notice.status == "recovered" else notice.severity.value]
    attachment = BlockAttachment(color=colour, blocks=_blocks(notice, mention), fallback=headline(notice))
    return {"text": _escaped(headline(notice)), "attachments": [attachment.to_dict()], "unfurl_links": False}


def _blocks(notice: Notice, mention: str) -> list[Block]:
    blocks: list[Block] = [HeaderBlock(text=PlainTextObject(text=_cut(headline(notice), 148)))]
    if mention and notice.status != "recovered":
        blocks.append(_section(mention))
    facts = [_fact(fact) for fact in notice.facts]
    for first in range(0, len(facts), MOST_FIELDS):
        blocks.append(SectionBlock(fields=facts[first : first + MOST_FIELDS]))
    if notice.error:
        blocks.append(_section(f"*Error*\n```{_escaped(notice.error)}```"))
    if notice.did:
        blocks.append(_section(f"*What was done already*\n{_escaped(notice.did)}"))
    blocks += [_section(part) for part in _entries(notice)]
    if notice.steps:
        blocks.append(_section("*What to do*\n" + "\n".join(_step(step) for step in notice.steps)))
    if buttons := _buttons(notice):
        blocks.append(ActionsBlock(elements=buttons))
    if said := footer(notice):
        blocks.append(ContextBlock(elements=[MarkdownTextObject(text=_escaped(said))]))
    return blocks


def _section(text: str) -> SectionBlock:
    return SectionBlock(text=MarkdownTextObject(text=_cut(text, LONGEST_SECTION)))


def _fact(fact: Fact) -> MarkdownTextObject:
    text = _cut(_escaped(fact.text), LONGEST_FIELD)
    first, newline, rest = text.partition("\n")
    shown = f"<{fact.url}|{first}>{newline}{rest}" if fact.url else text
    return MarkdownTextObject(text=f"*{_escaped(fact.label)}*\n{shown}")


def _entries(notice: Notice) -> list[str]:
    """Give the lines of a digest, as few sections as they fit into."""
    parts, current = [], ""
    for entry in notice.entries:
        text = (
            f"<{entry.url}|{_cut(_escaped(entry.text), 400)}>"
            if entry.url
            else _cut(_escaped(entry.text), 400)
        )
        line = f"• {f'*{_escaped(entry.label)}* ' if entry.label else ''}{text}"
        if current and len(current) + len(line) > LONGEST_SECTION:
            parts.append(current)
            current = ""
        current = f"{current}\n{line}" if current else line
    return [*parts, current] if current else parts


def _step(step: Step) -> str:
    command = f"\n`{_escaped(step.command)}`" if step.command else ""
    return f"• {_escaped(step.text)}{command}"


def _buttons(notice: Notice) -> list[ButtonElement]:
    found: dict[str, str] = {}
    for fact in notice.facts:
        if fact.url:
            found.setdefault(
                fact.url, f"Open {fact.label.lower() if fact.label != 'Where' else 'in Dagster'}"
            )
    for step in notice.steps:
        if step.url:
            found.setdefault(step.url, "Open")
    return [
        ButtonElement(text=PlainTextObject(text=label), url=url, action_id=f"open_{number}")
        for number, (url, label) in enumerate(list(found.items())[:MOST_BUTTONS])
    ]


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")


def _cut(text: str, most: int) -> str:
    return text if len(text) <= most else text[: most - 1] + "…"
