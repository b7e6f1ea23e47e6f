"""What earlier extractions of a partition know: the answers of the landed version, and the pages of a cut-short one.

What belongs here: finding the landed answer to a request. What does not: deciding what to make of it
(`etl_assets.sources`).
"""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping
from contextlib import suppress
from datetime import date

from etl_assets.failures import LandingError
from etl_assets.landing.landed import LandedPartition
from etl_assets.landing.manifest import PageEntry
from etl_assets.landing.store import Landing


def landed_elsewhere(landing: Landing, stream_id: str, day: date) -> LandedPartition | None:
    """Give the newest version of the latest other partition that has one in good order; None where none has.

    Args:
        landing: The store.
        stream_id: `<source>/<name>`.
        day: The partition that is left out.
    """
    try:
        names = os.listdir(landing.partition_path(stream_id, day).parent)
    except FileNotFoundError:
        return None
    for name in sorted(names, reverse=True):
        with suppress(ValueError, LandingError):
            found = None if name == day.isoformat() else landing.latest(stream_id, date.fromisoformat(name))
            if found is not None:
                return found
    return None


class EarlierAnswers:
    """The answers that a partition has already; satisfies `etl_assets.sources.base.Earlier`.

    Args:
        landed: The newest landed version, if there is one.
        pages: Pages of an extraction that was cut short.
        resume: Where it stopped.
        elsewhere: A landed version of another partition, for requests that have nothing to do with the day.
        repeats: Whether all that the landed answers depend on, beside the source, is the same now.

    Attributes:
        used: Whether a landed answer was taken.
    """

    def __init__(
        self,
        landed: LandedPartition | None,
        pages: Collection[PageEntry] = (),
        resume: str | None = None,
        *,
        elsewhere: LandedPartition | None = None,
        repeats: bool = False,
    ) -> None:
        pages_of_landed = landed.manifest.pages if landed is not None else ()
        self._last = pages_of_landed[-1] if repeats and pages_of_landed else None
        self._by_request = {
            page.request: (version, page)
            for version in (elsewhere, landed)
            if version is not None
            for page in version.manifest.pages
        }
        self._resume = resume
        self._requests = frozenset(page.request for page in pages)
        self.used = False

    @property
    def resume(self) -> str | None:
        """See `Earlier`."""
        return self._resume

    @property
    def requests(self) -> Collection[str]:
        """See `Earlier`."""
        return self._requests

    def records_of_last(self, request: str) -> int | None:
        """See `Earlier`."""
        return self._last.records if self._last is not None and self._last.request == request else None

    def headers(self, request: str) -> Mapping[str, str]:
        """See `Earlier`."""
        found = self._by_request.get(request)
        return found[1].headers if found is not None else {}

    def body(self, request: str) -> bytes | None:
        """See `Earlier`."""
        found = self._by_request.get(request)
        if found is None:
            return None
        version, page = found
        try:
            body = version.body(page)
        except LandingError:
            return None
        self.used = True
        return body
