"""A small warehouse in which every kind of trouble was planted, by ordinary commits, and a reader of pages.

What belongs here: making both. What does not: assertions.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from html.parser import HTMLParser
from pathlib import Path

from etl_assets.failures import FailureClass
from etl_assets.marts.catalogue import Mart
from etl_assets.outcomes import (
    CheckResult,
    Counts,
    FailureRecord,
    PartitionOutcome,
    SchemaChange,
    SchemaChangeKind,
    Status,
)
from etl_assets.report.facts import Facts
from etl_assets.report.reading import Period, read_facts
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.base import Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema_changes import record_changes
from etl_assets_tests.warehouse.samples import LINES, LOADED_AT, ORDERS, Stager, at, day, line, order

DAYS = 10
WARNED, WITHHELD, FAILED, MISSING = 2, 4, 6, 8
"""Days of order lines with trouble; orders have the first two days and no others."""
HOSTILE = "<script>alert(1)</script> & \"quoted\" 'too'"
SECRET = "correct-horse-battery"
EMAIL = "someone@example.com"
REASON = f"volume: {HOSTILE} {SECRET} {EMAIL}"
MART = Mart("takings", "team:sales", "day", (LINES.id,), "What came in <by day>.", "SELECT 1")
STREAMS = (LINES, ORDERS)


def settings_of(folder: Path) -> Settings:
    """Give settings of a data folder of its own, with a secret among them."""
    return load_settings(
        {
            "ETL_DATA_DIR": str(folder),
            "ETL_SHOP_TOKEN": SECRET,
            "ETL_START_DATE": day(0).isoformat(),
            "ETL_UI_URL": "http://dagster.example.com",
        }
    )


def plant(folder: Path) -> Settings:
    """Load some days, of which some went wrong, and give the settings of the data folder."""
    settings = settings_of(folder / "data")
    stager = Stager(folder / "files")
    passed = CheckResult("volume", "volume", True, False, "10 rows", {"rows": 10.0})
    failed = CheckResult("volume", "volume", False, False, REASON, {"rows": 2.0})
    with Warehouse(settings.warehouse_path).session("plant") as session:
        for number in range(DAYS):
            rows = [line(number, f"{n}") for n in range(10)]
            if number == WARNED:
                warned = {"verdict": Status.PUBLISHED_WITH_WARNINGS, "message": REASON}
                session.commit(stager.request(LINES, number, rows[:2], ["x"], checks=(failed,), **warned))
            elif number == WITHHELD:
                withheld = {"verdict": Status.WITHHELD, "message": REASON}
                session.commit(stager.request(LINES, number, rows[:3], ["x", "y"], **withheld))
            elif number == FAILED:
                session.record_failures([failure(number)], "run-2", LOADED_AT)
            elif number != MISSING:
                session.commit(stager.request(LINES, number, rows, checks=(passed,)))
        for number in (0, 1):
            session.commit(stager.request(ORDERS, number, [order(f"o{number}", at(number, 9))]))
        change = SchemaChange(SchemaChangeKind.SET_ASIDE, None, HOSTILE, None, "VARCHAR", 7)
        record_changes(
            session.connection, ORDERS, day(1), [change], run_id="run-1", at=LOADED_AT.replace(tzinfo=None)
        )
    return settings


def failure(number: int) -> PartitionOutcome:
    """Make a day of order lines that the source refused."""
    return PartitionOutcome(
        stream=LINES.id,
        partition=day(number),
        status=Status.FAILED,
        counts=Counts(),
        message=REASON,
        failure=FailureRecord("extract", FailureClass.TRANSIENT, "SourceError", REASON),
    )


def facts_of(settings: Settings, period: Period | None = None, streams: Sequence[Stream] = STREAMS) -> Facts:
    """Read what a report of the planted days tells."""
    return read_facts(
        settings,
        Warehouse(settings.warehouse_path, lock_timeout=5),
        streams,
        (MART,),
        period or Period(day(0), day(DAYS - 1)),
    )


@dataclass
class Page(HTMLParser):
    """What stands in a page: ids, links, classes, and text by element.

    Attributes:
        ids: Every id, as often as it is given.
        links: Where links lead.
        elements: Number of elements by name.
        loaded: Attributes that a browser would load something for.
        cells: Classes of the cells of calendars.
        text: All text.
        policy: The content security policy.
        unclosed: Elements that are open.
        tables: Kinds of the tables that are open.
    """

    ids: Counter[str] = field(default_factory=Counter)
    links: list[str] = field(default_factory=list)
    elements: Counter[str] = field(default_factory=Counter)
    loaded: list[str] = field(default_factory=list)
    cells: Counter[str] = field(default_factory=Counter)
    text: str = ""
    policy: str = ""
    unclosed: list[str] = field(default_factory=list)
    tables: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, html: str) -> Page:
        """Read a page."""
        page = cls()
        HTMLParser.__init__(page)
        page.feed(html)
        page.close()
        return page

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element."""
        given = dict(attrs)
        self.elements[tag] += 1
        if tag not in ("meta", "link", "input", "br", "img"):
            self.unclosed.append(tag)
        if name := given.get("id"):
            self.ids[name] += 1
        if tag == "a" and given.get("href"):
            self.links.append(str(given["href"]))
        if tag == "td" and "days" in self.tables and given.get("class"):
            self.cells[str(given["class"])] += 1
        if tag == "table":
            self.tables.append("days" if str(given.get("class", "")).startswith("days") else "data")
        if given.get("http-equiv") == "Content-Security-Policy":
            self.policy = str(given["content"])
        for name in ("src", "srcset", "data", "poster", "action", "xlink:href", "background"):
            if name in given:
                self.loaded.append(str(given[name]))
        if tag == "link":
            self.loaded.append(str(given.get("href")))

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Take in an element that has nothing in it, as in SVG."""
        self.handle_starttag(tag, attrs)
        self.handle_endtag(tag)

    def handle_endtag(self, tag: str) -> None:
        """Leave an element."""
        if tag in self.unclosed:
            assert self.unclosed.pop() == tag, f"{tag} ends within another element"
        if tag == "table":
            self.tables.pop()

    def handle_data(self, data: str) -> None:
        """Take in text."""
        if not self.unclosed or self.unclosed[-1] not in ("script", "style"):
            self.text += data
