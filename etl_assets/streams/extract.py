"""Declaring an extraction: how the rows of a day are asked for.

What belongs here: one declaration per way of asking. What does not: asking (`etl_assets.sources`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import date, timedelta
from typing import Literal

from etl_assets.failures import ConfigurationError
from etl_assets.streams.counts import Count
from etl_assets.streams.documents import Documents
from etl_assets.streams.paging import Paginator
from etl_assets.streams.windows import Window


@dataclass(frozen=True, slots=True)
class WindowParameters:
    """Names of the request parameters that take the window's two ends, as RFC 3339 in UTC with `Z`."""

    start: str
    end: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Rest:
    """Rows from a REST path.

    Args:
        path: Path below the source's address; starts with a slash.
        window: Request parameters that take the window; None where the path gives the whole present.
        paginator: How a long answer is paged.
        records: Dotted path of the field that holds the array of records, such as `result.items`; None when the
            answer is the array itself.
        parameters: Further request parameters.
        overlap: How much earlier than the day the window starts, against clock skew at the source; repeats are
            removed by the merge.
        lag: How long after its end a window may still gain records, because the source commits late. The day is not
            read before then. With none, a day may be read while it still goes on.
        present_until: Without a window: how long after its end a day may still be asked for, and gets the present of
            then. The daily run for a day comes in the night after it.
        conditional: Whether a day that was landed before is asked for with `If-None-Match` and `If-Modified-Since`, so
            that unchanged answers are taken from landing. Not for a source whose entity tags cannot be trusted.
        count: Where the source tells how many records a window has, for `etl-assets reconcile`; None where it does not.
            A `total` that `OffsetLimit` pages by does without.

    Raises:
        ConfigurationError: If the parts do not make sense together.
    """

    path: str
    window: WindowParameters | None = None
    paginator: Paginator
    records: str | None = None
    parameters: Mapping[str, str] = field(default_factory=dict)
    overlap: timedelta = timedelta(0)
    lag: timedelta = timedelta(0)
    present_until: timedelta = timedelta(days=1)
    conditional: bool = True
    count: Count | None = None

    def __post_init__(self) -> None:
        if self.window is None and (self.overlap or self.lag):
            raise ConfigurationError(f"path {self.path!r} without a window can have neither overlap nor lag")
        if self.present_until < timedelta(0):
            raise ConfigurationError(f"path {self.path!r}: present_until must not be negative")

    def window_of(self, day: date) -> Window:
        """Give the window that is asked for to read a day."""
        return Window.of_day(day).widened(self.overlap)

    def askable(self, day: date) -> Window | None:
        """Give the span of time in which a day can be asked for; None where that is at any time."""
        if self.window is not None:
            return None
        window = Window.of_day(day)
        return Window(window.start, window.end + self.present_until)


FileFormat = Literal["csv", "ndjson", "parquet", "excel"]
Compression = Literal["infer", "none", "gzip", "bz2", "zstd"]

_SAMPLE_DAYS = (date(2024, 2, 28), date(2024, 2, 29), date(2024, 3, 28), date(2023, 2, 28))


@dataclass(frozen=True, slots=True, kw_only=True)
class Files:
    """Rows from the files that hold a day, below the source's folder. The files are only ever read.

    Args:
        path: Where the day's file is, below the source's folder, with the day as `{day}`, for example
            `rates/{day:%Y}/fx_{day:%Y-%m-%d}.csv`. With `*` or `?` in it, all files that fit, in order of name.
        format: How records are written. A CSV record that does not fit its header, and an NDJSON line that is not
            JSON, is handed on as it is, for the quarantine.
        compression: `infer` goes by the file's ending: `.gz`, `.bz2`, `.zst`, `.zstd`.
        encoding: Encoding of CSV and NDJSON; a byte order mark is understood.
        delimiter: Between the fields of a CSV record.
        header: Whether a CSV or Excel file starts with the names of its columns.
        columns: The columns that a CSV or Excel file must have, in any order; further ones are read as well and
            logged. Without a header, their names in order.
        sheet: Name of the sheet of an Excel file; the first one when not given.
        settle: How long a file must have been left alone before it is read: it may still be written to.
        marker: A file (written like `path`) whose presence says that the day's files are complete; `settle` does
            not matter then.
        deadline: How long after the end of the day the files may be missing; from then on that is a permanent
            failure.

    Raises:
        ConfigurationError: If the parts do not make sense together, or a path could leave the folder.
    """

    path: str
    format: FileFormat
    compression: Compression = "infer"
    encoding: str = "utf-8"
    delimiter: str = ","
    header: bool = True
    columns: tuple[str, ...] = ()
    sheet: str | None = None
    settle: timedelta = timedelta(seconds=10)
    marker: str | None = None
    deadline: timedelta = timedelta(days=1)

    def __post_init__(self) -> None:
        for template in (self.path, self.marker):
            if template is not None:
                _check_template(template)
        if not self.header and not self.columns:
            raise ConfigurationError(f"files {self.path!r} without a header need columns")
        if len(self.delimiter) != 1:
            raise ConfigurationError(f"files {self.path!r}: the delimiter must be one character")
        if self.settle < timedelta(0) or self.deadline < timedelta(0):
            raise ConfigurationError(f"files {self.path!r}: settle and deadline must not be negative")
        try:
            "".encode(self.encoding)
        except LookupError as error:
            raise ConfigurationError(f"files {self.path!r}: unknown encoding {self.encoding!r}") from error

    def window_of(self, day: date) -> Window:
        """Give the window that a day's files hold."""
        return Window.of_day(day)

    def askable(self, day: date) -> Window | None:
        """See `Rest.askable`: files stay."""
        return None

    def path_of(self, day: date) -> str:
        """Give the path of a day's files, below the folder; may hold `*` and `?`."""
        return self.path.format(day=day)

    def marker_of(self, day: date) -> str | None:
        """Give the path of the file that says that a day is complete, if there is to be one."""
        return self.marker.format(day=day) if self.marker is not None else None


def _check_template(template: str) -> None:
    try:
        paths = {template.format(day=day) for day in _SAMPLE_DAYS}
    except (KeyError, IndexError, ValueError, AttributeError) as error:
        raise ConfigurationError(
            f"path {template!r} is no template", hint="only {day} can be filled in, as in {day:%Y-%m-%d}"
        ) from error
    if len(paths) < len(_SAMPLE_DAYS):
        raise ConfigurationError(
            f"path {template!r} gives several days the same files", hint="put the whole day into it: {day}"
        )
    path = template.format(day=_SAMPLE_DAYS[0])
    parts = re.split(r"[/\\]", path)
    if ".." in parts or "" in parts or ":" in path or path.startswith("~"):
        raise ConfigurationError(
            f"path {template!r} could leave the source's folder", hint="write it relative to the folder"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Sql:
    """Rows from a table or a query of a SQL database, read page by page in the order of a key.

    Args:
        columns: Columns to read.
        window_column: Column by which a row belongs to a day; a row without it belongs to none and is not read.
        key: Columns, among those read, that together are unique and never NULL. Pages are cut by them: a page starts
            after the last key of the one before, however far into the table that is.
        table: Table or view, as `name` or `schema.name`.
        query: A SELECT to read from instead of a table; must give the columns.
        window_kind: What the window column holds: `timestamp` (with a zone, or without one and in UTC), `date`, or
            `text` in ISO 8601, `2025-01-31T23:59:59` and UTC. In SQLite, where times are text as well, `timestamp`
            stands for `2025-01-31 23:59:59`.
        page_size: Rows of a page.
        overlap: How much earlier than the day the window starts, against rows that were committed late; repeats are
            removed by the merge.

    Raises:
        ConfigurationError: If the parts do not make sense together.
    """

    columns: tuple[str, ...]
    window_column: str
    key: tuple[str, ...]
    table: str | None = None
    query: str | None = None
    window_kind: Literal["timestamp", "date", "text"] = "timestamp"
    page_size: int = 10_000
    overlap: timedelta = timedelta(0)

    def __post_init__(self) -> None:
        if (self.table is None) == (self.query is None):
            raise ConfigurationError("a SQL extraction reads either a table or a query")
        what = self.table or "the query"
        if not self.key or not set(self.key) <= set(self.columns):
            raise ConfigurationError(f"{what}: the key must be among the columns that are read")
        if len(set(self.columns)) != len(self.columns):
            raise ConfigurationError(f"{what}: a column is named twice")
        if self.page_size < 1:
            raise ConfigurationError(f"{what}: page_size must be at least 1")

    def window_of(self, day: date) -> Window:
        """Give the window that is asked for to read a day."""
        return Window.of_day(day).widened(self.overlap)

    def askable(self, day: date) -> Window | None:
        """See `Rest.askable`: a window can be asked for at any time."""
        return None


Extract = Rest | Files | Sql | Documents
"""Any way of asking."""
