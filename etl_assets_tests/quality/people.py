"""A stream with personal fields of every kind, and its records.

What belongs here: what the tests of personal data share. What does not: assertions.
"""

from __future__ import annotations

import hashlib
import hmac
from datetime import date
from typing import Any

import pandas as pd

from etl_assets.settings import Secret
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Cursor,
    ErrorBudget,
    Field,
    Merge,
    Rest,
    RestSource,
    RetryBudget,
    Stream,
    Timestamp,
    WindowParameters,
    row_rule,
    rule,
)

DAY = date(2025, 1, 30)
KEY = Secret("a key for tests, of no other use")
OTHER_KEY = Secret("another key for tests, as useless")


class People(Contract):
    """A person."""

    person_id: str = Field(unique=True)
    name: str = Field(missing="allow", personal="mask", str_length={"min_value": 0, "max_value": 60})
    email: str = Field(missing="allow", personal="hash", str_matches=r"^[^@]+@[^@]+$")
    phone: str = Field(missing="allow", personal="drop", raw="telephone")
    nickname: str = Field(missing="allow", personal="keep")
    age: int = Field(ge=0)
    changed_at: Timestamp = Field()

    @rule("phone", reason="phone is a premium number")
    def no_premium_number(cls, phone: pd.Series[Any]) -> pd.Series[Any]:
        return ~phone.str.startswith("0900")

    @row_rule(reason="the e-mail address is the name")
    def not_the_name(cls, rows: pd.DataFrame) -> pd.Series[Any]:
        return ~(rows["email"].notna() & (rows["email"] == rows["name"]))


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields."""
    return pd.DataFrame(
        {
            "person_id": parse.text(raw["person_id"]),
            "name": parse.text(raw["name"]),
            "email": parse.text(raw["email"]),
            "phone": parse.text(raw["telephone"]),
            "nickname": parse.text(raw["nickname"]),
            "age": parse.integers(raw["age"]),
            "changed_at": parse.timestamps(raw["changed_at"]),
        }
    )


PEOPLE = Stream(
    source=RestSource(name="crm", retry=RetryBudget(attempts=1)),
    name="people",
    owner="team:crm",
    extract=Rest(
        path="/v1/people", window=WindowParameters("from", "to"), paginator=Cursor(), records="data"
    ),
    contract=People,
    transform=clean,
    write=Merge(key="person_id", version="changed_at"),
    window_column="changed_at",
    business_date="changed_at",
    budget=ErrorBudget(warn=1.0, fail=1.0),
)


def person(person_id: str = "p-1", **changes: Any) -> dict[str, Any]:
    """Make a record that keeps every rule."""
    record = {
        "person_id": person_id,
        "name": "Ada Lovelace",
        "email": "ada@example.com",
        "telephone": "+44 7700 900123",
        "nickname": "Enchantress",
        "age": 36,
        "changed_at": f"{DAY}T10:00:00Z",
    }
    return record | changes


def hashed(text: str, key: Secret = KEY) -> str:
    """Give the hash that a text must have."""
    return hmac.new(key.get_secret_value().encode(), text.encode(), hashlib.sha256).hexdigest()
