"""Events as Dagster spells them in its log, in less time.

Dagster walks through an event by way of a dictionary that wraps each object in it, builds the path to each value for an
error that never comes, and looks the rules of a class up again and again. Here they are looked up once for a class, and
what has rules of its own is left to Dagster.

What belongs here: the text of an event. What does not: where it is written (`etl_assets.orchestration.event_log`).
"""

from __future__ import annotations

import json
from enum import Enum
from typing import Any, NamedTuple

from dagster._core.events.log import EventLogEntry
from dagster_shared.record import _REMAPPING_FIELD
from dagster_shared.serdes.serdes import _WHITELIST_MAP, NamedTupleSerializer, ObjectSerializer, pack_value

_SCALARS = frozenset({str, int, float, bool, type(None)})
_ENCODER = json.JSONEncoder(sort_keys=True)


class _Spelling(NamedTuple):
    """How objects of a class are spelled.

    Attributes:
        fields: For each field its name in the log, and what packs it where Dagster has a rule for it.
        constants: Members that do not depend on the object.
    """

    fields: list[tuple[str, Any]]
    constants: dict[str, Any]


_spellings: dict[type, _Spelling | None] = {}
_members: dict[Enum, Any] = {}


def spell_event(event: EventLogEntry) -> str:
    """Give the text that Dagster's ``serialize_value`` gives."""
    return _ENCODER.encode(_plain(event))


def _plain(value: Any) -> Any:
    kind = type(value)
    if kind in _SCALARS:
        return value
    if kind is dict:
        return {key: inner if type(inner) in _SCALARS else _plain(inner) for key, inner in value.items()}
    if kind is list:
        return [inner if type(inner) in _SCALARS else _plain(inner) for inner in value]
    try:
        spelling = _spellings[kind]
    except KeyError:
        spelling = _spellings[kind] = _spelling_of(kind)
    if spelling is not None:
        return _object(value, spelling)
    if isinstance(value, Enum):
        member = _members.get(value)
        if member is None:
            member = _members[value] = pack_value(value)
        return member
    return pack_value(value)


def _object(value: Any, spelling: _Spelling) -> dict[str, Any]:
    plain = dict(spelling.constants)
    # Not by `iter`: Dagster's records refuse to be taken for tuples.
    for (name, rule), inner in zip(spelling.fields, tuple.__iter__(value), strict=True):
        if rule is None:
            plain[name] = inner if type(inner) in _SCALARS else _plain(inner)
        else:
            plain[name] = _plain(rule.pack(inner, whitelist_map=_WHITELIST_MAP, descent_path=name))
    return plain


def _spelling_of(kind: type) -> _Spelling | None:
    """Tell how objects of a class are spelled; None where Dagster is to do it."""
    serializer: Any = _WHITELIST_MAP.object_serializers.get(kind.__name__)
    if not isinstance(serializer, NamedTupleSerializer) or not issubclass(kind, tuple):
        return None
    rules = type(serializer)
    if (
        rules.pack_items is not ObjectSerializer.pack_items
        or rules.before_pack is not ObjectSerializer.before_pack
        or rules.object_as_mapping is not NamedTupleSerializer.object_as_mapping
        or serializer.skip_when_empty_fields
        or serializer.skip_when_none_fields
    ):
        return None
    fields: Any = getattr(kind, "_fields", ())
    renamed = getattr(kind, _REMAPPING_FIELD, {})
    names = [renamed.get(field, field) for field in fields]
    return _Spelling(
        [
            (serializer.storage_field_names.get(name, name), serializer.field_serializers.get(name))
            for name in names
        ],
        {"__class__": serializer.get_storage_name(), **serializer.old_fields},
    )
