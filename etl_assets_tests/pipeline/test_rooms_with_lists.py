"""What lists within records mean to other rooms: decisions, rollbacks, unknown fields, workers, the doctor."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.outcomes import Counts, SchemaChangeKind
from etl_assets.pipeline import mending
from etl_assets.pipeline.doctor import Finding, examine, mend
from etl_assets.pipeline.rollback import plan_rollback, roll_back
from etl_assets.pipeline.staging import fill_staged
from etl_assets.pipeline.staging_workers import staging_workers
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS
from etl_assets.quality.waivers import why_not_waivable
from etl_assets.streams.base import Children, Contract, Field, Merge, Snapshot, row_rule
from etl_assets_tests.pipeline.meters import DAY, READINGS, Record, Yard, reading


class Marks(Contract):
    """Marks of those who looked at a meter."""

    grade: int = Field(ge=0)
    name: str = Field(missing="allow", personal="mask")

    @row_rule(severity="warn", reason="a grade beyond ten")
    def within_ten(cls, rows: pd.DataFrame) -> pd.Series:
        return rows["grade"].isna() | (rows["grade"] <= 10)


GRADE, MISSING = "marks.grade.greater_than_or_equal_to", "marks.grade.missing"
MARKED = replace(
    READINGS,
    write=Merge(key="reading_id", version="read_at"),
    children=(Children(name="marks", contract=Marks),),
)
TABLE = "SELECT reading_id, position, grade, name FROM meter.readings_marks ORDER BY ALL"
WAIVED = "SELECT reading_id, _waived FROM meter.readings WHERE _waived IS NOT NULL"


def marked(reading_id: str, *grades: Any, **changes: Any) -> Record:
    """Make a reading that some looked at."""
    return reading(reading_id, marks=[{"grade": grade, "name": "Ann Example"} for grade in grades], **changes)


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """A day with one good reading and two whose marks are bad, loaded."""
    made = Yard(tmp_path, MARKED)
    made.land(marked("a", 1, 2), marked("b", 3, -1, 11), marked("c", None))
    made.load(run_id="first")
    assert made.ask(TABLE) == [("a", 1, 1, "A***"), ("a", 2, 2, "A***")]
    return made


def go_back(yard: Yard, to: str) -> None:
    """Take the yard's stream back to right after a run."""
    environment = yard.pipeline("plan").environment
    found = plan_rollback(environment, [yard.stream], to)
    roll_back(environment, found, f"back to {to}", datetime.now(UTC))


def test_a_waived_record_is_loaded_with_its_whole_list(yard: Yard) -> None:
    yard.waive("b")
    outcome = yard.load()
    assert outcome.counts == Counts(extracted=3, staged=2, quarantined=1, warned=1, loaded=1, unchanged=1)
    assert outcome.warnings == {GRADE: 1, "marks.within_ten": 1}
    assert [row[:3] for row in yard.ask(TABLE) if row[0] == "b"] == [("b", 1, 3), ("b", 2, -1), ("b", 3, 11)]
    assert yard.ask(WAIVED) == [("b", [GRADE])]
    assert yard.states() == {"b": "waived", "c": "pending"}


def test_a_rule_of_a_list_can_be_waived_unless_the_value_would_be_lost() -> None:
    assert why_not_waivable(MARKED, GRADE) is None
    assert why_not_waivable(MARKED, MISSING) == "the table needs the value"
    assert why_not_waivable(MARKED, "marks.list") == "the list would be lost"


def test_a_mended_list_is_judged_and_loaded(yard: Yard) -> None:
    yard.mend_rows({"b": {"marks": [{"grade": 7}]}, "c": {"marks": [{"grade": "none"}]}})
    assert yard.load().counts.quarantined == 1
    assert [row for row in yard.ask(TABLE) if row[0] != "a"] == [("b", 1, 7, None)]
    assert yard.states() == {"b": "replayed", "c": "pending"}


def test_a_list_with_personal_data_is_shown_and_mended_nowhere(yard: Yard) -> None:
    text = mending.write_rows(MARKED, [yard.row("b")])
    assert "Ann" not in text
    (line, cells), *_ = mending.read_lines(MARKED, text).values()
    with pytest.raises(ConfigurationError, match="can be mended at the source only"):
        mending.changes_of(MARKED, yard.row("b"), line, cells | {"marks": "[]"})
    assert all("Ann" not in (row.payload or "") for row in yard.rows())


@pytest.mark.parametrize(
    "write",
    [Merge(key="reading_id", version="read_at"), Snapshot(key="reading_id", history=True, guard=1.0)],
    ids=["merge", "snapshot"],
)
def test_a_rollback_takes_lists_back_with_their_stamps(tmp_path: Path, write: Merge | Snapshot) -> None:
    yard = Yard(tmp_path, replace(MARKED, write=write))
    everything = "SELECT * FROM meter.readings_marks ORDER BY reading_id, position"
    yard.land(marked("a", 1, 2), marked("b"))
    yard.load(run_id="then")
    then = yard.ask(everything)
    assert len(then) == 2
    later = DAY + timedelta(days=1)
    yard.land(
        marked("a", 5, read_at=f"{later}T10:00:00Z"), marked("b", 6, read_at=f"{later}T10:00:00Z"), day=later
    )
    yard.load(later, run_id="now")
    now = yard.ask(everything)
    assert [row[2] for row in now] == [5, 6]
    go_back(yard, "then")
    assert yard.ask(everything) == then
    go_back(yard, "now")
    assert yard.ask(everything) == now


def test_the_list_is_a_known_field(yard: Yard) -> None:
    yard.land(marked("a", 1) | {"colour": "red"})
    outcome = yard.load()
    assert [(change.kind, change.field) for change in outcome.schema_changes] == [
        (SchemaChangeKind.SET_ASIDE, "colour")
    ]


class WiderMarks(Contract):
    """Marks with halves, and what for."""

    grade: float = Field(ge=0)
    name: str = Field(missing="allow", personal="mask")
    what: str = Field(missing="allow")


def test_a_changed_contract_of_a_list_alters_its_table(yard: Yard) -> None:
    yard.mend(children=(Children(name="marks", contract=WiderMarks),))
    yard.land(reading("d", marks=[{"grade": 1.5, "what": "dial"}]))
    outcome = yard.load()
    changes = {(change.column, change.kind, change.after) for change in outcome.schema_changes}
    assert changes == {
        ("marks.grade", SchemaChangeKind.WIDENED, "DOUBLE"),
        ("marks.what", SchemaChangeKind.ADDED, "VARCHAR"),
    }
    assert yard.ask("SELECT grade, what FROM meter.readings_marks WHERE reading_id = 'd'") == [(1.5, "dial")]


def test_workers_stage_lists(yard: Yard) -> None:
    landed = yard.environment.landing.latest(MARKED.id, DAY)
    assert landed is not None
    pseudonymiser = yard.environment.pseudonymiser(MARKED)
    delegated = staging_workers(1, MARKED, LEAST_PARTITIONS)
    assert delegated is not fill_staged
    written = []
    for name, fill in (("here", fill_staged), ("there", delegated)):
        folder = yard.folder / name
        folder.mkdir()
        fill(folder, MARKED, DAY, landed, pseudonymiser, ())
        written.append({path.name: path.read_bytes() for path in sorted(folder.iterdir())})
    assert written[0] == written[1]


def test_the_doctor_mends_lists_that_are_out_of_step(yard: Yard) -> None:
    before = yard.ask(TABLE)
    with yard.environment.warehouse.session("test") as session:
        session.connection.execute("DELETE FROM meter.readings_marks WHERE position = 2")
    [finding] = unusual(yard)
    assert finding.where == "meter.readings_marks"
    assert finding.what == "1 records have other rows than meter.readings says"
    assert mend([finding]) == []
    assert (unusual(yard), yard.ask(TABLE)) == ([], before)


def unusual(yard: Yard) -> list[Finding]:
    """Give what the doctor finds, but for the room on this disk."""
    return [each for each in examine(yard.environment, [MARKED]) if "MiB" not in each.what]


def test_no_name_is_in_what_is_staged(yard: Yard) -> None:
    files = [path for path in (yard.folder / "staged").rglob("*") if path.is_file()]
    assert files
    assert all(b"Ann Example" not in path.read_bytes() for path in files)
    assert orjson.loads(yard.row("b").payload or "{}")["marks"][0]["name"] == "A***"
