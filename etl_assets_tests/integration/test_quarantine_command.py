"""`etl-assets quarantine`: a day's bad rows worked off from the command line, each step with its account."""

from __future__ import annotations

import csv
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import pytest

import etl_assets.streams
from etl_assets.build import build_definitions
from etl_assets.landing.store import Landing
from etl_assets.orchestration.instance import opened_instance
from etl_assets.orchestration.keys import REPLAY_QUARANTINE_JOB
from etl_assets.settings import Settings
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.instances import MATERIALIZED, partition_statuses
from etl_assets_tests.integration.warehouses import NOT_CONSERVED, select
from etl_assets_tests.pipeline.landings import land_bodies
from etl_assets_tests.pipeline.meters import DAY, LOW, READINGS, reading

STREAM = READINGS.id
FILE = '''"""Readings."""

from dataclasses import replace

from etl_assets_tests.pipeline.meters import {contract}, READINGS

STREAM = replace(READINGS, contract={contract})
'''
RECORDS = (reading("a"), reading("b", -1), reading("c", "x"), reading("d", -2), reading("e", -3))
ANN = ("--by", "ann", "--reason", "asked the owner")


@dataclass
class Desk:
    """Where the quarantine is worked on."""

    settings: Settings
    file: Path
    etl: Etl

    def quarantine(self, *arguments: str, exit_code: int = 0) -> Any:
        """Run a sub-command; gives its JSON."""
        done = self.etl("quarantine", *arguments, "--json")
        assert done.exit_code == exit_code, done.out + done.err
        assert select(self.settings.warehouse_path, NOT_CONSERVED) == []
        return done.json()

    def ids(self) -> dict[str, str]:
        """Give the rows' ids by their readings'."""
        rows = self.quarantine("list", "--state", "all", "--by-day")
        every = {row["example"] for row in rows}
        query = (
            "SELECT substr(sha256(concat_ws('/', source, stream, CAST(partition AS VARCHAR), payload_hash, "
            "CAST(occurrence AS VARCHAR))), 1, 12), raw_payload->>'reading_id' FROM etl.quarantine"
        )
        found = {name: row for row, name in select(self.settings.warehouse_path, query)}
        assert every <= set(found.values())
        return found

    def states(self) -> dict[str, str]:
        """Give the rows' states."""
        query = "SELECT raw_payload->>'reading_id', state FROM etl.quarantine"
        return dict(select(self.settings.warehouse_path, query))

    def table(self) -> list[tuple[Any, ...]]:
        """Give the table's identifiers and values."""
        return select(
            self.settings.warehouse_path, "SELECT reading_id, value FROM meter.readings ORDER BY ALL"
        )

    def declare(self, contract: str) -> None:
        """Write the stream's file with another contract."""
        self.file.write_text(FILE.format(contract=contract), encoding="utf-8")
        sys.modules.pop("etl_assets.streams.meter.readings", None)


@pytest.fixture
def desk(tmp_path: Path, use: Use, etl: Etl, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    """A stream among the project's own, with a landed day of which four rows are bad; loaded."""
    folder = tmp_path / "streams" / "meter"
    folder.mkdir(parents=True)
    for place in (folder.parent, folder):
        (place / "__init__.py").touch()
    monkeypatch.setattr(etl_assets.streams, "__path__", [*etl_assets.streams.__path__, str(folder.parent)])
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    settings = use(ETL_METER_URL="http://127.0.0.1:1", ETL_METER_TOKEN="secret")
    made = Desk(settings, folder / "readings.py", etl)
    made.declare("Readings")
    land_bodies(settings.data_dir, [(orjson.dumps({"data": RECORDS}), len(RECORDS))], READINGS, DAY)
    assert Landing(settings.landing_dir).latest(STREAM, DAY) is not None
    loaded = etl("backfill", STREAM, "--from", str(DAY), "--to", str(DAY), "--replay", "--json")
    assert loaded.exit_code == 0, loaded.out + loaded.err
    yield made
    for name in [name for name in sys.modules if name.startswith("etl_assets.streams.meter")]:
        del sys.modules[name]


def test_a_days_bad_rows_are_worked_off(desk: Desk, etl: Etl, tmp_path: Path) -> None:
    counted = desk.quarantine("list", STREAM)
    assert {(row["rule"], row["rows"], row["days"]) for row in counted} == {
        (LOW, 3, 1),
        ("value.parse", 1, 1),
    }
    assert etl("status", STREAM, "--json").json()["quarantined"] == {STREAM: 4}
    assert "4 rows pending in quarantine" in etl("status", STREAM).out
    ids = desk.ids()

    waived = desk.quarantine("waive", STREAM, "--row", ids["b"], "--row", ids["c"], *ANN, exit_code=1)
    assert (waived["states"], waived["left_out"]) == ({"waived": 1}, 1)
    assert "value.parse cannot be waived, the value would be lost" in waived["notes"][0]
    assert desk.table() == [("a", 5), ("b", -1)]

    discarded = desk.quarantine("discard", "--row", ids["e"], *ANN)
    assert (discarded["states"], discarded["run_ids"]) == ({"discarded": 1}, [])

    file = tmp_path / "mend me.csv"
    assert etl("quarantine", "export", STREAM, "--output", str(file)).exit_code == 0
    with file.open(newline="") as text:
        lines = list(csv.DictReader(text))
    assert {line["reading_id"] for line in lines} == {"c", "d"}
    for line in lines:
        line["value"] = {"c": "8", "d": "800"}[line["reading_id"]]
    with file.open("w", newline="") as text:
        writer = csv.DictWriter(text, list(lines[0]))
        writer.writeheader()
        writer.writerows(lines)
    mended = desk.quarantine("import", STREAM, str(file), *ANN, exit_code=1)
    assert (mended["states"], mended["unfinished"]) == ({"replayed": 1, "pending": 1}, 1)
    assert "the mended row was not accepted: value must be at most 100" in mended["notes"][0]
    assert desk.table() == [("a", 5), ("b", -1), ("c", 8)]
    again = etl("quarantine", "import", STREAM, str(file), *ANN)
    assert again.exit_code == 2
    assert f"row {ids['c']} is replayed, not pending" in again.err

    before = desk.table(), desk.states()
    assert etl("backfill", STREAM, "--from", str(DAY), "--to", str(DAY), "--replay").exit_code == 0
    assert (desk.table(), desk.states()) == before
    assert before[1] == {"b": "waived", "c": "replayed", "d": "pending", "e": "discarded"}

    shown = etl("quarantine", "show", ids["d"])
    assert "value = -2" in shown.out
    assert "(mend) by ann: the mended row was not accepted" in shown.out
    (told,) = desk.quarantine("show", ids["b"])
    assert [(move["to_state"], move["moved_by"], move["reason"]) for move in told["moves"]] == [
        ("waived", "ann", "asked the owner")
    ]

    purged = desk.quarantine("purge", "--older-than", "0d", "--by", "ann")
    assert purged["states"] == {"discarded": 1, "replayed": 1, "waived": 1}
    assert select(
        desk.settings.warehouse_path, "SELECT state FROM etl.quarantine WHERE raw_payload IS NOT NULL"
    ) == [("pending",)]
    assert desk.quarantine("purge", "--older-than", "0d", "--pending", *ANN)["states"] == {"pending": 1}
    moved = (
        "SELECT from_state, to_state, action FROM etl.quarantine_moves WHERE action = 'purge' ORDER BY ALL"
    )
    assert select(desk.settings.warehouse_path, moved)[1] == ("pending", "discarded", "purge")
    taken_back = desk.quarantine("reopen", ids["b"], *ANN)
    assert taken_back["states"] == {"pending": 1}
    assert desk.quarantine("show", ids["b"])[0]["fields"]["value"] == -1
    assert desk.table() == [("a", 5), ("c", 8)]


def test_a_mended_contract_replays_by_command_and_by_job(desk: Desk, etl: Etl) -> None:
    still = desk.quarantine("replay", STREAM)
    assert (still["states"], len(still["run_ids"])) == ({"pending": 4}, 1)
    desk.declare("WiderReadings")
    catalogue = discover_streams()
    with opened_instance(desk.settings) as instance:
        job = build_definitions(desk.settings, streams=catalogue).resolve_job_def(REPLAY_QUARANTINE_JOB)
        config = {"ops": {"replay_pending_rows": {"config": {"streams": ["meter"], "first": str(DAY)}}}}
        result = job.execute_in_process(run_config=config, instance=instance)
    assert result.success
    assert desk.states() == {"b": "replayed", "c": "pending", "d": "replayed", "e": "replayed"}
    assert len(desk.table()) == 4
    statuses = partition_statuses(desk.settings, STREAM)
    assert statuses["warehouse"] == statuses["staged"] == {str(DAY): MATERIALIZED}
    assert desk.quarantine("replay", STREAM, "--rule", LOW)["rows"] == 0


WRONG = {
    ("waive", STREAM): "--reason is missing",
    ("waive", "--reason", "x"): "no stream and no --row is named",
    ("discard", "--row", "nope", *ANN): "row nope is not in the quarantine",
    ("show", "nope"): "row nope is not in the quarantine",
    ("list", "--state", "lost"): "--state 'lost' is no state",
    ("list", "--from", "soon"): "--from 'soon' is not a day",
    ("purge", "--older-than", "old"): "--older-than 'old' is no age",
    ("purge", "--older-than", "1d", "--pending"): "--reason is missing",
    ("export", "shop"): "rows of one stream at a time",
    ("import", "meter", "no/such.csv", *ANN): "cannot be read: No such file",
}


def test_wrong_usage_is_one_line_and_changes_nothing(desk: Desk, etl: Etl) -> None:
    before = select(desk.settings.warehouse_path, "SELECT * FROM etl.quarantine ORDER BY ALL")
    for arguments, said in WRONG.items():
        done = etl("quarantine", *arguments)
        assert (done.exit_code, len(done.err.splitlines())) == (2, 1)
        assert said in done.err
    assert select(desk.settings.warehouse_path, "SELECT * FROM etl.quarantine ORDER BY ALL") == before


def test_without_a_warehouse(use: Use, etl: Etl) -> None:
    use()
    assert (etl("quarantine", "list").out, etl("quarantine", "replay").out) == (
        "no rows\n",
        "replay: no rows\n",
    )
    assert "there is no quarantine yet" in etl("quarantine", "show", "x").err
