"""The benchmarks measure what they say, and refuse to report work that was not done.

What belongs here: measuring and writing down. What does not: the figures, which no test holds.
"""

from __future__ import annotations

import json
import re
import sys
from datetime import date, timedelta
from pathlib import Path

import duckdb
import pytest
import typer
from typer.testing import CliRunner

from benchmarks import __main__ as benchmarks
from benchmarks import large_tables, without_quality
from benchmarks.bench import Bench, Result
from benchmarks.cases import CASES, ONLY_BY_NAME
from benchmarks.cases.large_tables import compared
from benchmarks.cases.processes import shared_out
from benchmarks.measure import BenchmarkError, Measurement, measure, measure_together, medians
from benchmarks.peers.environment import (
    HOW_TO_GET_THEM,
    PACKAGES,
    PROGRAMS,
    find_peers,
    rows_of_dlt,
    rows_of_plain_dagster,
)
from benchmarks.readme import with_figures
from benchmarks.report import as_markdown, describe_setting, write_results
from benchmarks.targets import TARGETS, judge
from benchmarks.workload import (
    ROOT,
    Days,
    backfill,
    backfill_at_once,
    clean_environment,
    find_days,
    open_days,
    read_all,
    rows_of,
    settings_of,
)
from etl_assets.demo.server import spawn_source

DAYS = Days(
    "generated days", date(2024, 1, 1), date(2024, 1, 2), "2024-02-01T00:00:00Z", None, date(2024, 1, 1)
)
FIGURES = {
    "wall_seconds": 2.0,
    "cpu_seconds": 1.5,
    "peak_mib": 100.0,
    "all_mib": 130.0,
    "extracted": 1000,
    "rows_per_second": 500.0,
}


def python(code: str) -> Measurement:
    return measure([sys.executable, "-c", code], clean_environment())


def holding(mib: int) -> str:
    return f"import os, time; kept = bytearray({mib} * 2**20); kept[::4096] = b'x' * len(kept[::4096])"


def test_memory_is_that_of_the_process_and_not_of_the_measuring_one() -> None:
    held = bytearray(400 * 2**20)
    held[::4096] = b"x" * len(held[::4096])
    assert 100 < python(holding(100)).peak_mib < 150


def test_time_is_that_of_the_process() -> None:
    idle, busy = python("import time; time.sleep(0.3)"), python("sum(range(30_000_000))")
    assert idle.wall > 0.3
    assert busy.cpu > idle.cpu


def test_time_of_helpers_counts_also_when_they_outlive_the_process() -> None:
    """The workers that stage are children of a server process, which nobody waits for."""
    busy = "sum(range(30_000_000))"
    started = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {busy!r}])"
    assert python(started).cpu > 0.7 * python(busy).cpu


def test_memory_of_several_processes_is_added_up_and_what_they_print_is_kept() -> None:
    codes = [f"{holding(100)}; time.sleep(1.5); print({number})" for number in (1, 2)]
    run = measure_together([[sys.executable, "-c", code] for code in codes], clean_environment())
    assert run.output.split() == ["1", "2"]
    assert 100 < run.peak_mib < 150
    assert 200 < run.all_mib < 250
    assert run.wall > 1.5


def test_memory_that_processes_share_counts_once() -> None:
    run = python(f"{holding(200)}; child = os.fork(); time.sleep(1.2); child and os.wait()")
    assert 200 < run.all_mib < 300


def test_one_of_several_processes_that_fails_spoils_the_figures() -> None:
    commands = [[sys.executable, "-c", code] for code in ("pass", "import sys; sys.exit('no luck')")]
    with pytest.raises(BenchmarkError, match=r"ended with 1: no luck"):
        measure_together(commands, clean_environment())


def test_a_process_that_fails_has_no_figures() -> None:
    with pytest.raises(BenchmarkError, match=r"ended with 3: .*out of luck"):
        python("import sys; print('out of luck', file=sys.stderr); sys.exit(3)")


def test_the_users_settings_are_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ETL_DATA_DIR", "elsewhere")
    monkeypatch.setenv("DAGSTER_HOME", "elsewhere")
    monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", "1")
    left = {"ETL_DATA_DIR", "DAGSTER_HOME", "PYTHONDONTWRITEBYTECODE"} & set(clean_environment())
    assert left == set()
    assert clean_environment(ETL_DATA_DIR="here")["ETL_DATA_DIR"] == "here"


def test_medians_are_taken_for_each_figure() -> None:
    runs = [
        Measurement(wall, cpu, 10 * wall, "", 20 * wall) for wall, cpu in ((1.0, 9.0), (3.0, 7.0), (2.0, 8.0))
    ]
    assert medians(runs) == {"wall_seconds": 2.0, "cpu_seconds": 8.0, "peak_mib": 20.0, "all_mib": 40.0}


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


@pytest.mark.parametrize("output", ["hello", "", '{"streams": [{}]}', "[]"])
def test_output_of_something_else_is_refused(output: str) -> None:
    with pytest.raises(BenchmarkError, match="did not print its result"):
        rows_of(Measurement(1.0, 1.0, 1.0, output))


def test_rows_of_commands_and_streams_are_added_up() -> None:
    stream = {"rows": {"extracted": 5, "loaded": 4, "unchanged": 0, "quarantined": 1, "warned": 9}}
    output = json.dumps({"streams": [stream, stream]}, indent=2) + "\n" + json.dumps({"streams": [stream]})
    found = rows_of(Measurement(1.0, 1.0, 1.0, output))
    assert found == {"extracted": 15, "loaded": 12, "unchanged": 0, "quarantined": 3}


@pytest.mark.slow
def test_days_are_shared_out_among_commands_that_load_into_one_warehouse(tmp_path: Path) -> None:
    spans = shared_out(DAYS.first, DAYS.count, parts=2)
    with spawn_source(lines_per_day=50, now=DAYS.now) as source:
        run = backfill_at_once(source, tmp_path, "shop/order_lines", spans)
    assert rows_of(run)["extracted"] == 100
    with duckdb.connect(tmp_path / "warehouse.duckdb", read_only=True) as warehouse:
        loaded = warehouse.execute("SELECT DISTINCT partition FROM etl.loads ORDER BY 1").fetchall()
    assert loaded == [(DAYS.first,), (DAYS.last,)]


@pytest.mark.parametrize("count", [4, 31, 374])
def test_days_are_shared_out_whole_and_evenly(count: int) -> None:
    spans = shared_out(DAYS.first, count)
    days = [
        first + timedelta(days=number) for first, last in spans for number in range((last - first).days + 1)
    ]
    assert days == [DAYS.first + timedelta(days=number) for number in range(count)]
    sizes = [(last - first).days for first, last in spans]
    assert max(sizes) - min(sizes) <= 1


def test_all_pages_are_read() -> None:
    with spawn_source(lines_per_day=6_000, now=DAYS.now) as source:
        size = read_all(source, DAYS)
        counted = source.control.stats()["requests"]["/v1/order-lines"]
    assert counted == {"200": 2}, "12,000 lines are two pages"
    assert size > 12_000 * 100


def test_single_days_are_taken_when_the_shop_is_open() -> None:
    days = Days("", date(2010, 12, 31), date(2011, 1, 9), "", None, date(2011, 1, 2))
    assert open_days(days, 3) == [date(2010, 12, 31), date(2011, 1, 2), date(2011, 1, 3)]


def test_a_quick_measurement_takes_a_month(tmp_path: Path) -> None:
    whole, quick = (find_days(tmp_path / name, quick=name == "quick") for name in ("whole", "quick"))
    assert (quick.count, quick.first) == (31, whole.first)
    assert whole.count > 360
    assert quick.first <= quick.busy_day <= quick.last


def test_results_are_written_for_people_and_machines(tmp_path: Path) -> None:
    results = [
        Result("order_lines", "Two days", dict(FIGURES), [1.5, 2.0, 2.5]),
        Result(
            "order_lines_again",
            "Again",
            {**FIGURES, "share_of_first_load": 0.25},
            [2.0],
            "0.25 of the first load's time",
        ),
        Result(
            "imports",
            "Ours against theirs",
            {
                "dagster_seconds": 0.5,
                "definitions_seconds": 1.25,
                "added_seconds": 0.75,
                "times_dagster": 2.5,
            },
            compared="1.25 s against 0.50 s",
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
    assert "| Two days | 2.0 (1.5 to 2.5) | 1.5 | 100 | 130 | 1,000 | 500 |  |" in text
    assert "| 1,000 | 500 | 0.25 of the first load's time |" in text
    assert "- Ours against theirs: 1.25 s against 0.50 s.\n" in text
    assert "| Again, nothing changed, in half the time of the first | 0.25 | met |" in text
    assert {target["met"] for target in found["targets"]} == {True}
    assert HOW_TO_GET_THEM in text


def test_the_readme_takes_over_the_rows_that_a_reader_wants() -> None:
    readme = "# It\n\n| a |\n\n## Speed\n\nFrom there.\n\n| case |\n| --- |\n| old |\n\nMore.\n\n## Then\n\n| b |\n"
    results = [
        Result("order_lines_again", "Again", FIGURES, [2.0], "half"),
        Result("orders", "Orders", FIGURES, [2.0]),
        Result("order_lines", "A year", FIGURES, [2.0]),
    ]
    changed = with_figures(readme, results)
    page = as_markdown(describe_setting(DAYS, 1), results).splitlines()
    rows = [line for line in changed.splitlines() if line.startswith(("| A", "| O", "| old"))]
    assert [row.split(" | ")[0] for row in rows] == ["| A year", "| Again"]
    assert set(rows) <= set(page)
    beginning, end = readme.index("| case"), readme.index("\nMore.")
    assert changed.startswith(readme[:beginning])
    assert changed.endswith(readme[end:])
    with pytest.raises(BenchmarkError, match="no table"):
        with_figures("# It\n\n| a |\n", results)


def test_a_quick_measurement_decides_no_target(tmp_path: Path) -> None:
    results = [Result("order_lines_again", "Again", {**FIGURES, "share_of_first_load": 0.25}, [2.0])]
    as_json, page = write_results(tmp_path, "quick", describe_setting(DAYS, 1, is_quick=True), results)
    assert json.loads(as_json.read_text(encoding="utf-8"))["targets"] == []
    assert "| target |" not in page.read_text(encoding="utf-8")


def results_at(factor: float) -> list[Result]:
    """Give a result for each target whose figure is so many times its bound."""
    return [
        Result(
            target.case,
            "",
            {other.figure: factor * other.bound for other in TARGETS if other.case == target.case},
        )
        for target in TARGETS
    ]


def test_a_target_is_met_on_its_own_side_of_the_bound() -> None:
    more_is_better = {"plain_dagster_to_ours", "throughput_to_one"}
    above = {verdict.target.figure for verdict in judge(results_at(1.01)) if verdict.is_met}
    below = {verdict.target.figure for verdict in judge(results_at(0.99)) if verdict.is_met}
    assert above == more_is_better
    assert below == {target.figure for target in TARGETS} - more_is_better
    assert all(verdict.is_met for verdict in judge(results_at(1.0)))


def test_a_target_that_was_not_measured_is_neither_met_nor_missed() -> None:
    whole = [
        result
        for result in results_at(2.0)
        if result.name not in ("order_lines_dlt", "large_load_shop/orders")
    ]
    told = {verdict.target.case: verdict.told for verdict in judge(whole)}
    assert told["order_lines_dlt"] == "not measured |"
    assert told["large_load_shop/orders"] == "measured apart: [large_tables.md](large_tables.md) |"
    assert told["status"] == "2.00 s | not met"
    assert [verdict.target.case for verdict in judge(results_at(2.0)[:1])] == [TARGETS[0].case]


def test_without_peers_one_line_says_how_to_get_them(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert benchmarks.peers_or_note(tmp_path) is None
    assert capsys.readouterr().err == f"note: {HOW_TO_GET_THEM}\n"


def test_peers_that_are_not_all_there_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """An environment whose installation was broken off."""
    python = tmp_path / "bin" / "python"
    python.parent.mkdir()
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n', encoding="utf-8")
    python.chmod(0o755)
    with pytest.raises(SystemExit) as ended:
        benchmarks.peers_or_note(tmp_path)
    assert ended.value.code == 1
    said = capsys.readouterr().err
    assert re.fullmatch(r"error: the peers in .* cannot be used: .*dlt\n", said)


def test_peers_are_pinned_and_share_what_both_use() -> None:
    lines = (PROGRAMS / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned = {
        re.sub(r"\[.*", "", name): held for name, _, held in (line.partition("==") for line in lines) if held
    }
    assert set(pinned) == set(PACKAGES)
    ours = dict(
        line.split("==") for line in (ROOT / "constraints.txt").read_text().splitlines() if "==" in line
    )
    assert {name: pinned[name] for name in ("dagster", "duckdb")} == {
        name: ours[name] for name in ("dagster", "duckdb")
    }


def test_what_dlt_printed_is_its_rows() -> None:
    assert rows_of_dlt(Measurement(1.0, 1.0, 1.0, 'a note\n{"rows": 12}\n')) == 12
    with pytest.raises(BenchmarkError, match="did not print its rows"):
        rows_of_dlt(Measurement(1.0, 1.0, 1.0, "a note\n"))


def test_ticks_are_measured_when_nothing_is_new(tmp_path: Path) -> None:
    with spawn_source(lines_per_day=20, now=DAYS.now) as source:
        environment = clean_environment(**settings_of(source, tmp_path, DAYS.first))
        run = measure([sys.executable, "-m", "benchmarks.sensor_ticks"], environment, ROOT)
    ticks = json.loads(run.output)
    assert set(ticks) == {"alerts", "marts"}
    assert all(0 < seconds < run.wall for seconds in ticks.values())


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(set(CASES) - ONLY_BY_NAME))
def test_every_case_gives_results_that_can_be_shown(name: str, tmp_path: Path) -> None:
    """Two generated days instead of a year, and with the peers where they are installed."""
    days = Days("generated days", date(2024, 1, 3), date(2024, 1, 4), DAYS.now, None, date(2024, 1, 3))
    bench = Bench(days=days, scratch=tmp_path, runs=1, quick=True, peers=find_peers())
    results = CASES[name](bench)
    assert results
    page = as_markdown(describe_setting(days, 1, bench.peers, is_quick=True), results)
    assert all(result.what in page for result in results)


@pytest.mark.slow
def test_peers_load_what_we_do(tmp_path: Path) -> None:
    peers = find_peers()
    if peers is None:
        pytest.skip(HOW_TO_GET_THEM)
    with spawn_source(lines_per_day=200, now=DAYS.now) as source:
        by_dlt = peers.load_by_dlt(source, tmp_path / "dlt", DAYS.first, DAYS.last)
        for day in (DAYS.first, DAYS.last):
            peers.load_by_plain_dagster(source, tmp_path / "dagster", DAYS.first, day)
    assert rows_of_dlt(by_dlt) == 400
    assert [rows_of_plain_dagster(tmp_path / "dagster", day) for day in (DAYS.first, DAYS.last)] == [200, 200]


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
    figures = compared("commit", {1_000_000: 0.2, 10_000_000: 0.3, 100_000_000: 0.25})
    page = as_markdown(describe_setting(DAYS, 1), [Result("large_merge", "A day", figures)])
    assert "| part | 1,000,000 | 10,000,000 | 100,000,000 | times |" in page
    assert "| A day | commit | 0.20 | 0.30 | 0.25 | 1.25 |" in page


@pytest.mark.parametrize(
    ("cases", "page"),
    [([], "latest"), (["large-tables"], "large_tables"), (["orders"], ""), (["large-tables", "orders"], "")],
)
def test_what_is_written_down_is_what_was_measured_whole(cases: list[str], page: str) -> None:
    assert benchmarks.page_of(cases, quick=False) == page
