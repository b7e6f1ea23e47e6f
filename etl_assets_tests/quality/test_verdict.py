"""The verdict: which shares of bad rows are tolerated, and what is said of the others."""

from __future__ import annotations

import pytest

from etl_assets.outcomes import Counts, Status
from etl_assets.quality.verdict import decide
from etl_assets.streams.base import ErrorBudget
from etl_assets_tests.quality.samples import ORDER_LINES, ORDERS

BUDGET = ErrorBudget(warn=0.05, fail=0.10)


@pytest.mark.parametrize(
    ("extracted", "quarantined", "wanted"),
    [
        (0, 0, Status.PUBLISHED),
        (100, 0, Status.PUBLISHED),
        (100, 5, Status.PUBLISHED),
        (1000, 51, Status.PUBLISHED_WITH_WARNINGS),
        (100, 10, Status.PUBLISHED_WITH_WARNINGS),
        (1000, 101, Status.WITHHELD),
        (1, 1, Status.WITHHELD),
    ],
)
def test_share_decides(extracted: int, quarantined: int, wanted: Status) -> None:
    status, message = decide(
        Counts(extracted=extracted, quarantined=quarantined), {"name.missing": quarantined}, BUDGET
    )
    assert status is wanted
    assert bool(message) == (wanted is not Status.PUBLISHED)


@pytest.mark.parametrize(
    ("counts", "wanted", "words"),
    [
        (
            Counts(extracted=99, failed_items=1),
            Status.PUBLISHED_WITH_WARNINGS,
            "1 of 100 items (1.0%) failed; see",
        ),
        (Counts(extracted=90, failed_items=10), Status.PUBLISHED_WITH_WARNINGS, "10 of 100 items (10.0%)"),
        (
            Counts(extracted=89, failed_items=11),
            Status.WITHHELD,
            "(11.0%) failed, more than the budget of 10%;",
        ),
        (Counts(failed_items=1), Status.WITHHELD, "1 of 1 items (100.0%)"),
        # The worse of two judgements holds, and both are told.
        (
            Counts(extracted=99, quarantined=6, failed_items=1),
            Status.PUBLISHED_WITH_WARNINGS,
            "broke the contract: ; 1 of 100 items",
        ),
        (
            Counts(extracted=9, quarantined=9, failed_items=1),
            Status.WITHHELD,
            "; 1 of 10 items (10.0%) failed;",
        ),
    ],
)
def test_failed_items_have_the_same_budget(counts: Counts, wanted: Status, words: str) -> None:
    status, message = decide(counts, {}, BUDGET)
    assert status is wanted
    assert words in message


def test_warned_rows_cost_nothing() -> None:
    assert decide(Counts(extracted=10, warned=10), {}, BUDGET) == (Status.PUBLISHED, "")


def test_message_says_how_many_and_why() -> None:
    violations = {"a.missing": 3, "b.parse": 30, "c.window": 3, "d.unique": 1}
    _, message = decide(Counts(extracted=200, quarantined=35), violations, BUDGET)
    assert message == (
        "35 of 200 rows (17.5%) broke the contract, more than the budget of 10%: "
        "b.parse 30, a.missing 3, c.window 3, ..."
    )


def test_budget_of_nothing_and_of_everything() -> None:
    counts = Counts(extracted=1000, quarantined=1)
    assert decide(counts, {}, ErrorBudget(warn=0, fail=0))[0] is Status.WITHHELD
    assert decide(counts, {}, ErrorBudget(warn=1, fail=1))[0] is Status.PUBLISHED


@pytest.mark.parametrize("stream", [ORDER_LINES, ORDERS], ids=lambda stream: stream.id)
def test_shop_tolerates_five_and_ten_percent(stream: object) -> None:
    assert stream.budget == BUDGET  # type: ignore[attr-defined]
