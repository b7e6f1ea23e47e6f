"""Picking streams by what a user types: an id, or a source for all of its streams.

What belongs here: which ids are meant. What does not: the streams themselves (`etl_assets.streams.discovery`).
"""

from __future__ import annotations

from collections.abc import Iterable

from etl_assets.failures import ConfigurationError


def selected_ids(known: Iterable[str], names: Iterable[str]) -> list[str]:
    """Pick ids of streams, or of all of a source; all of them when none is named.

    Args:
        known: Ids of all streams, in order.
        names: What was typed.

    Raises:
        ConfigurationError: If a name fits no stream; lists those that exist.
    """
    known, names = list(known), list(names)
    chosen: set[str] = set()
    for name in names:
        wanted = name.strip().removeprefix("warehouse/").removesuffix("/*").strip("/")
        found = {each for each in known if wanted in (each, each.partition("/")[0])}
        if not found:
            raise ConfigurationError(f"unknown stream {name!r}", hint=f"known: {', '.join(known)}")
        chosen |= found
    return [each for each in known if each in chosen or not names]
