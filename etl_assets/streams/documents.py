"""Declaring documents: one request per identifier of a list.

What belongs here: the declaration, and where its list stands. What does not: reading the list
(`etl_assets.sources.identifiers`) and asking for the documents (`etl_assets.sources.documents`).
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import quote

from etl_assets.failures import ConfigurationError
from etl_assets.streams.windows import Window
from etl_assets.streams.write import Merge, Snapshot, WriteDisposition

PLACE = "{identifier}"
IDENTIFIER_FIELD = "_identifier"
FORMAT_FIELD = "_format"


@dataclass(frozen=True, slots=True)
class ListedIn:
    """A text file of identifiers, one a line; see `listed_in`."""

    path: Path


def listed_in(path: str | Path) -> ListedIn:
    """Take identifiers from a text file: one a line, with blank lines and `#` comments.

    The environment variable `ETL_<SOURCE>_IDENTIFIERS` names another file to use instead.

    Args:
        path: The file; a relative one lies beside the file that calls this.
    """
    # Beside the stream's own file, because the working directory is another one for each way of starting.
    frame = inspect.currentframe()
    caller = frame.f_back if frame is not None else None
    folder = Path(caller.f_code.co_filename).absolute().parent if caller is not None else Path()
    return ListedIn(folder / path)


Identifiers = tuple[str, ...] | ListedIn | Callable[[], Iterable[str]]
"""Where the identifiers come from; a function is called anew for each extraction."""


@dataclass(frozen=True, slots=True, kw_only=True)
class DocumentFormat:
    """One of the formats that a source gives documents in.

    Args:
        name: Lower-case identifier; each record tells by `_format` which format it came in.
        path: Path of a document in this format, where it is another than the extraction's.
        parameters: Request parameters that ask for this format, beside the extraction's.
        accept: What the request's `Accept` header asks for.
        parse: Makes an object of a document's bytes, raising any exception for bytes that it cannot read; JSON is
            read when not given. It is used for landed documents as well.
    """

    name: str
    path: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    accept: str = "*/*"
    parse: Callable[[bytes], dict[str, Any]] | None = None


JSON = DocumentFormat(name="json", accept="application/json")


@dataclass(frozen=True, slots=True, kw_only=True)
class Documents:
    """Rows from documents, each asked for by its identifier. A document that cannot be had costs no other one.

    A record is a document's object with two more fields: `_identifier` and `_format`. Documents show the present, so
    there is no window, and neither is a window column.

    Args:
        path: Path of a document below the source's address, with `{identifier}` in it.
        identifiers: Which documents there are, in order: `listed_in(...)`, a tuple, or a function.
        parameters: Request parameters.
        formats: Formats in order of preference. The next one is asked for when a document is not there in one
            (404, 406) or cannot be read.
        concurrency: Documents of a day under way at once; the source's own limits hold as well.
        present_until: How long after the end of a day the present may still be taken for that day's.
        conditional: Whether a document that was landed before, with whichever day, is asked for with
            `If-None-Match` and `If-Modified-Since`, so that an unchanged one is taken from landing.
        maximum_bytes: Bytes of a document at most; a larger one is a failed item.

    Raises:
        ConfigurationError: If the parts do not make sense together.
    """

    path: str
    identifiers: Identifiers
    parameters: Mapping[str, str] = field(default_factory=dict)
    formats: tuple[DocumentFormat, ...] = (JSON,)
    concurrency: int = 4
    present_until: timedelta = timedelta(days=1)
    conditional: bool = True
    maximum_bytes: int = 32 * 1024 * 1024

    def __post_init__(self) -> None:
        names = [one.name for one in self.formats]
        if not names or len(set(names)) < len(names):
            raise ConfigurationError(f"documents {self.path!r} need formats with different names")
        for path in (self.path, *(one.path for one in self.formats if one.path is not None)):
            _check_path(path)
        if self.present_until < timedelta(0):
            raise ConfigurationError(f"documents {self.path!r}: present_until must not be negative")
        if self.concurrency < 1 or self.maximum_bytes < 1:
            raise ConfigurationError(
                f"documents {self.path!r}: concurrency and maximum_bytes must be at least 1"
            )

    def window_of(self, day: date) -> Window:
        """Give the span of a day; the source is not asked for it."""
        return Window.of_day(day)

    def askable(self, day: date) -> Window | None:
        """Give the span of time in which a day can be asked for; None where that is at any time."""
        window = Window.of_day(day)
        return Window(window.start, window.end + self.present_until)

    def format_named(self, name: str | None) -> DocumentFormat | None:
        """Give a declared format by its name."""
        return next((one for one in self.formats if one.name == name), None)

    def path_of(self, identifier: str, form: DocumentFormat) -> str:
        """Give the path of a document; whatever its identifier holds stays within one segment of it."""
        return (form.path or self.path).replace(PLACE, quote(identifier, safe=""))


def check_documents(stream: str, write: WriteDisposition) -> None:
    """Check that what shows the present can be kept as it is written.

    Args:
        stream: The stream's id, for messages.
        write: How rows enter the table.

    Raises:
        ConfigurationError: If it cannot.
    """
    if not isinstance(write, Merge | Snapshot):
        raise ConfigurationError(
            f"{stream}: documents show the present, which {type(write).__name__} cannot keep",
            hint="write them with Merge or Snapshot",
        )
    if isinstance(write, Snapshot) and len(write.key_columns) != 1:
        raise ConfigurationError(
            f"{stream}: the key of a snapshot of documents must be one column that holds `_identifier`",
            hint="a document that could not be had is known by it, and so not taken for removed",
        )


def _check_path(path: str) -> None:
    if not path.startswith("/") or "//" in path or "?" in path or "#" in path:
        raise ConfigurationError(f"path {path!r} must start with one slash and hold no parameters")
    if path.count(PLACE) != 1 or "{" in path.replace(PLACE, ""):
        raise ConfigurationError(
            f"path {path!r} must hold {PLACE} once", hint="for example /documents/{identifier}"
        )
