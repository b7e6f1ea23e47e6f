"""The page: one HTML file with everything in it, and writing it.

What belongs here: putting facts, charts and templates together. What does not: the facts (`reading`) and the drawings
(`charts`).
"""

from __future__ import annotations

import base64
import errno
import hashlib
import os
import re
import secrets
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from functools import cache
from itertools import groupby
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from etl_assets.failures import ConfigurationError, is_disk_full
from etl_assets.quality.dictionary import AUDIT_HEADS, COLUMN_HEADS, TableDescription, describe_table
from etl_assets.report import charts
from etl_assets.report.calendar import Block, calendar
from etl_assets.report.facts import Day, DayStatus, Facts, StreamFacts
from etl_assets.report.lineage import BOX_HEIGHT, BOX_WIDTH, lineage
from etl_assets.report.problems import Problem, attention, problems_of, stream_slug, targets_of

_TONES = {
    DayStatus.PUBLISHED: "p",
    DayStatus.PUBLISHED_WITH_WARNINGS: "w",
    DayStatus.WITHHELD: "h",
    DayStatus.FAILED: "f",
    DayStatus.MISSING: "m",
    DayStatus.LOST: "l",
}
"""Classes of the style sheet: one letter, since there is a cell for each day."""
_GLYPHS = dict(
    zip(DayStatus, ("\N{NO-BREAK SPACE}", "!", "W", "F", "\N{NO-BREAK SPACE}", "\N{EN DASH}"), strict=True)
)
"""What tells statuses apart where colours do not; the style sheet has the same for the calendar."""
SHOWN_FIRST = 12
"""Things to look at that are shown before the reader asks for more."""
_CODE = re.compile(r"`([^`]+)`")


@dataclass(frozen=True, slots=True)
class Month:
    """A month of a stream in numbers, for those who cannot see the charts, or want the figures."""

    name: str
    counts: Counter[DayStatus]
    extracted: int
    quarantined: int


@dataclass(frozen=True, slots=True)
class Section:
    """What the page tells of one stream."""

    slug: str
    facts: StreamFacts
    blocks: list[Block]
    months: list[Month]
    problems: list[Problem]
    problems_left_out: int
    failed_checks_left_out: int
    volumes: Markup
    checks: Markup
    table: TableDescription


def render(facts: Facts) -> str:
    """Make the page.

    Args:
        facts: What it tells.

    Returns:
        HTML that needs nothing else: no other file, and no network.
    """
    environment = _environment()
    script, style = (_asset(name) for name in ("report.js", "report.css"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    return environment.get_template("report.html").render(
        facts=facts,
        statuses=list(DayStatus),
        attention=attention(facts),
        shown_first=SHOWN_FIRST,
        sections=[_section(facts, stream) for stream in facts.streams],
        overview=Markup(charts.overview_chart(facts)) if facts.streams else "",
        stages=Markup(charts.stages_chart(facts.stages)),
        most=max((reason.rows for reason in facts.reasons), default=1),
        lineage=lineage(facts),
        box=(BOX_WIDTH, BOX_HEIGHT),
        column_heads=COLUMN_HEADS,
        audit_heads=AUDIT_HEADS,
        script=Markup(script),
        style=Markup(style),
        policy=f"default-src 'none'; style-src 'unsafe-inline'; script-src 'sha256-{digest}'; img-src data:; "
        "base-uri 'none'; form-action 'none'",
    )


def check_place(path: Path) -> None:
    """Find out that a file cannot be written before anything is read for it.

    Raises:
        ConfigurationError: If it cannot.
    """
    if path.is_dir():
        raise _unwritable(path, os.strerror(errno.EISDIR))
    if not path.parent.is_dir():
        raise _unwritable(path, f"there is no folder {path.parent}")
    if not os.access(path.parent, os.W_OK):
        raise _unwritable(path, os.strerror(errno.EACCES))


def write(page: str, path: Path) -> int:
    """Write the page, which appears whole or not at all, and give its size in bytes.

    Raises:
        ConfigurationError: If it cannot be written there.
    """
    draft = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}")
    data = page.encode()
    try:
        draft.write_bytes(data)
        draft.replace(path)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise _unwritable(path, error.strerror or str(error)) from error
    finally:
        with suppress(OSError):
            draft.unlink()
    return len(data)


def _unwritable(path: Path, reason: str) -> ConfigurationError:
    return ConfigurationError(f"{path} cannot be written: {reason}", hint="name another file with --output")


def _section(facts: Facts, stream: StreamFacts) -> Section:
    problems, left_out = problems_of(stream)
    blocks = calendar(stream.days, targets_of(problems))
    width = charts.BESIDE if blocks[0].is_roomy else charts.WIDTH
    return Section(
        slug=stream_slug(stream.id),
        facts=stream,
        blocks=blocks,
        months=_months(stream.days),
        problems=problems,
        problems_left_out=left_out,
        failed_checks_left_out=facts.left_out.get(f"failed checks of {stream.id}", 0),
        volumes=Markup(charts.volume_chart(stream, facts.first, facts.last, width)),
        checks=Markup(charts.checks_chart(stream.checks, stream.id, facts.first, facts.last)),
        table=describe_table(stream.stream),
    )


def _months(days: Sequence[Day]) -> list[Month]:
    found = []
    for name, grouped in groupby(days, key=lambda day: f"{day.day:%Y-%m}"):
        together = list(grouped)
        counts = Counter(day.status for day in together)
        extracted, bad = (
            sum(getattr(day, field) for day in together) for field in ("extracted", "quarantined")
        )
        found.append(Month(name, counts, extracted, bad))
    return found


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("etl_assets.report", "templates"),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=StrictUndefined,
    )
    environment.globals |= {"S": DayStatus, "tone": _TONES, "glyph": _GLYPHS}
    environment.filters |= {
        "number": lambda value: f"{value:,}",
        "share": _share,
        "seconds": lambda value: f"{value:,.2f}",
        "time": _time,
        "code": _code,
        "slug": stream_slug,
    }
    return environment


@cache
def _asset(name: str) -> str:
    environment = _environment()
    assert environment.loader is not None
    return environment.loader.get_source(environment, name)[0].strip()


def _share(part: int, whole: int) -> str:
    return f"{part / whole:.2%}" if whole else "-"


def _time(moment: datetime | date | None) -> str:
    return "-" if moment is None else f"{moment:%Y-%m-%d %H:%M}"


def _code(text: str) -> Markup:
    """Escape a text, and show what stands in backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(text))))
