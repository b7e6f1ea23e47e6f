"""Whatever a source sends: every record is either good or quarantined, and pandera itself agrees which."""

from __future__ import annotations

import json
from typing import Any

import orjson
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from etl_assets.quality.rules import compile_contract
from etl_assets.sources.records import parse_body, select_records
from etl_assets.streams.base import Stream
from etl_assets_tests.quality.samples import (
    ORDER_LINES,
    ORDERS,
    PLATFORM_RULES,
    STREAMS,
    Judged,
    Record,
    change,
    contract_frame,
    customer,
    judge,
    line,
    order,
    posting,
    rate,
    rows_refused_by_pandera,
)

ODD_TEXTS = [
    *(
        "",
        " ",
        "NaN",
        "nan",
        "null",
        "None",
        "1e400",
        "-1e400",
        "Infinity",
        "0x10",
        "1_000",
        "\uff11\uff12",
        "\u0663",
        "+5",
    ),
    *("1e3", ".5", "5.", "-0", "00012", "1e-30", "99999999999999999999", "999999999999999.9996", "2.5e-1"),
    *("2025-03-10T08:00:00Z", "2025-03-10", "2025-03-10 08:00", "2025-03-10T08:00:00.123456789Z", "20250310"),
    *("9999-12-31T23:59:59Z", "0001-01-01T00:00:00+14:00", "now", "2025-03-10T08:00:00+25:00", "1741593600"),
    *(
        "\ud800",
        "a\udfffb",
        "\x00",
        "\u2028",
        "e\u0301",
        "\U0001f600",
        "\ufeff",
        "\u202eabc",
        "\u00df",
        "\u0149",
        "gbp",
        "EUR",
    ),
    *("completed", "REFUNDED", "C1", "x" * 500),
]
JSON_LEAVES = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.sampled_from([2**63, -(2**63), 2**64, 10**30, 10**400])
    | st.floats()
    | st.sampled_from(ODD_TEXTS)
    | st.text(st.characters(exclude_categories=()), max_size=8)
    | st.decimals(allow_nan=True, allow_infinity=True).map(str)
    | st.datetimes().map(lambda moment: moment.isoformat() + "Z")
)
JSON_VALUES = st.recursive(
    JSON_LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=5,
)


PLAUSIBLE = posting() | customer() | line() | order() | change() | rate()
"""Values of the sources' fields that keep its rules, so that not every row is bad."""


def records_of(stream: Stream) -> st.SearchStrategy[list[Any]]:
    """Make records of a stream: most fields well, others of any kind or absent, and things that are no records."""
    fields = compile_contract(stream.contract).raw_fields
    values = {name: st.just(PLAUSIBLE.get(name, "x")) | JSON_VALUES for name in fields}
    record = st.fixed_dictionaries({}, optional=values | {"extra": JSON_VALUES})
    good = st.fixed_dictionaries({name: st.just(PLAUSIBLE.get(name, "x")) for name in fields})
    mixed = st.tuples(good, record).map(lambda pair: pair[0] | pair[1])
    one_wrong = st.tuples(good, st.sampled_from(fields), JSON_VALUES).map(lambda p: p[0] | {p[1]: p[2]})
    return st.lists(good | one_wrong | one_wrong | mixed | record | JSON_VALUES, max_size=6)


def check_conservation(stream: Stream, records: list[Any], judged: Judged) -> None:
    """Every record once, good or quarantined with a reason; a good row is what it would be alone."""
    objects = {position for position, record in enumerate(records) if isinstance(record, dict)}
    assert set(judged.good) | set(judged.bad) == objects
    assert set(judged.good) & set(judged.bad) == set()
    assert all(reasons for reasons in judged.bad.values())
    assert sum(judged.violations.values()) == sum(len(reasons) for reasons in judged.bad.values())
    for position, row in judged.good.items():
        assert judge(stream, [records[position]]).good == {0: row}


def check_pandera_agrees(stream: Stream, judged: Judged) -> None:
    """Pandera accepts every good row, and refuses every quarantined one that only its own rules speak of."""
    assert rows_refused_by_pandera(stream, contract_frame(stream, judged.table)) == set()
    objects = sorted([*judged.good, *judged.bad])
    own = {
        objects.index(position)
        for position, reasons in judged.bad.items()
        if not any(rule.rpartition(".")[2] in PLATFORM_RULES for rule in reasons)
    }
    if own:
        rows = judged.cleaned.iloc[sorted(own)].copy()
        for column in compile_contract(stream.contract).columns:
            if column.notes.default is not None:
                rows[column.name] = rows[column.name].fillna(column.notes.default)
        assert rows_refused_by_pandera(stream, rows) == own


@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
@given(data=st.data())
@settings(max_examples=60 // len(STREAMS), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_values(stream: Stream, data: st.DataObject) -> None:
    records = data.draw(records_of(stream))
    judged = judge(stream, records)
    check_conservation(stream, records, judged)
    check_pandera_agrees(stream, judged)


@pytest.mark.parametrize("stream", STREAMS.values(), ids=list(STREAMS))
@given(data=st.data())
@settings(max_examples=40 // len(STREAMS), deadline=None, suppress_health_check=list(HealthCheck))
def test_any_values_by_way_of_a_body(stream: Stream, data: st.DataObject) -> None:
    sent = data.draw(records_of(stream).filter(_can_be_written))
    records = select_records(parse_body(json.dumps(sent).encode()), None)
    assert len(records) == len(sent)
    judged = judge(stream, records)
    check_conservation(stream, records, judged)
    check_pandera_agrees(stream, judged)


def _can_be_written(value: Any) -> bool:
    try:
        json.dumps(value)
    except ValueError:
        return False
    return True


@pytest.mark.parametrize("number", ["1e400", "-1e400", "NaN", "Infinity", "1" + "0" * 400, '"\\ud800"'])
@pytest.mark.parametrize("field", ["quantity", "unit_price", "invoiced_at"])
def test_numbers_beyond_any_type_cost_their_row_only(number: str, field: str) -> None:
    bad = orjson.dumps(line("b")).decode()
    bad = bad.replace(orjson.dumps({field: line()[field]}).decode()[1:-1], f'"{field}":{number}')
    body = f"[{orjson.dumps(line('a')).decode()},{bad}]".encode()
    judged = judge(ORDER_LINES, select_records(parse_body(body), None))
    assert list(judged.good) == [0]
    assert f"{field}.parse" in judged.bad[1]


def nested(depth: int) -> list[Any]:
    """Make a list in a list, and so on."""
    value: list[Any] = []
    for _ in range(depth):
        value = [value]
    return value


@pytest.mark.parametrize("depth", [10, 500, 900])
def test_deep_values_cost_their_row_only(depth: int) -> None:
    records = [line("a"), line("b", quantity=nested(depth)), line("c", country=nested(100_000))]
    judged = judge(ORDER_LINES, records)
    assert list(judged.good) == [0]


@given(status=st.text(max_size=12), currency=st.text(max_size=5))
@example(status="\ua731", currency="\ufb01x")
@example(status="COMPLETED\u0307", currency="gbp")
@settings(max_examples=40, deadline=None)
def test_folding_lets_nothing_else_in(status: str, currency: str) -> None:
    judged = judge(ORDERS, [order(status=status, currency=currency)])
    row: Record
    for row in judged.good.values():
        assert row["status"] in {"pending", "completed", "cancelled", "refunded"}
        assert len(row["currency"]) == 3
        assert row["currency"].isascii()
        assert row["currency"].isupper()
