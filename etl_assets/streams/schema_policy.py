"""What becomes of a stream when its source begins to send fields that the contract does not know.

What belongs here: the declaration, and the check that it makes sense for the stream. What does not: noticing fields
(`etl_assets.quality.observed`) and changing tables (`etl_assets.warehouse.evolution`).
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from enum import StrEnum
from typing import TYPE_CHECKING

from etl_assets.failures import ConfigurationError

if TYPE_CHECKING:
    from etl_assets.streams.base import Stream


class SchemaPolicy(StrEnum):
    """What happens to raw fields that the contract does not know; each case is in `etl.schema_changes`."""

    EVOLVE = "evolve"
    """The table gets a column for each, of the narrowest type that holds all values it ever brought."""
    FREEZE = "freeze"
    """The table stays as it is: they are kept aside in the quarantine, and the load goes on with a warning."""
    STRICT = "strict"
    """The day is withheld."""


def check_schema_policy(stream: Stream) -> None:
    """Check what a declaration says about fields that its contract does not know.

    Args:
        stream: The stream; its child tables fit it.

    Raises:
        ConfigurationError: If it does not fit.
    """
    from etl_assets.streams.contract import FieldNotes

    policy = stream.schema_changes
    if policy not in list(SchemaPolicy):
        raise ConfigurationError(
            f"{stream.id}: schema_changes must be one of {', '.join(SchemaPolicy)}, not {policy!r}"
        )
    notes = [
        (name, FieldNotes.from_metadata(column.metadata))
        for contract in stream.contracts
        for name, column in contract.to_schema().columns.items()
    ]
    altered = [name for name, note in notes if note.personal is not None and note.personal.alters]
    if policy == SchemaPolicy.EVOLVE and altered:
        raise ConfigurationError(
            f"{stream.id}: schema_changes='evolve' would write new fields in clear beside personal data ({altered[0]})",
            hint="use freeze, and take new fields into the contract, where they get a tag",
        )
    own = notes[: len(stream.contract.to_schema().columns)]
    read = {note.raw or name: name for name, note in own}
    read |= {child.raw_field: f"the child table {child.name}" for child in stream.children}
    _check_ignored(stream.id, read, stream.ignored_fields)


def _check_ignored(stream: str, read: dict[str, str], ignored_fields: tuple[str, ...]) -> None:
    given: object = ignored_fields
    if not isinstance(given, tuple) or not all(isinstance(name, str) and name.strip() for name in given):
        raise ConfigurationError(
            f"{stream}: ignored_fields must be names of raw fields",
            hint='write ignored_fields=("a", "b"), with a comma also after a single one',
        )
    for name, times in Counter(ignored_fields).items():
        if times > 1:
            raise ConfigurationError(f"{stream}: ignored_fields names {name!r} twice")
        if name in read:
            raise ConfigurationError(
                f"{stream}: ignored_fields names {name!r}, which the contract reads for {read[name]}",
                hint="leave it out, or take the column out of the contract",
            )


def schema_policy_version(stream: Stream) -> str:
    """Give what a stream's staged files depend on beyond contract and code; empty for what a stream has by default."""
    if stream.schema_changes == SchemaPolicy.FREEZE and not stream.ignored_fields:
        return ""
    declared = json.dumps([stream.schema_changes, *sorted(stream.ignored_fields)])
    return f"-{hashlib.sha256(declared.encode()).hexdigest()[:8]}"
