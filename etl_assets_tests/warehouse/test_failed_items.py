"""The account of failed items, against a dictionary that keeps the same account."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import FailureClass
from etl_assets.outcomes import FailedItem
from etl_assets.warehouse.failed_items import FailedItems, KnownItem, Retry, known_items, record_failed_items
from etl_assets.warehouse.session import Session

FIRST = datetime(2025, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
DAYS = (date(2025, 1, 1), date(2025, 1, 2))
CLASSES = (FailureClass.TRANSIENT, FailureClass.RATE_LIMITED, FailureClass.PERMANENT)


@dataclass(frozen=True)
class Attempt:
    """One attempt at a day: when it asked, and what failed in which way."""

    day: date
    hour: int
    failed: dict[str, FailureClass]
    published: bool

    @property
    def at(self) -> datetime:
        """When it asked."""
        return FIRST + timedelta(hours=self.hour)

    def items(self) -> list[FailedItem]:
        """Give what failed."""
        return [
            FailedItem(name, "extract", kind, "SourceError", f"{name}: {kind.value}", self.at, position)
            for position, (name, kind) in enumerate(self.failed.items())
        ]


ATTEMPTS = st.builds(
    Attempt,
    day=st.sampled_from(DAYS),
    hour=st.integers(0, 3),
    failed=st.dictionaries(st.sampled_from("abc"), st.sampled_from(CLASSES)),
    published=st.booleans(),
)


def account(attempts: list[Attempt]) -> list[KnownItem]:
    """Keep the account in a dictionary."""
    known: dict[tuple[date, str], KnownItem] = {}
    for attempt in attempts:
        at = attempt.at.replace(tzinfo=None)
        for item in attempt.items():
            key = (attempt.day, item.identifier)
            before = known.get(key)
            known[key] = KnownItem(
                stream="library/papers",
                partition=attempt.day,
                identifier=item.identifier,
                stage=item.stage,
                error_type=item.error_type,
                failure_class=item.failure_class.value,
                message=item.message,
                attempts=1 if before is None else before.attempts + (before.last_attempt_at != at),
                first_attempt_at=at if before is None else before.first_attempt_at,
                last_attempt_at=at,
                state="pending",
            )
        for key, before in known.items():
            if attempt.published and key[0] == attempt.day and key[1] not in attempt.failed:
                known[key] = replace(before, state="resolved")
    return [known[key] for key in sorted(known)]


def test_the_account_is_right_after_any_attempts(session: Session) -> None:
    connection = session.connection

    @settings(max_examples=25, deadline=None)
    @given(st.lists(ATTEMPTS, max_size=6))
    def check(attempts: list[Attempt]) -> None:
        connection.execute("DELETE FROM etl.failed_items")
        for number, attempt in enumerate(attempts):
            failed = FailedItems(
                "library", "papers", attempt.day, attempt.items(), f"run-{number}", attempt.published
            )
            record_failed_items(connection, failed)
        expected = account(attempts)
        assert known_items(connection, "library/papers", state=None) == expected
        pending = [item for item in expected if item.is_pending]
        assert known_items(connection, "library/papers") == pending
        first_day = [item for item in pending if item.partition == DAYS[0]]
        assert known_items(connection, "library/papers", [DAYS[0]]) == first_day
        assert known_items(connection, "library/books", state=None) == []

    check()


@pytest.mark.parametrize(
    ("failure_class", "taken"),
    [
        (FailureClass.TRANSIENT, [Retry.TRANSIENT, Retry.ALL]),
        (FailureClass.RATE_LIMITED, [Retry.TRANSIENT, Retry.ALL]),
        (FailureClass.PERMANENT, [Retry.ALL]),
    ],
)
def test_what_a_retry_takes_up(failure_class: FailureClass, taken: list[Retry]) -> None:
    (item,) = account([Attempt(DAYS[0], 0, {"a": failure_class}, published=True)])
    assert [choice for choice in Retry if choice.takes(item)] == taken
