"""Statements that SQLite runs for many rows at once, without SQLAlchemy between them.

SQLAlchemy works out the parameters of each row anew, which takes longer than writing it.

What belongs here: that. What does not: which rows there are (`event_log`, `check_executions`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from functools import cached_property
from operator import itemgetter
from typing import Any

from sqlalchemy import Insert, Update
from sqlalchemy.dialects import sqlite
from sqlalchemy.engine import Connection


class ManyRows:
    """A statement, spelled for SQLite on first use.

    Args:
        statement: The statement; has at least two parameters.
        names: Its parameters, where the statement alone does not tell.
    """

    def __init__(self, statement: Insert | Update, names: Sequence[str] | None = None) -> None:
        self._statement = statement
        self._names = names

    @cached_property
    def _spelled(self) -> tuple[str, itemgetter[Any]]:
        compiled: Any = self._statement.compile(dialect=sqlite.dialect(), column_keys=self._names)
        return str(compiled), itemgetter(*compiled.positiontup)

    def execute(self, connection: Connection, rows: Sequence[Mapping[str, Any]]) -> None:
        """Run the statement for each row.

        Args:
            connection: To SQLite, within a transaction.
            rows: Values by parameter, as SQLite takes them: times by `time_text`.
        """
        text, parameters = self._spelled
        connection.exec_driver_sql(text, [parameters(row) for row in rows])


def time_text(moment: datetime) -> str:
    """A time without a zone, as SQLAlchemy writes it into SQLite."""
    return moment.isoformat(" ", "microseconds")
