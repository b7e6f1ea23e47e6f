"""Everything else through Apprise, against a real server that takes its JSON."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from etl_assets.alerts.channels.registry import open_channel
from etl_assets.failures import ConfigurationError
from etl_assets_tests.alerts.desk import failed_day, open_desk
from etl_assets_tests.sources.scripted import Reply, in_turn, scripted_server

pytest.importorskip("apprise", reason="the extra alerts-more is not installed")

RULES = """
[channels.pager]
kind = "apprise"
url = "ETL_PAGER_URL"
"""


def test_a_service_of_apprise_is_told_and_asked_again(tmp_path: Path) -> None:
    with scripted_server(in_turn(Reply(b"", status=500), Reply(b""))) as server:
        variables = {"ETL_PAGER_URL": server.url.replace("http://", "json://")}
        with open_desk(tmp_path, variables, RULES) as desk:
            desk.wrong = [failed_day("2025-01-01")]
            desk.tick()
            assert desk.tick(30).sent == 0
            assert desk.tick(30).sent == 1
            desk.wrong = []
            assert desk.tick(30).sent == 1
        bodies = [json.loads(asked.body) for asked in server.asked]
    assert [body["type"] for body in bodies] == ["failure", "failure", "success"]
    assert bodies[1]["title"] == "[error] shop/orders 2025-01-01 failed to load"
    assert "etl-assets backfill shop/orders" in bodies[1]["message"]


def test_an_address_that_apprise_does_not_know(tmp_path: Path) -> None:

    with (
        open_desk(tmp_path, {"ETL_PAGER_URL": "nonsense://s3cr3t-of-the-pager"}, RULES) as desk,
        pytest.raises(ConfigurationError) as caught,
    ):
        open_channel(desk.settings, desk.rules, "pager")
    assert str(caught.value).startswith("ETL_PAGER_URL is no address that Apprise knows")
    assert "s3cr3t" not in str(caught.value)
