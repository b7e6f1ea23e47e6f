"""Good plus quarantined rows are always exactly the input rows, in number and content, whatever people decide.

What belongs here: random days, and random work on their quarantine. What does not: single moves (`test_decided`).
"""

from __future__ import annotations

import tempfile
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.outcomes import Status
from etl_assets.pipeline import staging
from etl_assets.pipeline.staged import StagedStore
from etl_assets.pipeline.staging import stage_partition
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.warehouse.decisions import Action, Decision
from etl_assets_tests.pipeline.landings import land, quarantine_of, rows_of
from etl_assets_tests.pipeline.meters import (
    AT,
    DAY,
    HIGH,
    LOW,
    NOT_CONSERVED,
    READINGS,
    Readings,
    Record,
    WiderReadings,
    Yard,
    reading,
)

VALUES = st.sampled_from([5, 6, -1, -2, 101, "7", "x", None])
RECORDS = st.lists(
    st.builds(reading, st.sampled_from(["a", "b", "c", "d"]), VALUES) | st.just("no record"), max_size=8
)
WORK = st.sampled_from(["waive", "mend", "discard", "reopen"])
EFFORT = settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))


@contextmanager
def small_chunks() -> Iterator[None]:
    """Have a day read in chunks of two rows."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(staging, "CHUNK_ROWS", 2)
        yield


@given(records=RECORDS, chosen=st.sets(st.integers(0, 7)), mended=VALUES, data=st.data())
@EFFORT
def test_staged_rows_are_the_input_rows(
    records: list[Any], chosen: set[int], mended: Any, data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        landed = land(folder, [records[:3], records[3:]], READINGS, DAY)

        def staged_with(*decisions: Decision) -> Any:
            people = Pseudonymiser(compile_contract(READINGS.contract), None)
            store = StagedStore(folder / "staged")
            return stage_partition(store, READINGS, DAY, landed, "v1", people, decisions)

        plain = quarantine_of(staged_with())
        decisions = [
            decision(number, row, landed.version, data.draw(st.sampled_from(list(Action))), mended)
            for number, row in enumerate(plain)
            if row["row_number"] in chosen
        ]
        with small_chunks():
            staged = staged_with(*decisions)
        rows, bad = rows_of(staged), quarantine_of(staged)
        decided = {each.row_number: each for each in decisions}

        assert sorted([*(row["_row"] for row in rows), *(row["row_number"] for row in bad)]) == list(
            range(len(records))
        )
        assert staged.counts.extracted == len(records) == staged.counts.staged + staged.counts.quarantined
        assert sum(staged.violations.values()) == sum(len(row["rules"]) for row in bad)
        assert all(orjson.loads(row["raw_payload"]) == records[row["row_number"]] for row in bad)
        assert all(row in plain for row in bad), "a decision changes nothing of what is said of a row"
        for row in rows:
            record = records[row["_row"]]
            made = decided.get(row["_row"])
            changes = made.changes if made is not None and made.action is Action.MEND else {}
            expected = record | changes
            assert (row["reading_id"], row["value"]) == (expected["reading_id"], int(expected["value"]))
        assert max(Counter(row["reading_id"] for row in rows).values(), default=0) <= 1


def decision(number: int, row: dict[str, Any], version: str, action: Action, mended: Any) -> Decision:
    """Make a decision on a quarantined row."""
    waivable = [rule for rule in row["rules"] if rule in (LOW, HIGH)]
    is_record = row["rules"] != ["record.object"]
    return Decision(
        decision_id=number,
        partition=DAY,
        payload_hash="",
        occurrence=0,
        landing_version=version,
        row_number=row["row_number"],
        action=action,
        rules=tuple(waivable) if action is Action.WAIVE else (),
        changes={"value": mended} if action is Action.MEND and is_record else {},
        decided_by="ann",
        reason="",
        decided_at=AT,
    )


@given(records=RECORDS, work=st.lists(st.tuples(WORK, st.integers(0, 7)), max_size=4), data=st.data())
@settings(EFFORT, max_examples=6)
def test_loaded_rows_are_the_input_rows_after_any_work(
    records: list[Any], work: list[tuple[str, int]], data: st.DataObject
) -> None:
    with tempfile.TemporaryDirectory() as name:
        yard = Yard(
            Path(name), replace(READINGS, contract=data.draw(st.sampled_from([Readings, WiderReadings])))
        )
        yard.land(*records)
        yard.load()
        check(yard, records)
        for action, place in work:
            if work_on(yard, action, place, data):
                outcome = yard.load()
                if outcome.status is Status.WITHHELD:
                    # The table's last row would go, and nobody confirmed that the day may be empty.
                    assert "--confirm-empty" in outcome.message
                    return
                check(yard, records)
        if data.draw(st.booleans(), label="mended contract"):
            yard.mend(contract=WiderReadings)
            yard.load()
            check(yard, records)


def work_on(yard: Yard, action: str, place: int, data: st.DataObject) -> bool:
    """Do something to a row of the quarantine; tells whether there was one to do it to."""
    wanted = {"reopen": {"waived", "discarded"}}.get(action, {"pending"})
    rows = [row for row in yard.rows() if row.state in wanted and row.rules != ["record.object"]]
    if action == "waive":
        rows = [row for row in rows if set(row.rules) <= {LOW, HIGH}]
    if not rows:
        return False
    row = rows[place % len(rows)]
    if action == "mend":
        yard.mend_row(row, {"value": data.draw(VALUES, label="mended")})
    else:
        getattr(yard, f"{action}_rows")(row)
    return True


def check(yard: Yard, records: list[Any]) -> None:
    """Every record is in the table or in the quarantine, once, and the account says the same."""
    assert yard.ask(NOT_CONSERVED) == []
    ((extracted, staged, quarantined),) = yard.ask(
        "SELECT extracted, staged, quarantined FROM etl.loads ORDER BY load_id DESC LIMIT 1"
    )
    rows = yard.rows()
    out = [row for row in rows if row.state in ("pending", "discarded")]
    assert (extracted, staged + quarantined, quarantined) == (len(records), len(records), len(out))
    assert len(yard.table()) == staged
    assert all(orjson.loads(row.payload or "") == records[row.row_number] for row in rows)
    outside = {row.row_number for row in out}
    by_hand = {row.row_number for row in rows if row.state == "replayed"}
    expected: list[Record] = [
        record for number, record in enumerate(records) if number not in outside and number not in by_hand
    ]
    found = Counter((name, value) for name, value in yard.table())
    for record in expected:
        found[record["reading_id"], int(record["value"])] -= 1
    assert min(found.values(), default=0) >= 0
    assert found.total() == len(by_hand - outside)
