"""Embeddings: a vector per row of a stream that declares texts to be searched by meaning.

The table `<stream>_embeddings` follows the stream's own: it holds the hash of the text that each vector was made of, so
that only new and changed texts need one. What belongs here: what is pending, storing vectors, and the nearest ones to
a vector. What does not: making vectors (`etl_assets.pipeline.embedding`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any

import duckdb

from etl_assets.failures import FailureClass
from etl_assets.outcomes import FailedItem
from etl_assets.streams.base import Snapshot, Stream
from etl_assets.warehouse.failed_items import EMBED, PENDING, RESOLVED
from etl_assets.warehouse.identifiers import quoted
from etl_assets.warehouse.schema import REMOVED_ON, Column, TableLayout, layout_of, table_columns
from etl_assets.warehouse.transaction import naive_utc

_SEPARATOR = "chr(10) || chr(10)"


@dataclass(frozen=True, slots=True)
class PendingText:
    """A text that needs a vector.

    Attributes:
        key: Key of its row.
        text: The text.
        text_hash: Its hash.
        partition: Partition of its row.
    """

    key: str
    text: str
    text_hash: str
    partition: date


@dataclass(frozen=True, slots=True)
class Pending:
    """How the embeddings of a stream stand.

    Attributes:
        texts: Texts that need a vector.
        unchanged: Vectors that are still right.
        stale: Vectors whose row is gone, or has no text any more.
    """

    texts: tuple[PendingText, ...] = ()
    unchanged: int = 0
    stale: int = 0


@dataclass(frozen=True, slots=True)
class Found:
    """A row that was found by meaning.

    Attributes:
        key: Its key.
        title: The first of the texts that it is searched by.
        score: Cosine of the angle between the vectors: 1 for the same meaning, about 0 for nothing in common.
    """

    key: str
    title: str
    score: float


class Embeddings:
    """The embeddings of one stream.

    Args:
        connection: The warehouse.
        stream: The stream; declares texts to be embedded.
        model: Name of the model; vectors of another one are of no use.
    """

    def __init__(self, connection: duckdb.DuckDBPyConnection, stream: Stream, model: str) -> None:
        self._connection = connection
        self._stream = stream
        self._model = model
        self._parent = layout_of(stream)
        keys = getattr(stream.write, "key_columns", ())
        self._key = next(column for column in self._parent.columns if column.name in keys)

    @property
    def table(self) -> str:
        """Name of the table."""
        return f"{self._parent.table}_embeddings"

    def exist(self) -> bool:
        """Whether there is a table of vectors."""
        return bool(self._columns())

    def pending(self) -> Pending:
        """Find out which texts need a vector."""
        if not table_columns(self._connection, self._parent.schema, self._parent.table):
            return Pending()
        known = (
            f"SELECT {self._key.quoted}, text_hash FROM {self._layout(1).name} WHERE model = $model"
            if self.exist()
            else f"SELECT CAST(NULL AS {self._key.sql_type}) AS {self._key.quoted}, NULL AS text_hash WHERE $model = ''"
        )
        rows = self._connection.execute(
            f"WITH texts AS ({self._texts}), known AS ({known}) "
            "SELECT CAST(texts.key AS VARCHAR), texts.text, texts.text_hash, texts.partition, known.text_hash "
            f"FROM texts LEFT JOIN known ON known.{self._key.quoted} = texts.key ORDER BY 1",
            {"model": self._model},
        ).fetchall()
        texts = tuple(PendingText(*row[:4]) for row in rows if row[2] != row[4])
        return Pending(texts, len(rows) - len(texts), self._stale() if self.exist() else 0)

    def store(
        self, texts: Sequence[PendingText], vectors: Sequence[Sequence[float]], run_id: str, at: datetime
    ) -> None:
        """Store vectors, in place of former ones, within the caller's transaction; forget those that are stale.

        Args:
            texts: What they were made of.
            vectors: As many, all of one length.
            run_id: Recorded with each.
            at: When; aware.
        """
        if vectors:
            self._ensure(len(vectors[0]))
        if not self.exist():
            return
        table = self._layout(1).name
        keys = [one.key for one in texts]
        self._connection.execute(
            f"DELETE FROM {table} WHERE model <> $model OR CAST({self._key.quoted} AS VARCHAR) IN "
            f"(SELECT unnest(CAST($keys AS VARCHAR[]))) OR {self._key.quoted} NOT IN "
            f"(SELECT key FROM ({self._texts}))",
            {"keys": keys, "model": self._model},
        )
        if not vectors:
            return
        self._connection.execute(
            f"INSERT INTO {table} SELECT CAST(unnest(CAST($keys AS VARCHAR[])) AS {self._key.sql_type}), "
            "unnest(CAST($hashes AS VARCHAR[])), $model, $run_id, CAST($at AS TIMESTAMP), "
            f"CAST(unnest(CAST($vectors AS FLOAT[][])) AS FLOAT[{len(vectors[0])}])",
            {
                "keys": keys,
                "hashes": [one.text_hash for one in texts],
                "model": self._model,
                "run_id": run_id,
                "at": naive_utc(at),
                "vectors": [list(map(float, vector)) for vector in vectors],
            },
        )

    def nearest(self, vector: Sequence[float], limit: int) -> list[Found]:
        """Give the rows whose vectors are nearest to one, best first."""
        title = quoted(self._stream.embed[0])
        rows = self._connection.execute(
            f"SELECT CAST(row.{self._key.quoted} AS VARCHAR), coalesce(row.{title}, ''), "
            f"array_cosine_similarity(known.vector, CAST($vector AS FLOAT[{len(vector)}])) AS score "
            f"FROM {self._layout(1).name} AS known JOIN {self._parent.name} AS row "
            f"ON row.{self._key.quoted} = known.{self._key.quoted} "
            f"WHERE known.model = $model {self._there('row')} ORDER BY score DESC, 1 LIMIT $limit",
            {"vector": [float(part) for part in vector], "model": self._model, "limit": limit},
        ).fetchall()
        return [Found(*row) for row in rows]

    def record_failures(
        self,
        failed: Sequence[FailedItem],
        partitions: Sequence[date],
        embedded: Sequence[str],
        run_id: str,
    ) -> None:
        """Put on record which texts could not be embedded; those that were, or are gone, are resolved.

        Args:
            failed: The items.
            partitions: The partition of each.
            embedded: Keys of the texts that were embedded.
            run_id: Recorded with each.
        """
        place = {"source": self._stream.source.name, "stream": self._stream.name}
        self._connection.execute(
            f"UPDATE etl.failed_items SET state = '{RESOLVED}', run_id = $run_id WHERE source = $source "
            f"AND stream = $stream AND stage = '{EMBED}' AND state = '{PENDING}' "
            "AND (identifier IN (SELECT unnest(CAST($embedded AS VARCHAR[]))) "
            f"OR identifier NOT IN (SELECT CAST(key AS VARCHAR) FROM ({self._texts})))",
            {**place, "run_id": run_id, "embedded": list(embedded)},
        )
        for item, partition in zip(failed, partitions, strict=True):
            self._record(item, partition, run_id, place)

    def _record(self, item: FailedItem, partition: date, run_id: str, place: dict[str, str]) -> None:
        same = {**place, "partition": partition, "identifier": item.identifier}
        at = naive_utc(item.attempted_at)
        values = {
            "error_type": item.error_type,
            "failure_class": FailureClass(item.failure_class).value,
            "message": item.message,
            "traceback": item.traceback,
            "at": at,
            "run_id": run_id,
        }
        where = (
            "source = $source AND stream = $stream AND partition = $partition AND identifier = $identifier "
            f"AND stage = '{EMBED}'"
        )
        changed = self._connection.execute(
            "UPDATE etl.failed_items SET error_type = $error_type, failure_class = $failure_class, "
            "message = $message, traceback = $traceback, attempts = attempts + 1, last_attempt_at = $at, "
            f"state = '{PENDING}', run_id = $run_id WHERE {where}",
            same | values,
        ).fetchone()
        if changed and changed[0]:
            return
        self._connection.execute(
            "INSERT INTO etl.failed_items (source, stream, partition, identifier, stage, error_type, failure_class, "
            "message, attempts, first_attempt_at, last_attempt_at, state, run_id, traceback) VALUES ($source, "
            f"$stream, $partition, $identifier, '{EMBED}', $error_type, $failure_class, $message, 1, $at, $at, "
            f"'{PENDING}', $run_id, $traceback)",
            same | values,
        )

    @property
    def _texts(self) -> str:
        """The texts of the rows that are there, as SQL."""
        parts = ", ".join(quoted(name) for name in self._stream.embed)
        return (
            f"SELECT {self._key.quoted} AS key, concat_ws({_SEPARATOR}, {parts}) AS text, "
            f"md5(concat_ws({_SEPARATOR}, {parts})) AS text_hash, _partition AS partition "
            f"FROM {self._parent.name} AS row WHERE concat_ws('', {parts}) <> '' {self._there('row')}"
        )

    def _there(self, row: str) -> str:
        write = self._stream.write
        marks = isinstance(write, Snapshot) and write.removed == "mark"
        return f"AND {row}.{REMOVED_ON.quoted} IS NULL" if marks else ""

    def _stale(self) -> int:
        found = self._connection.execute(
            f"SELECT count(*) FROM {self._layout(1).name} AS known WHERE model <> $model "
            f"OR {self._key.quoted} NOT IN (SELECT key FROM ({self._texts}))",
            {"model": self._model},
        ).fetchone()
        return int(found[0]) if found else 0

    def _ensure(self, dimension: int) -> None:
        """Make the table; vectors of another length are those of another model, and are of no use any more."""
        layout = self._layout(dimension)
        columns = self._columns()
        wanted = {column.name: column.sql_type for column in layout.columns}
        if columns and columns != wanted:
            self._connection.execute(f"DROP TABLE {layout.name}")
        elif columns:
            return
        definitions = ", ".join(f"{column.quoted} {column.sql_type}" for column in layout.columns)
        self._connection.execute(f"CREATE TABLE {layout.name} ({definitions})")

    def _columns(self) -> dict[str, str]:
        return table_columns(self._connection, self._parent.schema, self.table)

    def _layout(self, dimension: int) -> TableLayout:
        columns: Any = (
            self._key,
            Column("text_hash", "VARCHAR"),
            Column("model", "VARCHAR"),
            Column("run_id", "VARCHAR"),
            Column("embedded_at", "TIMESTAMP"),
            Column("vector", f"FLOAT[{dimension}]"),
        )
        return TableLayout(self._parent.schema, self.table, columns, ())
