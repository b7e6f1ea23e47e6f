"""Conditional requests: asking for an answer only if it has changed since it was landed (RFC 9110, section 13).

What belongs here: which headers of an answer are kept for that, and the conditions that they make. What does not:
sending requests (`etl_assets.sources.client`) and keeping answers (`etl_assets.landing`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

MAXIMUM_HEADER_LENGTH = 2_000
"""Characters of a kept header at most: it comes from the source, and is written to every manifest."""

_TAG, _DATE = "etag", "last-modified"
_PRINTABLE = re.compile(r"[\x20-\x7e]+")


def kept_headers(
    headers: Mapping[str, str], wanted: Iterable[str], is_secret: Callable[[str], bool]
) -> dict[str, str]:
    """Choose the headers that are landed with an answer: its validators, and what tells where the next page is.

    Without a usable validator there is nothing to ask with, and nothing is kept; nor where a header that is needed
    repeats a secret, or is of no sane length: the answer is then simply transferred again.

    Args:
        headers: The answer's headers, by lower-case name.
        wanted: Those that paging needs.
        is_secret: Whether a text holds something that must not be kept.
    """
    kept = {name: headers[name] for name in (_TAG, *wanted) if name in headers}
    if _is_settled(headers):
        kept[_DATE] = headers[_DATE]
    usable = all(
        len(value) <= MAXIMUM_HEADER_LENGTH and _PRINTABLE.fullmatch(value) and not is_secret(value)
        for value in kept.values()
    )
    return kept if usable and (_TAG in kept or _DATE in kept) else {}


def conditions_of(kept: Mapping[str, str]) -> dict[str, str]:
    """Give the request headers that ask for an answer only if it differs from the landed one.

    Args:
        kept: What `kept_headers` chose of the landed answer; empty where there is none.
    """
    conditions = {"if-none-match": kept.get(_TAG), "if-modified-since": kept.get(_DATE)}
    return {name: value for name, value in conditions.items() if value is not None}


def _is_settled(headers: Mapping[str, str]) -> bool:
    """Tell whether `Last-Modified` names this state alone, though a second change may follow within the same second.

    RFC 9110, section 8.8.2.2, calls it strong when the answer was made at least a second later.
    """
    modified, answered = _moment(headers.get(_DATE)), _moment(headers.get("date"))
    return modified is not None and answered is not None and answered - modified >= timedelta(seconds=1)


def _moment(text: str | None) -> datetime | None:
    try:
        moment = parsedate_to_datetime(text or "")
    except (ValueError, TypeError):
        return None
    return moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
