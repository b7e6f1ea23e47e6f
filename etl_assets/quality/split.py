"""Splitting cleaned rows into good and quarantined ones, a chunk at a time, by masks and never row by row.

What belongs here: applying compiled rules to a chunk. What does not: reading or writing files, and the rules.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from etl_assets.failures import TransformError, describe_unexpected
from etl_assets.quality.preview import MASK
from etl_assets.quality.repeats import Mask, SeenValues, find_repeats
from etl_assets.quality.rules import ColumnRules, CompiledContract, Rule
from etl_assets.streams import parse
from etl_assets.streams.base import Window
from etl_assets.streams.contract import Severity
from etl_assets.streams.identifiers import IDENTIFIER

VIOLATION_SCHEMA = pa.schema([("position", pa.int64()), ("rule", pa.string()), ("reason", pa.string())])
NO_BAD_ROWS = (
    VIOLATION_SCHEMA.empty_table().group_by("position").aggregate([("rule", "list"), ("reason", "list")])
)


@dataclass(frozen=True, slots=True)
class Split:
    """One chunk, split.

    Attributes:
        good: Rows that keep the contract, in the contract's schema.
        good_positions: Their positions in the chunk.
        bad: One row per quarantined row: `position` int64, `rules` list of text, `reasons` list of text.
        violations: Quarantined rows per rule (a row that breaks two rules counts for both).
        warnings: Rows per warning rule, whether or not another rule quarantined them as well.
        warned: Rows that broke any warning rule.
        warned_by: Which rows of the chunk break which warning rule.
    """

    good: pa.Table
    good_positions: npt.NDArray[np.int64]
    bad: pa.Table
    violations: Counter[str]
    warnings: Counter[str]
    warned: int
    warned_by: tuple[tuple[Rule, Mask], ...] = ()

    def warnings_of(self, position: int) -> list[str]:
        """Give the warning rules that a row of the chunk breaks."""
        return [rule.name for rule, broken in self.warned_by if broken[position]]


@dataclass(slots=True)
class _Findings:
    """Masks found so far: which rows break which rule."""

    size: int
    quarantine: list[tuple[Rule, Mask]] = field(default_factory=list)
    warn: list[tuple[Rule, Mask]] = field(default_factory=list)
    waived: Mapping[str, Mask] = field(default_factory=dict)

    def add(self, rule: Rule, broken: Mask) -> None:
        if rule.severity is Severity.QUARANTINE and rule.name in self.waived:
            self._add(replace(rule, severity=Severity.WARN), broken & self.waived[rule.name])
            broken = broken & ~self.waived[rule.name]
        self._add(rule, broken)

    def _add(self, rule: Rule, broken: Mask) -> None:
        if broken.any():
            (self.quarantine if rule.severity is Severity.QUARANTINE else self.warn).append((rule, broken))

    def bad(self) -> Mask:
        mask = np.zeros(self.size, dtype=bool)
        for _, broken in self.quarantine:
            mask |= broken
        return mask

    def of(self, rows: slice) -> _Findings:
        """Give those of some rows of the chunk."""
        own = _Findings(rows.stop - rows.start)
        for rule, broken in (*self.quarantine, *self.warn):
            own.add(rule, broken[rows])
        return own


def split_rows(
    contract: CompiledContract,
    raw: pd.DataFrame,
    cleaned: pd.DataFrame,
    *,
    window: Window,
    window_column: str | None,
    seen: SeenValues | None = None,
    waived: Sequence[Collection[str]] = (),
    further: Iterable[tuple[Rule, Mask]] = (),
) -> Split:
    """Split a chunk of cleaned rows by the rules of its contract.

    Args:
        contract: The compiled contract.
        raw: The raw rows, one column per raw field of the contract at least.
        cleaned: What the transform made of them; same index.
        window: The window that the source was asked for.
        window_column: Timestamp column that must lie in the window; None where rows have no time.
        seen: Unique values of the partition's earlier chunks; those of this one are added.
        waived: For each row the rules that only warn of it; empty where no rule is waived for any row.
        further: Rules that were judged elsewhere, with the rows that break them.

    Raises:
        TransformError: If the transform lost rows or columns, or a rule cannot be evaluated.
    """
    cleaned = _checked(contract, raw, cleaned)
    findings = _Findings(len(cleaned), waived=_masks_of(waived))
    arrays, typed = _judge_rows(contract, raw, cleaned, findings)
    if window_column is not None:
        findings.add(*_outside(window, window_column, arrays[window_column]))
    for rule, broken in further:
        findings.add(rule, broken)
    _judge_repeats(contract.unique_columns, typed, findings, seen or SeenValues())
    return _assemble(contract, arrays, findings)


def split_days(
    contract: CompiledContract,
    raw: pd.DataFrame,
    cleaned: pd.DataFrame,
    days: Sequence[tuple[slice, Window]],
    *,
    window_column: str | None,
) -> list[Split]:
    """Split a chunk that holds several days as a whole: each gets what `split_rows` would give for its rows alone.

    Args:
        contract: The compiled contract.
        raw: The raw rows of all days.
        cleaned: What the transform made of them; same index.
        days: For each day its rows in the chunk, and the window that the source was asked for.
        window_column: Timestamp column that must lie in the window; None where rows have no time.

    Raises:
        TransformError: If the transform lost rows or columns, or a rule cannot be evaluated.
    """
    cleaned = _checked(contract, raw, cleaned)
    of_all = _Findings(len(cleaned))
    arrays, typed = _judge_rows(contract, raw, cleaned, of_all)
    # What does not repeat in all days together does not repeat in any of them.
    repeating = [name for name in contract.unique_columns if typed[name].dropna().duplicated().any()]
    splits = []
    for rows, window in days:
        findings = of_all.of(rows)
        own = {name: array.slice(rows.start, findings.size) for name, array in arrays.items()}
        if window_column is not None:
            findings.add(*_outside(window, window_column, own[window_column]))
        _judge_repeats(
            repeating, {name: typed[name].iloc[rows] for name in repeating}, findings, SeenValues()
        )
        splits.append(_assemble(contract, own, findings))
    return splits


def _judge_rows(
    contract: CompiledContract, raw: pd.DataFrame, cleaned: pd.DataFrame, findings: _Findings
) -> tuple[dict[str, pa.Array], dict[str, pd.Series[Any]]]:
    """Bring all columns to the contract's types and find what each row breaks by itself."""
    arrays: dict[str, pa.Array] = {}
    typed: dict[str, pd.Series[Any]] = {}
    for column in contract.columns:
        values = _with_default(column, cleaned[column.name], findings)
        arrays[column.name], typed[column.name] = _typed(column, values)
        _find_missing(column, raw, values, arrays[column.name], findings)
        for rule in column.checks:
            values = typed[column.name]
            present = values.dropna() if arrays[column.name].null_count else values
            findings.add(rule, _broken(contract, rule, present, cleaned.index))
    if contract.row_rules:
        together = pd.DataFrame(typed, index=cleaned.index)
        for rule in contract.row_rules:
            findings.add(rule, _broken(contract, rule, together, cleaned.index))
    return arrays, typed


def _judge_repeats(
    unique_columns: Iterable[str],
    typed: Mapping[str, pd.Series[Any]],
    findings: _Findings,
    seen: SeenValues,
) -> None:
    otherwise_bad = findings.bad()
    for name in unique_columns:
        rule = Rule(f"{name}.unique", Severity.QUARANTINE, f"{name} repeats")
        findings.add(rule, find_repeats(name, typed[name], otherwise_bad, seen))


def _masks_of(waived: Sequence[Collection[str]]) -> dict[str, Mask]:
    names = sorted({name for names in waived for name in names})
    return {name: np.array([name in names for names in waived], dtype=bool) for name in names}


def _checked(contract: CompiledContract, raw: pd.DataFrame, cleaned: object) -> pd.DataFrame:
    if not isinstance(cleaned, pd.DataFrame):
        raise TransformError(
            f"the transform returned {type(cleaned).__name__}", hint="return a pandas DataFrame"
        )
    names = [column.name for column in contract.columns]
    given = list(cleaned.columns)
    missing = [name for name in names if name not in given]
    surplus = [_shown_name(name) for name in given if name not in names]
    if missing or surplus:
        wrong = f"misses {', '.join(missing)}" if missing else f"adds {', '.join(surplus)}"
        raise TransformError(f"the transform's result {wrong}", hint="its columns must be the contract's")
    if not cleaned.index.equals(raw.index):
        if len(cleaned) != len(raw) or not cleaned.index.is_unique or not raw.index.isin(cleaned.index).all():
            raise TransformError(
                f"the transform made {len(cleaned)} rows of {len(raw)}",
                hint="keep every row and the index; the contract sorts out bad rows",
            )
        cleaned = cleaned.loc[raw.index]
    return cleaned


def _shown_name(name: object) -> str:
    """Give a column's name for a message, unless it does not look like one: values can be turned into names."""
    return name if isinstance(name, str) and IDENTIFIER.match(name) else MASK


def _with_default(column: ColumnRules, values: pd.Series[Any], findings: _Findings) -> pd.Series[Any]:
    if column.notes.default is None:
        return values
    missing = _mask(values.isna())
    assumed = "its default" if column.notes.personal else column.notes.default
    rule = Rule(f"{column.name}.default", Severity.WARN, f"{column.name} is missing, {assumed} assumed")
    findings.add(rule, missing)
    return values.fillna(column.notes.default) if missing.any() else values


def _typed(column: ColumnRules, values: pd.Series[Any]) -> tuple[pa.Array, pd.Series[Any]]:
    """Bring a column to its contract's type, as Arrow for storing and as pandas for the rules."""
    if values.dtype == object and _reads_too_much(column.type):
        values = _parsed(column, values)
    try:
        array = _to_arrow(values, column.type)
    except (pa.ArrowInvalid, pa.ArrowTypeError, pa.ArrowNotImplementedError, OverflowError, UnicodeError):
        values = _parsed(column, values)
        array = _to_arrow(values, column.type)
    if values.dtype == object:
        values = pd.Series(array.to_pandas().array, index=values.index, name=column.name)
    return array, values


def _reads_too_much(kind: pa.DataType) -> bool:
    """Whether Arrow makes values of this type from objects that are none: 1 from 1.5, a time or a day from a number."""
    return bool(pa.types.is_integer(kind) or pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _to_arrow(values: pd.Series[Any], kind: pa.DataType) -> pa.Array:
    if isinstance(values.dtype, pd.DatetimeTZDtype):
        # Arrow keeps instants in UTC, whatever their zone.
        array = pc.cast(pc.cast(pa.Array.from_pandas(values), pa.timestamp(values.dtype.unit)), kind)
    else:
        array = pa.Array.from_pandas(values, type=kind)
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _parsed(column: ColumnRules, values: pd.Series[Any]) -> pd.Series[Any]:
    """Parse a column whose values do not all have the contract's type; what does not fit becomes missing."""
    values = values.astype(object)
    if pa.types.is_string(column.type):
        return parse.text(values, strip=False)
    if pa.types.is_integer(column.type):
        return parse.integers(values)
    if pa.types.is_decimal(column.type):
        return parse.decimals(values, places=column.type.scale)
    if pa.types.is_timestamp(column.type):
        return parse.timestamps(values)
    if pa.types.is_date(column.type):
        return parse.days_of(parse.timestamps(values))
    raise TransformError(f"column {column.name!r} does not hold values of type {column.type}")


def _find_missing(
    column: ColumnRules, raw: pd.DataFrame, given: pd.Series[Any], array: pa.Array, findings: _Findings
) -> None:
    """Find missing values, telling those that were sent but could not be read from those that were not sent."""
    if array.null_count == 0:
        return
    missing = _mask(array.is_null())
    if pa.types.is_string(column.type):
        unreadable = np.zeros(len(missing), dtype=bool)
    else:
        sent = _mask(given.notna())
        if column.raw_field in raw.columns:
            field_values = raw[column.raw_field]
            sent = sent | _mask(field_values.notna() & (field_values != ""))
        unreadable = missing & sent
    name = column.name
    findings.add(
        Rule(f"{name}.parse", Severity.QUARANTINE, f"{name} cannot be read as {column.type}"), unreadable
    )
    if column.notes.missing is not Severity.ALLOW:
        findings.add(
            Rule(f"{name}.missing", column.notes.missing, f"{name} is missing"), missing & ~unreadable
        )


def _broken(contract: CompiledContract, rule: Rule, values: Any, index: pd.Index[Any]) -> Mask:
    """Evaluate a pandera check; True where a row breaks it. Missing values break no rule but their own."""
    if rule.check is None or len(values) == 0:
        return np.zeros(len(index), dtype=bool)
    try:
        output = rule.check(values).check_output
    except Exception as error:
        reason = describe_unexpected(error, may_tell_data=bool(contract.personal_columns))
        raise TransformError(f"rule {rule.name} cannot be evaluated: {reason}") from error
    if not isinstance(output, pd.Series):
        output = pd.Series(bool(output), index=values.index)
    if len(output) != len(index):
        output = output.reindex(index, fill_value=True)
    return ~_mask(output.fillna(True))


def _outside(window: Window, name: str, array: pa.Array) -> tuple[Rule, Mask]:
    start, end = (
        pa.scalar(end.replace(tzinfo=None), pa.timestamp("us")) for end in (window.start, window.end)
    )
    outside = pc.or_(pc.less(array, start), pc.greater_equal(array, end))
    rule = Rule(f"{name}.window", Severity.QUARANTINE, f"{name} is outside the window that was asked for")
    return rule, _mask(pc.fill_null(outside, False))


def _mask(values: Any) -> Mask:
    if isinstance(values, pa.Array | pa.ChunkedArray):
        return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
    return np.asarray(values.to_numpy(dtype=bool), dtype=bool)


def _assemble(contract: CompiledContract, arrays: dict[str, pa.Array], findings: _Findings) -> Split:
    bad = findings.bad()
    table = pa.Table.from_arrays([arrays[name] for name in contract.schema.names], schema=contract.schema)
    positions = np.arange(findings.size, dtype=np.int64)
    if bad.any():
        keep = ~bad
        table, positions = table.filter(pa.array(keep)), positions[keep]
    warned = np.zeros(findings.size, dtype=bool)
    warnings: Counter[str] = Counter()
    for rule, broken in findings.warn:
        warned |= broken
        warnings[rule.name] += int(broken.sum())
    violations = Counter({rule.name: int(broken.sum()) for rule, broken in findings.quarantine})
    return Split(
        table, positions, _bad_rows(findings), violations, warnings, int(warned.sum()), tuple(findings.warn)
    )


def _bad_rows(findings: _Findings) -> pa.Table:
    parts = []
    for rule, broken in findings.quarantine:
        where = np.flatnonzero(broken)
        count = len(where)
        columns = [pa.array(where, pa.int64()), pa.repeat(rule.name, count), pa.repeat(rule.reason, count)]
        parts.append(pa.Table.from_arrays(columns, schema=VIOLATION_SCHEMA))
    if not parts:
        return NO_BAD_ROWS
    grouped = pa.concat_tables(parts).group_by("position", use_threads=False)
    return grouped.aggregate([("rule", "list"), ("reason", "list")]).sort_by("position")
