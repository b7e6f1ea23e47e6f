"""The outbox: a small SQLite file in which every condition stands before anybody is told.

It is a file of its own, so that it works when the warehouse is locked or broken, and never keeps the warehouse busy.
Several processes may write it. What belongs here: the file, its tables, transactions, cursors, mutes and heartbeats.
What does not: problems (`problems`), messages (`messages`).
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Self

from etl_assets.failures import EtlError, StorageFullError, is_disk_full
from etl_assets.settings import Settings

BUSY_SECONDS = 30.0
_VERSION_1 = """
CREATE TABLE occurrences (
    id INTEGER PRIMARY KEY, fingerprint TEXT NOT NULL, problem_id INTEGER NOT NULL, kind TEXT NOT NULL,
    subject TEXT NOT NULL, key TEXT NOT NULL, ref TEXT NOT NULL, severity TEXT NOT NULL, at REAL NOT NULL,
    written_at REAL NOT NULL, times INTEGER NOT NULL, state TEXT NOT NULL, over_at REAL, error TEXT NOT NULL,
    failure_class TEXT NOT NULL, run_id TEXT NOT NULL, rows INTEGER, details TEXT NOT NULL, link TEXT NOT NULL);
CREATE UNIQUE INDEX one_open_occurrence ON occurrences (fingerprint) WHERE state = 'open';
CREATE INDEX occurrences_of_problem ON occurrences (problem_id, state);
CREATE INDEX open_occurrences ON occurrences (kind, subject, key) WHERE state = 'open';
CREATE TABLE problems (
    id INTEGER PRIMARY KEY, grouping TEXT NOT NULL, kind TEXT NOT NULL, scope TEXT NOT NULL, severity TEXT NOT NULL,
    owner TEXT NOT NULL, state TEXT NOT NULL, opened_at REAL NOT NULL, written_at REAL NOT NULL, last_at REAL NOT NULL,
    closed_at REAL, times INTEGER NOT NULL, acked_at REAL, acked_by TEXT NOT NULL DEFAULT '');
CREATE UNIQUE INDEX one_open_problem ON problems (grouping) WHERE state = 'open';
CREATE INDEX problems_by_state ON problems (state);
CREATE TABLE tellings (
    problem_id INTEGER NOT NULL, channel TEXT NOT NULL, told_at REAL NOT NULL, told_times INTEGER NOT NULL,
    is_over INTEGER NOT NULL DEFAULT 0, PRIMARY KEY (problem_id, channel)) WITHOUT ROWID;
CREATE TABLE messages (
    id INTEGER PRIMARY KEY, channel TEXT NOT NULL, state TEXT NOT NULL, status TEXT NOT NULL, severity TEXT NOT NULL,
    body TEXT NOT NULL, written_at REAL NOT NULL, not_before REAL NOT NULL, give_up_at REAL NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0, sent_at REAL, error TEXT NOT NULL DEFAULT '', instead_of INTEGER);
CREATE INDEX pending_messages ON messages (channel, id) WHERE state = 'pending';
CREATE INDEX recent_messages ON messages (channel, written_at);
CREATE TABLE seen (ref TEXT PRIMARY KEY, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE cursors (name TEXT PRIMARY KEY, value TEXT NOT NULL, at REAL NOT NULL) WITHOUT ROWID;
CREATE TABLE mutes (
    id INTEGER PRIMARY KEY, selection TEXT NOT NULL, until REAL NOT NULL, by TEXT NOT NULL, made_at REAL NOT NULL);
CREATE TABLE beats (name TEXT PRIMARY KEY, at REAL NOT NULL, said TEXT NOT NULL) WITHOUT ROWID;
"""
_STEPS = (_VERSION_1,)


def outbox_path(settings: Settings) -> Path:
    """Give where the outbox is."""
    return settings.state_dir / "alerts.db"


class OutboxError(EtlError):
    """The outbox cannot be used."""


@dataclass(frozen=True, slots=True)
class Mute:
    """Something that nobody wants to hear of for a while."""

    id: int
    selection: str
    until: datetime
    by: str


class Outbox:
    """The open outbox; close it, or use it as a context manager. Not for several threads.

    Args:
        path: The file; it and its folder are made on first use.
        at: The time, where the file is new; now by default.

    Raises:
        OutboxError: If it cannot be opened, or is damaged.
        StorageFullError: If the disk is full.
    """

    def __init__(self, path: Path, *, at: datetime | None = None) -> None:
        self._path = path
        self._at = at or datetime.now(UTC)
        with self._told_plainly():
            path.parent.mkdir(parents=True, exist_ok=True)
            # Transactions are ours to begin; Python's own would begin with a mere read lock.
            self._connection = sqlite3.connect(path, timeout=BUSY_SECONDS, isolation_level=None)
            self._connection.row_factory = sqlite3.Row
            try:
                # What is acknowledged must be there after a power cut too: FULL, not the usual NORMAL of this mode.
                self._connection.execute("PRAGMA journal_mode=WAL")
                self._connection.execute("PRAGMA synchronous=FULL")
                self._prepare()
            except BaseException:
                self._connection.close()
                raise

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file."""
        self._connection.close()

    def _prepare(self) -> None:
        if self._version() == len(_STEPS):
            return
        with self.transaction():
            version = self._version()
            if version > len(_STEPS):
                raise OutboxError(
                    f"the outbox {self._path} was written by a newer version of this code",
                    hint="update etl_assets",
                )
            for step in _STEPS[version:]:
                for statement in filter(str.strip, step.split(";")):
                    self._connection.execute(statement)
            self._connection.execute(f"PRAGMA user_version = {len(_STEPS)}")
            if version == 0:
                self.set_cursor("begun", "", self._at)

    def _version(self) -> int:
        return int(self._connection.execute("PRAGMA user_version").fetchone()[0])

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """Write everything in the block, or nothing of it.

        Raises:
            OutboxError: If it cannot be written.
            StorageFullError: If the disk is full.
        """
        with self._told_plainly():
            if self._connection.in_transaction:
                yield
                return
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield
            except BaseException:
                self._connection.execute("ROLLBACK")
                raise
            self._connection.execute("COMMIT")

    def run(self, sql: str, *values: Any) -> int:
        """Run a statement that writes; gives how many rows it changed."""
        with self._told_plainly():
            return self._connection.execute(sql, values).rowcount

    def add(self, sql: str, *values: Any) -> int:
        """Run an insertion; gives the row's number."""
        with self._told_plainly():
            return int(self._connection.execute(sql, values).lastrowid or 0)

    def rows(self, sql: str, *values: Any) -> list[sqlite3.Row]:
        """Give the rows of a query."""
        with self._told_plainly():
            return self._connection.execute(sql, values).fetchall()

    def row(self, sql: str, *values: Any) -> sqlite3.Row | None:
        """Give the first row of a query."""
        with self._told_plainly():
            found: sqlite3.Row | None = self._connection.execute(sql, values).fetchone()
            return found

    def cursor(self, name: str) -> str:
        """Give where a watcher stopped; empty before its first time."""
        found = self.row("SELECT value FROM cursors WHERE name = ?", name)
        return str(found["value"]) if found else ""

    def set_cursor(self, name: str, value: str, at: datetime) -> None:
        """Note where a watcher stopped."""
        self.run("INSERT OR REPLACE INTO cursors (name, value, at) VALUES (?, ?, ?)", name, value, stamp(at))

    def begun_at(self) -> datetime:
        """Give when the outbox was made; what lies long before is nobody's news."""
        found = self.row("SELECT at FROM cursors WHERE name = 'begun'")
        return moment(found["at"]) if found else self._at

    def beat(self, name: str, at: datetime, said: str = "") -> None:
        """Note that something is alive, and what it had to say."""
        self.run("INSERT OR REPLACE INTO beats (name, at, said) VALUES (?, ?, ?)", name, stamp(at), said)

    def last_beat(self, name: str) -> tuple[datetime, str] | None:
        """Give when something was last alive, and what it said; None if never."""
        found = self.row("SELECT at, said FROM beats WHERE name = ?", name)
        return (moment(found["at"]), str(found["said"])) if found else None

    def mute(self, selection: str, until: datetime, by: str, at: datetime) -> int:
        """Keep still about something until a time; gives the mute's number."""
        return self.add(
            "INSERT INTO mutes (selection, until, by, made_at) VALUES (?, ?, ?, ?)",
            *(selection, stamp(until), by, stamp(at)),
        )

    def unmute(self, selection: str) -> int:
        """End mutes of a selection; gives how many there were."""
        return self.run("DELETE FROM mutes WHERE selection = ?", selection)

    def mutes(self, now: datetime) -> list[Mute]:
        """Give the mutes that hold at a time."""
        found = self.rows(
            "SELECT id, selection, until, by FROM mutes WHERE until > ? ORDER BY id", stamp(now)
        )
        return [Mute(row["id"], row["selection"], moment(row["until"]), row["by"]) for row in found]

    def forget(self, before: datetime) -> None:
        """Delete what has long been told and is over."""
        old = stamp(before)
        with self.transaction():
            self.run("DELETE FROM seen WHERE at < ?", old)
            self.run("DELETE FROM mutes WHERE until < ?", old)
            self.run("DELETE FROM messages WHERE state <> 'pending' AND written_at < ?", old)
            gone = "SELECT id FROM problems WHERE state = 'settled' AND closed_at < ?"
            self.run(f"DELETE FROM occurrences WHERE problem_id IN ({gone})", old)
            self.run(f"DELETE FROM tellings WHERE problem_id IN ({gone})", old)
            self.run("DELETE FROM problems WHERE state = 'settled' AND closed_at < ?", old)

    @contextmanager
    def _told_plainly(self) -> Iterator[None]:
        try:
            yield
        except (sqlite3.Error, OSError) as error:
            if is_disk_full(error):
                raise StorageFullError(
                    f"no space left on the disk of {self._path}",
                    hint="free some; nothing written down is lost",
                ) from error
            reason = getattr(error, "strerror", None) or " ".join(str(error).split())
            damaged = isinstance(error, sqlite3.DatabaseError) and not isinstance(
                error, sqlite3.OperationalError
            )
            raise OutboxError(
                f"the outbox {self._path} cannot be used: {reason}",
                hint="move it away; alerts then begin anew"
                if damaged
                else "check that the data folder exists and that you may write to it",
            ) from error


def stamp(at: datetime) -> float:
    """Write a time as seconds since 1970."""
    return at.timestamp()


def moment(seconds: float) -> datetime:
    """Read a time that was written as seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC)
