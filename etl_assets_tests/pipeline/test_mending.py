"""Mending by hand: what is exported comes back as it was, and only what was changed counts."""

from __future__ import annotations

import csv
import io
import json
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from etl_assets.failures import ConfigurationError
from etl_assets.pipeline.mending import OWN_COLUMNS, changes_of, read_lines, shown_fields, write_rows
from etl_assets.streams.base import Stream
from etl_assets.warehouse.quarantined import QuarantinedRow
from etl_assets_tests.pipeline.meters import DAY, LOW, READINGS, reading
from etl_assets_tests.quality.people import PEOPLE, person

AT = datetime(2025, 4, 1)


def quarantined(record: Any, row_id: str = "0123456789ab", payload: str | None = None) -> QuarantinedRow:
    """Make a row as the quarantine has it."""
    return QuarantinedRow(
        id=row_id,
        stream="meter/readings",
        partition=DAY,
        payload_hash="",
        occurrence=1,
        row_number=0,
        landing_version="v",
        rules=[LOW],
        reason="value must be at least 0",
        payload=json.dumps(record) if payload is None else payload,
        state="pending",
        attempts=1,
        first_seen=AT,
        last_seen=AT,
    )


def edited(stream: Stream, record: Any, **cells: str) -> dict[str, object]:
    """Export a record, change cells, and give what that changes."""
    row = quarantined(record)
    (line,) = csv.DictReader(io.StringIO(write_rows(stream, [row])))
    text = io.StringIO(newline="")
    writer = csv.DictWriter(text, [*line, *(name for name in cells if name not in line)])
    writer.writeheader()
    writer.writerow(line | cells)
    number, found = read_lines(stream, text.getvalue())[row.id]
    assert number == 2
    return changes_of(stream, row, number, found)


def test_a_row_is_a_line_with_its_rules_and_fields() -> None:
    text = write_rows(READINGS, [quarantined(reading("b", -1))])
    assert list(csv.reader(io.StringIO(text))) == [
        [*OWN_COLUMNS, "reading_id", "value", "note", "read_at"],
        [
            "0123456789ab",
            "2025-03-10",
            LOW,
            "value must be at least 0",
            "b",
            "-1",
            "fine",
            "2025-03-10T10:00:00Z",
        ],
    ]


LEAVES = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(max_size=8)
SPREADSHEETS = st.sampled_from(
    ["=1+1", "@x", "-1.00", "-x", "'", "''a", "+49 30", "\t", "a,b", 'a"b', "a\r\nb"]
)
VALUES = st.recursive(
    LEAVES | SPREADSHEETS,
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner),
)


@given(values=st.tuples(VALUES, VALUES), extra=VALUES)
@example(values=("two\nlines", None), extra="\n")
@settings(max_examples=60, deadline=None)
def test_what_is_left_as_it_is_changes_nothing(values: tuple[Any, Any], extra: Any) -> None:
    record = reading(values[0], values[1], extra=extra)
    assert edited(READINGS, record) == {}
    assert all(
        not line.startswith(("=", "@")) for line in write_rows(READINGS, [quarantined(record)]).split(",")
    )


@pytest.mark.parametrize(
    ("before", "cell", "value"),
    [
        (-1, "7", 7),
        (-1, "7.5", 7.5),
        (-1, "seven", "seven"),
        ("-1", "7", "7"),
        ("x", "", None),
        (None, "7", "7"),
        (True, "false", False),
        ({"a": 1}, '{"a": 2}', {"a": 2}),
        ("'=1", "'=2", "=2"),
    ],
)
def test_a_changed_cell_keeps_the_kind_of_value(before: Any, cell: str, value: Any) -> None:
    assert edited(READINGS, reading("b", before), value=cell) == {"value": value}


def test_a_field_that_the_contract_knows_may_be_added() -> None:
    record = reading("b")
    del record["value"]
    assert edited(READINGS, record, value="7") == {"value": "7"}


@pytest.mark.parametrize(
    ("record", "cells", "said"),
    [
        (reading("b"), {"valeu": "7"}, "line 2 gives 'valeu', which neither the contract nor the row has"),
        (reading("b", {"a": 1}), {"value": "seven"}, "line 2 gives 'value' a value that is no JSON"),
        (["no record"], {"value": "7"}, "line 2 mends row 0123456789ab, which is no record or was purged"),
    ],
)
def test_changes_that_cannot_be_made(record: Any, cells: dict[str, str], said: str) -> None:
    with pytest.raises(ConfigurationError) as told:
        edited(READINGS, record, **cells)
    assert str(told.value) == f"{said} (nothing was imported)"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "the first line does not name etl.row"),
        ("a,b\r\n1,2\r\n", "the first line does not name etl.row"),
        ("etl.row,value,value\r\n", "the first line names 'value' twice"),
        ("etl.row,value\r\n", "the file has no rows"),
        ("etl.row,value\r\nx\r\n", "line 2 has 1 cells, the first line names 2"),
        ("etl.row,value\r\nx,1\r\nx,2\r\n", "line 3 repeats the row x"),
        ('etl.row,value\r\nx,"1\r\n', "line 2 cannot be read"),
    ],
)
def test_files_that_are_no_export(text: str, said: str) -> None:
    with pytest.raises(ConfigurationError, match=said):
        read_lines(READINGS, text)


PAYLOAD = person(name="A***", email="f00", telephone=None, age=-1, nickname="Ada", work_mail="***")


def test_personal_fields_are_shown_masked() -> None:
    fields = shown_fields(PEOPLE, quarantined(PAYLOAD))
    assert fields == PAYLOAD | {"name": "***", "email": "***", "nickname": "***"}
    assert "Ada" not in write_rows(PEOPLE, [quarantined(PAYLOAD)])


def test_other_fields_of_a_personal_row_can_be_mended() -> None:
    assert edited(PEOPLE, PAYLOAD, age="36") == {"age": 36}
    assert edited(PEOPLE, PAYLOAD, nickname="Countess") == {"nickname": "Countess"}, (
        "the table has it in clear"
    )


@pytest.mark.parametrize("field", ["name", "email", "telephone", "work_mail"])
def test_what_is_not_kept_in_clear_cannot_be_mended(field: str) -> None:
    with pytest.raises(ConfigurationError, match=f"mends '{field}', which is not kept in clear") as told:
        edited(PEOPLE, PAYLOAD, **{field: "grace@example.com"})
    assert "grace" not in str(told.value)


def test_a_purged_row_shows_nothing() -> None:
    assert shown_fields(READINGS, replace(quarantined({}), payload=None)) is None
