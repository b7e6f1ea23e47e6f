"""The real documents of the catalogue, and folders of them for the demo source to serve.

What belongs here: finding and laying out documents. What does not: assertions.
"""

from __future__ import annotations

import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path

import pytest

PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT.parent / "shared" / "data" / "eidc"
JSON_ARCHIVE, XML_ARCHIVE = FOLDER / "catalogue_json.tar.gz", FOLDER / "iso19139.tar.gz"


def json_documents() -> dict[str, bytes]:
    """Give the 70 documents in the catalogue's JSON by their file's name; skips where they are absent."""
    return dict(_members(JSON_ARCHIVE, ".raw"))


def xml_documents() -> dict[str, bytes]:
    """Give the 568 ISO 19139 records by their file's path; skips where they are absent."""
    return dict(_members(XML_ARCHIVE, ".xml"))


def lay_out(folder: Path, documents: Mapping[str, bytes], suffix: str) -> list[str]:
    """Write documents as a folder that the demo source serves; gives their identifiers, in order."""
    folder.mkdir(parents=True, exist_ok=True)
    for identifier, body in documents.items():
        (folder / f"{identifier}{suffix}").write_bytes(body)
    return list(documents)


def listed(path: Path, identifiers: list[str]) -> str:
    """Write a list of identifiers; gives its path as a setting."""
    path.write_text("".join(f"{identifier}\n" for identifier in identifiers), encoding="utf-8")
    return str(path)


def _members(archive: Path, ending: str) -> Iterator[tuple[str, bytes]]:
    if not archive.is_file():
        pytest.skip(f"the real documents are not there: {archive.relative_to(PROJECT.parent)}")
    with tarfile.open(archive) as opened:
        for member in sorted(opened.getmembers(), key=lambda one: one.name):
            file = opened.extractfile(member) if member.name.endswith(ending) else None
            if file is not None:
                yield member.name.removesuffix(ending), file.read()
