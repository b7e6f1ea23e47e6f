"""Lists within records: judged by the contracts of their child tables; a record is whole or not at all."""

from __future__ import annotations

import json
from typing import Any

import pandas as pd
import pytest

from etl_assets.failures import TransformError
from etl_assets.quality.children import Lists, split_lists
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.settings import Secret
from etl_assets.streams.base import Children, Contract, Date, Field, Window, row_rule
from etl_assets.streams.contract import Severity
from etl_assets_tests.quality.people import DAY

KEY = Secret("a key of sixteen or more characters")


class Authors(Contract):
    """Authors of a paper."""

    name: str = Field()
    email: str = Field(missing="allow", personal="hash")
    born: Date = Field(missing="warn")

    @row_rule(severity="warn", reason="born before there were papers")
    def not_too_old(cls, rows: pd.DataFrame) -> pd.Series:
        return rows["born"].isna() | (rows["born"] >= pd.Timestamp("1600-01-01").date())


AUTHORS = Children(name="authors", contract=Authors, raw="people")
PSEUDONYMISERS = {"people": Pseudonymiser(compile_contract(Authors), KEY)}


def split(*people: Any, child: Children = AUTHORS) -> Lists:
    """Split one record per list of people."""
    records = [{"people": one} for one in people]
    return split_lists([child], records, PSEUDONYMISERS, Window.of_day(DAY))


def broken(lists: Lists) -> dict[tuple[str, Severity], list[bool]]:
    """Give the rules that any record breaks."""
    return {(rule.name, rule.severity): mask.tolist() for rule, mask in lists.broken if mask.any()}


def texts(lists: Lists) -> list[Any]:
    """Read the lists that are to be stored."""
    return [None if text is None else json.loads(text) for text in stored(lists)]


def stored(lists: Lists) -> list[str | None]:
    """Give the lists that are to be stored, a text per record."""
    assert lists.texts is not None
    return lists.texts


def test_good_lists_are_stored_typed_and_in_order() -> None:
    lists = split([{"name": "Ada", "born": "1815-12-10"}, {"name": 7, "born": "1900-01-01"}], None, [])
    assert broken(lists) == {}
    assert texts(lists) == [
        {"authors": [{"name": "Ada", "born": "1815-12-10"}, {"name": "7", "born": "1900-01-01"}]},
        None,
        None,
    ]


def test_personal_data_is_taken_away() -> None:
    (text,) = stored(split([{"name": "Ada", "email": "ada@example.com", "born": "1815-12-10"}]))
    assert text is not None
    assert "ada@example.com" not in text
    assert len(json.loads(text)["authors"][0]["email"]) == 64


def test_what_a_child_row_breaks_its_record_breaks() -> None:
    good = {"name": "Ada", "born": "1815-12-10"}
    lists = split([good], [good, {"born": "1815-12-10"}], [{"name": "x", "born": "soon"}])
    assert broken(lists) == {
        ("authors.name.missing", Severity.QUARANTINE): [False, True, False],
        ("authors.born.parse", Severity.QUARANTINE): [False, False, True],
    }


def test_rules_that_warn_are_those_of_the_record() -> None:
    lists = split([{"name": "a", "born": "1500-01-01"}, {"name": "b", "born": "1500-01-01"}], [{"name": "c"}])
    assert broken(lists) == {
        ("authors.not_too_old", Severity.WARN): [True, False],
        ("authors.born.missing", Severity.WARN): [False, True],
    }
    assert [len(one["authors"]) for one in texts(lists)] == [2, 1]


@pytest.mark.parametrize("value", ["text", {"name": "x"}, [1], [{"name": "x"}, None]], ids=repr)
def test_what_is_no_list_of_objects_is_quarantined(value: Any) -> None:
    assert broken(split(value)) == {("authors.list", Severity.QUARANTINE): [True]}


def test_a_transform_of_child_rows() -> None:
    def clean(raw: pd.DataFrame) -> pd.DataFrame:
        return pd.DataFrame({"name": raw["name"].str.title(), "email": raw["email"], "born": raw["born"]})

    lists = split([{"name": "ada", "born": "1815-12-10"}], child=_with(clean))
    assert texts(lists)[0]["authors"][0]["name"] == "Ada"
    with pytest.raises(
        TransformError, match="child table authors: the transform's result misses email, born"
    ):
        split([{"name": "ada"}], child=_with(lambda raw: raw[["name"]]))


def test_quarantined_payloads_tell_nobody_from_a_list() -> None:
    class Papers(Contract):
        """Papers."""

        title: str = Field()

    whole = Pseudonymiser(compile_contract(Papers), KEY, PSEUDONYMISERS)
    payload = whole.payload(
        {"title": "On X", "people": [{"name": "Ada", "email": "ada@example.com"}], "other": {"email": "x@y"}}
    )
    assert payload["title"] == "On X"
    assert payload["people"][0]["name"] == "Ada"
    assert (
        payload["people"][0]["email"]
        == PSEUDONYMISERS["people"].payload({"email": "ada@example.com"})["email"]
    )
    assert "example.com" not in json.dumps(payload)
    assert "x@y" not in json.dumps(payload)
    assert whole.contract_version != Pseudonymiser(compile_contract(Papers), KEY).contract_version


def _with(transform: Any) -> Children:
    return Children(name="authors", contract=Authors, raw="people", transform=transform)
