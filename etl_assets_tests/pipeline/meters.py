"""A meter's readings: landed by hand, loaded from landing, with rows in quarantine to work on.

What belongs here: the streams, and a place with landing, warehouse and a clock. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from pathlib import Path
from typing import Any

import orjson
import pandas as pd

from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import Settings, load_settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Append,
    Contract,
    Cursor,
    ErrorBudget,
    Field,
    Merge,
    ReplacePartition,
    Rest,
    RestSource,
    Snapshot,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.write import WriteDisposition
from etl_assets.warehouse.decisions import Action
from etl_assets.warehouse.quarantine_moves import Who, decide, discard, reopen
from etl_assets.warehouse.quarantined import Choice, QuarantinedRow, rows_of
from etl_assets_tests.pipeline.landings import land_bodies

DAY = date(2025, 3, 10)
LOW, HIGH = "value.greater_than_or_equal_to", "value.less_than_or_equal_to"
AT = datetime(2025, 4, 1, 12)
ANN = Who(by="ann", reason="asked the meter's owner", at=AT)

Record = dict[str, Any]


class Readings(Contract):
    """A reading between 0 and 100."""

    reading_id: str = Field(unique=True)
    value: int = Field(ge=0, le=100)
    note: str = Field(missing="warn")
    read_at: Timestamp = Field()


class WiderReadings(Readings):
    """A reading that may be negative."""

    value: int = Field(le=100)


class RepeatableReadings(Readings):
    """A reading that may come more than once."""

    reading_id: str = Field()


class StricterReadings(Readings):
    """A reading with a short note."""

    note: str = Field(missing="warn", str_length={"min_value": 0, "max_value": 8})


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {
            "reading_id": parse.text(raw["reading_id"]),
            "value": parse.integers(raw["value"]),
            "note": parse.text(raw["note"]),
            "read_at": parse.timestamps(raw["read_at"]),
        }
    )


READINGS = Stream(
    source=RestSource(name="meter"),
    name="readings",
    owner="team:meter",
    extract=Rest(
        path="/v1/readings", window=WindowParameters("from", "to"), paginator=Cursor(), records="data"
    ),
    contract=Readings,
    transform=clean,
    write=ReplacePartition(),
    window_column="read_at",
    business_date="read_at",
    budget=ErrorBudget(warn=1.0, fail=1.0),
)
DISPOSITIONS: dict[str, WriteDisposition] = {
    "replace": ReplacePartition(),
    "append": Append(),
    "merge": Merge(key="reading_id", version="read_at"),
    "snapshot": Snapshot(key="reading_id"),
}


def reading(reading_id: str, value: Any = 5, day: date = DAY, **changes: Any) -> Record:
    """Make a record."""
    record = {"reading_id": reading_id, "value": value, "note": "fine", "read_at": f"{day}T10:00:00Z"}
    return record | changes


@dataclass
class Yard:
    """A landing and a warehouse of one stream.

    Attributes:
        folder: Where.
        stream: The stream, as it is declared at present.
        code: Version of its file.
        variables: Settings beside the folder.
    """

    folder: Path
    stream: Stream = READINGS
    code: str = "v1"
    variables: dict[str, str] = field(default_factory=dict)
    settings: Settings = field(init=False)
    runs: int = 0

    def __post_init__(self) -> None:
        self.settings = load_settings({"ETL_DATA_DIR": str(self.folder), **self.variables})
        self.environment = Environment.of(self.settings, {self.stream.id: self.code})

    def mend(self, **changes: Any) -> None:
        """Go on with another declaration of the stream."""
        self.stream = replace(self.stream, **changes)

    def land(self, *records: Any, day: date = DAY) -> None:
        """Land a newer version of a day."""
        body = orjson.dumps({"data": list(records)})
        land_bodies(self.folder, [(body, len(records))], self.stream, day)

    def pipeline(self, run_id: str) -> PartitionPipeline:
        """Give what takes days from landing to the warehouse."""
        environment = replace(self.environment, code_versions={self.stream.id: self.code})
        return PartitionPipeline(environment, self.stream, frozenset({Stage.STAGE, Stage.COMMIT}), run_id)

    def load(self, *days: date, run_id: str = "") -> PartitionOutcome:
        """Load days from landing; gives the outcome of the last one."""
        self.runs += 1
        pipeline = self.pipeline(run_id or f"run-{self.runs}")
        outcomes = run_partitions(pipeline, days or [DAY], reporter=SilentReporter(), threads=1)
        return sorted(outcomes, key=lambda outcome: outcome.partition)[-1]

    def row(self, reading_id: str) -> QuarantinedRow:
        """Give the quarantined row with an identifier, as it is now."""
        [found] = [row for row in self.rows() if f'"{reading_id}"' in (row.payload or "")]
        return found

    def rows(self) -> list[QuarantinedRow]:
        """Give all quarantined rows."""
        with self.environment.warehouse.read("test") as connection:
            return rows_of(connection, Choice(streams=(self.stream.id,), states=()))

    def states(self) -> dict[str, str]:
        """Give the states of quarantined rows by their payload's identifier."""
        return {orjson.loads(row.payload or "{}")["reading_id"]: row.state for row in self.rows()}

    def waive(self, *names: str) -> None:
        """Decide that rows are loaded as they are."""
        self.waive_rows(*(self.row(name) for name in names))

    def waive_rows(self, *rows: QuarantinedRow) -> None:
        """Decide that rows are loaded as they are."""
        self._decide(rows, Action.WAIVE)

    def mend_rows(self, changes: dict[str, Record]) -> None:
        """Decide that rows are loaded with other values, by identifier."""
        for name, changed in changes.items():
            self.mend_row(self.row(name), changed)

    def mend_row(self, row: QuarantinedRow, changes: Record) -> None:
        """Decide that a row is loaded with other values."""
        self._decide([row], Action.MEND, {row.id: changes})

    def discard(self, *names: str) -> None:
        """Decide that rows are not to be loaded."""
        self.discard_rows(*(self.row(name) for name in names))

    def discard_rows(self, *rows: QuarantinedRow) -> None:
        """Decide that rows are not to be loaded."""
        with (
            self.environment.warehouse.session("test") as session,
            session.change_quarantine("test") as open_,
        ):
            discard(open_, rows, ANN)

    def reopen(self, *names: str) -> None:
        """Take decisions back."""
        self.reopen_rows(*(self.row(name) for name in names))

    def reopen_rows(self, *rows: QuarantinedRow) -> None:
        """Take decisions back."""
        with (
            self.environment.warehouse.session("test") as session,
            session.change_quarantine("test") as open_,
        ):
            reopen(open_, rows, ANN)

    def ask(self, query: str) -> list[tuple[Any, ...]]:
        """Run a query."""
        with self.environment.warehouse.read("test") as connection:
            return connection.execute(query).fetchall()

    def table(self) -> list[tuple[Any, ...]]:
        """Give the table's identifiers and values, in order."""
        return self.ask("SELECT reading_id, value FROM meter.readings ORDER BY ALL")

    def _decide(
        self, rows: Sequence[QuarantinedRow], action: Action, changes: dict[str, Record] | None = None
    ) -> None:
        with (
            self.environment.warehouse.session("test") as session,
            session.change_quarantine("test") as open_,
        ):
            decide(open_, rows, action, ANN, lambda row: (changes or {}).get(row.id, {}))


NOT_CONSERVED = (
    "SELECT * FROM etl.loads WHERE extracted <> loaded + unchanged + deduplicated + quarantined "
    "OR staged <> extracted - quarantined"
)
