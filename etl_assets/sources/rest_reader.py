"""Reading a REST source: the client and the paging behind the interface that all kinds of source share."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from datetime import date

from etl_assets.settings import SourceSettings
from etl_assets.sources.base import FIRST_TIME, Earlier, Page, Reader, expect
from etl_assets.sources.client import SourceClient
from etl_assets.sources.comparison import Comparison, Held
from etl_assets.sources.counts import compare_window
from etl_assets.sources.documents import Results, Wanted, fetch_documents
from etl_assets.sources.identifiers import identifiers_of
from etl_assets.sources.rest import extract_pages
from etl_assets.sources.watch import SourceWatch
from etl_assets.streams.base import Documents, Extract, Rest, RestSource


class RestReader(Reader):
    """Reads a REST API; safe to use from many threads.

    Args:
        source: The source.
        settings: Where it is, and its secrets.
        watch: What it shares with other readers of the source; its own where not given.

    Attributes:
        client: What asks the API.

    Raises:
        ConfigurationError: If address or secrets cannot be used.
    """

    def __init__(
        self, source: RestSource, settings: SourceSettings, watch: SourceWatch | None = None
    ) -> None:
        if settings.rate is not None:
            source = replace(source, requests_per_second=settings.rate)
        self._watch = watch or SourceWatch(source, settings.state_path)
        self._identifiers = settings.identifiers
        self.client = SourceClient(
            source,
            settings.url,
            settings.token,
            secret_of=settings.secret,
            circuit=self._watch.circuit,
            statistics=self._watch.statistics,
        )

    def close(self) -> None:
        """See `Reader`."""
        self.client.close()
        self._watch.record()

    @property
    def address(self) -> str:
        """See `Reader`."""
        return self.client.address

    def pages(self, extract: Extract, day: date, earlier: Earlier = FIRST_TIME) -> Iterator[Page]:
        """See `Reader`: each page is an answer as it came, now or when it was landed."""
        rest = expect(extract, Rest)
        return extract_pages(self.client, rest, rest.window_of(day), earlier)

    def compare(self, extract: Extract, day: date, held: Held) -> Comparison:
        """See `Reader`: by the number of records, or by what a change feed has added."""
        if not isinstance(extract, Rest):
            return super().compare(extract, day, held)
        return compare_window(self.client, extract, extract.window_of(day), held)

    def identifiers(self, extract: Documents) -> list[str]:
        """See `etl_assets.sources.documents.DocumentReader`."""
        return identifiers_of(extract, self._identifiers)

    def documents(
        self, extract: Documents, wanted: Iterable[Wanted], earlier: Earlier = FIRST_TIME
    ) -> Results:
        """See `etl_assets.sources.documents.DocumentReader`."""
        return fetch_documents(self.client, extract, wanted, earlier)
