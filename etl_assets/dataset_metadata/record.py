"""The one record of a dataset's metadata, whichever format it came in, and the spelling of its values.

Texts are trimmed, days are `YYYY-MM-DD`, identifiers stand without the address that they are often written in. What a
document says and the record cannot hold, and what a format cannot say at all, is put down as a loss, by field.

What belongs here: what all formats share. What does not: finding a value in any one of them.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from etl_assets.failures import EtlError

FIELDS = (
    "identifier",
    "title",
    "abstract",
    "lineage",
    "type",
    "status",
    "topics",
    "licence",
    "licence_url",
    "doi",
    "publication_date",
    "metadata_date",
    "people",
    "keywords",
    "extents",
    "links",
    "relationships",
)
"""Fields of a record, beside `losses`."""

BOX, PERIOD = "box", "period"
"""Kinds of extents: in space and in time."""

_ADDRESS = re.compile(r"^https?://[^/]+/(?:id|documents)/([^/?#]+)", re.IGNORECASE)
_DOI = re.compile(r"^(?:https?://(?:dx\.)?doi\.org/|doi:)?\s*(10\.\d{4,9}/\S+)$", re.IGNORECASE)
_ORCID = re.compile(r"^(?:https?://orcid\.org/)?(\d{4}-\d{4}-\d{4}-\d{3}[\dX])$", re.IGNORECASE)
_DAY = re.compile(r"^(\d{4})(?:-(\d{2})(?:-(\d{2}))?)?(?:[T ].*)?$", re.ASCII)
_BLANK_LINES = re.compile(r"\n{3,}")


class NoMetadataError(EtlError):
    """A document is well-formed, but holds no metadata of a dataset."""


@dataclass(slots=True)
class Record:
    """A dataset's metadata while it is put together.

    Args:
        losses: What the format cannot say, by field.
    """

    losses: dict[str, str]
    values: dict[str, Any] = field(default_factory=dict)
    found: dict[str, list[str]] = field(default_factory=dict)

    def lose(self, name: str, what: str) -> None:
        """Put down that something of this document is lost."""
        reasons = self.found.setdefault(name, [])
        if what not in reasons:
            reasons.append(what)

    def add(self, name: str, entry: Mapping[str, Any]) -> None:
        """Add an entry to a list, unless it says nothing or repeats another."""
        entries: list[dict[str, Any]] = self.values.setdefault(name, [])
        if any(value is not None for value in entry.values()) and dict(entry) not in entries:
            entries.append(dict(entry))

    def add_person(
        self, name: object, organisation: object, email: object, role: object, orcid: object = None
    ) -> None:
        """Add a person or an organisation that had a part in the dataset."""
        entry = {"name": text(name), "organisation": text(organisation), "email": text(email)}
        if any(entry.values()):
            self.add("people", {**entry, "role": text(role), "orcid": orcid_of(orcid)})

    def add_keyword(self, value: object, uri: object = None) -> None:
        """Add a keyword."""
        if word := text(value):
            self.add("keywords", {"keyword": word, "uri": text(uri)})

    def add_link(self, url: object, name: object, function: object, description: object = None) -> None:
        """Add an online resource."""
        if address := text(url):
            entry = {"url": address, "name": text(name), "function": text(function)}
            self.add("links", {**entry, "description": text(description)})

    def add_relationship(self, relation: object, target: object) -> None:
        """Add a relationship to another dataset."""
        if other := identifier_of(target):
            self.add("relationships", {"relation": last_part(relation), "target": other})

    def add_box(self, west: object, east: object, south: object, north: object) -> None:
        """Add a bounding box, in degrees."""
        given = {"west": west, "east": east, "south": south, "north": north}
        sides = {side: number(value) for side, value in given.items()}
        for side, value in given.items():
            if text(value) is not None and sides[side] is None:
                self.lose("extents", f"{side} is no number")
        if any(side is not None for side in sides.values()):
            self.add("extents", {"kind": BOX, **sides, "begins_on": None, "ends_on": None})

    def add_period(self, begin: object, end: object) -> None:
        """Add a span of time; days that are not known in full are widened to the whole month or year."""
        begins, ends = self.day("extents", begin), self.day("extents", end, last=True)
        if begins or ends:
            box = dict.fromkeys(("west", "east", "south", "north"))
            self.add("extents", {"kind": PERIOD, **box, "begins_on": begins, "ends_on": ends})

    def day(self, name: str, value: object, *, last: bool = False) -> str | None:
        """Read a day; what is no day, or not a whole one, is put down as lost.

        Args:
            name: The field, for the account of losses.
            value: What the document says: a day, a time, a month or a year.
            last: Whether a month or a year means its last day.
        """
        given = text(value)
        if given is None:
            return None
        match = _DAY.match(given)
        if match is None:
            self.lose(name, "a date cannot be read")
            return None
        year, month, day = (int(part) if part else None for part in match.groups())
        assert year is not None
        if month is None or day is None:
            self.lose(name, "a date is known to the month or year only")
        month = month or (12 if last else 1)
        if not (1 <= year <= 9999 and 1 <= month <= 12):
            self.lose(name, "a date cannot be read")
            return None
        longest = calendar.monthrange(year, month)[1]
        day = day or (longest if last else 1)
        if not 1 <= day <= longest:
            self.lose(name, "a date cannot be read")
            return None
        return f"{year:04}-{month:02}-{day:02}"

    def finish(self) -> dict[str, Any]:
        """Give the record: every field, and `losses` as lines `field: what is lost`."""
        for name in ("people", "keywords", "extents", "links", "relationships"):
            self.values.setdefault(name, [])
        lost = [f"{name}: {what}" for name, what in self.losses.items()]
        lost += [f"{name}: {what}" for name, reasons in self.found.items() for what in reasons]
        return {**{name: self.values.get(name) for name in FIELDS}, "losses": sorted(lost)}


def text(value: object) -> str | None:
    """Give a text in one line, without white space around it; None for what is blank or no plain value."""
    if value is None or isinstance(value, bool | dict | list):
        return None
    return " ".join(str(value).split()) or None


def prose(value: object) -> str | None:
    """Give a longer text: lines trimmed, paragraphs kept."""
    if not isinstance(value, str):
        return text(value)
    lines = "\n".join(" ".join(line.split()) for line in value.splitlines())
    return _BLANK_LINES.sub("\n\n", lines).strip() or None


def number(value: object) -> float | None:
    """Read a finite number."""
    try:
        found = float(text(value) or "")
    except ValueError:
        return None
    return found if abs(found) < float("inf") else None


def identifier_of(value: object) -> str | None:
    """Give an identifier without the catalogue's address before it."""
    found = text(value)
    match = _ADDRESS.match(found) if found else None
    return match[1] if match else found


def doi_of(value: object) -> str | None:
    """Give a DOI without the address or the prefix it is written with; None for what is none."""
    match = _DOI.match(text(value) or "")
    return match[1].lower() if match else None


def orcid_of(value: object) -> str | None:
    """Give an ORCID without the address it is written with; None for what is none."""
    match = _ORCID.match(text(value) or "")
    return match[1].upper() if match else None


def last_part(value: object) -> str | None:
    """Give the name at the end of the address of a vocabulary's term."""
    found = text(value)
    return re.split(r"[/#]", found.rstrip("/#"))[-1] or None if found else None


def is_licence(*texts: object) -> bool:
    """Whether any of some texts speaks of a licence, spelled either way."""
    return any("licen" in found.lower() for found in map(text, texts) if found)
