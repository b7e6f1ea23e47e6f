"""Lists within records: judged by the contracts of their child tables, and made ready to be stored with the record.

A record is whole or not at all: what a child row breaks, its record breaks. What belongs here: from the records of a
chunk to the lists as JSON, one text per record, and the rules that records break by them. What does not: the child
tables (`etl_assets.warehouse.children`).
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import orjson
import pandas as pd

from etl_assets.failures import TransformError
from etl_assets.quality.frame import raw_frame
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.repeats import Mask
from etl_assets.quality.rules import CompiledContract, Rule, compile_contract
from etl_assets.quality.split import Split, split_rows
from etl_assets.streams.base import Children, Window
from etl_assets.streams.contract import Severity

Broken = list[tuple[Rule, Mask]]


@dataclass(frozen=True, slots=True)
class Lists:
    """The lists of a chunk of records.

    Attributes:
        texts: Per record, its lists as a JSON object by child table; None for a record without any, and for a stream
            without child tables.
        broken: Rules that records break by their lists, with the records.
    """

    texts: list[str | None] | None
    broken: Broken

    def of(self, positions: Iterable[int]) -> list[str | None] | None:
        """Give the lists of some records of the chunk; None where the stream has no child tables."""
        return None if self.texts is None else [self.texts[position] for position in positions]


def split_lists(
    children: Sequence[Children],
    records: Sequence[Mapping[str, Any]],
    pseudonymisers: Mapping[str, Pseudonymiser],
    window: Window,
    waived: Sequence[Collection[str]] = (),
) -> Lists:
    """Judge the lists of a chunk of records, and make them ready to be stored.

    Args:
        children: The child tables.
        records: Raw records.
        pseudonymisers: What takes the personal data of lists away, by the lists' fields.
        window: Of the partition.
        waived: For each record the rules that only warn of it, those of its lists by `<child table>.<rule>`; empty
            where no rule is waived for any record.

    Raises:
        TransformError: If a transform fails, or a rule cannot be evaluated.
    """
    if not children:
        return Lists(None, [])
    found: list[dict[str, list[Any]]] = [{} for _ in records]
    broken: Broken = []
    for child in children:
        broken += _add(child, records, pseudonymisers[child.raw_field], window, found, waived)
    texts = [orjson.dumps(lists, default=str).decode() if lists else None for lists in found]
    return Lists(texts, broken)


def _add(
    child: Children,
    records: Sequence[Mapping[str, Any]],
    pseudonymiser: Pseudonymiser,
    window: Window,
    found: list[dict[str, list[Any]]],
    waived: Sequence[Collection[str]],
) -> Broken:
    """Add the rows of one child table to the lists of their records; give the rules that they break."""
    shapeless = np.zeros(len(records), dtype=bool)
    rows: list[dict[str, Any]] = []
    owners: list[int] = []
    for place, record in enumerate(records):
        value = record.get(child.raw_field)
        if value is None:
            continue
        if not isinstance(value, list) or not all(isinstance(one, dict) for one in value):
            shapeless[place] = True
            continue
        rows += value
        owners += [place] * len(value)
    shape = Rule(f"{child.name}.list", Severity.QUARANTINE, f"{child.raw_field} is no list of objects")
    if not rows:
        return [(shape, shapeless)]
    split = _split(child, rows, window, _waived_of(child, waived, owners))
    owner_of = np.asarray(owners, dtype=np.int64)
    good = pseudonymiser.rows(split.good).to_pylist()
    for owner, row in zip(owner_of[split.good_positions], good, strict=True):
        kept = {name: value for name, value in row.items() if value is not None}
        found[owner].setdefault(child.name, []).append(kept)
    return [(shape, shapeless), *_of_records(child, split, owner_of, len(records))]


def _waived_of(
    child: Children, waived: Sequence[Collection[str]], owners: Sequence[int]
) -> list[frozenset[str]]:
    """Give for each child row the rules of its own table that are waived for its record."""
    prefix = f"{child.name}."
    own = [
        frozenset(rule.removeprefix(prefix) for rule in rules if rule.startswith(prefix)) for rules in waived
    ]
    return [own[owner] for owner in owners] if any(own) else []


def _split(
    child: Children, rows: Sequence[dict[str, Any]], window: Window, waived: Sequence[Collection[str]]
) -> Split:
    contract = compile_contract(child.contract)
    raw = raw_frame(rows, contract.raw_fields)
    cleaned = _as_they_are(contract, raw) if child.transform is None else child.transform(raw)
    try:
        return split_rows(contract, raw, cleaned, window=window, window_column=None, waived=waived)
    except TransformError as error:
        raise TransformError(f"child table {child.name}: {error.message}", hint=error.hint) from error


def _as_they_are(contract: CompiledContract, raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({column.name: raw[column.raw_field] for column in contract.columns})


def _of_records(child: Children, split: Split, owners: np.ndarray[Any, Any], size: int) -> Broken:
    """Give the rules that child rows break as rules that their records break."""
    quarantined: dict[tuple[str, str], Mask] = {}
    for position, rules, reasons in zip(
        *(split.bad[name].to_pylist() for name in ("position", "rule_list", "reason_list")), strict=True
    ):
        for rule, reason in zip(rules, reasons, strict=True):
            mask = quarantined.setdefault((rule, reason), np.zeros(size, dtype=bool))
            mask[owners[position]] = True
    broken: Broken = [
        (Rule(f"{child.name}.{rule}", Severity.QUARANTINE, reason), mask)
        for (rule, reason), mask in quarantined.items()
    ]
    for rule, rows in split.warned_by:
        mask = np.zeros(size, dtype=bool)
        mask[owners[np.flatnonzero(rows)]] = True
        broken.append((replace(rule, name=f"{child.name}.{rule.name}"), mask))
    return broken
