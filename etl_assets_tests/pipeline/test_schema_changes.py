"""From records with unknown fields to table and quarantine: what staging writes is what the commit reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.parquet as pq
import pytest

from etl_assets.outcomes import Status
from etl_assets.pipeline import staging
from etl_assets.pipeline.staged import MANIFEST_FILE, StagedPartition
from etl_assets.streams.base import SchemaPolicy, Stream
from etl_assets.streams.observed import EVOLVED_COLUMN
from etl_assets.warehouse.bookkeeping import ensure_bookkeeping
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult
from etl_assets.warehouse.session import Session
from etl_assets_tests.pipeline.landings import land, rows_of, stage
from etl_assets_tests.quality import people
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, line, without
from etl_assets_tests.warehouse.samples import select

EVOLVING = replace(ORDER_LINES, schema_changes=SchemaPolicy.EVOLVE)


def commit(session: Session, stream: Stream, staged: StagedPartition) -> CommitResult:
    """Commit a staged day as the pipeline does."""
    return session.commit(
        CommitRequest(
            stream=stream,
            partition=DAY,
            run_id="run",
            verdict=Status.PUBLISHED,
            counts=staged.counts,
            content_hash=staged.content_hash,
            watermark=datetime(2025, 3, 11, tzinfo=UTC),
            contract_version="c1",
            loaded_at=datetime(2025, 3, 11, 2, tzinfo=UTC),
            rows=staged.rows,
            quarantine=staged.quarantine if staged.counts.quarantined else None,
            fields=staged.fields,
        )
    )


@pytest.fixture
def session() -> Any:
    """A session on a warehouse in memory."""
    with duckdb.connect() as connection:
        ensure_bookkeeping(connection)
        yield Session(connection, Path("nowhere"))


RECORDS: list[Any] = [
    line("a"),
    line("b", tier=1),
    line("c", quantity=0, tier="of a bad row"),
    line("d", tier=2.5, tags=["x", {"y": None}]),
    line("e", tags="", Uber="1"),
    "no object",
]


@pytest.mark.parametrize("size", [1, 2, 5, 100])
def test_new_columns_in_whichever_chunk_they_come(
    tmp_path: Path, session: Session, monkeypatch: pytest.MonkeyPatch, size: int
) -> None:
    monkeypatch.setattr(staging, "CHUNK_ROWS", size)
    staged = stage(tmp_path, land(tmp_path, [RECORDS], EVOLVING), EVOLVING)
    result = commit(session, EVOLVING, staged)
    assert [(change.kind.value, change.field, change.after) for change in result.schema_changes] == [
        ("added", "tier", "DOUBLE"),
        ("added", "tags", "VARCHAR"),
        ("set_aside", "Uber", "VARCHAR"),
    ]
    found = select(session.connection, "SELECT line_id, tier, tags FROM shop.order_lines ORDER BY 1")
    assert found == [("a", None, None), ("b", 1.0, None), ("d", 2.5, '["x",{"y":null}]'), ("e", None, None)]
    aside = select(
        session.connection, "SELECT row_number, raw_payload FROM etl.quarantine WHERE state = 'set_aside'"
    )
    assert [(number, json.loads(payload)) for number, payload in aside] == [(4, {"Uber": "1"})]


def test_a_staged_day_is_used_again_with_what_was_seen_of_its_fields(tmp_path: Path) -> None:
    landed = land(tmp_path, [[line("a", tier=1), without(line("b"), "country")]])
    first = stage(tmp_path, landed)
    (first.directory / "mark").touch()
    again = stage(tmp_path, landed)
    assert (again.directory / "mark").exists()
    assert again.fields == first.fields
    assert again.fields.unknown["tier"].rows == 1
    assert [json.loads(row.payload) for row in again.fields.set_aside] == [{"tier": 1}]


@pytest.mark.parametrize(
    "other", [EVOLVING, replace(ORDER_LINES, ignored_fields=("tier",))], ids=["policy", "ignored"]
)
def test_another_declaration_stages_anew(tmp_path: Path, other: Stream) -> None:
    landed = land(tmp_path, [[line("a", tier=1)]])
    first = stage(tmp_path, landed)
    assert stage(tmp_path, landed, other).directory != first.directory


def test_only_a_stream_that_evolves_stages_a_column_more(tmp_path: Path) -> None:
    landed = land(tmp_path, [[line("a", tier=1)]])
    names: Sequence[str] = pq.read_schema(stage(tmp_path, landed).rows).names
    assert EVOLVED_COLUMN not in names
    evolving = stage(tmp_path, landed, EVOLVING)
    assert pq.read_schema(evolving.rows).names == [*names, EVOLVED_COLUMN]
    assert rows_of(evolving)[0][EVOLVED_COLUMN] == [("tier", "1")]
    assert "tier" not in evolving.preview


def test_a_manifest_without_fields_is_staged_again(tmp_path: Path) -> None:
    landed = land(tmp_path, [[line("a", tier=1)]])
    first = stage(tmp_path, landed)
    manifest = json.loads((first.directory / MANIFEST_FILE).read_bytes())
    del manifest["fields"]
    (first.directory / MANIFEST_FILE).write_text(json.dumps(manifest), encoding="utf-8")
    assert stage(tmp_path, landed).fields == first.fields


def test_new_fields_beside_personal_ones_are_in_clear_nowhere(tmp_path: Path) -> None:
    record = people.person() | {"mail": "ada@example.com", "Ada Adams": "ada@example.com"}
    staged = stage(
        tmp_path, land(tmp_path, [[record]], people.PEOPLE, people.DAY), people.PEOPLE, key=people.KEY
    )
    assert staged.counts.staged == 1
    assert staged.fields.unknown.keys() == {"mail", "***"}
    for path in staged.directory.iterdir():
        assert b"ada@example.com" not in path.read_bytes()
        assert b"Ada Adams" not in path.read_bytes()
