"""Rows that people decided on: loaded by the normal commit, once, in every load of their day; no move is silent."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etl_assets.failures import FailureClass
from etl_assets.outcomes import Counts, Status
from etl_assets.pipeline.plan import Reason, plan
from etl_assets.settings import Secret
from etl_assets.streams.base import ErrorBudget
from etl_assets.streams.write import WriteDisposition
from etl_assets_tests.pipeline.meters import (
    DAY,
    DISPOSITIONS,
    HIGH,
    LOW,
    NOT_CONSERVED,
    READINGS,
    RepeatableReadings,
    StricterReadings,
    WiderReadings,
    Yard,
    reading,
)
from etl_assets_tests.quality.people import DAY as PEOPLES_DAY
from etl_assets_tests.quality.people import KEY, OTHER_KEY, PEOPLE, hashed, person

MOVES = "SELECT from_state, to_state, action, moved_by, reason FROM etl.quarantine_moves ORDER BY rowid"
BY_ANN = ("ann", "asked the meter's owner")


@pytest.fixture
def yard(tmp_path: Path) -> Yard:
    """A day with one good row and three bad ones, loaded."""
    made = Yard(tmp_path)
    made.land(reading("a"), reading("b", -1), reading("c", "x"), reading("a", -2, note="again"))
    made.load()
    assert (made.table(), made.states()) == ([("a", 5)], {"b": "pending", "c": "pending", "a": "pending"})
    return made


def test_a_waived_row_is_loaded_as_it_is_and_marked(yard: Yard) -> None:
    yard.waive("b")
    outcome = yard.load()
    assert outcome.counts == Counts(extracted=4, staged=2, quarantined=2, warned=1, loaded=2)
    assert (outcome.warnings, outcome.violations[LOW]) == ({LOW: 1}, 1)
    assert yard.table() == [("a", 5), ("b", -1)]
    assert yard.ask("SELECT reading_id, _waived FROM meter.readings WHERE _waived IS NOT NULL") == [
        ("b", [LOW])
    ]
    assert yard.states() == {"b": "waived", "c": "pending", "a": "pending"}
    assert yard.ask(MOVES) == [("pending", "waived", "waive", *BY_ANN)]
    assert [row.attempts for row in yard.rows()] == [1, 2, 2]
    assert yard.ask(NOT_CONSERVED) == []


def test_a_mended_row_is_loaded_by_transform_and_contract(yard: Yard) -> None:
    yard.mend_rows({"c": {"value": "7"}})
    assert yard.load().counts == Counts(extracted=4, staged=2, quarantined=2, loaded=2)
    assert yard.table() == [("a", 5), ("c", 7)]
    assert yard.states() == {"b": "pending", "c": "replayed", "a": "pending"}
    assert yard.ask(MOVES) == [("pending", "replayed", "mend", *BY_ANN)]


def test_a_row_that_is_mended_in_vain_stays_with_the_reason(yard: Yard) -> None:
    yard.mend_rows({"c": {"value": "700"}})
    assert yard.load().counts.quarantined == 3
    assert yard.states()["c"] == "pending"
    assert yard.row("c").attempts == 2
    said = "the mended row was not accepted: value must be at most 100"
    assert yard.ask(MOVES) == [("pending", "pending", "mend", "ann", said)]
    ended = yard.ask("SELECT ended_by, ended_reason FROM etl.quarantine_decisions")
    assert ended == [("load", said)]
    assert yard.load().status.is_published
    assert len(yard.ask(MOVES)) == 1


def test_a_decided_row_takes_no_good_rows_place(yard: Yard) -> None:
    yard.land(reading("d", -3), reading("d", 4))
    yard.load()
    yard.waive("d")
    yard.load()
    assert yard.table() == [("d", 4)]
    assert yard.states()["d"] == "pending"


@pytest.mark.parametrize("times", [1, 3])
def test_decisions_outlive_reruns_and_a_lost_stage(yard: Yard, times: int) -> None:
    yard.waive("b")
    yard.mend_rows({"c": {"value": "7"}})
    yard.load()
    before = yard.table(), yard.states(), yard.ask(MOVES)
    for _ in range(times):
        outcome = yard.load()
        assert outcome.counts == Counts(extracted=4, staged=3, quarantined=1, warned=1, unchanged=3)
        for file in (yard.folder / "staged").rglob("*.parquet"):
            file.unlink()
    assert (yard.table(), yard.states(), yard.ask(MOVES)) == before


def test_a_decision_finds_its_row_in_newer_answers(yard: Yard) -> None:
    yard.waive("b")
    yard.load()
    yard.land(reading("n"), reading("n2", 200), reading("a"), reading("b", -1))
    yard.load()
    assert yard.table() == [("a", 5), ("b", -1), ("n", 5)]
    assert yard.states() == {"b": "waived", "n2": "pending", "c": "superseded", "a": "superseded"}
    # Away and back again: the decision is still there.
    yard.land(reading("a"))
    yard.load()
    assert (yard.table(), yard.states()["b"]) == ([("a", 5)], "superseded")
    yard.land(reading("b", -1))
    yard.load()
    assert (yard.table(), yard.states()["b"]) == ([("b", -1)], "waived")
    assert yard.ask(NOT_CONSERVED) == []


def test_of_equal_rows_each_is_decided_on_by_itself(tmp_path: Path) -> None:
    yard = Yard(tmp_path, replace(READINGS, contract=RepeatableReadings))
    yard.land(reading("b", -1), reading("b", -1), reading("b", -1))
    yard.load()
    first, *_ = yard.rows()
    yard.waive_rows(first)
    yard.load()
    assert yard.table() == [("b", -1)]
    assert sorted(row.state for row in yard.rows()) == ["pending", "pending", "waived"]
    yard.land(reading("b", -1), reading("b", -1))
    assert yard.load().counts.quarantined == 1
    assert yard.table() == [("b", -1)]


def test_a_mended_contract_replays_rows_with_a_trace(yard: Yard) -> None:
    yard.mend(contract=WiderReadings)
    yard.load()
    assert yard.table() == [("a", 5), ("b", -1)]
    assert yard.states() == {"b": "replayed", "c": "pending", "a": "pending"}
    assert yard.ask(MOVES) == [("pending", "replayed", "load", "load", "it keeps the contract now")]


def test_a_waiver_does_not_cover_other_rules(yard: Yard) -> None:
    yard.land(reading("a"), reading("l", -1, note="much too long"))
    yard.load()
    yard.waive("l")
    yard.load()
    assert yard.table() == [("a", 5), ("l", -1)]
    yard.mend(contract=StricterReadings)
    yard.load()
    assert (yard.states()["l"], yard.table()) == ("pending", [("a", 5)])
    said = "the waiver was not accepted: note must be 0 to 8 characters long"
    assert yard.ask(MOVES)[-1] == ("waived", "pending", "load", "load", said)
    yard.mend(contract=READINGS.contract)
    yard.load()
    assert (yard.table(), yard.states()["l"]) == ([("a", 5), ("l", -1)], "waived")


def test_a_mark_goes_with_its_waiver(yard: Yard) -> None:
    yard.waive("b")
    yard.load()
    yard.mend(contract=WiderReadings)
    yard.load()
    assert yard.table() == [("a", 5), ("b", -1)]
    assert yard.ask("SELECT * FROM meter.readings WHERE _waived IS NOT NULL") == []
    assert yard.states()["b"] == "replayed"


def test_what_was_decided_can_be_taken_back(yard: Yard) -> None:
    yard.waive("b")
    yard.mend_rows({"c": {"value": "7"}})
    yard.load()
    yard.discard("a")
    yard.load()
    assert yard.states() == {"b": "waived", "c": "replayed", "a": "discarded"}
    yard.reopen("a", "b", "c")
    assert yard.states() == {"b": "waived", "c": "replayed", "a": "pending"}, "their rows are still there"
    yard.load()
    assert (yard.table(), set(yard.states().values())) == ([("a", 5)], {"pending"})
    query = "SELECT from_state, to_state, action FROM etl.quarantine_moves ORDER BY ALL"
    assert yard.ask(query) == [
        ("discarded", "pending", "reopen"),
        ("pending", "discarded", "discard"),
        ("pending", "replayed", "mend"),
        ("pending", "waived", "waive"),
        ("replayed", "pending", "load"),
        ("replayed", "replayed", "reopen"),
        ("waived", "pending", "load"),
        ("waived", "waived", "reopen"),
    ]


def test_a_discarded_row_is_not_pending_again(yard: Yard) -> None:
    yard.discard("b")
    for _ in range(2):
        assert yard.load().counts.quarantined == 3
        assert yard.states() == {"b": "discarded", "c": "pending", "a": "pending"}
    yard.mend(contract=WiderReadings)
    yard.load()
    assert yard.states()["b"] == "replayed", "a row that is good is loaded"


def test_a_withheld_day_is_published_by_decisions(tmp_path: Path) -> None:
    yard = Yard(tmp_path, replace(READINGS, budget=ErrorBudget(warn=0.1, fail=0.4)))
    yard.land(reading("a"), reading("b", -1))
    assert yard.load().status is Status.WITHHELD
    yard.waive("b")
    assert yard.load().status is Status.PUBLISHED
    assert (yard.table(), yard.states()) == ([("a", 5), ("b", -1)], {"b": "waived"})
    # Withheld again, it keeps what it has.
    yard.land(reading("a"), reading("b", -1), *(reading(f"x{n}", -9) for n in range(3)))
    assert yard.load().status is Status.WITHHELD
    assert (yard.table(), yard.states()["b"]) == ([("a", 5), ("b", -1)], "waived")


def test_a_load_that_was_staged_before_a_decision_undoes_nothing(yard: Yard) -> None:
    pipeline = yard.pipeline("meanwhile")
    prepared = pipeline.prepare(DAY)
    yard.waive("b")
    with yard.environment.warehouse.session("test") as session:
        (outcome,) = pipeline.settle([prepared], lambda: session)
    assert outcome.failure is not None
    assert (outcome.status, outcome.failure.failure_class) == (Status.FAILED, FailureClass.TRANSIENT)
    assert outcome.message == "somebody decided on quarantined rows of this day meanwhile (run again)"
    assert yard.table() == [("a", 5)]
    assert yard.load().status is Status.PUBLISHED
    assert yard.table() == [("a", 5), ("b", -1)]


@pytest.mark.parametrize("write", DISPOSITIONS.values(), ids=list(DISPOSITIONS))
def test_every_disposition_takes_decided_rows(tmp_path: Path, write: WriteDisposition) -> None:
    yard = Yard(tmp_path, replace(READINGS, write=write))
    yard.land(reading("a"), reading("b", -1), reading("c", "x"), reading("e", 101))
    yard.load()
    yard.waive("b", "e")
    yard.mend_rows({"c": {"value": 9}})
    for _ in range(2):
        yard.load()
        assert yard.table() == [("a", 5), ("b", -1), ("c", 9), ("e", 101)]
        assert yard.states() == {"b": "waived", "c": "replayed", "e": "waived"}
        assert yard.ask(
            "SELECT reading_id, _waived FROM meter.readings WHERE _waived IS NOT NULL ORDER BY 1"
        ) == [
            ("b", [LOW]),
            ("e", [HIGH]),
        ]
        assert yard.ask(NOT_CONSERVED) == []


def test_a_day_that_was_decided_on_is_planned(yard: Yard) -> None:
    def reasons() -> list[Reason]:
        environment = replace(yard.environment, code_versions={yard.stream.id: yard.code})
        return [day.reason for each in plan(environment, [yard.stream], [DAY]) for day in each.days]

    assert reasons() == []
    yard.waive("b")
    assert reasons() == [Reason.DECIDED]
    yard.load()
    assert reasons() == []


def test_a_decided_row_of_a_person_is_written_as_any_other(tmp_path: Path) -> None:
    def yard_with(key: Secret) -> Yard:
        variables = {"ETL_CRM_URL": "https://crm.example.com", "ETL_PSEUDONYM_KEY": key.get_secret_value()}
        return Yard(tmp_path, PEOPLE, variables=variables)

    people = "SELECT person_id, name, email, phone, age FROM crm.people ORDER BY 1"
    states = "SELECT raw_payload->>'person_id', state FROM etl.quarantine ORDER BY first_seen, 1"
    yard = yard_with(KEY)
    yard.land(person("old", age=-1), person("odd", age="x", name="Grace Hopper"), day=PEOPLES_DAY)
    yard.load(PEOPLES_DAY)
    yard.waive("old")
    yard.mend_rows({"odd": {"age": 36}})
    yard.load(PEOPLES_DAY)
    assert yard.ask(people) == [
        ("odd", "G***", hashed("ada@example.com"), None, 36),
        ("old", "A***", hashed("ada@example.com"), None, -1),
    ]
    # With another key the quarantine has other payloads; the decisions find their rows all the same.
    yard = yard_with(OTHER_KEY)
    assert yard.load(PEOPLES_DAY).counts.quarantined == 0
    assert {row[2] for row in yard.ask(people)} == {hashed("ada@example.com", OTHER_KEY)}
    assert yard.ask(states) == [
        ("odd", "replayed"),
        ("old", "superseded"),
        ("odd", "replayed"),
        ("old", "waived"),
    ]
    written = [path for path in tmp_path.rglob("*") if path.is_file() and "landing" not in path.parts]
    clear = (b"ada@example.com", b"Grace Hopper", b"900123")
    assert [path for path in written for value in clear if value in path.read_bytes()] == []
    assert "ada@" not in repr(yard.ask("FROM etl.quarantine_decisions"))
