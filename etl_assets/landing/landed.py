"""One landed version of a partition, and reading it.

What belongs here: handing out answers that are as they came, or none. What does not: finding and writing versions
(`etl_assets.landing.store`).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, datetime
from pathlib import Path

from etl_assets.failures import LandingError
from etl_assets.landing.manifest import Manifest, PageEntry
from etl_assets.landing.pages import PAGES_FILE, DamagedPageError, codec, read_page
from etl_assets.streams.windows import Window


@dataclass(frozen=True, slots=True)
class LandedPartition:
    """One version of a partition's raw answers.

    Attributes:
        path: Directory that holds it.
        manifest: What is known about it.
    """

    path: Path
    manifest: Manifest

    @property
    def stream_id(self) -> str:
        """`<source>/<name>`."""
        return self.manifest.stream_id

    @property
    def day(self) -> date:
        """The partition."""
        return self.manifest.day

    @property
    def version(self) -> str:
        """Name of this version; later ones sort after earlier ones."""
        return self.manifest.version

    @property
    def window(self) -> Window:
        """The span of time that the source was asked for."""
        return self.manifest.window

    @property
    def requested_at(self) -> datetime:
        """When extraction began, in UTC: the answers show the source as of then or later."""
        return self.manifest.requested_at

    @property
    def records(self) -> int:
        """Records in all pages."""
        return self.manifest.records

    @property
    def raw_bytes(self) -> int:
        """Bytes of all bodies, as they came."""
        return self.manifest.raw_bytes

    @property
    def sha256(self) -> str:
        """Digest over the bodies of all pages in order."""
        return self.manifest.sha256

    def pages(self) -> Iterator[bytes]:
        """Read the bodies in order, one at a time.

        Raises:
            LandingError: If they are missing or damaged; a damaged page is never handed out.
        """
        decompressor = codec()
        digest = hashlib.sha256()
        try:
            with (self.path / PAGES_FILE).open("rb") as file:
                if os.fstat(file.fileno()).st_size != self.manifest.compressed_bytes:
                    raise self._damaged()
                for page in self.manifest.pages:
                    body = read_page(file, page, decompressor)
                    digest.update(body)
                    yield body
        except (OSError, DamagedPageError) as error:
            raise self._damaged() from error
        if digest.hexdigest() != self.manifest.sha256:
            raise self._damaged()

    def body(self, page: PageEntry) -> bytes:
        """Read one body.

        Args:
            page: Its entry in the manifest.

        Raises:
            LandingError: If it is missing or damaged.
        """
        try:
            with (self.path / PAGES_FILE).open("rb") as file:
                return read_page(file, page, codec())
        except (OSError, DamagedPageError) as error:
            raise self._damaged() from error

    def has_its_length(self) -> bool:
        """Whether the pages file is as long as it was written."""
        try:
            return (self.path / PAGES_FILE).stat().st_size == self.manifest.compressed_bytes
        except OSError:
            return False

    def is_intact(self) -> bool:
        """Whether all bodies can be read back as they came."""
        try:
            for _ in self.pages():
                pass
        except LandingError:
            return False
        return True

    def _damaged(self) -> LandingError:
        what = f"landed answers of {self.stream_id} {self.day}"
        return LandingError(f"{what} are damaged; extract the day again")
