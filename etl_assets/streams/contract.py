"""The contract: a pandera model of a stream's cleaned rows, with what this project adds to pandera.

Added are a severity for missing values and rules (quarantine or warn), the name of the raw field behind a column, a
default, and tags for personal data. What belongs here: what an author writes in a contract. What does not: applying a
contract to rows (`etl_assets.quality`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import asdict, dataclass
from enum import StrEnum
from typing import Annotated, Any, TypeVar, cast

import pandas as pd
import pandera.pandas as pandera
import pyarrow as pa

from etl_assets.failures import ConfigurationError

METADATA_KEY = "etl_assets"

RuleMethod = TypeVar("RuleMethod", bound=Callable[..., Any])

# The column types of a contract, beside str, int, float and bool.
Decimal2 = Annotated[pd.ArrowDtype, pa.decimal128(18, 2)]
Decimal3 = Annotated[pd.ArrowDtype, pa.decimal128(18, 3)]
Decimal6 = Annotated[pd.ArrowDtype, pa.decimal128(18, 6)]
Timestamp = Annotated[pd.DatetimeTZDtype, "us", "UTC"]
Date = Annotated[pd.ArrowDtype, pa.date32()]


class Severity(StrEnum):
    """What happens to a row that breaks a rule."""

    QUARANTINE = "quarantine"
    """The row is kept out of the table and put into the quarantine."""
    WARN = "warn"
    """The row is loaded and counted."""
    ALLOW = "allow"
    """Nothing; for missing values only."""


class Personal(StrEnum):
    """How a personal field may be shown in previews, reports and messages: never in clear."""

    MASK = "mask"


@dataclass(frozen=True, slots=True)
class FieldNotes:
    """What this project knows about a field beyond pandera's own description of it."""

    missing: Severity = Severity.QUARANTINE
    raw: str | None = None
    default: str | None = None
    personal: Personal | None = None

    def as_metadata(self) -> dict[str, dict[str, str | None]]:
        """Give the notes in the form that pandera carries along."""
        return {METADATA_KEY: asdict(self)}

    @classmethod
    def from_metadata(cls, metadata: Mapping[str, Any] | None) -> FieldNotes:
        """Read the notes back from a pandera column."""
        notes = dict((metadata or {}).get(METADATA_KEY, {}))
        if "missing" in notes:
            notes["missing"] = Severity(notes["missing"])
        if notes.get("personal"):
            notes["personal"] = Personal(notes["personal"])
        return cls(**notes)


def Field(  # noqa: N802 - the field's own spelling, as in pandera and pydantic
    *,
    description: str | None = None,
    missing: Severity | str = Severity.QUARANTINE,
    unique: bool = False,
    raw: str | None = None,
    default: str | None = None,
    personal: Personal | str | None = None,
    eq: Any = None,
    ne: Any = None,
    gt: Any = None,
    ge: Any = None,
    lt: Any = None,
    le: Any = None,
    isin: Iterable[Any] | None = None,
    str_matches: str | None = None,
    str_length: dict[str, int] | None = None,
) -> Any:
    """Declare one column of a contract.

    Args:
        description: What the column holds, for the data dictionary and the Dagster UI.
        missing: What to do with a row in which the value is missing.
        unique: Whether the value may occur only once within a partition; repeats after the first are quarantined.
        raw: Name of the raw field that the column is made from; by default the column's own name. A column for which
            the source sends no such field of its own (a derived one) needs no raw field.
        default: Value that stands in for a missing one; each use counts as a warning.
        personal: Tag for personal data, shown only in this form.
        eq: The value must equal this.
        ne: The value must differ from this.
        gt: The value must be greater than this.
        ge: The value must be at least this.
        lt: The value must be less than this.
        le: The value must be at most this.
        isin: The value must be one of these.
        str_matches: The text must match this regular expression from its start.
        str_length: Bounds of the text's length, ``{"min_value": ..., "max_value": ...}``.
    """
    notes = FieldNotes(Severity(missing), raw, default, Personal(personal) if personal else None)
    return pandera.Field(
        description=description,
        nullable=notes.missing is not Severity.QUARANTINE,
        unique=unique,
        metadata=notes.as_metadata(),
        eq=eq,
        ne=ne,
        gt=gt,
        ge=ge,
        lt=lt,
        le=le,
        isin=None if isin is None else list(isin),
        str_matches=str_matches,
        str_length=str_length,
    )


def rule(
    column: str, *, severity: Severity | str = Severity.QUARANTINE, reason: str
) -> Callable[[RuleMethod], RuleMethod]:
    """Decorate a class method of a contract: a rule over one column's values.

    The method takes the column (a pandas Series without missing values) and returns a boolean Series, True where the
    value is fine.

    Args:
        column: The column that the rule looks at.
        severity: `quarantine` or `warn`.
        reason: What is said of a row that breaks the rule, for example ``"unit_price is zero"``.
    """
    warns = Severity(severity) is Severity.WARN
    return cast(
        "Callable[[RuleMethod], RuleMethod]", pandera.check(column, error=reason, raise_warning=warns)
    )


def row_rule(
    *, severity: Severity | str = Severity.QUARANTINE, reason: str
) -> Callable[[RuleMethod], RuleMethod]:
    """Decorate a class method of a contract: a rule over whole rows.

    The method takes the cleaned rows (a DataFrame) and returns a boolean Series, True where the row is fine.

    Args:
        severity: `quarantine` or `warn`.
        reason: What is said of a row that breaks the rule.
    """
    warns = Severity(severity) is Severity.WARN
    return cast(
        "Callable[[RuleMethod], RuleMethod]", pandera.dataframe_check(error=reason, raise_warning=warns)
    )


_ARROW_TYPES = {
    "str": pa.string(),
    "int64": pa.int64(),
    "float64": pa.float64(),
    "bool": pa.bool_(),
    # pandas' own types with missing values, which pandera puts in place of int and bool where these may be missing.
    "Int64": pa.int64(),
    "Float64": pa.float64(),
    "boolean": pa.bool_(),
}


def arrow_schema(contract: type[pandera.DataFrameModel]) -> pa.Schema:
    """Give a contract's columns as an Arrow schema: the form of staged files and the origin of the table's types.

    Timestamps are naive there and mean UTC.

    Raises:
        ConfigurationError: If a column has a type that the project does not load.
    """
    fields = []
    for name, column in contract.to_schema().columns.items():
        native = column.dtype.type if column.dtype is not None else None
        if isinstance(native, pd.ArrowDtype):
            arrow = native.pyarrow_dtype
        elif isinstance(native, pd.DatetimeTZDtype):
            arrow = pa.timestamp("us")
        elif str(native) in _ARROW_TYPES:
            arrow = _ARROW_TYPES[str(native)]
        else:
            raise ConfigurationError(
                f"contract {contract.__name__}: column {name!r} has type {native}",
                hint="use str, int, float, bool, Decimal2, Decimal3, Decimal6, Timestamp or Date",
            )
        fields.append(pa.field(name, arrow))
    return pa.schema(fields)


class Contract(pandera.DataFrameModel):
    """Base of every contract: one annotated field per column of the table, in the table's order."""

    class Config:
        """Types are settled by the platform before the rules are applied."""

        coerce = True
        strict = True
