"""The page about alerts keeps its word: its file can be used, and its table names every kind."""

from __future__ import annotations

import re
from pathlib import Path

from etl_assets.alerts.conditions import USUAL_SEVERITY, Kind
from etl_assets.alerts.rules import load_rules
from etl_assets.alerts.wording import HAPPENED, steps
from etl_assets.settings import load_settings
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.alerts.desk import failed_day, open_desk, write_rules

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "alerts.md").read_text(encoding="utf-8")


def test_the_file_on_the_page_can_be_used(tmp_path: Path) -> None:
    [text] = re.findall(r"```toml\n(.*?)```", PAGE, re.DOTALL)
    rules = load_rules(load_settings({"ETL_DATA_DIR": str(tmp_path), **write_rules(tmp_path, text)}))
    rules.check_streams(discover_streams())
    assert set(rules.channels) == {"chat", "mail", "pager"}
    assert rules.secret_variables == {"ETL_SLACK_WEBHOOK_URL", "ETL_SMTP_URL", "ETL_PAGER_URL"}


def test_the_table_on_the_page_names_every_kind() -> None:
    rows = [line for line in PAGE.splitlines() if line.startswith("| `")]
    assert set(re.findall(r"`(\w+)`", " ".join(row.split("|")[1] for row in rows))) == set(Kind)


def test_every_kind_has_its_words(tmp_path: Path) -> None:
    assert set(HAPPENED) == set(USUAL_SEVERITY) == set(Kind)
    with open_desk(tmp_path, {"ETL_SLACK_WEBHOOK_URL": "http://127.0.0.1:1/x"}) as desk:
        from etl_assets.alerts.problems import problems_in, with_conditions

        desk.news = [failed_day("2025-01-01", kind=kind, subject=f"shop/{kind}") for kind in Kind]
        desk.tick()
        for problem in problems_in(desk.outbox, "open"):
            found = steps(with_conditions(desk.outbox, problem), "https://dagster.example.com")
            assert found, problem.kind
            assert all(step.text for step in found)
            assert any(step.url.startswith("https://dagster.example.com") for step in found)
