"""Making the SQLite file that a run's events go into.

Dagster waits for the disk after every table and index, and reads all of its migrations twice, which takes longer than
most runs have to tell. Here the file is made in one transaction, with the same tables and the same version.

What belongs here: files that nothing is in yet. What does not: those of older versions, which are left to Dagster.
"""

from __future__ import annotations

from functools import cache

import sqlalchemy as sa
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from dagster._core.storage.event_log.schema import SqlEventLogStorageMetadata
from dagster._core.storage.event_log.sqlite import sqlite_event_log
from dagster._core.storage.sql import get_alembic_config
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.exc import OperationalError


def make_tables(engine: Engine) -> bool:
    """Make the tables of a file that has none.

    Args:
        engine: The file's.

    Returns:
        Whether the file has its tables and their version now. If not, somebody else is at it, or an older version of
        Dagster was: Dagster knows what to do then.
    """
    try:
        with engine.connect() as connection:
            if not _is_versioned(connection) and _is_empty(connection):
                _make(connection)
            return _is_versioned(connection)
    except OperationalError:
        return False


def _is_versioned(connection: Connection) -> bool:
    return MigrationContext.configure(connection).get_current_revision() is not None


def _is_empty(connection: Connection) -> bool:
    return not sa.inspect(connection).get_table_names()


def _make(connection: Connection) -> None:
    if connection.exec_driver_sql("PRAGMA journal_mode=WAL").scalar() != "wal":
        return
    connection.exec_driver_sql("PRAGMA synchronous=NORMAL")
    connection.commit()
    # Whoever else makes the same file waits here, and finds it made.
    connection.exec_driver_sql("BEGIN IMMEDIATE")
    if _is_empty(connection):
        SqlEventLogStorageMetadata.create_all(connection)
        MigrationContext.configure(connection).stamp(_migrations(), "head")
    connection.commit()


@cache
def _migrations() -> ScriptDirectory:
    return ScriptDirectory.from_config(get_alembic_config(sqlite_event_log.__file__))
