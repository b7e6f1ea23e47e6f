"""Small days staged together: byte for byte what each comes to by itself, and one that fails costs no other."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.failures import LandingError, TransformError
from etl_assets.landing.store import PAGES_FILE, LandedPartition
from etl_assets.pipeline.staging import CHUNK_ROWS, StagingJob, fill_staged, fill_staged_together
from etl_assets.pipeline.staging_workers import Delegated, Together, staging_workers
from etl_assets.pipeline.worker_processes import LEAST_PARTITIONS
from etl_assets.quality.personal import Pseudonymiser
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.base import Stream
from etl_assets_tests.pipeline.landings import land
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, STREAMS, line, order

LINES = replace(ORDER_LINES, row_by_row=True)
ODD_VALUES = st.sampled_from(
    [
        None,
        "",
        " ",
        0,
        -1,
        7,
        7.0,
        1.5,
        True,
        "7",
        "x",
        "1e3",
        "2.5551",
        2**64 - 1,
        [1],
        {"a": 1},
        "C536365",
        "\U0001f642",
    ]
)
TIMES = st.sampled_from(
    [
        "2025-03-10T08:26:00Z",
        "2025-03-11T00:00:00Z",
        "2025-03-12 01:02:03.5+01:00",
        "2025-02-30T00:00:00Z",
        "never",
        None,
    ]
)
FIELDS = st.sampled_from([*line(), "surplus"])
good_lines = st.builds(line, st.sampled_from(["a", "b", "c", "d"]) | st.uuids().map(str), invoiced_at=TIMES)
changed_lines = st.builds(
    lambda made, changes, dropped: {k: v for k, v in (made | changes).items() if k not in dropped},
    good_lines,
    st.dictionaries(FIELDS, ODD_VALUES, max_size=2),
    st.sets(FIELDS, max_size=1),
)
records = good_lines | good_lines | changed_lines | st.sampled_from([None, "no object", ["a", "list"]])
days_of_records = st.lists(st.lists(records, max_size=6), min_size=2, max_size=5)


def pseudonymiser_of(stream: Stream) -> Pseudonymiser:
    return Pseudonymiser(compile_contract(stream.contract), None)


def landed_days(folder: Path, days: Sequence[Sequence[Any]], stream: Stream = LINES) -> list[LandedPartition]:
    return [land(folder, [made], stream, DAY + timedelta(days=number)) for number, made in enumerate(days)]


def job(folder: Path, landed: LandedPartition) -> StagingJob:
    directory = folder / landed.day.isoformat()
    directory.mkdir(parents=True)
    return StagingJob(directory, landed.day, landed)


def files_in(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir()}


def alone(folder: Path, stream: Stream, landed: LandedPartition) -> dict[str, bytes]:
    asked = job(folder, landed)
    fill_staged(asked.directory, stream, asked.day, landed, pseudonymiser_of(stream))
    return files_in(asked.directory)


@given(days=days_of_records)
@settings(deadline=None, max_examples=40, suppress_health_check=list(HealthCheck))
def test_files_are_those_that_each_day_comes_to_alone(
    tmp_path_factory: pytest.TempPathFactory, days: list[list[Any]]
) -> None:
    folder = tmp_path_factory.mktemp("days")
    landed = landed_days(folder, days)
    jobs = [job(folder / "together", one) for one in landed]
    assert fill_staged_together(LINES, jobs, pseudonymiser_of(LINES)) == [None] * len(days)
    for one, done in zip(landed, jobs, strict=True):
        assert files_in(done.directory) == alone(folder / "alone", LINES, one)


def refusing(raw: pd.DataFrame) -> pd.DataFrame:
    """Fail for a day with a line that is marked."""
    if (raw["stock_code"] == "REFUSED").any():
        raise TransformError("not this one")
    return ORDER_LINES.transform(raw)


def test_a_day_that_fails_costs_no_other(tmp_path: Path) -> None:
    stream = replace(LINES, transform=refusing)
    landed = landed_days(
        tmp_path, [[line("a")], [line("b", stock_code="REFUSED")], [line("c")], [line("d")]], stream
    )
    (landed[3].path / PAGES_FILE).write_bytes(b"")
    jobs = [job(tmp_path / "together", one) for one in landed]
    first, second, third, fourth = fill_staged_together(stream, jobs, pseudonymiser_of(stream))
    assert (first, third) == (None, None)
    assert isinstance(second, TransformError)
    assert second.message == "not this one"
    assert isinstance(fourth, LandingError)
    for place in (0, 2):
        assert files_in(jobs[place].directory) == alone(tmp_path / "alone", stream, landed[place])


def with_median(raw: pd.DataFrame) -> pd.DataFrame:
    """Make of a row what depends on the others of its day."""
    cleaned = ORDER_LINES.transform(raw)
    return cleaned.assign(quantity=cleaned["quantity"].sum())


def test_days_are_kept_apart_unless_the_stream_says_that_rows_are_looked_at_one_by_one(
    tmp_path: Path,
) -> None:
    stream = replace(ORDER_LINES, transform=with_median, row_by_row=False)
    landed = landed_days(tmp_path, [[line("a", quantity=1)], [line("b", quantity=10)]], stream)
    jobs = [job(tmp_path / "together", one) for one in landed]
    fill_staged_together(stream, jobs, pseudonymiser_of(stream))
    for one, done in zip(landed, jobs, strict=True):
        assert files_in(done.directory) == alone(tmp_path / "alone", stream, one)


def test_large_days_are_staged_alone(tmp_path: Path) -> None:
    large, small = land(tmp_path, [[line()]]), land(tmp_path, [[line()]], day=DAY + timedelta(days=1))
    assert job(tmp_path, small).is_small
    manifest = replace(large.manifest, pages=(replace(large.manifest.pages[0], records=CHUNK_ROWS + 1),))
    assert not job(tmp_path, replace(large, manifest=manifest)).is_small


@pytest.mark.parametrize(("processes", "kind"), [(0, Together), (1, Delegated)])
def test_what_many_ask_for_at_once_comes_back_to_each(
    tmp_path: Path, processes: int, kind: type[Together]
) -> None:
    fill = staging_workers(processes, LINES, LEAST_PARTITIONS)
    assert type(fill) is kind
    days = [[line(f"{number}-{row}") for row in range(number)] for number in range(12)]
    landed = landed_days(tmp_path, days)
    broken = landed[7]
    (broken.path / PAGES_FILE).write_bytes(b"")
    jobs = [job(tmp_path / "together", one) for one in landed]

    def ask(asked: StagingJob) -> date | None:
        try:
            fill(asked.directory, LINES, asked.day, asked.landed, pseudonymiser_of(LINES))
        except LandingError:
            return asked.day
        return None

    with ThreadPoolExecutor(8) as callers:
        assert [day for day in callers.map(ask, jobs) if day] == [broken.day]
    for one, done in zip(landed, jobs, strict=True):
        if one is not broken:
            assert files_in(done.directory) == alone(tmp_path / "alone", LINES, one)


def test_orders_are_looked_at_one_by_one_as_well(tmp_path: Path) -> None:
    stream = STREAMS["shop/orders"]
    assert stream.row_by_row
    days = [
        [order("a"), order("b", total="x")],
        [],
        [order("a", updated_at="2025-03-01T00:00:00Z")],
        [order("c")],
    ]
    landed = landed_days(tmp_path, days, stream)
    jobs = [job(tmp_path / "together", one) for one in landed]
    assert fill_staged_together(stream, jobs, pseudonymiser_of(stream)) == [None] * 4
    for one, done in zip(landed, jobs, strict=True):
        assert files_in(done.directory) == alone(tmp_path / "alone", stream, one)
