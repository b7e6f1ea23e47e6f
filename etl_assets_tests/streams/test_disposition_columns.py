"""What a write disposition asks of a stream's columns: each misdeclaration is refused in one line."""

from __future__ import annotations

from datetime import date
from typing import Any

import pandas as pd
import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import split_rows
from etl_assets.streams.base import (
    Append,
    Cdc,
    Contract,
    Cursor,
    Field,
    Merge,
    ReplacePartition,
    Rest,
    RestSource,
    Snapshot,
    Stream,
    Timestamp,
    Window,
    WindowParameters,
)
from etl_assets.streams.write import WriteDisposition


class Changes(Contract):
    """Changes to things."""

    lsn: int = Field()
    op: str = Field()
    changed_at: Timestamp = Field()
    thing_id: str = Field()
    note: str = Field(missing="allow")
    sold_at: Timestamp = Field(missing="allow")


class Priced(Contract):
    """Prices with spans of their own."""

    thing_id: str = Field()
    valid_from: Timestamp = Field()


CDC = Cdc(key="thing_id", sequence="lsn", operation="op")
TIMES = {"window_column": "changed_at", "business_date": "changed_at"}


def declare(
    write: WriteDisposition, contract: type[Contract] = Changes, *, columns: dict[str, str] | None = None
) -> Stream:
    """Declare a stream."""
    return Stream(
        source=RestSource(name="shop"),
        name="things",
        owner="team:things",
        extract=Rest(path="/things", window=WindowParameters("from", "to"), paginator=Cursor()),
        contract=contract,
        transform=lambda raw: raw,
        write=write,
        window_column=(columns or {}).get("window_column"),
        business_date=(columns or {}).get("business_date"),
    )


@pytest.mark.parametrize(
    ("write", "columns"),
    [
        (Append(), TIMES),
        (CDC, TIMES),
        (CDC, {"window_column": "changed_at"}),
        (CDC, {"window_column": "changed_at", "business_date": "sold_at"}),
        (Snapshot(key="thing_id"), {}),
        (Snapshot(key=("thing_id", "lsn")), {"business_date": "changed_at"}),
    ],
)
def test_what_fits_together_is_taken(write: WriteDisposition, columns: dict[str, str]) -> None:
    assert declare(write, columns=columns).write == write


def _cdc(**changes: Any) -> Cdc:
    return Cdc(**({"key": "thing_id", "sequence": "lsn", "operation": "op"} | changes))


@pytest.mark.parametrize(
    ("write", "columns", "message"),
    [
        (Append(), {"business_date": "changed_at"}, "window_column is missing; only a snapshot"),
        (Append(), {"window_column": "changed_at"}, "business_date is missing; only a snapshot and"),
        (ReplacePartition(), {"window_column": "changed_at"}, "business_date is missing"),
        (Merge(key="thing_id", version="lsn"), {"business_date": "changed_at"}, "window_column is missing"),
        (CDC, {}, "window_column is missing"),
        (Append(), TIMES | {"business_date": "sold_at"}, "business_date column 'sold_at' must not allow"),
        (Append(), TIMES | {"window_column": "lsn"}, "window_column 'lsn' must be a timestamp"),
        (_cdc(key=()), TIMES, "cdc needs a key"),
        (_cdc(key="other"), TIMES, "key names 'other', which its contract does not have"),
        (_cdc(key="note"), TIMES, "key column 'note' must not allow missing values"),
        (_cdc(sequence="other"), TIMES, "sequence names 'other'"),
        (_cdc(sequence="changed_at", operation="lsn"), TIMES, "sequence column 'changed_at' must be an int"),
        (_cdc(operation="note"), TIMES, "operation column 'note' must not allow missing values"),
        (_cdc(operation="lsn", sequence="lsn"), TIMES, "operation column 'lsn' must be a text"),
        (_cdc(key=("thing_id", "op")), TIMES, "must be different columns"),
        (Merge(key=("thing_id", "thing_id"), version="lsn"), TIMES, "key names 'thing_id' twice"),
        (Merge(key=("thing_id", "lsn"), version="lsn"), TIMES, "version column 'lsn' is part of the key"),
        (_cdc(key=("thing_id", "thing_id")), TIMES, "key names 'thing_id' twice"),
        (Snapshot(key=("thing_id", "thing_id")), {}, "key names 'thing_id' twice"),
        (Snapshot(key=()), {}, "snapshot needs a key"),
        (Snapshot(key="note"), {}, "key column 'note' must not allow missing values"),
        (Snapshot(key="thing_id", guard=1.5), {}, "guard must be a share between 0 and 1, not 1.5"),
        (Snapshot(key="thing_id"), {"business_date": "note"}, "business_date column 'note' must not allow"),
    ],
)
def test_what_does_not_is_refused_in_one_line(
    write: WriteDisposition, columns: dict[str, str], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        declare(write, columns=columns)
    assert str(refused.value).startswith("shop/things: ")
    assert message in str(refused.value)
    assert "\n" not in str(refused.value)


def test_a_snapshot_keeps_the_names_of_its_versions_for_itself() -> None:
    with pytest.raises(ConfigurationError, match="column 'valid_from' is a name that snapshots use"):
        declare(Snapshot(key="thing_id"), Priced)


def test_rows_without_a_time_are_in_no_window() -> None:
    rows = pd.DataFrame({"thing_id": ["a"], "valid_from": [pd.Timestamp("1999-01-01", tz="UTC")]})
    contract, window = compile_contract(Priced), Window.of_day(date(2025, 1, 1))
    split = split_rows(contract, rows, rows, window=window, window_column="valid_from")
    assert dict(split.violations) == {"valid_from.window": 1}
    split = split_rows(contract, rows, rows, window=window, window_column=None)
    assert (split.good.num_rows, dict(split.violations)) == (1, {})


def test_rows_without_a_key_or_a_version_are_quarantined() -> None:
    raw = pd.DataFrame(
        {
            "lsn": pd.array([1, None, 3], dtype="Int64"),
            "op": ["I", "I", "I"],
            "changed_at": [pd.Timestamp("2025-01-01", tz="UTC")] * 3,
            "thing_id": ["a", "b", None],
            "note": [None, None, None],
            "sold_at": pd.Series([pd.NaT] * 3, dtype="datetime64[ns, UTC]"),
        }
    )
    stream = declare(Merge(key="thing_id", version="lsn"), columns=TIMES)
    window = Window.of_day(date(2025, 1, 1))
    split = split_rows(
        compile_contract(stream.contract), raw, raw, window=window, window_column=stream.window_column
    )
    assert dict(split.violations) == {"lsn.missing": 1, "thing_id.missing": 1}
    assert split.good.num_rows == 1
