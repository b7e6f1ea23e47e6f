"""What an error says at its core, as Dagster records errors.

What belongs here: finding the cause below Dagster's own wrappings. What does not: making it fit to be shown (`scrub`).
"""

from __future__ import annotations

from dagster_shared.error import SerializableErrorInfo


def innermost(error: SerializableErrorInfo | None) -> str:
    """Give the message of the error that caused all others; empty where there is none."""
    while error is not None and error.cause is not None:
        error = error.cause
    return error.message if error is not None else ""
