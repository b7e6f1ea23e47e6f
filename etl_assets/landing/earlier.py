"""What earlier extractions of a partition know: the answers of the landed version, and the pages of a cut-short one.

What belongs here: finding the landed answer to a request. What does not: deciding what to make of it
(`etl_assets.sources`).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from etl_assets.failures import LandingError
from etl_assets.landing.landed import LandedPartition
from etl_assets.landing.manifest import PageEntry


class EarlierAnswers:
    """The answers that a partition has already; satisfies `etl_assets.sources.base.Earlier`.

    Args:
        landed: The newest landed version, if there is one.
        pages: Pages of an extraction that was cut short.
        resume: Where it stopped.

    Attributes:
        used: Whether a landed answer was taken.
    """

    def __init__(
        self, landed: LandedPartition | None, pages: Collection[PageEntry] = (), resume: str | None = None
    ) -> None:
        self._landed = landed
        self._by_request = {page.request: page for page in landed.manifest.pages} if landed else {}
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

    def headers(self, request: str) -> Mapping[str, str]:
        """See `Earlier`."""
        page = self._by_request.get(request)
        return page.headers if page is not None else {}

    def body(self, request: str) -> bytes | None:
        """See `Earlier`."""
        page = self._by_request.get(request)
        if page is None or self._landed is None:
            return None
        try:
            body = self._landed.body(page)
        except LandingError:
            return None
        self.used = True
        return body
