"""The command that writes the report: what it says, and what it refuses in one line."""

from __future__ import annotations

import re
import threading
import webbrowser
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.cli.main import run
from etl_assets.settings import Settings
from etl_assets.warehouse.database import Warehouse
from etl_assets_tests.report.planted import DAYS, Page, plant
from etl_assets_tests.warehouse.samples import day

ENDS = ("--from", day(0).isoformat(), "--to", day(DAYS - 1).isoformat())


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory) -> Settings:
    """A data folder with planted days, which the command only reads."""
    return plant(tmp_path_factory.mktemp("planted"))


@pytest.fixture
def folder(planted: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that the command is called in; another folder is in it."""
    for name, value in planted.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data").mkdir()
    return tmp_path


def test_it_writes_a_page_and_says_where(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["report", *ENDS]) == 0
    assert re.fullmatch(r"written: report\.html \(0\.\d\d MB\)\n", capsys.readouterr().out)
    page = Page.of((folder / "report.html").read_text(encoding="utf-8"))
    assert "2025-01-01 to 2025-01-10" in page.text
    # The streams are those of the project; order lines have the planted days.
    assert page.cells["f"] == page.cells["h"] == 1
    assert "#d-shop-order_lines-2025-01-05" in page.links


def test_it_can_be_of_some_streams_and_open_itself(
    folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    opened: list[str] = []
    monkeypatch.setattr(webbrowser, "open", opened.append)
    assert run(["report", "shop/orders", "erp", *ENDS, "-o", "some.html", "--open"]) == 0
    assert opened == [(folder / "some.html").as_uri()]
    page = Page.of((folder / "some.html").read_text(encoding="utf-8"))
    assert {name for name in page.ids if name.startswith("s-")} == {"s-shop-orders", "s-erp-stock_levels"}


def test_it_waits_for_a_load_that_is_under_way(folder: Path, planted: Settings) -> None:
    held, let_go = threading.Event(), threading.Event()

    def load() -> None:
        with Warehouse(planted.warehouse_path).session("load"):
            held.set()
            let_go.wait(30)

    loading = threading.Thread(target=load)
    loading.start()
    assert held.wait(30)
    threading.Timer(0.3, let_go.set).start()
    assert run(["report", *ENDS]) == 0
    loading.join()
    assert (folder / "report.html").exists()


def tomorrow() -> str:
    """A day that is not over."""
    return (datetime.now(UTC).date() + timedelta(days=1)).isoformat()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--from", "yesterday"], "error: --from 'yesterday' is not a day (write it as YYYY-MM-DD)"),
        (["--to", "2025-02-30"], "error: --to '2025-02-30' is not a day (write it as YYYY-MM-DD)"),
        (["--from", "2025-01-03", "--to", "2025-01-02"], "error: --from 2025-01-03 is after --to 2025-01-02"),
        (["--to", "TOMORROW"], "is not over yet (the last full UTC day is"),
        (
            ["--to", "2024-01-01"],
            "error: --from 2025-01-01 is after --to 2024-01-01 (name an earlier first day)",
        ),
        (["shop/nothing"], "error: unknown stream 'shop/nothing' (known: "),
        (["-o", "nowhere/report.html"], "cannot be written: there is no folder nowhere"),
        (["-o", "data"], "error: data cannot be written: Is a directory (name another file with --output)"),
    ],
    ids=["no day", "no day of the calendar", "backward", "future", "before", "stream", "no folder", "folder"],
)
def test_what_cannot_be_done_is_one_line(
    folder: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    before = sorted(entry.name for entry in folder.iterdir())
    assert run(["report", *(tomorrow() if one == "TOMORROW" else one for one in arguments)]) == 2
    shown = capsys.readouterr()
    assert said in shown.err
    assert len(shown.err.splitlines()) == 1
    assert shown.out == ""
    assert sorted(entry.name for entry in folder.iterdir()) == before


def test_without_a_warehouse_it_says_what_to_do(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", str(tmp_path / "data"))
    assert run(["report", "-o", str(tmp_path / "report.html")]) == 1
    assert capsys.readouterr().err.endswith("yet (run `etl-assets backfill` first)\n")
    assert list(tmp_path.iterdir()) == []
