"""Audits of one day's rows by themselves and against earlier days: each passes a good day and fails a bad one."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from etl_assets.outcomes import CheckResult
from etl_assets.streams.base import Audit, Categories, MeanDrift, NullShare, Outliers, RowCount, Volume
from etl_assets_tests.quality.audits.days import WEEK, Shop, lines, opened_shop, price
from etl_assets_tests.warehouse.samples import LINES, Row

Days = Callable[[int], list[Row]]


def usual(number: int) -> list[Row]:
    """A day like any other; a third of the customers are unknown, a tenth of the lines cancelled."""
    rows = lines(number)
    for index, row in enumerate(rows):
        row["customer_id"] = None if index % 3 == 0 else f"c{index % 7}"
        row["is_cancellation"] = index % 10 == 0
        row["amount"] = price(2 + (index % 5) / 10)
    return rows


def changed(**values: object) -> Days:
    """A usual day with a column set to one value."""
    return lambda number: [row | values for row in usual(number)]


def wild(share: int) -> Days:
    """A usual day of which every so-manyth amount has lost its decimal point."""
    return lambda number: [
        row | ({"amount": row["amount"] * 1000} if index % share == 0 else {})
        for index, row in enumerate(usual(number))
    ]


CASES: dict[str, tuple[Audit, Days, Days]] = {
    "least_rows": (RowCount(minimum=10), usual, lambda number: usual(number)[:9]),
    "most_rows": (RowCount(maximum=40), usual, lambda number: lines(number, 41)),
    "no_rows": (RowCount(allow_empty=False), usual, lambda number: []),
    "nulls": (NullShare("customer_id", maximum=0.5), usual, changed(customer_id=None)),
    "more_nulls_than_before": (NullShare("customer_id", rise=0.3), usual, changed(customer_id=None)),
    "unexpected_values": (
        Categories("is_cancellation", expected=("false",), maximum_unexpected=0.2),
        usual,
        changed(is_cancellation=True),
    ),
    "drift": (Categories("is_cancellation", drift=0.5), usual, changed(is_cancellation=True)),
    "outliers": (Outliers("amount", maximum_share=0.05), usual, wild(5)),
    "pence": (MeanDrift("amount"), usual, changed(amount=price(200))),
    "shillings": (MeanDrift("amount"), usual, changed(amount=price(0.1))),
    "signs": (MeanDrift("amount"), usual, changed(amount=price(-2))),
}
AUDITS = [replace(audit, name=name) for name, (audit, _, _) in CASES.items()]
JUDGED = 12


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Shop]:
    """Twelve usual days, loaded."""
    with opened_shop(tmp_path_factory.mktemp("shop"), of_lines=AUDITS) as opened:
        for number in reversed(range(JUDGED)):
            opened.load(LINES.id, number, usual(number))
        yield opened


def say(shop: Shop, case: str, rows: list[Row], number: int = JUDGED) -> CheckResult:
    """Give what one of the audits says of a day."""
    [results] = shop.judge(shop.stage(LINES.id, number, rows))
    return results[case]


@pytest.mark.parametrize("case", CASES)
def test_a_bad_day_fails_and_a_good_one_passes(shop: Shop, case: str) -> None:
    _, good, bad = CASES[case]
    passed, failed = say(shop, case, good(JUDGED)), say(shop, case, bad(JUDGED))
    assert (passed.passed, passed.sample) == (True, "")
    assert not failed.passed
    assert "\n" not in failed.message
    assert all(isinstance(number, int | float) for number in failed.numbers.values())


@pytest.mark.parametrize("case", ["more_nulls_than_before", "drift", "pence"])
def test_nothing_is_said_before_there_is_enough_to_compare_with(shop: Shop, case: str) -> None:
    _, _, bad = CASES[case]
    result = say(shop, case, bad(9), number=9)
    assert result.passed
    assert "9 earlier days are too few" in result.message


@pytest.mark.parametrize("case", ["nulls", "drift", "outliers", "pence"])
def test_a_handful_of_rows_is_not_judged(shop: Shop, case: str) -> None:
    _, _, bad = CASES[case]
    result = say(shop, case, bad(JUDGED)[:29])
    assert result.passed
    assert "29 rows are too few" in result.message


def test_drift_names_the_values_that_moved(shop: Shop) -> None:
    result = say(shop, "drift", changed(is_cancellation=True)(JUDGED))
    assert "true 10% to 100%" in result.message
    assert "| true | 10.00% | 100.00% |" in result.sample


def test_only_days_before_count_whenever_they_were_loaded(shop: Shop) -> None:
    pence = changed(amount=price(200))
    group = [shop.stage(LINES.id, number, pence(number)) for number in range(JUDGED, JUDGED + 40)]
    last = shop.judge(*group, tolerant=True)[-1]["pence"]
    assert last.passed, "what was published for weeks is usual"
    assert not say(shop, "pence", pence(JUDGED)).passed


def volumes(folder: Path, counts: Sequence[int], *lasts: int) -> list[tuple[bool, str]]:
    """Judge some numbers of rows of a Wednesday after other Wednesdays, with busier days in between."""
    with opened_shop(folder, of_lines=[Volume(enough=4)]) as shop:
        for week, count in enumerate(counts):
            shop.load(LINES.id, week * WEEK, lines(week * WEEK, count))
            shop.load(LINES.id, week * WEEK + 1, lines(week * WEEK + 1, 5 * count + 5))
        said = [shop.say(LINES.id, len(counts) * WEEK, lines(len(counts) * WEEK, last)) for last in lasts]
    return [(result.passed, result.message) for result in said]


def test_volume_is_compared_with_the_same_weekday(tmp_path: Path) -> None:
    said = volumes(tmp_path, [40, 44, 38, 42, 40], 41, 80, 10, 130, 210)
    assert [passed for passed, _ in said] == [True, True, False, False, False]
    assert all("5 Wednesdays" in message for _, message in said)


def test_holidays_are_neither_judged_nor_compared_with(tmp_path: Path) -> None:
    holiday, usual_day = volumes(tmp_path, [40, 0, 44, 0, 38, 42, 40], 0, 41)
    assert holiday == (True, "no rows, which is not judged")
    assert usual_day[0]
    assert "the 40 of the last 5 Wednesdays" in usual_day[1]


def test_volume_is_quiet_until_there_is_enough_history(tmp_path: Path) -> None:
    [(passed, message)] = volumes(tmp_path, [40, 44, 38], 4000)
    assert passed
    assert "3 earlier Wednesdays are too few" in message


def test_days_of_a_group_count_for_the_later_ones_unless_they_are_withheld(tmp_path: Path) -> None:
    audit = MeanDrift("amount", enough=3, severity="withhold")
    with opened_shop(tmp_path, of_lines=[audit]) as shop:
        group = [shop.stage(LINES.id, number, usual(number)) for number in range(3)]
        pence = [shop.stage(LINES.id, number, changed(amount=price(200))(number)) for number in range(3, 8)]
        apart = [results[audit.check_name] for results in shop.judge(*group, *pence)]
        assert [result.passed for result in apart] == [True, True, True, *[False] * 5]
        assert {result.numbers.get("earlier_days") for result in apart[3:]} == {3}
        confirmed = [results[audit.check_name] for results in shop.judge(*group, *pence, tolerant=True)]
        assert [result.passed for result in confirmed][3:] == [False, False, False, True, True]


def test_the_worst_rows_are_shown_with_personal_columns_masked(tmp_path: Path) -> None:
    with opened_shop(tmp_path, of_lines=[Outliers("amount", maximum_share=0.0)]) as shop:
        rows = usual(1)
        rows[7] = rows[7] | {"amount": price(1_000_000)}
        result = shop.say(LINES.id, 1, rows)
    assert not result.passed
    assert result.numbers["outliers"] == 1
    assert result.sample.count("\n") == 2
    assert "1000000.000" in result.sample
