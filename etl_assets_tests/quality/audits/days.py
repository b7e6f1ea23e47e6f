"""Days of two small streams, staged, judged and loaded for real in a warehouse of their own.

What belongs here: the shortest way from rows to what audits say of them. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path

from etl_assets.outcomes import CheckResult, Counts
from etl_assets.quality.audits.judge import judge
from etl_assets.quality.audits.staged_day import StagedDay
from etl_assets.quality.audits.statistics import measure
from etl_assets.streams.base import Audit, Stream
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema import ensure_table, layout_of
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import LINES, ORDERS, Row, Stager, at, day, line

WEEK = 7


def audited(stream: Stream, *audits: Audit) -> Stream:
    """Give a stream other audits."""
    return replace(stream, audits=audits)


def lines(number: int, count: int = 40, amount: str = "2.000", **changes: object) -> list[Row]:
    """Make a day of order lines, each on an invoice of its own."""
    return [line(number, f"{n:04}", amount, invoice_no=f"i{number}-{n}", **changes) for n in range(count)]


def orders_of(rows: Sequence[Row], found_on: int | None = None, **totals: float) -> list[Row]:
    """Make the orders that some lines belong to, one a line; settled on a day, with other totals where given."""
    made = []
    for row in rows:
        created_at = row["invoiced_at"]
        settled = at(found_on, 12) if found_on is not None else created_at
        total = totals.get(row["invoice_no"], float(row["amount"]))
        made.append(
            {
                "order_id": row["invoice_no"],
                "status": "completed",
                "total": total,
                "created_on": created_at.date(),
                "updated_at": settled,
            }
        )
    return made


@dataclass
class Shop:
    """A warehouse with the two streams in it.

    Attributes:
        session: The open warehouse.
        stager: Makes the staged files.
        streams: The streams, with the audits under test.
    """

    session: Session
    stager: Stager
    streams: dict[str, Stream]

    def stage(self, stream_id: str, number: int, rows: Sequence[Row], quarantined: int = 0) -> StagedDay:
        """Stage a day."""
        stream = self.streams[stream_id]
        path = self.stager.rows_file(stream, rows)
        counts = Counts(extracted=len(rows) + quarantined, staged=len(rows), quarantined=quarantined)
        statistics = measure(path, stream.audits, len(rows), stream.business_date)
        return StagedDay(stream, day(number), path, counts, statistics)

    def judge(self, *group: StagedDay, tolerant: bool = False) -> list[dict[str, CheckResult]]:
        """Judge days that are committed together; their table is made as a commit would."""
        ensure_table(self.session.connection, layout_of(group[0].stream))
        found = judge(self.session.connection, group, self.streams, tolerant=tolerant)
        return [{result.check: result for result in results} for results in found]

    def say(self, stream_id: str, number: int, rows: Sequence[Row], quarantined: int = 0) -> CheckResult:
        """Give what the only audit of a stream says of a day."""
        [results] = self.judge(self.stage(stream_id, number, rows, quarantined))
        [result] = results.values()
        return result

    def load(self, stream_id: str, number: int, rows: Sequence[Row], bad: Sequence[str] = ()) -> None:
        """Publish a day without asking its audits."""
        staged = self.stage(stream_id, number, rows)
        request = self.stager.request(
            staged.stream, number, rows, bad, statistics=staged.statistics.as_json()
        )
        assert self.session.commit(request).status.is_published


@contextmanager
def opened_shop(
    folder: Path,
    *,
    of_lines: Sequence[Audit] = (),
    of_orders: Sequence[Audit] = (),
    others: Sequence[Stream] = (),
) -> Iterator[Shop]:
    """Open an empty warehouse for the two streams, and others."""
    streams = {LINES.id: audited(LINES, *of_lines), ORDERS.id: audited(ORDERS, *of_orders)}
    streams |= {stream.id: stream for stream in others}
    with Warehouse(folder / "warehouse.duckdb").session("test") as session:
        yield Shop(session, Stager(folder / "staged"), streams)


def price(amount: float) -> Decimal:
    """Give an amount as the contract has it."""
    return Decimal(f"{amount:.3f}")
