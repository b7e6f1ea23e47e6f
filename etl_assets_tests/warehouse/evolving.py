"""Rows with fields that the contract does not know, staged by hand for the warehouse's tests.

What belongs here: making requests of streams that evolve, freeze or refuse. What does not: assertions.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from etl_assets.quality.observed import EVOLVED_TYPE
from etl_assets.streams.base import SchemaPolicy, Stream
from etl_assets.streams.observed import (
    EVOLVED_COLUMN,
    ObservedField,
    ObservedFields,
    SetAside,
    is_blank,
    kinds_of,
    text_of,
)
from etl_assets.warehouse.bookkeeping import ensure_bookkeeping
from etl_assets.warehouse.commit_request import CommitRequest
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import Row, Stager

Extra = dict[str, Any]
"""A row's unknown fields by name."""


@contextmanager
def session_in_memory() -> Iterator[Session]:
    """Give a session on a warehouse that is nowhere."""
    with duckdb.connect() as connection:
        ensure_bookkeeping(connection)
        yield Session(connection, Path("nowhere"))


def request_with(
    stager: Stager,
    stream: Stream,
    number: int,
    rows: Sequence[Row],
    extras: Sequence[Extra],
    *,
    bad: Sequence[str] = (),
    absent: Sequence[str] = (),
    **changes: Any,
) -> CommitRequest:
    """Make a request as staging and audit would leave it.

    Args:
        stager: Writes the files.
        stream: The stream; its policy decides what is staged.
        number: The day.
        rows: Good rows.
        extras: The unknown fields of each row.
        bad: Raw payloads of quarantined rows.
        absent: Fields that the contract reads and no record has.
        changes: Fields of the request to set otherwise.
    """
    plain = stager.request(stream, number, rows, bad, **changes)
    names = list(dict.fromkeys(name for extra in extras for name in extra))
    evolves = stream.schema_changes == SchemaPolicy.EVOLVE
    unknown = {name: _observed(name, extras) for name in names}
    fields = ObservedFields(
        records=plain.counts.extracted,
        absent=tuple(absent),
        unknown=unknown,
        set_aside=() if evolves else tuple(_set_aside(extras)),
    )
    if evolves and plain.rows is not None:
        table = pq.read_table(plain.rows)
        values = [
            [(name, text_of(value)) for name, value in extra.items() if not is_blank(value)]
            for extra in extras
        ]
        pq.write_table(table.append_column(EVOLVED_COLUMN, pa.array(values, EVOLVED_TYPE)), plain.rows)
    return replace(plain, fields=fields, content_hash=f"{plain.content_hash}{list(extras)}")


def _observed(name: str, extras: Sequence[Extra]) -> ObservedField:
    values = [extra[name] for extra in extras if not is_blank(extra.get(name))]
    return ObservedField(len(values), kinds_of(values))


def _set_aside(extras: Sequence[Extra]) -> list[SetAside]:
    kept = [{name: value for name, value in extra.items() if not is_blank(value)} for extra in extras]
    return [SetAside(number, text_of(part)) for number, part in enumerate(kept) if part]
