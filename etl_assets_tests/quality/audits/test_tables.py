"""Audits against tables: uniqueness, foreign keys with a grace, totals that agree; one stream's rows and another's."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets.outcomes import CheckResult
from etl_assets.streams.base import Agreement, ForeignKey, UniqueInTable
from etl_assets_tests.quality.audits.days import Shop, lines, opened_shop, orders_of
from etl_assets_tests.warehouse.samples import LINES, ORDERS, Row

TOTALS = Agreement(
    key="invoice_no",
    total="amount",
    stream=ORDERS.id,
    stream_key="order_id",
    stream_total="total",
    tolerance=0.01,
    stream_late_days=1,
)
TOTALS_OF_ORDERS = Agreement(
    key="order_id",
    total="total",
    stream=LINES.id,
    stream_key="invoice_no",
    stream_total="amount",
    tolerance=0.01,
    late_days=1,
)


def test_values_that_the_table_has_from_another_day_are_found(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[UniqueInTable("line_id")]) as shop:
        shop.load(LINES.id, 0, lines(0))
        assert shop.say(LINES.id, 0, lines(0)).passed, "a day that is loaded again takes its own place"
        assert shop.say(LINES.id, 1, lines(1)).passed
        repeated = [row | {"line_id": f"0-{index:04}"} for index, row in enumerate(lines(1, 50))]
        result = shop.say(LINES.id, 1, repeated)
    assert not result.passed
    assert result.numbers == {"repeated_rows": 40, "repeated_share": 0.8}
    assert result.sample.count("\n| 0-000") == 5


def test_values_of_an_earlier_day_of_the_same_group_are_found(tmp_path: Path) -> None:
    audit = UniqueInTable("line_id", severity="withhold")
    with opened_shop(tmp_path, of_lines=[audit]) as shop:
        copies = [
            shop.stage(
                LINES.id, number, [row | {"line_id": f"x-{index}"} for index, row in enumerate(lines(number))]
            )
            for number in range(3)
        ]
        first, second, third = (results[audit.check_name] for results in shop.judge(*copies))
    assert first.passed
    assert not second.passed
    assert third.numbers["repeated_rows"] == 40, "only the first one was published"


def test_versions_of_a_key_are_no_repeats(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_orders=[UniqueInTable("status")]) as shop:
        [row] = orders_of(lines(0, 1))
        shop.load(ORDERS.id, 0, [row])
        assert shop.say(ORDERS.id, 1, [row | {"updated_at": row["updated_at"].replace(hour=20)}]).passed
        assert not shop.say(ORDERS.id, 1, [row | {"order_id": "another"}]).passed


def foreign_key(grace_days: int = 0, maximum_share: float = 0.0) -> ForeignKey:
    """Every invoice is an order."""
    return ForeignKey(
        "invoice_no", references=ORDERS.id, key="order_id", grace_days=grace_days, maximum_share=maximum_share
    )


def test_values_that_do_not_exist_are_found(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[foreign_key()]) as shop:
        shop.load(ORDERS.id, 0, orders_of(lines(0)))
        assert shop.say(LINES.id, 0, lines(0)).passed
        result = shop.say(LINES.id, 0, [row | {"invoice_no": f"I{row['invoice_no']}"} for row in lines(0)])
    assert not result.passed
    assert result.numbers["orphan_rows"] == 40
    assert "| Ii0-0 | 1 |" in result.sample


def test_a_late_dimension_is_waited_for(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[foreign_key(grace_days=1)]) as shop:
        unknown = lines(0)
        assert shop.say(LINES.id, 0, unknown).numbers["pending_rows"] == 40, "no table yet"
        shop.load(ORDERS.id, 0, [])
        assert shop.say(LINES.id, 0, unknown).numbers["pending_rows"] == 40, "a day of grace"
        shop.load(ORDERS.id, 1, [])
        assert not shop.say(LINES.id, 0, unknown).passed


def test_some_orphans_may_be_tolerated(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[foreign_key(maximum_share=0.5)]) as shop:
        shop.load(ORDERS.id, 0, orders_of(lines(0, 30)))
        assert shop.say(LINES.id, 0, lines(0, 40)).passed
        assert not shop.say(LINES.id, 0, lines(0, 70)).passed


def half(rows: list[Row]) -> list[Row]:
    """Every other row."""
    return rows[::2]


def loaded_orders(shop: Shop, rows: list[Row]) -> None:
    """Load the orders of a day's lines, half of them settled on the day after."""
    shop.load(ORDERS.id, 0, orders_of(rows[:20]))
    shop.load(ORDERS.id, 1, orders_of(rows[20:], found_on=1))


@pytest.mark.parametrize(
    ("fault", "differ", "lacking_there", "lacking_here"),
    [
        ("half", 0, 0, 20),
        ("none", 0, 0, 40),
        ("doubled", 40, 0, 0),
        ("pence", 40, 0, 0),
        ("one", 1, 0, 0),
        ("renamed", 0, 40, 40),
    ],
)
def test_lines_that_do_not_add_up_to_their_orders_are_found(
    tmp_path: Path, fault: str, differ: int, lacking_there: int, lacking_here: int
) -> None:
    rows = lines(0)
    again = [row | {"line_id": f"again-{row['line_id']}"} for row in rows]
    wrong = {
        "half": half(rows),
        "none": [],
        "doubled": rows + again,
        "pence": [row | {"amount": row["amount"] * 100} for row in rows],
        "one": [rows[0] | {"amount": rows[0]["amount"] + 1}, *rows[1:]],
        "renamed": [row | {"invoice_no": row["invoice_no"].upper()} for row in rows],
    }[fault]
    with opened_shop(tmp_path, of_lines=[TOTALS]) as shop:
        loaded_orders(shop, rows)
        good = shop.say(LINES.id, 0, rows)
        bad = shop.say(LINES.id, 0, wrong)
    assert (good.passed, good.numbers["compared"]) == (True, 40)
    assert not bad.passed
    assert found(bad) == (differ, lacking_there, lacking_here)
    assert "business dates 2025-01-01" in bad.message
    assert bad.sample.startswith("| invoice_no | business date |")


def found(result: CheckResult) -> tuple[float, float, float]:
    """Give what does not agree."""
    return tuple(result.numbers[name] for name in ("differ", "lacking_there", "lacking_here"))  # type: ignore[return-value]


def test_what_may_still_come_is_pending_and_what_is_there_is_compared(tmp_path: Path) -> None:
    rows = lines(0)
    with opened_shop(tmp_path, of_lines=[TOTALS]) as shop:
        assert shop.say(LINES.id, 0, rows).numbers["pending"] == 40
        shop.load(ORDERS.id, 0, orders_of(rows[:20]))
        result = shop.say(LINES.id, 0, rows)
        assert (result.passed, result.numbers["compared"], result.numbers["pending"]) == (True, 20, 20)
        assert not shop.say(LINES.id, 0, [row | {"amount": row["amount"] * 2} for row in rows]).passed


def test_the_stream_that_is_loaded_later_judges(tmp_path: Path) -> None:
    rows = lines(0)
    with opened_shop(tmp_path, of_orders=[TOTALS_OF_ORDERS]) as shop:
        shop.load(LINES.id, 0, half(rows))
        first = shop.say(ORDERS.id, 0, orders_of(rows[:20]))
        assert found(first) == (0, 10, 0)
        shop.load(ORDERS.id, 0, orders_of(rows[:10]))
        shop.load(LINES.id, 0, rows)
        last = shop.say(ORDERS.id, 1, orders_of(rows[20:], found_on=1))
        assert found(last) == (0, 0, 10), (
            "orders that never came, noticed on the last day on which they might have"
        )
        assert shop.say(ORDERS.id, 1, orders_of(rows[10:], found_on=1)).passed


def test_an_order_counts_in_its_newest_version(tmp_path: Path) -> None:
    rows = lines(0, 5)
    with opened_shop(tmp_path, of_orders=[TOTALS_OF_ORDERS]) as shop:
        shop.load(LINES.id, 0, rows)
        old = [row | {"total": 0.0} for row in orders_of(rows)]
        new = [row | {"updated_at": row["updated_at"].replace(hour=20)} for row in orders_of(rows)]
        assert shop.say(ORDERS.id, 0, old + new).passed
        assert not shop.say(ORDERS.id, 0, old).passed


def test_rows_in_quarantine_explain_as_many_disagreements(tmp_path: Path) -> None:
    rows = lines(0)
    with opened_shop(tmp_path, of_lines=[TOTALS]) as shop:
        loaded_orders(shop, rows)
        assert shop.say(LINES.id, 0, rows[2:], quarantined=2).passed
        assert not shop.say(LINES.id, 0, rows[3:], quarantined=2).passed


def test_days_of_a_group_are_compared_each_with_its_own(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[TOTALS]) as shop:
        for number in range(3):
            shop.load(ORDERS.id, number, orders_of(lines(number)))
        shop.load(ORDERS.id, 3, [])
        group = [
            shop.stage(LINES.id, number, half(lines(number)) if number == 1 else lines(number))
            for number in range(3)
        ]
        said = [found(results["agreement__orders"]) for results in shop.judge(*group)]
    assert said == [(0, 0, 0), (0, 0, 20), (0, 0, 0)]
