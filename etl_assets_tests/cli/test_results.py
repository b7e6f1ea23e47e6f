"""The result of a backfill: totals, the table for people, JSON for machines, the exit code."""

from __future__ import annotations

import io
import json
from datetime import date, datetime
from typing import Any

import pytest
from rich.console import Console

from etl_assets.cli.gaps import SHOWN_GAPS
from etl_assets.cli.results import SHOWN_PROBLEMS, BackfillResult, MartResultRow, print_result, total
from etl_assets.outcomes import Counts, Status
from etl_assets.warehouse.status import SequenceGap
from etl_assets_tests.cli.outcomes import outcome

GAPS = [
    SequenceGap("shop/products", 119, 126, date(2025, 3, 12), datetime(2025, 3, 13, 2)),
    SequenceGap("shop/products", 2_000, 3_001, date(2025, 3, 13), datetime(2025, 3, 14, 2)),
]
MART = MartResultRow("daily_sales", 3, 30)


def result(*outcomes: Any, **changes: Any) -> BackfillResult:
    """Make a result."""
    streams = ["shop/order_lines", "shop/orders"]
    parts: dict[str, Any] = {
        "streams": total(outcomes, streams),
        "marts": [MART],
        "run_ids": ["r1", "r2"],
        "seconds": 1.234,
    }
    return BackfillResult(**(parts | changes))


def printed(shown: BackfillResult, width: int = 120) -> str:
    """Print a result as into a file."""
    output = io.StringIO()
    print_result(Console(file=output, width=width), shown)
    return output.getvalue()


@pytest.mark.parametrize(
    ("shown", "code"),
    [
        (result(outcome()), 0),
        (result(outcome(status=Status.PUBLISHED_WITH_WARNINGS)), 0),
        (result(), 0),
        (result(outcome(), outcome(1, Status.FAILED)), 1),
        (result(outcome(), outcome(1, Status.WITHHELD)), 1),
        (result(outcome(), marts=[MartResultRow("daily_sales", 0, 0, "its SQL failed")]), 1),
        (result(outcome(), problem="run r1 failed"), 1),
    ],
)
def test_exit_code(shown: BackfillResult, code: int) -> None:
    assert shown.exit_code == code
    assert shown.as_json()["exit_code"] == code


def test_json_for_machines() -> None:
    shown = result(outcome(), outcome(2, Status.FAILED), outcome(1, Status.WITHHELD))
    found = json.loads(json.dumps(shown.as_json()))
    assert list(found) == [
        "streams",
        "marts",
        "documents",
        "embeddings",
        "gaps",
        "run_ids",
        "seconds",
        "problem",
        "notes",
        "exit_code",
    ]
    lines, orders = found["streams"]
    assert (lines["stream"], lines["days"], lines["problems"]) == ("shop/order_lines", {}, [])
    assert orders == {
        "stream": "shop/orders",
        "days": {"published": 1, "withheld": 1, "failed": 1},
        "rows": {
            "extracted": 30,
            "loaded": 21,
            "updated": 9,
            "unchanged": 3,
            "deduplicated": 3,
            "removed": 0,
            "quarantined": 3,
            "warned": 6,
            "failed_items": 0,
        },
        "problems": [
            {
                "partition": "2025-03-11",
                "status": "withheld",
                "message": "2 of 10 rows broke the contract",
                "stage": None,
                "failure_class": None,
                "error_type": None,
            },
            {
                "partition": "2025-03-12",
                "status": "failed",
                "message": "shop answered 422",
                "stage": "extract",
                "failure_class": "permanent",
                "error_type": "SourceError",
            },
        ],
        "schema_changes": [],
    }
    assert found["marts"] == [{"mart": "daily_sales", "dates_rebuilt": 3, "rows": 30, "failure": None}]
    assert (found["run_ids"], found["seconds"], found["problem"]) == (["r1", "r2"], 1.23, None)


def test_table_for_people() -> None:
    lines = printed(result(outcome(), outcome(1), outcome(2, Status.WITHHELD))).splitlines()
    assert lines[0].split() == [
        *("stream", "published", "withheld", "failed"),
        *("extracted", "loaded", "unchanged", "deduplicated", "quarantined"),
    ]
    assert lines[1].split() == ["shop/order_lines", *["0"] * 8]
    assert lines[2].split() == ["shop/orders", "2", "1", "0", "30", "21", "3", "3", "3"]
    assert lines[3:] == [
        "marts/daily_sales: 3 dates rebuilt, 30 rows in the table",
        "shop/orders 2025-03-12 withheld: 2 of 10 rows broke the contract",
        "1.2 s",
    ]


def test_removed_rows_have_a_column_where_some_were_removed() -> None:
    counts = Counts(extracted=4, loaded=4, removed=3)
    shown = result(outcome(), outcome(stream="shop/order_lines", counts=counts))
    lines = printed(shown).splitlines()
    assert lines[0].split()[-2:] == ["quarantined", "removed"]
    assert lines[1].split()[-5:] == ["4", "0", "0", "0", "3"]
    assert lines[2].split()[-1] == "0"
    assert [row["rows"]["removed"] for row in shown.as_json()["streams"]] == [3, 0]


def test_missing_changes_are_a_warning_and_no_failure() -> None:
    shown = result(outcome(), gaps=GAPS)
    assert printed(shown).splitlines()[-3:-1] == [
        "warning: shop/products: 6 changes are missing between numbers 119 and 126, noticed with 2025-03-12",
        "warning: shop/products: 1,000 changes are missing between numbers 2000 and 3001, noticed with 2025-03-13",
    ]
    assert shown.exit_code == 0
    assert json.loads(json.dumps(shown.as_json()))["gaps"][0] == {
        "stream": "shop/products",
        "after_sequence": 119,
        "before_sequence": 126,
        "missing": 6,
        "partition": "2025-03-12",
        "noticed_at": "2025-03-13T02:00:00",
    }


def test_many_gaps_are_cut_short() -> None:
    shown = printed(result(outcome(), gaps=GAPS * SHOWN_GAPS))
    assert shown.count("changes are missing") == SHOWN_GAPS
    assert f"warning: {SHOWN_GAPS} more gaps, see --json" in shown


def test_days_with_one_cause_share_a_line() -> None:
    shown = printed(
        result(
            *(outcome(number, Status.FAILED) for number in range(5)),
            *(outcome(number, Status.FAILED, "shop/order_lines") for number in range(3)),
            outcome(9, Status.FAILED, message="another cause"),
        )
    )
    assert (
        "shop/order_lines, shop/orders 5 days from 2025-03-10 to 2025-03-14 failed: shop answered 422"
        in shown
    )
    assert "shop/orders 2025-03-19 failed: another cause" in shown
    assert shown.count("shop answered 422") == 1


def test_many_causes_are_cut_short() -> None:
    causes = SHOWN_PROBLEMS + 3
    shown = printed(result(*(outcome(n, Status.FAILED, message=f"cause {n}") for n in range(causes))))
    assert shown.count("failed: cause") == SHOWN_PROBLEMS
    assert "3 more causes, see --json or etl-assets status" in shown


def test_problem_beyond_the_days_is_shown() -> None:
    shown = printed(
        result(
            outcome(), problem="[red]the run failed[/red]", marts=[MartResultRow("m", 0, 0, "no [b]table")]
        )
    )
    assert "problem: [red]the run failed[/red]" in shown
    assert "marts/m: no [b]table" in shown


@pytest.mark.parametrize("width", [40, 80, 200])
def test_messages_are_not_wrapped(width: int) -> None:
    message = "a long message " * 12
    shown = printed(result(outcome(status=Status.FAILED, message=message.strip())), width)
    assert message.strip() in shown


def test_failed_items_are_pointed_out() -> None:
    from etl_assets.outcomes import Counts

    days = (outcome(n, Status.PUBLISHED_WITH_WARNINGS, counts=Counts(failed_items=n)) for n in (2, 3))
    line = "shop/orders: 5 items failed; etl-assets retry-failed asks for them again"
    assert line in printed(result(*days)).splitlines()
    assert "items" not in printed(result(outcome()))


def test_large_numbers_are_grouped() -> None:
    shown = printed(result(outcome(counts=Counts(extracted=541909, loaded=541907, quarantined=2))))
    assert "541,909" in shown
    assert "541,907" in shown
