"""Personal data: what each tag makes of a value, in rows and in payloads, and that nothing of it stays in clear."""

from __future__ import annotations

import json
import re
import tempfile
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import ConfigurationError, describe_unexpected
from etl_assets.quality.personal import Pseudonymiser, masked
from etl_assets.quality.rules import compile_contract
from etl_assets.quality.split import split_rows
from etl_assets.settings import Secret
from etl_assets.streams.base import Contract, Field, Window
from etl_assets_tests.pipeline.landings import land, quarantine_of, rows_of, stage
from etl_assets_tests.quality.people import DAY, KEY, OTHER_KEY, PEOPLE, People, hashed, person

PERSONAL = Pseudonymiser(compile_contract(People), KEY)


class Emails(Contract):
    """Nothing but addresses."""

    email: str = Field(missing="allow", personal="hash")


class PlainEmails(Contract):
    """The same, without a tag."""

    email: str = Field(missing="allow")


class MaskedEmails(Contract):
    """The same, with another tag."""

    email: str = Field(missing="allow", personal="mask")


def hashes_of(texts: list[str | None], key: Secret = KEY) -> list[str | None]:
    """Hash a column."""
    table = pa.table({"email": pa.array(texts, pa.string())})
    found: list[str | None] = Pseudonymiser(compile_contract(Emails), key).rows(table).column(0).to_pylist()
    return found


def test_hashes_are_hmac_sha_256_and_missing_stays_missing() -> None:
    texts = ["ada@example.com", None, "Ää \U0001f600", "", "ada@example.com"]
    assert hashes_of(texts) == [None if text is None else hashed(text) for text in texts]
    assert hashes_of(["x"], Secret("k" * 16)) == [
        # openssl dgst -sha256 -hmac kkkkkkkkkkkkkkkk, of the one byte x
        "10a2f7df9a255a3a899a327bed7e57f26d69edaa47380a065fc5f986a352fef5"
    ]


@given(st.lists(st.none() | st.text(st.characters(codec="utf-8"), max_size=6), max_size=12))
def test_hashes_are_equal_exactly_where_values_are(texts: list[str | None]) -> None:
    found = hashes_of(texts)
    assert [value is None for value in found] == [text is None for text in texts]
    pairs = {(text, value) for text, value in zip(texts, found, strict=True) if text is not None}
    assert len(pairs) == len({text for text, _ in pairs}) == len({value for _, value in pairs})
    assert all(re.fullmatch(r"[0-9a-f]{64}", value) for _, value in pairs if value)
    others = hashes_of(texts, OTHER_KEY)
    assert all(mine is None or mine != other for mine, other in zip(found, others, strict=True))


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("Ada Lovelace", "A***"),
        ("Ada", "A***"),
        ("Li", "***"),
        ("X", "***"),
        ("", "***"),
        ("ada@example.com", "a***@***"),
        ("jo@example.com", "***@***"),
        ("ada@@example.com", "a***"),
        ("@ada", "***"),
        ("ada @ home", "a***"),
        ("+44 7700 900123", "***"),
        ("Étienne", "É***"),
        ("李小龙", "李***"),
        ("\u202eabc", "***"),
        ("x" * 1000, "x***"),
    ],
)
def test_masked(text: str, wanted: str) -> None:
    assert masked(text) == wanted


def test_rows_keep_schema_and_order() -> None:
    contract = compile_contract(People)
    row = {"person_id": "p-1", "name": "Ada", "email": "a@b", "phone": "1", "nickname": "N", "age": 1}
    empty = dict.fromkeys(contract.schema.names)
    table = pa.Table.from_pylist([row, empty, {**row, "email": "c@d"}], schema=contract.schema)
    found = PERSONAL.rows(table)
    assert found.schema == table.schema
    safe = {**empty, **row, "name": "A***", "email": hashed("a@b"), "phone": None}
    assert found.to_pylist() == [safe, empty, {**safe, "email": hashed("c@d")}]
    assert PERSONAL.rows(table.slice(0, 0)).schema == table.schema


@pytest.mark.parametrize(
    ("record", "wanted"),
    [
        ({"name": "Ada Lovelace", "telephone": "0900"}, {"name": "A***", "telephone": None}),
        ({"name": None, "email": None, "telephone": None}, {"name": None, "email": None, "telephone": None}),
        ({"email": " ada@example.com\n"}, {"email": hashed("ada@example.com")}),
        ({"email": "", "name": " \t"}, {"email": "", "name": " \t"}),
        ({"email": 4477}, {"email": hashed("4477")}),
        ({"email": {"home": "a@b"}}, {"email": hashed('{"home": "a@b"}')}),
        ({"name": ["Ada", "Lovelace"]}, {"name": "***"}),
        ({"age": "old", "person_id": 7, "nickname": "N"}, {"age": "old", "person_id": 7, "nickname": "N"}),
        ({"age": {"years": "Ada"}, "person_id": ["Ada"]}, {"age": "***", "person_id": "***"}),
        ({"e_mail": "a@b", "phone": "123", "code": 7}, {"e_mail": "***", "phone": "***", "code": "***"}),
        ({"extra": {"a": ["Ada"]}, "flag": True, "none": None}, {"extra": "***", "flag": True, "none": None}),
        ({"ada@example.com": 1, "age": 2, "Ada L.": None}, {"***0": "***", "age": 2, "***2": None}),
        ("Ada", "***"),
        (["Ada", 1], "***"),
        (17, "***"),
        (None, None),
        (False, False),
    ],
)
def test_payload(record: Any, wanted: Any) -> None:
    assert PERSONAL.payload(record) == wanted


def test_payload_nested_too_deeply_is_masked() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert PERSONAL.payload({"email": deep, "extra": deep}) == {"email": "***", "extra": "***"}


def test_strictest_tag_of_a_field_counts() -> None:
    class Twice(Contract):
        address: str = Field(raw="email", personal="keep")
        email: str = Field(missing="allow", personal="hash")
        initial: str = Field(missing="allow", raw="email", personal="mask")

    found = Pseudonymiser(compile_contract(Twice), KEY).payload({"email": "ada@example.com"})
    assert found == {"email": "a***@***"}


def test_payload_of_a_stream_without_such_tags_stays_as_it_came() -> None:
    record = {"email": "a@b", "extra": ["Ada"], "a b": 1}
    assert Pseudonymiser(compile_contract(PlainEmails), KEY).payload(record) is record


def test_hashing_needs_a_key_and_nothing_else_does() -> None:
    with pytest.raises(ConfigurationError, match="cannot be hashed without a key"):
        Pseudonymiser(compile_contract(Emails), None)
    table = pa.table({"email": ["ada@example.com"]})
    assert Pseudonymiser(compile_contract(MaskedEmails), None).rows(table).to_pylist() == [
        {"email": "a***@***"}
    ]


def test_version_tells_tags_and_keys_apart_but_no_key() -> None:
    contracts = [compile_contract(contract) for contract in (Emails, PlainEmails, MaskedEmails)]
    assert len({contract.version for contract in contracts}) == 3
    versions = [Pseudonymiser(contracts[0], key).contract_version for key in (KEY, OTHER_KEY, KEY)]
    assert versions[0] == versions[2] != versions[1]
    assert re.fullmatch(rf"{contracts[0].version}-[0-9a-f]{{8}}", versions[0])
    for contract in contracts[1:]:
        assert Pseudonymiser(contract, KEY).contract_version == contract.version


def test_reasons_of_personal_columns_quote_no_value() -> None:
    class Chosen(Contract):
        known_as: str = Field(default="Countess", personal="keep")
        who: str = Field(isin=["Ada", "Grace"], ne="Alan", personal="keep", str_matches="^[A-Z]")

    contract = compile_contract(Chosen)
    column = contract.columns[1]
    assert {rule.name: rule.reason for rule in column.checks} == {
        "who.isin": "who breaks the rule isin",
        "who.not_equal_to": "who breaks the rule not_equal_to",
        "who.str_matches": "who must match ^[A-Z]",
    }
    raw = pd.DataFrame({"known_as": [None], "who": ["Ada"]}, dtype=object)
    split = split_rows(contract, raw, raw, window=Window.of_day(DAY), window_column=None)
    assert (split.good.to_pylist(), split.warnings) == (
        [{"known_as": "Countess", "who": "Ada"}],
        {"known_as.default": 1},
    )


def stumble(value: str) -> None:
    """Fail with a value in the message."""
    raise ValueError(f"cannot use {value}, really")


def look_up(names: dict[str, int], value: str) -> None:
    """Look for a value, and for a name that stands here."""
    if value in names:
        names["colour"]
    names[value]


@pytest.mark.parametrize(
    ("function", "arguments", "wanted"),
    [
        (stumble, ("Ada",), r"ValueError at test_personal\.py:\d+"),
        (look_up, ({}, "Ada"), r"KeyError at test_personal\.py:\d+"),
        (look_up, ({"Ada": 1}, "Ada"), r"KeyError at test_personal\.py:\d+: 'colour'"),
        (json.loads, ("[Ada",), r"JSONDecodeError at \w+\.py:\d+"),
    ],
)
def test_unexpected_errors_tell_no_value(function: Any, arguments: Any, wanted: str) -> None:
    with pytest.raises(Exception) as caught:  # noqa: PT011 - whichever it is
        function(*arguments)
    assert re.fullmatch(wanted, describe_unexpected(caught.value, may_tell_data=True))


CLEAR = st.text("ЖЩЯΨΩäöü李小龙 ", min_size=3, max_size=12).filter(lambda text: len(text.strip()) >= 3)
EMAILS = st.builds("{}@{}".format, CLEAR.map(str.strip), CLEAR.map(str.strip))
NUMBERS = st.integers(10**14, 10**15)


@st.composite
def people(draw: st.DrawFn) -> tuple[list[Any], set[str]]:
    """Make records, good and bad, with the clear values that nothing may tell."""
    records: list[Any] = []
    clear: set[str] = set()

    def secret(values: st.SearchStrategy[Any]) -> Any:
        value = draw(values)
        if value is not None:
            clear.add(str(value).strip())
        return value

    for number in range(draw(st.integers(1, 5))):
        record = person(
            f"p-{number}",
            name=secret(st.none() | CLEAR | NUMBERS),
            email=secret(st.none() | EMAILS | EMAILS | CLEAR),
            telephone=secret(st.none() | CLEAR | NUMBERS),
            age=draw(st.sampled_from([36, -1, "x", None])),
        )
        records.append(record)
        if draw(st.booleans()):
            record["renamed"] = draw(
                st.sampled_from([record["name"], [record["email"]], {"x": record["telephone"]}])
            )
        if draw(st.integers(0, 4)) == 0:
            records.append(draw(st.sampled_from([[record["name"]], str(record["email"]), None])))
    if draw(st.booleans()):
        records.append(dict(records[0], changed_at="2020-01-01T00:00:00Z"))
    return records, clear - {"None"}


@given(people())
@settings(max_examples=15, deadline=None)
def test_no_clear_value_is_anywhere_in_what_is_staged(case: tuple[list[Any], set[str]]) -> None:
    records, clear = case
    with tempfile.TemporaryDirectory() as folder:
        staged = stage(Path(folder), land(Path(folder), [records], PEOPLE, DAY), PEOPLE, key=KEY)
        rows, bad = rows_of(staged), quarantine_of(staged)
        written = [path.read_bytes() for path in staged.directory.iterdir()]
    assert len(rows) + len(bad) == len(records)
    said = repr((rows, bad, [json.loads(row["raw_payload"]) for row in bad], staged))
    for value in clear:
        assert value not in said
        assert all(value.encode() not in content for content in written)
        assert all(orjson.dumps(value)[1:-1] not in content for content in written)
    by_id = {record["person_id"]: record for record in reversed(records) if isinstance(record, dict)}
    for row in rows:
        sent = by_id[row["person_id"]]["email"]
        assert row["email"] == (None if sent is None else hashed(str(sent).strip()))
