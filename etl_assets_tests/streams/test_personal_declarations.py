"""Tags for personal data that a stream cannot have are refused when it is declared."""

from __future__ import annotations

from typing import Any

import pandas as pd
import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.base import (
    Append,
    Cdc,
    Contract,
    Cursor,
    Date,
    Field,
    Merge,
    Personal,
    ReplacePartition,
    Rest,
    RestSource,
    Snapshot,
    Stream,
    Timestamp,
    WindowParameters,
)
from etl_assets.streams.write import WriteDisposition

MERGE = Merge(key="person_id", version="version")


def declare(write: WriteDisposition = MERGE, **tagged: tuple[Any, Any]) -> Stream:
    """Declare a stream in which some columns are other than usual: type and field."""
    columns: dict[str, tuple[Any, Any]] = {
        "person_id": (str, Field()),
        "version": (str, Field()),
        "lsn": (int, Field()),
        "op": (str, Field()),
        "born_on": (Date, Field(missing="allow")),
        "email": (str, Field(missing="allow")),
        "changed_at": (Timestamp, Field()),
        **tagged,
    }
    annotations = {name: kind for name, (kind, _) in columns.items()}
    fields = {name: field for name, (_, field) in columns.items()}
    contract: Any = type("Tagged", (Contract,), {"__annotations__": annotations, **fields})
    return Stream(
        source=RestSource(name="crm"),
        name="people",
        owner="team:crm",
        extract=Rest(path="/v1/people", window=WindowParameters("from", "to"), paginator=Cursor()),
        contract=contract,
        transform=pd.DataFrame.copy,
        write=write,
        window_column="changed_at",
        business_date="changed_at",
    )


@pytest.mark.parametrize(
    ("write", "name", "kind", "field"),
    [
        (MERGE, "email", str, {"personal": "hash", "unique": True}),
        (MERGE, "email", str, {"personal": "mask", "missing": "allow"}),
        (MERGE, "email", str, {"personal": "mask"}),
        (MERGE, "email", str, {"personal": "drop", "missing": "allow"}),
        (MERGE, "email", str, {"personal": "drop", "missing": "warn"}),
        (MERGE, "email", str, {"personal": "keep", "unique": True}),
        (MERGE, "born_on", Date, {"personal": "drop", "missing": "allow"}),
        (MERGE, "born_on", Date, {"personal": "keep"}),
        (MERGE, "person_id", str, {"personal": "hash"}),
        (MERGE, "person_id", str, {"personal": "keep"}),
        (MERGE, "version", str, {"personal": "keep"}),
        (Snapshot(key="person_id"), "person_id", str, {"personal": "hash"}),
        (ReplacePartition(), "person_id", str, {"personal": "mask"}),
    ],
)
def test_tag_that_makes_sense(write: WriteDisposition, name: str, kind: Any, field: dict[str, Any]) -> None:
    assert declare(write, **{name: (kind, Field(**field))}).id == "crm/people"


CDC = Cdc(key="person_id", sequence="lsn", operation="op")


@pytest.mark.parametrize(
    ("write", "name", "kind", "field", "message"),
    [
        (MERGE, "lsn", int, {"personal": "hash"}, "is personal='hash', but is no text (use drop or keep)"),
        (MERGE, "born_on", Date, {"personal": "mask"}, "is personal='mask', but is no text"),
        (MERGE, "email", str, {"personal": "drop"}, "and so must allow missing values (set missing='allow')"),
        (MERGE, "email", str, {"personal": "mask", "unique": True}, "and so cannot be unique (use hash)"),
        (MERGE, "person_id", str, {"personal": "mask"}, "needs it as its key (use hash or keep)"),
        (Snapshot(key="person_id"), "person_id", str, {"personal": "mask"}, "needs it as its key"),
        (CDC, "person_id", str, {"personal": "mask"}, "needs it as its key"),
        (MERGE, "version", str, {"personal": "hash"}, "the stream needs it as its version (use keep)"),
        (MERGE, "version", str, {"personal": "mask"}, "the stream needs it as its version"),
        (CDC, "op", str, {"personal": "hash"}, "needs it as its operation"),
        (CDC, "lsn", int, {"personal": "drop", "missing": "allow"}, "must not allow missing values"),
        (MERGE, "person_id", str, {"personal": "drop", "missing": "allow"}, "must not allow missing values"),
        (MERGE, "changed_at", Timestamp, {"personal": "drop"}, "and so must allow missing values"),
    ],
)
def test_tag_that_does_not_is_refused(
    write: WriteDisposition, name: str, kind: Any, field: dict[str, Any], message: str
) -> None:
    with pytest.raises(ConfigurationError) as refused:
        declare(write, **{name: (kind, Field(**field))})
    said = str(refused.value)
    assert message in said
    assert said.startswith("crm/people: ")
    assert repr(name) in said
    assert "\n" not in said


@pytest.mark.parametrize("tag", ["mask", "drop"])
def test_appended_rows_must_stay_apart(tag: str) -> None:
    lost = (str, Field(personal=tag, missing="allow"))
    with pytest.raises(
        ConfigurationError, match="tells rows apart by their columns, of which email will not"
    ):
        declare(Append(), email=lost)
    with pytest.raises(ConfigurationError, match="tells rows apart"):
        declare(Append(), email=lost, op=(str, Field(personal="drop", missing="allow", unique=True)))
    assert declare(Append(), email=lost, person_id=(str, Field(unique=True))).id
    assert declare(Append(), email=(str, Field(personal="hash"))).id
    assert declare(ReplacePartition(), email=lost).id


def test_kept_values_alone_are_not_altered() -> None:
    assert [tag.value for tag in Personal if not tag.alters] == ["keep"]
