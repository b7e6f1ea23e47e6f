"""Faults planted into single days of the real year, and who notices them.

What belongs here: what each fault does to the raw records of a day, and putting the spoiled day before contract and
audits as a load would, without committing it. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import closing
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson

from etl_assets.landing.store import Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.documents import records_of
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.pipeline.staged import StagedStore
from etl_assets.pipeline.staging import stage_partition
from etl_assets.quality.audits.judge import judge
from etl_assets.quality.audits.staged_day import StagedDay, table_of
from etl_assets.quality.verdict import decide
from etl_assets.settings import Settings
from etl_assets.streams.base import Rest, Stream
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.integration.shops import LINES, ORDERS

Record = dict[str, Any]
CUSTOMERS = "shop/customers"
CUSTOMERS_ON = date(2011, 12, 19)


@dataclass(frozen=True)
class Day:
    """Raw records of a day and of the one before it that has any."""

    records: list[Record]
    before: list[Record]


@dataclass(frozen=True)
class Fault:
    """One way in which a day can be wrong.

    Attributes:
        name: What happened, as the documentation says it.
        stream: Where.
        plant: Makes the wrong day of the right one.
        caught_by: The check that is expected to notice it first of all.
    """

    name: str
    stream: str
    plant: Callable[[Day], list[Record]]
    caught_by: str


def _each(**changes: Callable[[Any], Any]) -> Callable[[Day], list[Record]]:
    """Change fields of every record."""
    return lambda day: [
        record | {name: change(record[name]) for name, change in changes.items()} for record in day.records
    ]


def _pence(text: str) -> str:
    return f"{float(text) * 100:.2f}"


def _shifted(days: int) -> Callable[[str], str]:
    def shift(text: str) -> str:
        moved = datetime.fromisoformat(text.replace("Z", "+00:00")) + timedelta(days=days)
        return moved.strftime("%Y-%m-%dT%H:%M:%SZ")

    return shift


def _renumbered(records: Sequence[Record], first: int) -> list[Record]:
    return [
        record | {"line_id": f"{record['invoiced_at'][:10]}-{first + number}"}
        for number, record in enumerate(records)
    ]


def _of_the_day_before(day: Day) -> list[Record]:
    today = day.records[0]["invoiced_at"][:10]
    moved = [record | {"invoiced_at": today + record["invoiced_at"][10:]} for record in day.before]
    return _renumbered(moved, 0)


def _with_ids_of_the_day_before(day: Day) -> list[Record]:
    yesterday = day.before[0]["invoiced_at"][:10]
    return [record | {"line_id": yesterday + record["line_id"][10:]} for record in day.records]


FAULTS = (
    Fault("half of the lines are missing", LINES, lambda day: day.records[::2], "agreement__orders"),
    Fault("only the first 200 lines came", LINES, lambda day: day.records[:200], "agreement__orders"),
    Fault("the day is empty", LINES, lambda day: [], "agreement__orders"),
    Fault("every line came twice", LINES, lambda day: day.records * 2, "contract"),
    Fault(
        "every line came twice, under another id",
        LINES,
        lambda day: day.records + _renumbered(day.records, 100_000),
        "agreement__orders",
    ),
    Fault("the day before came again, as this day", LINES, _of_the_day_before, "agreement__orders"),
    Fault(
        "line ids are those of the day before", LINES, _with_ids_of_the_day_before, "unique_in_table__line_id"
    ),
    Fault("times are a day late", LINES, _each(invoiced_at=_shifted(1)), "contract"),
    Fault("prices are in pence", LINES, _each(unit_price=_pence), "mean_drift__unit_price"),
    Fault(
        "every tenth price is in pence",
        LINES,
        lambda day: [
            record | ({"unit_price": _pence(record["unit_price"])} if number % 10 == 0 else {})
            for number, record in enumerate(day.records)
        ],
        "outliers__unit_price",
    ),
    Fault(
        "prices have lost their decimals",
        LINES,
        _each(unit_price=lambda price: str(int(float(price)))),
        "agreement__orders",
    ),
    Fault(
        "quantities have the wrong sign",
        LINES,
        _each(quantity=lambda quantity: -quantity),
        "mean_drift__quantity",
    ),
    Fault("no customer is known", LINES, _each(customer_id=lambda _: None), "null_share__customer_id"),
    Fault(
        "customers have another form of id",
        LINES,
        _each(customer_id=lambda one: one and f"C-{one}"),
        "foreign_key__customer_id",
    ),
    Fault(
        "United Kingdom became GB",
        LINES,
        _each(country=lambda country: "GB" if country == "United Kingdom" else country),
        "categories__country",
    ),
    Fault(
        "cancelled invoices have lost their C",
        LINES,
        _each(invoice_no=lambda number: number.removeprefix("C")),
        "agreement__orders",
    ),
    Fault("half of the orders are missing", ORDERS, lambda day: day.records[::2], "agreement__order_lines"),
    Fault("totals are in pence", ORDERS, _each(total=_pence), "mean_drift__total_amount"),
    Fault("totals are in euros", ORDERS, _each(currency=lambda _: "EUR"), "categories__currency"),
    Fault("orders were made a day earlier", ORDERS, _each(created_at=_shifted(-1)), "agreement__order_lines"),
)


@dataclass(frozen=True)
class Verdict:
    """What became of a spoiled day.

    Attributes:
        status: How it would have ended.
        caught_by: The checks that noticed it.
    """

    status: Status
    caught_by: tuple[str, ...]


class RealShop:
    """Days of the real shop, loaded, into which faults can be planted.

    Args:
        settings: Where they are to be loaded, and where from.
    """

    def __init__(self, settings: Settings) -> None:
        self._catalogue = discover_streams()
        self._settings = settings
        self._environment = Environment.of(settings, self._catalogue.code_versions, streams=self._catalogue)

    def load(self, days: Sequence[date]) -> list[PartitionOutcome]:
        """Load the customers once, and lines and orders of all days."""
        wanted: Mapping[str, Sequence[date]] = {CUSTOMERS: [CUSTOMERS_ON], LINES: days, ORDERS: days}
        outcomes = []
        for stream_id, of_stream in wanted.items():
            stream = self._catalogue[stream_id]
            with closing(self._environment.open_source(stream.source)) as reader:
                pipeline = PartitionPipeline(
                    environment=self._environment,
                    stream=stream,
                    stages=frozenset(Stage),
                    run_id="planted",
                    client=reader,
                    now=lambda: datetime(2011, 12, 20, tzinfo=UTC),
                )
                outcomes += list(run_partitions(pipeline, of_stream, reporter=SilentReporter(), threads=2))
        return outcomes

    def judge(self, fault: Fault, day: date, folder: Path) -> Verdict:
        """Plant a fault into a day and put it before contract and audits, all other days being loaded."""
        stream = self._catalogue[fault.stream]
        records = fault.plant(Day(self._records(stream, day), self._before(stream, day)))
        folder = folder / fault.name.replace(" ", "_") / day.isoformat()
        landing = Landing(folder / "landing")
        field = stream.extract.records if isinstance(stream.extract, Rest) else None
        body = orjson.dumps({field: records} if field else records)
        with LandingWriter(
            landing, stream.id, day, run_id="fault", window=stream.extract.window_of(day)
        ) as writer:
            writer.add(body, len(records))
            landed = writer.finish()
        staged = stage_partition(
            StagedStore(folder / "staged"), stream, day, landed, "v", self._environment.pseudonymiser(stream)
        )
        status, _ = decide(staged.counts, staged.violations, stream.budget)
        one = StagedDay(stream, day, staged.rows, staged.counts, staged.statistics)
        with self._environment.warehouse.session("judge a fault") as session:
            # As when the day is loaded for the first time: a merge would find in the table what did not come again.
            session.connection.execute("BEGIN TRANSACTION")
            session.connection.execute(f"DELETE FROM {table_of(stream.id)} WHERE _partition = ?", [day])
            session.connection.execute(
                "DELETE FROM etl.partitions WHERE stream = ? AND partition = ?", [stream.name, day]
            )
            [results] = judge(session.connection, [one], self._catalogue)
            session.connection.execute("ROLLBACK")
        failed = [result for result in results if not result.passed]
        caught_by = [result.check for result in failed]
        if status is not Status.PUBLISHED:
            caught_by.insert(0, "contract")
        if any(result.withholds for result in failed):
            status = Status.WITHHELD
        elif failed and status is Status.PUBLISHED:
            status = Status.PUBLISHED_WITH_WARNINGS
        return Verdict(status, tuple(caught_by))

    def _before(self, stream: Stream, day: date) -> list[Record]:
        """Records of the last day before one that has any."""
        records: list[Record] = []
        while not records:
            day -= timedelta(days=1)
            records = self._records(stream, day)
        return records

    def _records(self, stream: Stream, day: date) -> list[Record]:
        landed = self._environment.landing.latest(stream.id, day)
        assert landed is not None
        return [record for page in records_of(landed, stream.extract, lambda _: None) for record in page]


def as_table(found: Mapping[Fault, Sequence[Verdict]]) -> str:
    """Write the verdicts as the table of the documentation: how often caught, by which checks, and how the day ends."""
    lines = ["| fault | stream | caught | by | ends |", "| --- | --- | --- | --- | --- |"]
    for fault, verdicts in found.items():
        caught = sum(bool(verdict.caught_by) for verdict in verdicts)
        always = [check for check in verdicts[0].caught_by if all(check in one.caught_by for one in verdicts)]
        checks = ", ".join(f"`{check}`" for check in always) or "-"
        ends = ", ".join(sorted({verdict.status.value.replace("_", " ") for verdict in verdicts}))
        name = f"| {fault.name} | `{fault.stream}` | {caught} of {len(verdicts)} |"
        lines.append(f"{name} {checks} | {ends} |")
    return "\n".join(lines)
