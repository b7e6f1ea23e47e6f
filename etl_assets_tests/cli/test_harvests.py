"""What became of documents: a summary with the first failures for people, everything for machines."""

from __future__ import annotations

import json
from datetime import datetime, timedelta

from etl_assets.cli.embeddings import EmbeddingRow, embedding_lines
from etl_assets.cli.harvests import DayHarvest, harvest_lines
from etl_assets.outcomes import Harvest
from etl_assets.warehouse.failed_items import KnownItem
from etl_assets_tests.cli.outcomes import FIRST, outcome

AT = datetime(2025, 3, 11, 2, 0, 5)


def item(number: int, attempts: int = 1) -> KnownItem:
    """Make a failed document."""
    first = AT - timedelta(days=attempts)
    return KnownItem(
        "eidc/datasets", FIRST, f"id-{number}", "extract", "SourceError", "permanent", "gone", attempts,
        first, AT, "pending", "  a.py:1 in f\nSourceError",
    )  # fmt: skip


def harvest(failed: int) -> DayHarvest:
    """Make the harvest of a day."""
    day = outcome(stream="eidc/datasets", seconds={"extract": 3.0, "stage": 1.25})
    numbers = Harvest(succeeded=150 - failed, unchanged=40, skipped=10, failed=failed)
    return DayHarvest(day, numbers, tuple(item(number, attempts=number + 1) for number in range(failed)))


def test_summary_for_people_shows_the_first_five_failures() -> None:
    lines = list(harvest_lines([harvest(7)]))
    assert lines[0] == (
        "eidc/datasets 2025-03-10: 200 documents, 143 succeeded, 40 unchanged, 10 skipped, 7 failed; "
        "success rate 96.5%; 4.2 s"
    )
    assert lines[1] == "  id-0 extract permanent, 1 attempt: gone"
    assert lines[5] == "  id-4 extract permanent, 5 attempts: gone"
    assert lines[6] == "  and 2 more; see --json or etl.failed_items"
    assert len(lines) == 7
    assert len(list(harvest_lines([harvest(0)]))) == 1


def test_json_for_machines_has_every_failure() -> None:
    found = json.loads(json.dumps(harvest(7).as_json()))
    assert {name: found[name] for name in ("documents", "succeeded", "success_rate", "seconds")} == {
        "documents": 200,
        "succeeded": 143,
        "success_rate": 0.965,
        "seconds": 4.25,
    }
    assert len(found["failures"]) == 7
    assert found["failures"][1] == {
        "identifier": "id-1",
        "stage": "extract",
        "error_type": "SourceError",
        "failure_class": "permanent",
        "message": "gone",
        "attempts": 2,
        "first_attempt_at": "2025-03-09T02:00:05Z",
        "last_attempt_at": "2025-03-11T02:00:05Z",
        "traceback": "  a.py:1 in f\nSourceError",
    }


def test_a_harvest_of_nothing_has_failed_in_nothing() -> None:
    assert Harvest().success_rate == 1.0


def test_embeddings_for_people_and_machines() -> None:
    rows = [
        EmbeddingRow("a/b", embedded=3, unchanged=1_000),
        EmbeddingRow("a/c", embedded=1, failed=2),
        EmbeddingRow("a/d", skipped="not installed"),
        EmbeddingRow("a/e", failure="no model"),
    ]
    assert list(embedding_lines(rows)) == [
        "a/b: 3 texts embedded, 1,000 unchanged",
        "a/c: 1 texts embedded, 0 unchanged, 2 failed",
        "a/d: embedding skipped: not installed",
        "a/e: embedding failed: no model",
    ]
    assert rows[0].as_json()["skipped"] is None
    assert rows[3].as_json()["failure"] == "no model"
