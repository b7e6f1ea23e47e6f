"""Fields that are new, gone, back or of another type: what becomes of table, quarantine and account."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from itertools import permutations
from typing import Any

import pytest

from etl_assets.outcomes import SchemaChange, SchemaChangeKind, Status
from etl_assets.streams.base import Field, SchemaPolicy, Stream, Timestamp
from etl_assets.warehouse.commit_request import CommitResult
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.schema_changes import changes_of, standing_changes
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.evolving import Extra, request_with, session_in_memory
from etl_assets_tests.warehouse.feeds import CLICKS, change, click, customer, customers, products
from etl_assets_tests.warehouse.samples import (
    LINES,
    ORDERS,
    Orders,
    Row,
    Stager,
    at,
    day,
    line,
    order,
    select,
)

EVOLVING = replace(ORDERS, schema_changes=SchemaPolicy.EVOLVE)
STRICT = replace(ORDERS, schema_changes=SchemaPolicy.STRICT)
TYPES = (
    "SELECT column_name, data_type FROM information_schema.columns WHERE table_schema = 'shop' "
    "AND table_name = 'orders' AND column_name NOT LIKE '\\_%' ESCAPE '\\' ORDER BY ordinal_position"
)
ASIDE = "SELECT partition, rule, raw_payload FROM etl.quarantine WHERE state = 'set_aside' ORDER BY ALL"
ADDED, WIDENED, SET_ASIDE = SchemaChangeKind.ADDED, SchemaChangeKind.WIDENED, SchemaChangeKind.SET_ASIDE
REMOVED, RESTORED, WITHHELD = SchemaChangeKind.REMOVED, SchemaChangeKind.RESTORED, SchemaChangeKind.WITHHELD


class Loader:
    """Loads days of orders, one row per extra, named by day and place."""

    def __init__(self, session: Session, stager: Stager) -> None:
        self.session, self.stager = session, stager

    def __call__(self, stream: Stream, number: int, *extras: Extra, **more: Any) -> CommitResult:
        rows = [order(f"{number}-{place}", at(number, place)) for place in range(len(extras))]
        return self.session.commit(request_with(self.stager, stream, number, rows, extras, **more))

    def kinds(self) -> list[tuple[int, str, str | None]]:
        """What is recorded: day, change, field or column."""
        return [
            (
                (one.partition - day(0)).days,
                one.change.kind.value,
                one.change.field or one.change.column,
            )
            for one in changes_of(self.session.connection, ["shop/orders"])
        ]


@pytest.fixture
def load(stager: Stager) -> Iterator[Loader]:
    """Loads into a warehouse in memory."""
    with session_in_memory() as session:
        yield Loader(session, stager)


def test_evolve_adds_a_column_that_is_null_where_the_field_is_not(load: Loader) -> None:
    load(EVOLVING, 0, {})
    result = load(EVOLVING, 1, {"tier": 3}, {})
    assert result.status is Status.PUBLISHED
    assert result.schema_changes == (SchemaChange(ADDED, "tier", "tier", None, "BIGINT", 1),)
    load(EVOLVING, 2, {})
    assert select(load.session.connection, "SELECT order_id, tier FROM shop.orders ORDER BY 1") == [
        ("0-0", None),
        ("1-0", 3),
        ("1-1", None),
        ("2-0", None),
    ]
    comment = "SELECT comment FROM duckdb_columns() WHERE column_name = 'tier'"
    assert select(load.session.connection, comment) == [("Sent by the source as tier; not in the contract.",)]


@pytest.mark.parametrize(
    ("days", "sql_type", "stored"),
    [
        ([[1], [2.5]], "DOUBLE", [1.0, 2.5]),
        ([[1], ["x"]], "VARCHAR", ["1", "x"]),
        ([[True], [2]], "VARCHAR", ["true", "2"]),
        ([[1.0, 0.5], ["x"]], "VARCHAR", ["0.5", "1", "x"]),
        ([[2**53 + 1], [0.5]], "VARCHAR", ["0.5", str(2**53 + 1)]),
        ([[2**63]], "VARCHAR", [str(2**63)]),
        ([[{"b": 1, "a": [2]}]], "VARCHAR", ['{"a":[2],"b":1}']),
        ([["", " "], [True]], "BOOLEAN", [None, None, True]),
    ],
    ids=["double", "text", "boolean", "whole-double", "large", "huge", "object", "blank"],
)
@pytest.mark.parametrize("turned", [False, True], ids=["as-given", "turned-round"])
def test_types_widen_to_what_holds_all_values(
    load: Loader, days: list[list[Any]], sql_type: str, stored: list[Any], turned: bool
) -> None:
    for number, values in enumerate(reversed(days) if turned else days):
        load(EVOLVING, number, *({"x": value} for value in values))
    assert ("x", sql_type) in select(load.session.connection, TYPES)
    found = [value for (value,) in select(load.session.connection, "SELECT x FROM shop.orders")]
    assert sorted(found, key=repr) == sorted(stored, key=repr)


def test_widening_is_recorded_with_both_types(load: Loader) -> None:
    load(EVOLVING, 0, {"x": 1})
    result = load(EVOLVING, 1, {"x": 0.5})
    assert result.schema_changes == (SchemaChange(WIDENED, "x", "x", "BIGINT", "DOUBLE", 1),)
    row = select(
        load.session.connection,
        "SELECT source, stream, partition, change, column_name, before, after, rows, policy, run_id "
        "FROM etl.schema_changes WHERE change = 'widened'",
    )
    assert row == [("shop", "orders", day(1), "widened", "x", "BIGINT", "DOUBLE", 1, "evolve", "run-1")]


def test_nothing_is_recorded_twice(load: Loader) -> None:
    for _ in range(2):
        load(EVOLVING, 0, {"x": 1})
        load(EVOLVING, 1, {"x": 0.5}, absent=["status"])
        load(EVOLVING, 2, {"x": 1})
    assert load.kinds() == [
        (0, "added", "x"),
        (1, "widened", "x"),
        (1, "removed", "status"),
        (2, "restored", "status"),
    ]


def test_days_of_one_transaction_evolve_together(load: Loader) -> None:
    extras: list[Extra] = [{"x": 1}, {"x": 0.5, "y": True}, {}, {"x": "t"}]
    requests = [
        request_with(load.stager, EVOLVING, number, [order(f"{number}", at(number, 1))], [extra])
        for number, extra in enumerate(extras)
    ]
    results = load.session.commit_group(requests)
    assert [[change.kind for change in result.schema_changes] for result in results] == [
        [ADDED],
        [WIDENED, ADDED],
        [REMOVED, REMOVED],
        [WIDENED, RESTORED],
    ]
    found = select(load.session.connection, "SELECT order_id, x, y FROM shop.orders ORDER BY 1")
    assert found == [("0", "1", None), ("1", "0.5", True), ("2", None, None), ("3", "t", None)]


def test_a_name_that_is_none_or_taken_is_set_aside(load: Loader) -> None:
    load(replace(EVOLVING, ignored_fields=()), 0, {})
    load.session.connection.execute("ALTER TABLE shop.orders ADD COLUMN old_one VARCHAR")
    result = load(EVOLVING, 1, {"old_one": "v", "fine": 1})
    assert result.status is Status.PUBLISHED_WITH_WARNINGS
    assert [(change.kind, change.field) for change in result.schema_changes] == [
        (SET_ASIDE, "old_one"),
        (ADDED, "fine"),
    ]
    assert result.schema_changes[0].reason == "the table has a column of that name from an earlier contract"
    (row,) = select(load.session.connection, ASIDE)
    assert (row[0], row[1], json.loads(row[2])) == (day(1), "unknown_fields", {"old_one": "v"})


def test_a_withheld_day_adds_no_column(load: Loader) -> None:
    load(EVOLVING, 0, {})
    load(EVOLVING, 1, {"x": 1}, verdict=Status.WITHHELD, message="too bad")
    assert "x" not in dict(select(load.session.connection, TYPES))
    assert load.kinds() == []


def test_a_snapshot_that_is_withheld_late_adds_no_column_either(session: Session, stager: Stager) -> None:
    stream = replace(customers(history=True, guard=0.1), schema_changes=SchemaPolicy.EVOLVE)
    session.commit(request_with(stager, stream, 0, [customer("a"), customer("b")], [{}, {}]))
    fine = request_with(stager, stream, 1, [customer("a"), customer("b")], [{"x": 1}, {}])
    result, refused = session.commit_group(
        [fine, request_with(stager, stream, 2, [customer("a")], [{"x": "text", "y": 1}])]
    )
    assert (result.status, refused.status) == (Status.PUBLISHED, Status.WITHHELD)
    assert "guard" in refused.message
    found = select(session.connection, "SELECT * FROM shop.customers_history LIMIT 0")
    assert found == []
    columns = {
        (row[0], row[1])
        for row in select(
            session.connection,
            "SELECT table_name, data_type FROM information_schema.columns WHERE column_name IN ('x', 'y')",
        )
    }
    assert columns == {("customers", "BIGINT"), ("customers_history", "BIGINT")}


def test_freeze_sets_aside_and_warns_once(load: Loader) -> None:
    load(ORDERS, 0, {})
    result = load(ORDERS, 1, {"tier": "gold", "left": 1}, {"tier": "tin"}, {})
    assert result.status is Status.PUBLISHED_WITH_WARNINGS
    assert "unknown field tier was set aside, it looks like VARCHAR (2 rows)" in result.message
    assert result.warnings == {"tier.unknown": 2, "left.unknown": 1}
    assert result.counts.conserved
    assert result.counts.quarantined == 0
    assert [json.loads(row[2]) for row in select(load.session.connection, ASIDE)] == [
        {"left": 1, "tier": "gold"},
        {"tier": "tin"},
    ]
    status = "SELECT status, warnings, message FROM etl.partitions WHERE partition = ?"
    found = load.session.connection.execute(status, [day(1)]).fetchone()
    assert found is not None
    assert (found[0], json.loads(found[1])) == ("published_with_warnings", result.warnings)
    assert load(ORDERS, 2, {"tier": "gold"}).status is Status.PUBLISHED
    again = load(ORDERS, 1, {"tier": "gold", "left": 1}, {"tier": "tin"}, {})
    assert (again.status, again.schema_changes) == (Status.PUBLISHED_WITH_WARNINGS, ())
    assert load.kinds() == [(1, "set_aside", "tier"), (1, "set_aside", "left"), (2, "removed", "left")]
    assert set(dict(select(load.session.connection, TYPES))) == {
        "order_id",
        "status",
        "total",
        "created_on",
        "updated_at",
    }


def test_what_was_set_aside_is_superseded_when_the_contract_takes_it(load: Loader) -> None:
    class Tiered(Orders):
        tier: str = Field(missing="allow")

    load(ORDERS, 0, {"tier": "gold"})
    rows = [order("0-0", at(0, 0), tier="gold")]
    request = request_with(
        load.stager, replace(ORDERS, contract=Tiered), 0, rows, [{}], contract_version="c2"
    )
    with_new_contract = Session(load.session.connection, load.session._path)
    result = with_new_contract.commit(request)
    assert [change.kind for change in result.schema_changes] == [ADDED]
    assert select(load.session.connection, ASIDE) == []
    assert select(load.session.connection, "SELECT state FROM etl.quarantine") == [("superseded",)]
    assert standing_changes(load.session.connection, ["shop/orders"]) == []
    assert select(load.session.connection, "SELECT tier FROM shop.orders") == [("gold",)]


def test_what_was_set_aside_is_superseded_when_it_is_ignored(load: Loader) -> None:
    load(ORDERS, 0, {"etag": "x"})
    ignoring = replace(ORDERS, ignored_fields=("etag",))
    assert load(ignoring, 0, {}).status is Status.PUBLISHED
    assert select(load.session.connection, "SELECT state FROM etl.quarantine") == [("superseded",)]
    assert standing_changes(load.session.connection, ["shop/orders"]) == []
    assert load.kinds() == [(0, "set_aside", "etag")]
    assert [change.kind for change in load(ORDERS, 1, {"etag": "y"}).schema_changes] == [SET_ASIDE]


def test_an_emptied_day_supersedes_what_it_set_aside(load: Loader) -> None:
    load(ORDERS, 0, {"etag": "x"})
    load(ORDERS, 0, confirm_empty=True)
    assert select(load.session.connection, "SELECT state FROM etl.quarantine") == [("superseded",)]


def test_strict_withholds_and_says_what_to_do(load: Loader) -> None:
    load(STRICT, 0, {})
    result = load(STRICT, 1, {"tier": "gold"})
    assert result.status is Status.WITHHELD
    assert result.message == (
        "the source sends fields that the contract does not know: tier; take them into the contract, "
        "name them in ignored_fields, or choose another schema_changes"
    )
    assert load(STRICT, 1, {"tier": "gold"}).status is Status.WITHHELD
    assert load(STRICT, 2, {"tier": "tin"}).status is Status.WITHHELD
    assert load.kinds() == [(1, "withheld", "tier")]
    assert select(load.session.connection, "SELECT count(*) FROM shop.orders") == [(1,)]
    assert load(STRICT, 1, {}).status is Status.PUBLISHED


@pytest.mark.parametrize("policy", list(SchemaPolicy))
def test_a_field_that_is_gone_is_told_and_one_that_is_back_too(load: Loader, policy: SchemaPolicy) -> None:
    stream = replace(ORDERS, schema_changes=policy)
    load(stream, 0, {})
    gone = load(stream, 1, {}, {}, absent=["status"])
    assert gone.schema_changes == (SchemaChange(REMOVED, "status", "status", "VARCHAR", None, 2),)
    assert (gone.status, gone.warnings) == (Status.PUBLISHED_WITH_WARNINGS, {"status.removed": 2})
    assert gone.message == "field status is not sent any more (2 rows)"
    (standing,) = standing_changes(load.session.connection, ["shop/orders"])
    assert standing.change.field == "status"
    assert load(stream, 2, {}, absent=["status"]).status is Status.PUBLISHED
    back = load(stream, 3, {})
    assert (back.status, [change.kind for change in back.schema_changes]) == (Status.PUBLISHED, [RESTORED])
    assert standing_changes(load.session.connection, ["shop/orders"]) == []


def test_a_removal_is_recorded_with_a_withheld_day_too(load: Loader) -> None:
    load(ORDERS, 0, {})
    result = load(ORDERS, 1, {}, absent=["total"], verdict=Status.WITHHELD, message="all rows are bad")
    assert (result.status, [change.kind for change in result.schema_changes]) == (Status.WITHHELD, [REMOVED])
    assert result.message == "all rows are bad; field total is not sent any more (1 row)"


def test_what_was_never_there_is_not_gone_and_a_day_without_records_says_nothing(load: Loader) -> None:
    load(ORDERS, 0, {}, absent=["status"])
    load(ORDERS, 1, {})
    load(ORDERS, 2, absent=["status"])
    assert load.kinds() == []


def test_an_older_day_says_nothing_of_what_is_sent_now(load: Loader) -> None:
    load(ORDERS, 5, {})
    assert load(ORDERS, 3, {}, absent=["status"]).schema_changes == ()
    assert load(ORDERS, 6, {}).schema_changes == ()
    assert load.kinds() == []


@pytest.mark.parametrize("order_of_days", list(permutations(range(4))), ids=str)
def test_what_is_gone_is_found_in_any_order(load: Loader, order_of_days: tuple[int, ...]) -> None:
    days: list[tuple[Extra, list[str]]] = [({}, ["total"]), ({"x": 1}, []), ({"x": 2}, []), ({}, ["status"])]
    for number in order_of_days:
        extra, absent = days[number]
        load(ORDERS, number, extra, absent=absent)
    found = load.kinds()
    assert {(3, "removed", "status"), (3, "removed", "x")} <= set(found)
    assert [kind for _, kind, field in found if field == "x"][-2:] == ["set_aside", "removed"]
    (standing,) = standing_changes(load.session.connection, ["shop/orders"])
    assert (standing.partition, standing.change.field) == (day(3), "status")


def test_a_day_loaded_before_by_other_code_is_not_taken_to_lack_a_field(load: Loader) -> None:
    load(ORDERS, 5, {}, code_version="v0")
    assert [change.kind for change in load(ORDERS, 3, {"x": 1}).schema_changes] == [SET_ASIDE]


Loaded = list[tuple[Row, Any]]
"""The rows of a day, each with its value in the new field."""

ALIKE: dict[str, tuple[Stream, list[Loaded]]] = {
    "merge": (
        ORDERS,
        [[(order("k", at(9)), 10)], [(order("k", at(9)), 9)], [(order("other", at(9)), "text")]],
    ),
    "cdc": (
        products("soft"),
        [
            [(change(1, "I", at(0), "k"), 10)],
            [(change(1, "I", at(0), "k"), 9)],
            [(change(2, "I", at(0), "other"), "text")],
        ],
    ),
    "snapshot": (
        customers(history=True),
        [[(customer("k"), 10)], [(customer("k"), 10), (customer("other"), 0.5)], [(customer("k"), 10)]],
    ),
    "append": (CLICKS, [[(click("p", at(0)), 10)], [(click("p", at(0)), "10")], [(click("p", at(0)), 0.5)]]),
    "replace": (LINES, [[(line(0, "k"), 10)], [(line(1, "k"), 0.5)], [(line(2, "k"), "text")]]),
}


@pytest.mark.parametrize("name", ALIKE)
def test_rows_that_differ_in_an_evolved_column_alone_come_out_the_same_in_any_order(
    stager: Stager, name: str
) -> None:
    """Whether a value is greater, or the same, must not depend on whether its column was widened before it came."""
    stream, days = replace(ALIKE[name][0], schema_changes=SchemaPolicy.EVOLVE), ALIKE[name][1]
    tables = [stream.name, *(["customers_history"] if name == "snapshot" else [])]
    outcomes = []
    for turn in permutations(range(len(days))):
        with session_in_memory() as session:
            for number in turn:
                rows, extras = [row for row, _ in days[number]], [{"x": value} for _, value in days[number]]
                session.commit(request_with(stager, stream, number, rows, extras))
            rows_of = "SELECT COLUMNS(c -> c NOT IN ('_run_id', '_loaded_at', '_brought_by')) FROM shop.{} ORDER BY ALL"
            outcomes.append([select(session.connection, rows_of.format(table)) for table in tables])
    assert all(found == outcomes[0] for found in outcomes)
    assert outcomes[0][0]


def test_an_evolved_column_that_is_gone_is_told(load: Loader) -> None:
    load(EVOLVING, 0, {"x": 1})
    gone = load(EVOLVING, 1, {})
    assert gone.schema_changes == (SchemaChange(REMOVED, "x", "x", "BIGINT", None, 1),)
    assert gone.status is Status.PUBLISHED_WITH_WARNINGS
    assert [change.kind for change in load(EVOLVING, 2, {"x": None}).schema_changes] == [RESTORED]


def test_from_evolve_to_freeze_and_back(load: Loader) -> None:
    load(EVOLVING, 0, {"x": 1})
    frozen = Session(load.session.connection, load.session._path)
    result = frozen.commit(request_with(load.stager, ORDERS, 1, [order("b", at(1, 1))], [{"x": "t"}]))
    assert [(change.kind, change.before, change.after) for change in result.schema_changes] == [
        (SET_ASIDE, "BIGINT", "VARCHAR")
    ]
    again = Session(load.session.connection, load.session._path)
    result = again.commit(request_with(load.stager, EVOLVING, 2, [order("c", at(2, 1))], [{"x": 0.5}]))
    assert [(change.kind, change.before, change.after) for change in result.schema_changes] == [
        (RESTORED, "BIGINT", "DOUBLE")
    ]
    assert select(load.session.connection, "SELECT order_id, x FROM shop.orders ORDER BY 1") == [
        ("0-0", 1.0),
        ("b", None),
        ("c", 0.5),
    ]


def test_a_contract_takes_over_an_evolved_column(load: Loader) -> None:
    class Sent(Orders):
        sent_at: Timestamp = Field(missing="allow")

    load(EVOLVING, 0, {"sent_at": "2025-01-01T10:00:00Z"})
    stream = replace(EVOLVING, contract=Sent)
    later = Session(load.session.connection, load.session._path)
    rows = [order("b", at(1, 1), sent_at=at(1, 2))]
    result = later.commit(request_with(load.stager, stream, 1, rows, [{}], contract_version="c2"))
    assert [(change.kind.value, change.before, change.after) for change in result.schema_changes] == [
        ("converted", "VARCHAR", "TIMESTAMP")
    ]
    found = select(load.session.connection, "SELECT order_id, sent_at FROM shop.orders ORDER BY 1")
    assert found == [("0-0", at(0, 10)), ("b", at(1, 2))]
    once_more = Session(load.session.connection, load.session._path)
    rows = [order("c", at(2, 1), sent_at=None)]
    assert once_more.commit(request_with(load.stager, stream, 2, rows, [{}])).schema_changes == ()


def test_a_rolled_back_commit_leaves_no_change_behind(load: Loader) -> None:
    load(EVOLVING, 0, {})
    broken = request_with(load.stager, EVOLVING, 1, [order("b", at(1, 1))], [{"x": 1}])
    with pytest.raises(Exception, match="rows extracted, but"):
        load.session.commit(replace(broken, counts=replace(broken.counts, extracted=5)))
    assert load.kinds() == []
    assert [change.kind for change in load.session.commit(broken).schema_changes] == [ADDED]


def test_rows_of_a_replaced_day_are_left_alone_when_only_an_unknown_field_changed(
    session: Session, stager: Stager
) -> None:
    rows = [line(0, "a")]
    session.commit(request_with(stager, LINES, 0, rows, [{"x": 1}]))
    result = session.commit(request_with(stager, LINES, 0, rows, [{"x": 2}]))
    assert (result.counts.loaded, result.counts.unchanged) == (0, 1)
    assert [json.loads(row[2]) for row in select(session.connection, ASIDE)] == [{"x": 2}]
    assert select(session.connection, "SELECT count(*) FROM etl.quarantine WHERE state = 'superseded'") == [
        (1,)
    ]


def test_what_is_known_outlives_the_session(warehouse: Warehouse, stager: Stager) -> None:
    extras: list[Extra] = [{"x": 1}, {"x": 2}, {"x": 0.5}]
    for number, extra in enumerate(extras):
        with warehouse.session("a load") as session:
            session.commit(request_with(stager, EVOLVING, number, [order(str(number), at(number))], [extra]))
    with warehouse.session("look") as session:
        assert select(session.connection, "SELECT x FROM shop.orders ORDER BY x") == [(0.5,), (1.0,), (2.0,)]
        kinds = [one.change.kind for one in changes_of(session.connection, ["shop/orders"])]
        assert kinds == [ADDED, WIDENED]
