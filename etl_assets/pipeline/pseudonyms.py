"""The key that personal data is hashed with: the settings' own, a throw-away one for a demo, or a refusal.

What belongs here: choosing the key and saying so. What does not: using it (`etl_assets.quality.personal`).
"""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import structlog

from etl_assets.failures import ConfigurationError
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.settings import MAKE_A_KEY, PSEUDONYM_KEY_VARIABLE, Secret, Settings
from etl_assets.streams.base import Stream
from etl_assets.streams.contract import Personal

log = structlog.get_logger(__name__)

DEMO_KEY = Secret("the key of the demo, which everybody knows")
"""Hashes made with it protect nobody, as anyone can make them too."""


def pseudonym_key(settings: Settings, source_name: str) -> Secret | None:
    """Choose the key for a source's personal data.

    Args:
        settings: Where the key is, and where the source is.
        source_name: The source's name.

    Returns:
        The key that is set; without one the demo's for an HTTP API on loopback, and none for any other source.
    """
    if settings.pseudonym_key is not None:
        return settings.pseudonym_key
    return DEMO_KEY if settings.is_on_loopback(source_name) else None


def key_of_stream(settings: Settings, stream: Stream) -> Secret | None:
    """Choose the key for a stream; none where no column is hashed.

    Raises:
        ConfigurationError: If columns are hashed, the source is a real one, and no key is set.
    """
    if not _hashes(stream):
        return None
    key = pseudonym_key(settings, stream.source.name)
    if key is None:
        raise ConfigurationError(
            f"{PSEUDONYM_KEY_VARIABLE} is not set, and {stream.id} has personal columns to hash",
            hint=MAKE_A_KEY,
        )
    return key


def pseudonymiser_of(settings: Settings, stream: Stream) -> Pseudonymiser:
    """Make what takes a stream's personal data away; the first use of the demo's key is logged.

    Raises:
        ConfigurationError: As `key_of_stream`.
    """
    key = key_of_stream(settings, stream)
    if key is DEMO_KEY:
        warn_of_demo_key()
    return _pseudonymiser(stream, key)


def contract_version_of(settings: Settings, stream: Stream) -> str:
    """Give the version of a stream's contract that its loads are recorded under.

    Raises:
        ConfigurationError: As `key_of_stream`.
    """
    return _pseudonymiser(stream, key_of_stream(settings, stream)).contract_version


def uses_demo_key(settings: Settings, streams: Iterable[Stream]) -> bool:
    """Whether any of some streams hashes with the demo's key.

    Raises:
        ConfigurationError: As `key_of_stream`, for the first stream that lacks its key.
    """
    return DEMO_KEY in [key_of_stream(settings, stream) for stream in streams]


@cache
def warn_of_demo_key() -> None:
    """Say, once per process, that hashes are made with a key that everybody knows."""
    log.warning(
        "pseudonym_key_is_the_demos",
        message=f"{PSEUDONYM_KEY_VARIABLE} is not set; personal data of the source on loopback is hashed with "
        "a throw-away key that everybody knows",
    )


def is_personal(stream: Stream) -> bool:
    """Whether records of a stream, or lists in them, hold personal data."""
    return any(compile_contract(contract).personal_columns for contract in stream.contracts)


def _pseudonymiser(stream: Stream, key: Secret | None) -> Pseudonymiser:
    lists = {
        child.raw_field: Pseudonymiser(compile_contract(child.contract), key) for child in stream.children
    }
    return Pseudonymiser(compile_contract(stream.contract), key, lists)


def _hashes(stream: Stream) -> bool:
    return any(
        column.notes.personal is Personal.HASH
        for contract in stream.contracts
        for column in compile_contract(contract).columns
    )
