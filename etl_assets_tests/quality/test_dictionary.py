"""The data dictionary in the documentation is current and says all that is declared, and the tables say it too."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.quality.dictionary import data_dictionary
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Contract, Field
from etl_assets.streams.discovery import discover_streams
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.conftest import PROJECT
from etl_assets_tests.warehouse.samples import LINES, Lines, Stager, line

DOCUMENT = PROJECT / "docs" / "data_dictionary.md"
STREAMS = discover_streams()


def test_the_dictionary_is_current() -> None:
    hint = "run: etl-assets dictionary --to docs/data_dictionary.md"
    assert DOCUMENT.read_text(encoding="utf-8") == data_dictionary(STREAMS.values()), hint


@pytest.mark.parametrize("stream_id", STREAMS)
def test_every_column_rule_and_audit_is_in_it(stream_id: str) -> None:
    stream = STREAMS[stream_id]
    contract = compile_contract(stream.contract)
    section = data_dictionary([stream])
    assert f"## {stream.source.name}.{stream.name}" in section
    assert f"`{contract.version}`" in section
    for column in contract.columns:
        assert f"| `{column.name}` |" in section
        assert column.description in section
    for rule in (*contract.row_rules, *(check for column in contract.columns for check in column.checks)):
        assert rule.reason.replace("|", "\\|") in section
    for audit in stream.audits:
        assert audit.description in section


def test_the_command_prints_or_writes_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["dictionary"]) == 0
    assert capsys.readouterr().out == DOCUMENT.read_text(encoding="utf-8")
    assert run(["dictionary", "--to", str(tmp_path / "here.md")]) == 0
    assert (tmp_path / "here.md").read_bytes() == DOCUMENT.read_bytes()
    assert run(["dictionary", "--to", str(tmp_path / "nowhere" / "here.md")]) == 2
    assert "cannot be written" in capsys.readouterr().err


def test_the_version_tells_every_change_of_a_rule() -> None:
    class First(Contract):
        code: str = Field(personal="keep", isin=["a", "b"])

    class Other(Contract):
        code: str = Field(personal="keep", isin=["a", "c"])

    first, other = compile_contract(First), compile_contract(Other)
    assert [rule.reason for rule in first.columns[0].checks] == [
        rule.reason for rule in other.columns[0].checks
    ]
    assert first.version != other.version


def test_a_changed_description_reaches_the_table(tmp_path: Path) -> None:
    class Described(Lines):
        line_id: str = Field(description="Another description, it's new")

    warehouse, stager = Warehouse(tmp_path / "warehouse.duckdb"), Stager(tmp_path / "staged")
    comment = (
        "SELECT comment FROM duckdb_columns() WHERE table_name = 'order_lines' AND column_name = 'line_id'"
    )
    for stream, said in (
        (LINES, "The line's own name"),
        (replace(LINES, contract=Described), "Another description, it's new"),
    ):
        with warehouse.session("load") as session:
            session.commit(stager.request(stream, 0, [line(0, "a")]))
            assert session.connection.execute(comment).fetchall() == [(said,)]
