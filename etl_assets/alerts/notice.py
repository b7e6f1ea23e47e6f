"""What a message says, before it is Slack's, an e-mail's or anybody else's: plain values that the outbox keeps as JSON.

What belongs here: the values, and writing and reading them. What does not: what stands in them (`compose`), and how
they look (`slack_blocks`, `mail`, `plain_text`).
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any

from etl_assets.alerts.conditions import Severity


@dataclass(frozen=True, slots=True)
class Fact:
    """A labelled fact, with a place to look at it."""

    label: str
    text: str
    url: str = ""


@dataclass(frozen=True, slots=True)
class Step:
    """Something that the reader can do: a sentence, and a command or an address for it."""

    text: str
    command: str = ""
    url: str = ""


@dataclass(frozen=True, slots=True)
class Notice:
    """One message.

    Attributes:
        status: `new`, `again`, `recovered`, `digest`, `news` or `test`.
        severity: How much it matters.
        title: What happened, and where, in one line.
        facts: Since when, how much data, whose it is, and so on.
        error: First line of the error; empty where there is none.
        did: What the platform did by itself.
        steps: What to do next.
        entries: The parts of a message about many problems.
        owners: Whose it is.
        problems: Numbers of the problems that it is about.
    """

    status: str
    severity: Severity
    title: str
    facts: Sequence[Fact] = ()
    error: str = ""
    did: str = ""
    steps: Sequence[Step] = ()
    entries: Sequence[Fact] = ()
    owners: Sequence[str] = ()
    problems: Sequence[int] = field(default=())

    def to_json(self) -> str:
        """Write it as JSON."""
        return json.dumps(asdict(self), ensure_ascii=False)

    @classmethod
    def from_json(cls, text: str) -> Notice:
        """Read what was written as JSON."""
        value: dict[str, Any] = json.loads(text)
        value["severity"] = Severity(value["severity"])
        for name, kind in (("facts", Fact), ("entries", Fact), ("steps", Step)):
            value[name] = tuple(kind(**each) for each in value[name])
        value["owners"], value["problems"] = tuple(value["owners"]), tuple(value["problems"])
        return cls(**value)
