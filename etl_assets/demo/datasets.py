"""The catalogue of datasets: from a folder of documents, or made up, each a fixed function of its identifier.

What belongs here: which documents there are and what they say. What does not: their formats (`dataset_formats`), paths
and answers (`dataset_api`).
"""

from __future__ import annotations

import zlib
from datetime import date, timedelta
from pathlib import Path
from typing import Any, Protocol

from etl_assets.demo.dataset_formats import RENDERERS
from etl_assets.demo.people import FIRST_NAMES, LAST_NAMES, words
from etl_assets.failures import ConfigurationError

Record = dict[str, Any]

SUFFIXES = {"json": (".json", ".raw"), "gemini": (".xml",), "schema.org": (".jsonld",)}
"""How the files of a folder end, by format."""

GONE_OF = 197
"""One of so many identifiers is gone: a prime, so that it is no other property's share."""

SUBJECTS = words(
    "Peatland carbon fluxes,Butterfly counts,River discharge,Soil moisture,Land cover,Moorland birds,Lake temperature,"
    "Nitrogen deposition,Woodland flora,Pollinator visits,Groundwater chemistry,Grassland productivity,Fish stocks,"
    "Atmospheric ammonia,Hedgerow length,Otter tissue samples,Phytoplankton,Litter decomposition",
    ",",
)
PLACES = words(
    "Great Britain,Northern Ireland,the River Trent,the Isle of Wight,Windermere,Auchencorth Moss,the Yorkshire Dales,"
    "Plynlimon,Rothamsted,the Somerset Levels",
    ",",
)
WAYS = words(
    "measured by automatic stations,counted by volunteers,derived from satellite images,sampled by hand,modelled",
    ",",
)
TOPICS = words(
    "biota environment inlandWaters geoscientificInformation climatologyMeteorologyAtmosphere farming"
)
KEYWORDS = words("carbon water soil biodiversity climate land-use nutrients monitoring survey model")
ORGANISATION = "Centre for Made-up Hydrology"
LICENCE = "This resource is available under the terms of the Open Government Licence"
LICENCE_URL = "https://example.com/licences/ogl"
FIRST_DAY = date(1990, 1, 1)


class DatasetCatalogue(Protocol):
    """Documents by identifier and format."""

    @property
    def label(self) -> str:
        """What is served, in a few words for people."""
        ...

    def document(self, identifier: str, form: str) -> bytes | None:
        """Give a document; None where there is none in that format.

        Args:
            identifier: Whatever was asked for.
            form: `json`, `gemini` or `schema.org`.
        """
        ...


class DatasetFolder:
    """Documents from a folder: files named after their identifier, with an ending for each format.

    Args:
        folder: `<identifier>.json` (or `.raw`), `<identifier>.xml` and `<identifier>.jsonld`.

    Raises:
        ConfigurationError: If there is no such folder, or no document in it.
    """

    def __init__(self, folder: Path) -> None:
        if not folder.is_dir():
            raise ConfigurationError(f"the folder of documents {folder} does not exist")
        self._files = {path.name: path for path in folder.iterdir() if path.is_file()}
        known = tuple(suffix for suffixes in SUFFIXES.values() for suffix in suffixes)
        self._documents = {Path(name).stem for name in self._files if name.endswith(known)}
        if not self._documents:
            raise ConfigurationError(
                f"the folder {folder} holds no documents", hint=f"their names end in {', '.join(known)}"
            )

    @property
    def label(self) -> str:
        """See `DatasetCatalogue`."""
        return f"{len(self._documents):,} documents from a folder"

    def document(self, identifier: str, form: str) -> bytes | None:
        """See `DatasetCatalogue`."""
        # By the names that were found, so that whatever is asked for leads nowhere else.
        for suffix in SUFFIXES.get(form, ()):
            if path := self._files.get(f"{identifier}{suffix}"):
                return path.read_bytes()
        return None


class MadeUpDatasets:
    """Documents that are made up for any identifier, but for a few that are gone.

    Args:
        seed: Another seed makes other documents.
    """

    def __init__(self, seed: int = 0) -> None:
        self._seed = seed

    @property
    def label(self) -> str:
        """See `DatasetCatalogue`."""
        return "made-up datasets"

    def document(self, identifier: str, form: str) -> bytes | None:
        """See `DatasetCatalogue`."""
        if form not in RENDERERS or self.is_gone(identifier):
            return None
        return RENDERERS[form](self.record(identifier))

    def is_gone(self, identifier: str) -> bool:
        """Whether there is no document for an identifier any more."""
        return zlib.crc32(identifier.encode()) % GONE_OF == 0

    def record(self, identifier: str) -> Record:
        """Make up what a document says, whichever format it is asked for in."""
        subject, place, way = (
            self._pick(identifier, what, of)
            for what, of in (("subject", SUBJECTS), ("place", PLACES), ("way", WAYS))
        )
        published = FIRST_DAY + timedelta(days=7_000 + self._roll(identifier, "published") % 5_000)
        return {
            "identifier": identifier,
            "title": f"{subject} in {place}, {published.year - 1}",
            "abstract": f"{subject} in {place} were {way} over a year.\n\nWho uses the data is asked to say so.",
            "lineage": f"They were {way}; outliers were looked at one by one.",
            "type": "dataset",
            "status": "Available" if self._roll(identifier, "status") % 9 else "Superseded",
            "topics": [self._pick(identifier, "topic", TOPICS)],
            "licence": LICENCE,
            "licence_url": LICENCE_URL,
            "doi": f"10.5072/{identifier.lower()}",
            "publication_date": published.isoformat(),
            "metadata_date": f"{published + timedelta(days=30)}T09:30:00",
            "people": self._people(identifier),
            "keywords": self._keywords(identifier),
            "boxes": [self._box(identifier)],
            "periods": self._periods(identifier, published),
            "links": [
                {
                    "url": f"https://example.com/data/{identifier}",
                    "name": "Download the data",
                    "function": "download",
                    "description": "A copy of the data",
                }
            ],
            "relationships": self._relationships(identifier),
        }

    def _people(self, identifier: str) -> list[Record]:
        people = []
        for number in range(1 + self._roll(identifier, "people") % 3):
            first, last = (
                self._pick(f"{identifier} {number}", what, of)
                for what, of in (("first", FIRST_NAMES), ("last", LAST_NAMES))
            )
            people.append(
                {
                    "name": f"{last}, {first[0]}.",
                    "organisation": ORGANISATION,
                    "email": f"{first}.{last}@example.com".lower(),
                    "role": "author",
                    "orcid": f"https://orcid.org/0000-0000-0000-{self._roll(identifier, 'orcid') % 10_000:04d}",
                }
            )
        return people

    def _keywords(self, identifier: str) -> list[Record]:
        first = self._roll(identifier, "keyword")
        chosen = (KEYWORDS[(first + step) % len(KEYWORDS)] for step in range(3))
        return [{"value": word, "uri": f"https://example.com/terms/{word}"} for word in chosen]

    def _box(self, identifier: str) -> Record:
        west, south = (
            -8 + self._roll(identifier, "west") % 80 / 10,
            50 + self._roll(identifier, "south") % 80 / 10,
        )
        box = {"west": west, "east": west + 1.5, "south": south, "north": south + 0.5}
        if self._roll(identifier, "inverted") % 60 == 0:
            box["west"], box["east"] = box["east"], box["west"]
        return {side: round(value, 3) for side, value in box.items()}

    def _periods(self, identifier: str, published: date) -> list[Record]:
        kind = self._roll(identifier, "period") % 40
        if kind < 4:
            return []
        begin, end = date(published.year - 1, 1, 1).isoformat(), date(published.year - 1, 12, 31).isoformat()
        return [
            {"begin": end, "end": begin} if kind == 4 else {"begin": begin, "end": None if kind == 5 else end}
        ]

    def _relationships(self, identifier: str) -> list[Record]:
        if self._roll(identifier, "related") % 30:
            return []
        other = f"{self._roll(identifier, 'other'):08x}-0000-4000-8000-000000000000"
        return [{"relation": "relatedTo", "target": other}]

    def _pick(self, identifier: str, what: str, of: tuple[str, ...]) -> str:
        return of[self._roll(identifier, what) % len(of)]

    def _roll(self, identifier: str, what: str) -> int:
        # A checksum of like texts is not spread evenly; multiplying by a large odd number evens it out.
        return zlib.crc32(f"{self._seed} {what} {identifier}".encode()) * 2_654_435_761 % 2**32 >> 8


def make_datasets(folder: Path | None = None, *, seed: int = 0) -> DatasetCatalogue:
    """The documents of a folder, or made-up ones if no folder is given.

    Raises:
        ConfigurationError: If the folder cannot be used.
    """
    return MadeUpDatasets(seed) if folder is None else DatasetFolder(folder)
