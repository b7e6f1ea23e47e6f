"""What a data folder holds after something struck: the rows of all tables, the files, and what the doctor says.

What belongs here: looking, in a form that can be compared. What does not: striking (`etl_assets_tests.crash.nursery`).
"""

from __future__ import annotations

import hashlib
import os
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import duckdb

from etl_assets.pipeline.doctor import examine
from etl_assets.pipeline.environment import Environment
from etl_assets.settings import load_settings
from etl_assets.streams.base import Documents, Stream
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, STAMPS

WAREHOUSE = "warehouse.duckdb"

_ACCOUNTS = {
    "etl.watermarks": "source, stream, watermark",
    "etl.quarantine": "source, stream, partition, row_number, rules, reason, raw_payload, state",
    "etl.tombstones": "source, stream, key_json, sequence, partition",
    "etl.sequence_ranges": "source, stream, first_sequence, last_sequence",
    "etl.sequence_gaps": "source, stream, after_sequence, before_sequence, partition",
    "etl.snapshots": "source, stream, partition, rows",
    "etl.failed_items": "source, stream, partition, identifier, stage, message, state",
}
"""Bookkeeping that depends on the rows alone, not on how often they were loaded."""

_UNCERTAIN = (
    (re.compile(r"\.tmp-[0-9a-f-]+"), ".tmp"),
    (re.compile(r"\d{8}T\d{6}\.\d{6}Z-run"), "<version>"),
    (re.compile(r"<version>-\w+-\w+"), "<staged>"),
    (re.compile(r"\.\d+\.tmp$"), ".<pid>.tmp"),
)


@dataclass(frozen=True, slots=True)
class Aftermath:
    """What a data folder holds.

    Attributes:
        content: All rows, as a digest.
        files: Names of all files and folders, without what differs from run to run.
        unconserved: Loads whose numbers do not add up.
        unusual: What the doctor says.
    """

    content: str
    files: tuple[str, ...]
    unconserved: tuple[str, ...]
    unusual: tuple[str, ...]

    def differences(self, expected: Aftermath) -> Iterator[str]:
        """Tell what is not as it is after an undisturbed run."""
        if self.content != expected.content:
            yield "the tables differ from those of an undisturbed run"
        for name, count in (Counter(self.files) - Counter(expected.files)).items():
            yield f"left over: {count} of {name}"
        for name, count in (Counter(expected.files) - Counter(self.files)).items():
            yield f"missing: {count} of {name}"
        yield from (f"not conserved: {load}" for load in self.unconserved)
        yield from (f"the doctor says: {finding}" for finding in self.unusual)


def same_in_every_run(path: str) -> str:
    """Take out of a path what differs from run to run: temporary names, times, processes."""
    for pattern, name in _UNCERTAIN:
        path = pattern.sub(name, path)
    return path


def aftermath(variables: dict[str, str], stream: Stream) -> Aftermath:
    """Look at a data folder, by the doctor's eyes as well."""
    environment = Environment.of(load_settings(variables), {stream.id: "1"})
    unusual = [
        f"{finding.where}: {finding.what}"
        for finding in examine(environment, [stream], deep=True)
        # How full the disk is that the tests run on is none of their business.
        if "MiB are free" not in finding.what
    ]
    folder = Path(variables["ETL_DATA_DIR"])
    with duckdb.connect(str(folder / WAREHOUSE), read_only=True) as connection:
        unconserved = [str(row) for row in connection.execute(NOT_CONSERVED).fetchall()]
        content = _content(connection)
    files = _files(folder)
    if isinstance(stream.extract, Documents):
        # Each try at a document that is not there counts, and lands a version of its own.
        files = [name for name in files if "<version>" not in name]
    return Aftermath(content, tuple(files), tuple(unconserved), tuple(unusual))


def content_of(folder: Path) -> str:
    """Give a digest of all rows of a folder's warehouse; empty where nothing has been committed yet.

    It changes nothing, and takes no lock.
    """
    if not (folder / WAREHOUSE).exists():
        return ""
    with duckdb.connect(str(folder / WAREHOUSE), read_only=True) as connection:
        return _content(connection)


def _content(connection: duckdb.DuckDBPyConnection) -> str:
    found = connection.execute(
        "SELECT schema_name || '.' || table_name, list(column_name ORDER BY column_index) FROM duckdb_columns() "
        "WHERE NOT internal GROUP BY ALL ORDER BY ALL"
    ).fetchall()
    digest, rows_in_all = hashlib.sha256(), 0
    for table, columns in found:
        wanted = _ACCOUNTS.get(table) or ", ".join(column for column in columns if column not in STAMPS)
        if table in _ACCOUNTS or not table.startswith("etl."):
            rows = connection.execute(f"SELECT {wanted} FROM {table} ORDER BY ALL").fetchall()
            rows_in_all += len(rows)
            # A table without rows may be made before the commit that fills it.
            digest.update(repr((table, rows)).encode() if rows else b"")
    return digest.hexdigest() if rows_in_all else ""


def _files(folder: Path) -> list[str]:
    names = [
        os.path.relpath(os.path.join(parent, name), folder)
        for parent, folders, files in os.walk(folder)
        for name in (*folders, *files)
    ]
    return sorted(same_in_every_run(name) for name in names)
