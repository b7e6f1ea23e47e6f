"""The identifiers of the documents that a stream asks for: reading and checking them.

What belongs here: from a declaration to a list. What does not: asking for the documents
(`etl_assets.sources.documents`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from etl_assets.failures import ConfigurationError
from etl_assets.streams.documents import Documents, ListedIn

MAXIMUM_LENGTH = 512
"""Characters of an identifier at most: servers refuse addresses of a few thousand, and each may take nine of them."""

_RELATIVE = frozenset({".", ".."})
_COMMENT = re.compile(r"(^|\s)#.*$")


def identifiers_of(extract: Documents, file: Path | None = None) -> list[str]:
    """Give the identifiers of a stream, each once, in order.

    Args:
        extract: The declaration.
        file: File to read instead of the one that the declaration names; only where it names one.

    Raises:
        ConfigurationError: If the list cannot be read or an identifier cannot be asked for; names the file and line.
    """
    declared = extract.identifiers
    if isinstance(declared, ListedIn):
        return _unique(_lines(file or declared.path))
    given = declared() if callable(declared) else declared
    what = f"documents {extract.path!r}: identifier"
    return _unique((f"{what} {number}", text) for number, text in enumerate(given, start=1))


def _lines(file: Path) -> Iterator[tuple[str, str]]:
    """Give the identifiers of a file, each with the place where it stands."""
    try:
        text = file.read_text(encoding="utf-8-sig")
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise ConfigurationError(f"the list of identifiers {file} cannot be read: {reason}") from error
    except UnicodeDecodeError as error:
        raise ConfigurationError(f"the list of identifiers {file} is not UTF-8") from error
    # Not `splitlines`, which also cuts at characters that a line may not hold.
    lines = (_COMMENT.sub("", line).strip(" \t\r") for line in text.split("\n"))
    found = [(f"{file}, line {number}", line) for number, line in enumerate(lines, start=1) if line]
    if not found:
        raise ConfigurationError(f"the list of identifiers {file} is empty")
    yield from found


def _unique(found: Iterable[tuple[str, str]]) -> list[str]:
    identifiers: dict[str, None] = {}
    for place, identifier in found:
        problem = _problem(identifier)
        if problem is not None:
            raise ConfigurationError(f"{place} {problem}")
        identifiers[identifier] = None
    return list(identifiers)


def _problem(identifier: object) -> str | None:
    if not isinstance(identifier, str) or not identifier:
        return "is no text, or an empty one"
    if len(identifier) > MAXIMUM_LENGTH:
        return f"is longer than {MAXIMUM_LENGTH} characters"
    if " " in identifier or not identifier.isprintable():
        return "holds white space or control characters"
    if identifier in _RELATIVE:
        return "would lead to another path"
    return None
