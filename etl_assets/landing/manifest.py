"""The manifest of a landed partition: what was asked for, and what came.

What belongs here: its fields, and reading and writing them as JSON. What does not: the payloads themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import MISSING, Field, dataclass, field, fields
from datetime import UTC, date, datetime
from typing import Any

from etl_assets.landing.checked import from_checked_json, to_checked_json
from etl_assets.outcomes import FailedItem
from etl_assets.streams.windows import Window

FORMAT_VERSION = 1

MANIFEST_FILE = "manifest.json"


@dataclass(frozen=True, slots=True)
class PageEntry:
    """One answer within the pages file.

    Attributes:
        offset: Where its compressed bytes start.
        compressed_bytes: How many they are.
        raw_bytes: Length of the answer's body as it came.
        records: Records in it.
        crc32: Check sum of the body, so that damage is seen before a page is handed out.
        request: Name of the request that it answers, without secrets; empty where there was none.
        headers: Those of the answer's headers that are needed to ask for it again only if it has changed.
        identifier: What a document was asked for by.
        format: Name of the format that a document came in.
    """

    offset: int
    compressed_bytes: int
    raw_bytes: int
    records: int
    crc32: int
    request: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)
    identifier: str | None = None
    format: str | None = None

    def as_json(self) -> dict[str, Any]:
        """Give the fields that say something: the optional ones would be most of a manifest with thousands of pages."""
        values = ((each, getattr(self, each.name)) for each in fields(self))
        return {each.name: value for each, value in values if value or _is_required(each)}


def _is_required(each: Field[Any]) -> bool:
    return each.default is MISSING and each.default_factory is MISSING


@dataclass(frozen=True, slots=True)
class Manifest:
    """What is known about a landed partition.

    Attributes:
        stream_id: `<source>/<name>`.
        day: The partition.
        version: Sortable and unique within the partition; the last one counts.
        run_id: The run that extracted it.
        window: The span of time that the source was asked for.
        requested_at: When extraction began, in UTC.
        finished_at: When it ended, in UTC.
        sha256: Digest over the bodies of all pages in order, uncompressed.
        pages: The answers, in order.
        failed_items: Documents that could not be had, in order.
        request: Names all that had to be the same for the same answers to be asked for; None where that is not known.
    """

    stream_id: str
    day: date
    version: str
    run_id: str
    window: Window
    requested_at: datetime
    finished_at: datetime
    sha256: str
    pages: tuple[PageEntry, ...]
    failed_items: tuple[FailedItem, ...] = ()
    request: str | None = None

    @property
    def records(self) -> int:
        """Records in all pages."""
        return sum(page.records for page in self.pages)

    @property
    def raw_bytes(self) -> int:
        """Bytes of all bodies, as they came."""
        return sum(page.raw_bytes for page in self.pages)

    @property
    def compressed_bytes(self) -> int:
        """Bytes of the pages file."""
        return sum(page.compressed_bytes for page in self.pages)

    def to_json(self) -> bytes:
        """Write the manifest as JSON."""
        value = {
            "format": FORMAT_VERSION,
            "stream": self.stream_id,
            "partition": self.day.isoformat(),
            "version": self.version,
            "run_id": self.run_id,
            "window": {"start": self.window.start.isoformat(), "end": self.window.end.isoformat()},
            "requested_at": self.requested_at.isoformat(),
            "finished_at": self.finished_at.isoformat(),
            "records": self.records,
            "raw_bytes": self.raw_bytes,
            "compressed_bytes": self.compressed_bytes,
            "sha256": self.sha256,
            "pages": [page.as_json() for page in self.pages],
        }
        if self.failed_items:
            value["failed_items"] = self.failed_items
        if self.request is not None:
            value["request"] = self.request
        return to_checked_json(value)

    @classmethod
    def from_json(cls, content: bytes) -> Manifest:
        """Read a manifest.

        Raises:
            ValueError: If it is damaged, or of another format.
        """
        value = from_checked_json(content, required=False)
        found = value.get("format")
        if found != FORMAT_VERSION:
            raise ValueError(f"its format is {found!r}, this program reads {FORMAT_VERSION}")
        try:
            manifest = cls(
                stream_id=_text(value, "stream"),
                day=date.fromisoformat(_text(value, "partition")),
                version=_text(value, "version"),
                run_id=_text(value, "run_id"),
                window=Window(_instant(value["window"], "start"), _instant(value["window"], "end")),
                requested_at=_instant(value, "requested_at"),
                finished_at=_instant(value, "finished_at"),
                sha256=_text(value, "sha256"),
                pages=tuple(PageEntry(**page) for page in value["pages"]),
                failed_items=tuple(FailedItem.from_json(item) for item in value.get("failed_items", ())),
                request=value.get("request"),
            )
            totals = (manifest.records, manifest.raw_bytes, manifest.compressed_bytes)
        except (KeyError, TypeError) as error:
            raise ValueError("fields are missing or wrong") from error
        if totals != (value.get("records"), value.get("raw_bytes"), value.get("compressed_bytes")):
            raise ValueError("its totals do not add up")
        return manifest


def _text(value: Mapping[str, Any], name: str) -> str:
    text = value[name]
    if not isinstance(text, str):
        raise TypeError(name)
    return text


def _instant(value: Mapping[str, Any], name: str) -> datetime:
    return datetime.fromisoformat(_text(value, name)).astimezone(UTC)
