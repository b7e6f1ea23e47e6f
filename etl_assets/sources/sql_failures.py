"""What an exception of a database means: the one place that turns them into a `SourceError`.

What belongs here: the mapping, and the messages' wording, without the address and without values of rows. What does
not: statements.
"""

from __future__ import annotations

import re

import sqlalchemy as sa
from sqlalchemy import exc

from etl_assets.failures import FailureClass, SourceError

_QUOTED = re.compile(r"'[^']*'|\"[^\"]*\"")
_SQLITE_PERMANENT = frozenset({"SQLITE_ERROR", "SQLITE_AUTH", "SQLITE_MISMATCH", "SQLITE_READONLY"})
_TRANSIENT_STATES = ("08", "40", "53", "55", "57", "58")
"""Classes of SQLSTATE (ISO 9075; PostgreSQL, appendix A) that pass by themselves: connection, rollback by a conflict,
lack of resources, an object in use, an operator's intervention, an error of the system around the database."""

_REFUSED_STATES = ("28", "3D")
"""Authorisation, and a database that does not exist."""

_TRANSIENT_STATUSES = ("IO", "CANCELLED", "TIMEOUT")
"""Status codes of ADBC for what has no SQLSTATE."""

_NAMING_STATES = ("42P01", "42703", "42501")
"""An undefined table, an undefined column, a lack of privilege: what is quoted is a name."""

_LENGTH = 200


def failure_of_database(
    source: str, url: sa.URL, variable: str, error: exc.SQLAlchemyError, *, connecting: bool
) -> SourceError:
    """Say what an exception of SQLAlchemy means.

    Args:
        source: Name of the source.
        url: Its address, whose password must not be shown.
        variable: The environment variable that the address comes from.
        error: The exception.
        connecting: Whether it was raised when the connection was made.
    """
    original = getattr(error, "orig", None)
    reason = _reason(original or error, url)
    state = str(getattr(original, "sqlstate", None) or getattr(original, "pgcode", None) or "")
    if connecting:
        refused = state.startswith(_REFUSED_STATES)
        return SourceError(
            f"{source} cannot be reached: {reason}",
            source=source,
            affects_all=True,
            failure_class=FailureClass.PERMANENT if refused else FailureClass.TRANSIENT,
            hint=f"is the database running? check {variable}",
        )
    if _is_transient(error, original, state):
        return _broke_off(source, reason)
    return _refused(source, reason)


def failure_of_adbc(source: str, url: sa.URL, error: Exception) -> SourceError:
    """Say what an exception of ADBC, or of Arrow beneath it, means while rows are read.

    Args:
        source: Name of the source.
        url: Its address, whose password must not be shown.
        error: The exception.
    """
    state = str(getattr(error, "sqlstate", None) or "")
    reason = _reason(error, url)
    if state:
        passes = state.startswith(_TRANSIENT_STATES)
    else:
        # A connection that broke has no SQLSTATE.
        status = getattr(getattr(error, "status_code", None), "name", None)
        passes = isinstance(error, OSError) or status in _TRANSIENT_STATUSES
    return _broke_off(source, reason) if passes else _refused(source, reason)


def unreadable_value(source: str, what: str) -> SourceError:
    """Say that a value was read that cannot be held."""
    return _refused(source, what)


def _broke_off(source: str, reason: str) -> SourceError:
    return SourceError(f"{source} broke off: {reason}", source=source)


def _refused(source: str, reason: str) -> SourceError:
    return SourceError(
        f"{source} refused the query: {reason}",
        source=source,
        failure_class=FailureClass.PERMANENT,
        hint="compare the stream's declaration with the database",
    )


def _is_transient(error: exc.SQLAlchemyError, original: BaseException | None, state: str) -> bool:
    if isinstance(error, exc.TimeoutError) or getattr(error, "connection_invalidated", False):
        return True
    if state:
        return state.startswith(_TRANSIENT_STATES)
    sqlite = getattr(original, "sqlite_errorname", None)
    if sqlite is not None:
        # SQLite reports a missing table by the same class of exception as a busy file.
        return isinstance(error, exc.OperationalError) and sqlite not in _SQLITE_PERMANENT
    return isinstance(error, exc.OperationalError | exc.InterfaceError)


def _reason(error: BaseException, url: sa.URL) -> str:
    """Give the first line of a message; what is in quotes is kept only where it names a table or a column."""
    details = dict(getattr(error, "details", None) or ())
    message = details.get(b"PG_DIAG_MESSAGE_PRIMARY", b"").decode("utf-8", "replace") or str(error)
    lines = message.strip().splitlines()
    text = " ".join((lines[0] if lines else "").split())
    if getattr(error, "sqlstate", None) not in _NAMING_STATES:
        text = _QUOTED.sub("'...'", text)
    for secret in (url.password, url.username):
        if secret:
            text = text.replace(str(secret), "***")
    return text[:_LENGTH] or type(error).__name__
