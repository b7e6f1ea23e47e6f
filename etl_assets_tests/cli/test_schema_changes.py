"""Changes of schemas as they are shown: warnings first, one line each, cut short; and as JSON."""

from __future__ import annotations

from datetime import date, timedelta

import pytest

from etl_assets.cli.results import BackfillResult, total
from etl_assets.cli.schema_changes import SHOWN_CHANGES, ChangeRow, change_as_json, change_lines
from etl_assets.outcomes import SchemaChange, SchemaChangeKind
from etl_assets_tests.cli.outcomes import FIRST, outcome

ADDED = SchemaChange(SchemaChangeKind.ADDED, "tier", "tier", None, "BIGINT", 1_200)
ASIDE = SchemaChange(
    SchemaChangeKind.SET_ASIDE, None, "Tier", None, "VARCHAR", 1, "its name is not one of these"
)
GONE = SchemaChange(SchemaChangeKind.REMOVED, "country", "country", "VARCHAR", None)


def row(change: SchemaChange) -> ChangeRow:
    """Give a change of the first day."""
    return ChangeRow("shop/orders", FIRST, change)


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (ADDED, "note: shop/orders 2025-03-10: column tier was added as BIGINT (1,200 rows)"),
        (
            ASIDE,
            "warning: shop/orders 2025-03-10: unknown field Tier was set aside, it looks like VARCHAR (1 row): "
            "its name is not one of these",
        ),
        (GONE, "warning: shop/orders 2025-03-10: field country is not sent any more"),
        (
            SchemaChange(SchemaChangeKind.REMOVED, None, "x", None, None),
            "note: shop/orders 2025-03-10: field x is not sent any more",
        ),
        (
            SchemaChange(SchemaChangeKind.WIDENED, "x", "x", "BIGINT", "DOUBLE"),
            "note: shop/orders 2025-03-10: column x was widened from BIGINT to DOUBLE",
        ),
        (
            SchemaChange(SchemaChangeKind.NARROWED, "x", None, "DOUBLE", "BIGINT"),
            "note: shop/orders 2025-03-10: column x stays DOUBLE, of which the contract takes BIGINT only",
        ),
    ],
    ids=["added", "set-aside", "removed", "removed-field", "widened", "narrowed"],
)
def test_each_change_is_one_line(change: SchemaChange, said: str) -> None:
    assert change_lines([row(change)]) == [said]


def test_every_kind_has_a_sentence() -> None:
    for kind in SchemaChangeKind:
        sentence = SchemaChange(kind, "a_column", "a_field", "BIGINT", "DOUBLE", 3).sentence
        assert "a_column" in sentence or "a_field" in sentence
        assert sentence.endswith(" (3 rows)")


def test_warnings_come_first_and_many_changes_are_cut_short() -> None:
    lines = change_lines([row(ADDED)] * SHOWN_CHANGES + [row(GONE)])
    assert lines[0].startswith("warning:")
    assert len(lines) == SHOWN_CHANGES + 1
    assert lines[-1] == "note: 1 more changes of schemas, see etl.schema_changes"


def test_changes_are_told_with_the_day_they_happened() -> None:
    later = SchemaChange(SchemaChangeKind.REMOVED, "x", "x", "BIGINT", None, day=FIRST + timedelta(days=3))
    streams = total([outcome(schema_changes=(ADDED, later))], ["shop/orders"])
    shown = BackfillResult(streams=streams, marts=[], run_ids=[], seconds=0.0).as_json()
    (stream,) = shown["streams"]
    assert stream["schema_changes"] == [
        change_as_json(row(ADDED)),
        {
            "stream": "shop/orders",
            "partition": date(2025, 3, 13).isoformat(),
            "change": "removed",
            "field": "x",
            "column": "x",
            "before": "BIGINT",
            "after": None,
            "rows": 0,
            "reason": None,
        },
    ]
