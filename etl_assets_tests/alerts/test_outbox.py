"""The outbox: whole or not at all, for several processes, and plain about what is wrong with its file."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from etl_assets.alerts.conditions import BAD_DAYS, Kind, Report, Severity
from etl_assets.alerts.outbox import Outbox, OutboxError
from etl_assets.alerts.problems import problems_in, with_conditions, write_down
from etl_assets.cli.main import run
from etl_assets_tests.alerts.desk import NOON, failed_day, open_desk


def test_conditions_and_cursor_are_written_together_or_not_at_all(tmp_path: Path) -> None:
    with Outbox(tmp_path / "alerts.db", at=NOON) as outbox:
        good, bad = failed_day("2025-01-01"), failed_day("2025-01-02", details={"n": object()})
        with pytest.raises(TypeError):
            write_down(outbox, "desk", Report(conditions=[good, bad], cursor="9"), NOON)
        assert outbox.cursor("desk") == ""
        assert problems_in(outbox, "open") == []
        write_down(outbox, "desk", Report(conditions=[good], cursor="9"), NOON)
        assert outbox.cursor("desk") == "9"


def test_another_process_sees_what_was_written_down(tmp_path: Path) -> None:
    path = tmp_path / "alerts.db"
    with Outbox(path, at=NOON) as one, Outbox(path) as other:
        write_down(one, "desk", Report(conditions=[failed_day("2025-01-01")]), NOON)
        write_down(other, "desk", Report(conditions=[failed_day("2025-01-02")]), NOON)
        [problem] = problems_in(one, "open")
        assert [each.key for each in with_conditions(one, problem).occurrences] == [
            "2025-01-01",
            "2025-01-02",
        ]
        assert other.begun_at() == NOON


def test_a_day_that_fails_again_after_it_was_over_is_a_new_problem(tmp_path: Path) -> None:
    with Outbox(tmp_path / "alerts.db", at=NOON) as outbox:
        for number in range(3):
            condition = failed_day("2025-01-01", ref=f"run {number}")
            write_down(outbox, "desk", Report(conditions=[condition], complete=BAD_DAYS), NOON)
            write_down(outbox, "desk", Report(complete=BAD_DAYS), NOON)
        assert len(problems_in(outbox, "closed")) == 3


def test_only_the_named_kinds_are_complete(tmp_path: Path) -> None:
    with Outbox(tmp_path / "alerts.db", at=NOON) as outbox:
        run = failed_day("run-1", "job nightly", kind=Kind.RUN_FAILED)
        write_down(outbox, "desk", Report(conditions=[run, failed_day("2025-01-01")]), NOON)
        write_down(outbox, "desk", Report(complete=BAD_DAYS), NOON)
        assert [problem.kind for problem in problems_in(outbox, "open")] == [Kind.RUN_FAILED]


@pytest.mark.parametrize("checked_first", [True, False], ids=["check seen first", "day seen first"])
def test_a_withheld_day_tells_of_the_audit_that_withheld_it(tmp_path: Path, checked_first: bool) -> None:
    """An audit that only warns is told by itself, and so is one of a day that was published all the same."""
    withheld = failed_day("2025-01-01", kind=Kind.PARTITION_WITHHELD)
    checks = [
        failed_day(
            f"null_share of warehouse {day}",
            kind=Kind.CHECK_FAILED,
            severity=severity,
            ref=f"{severity} {day}",
        )
        for day, severity in (
            ("2025-01-01", Severity.ERROR),
            ("2025-01-01", Severity.WARNING),
            ("2025-01-02", Severity.ERROR),
        )
    ]
    checks[1] = replace(checks[1], key="volume of warehouse 2025-01-01")
    reports = [Report(conditions=[withheld], complete=BAD_DAYS), Report(conditions=checks)]
    with Outbox(tmp_path / "alerts.db", at=NOON) as outbox:
        for number, report in enumerate(reversed(reports) if checked_first else reports):
            write_down(outbox, f"watcher {number}", report, NOON)
        told = {
            occurrence.key
            for problem in problems_in(outbox, "open")
            for occurrence in with_conditions(outbox, problem).occurrences
        }
    assert told == {"2025-01-01", "volume of warehouse 2025-01-01", "null_share of warehouse 2025-01-02"}


def test_what_is_long_over_is_forgotten_and_what_lasts_is_not(tmp_path: Path) -> None:
    with open_desk(tmp_path, {"ETL_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/x"}) as desk:
        desk.wrong = [failed_day("2025-01-01"), failed_day("2025-01-02", error="another")]
        desk.tick()
        desk.wrong = desk.wrong[:1]
        desk.tick(10)
        desk.tick(40 * 86_400)
        assert [problem.state for problem in problems_in(desk.outbox, "open", "closed", "settled")] == [
            "open"
        ]
        assert desk.tick(86_400).new == 0, "what lasts is not counted again"
        assert desk.outbox.begun_at() == NOON


def test_a_damaged_file_is_said_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "state" / "alerts.db"
    path.parent.mkdir()
    path.write_bytes(b"this is no database, and long enough to be looked at" * 100)
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path))
    assert run(["alerts", "list"]) == 1
    said = capsys.readouterr().err
    assert said == (
        f"error: the outbox {path} cannot be used: file is not a database (move it away; alerts then begin anew)\n"
    )


def test_a_file_of_a_newer_version(tmp_path: Path) -> None:
    with Outbox(tmp_path / "alerts.db") as outbox:
        outbox.run("PRAGMA user_version = 99")
    with pytest.raises(OutboxError, match="was written by a newer version of this code"):
        Outbox(tmp_path / "alerts.db")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_folder_that_cannot_be_written(tmp_path: Path) -> None:
    (tmp_path / "state").mkdir(mode=0o500)
    with pytest.raises(OutboxError, match="cannot be used"):
        Outbox(tmp_path / "state" / "alerts.db")


def test_a_watcher_that_cannot_look_stops_no_other_and_is_told_of_in_time(tmp_path: Path) -> None:
    from etl_assets.alerts.engine import Scene, Watcher, tick
    from etl_assets_tests.alerts.desk import Recorder

    def broken(scene: Scene) -> Report:
        raise RuntimeError("no such table: 'secret'")

    told = Recorder()
    with open_desk(tmp_path, {"ETL_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/x"}) as desk:
        good = Watcher("good", lambda scene: Report(conditions=[failed_day("2025-01-01")], complete=BAD_DAYS))
        for _ in range(10):
            done = tick(desk.scene(), [Watcher("broken", broken), good], open_with=told.opener())
            assert set(done.failed) == {"broken"}
            desk.now += timedelta(minutes=3)
        assert told.titles == ["shop/orders 2025-01-01 failed to load", "alerts (broken) stopped"]
        assert told.notices[1].error.startswith("RuntimeError at test_outbox.py:")
        assert "secret" not in told.notices[1].error
        tick(desk.scene(), [good], open_with=told.opener())
        assert told.titles[2:] == ["alerts (broken) stopped"]
