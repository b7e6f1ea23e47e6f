"""Dagster's event log on SQLite, with kept connections and whole batches in one transaction.

What belongs here: the storage classes that ``dagster.yaml`` names, and nothing about assets, streams or runs.
What does not: deciding which events are reported, and any other Dagster storage; on PostgreSQL
none of this is needed.

Why it exists: Dagster's own SQLite event log opens a new connection for every statement group and commits
each event by itself, two to four commits an event. A range run of a year reports thousands of events, so that
the bookkeeping takes longer than the load. Here every shard keeps one connection, and a batch is one
transaction in the run's shard and one in the index shard. Files, tables and rows are exactly those of the
parent class: either class can open what the other one wrote, and both may work on the same files at the same
time.

Durability: connections use ``synchronous=NORMAL`` in write-ahead-log mode. A killed process loses no
committed event, since commits are in the operating system's hands. A power cut may lose the last few commits,
never more, and never leaves a damaged file. The events only describe what the warehouse has committed, and
the load log stands there.

To use it, keeping all storages where Dagster has them by default::

    storage:
      custom:
        module: etl_assets.orchestration.event_log
        class: BatchingSqliteStorage
        config:
          base_dir:
            env: DAGSTER_HOME
"""

from __future__ import annotations

import os
import threading
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext, suppress
from itertools import groupby
from typing import Any, Self

import dagster as dg
import dagster._check as check
from dagster._config import Field, IntSource
from dagster._config.config_schema import UserConfigSchema
from dagster._core.events import (
    ASSET_CHECK_EVENTS,
    ASSET_EVENTS,
    EVENT_TYPE_TO_PIPELINE_RUN_STATUS,
    DagsterEventType,
)
from dagster._core.events.log import EventLogEntry
from dagster._core.storage.event_log.schema import SqlEventLogStorageTable
from dagster._core.storage.event_log.sqlite.sqlite_event_log import INDEX_SHARD_NAME, SqliteEventLogStorage
from dagster._core.storage.sql import create_engine
from dagster._core.storage.sqlite import SQLITE_BUSY_TIMEOUT_SECONDS
from dagster._core.storage.sqlite_storage import DagsterSqliteStorage
from dagster._serdes import ConfigurableClassData
from dagster._utils.concurrency import ConcurrencySlotStatus
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.pool import NullPool

from etl_assets.orchestration.check_executions import StoredEvent, insert_planned, update_planned
from etl_assets.orchestration.event_batches import DEFAULT_EVENT_BATCH_SIZE, enable_event_batches
from etl_assets.orchestration.event_spelling import spell_event
from etl_assets.orchestration.new_shards import make_tables
from etl_assets.orchestration.shard_connections import KEPT_CONNECTIONS, ShardConnections, file_identity
from etl_assets.orchestration.sqlite_statements import ManyRows, time_text

_OF_ASSETS = frozenset(kind.value for kind in ASSET_EVENTS)
_OF_CHECKS = frozenset(kind.value for kind in ASSET_CHECK_EVENTS)
_MIRRORED = _OF_ASSETS | _OF_CHECKS | frozenset(kind.value for kind in EVENT_TYPE_TO_PIPELINE_RUN_STATUS)
"""What the parent class copies into the index shard; events that are none of Dagster's have no type."""
_INSERT = ManyRows(
    SqlEventLogStorageTable.insert(),
    ["run_id", "event", "dagster_event_type", "timestamp", "step_key", "asset_key", "partition"],
)


class BatchingSqliteEventLogStorage(SqliteEventLogStorage):
    """Dagster's SQLite event log with kept connections and one transaction a batch.

    Every read and every rule about what an event changes is the parent class's own code, running on the kept
    connections. Only the way in which new events are written is different.

    Args:
        base_dir: Folder of the shards, ``$DAGSTER_HOME/history/runs`` by default in Dagster.
        inst_data: Dagster's record of how the storage was configured.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        # Before the parent's, which connects already
        self._connections = ShardConnections(KEPT_CONNECTIONS)
        self._close_connections = weakref.finalize(self, self._connections.close_all)
        self._collected = threading.local()
        self._tables_seen: set[str] = set()
        self._asset_key_columns_seen: set[str] = set()
        super().__init__(base_dir, inst_data)

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return _with_batch_size(super().config_type())

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> BatchingSqliteEventLogStorage:
        enable_event_batches(config_value.get("event_batch_size", DEFAULT_EVENT_BATCH_SIZE))
        return cls(config_value["base_dir"], inst_data)

    @contextmanager
    def collecting(self) -> Iterator[None]:
        """Hold back the events that this thread stores, and write them as one batch at the end.

        They are written also when the block raises: what was reported before the error has happened.
        """
        if self._collecting() is not None:
            yield
            return
        events: list[EventLogEntry] = []
        self._collected.events = events
        try:
            yield
        finally:
            self._collected.events = None
            self.store_event_batch(events)

    def _collecting(self) -> list[EventLogEntry] | None:
        events: list[EventLogEntry] | None = getattr(self._collected, "events", None)
        return events

    def store_event(self, event: EventLogEntry) -> None:
        """Store one event, with everything that it changes in the index, or nothing of it."""
        self.store_event_batch([event])

    def store_event_batch(self, events: Sequence[EventLogEntry]) -> None:
        """Store events in their order, those of one run in one transaction for each of the two shards.

        When any of them cannot be stored, none of that run's is. Should the machine stop between the two
        commits, the run's log has the batch and the index does not, as with the parent class's single events.
        """
        collecting = self._collecting()
        if collecting is not None:
            collecting.extend(events)
            return
        for run_id, group in groupby(events, key=lambda event: event.run_id):
            self._store_run_events(run_id, list(group))

    def _store_run_events(self, run_id: str, events: list[EventLogEntry]) -> None:
        rows = [self._event_to_row(event) for event in events]
        mirrored = [
            (event, row)
            for event, row in zip(events, rows, strict=True)
            if row["dagster_event_type"] in _MIRRORED
        ]
        index: AbstractContextManager[Connection | None] = (
            self.index_connection() if mirrored else nullcontext()
        )
        # Locks are taken by the first write: always run before index, so that writers never wait in a circle.
        # Commits come in the reverse order of entering: the run's log first, as in the parent class.
        with self._connections.lock, index as index_connection, self.run_connection(run_id) as run_connection:
            _INSERT.execute(run_connection, rows)
            if index_connection is not None:
                self._mirror(index_connection, mirrored)
        self._announce(run_id)

    def _event_to_row(self, event: EventLogEntry) -> dict[str, Any]:
        inner = event.dagster_event
        key = inner.asset_key if inner else None
        return {
            "run_id": event.run_id,
            "event": spell_event(event),
            "dagster_event_type": inner.event_type_value if inner else None,
            "timestamp": time_text(self._event_insert_timestamp(event)),  # type: ignore[no-untyped-call]
            "step_key": inner.step_key if inner else event.step_key,
            "asset_key": key.to_string() if key else None,
            "partition": (inner.partition or None) if inner else None,
        }

    def _mirror(self, connection: Connection, mirrored: list[tuple[EventLogEntry, dict[str, Any]]]) -> None:
        """Write events into the index shard, with what they say about assets and checks."""
        numbers = _insert(connection, [row for _, row in mirrored])
        of_assets = [
            (event, number)
            for (event, row), number in zip(mirrored, numbers, strict=True)
            if row["dagster_event_type"] in _OF_ASSETS
        ]
        if of_assets:
            self._store_asset_event_tags(
                connection, [event for event, _ in of_assets], [id_ for _, id_ in of_assets]
            )
            for event, event_id in _decisive_asset_events(of_assets):
                self._store_asset_event(connection, event, event_id)
        self._store_checks(
            connection,
            [
                StoredEvent(event, number, row["event"])
                for (event, row), number in zip(mirrored, numbers, strict=True)
                if row["dagster_event_type"] in _OF_CHECKS
            ],
        )

    def _store_checks(self, connection: Connection, stored: list[StoredEvent]) -> None:
        """Write what events say about checks, those of a kind together, in their order."""
        for kind, group in groupby(stored, key=lambda one: one.event.get_dagster_event().event_type_value):
            if kind == DagsterEventType.ASSET_CHECK_EVALUATION_PLANNED.value:
                for one in group:
                    insert_planned(connection, one)
                continue
            for one in update_planned(connection, list(group)):
                self.store_asset_check_event(one.event, one.event_id)

    def _announce(self, run_id: str) -> None:
        """Wake the watchers of a run's log, in any process.

        They listen for changes of the shard's main file. With a kept connection a commit changes only the
        write-ahead log, so the file's time is set; unlike a watch on that log, this comes after the commit
        can be read.
        """
        with suppress(FileNotFoundError):
            os.utime(self.path_for_shard(run_id))

    def _initdb(self, engine: Engine, for_index_shard: bool = False) -> None:
        """Make the tables of a shard that has none, and see to those that an older version made."""
        if not make_tables(engine):
            super()._initdb(engine, for_index_shard)

    @contextmanager
    def _connect(self, shard: str) -> Iterator[Connection]:
        connections = self._connections
        with connections.lock:
            connection = self._open_shard(shard)
            if connection.in_transaction():
                yield connection
                return
            try:
                with connection.begin():
                    yield connection
            except BaseException:
                connections.close(shard)
                raise

    def _open_shard(self, shard: str) -> Connection:
        path = self.path_for_shard(shard)
        kept = self._connections.find(shard, file_identity(path))
        if kept is not None:
            return kept
        engine = create_engine(
            self.conn_string_for_shard(shard),
            poolclass=NullPool,
            # The lock sees to it that no two threads use a connection at once
            connect_args={"timeout": SQLITE_BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        )
        if shard not in self._initialized_dbs or file_identity(path) is None:
            self._initdb(engine)
            self._initialized_dbs.add(shard)
        connection = engine.connect()
        # Without a write-ahead log the weaker setting could damage the file at a power cut
        if connection.exec_driver_sql("PRAGMA journal_mode").scalar() == "wal":
            connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
        connection.commit()
        self._connections.keep(shard, connection, file_identity(path))
        return connection

    def _claim_concurrency_slot(
        self, concurrency_key: str, run_id: str, step_key: str
    ) -> ConcurrencySlotStatus:
        """Claim a slot of a pool.

        Dagster selects a free slot and locks its row until it is taken. SQLite locks no rows: two processes could take
        the same slot, so that the whole index is locked from before the selection on.
        """
        with self._connect(INDEX_SHARD_NAME) as connection:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            return super()._claim_concurrency_slot(concurrency_key, run_id, step_key)

    def has_table(self, table_name: str) -> bool:
        """Tell whether the index has a table; tables are never dropped, so a yes is remembered."""
        if table_name not in self._tables_seen and super().has_table(table_name):
            self._tables_seen.add(table_name)
        return table_name in self._tables_seen

    def _has_asset_key_col_on_connection(self, conn: Connection, column_name: str) -> bool:
        seen = self._asset_key_columns_seen
        if column_name not in seen and super()._has_asset_key_col_on_connection(conn, column_name):
            seen.add(column_name)
        return column_name in seen

    def wipe_asset_partitions(self, asset_key: dg.AssetKey, partition_keys: Sequence[str]) -> None:
        """Forget what is known of partitions of an asset, so that they read as missing; Dagster's own cannot.

        The logs of the runs keep their events. What the partition bar is drawn from is worked out anew.
        """
        events = SqlEventLogStorageTable.c
        with self.index_connection() as connection:
            for start in range(0, len(partition_keys), DEFAULT_EVENT_BATCH_SIZE):
                some = list(partition_keys[start : start + DEFAULT_EVENT_BATCH_SIZE])
                of_these = (events.asset_key == asset_key.to_string()) & events.partition.in_(some)
                connection.execute(SqlEventLogStorageTable.delete().where(of_these))
            self.wipe_asset_cached_status(asset_key)

    def wipe(self) -> None:
        """Remove all events; the files of the run shards go too."""
        self._connections.close_all()
        super().wipe()

    def dispose(self) -> None:
        """Close the connections and stop watching."""
        self._connections.close_all()
        super().dispose()


class BatchingSqliteStorage(DagsterSqliteStorage):
    """Dagster's default SQLite storage, in the default places, with the event log of this module.

    Args:
        base_dir: Usually ``$DAGSTER_HOME``; runs, events and schedules go where Dagster puts them by default.
        inst_data: Dagster's record of how the storage was configured.
    """

    def __init__(self, base_dir: str, inst_data: ConfigurableClassData | None = None) -> None:
        super().__init__(base_dir, inst_data)
        default = self._event_log_storage
        self._event_log_storage = BatchingSqliteEventLogStorage(default._base_dir)
        default.dispose()

    @classmethod
    def config_type(cls) -> UserConfigSchema:
        return _with_batch_size(super().config_type())

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> Self:
        enable_event_batches(config_value.get("event_batch_size", DEFAULT_EVENT_BATCH_SIZE))
        return cls.from_local(config_value["base_dir"], inst_data)


def _with_batch_size(schema: Any) -> UserConfigSchema:
    return {
        **schema,
        "event_batch_size": Field(IntSource, is_required=False, default_value=DEFAULT_EVENT_BATCH_SIZE),
    }


def _insert(connection: Connection, rows: Sequence[Mapping[str, Any]]) -> range:
    """Insert events and give their numbers, which follow each other: nobody else writes meanwhile."""
    _INSERT.execute(connection, rows)
    last = int(check.not_none(connection.exec_driver_sql("SELECT last_insert_rowid()").scalar()))
    return range(last - len(rows) + 1, last + 1)


def _decisive_asset_events(stored: Sequence[tuple[EventLogEntry, int]]) -> list[tuple[EventLogEntry, int]]:
    """Leave out asset events whose effect on the asset's row is overwritten within the batch.

    The columns that an event sets depend on its type alone, so the last event of each type decides. Assets
    stay in the order of their first event, which is the order of their row ids.
    """
    by_asset: dict[Any, dict[str, tuple[EventLogEntry, int]]] = {}
    for event, event_id in stored:
        told = event.get_dagster_event()
        last_of_type = by_asset.setdefault(told.asset_key, {})
        last_of_type.pop(told.event_type_value, None)
        last_of_type[told.event_type_value] = (event, event_id)
    return [entry for last_of_type in by_asset.values() for entry in last_of_type.values()]
