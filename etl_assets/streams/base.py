"""The stream vocabulary: the words in which a stream file is written.

A stream file imports from here alone. What belongs here: declarations, and the check that they make sense together.
What does not: anything that acts on a declaration.

The words of contracts stand on pandera and pandas, which take most of a second to import. They come when a stream file
asks for them, so that whoever wants nothing but the name of a stream does not wait for them.
"""

from __future__ import annotations

import importlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from etl_assets.failures import ConfigurationError
from etl_assets.streams.audits import (
    Audit,
    AuditSeverity,
    Categories,
    MeanDrift,
    NullShare,
    Outliers,
    RowCount,
    Volume,
)
from etl_assets.streams.audits_of_tables import Agreement, ForeignKey, Freshness, UniqueInTable
from etl_assets.streams.authentication import (
    ApiKey,
    Basic,
    BearerToken,
    NoAuthentication,
    OAuth2ClientCredentials,
)
from etl_assets.streams.children import Children, check_children
from etl_assets.streams.counts import Count
from etl_assets.streams.documents import DocumentFormat, Documents, check_documents, listed_in
from etl_assets.streams.extract import Extract, Files, Rest, Sql, WindowParameters
from etl_assets.streams.identifiers import IDENTIFIER
from etl_assets.streams.paging_counted import OffsetLimit, PageNumber
from etl_assets.streams.paging_cursors import AfterSequence, Cursor
from etl_assets.streams.paging_links import LinkHeader, NextUrl
from etl_assets.streams.schema_policy import SchemaPolicy, check_schema_policy
from etl_assets.streams.sources import (
    Breaker,
    FileSource,
    RestSource,
    RetryBudget,
    Source,
    SqlSource,
)
from etl_assets.streams.windows import Window
from etl_assets.streams.write import Append, Cdc, Merge, ReplacePartition, Snapshot, WriteDisposition

if TYPE_CHECKING:
    from datetime import date

    import pandas as pd

    from etl_assets.streams.contract import (
        Contract,
        Date,
        Decimal2,
        Decimal3,
        Decimal6,
        Field,
        Personal,
        Severity,
        Timestamp,
        row_rule,
        rule,
    )

__all__ = [
    "AfterSequence",
    "Agreement",
    "ApiKey",
    "Append",
    "Audit",
    "AuditSeverity",
    "Basic",
    "BearerToken",
    "Breaker",
    "Categories",
    "Cdc",
    "Children",
    "Contract",
    "Count",
    "Cursor",
    "Date",
    "Decimal2",
    "Decimal3",
    "Decimal6",
    "DocumentFormat",
    "Documents",
    "ErrorBudget",
    "Extract",
    "Field",
    "FileSource",
    "Files",
    "ForeignKey",
    "Freshness",
    "LinkHeader",
    "MeanDrift",
    "Merge",
    "NextUrl",
    "NoAuthentication",
    "NullShare",
    "OAuth2ClientCredentials",
    "OffsetLimit",
    "Outliers",
    "PageNumber",
    "Personal",
    "ReplacePartition",
    "Rest",
    "RestSource",
    "RetryBudget",
    "RowCount",
    "SchemaPolicy",
    "Severity",
    "Snapshot",
    "Source",
    "Sql",
    "SqlSource",
    "Stream",
    "Timestamp",
    "UniqueInTable",
    "Volume",
    "Window",
    "WindowParameters",
    "listed_in",
    "row_rule",
    "rule",
]

RESERVED_SCHEMAS = frozenset({"etl", "marts", "main", "pg_catalog", "information_schema", "temp"})

Transform = Callable[["pd.DataFrame"], "pd.DataFrame"]

_EXTRACT_OF: dict[type[Source], tuple[type[Extract], ...]] = {
    RestSource: (Rest, Documents),
    FileSource: (Files,),
    SqlSource: (Sql,),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ErrorBudget:
    """Share of a partition's extracted rows that may be quarantined.

    Args:
        warn: Above this share the day is published with warnings.
        fail: Above this share the day is withheld.
    """

    warn: float = 0.05
    fail: float = 0.10


@dataclass(frozen=True, kw_only=True)
class Stream:
    """One kind of record from a source, and all that the platform needs to load it day by day.

    Args:
        source: The system that the records come from.
        name: Lower-case identifier; also the table's name.
        owner: Who answers for the stream, `team:<name>` or an e-mail address.
        extract: How the rows of a day are asked for.
        contract: The cleaned rows: columns, types, rules.
        transform: Makes cleaned rows from raw ones: takes a DataFrame with the raw fields (object columns, values as
            in the source's JSON), returns one with the contract's columns and the same index.
        write: How rows enter the table.
        window_column: Timestamp column by which the source assigns a row to a day; a row outside the asked window is
            quarantined, and `_partition` is taken from it. Only a snapshot, documents, and an extraction of the whole
            present can do without; the latter two must. Of merged documents it is taken from the business date.
        business_date: Date or timestamp column whose day marts are built by. A snapshot and a change feed can do
            without.
        budget: Share of bad rows that is tolerated.
        schema_changes: What happens to raw fields that the contract does not know: `EVOLVE`, `FREEZE` or `STRICT`.
        ignored_fields: Raw fields that are known and make no column of their own name: nobody wants them, or only the
            transform reads them. They are no change of schema.
        audits: What must hold for a day as a whole before it is published.
        embed: Text columns that rows are searched by, by meaning; the first one names a row. With the extra `embed`
            they are made into vectors after each load.
        children: Lists within each record that become tables of their own.
        row_by_row: Whether the transform and the contract's own rules look at each row by itself, so that a row comes
            out the same whatever rows are beside it. Then small days are cleaned together, which takes a fraction of
            the time; a transform that compares rows of a day must not say so.
        description: One sentence for the Dagster UI and the data dictionary.

    Raises:
        ConfigurationError: If the parts do not fit together.
    """

    source: Source
    name: str
    owner: str
    extract: Extract
    contract: type[Contract]
    transform: Transform
    write: WriteDisposition
    window_column: str | None = None
    business_date: str | None = None
    budget: ErrorBudget = ErrorBudget()
    schema_changes: SchemaPolicy = SchemaPolicy.FREEZE
    ignored_fields: tuple[str, ...] = ()
    audits: tuple[Audit, ...] = ()
    children: tuple[Children, ...] = ()
    embed: tuple[str, ...] = ()
    row_by_row: bool = False
    description: str = ""

    def __post_init__(self) -> None:
        from etl_assets.streams.audit_columns import check_audits
        from etl_assets.streams.columns import check_columns, check_embedded

        for kind, name in (("source", self.source.name), ("stream", self.name)):
            if not IDENTIFIER.match(name):
                raise ConfigurationError(
                    f"{kind} name {name!r} must be lower-case letters, digits and underscores"
                )
        if self.source.name in RESERVED_SCHEMAS:
            raise ConfigurationError(f"source name {self.source.name!r} is reserved; choose another")
        self._check_extract()
        if not 0 <= self.budget.warn <= self.budget.fail <= 1:
            raise ConfigurationError(f"{self.id}: error budget must be 0 <= warn <= fail <= 1")
        check_columns(
            self.id,
            self.contract,
            self.write,
            self.window_column,
            self.business_date,
            windowed=not (isinstance(self.extract, Documents) or _is_whole_present(self.extract)),
        )
        check_children(self.id, self.contract, self.write, self.children)
        check_schema_policy(self)
        check_audits(self)
        check_embedded(self.id, self.contract, self.write, self.embed)

    @property
    def contracts(self) -> tuple[type[Contract], ...]:
        """Its own contract, and those of its child tables."""
        return (self.contract, *(child.contract for child in self.children))

    @property
    def id(self) -> str:
        """`<source>/<name>`, as users type it."""
        return f"{self.source.name}/{self.name}"

    def askable(self, day: date) -> Window | None:
        """Give the span of time in which a day can be asked for; None where that is at any time."""
        return self.extract.askable(day)

    def _check_extract(self) -> None:
        wanted = _EXTRACT_OF[type(self.source)]
        if not isinstance(self.extract, wanted):
            raise ConfigurationError(
                f"{self.id}: a {type(self.source).__name__} is read with "
                f"{' or '.join(kind.__name__ for kind in wanted)}, "
                f"not with {type(self.extract).__name__}"
            )
        if isinstance(self.extract, Documents):
            check_documents(self.id, self.write)
        if isinstance(self.extract, Rest) and (
            not self.extract.path.startswith("/") or "//" in self.extract.path
        ):
            raise ConfigurationError(f"{self.id}: path {self.extract.path!r} must start with one slash")
        if _is_whole_present(self.extract) and not isinstance(self.write, Snapshot | ReplacePartition):
            raise ConfigurationError(
                f"{self.id}: the whole present is written with Snapshot or ReplacePartition, "
                f"not with {type(self.write).__name__}",
                hint="name the window's parameters if the path takes a window",
            )


def _is_whole_present(extract: Extract) -> bool:
    return isinstance(extract, Rest) and extract.window is None


def __getattr__(name: str) -> Any:
    """Give a word of contracts, when it is asked for."""
    if name not in __all__:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("etl_assets.streams.contract"), name)
