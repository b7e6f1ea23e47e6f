"""The benchmarks measure what they say, and refuse to report work that was not done.

What belongs here: measuring and writing down. What does not: the figures, which no test holds.
"""

from __future__ import annotations

import json
import sys
from datetime import date
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as benchmarks
from benchmarks import large_tables, without_quality
from benchmarks.cases import CASES, Result
from benchmarks.measure import BenchmarkError, Measurement, measure, medians
from benchmarks.report import as_markdown, describe_setting, write_results
from benchmarks.workload import Days, backfill, clean_environment, find_days, rows_of
from etl_assets.demo.server import spawn_source

DAYS = Days(
    "generated days", date(2024, 1, 1), date(2024, 1, 2), "2024-02-01T00:00:00Z", None, date(2024, 1, 1)
)
FIGURES = {
    "wall_seconds": 2.0,
    "cpu_seconds": 1.5,
    "peak_mib": 100.0,
    "extracted": 1000,
    "rows_per_second": 500.0,
}


def python(code: str) -> Measurement:
    return measure([sys.executable, "-c", code], clean_environment())


def test_memory_is_that_of_the_process() -> None:
    """Measured from a process of its own, because Linux counts the measuring one's memory as the least."""
    large = "kept = bytearray(600 * 2**20); kept[::4096] = b'x' * len(kept[::4096])"
    measuring = (
        "import os, sys; from benchmarks.measure import measure; "
        f"print(measure([sys.executable, '-c', {large!r}], dict(os.environ)).peak_mib)"
    )
    assert 600 < float(python(measuring).output) < 700


def test_time_is_that_of_the_process() -> None:
    idle, busy = python("import time; time.sleep(0.3)"), python("sum(range(30_000_000))")
    assert idle.wall > 0.3
    assert busy.cpu > idle.cpu


def test_time_of_helpers_counts_also_when_they_outlive_the_process() -> None:
    """The workers that stage are children of a server process, which nobody waits for."""
    busy = "sum(range(30_000_000))"
    started = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    assert python(started).cpu > 0.7 * python(busy).cpu


def test_a_process_that_fails_has_no_figures() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3: .*out of luck"):
        python("import sys; print('out of luck', file=sys.stderr); sys.exit(3)")


def test_the_users_settings_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", "elsewhere")
    monkeypatch.setenv("DAGSTER_HOME", "elsewhere")
    assert not {"ETL_DATA_DIR", "DAGSTER_HOME"} & set(clean_environment())
    assert clean_environment(ETL_DATA_DIR="here")["ETL_DATA_DIR"] == "here"


def test_medians_are_taken_for_each_figure() -> None:
    runs = [Measurement(wall, cpu, 10 * wall, "") for wall, cpu in ((1.0, 9.0), (3.0, 7.0), (2.0, 8.0))]
    assert medians(runs) == {"wall_seconds": 2.0, "cpu_seconds": 8.0, "peak_mib": 20.0}


def test_a_load_is_measured_with_its_rows(tmp_path: Path) -> None:
    with spawn_source(lines_per_day=200, now=DAYS.now) as source:
        run = backfill(source, tmp_path, "shop/order_lines", DAYS.first, DAYS.last)
    rows = rows_of(run)
    assert rows["extracted"] == 400
    assert rows["loaded"] + rows["quarantined"] == 400
    assert run.peak_mib > 50


def test_what_is_not_asked_for_is_not_checked(tmp_path: Path) -> None:
    with spawn_source(lines_per_day=200, now=DAYS.now) as source:
        run = backfill(
            source, tmp_path, "shop/order_lines", DAYS.first, DAYS.last, program=without_quality.COMMAND
        )
    (result,) = json.loads(run.output)["streams"]
    assert result["rows"]["loaded"] > 0
    assert result["rows"]["warned"] == 0, "the day has lines without a customer, which is a warning elsewhere"
    with duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as warehouse:
        checked = warehouse.execute("SELECT DISTINCT check_name FROM etl.check_results").fetchall()
    assert sorted(name for (name,) in checked) == ["conservation", "contract"]


def test_output_of_something_else_is_refused() -> None:
    with pytest.raises(BenchmarkError, match="did not print its result"):
        rows_of(Measurement(1.0, 1.0, 1.0, "hello"))


def test_a_quick_measurement_takes_a_month(tmp_path: Path) -> None:
    whole, quick = (find_days(tmp_path / name, quick=name == "quick") for name in ("whole", "quick"))
    assert (quick.count, quick.first) == (31, whole.first)
    assert whole.count > 360
    assert quick.first <= quick.busy_day <= quick.last


def test_results_are_written_for_people_and_machines(tmp_path: Path) -> None:
    results = [
        Result("order_lines", "Two days", dict(FIGURES), [1.5, 2.0, 2.5]),
        Result("order_lines_again", "Again", {**FIGURES, "share_of_first_load": 0.25}, [2.0]),
        Result(
            "imports",
            "Ours against theirs",
            {
                "dagster_seconds": 0.5,
                "definitions_seconds": 1.25,
                "added_seconds": 0.75,
                "times_dagster": 2.5,
            },
        ),
    ]
    setting = describe_setting(DAYS, 3)
    as_json, page = write_results(tmp_path / "new", "latest", setting, results)
    found = json.loads(as_json.read_text(encoding="utf-8"))
    assert found["results"][1]["figures"]["share_of_first_load"] == 0.25
    assert found["machine"]["cores"] >= 1
    assert {"python", "dagster", "duckdb"} <= set(found["versions"])
    text = page.read_text(encoding="utf-8")
    assert text == as_markdown(setting, results)
    assert "| Two days | 2.0 (1.5 to 2.5) | 1.5 | 100 | 1,000 | 500 |  |" in text
    assert "0.25 of the first load's time" in text
    assert "1.25 s against 0.50 s in fresh processes, 0.75 s more (2.50 times)" in text


def test_an_unknown_case_is_refused_with_those_there_are() -> None:
    app = typer.Typer()
    app.command()(benchmarks.main)
    result = CliRunner().invoke(app, ["--case", "speed"])
    assert result.exit_code == 2
    assert all(name in result.output for name in CASES)


def test_commits_marts_and_loads_are_compared_between_tables_of_two_sizes(tmp_path: Path) -> None:
    paths = {rows: tmp_path / str(rows) / "warehouse.duckdb" for rows in (10_000, 20_000)}
    for rows, path in paths.items():
        large_tables.build(path, rows)
    for loading in large_tables.LOADINGS[:2]:
        took = large_tables.compare_commits(paths, loading, runs=1)
        assert set(took) == set(paths)
        assert all(0 < each.commit <= each.session for each in took.values())
    assert all(seconds > 0 for seconds in large_tables.compare_marts(paths, runs=1).values())
    with spawn_source(lines_per_day=200, now=DAYS.now) as source:
        loads = large_tables.compare_loads(paths, source, "shop/order_lines", [DAYS.first])
    assert all(seconds > 0 for seconds in loads.values())
    with duckdb.connect(str(paths[10_000]), read_only=True) as connection:
        (lines,) = connection.execute("SELECT count(*) FROM shop.order_lines").fetchone() or (0,)
    assert lines > 10_000 + 2 * large_tables.ROWS_PER_DAY


def test_a_comparison_is_shown_part_by_part() -> None:
    figures = {"small_commit": 0.2, "large_commit": 0.25, "commit_to_small": 1.25}
    page = as_markdown(describe_setting(DAYS, 1), [Result("large_merge", "A day", figures)])
    assert "| A day | commit | 0.20 | 0.25 | 1.25 |" in page


@pytest.mark.parametrize(
    ("cases", "page"),
    [([], "latest"), (["large-tables"], "large_tables"), (["orders"], ""), (["large-tables", "orders"], "")],
)
def test_what_is_written_down_is_what_was_measured_whole(cases: list[str], page: str) -> None:
    assert benchmarks.page_of(cases, quick=False) == page
