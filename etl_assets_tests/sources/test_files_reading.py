"""Which files are read, and when: missing, unfinished, several, elsewhere, and very long ones."""

from __future__ import annotations

import hashlib
import os
import socket
import subprocess
import sys
from datetime import datetime, timedelta
from pathlib import Path

import fsspec
import pytest

from etl_assets.failures import ConfigurationError, FailureClass, SourceError
from etl_assets.streams.base import Files
from etl_assets_tests.sources.folders_of_files import (
    CONTENT,
    DAY,
    RECORDS,
    SOON,
    files,
    open_folder,
    read,
    records_of,
)

LATE = SOON + timedelta(hours=1)
NAME = "fx_2025-01-31.csv"


def deliver(folder: Path, name: str = NAME, content: bytes = CONTENT, *, at: datetime | None = None) -> Path:
    """Put a file into a folder, last written to at a certain time."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    if at is not None:
        os.utime(path, (at.timestamp(), at.timestamp()))
    return path


@pytest.mark.parametrize(
    ("now", "expected"), [(SOON, FailureClass.TRANSIENT), (LATE, FailureClass.PERMANENT)]
)
@pytest.mark.parametrize("marker", [None, "fx_{day}.done"])
def test_a_missing_file_is_waited_for_until_its_deadline(
    tmp_path: Path, now: datetime, expected: FailureClass, marker: str | None
) -> None:
    if marker is not None:
        deliver(tmp_path)
    with pytest.raises(SourceError, match=r"finance: fx_2025-01-31\.(csv|done) is not there") as caught:
        read(tmp_path, files(marker=marker), now=now)
    assert caught.value.failure_class is expected
    assert not caught.value.affects_all


@pytest.mark.parametrize(
    ("now", "expected"), [(SOON, FailureClass.TRANSIENT), (LATE, FailureClass.PERMANENT)]
)
def test_a_broken_file_may_be_replaced_until_its_deadline(
    tmp_path: Path, now: datetime, expected: FailureClass
) -> None:
    deliver(tmp_path, content=CONTENT + b'"cut')
    with pytest.raises(SourceError, match="cannot be used") as caught:
        read(tmp_path, files(), now=now)
    assert caught.value.failure_class is expected


def test_a_missing_folder_stops_every_day(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match=r"folder is not there .*ETL_FINANCE_URL") as caught:
        read(tmp_path / "not-mounted", files(), now=LATE)
    assert caught.value.affects_all
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_a_file_is_read_once_it_has_been_left_alone(tmp_path: Path) -> None:
    deliver(tmp_path, at=SOON)
    declared = files(settle=timedelta(seconds=60))
    with pytest.raises(SourceError, match="written to 59 s ago") as caught:
        read(tmp_path, declared, now=SOON + timedelta(seconds=59))
    assert caught.value.failure_class is FailureClass.TRANSIENT
    pages = read(tmp_path, declared, now=SOON + timedelta(seconds=60))
    assert records_of(pages, declared) == RECORDS


def test_one_unfinished_file_of_several_holds_the_day_back(tmp_path: Path) -> None:
    deliver(tmp_path, "a_2025-01-31.csv", at=SOON - timedelta(hours=1))
    deliver(tmp_path, "b_2025-01-31.csv", at=SOON)
    with pytest.raises(SourceError, match=r"b_2025-01-31\.csv was written to"):
        read(tmp_path, files("*_{day}.csv", settle=timedelta(seconds=60)), now=SOON)


def test_a_file_from_a_clock_ahead_of_ours_is_looked_at_twice(tmp_path: Path) -> None:
    deliver(tmp_path, at=SOON + timedelta(days=365))
    declared = files(settle=timedelta(milliseconds=20))
    assert records_of(read(tmp_path, declared, now=SOON), declared) == RECORDS


def test_with_a_marker_the_files_age_does_not_matter(tmp_path: Path) -> None:
    deliver(tmp_path, at=SOON)
    deliver(tmp_path, "fx_2025-01-31.csv.done", b"")
    declared = files("fx_{day}.csv*", marker="fx_{day}.csv.done", settle=timedelta(hours=1))
    assert records_of(read(tmp_path, declared, now=SOON), declared) == RECORDS


@pytest.mark.parametrize("change", ["grown", "replaced", "gone"])
def test_a_file_that_changes_while_it_is_read_is_not_kept(tmp_path: Path, change: str) -> None:
    path = deliver(tmp_path, at=SOON - timedelta(hours=1))
    with open_folder(tmp_path, now=SOON, page_bytes=40) as reader:
        pages = reader.pages(files(), DAY)
        next(pages)
        if change == "grown":
            with path.open("ab") as file:
                file.write(b"2025-01-31,CHF,0.94\n")
        elif change == "replaced":
            deliver(tmp_path, at=SOON)
        else:
            path.unlink()
        with pytest.raises(SourceError, match="was changed while it was read") as caught:
            list(pages)
    assert caught.value.failure_class is FailureClass.TRANSIENT


def test_several_files_of_a_day_are_read_in_order_each_with_its_own_header(tmp_path: Path) -> None:
    deliver(tmp_path, "eu/fx_2025-01-31_b.csv", b"rate,currency,day\n2,GBP,2025-01-31")
    deliver(tmp_path, "eu/fx_2025-01-31_a.csv", b"\xef\xbb\xbfday,currency,rate\n2025-01-31,USD,1\n")
    deliver(tmp_path, "eu/fx_2025-01-31_c.csv", b"day,currency,rate\n")
    deliver(tmp_path, "eu/fx_2025-01-30_a.csv")
    declared = files("eu/fx_{day}_*.csv")
    pages = read(tmp_path, declared, now=SOON)
    assert list(dict.fromkeys(page.label for page in pages)) == [
        f"eu/fx_2025-01-31_{letter}.csv" for letter in "abc"
    ]
    assert records_of(pages, declared) == [
        {"day": "2025-01-31", "currency": "USD", "rate": "1"},
        {"day": "2025-01-31", "currency": "GBP", "rate": "2"},
    ]


def test_several_parquet_files_are_told_apart(tmp_path: Path) -> None:
    pa, pq = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    for number in range(2):
        pq.write_table(pa.table({"number": [number] * 3}), tmp_path / f"fx_2025-01-31_{number}.parquet")
    declared = files("fx_{day}_*.parquet", format="parquet")
    found = records_of(read(tmp_path, declared, now=SOON, page_bytes=64), declared)
    assert [record["number"] for record in found] == [0, 0, 0, 1, 1, 1]


def test_a_folder_whose_name_looks_like_a_pattern(tmp_path: Path) -> None:
    deliver(tmp_path / "drops[1]*")
    declared = files("fx_{day}*.csv")
    assert records_of(read(tmp_path / "drops[1]*", declared, now=SOON), declared) == RECORDS


def test_addresses_of_fsspec_work_like_paths() -> None:
    memory = fsspec.filesystem("memory")
    memory.pipe_file(f"/drops/{NAME}", CONTENT)
    try:
        for declared in (files(), files("fx_{day}*.csv")):
            assert records_of(read("memory://drops", declared), declared) == RECORDS
        with pytest.raises(SourceError, match="is not there yet"):
            read("memory://elsewhere", files(), now=SOON)
    finally:
        memory.rm("/drops", recursive=True)


def test_a_file_address_works_like_a_path(tmp_path: Path) -> None:
    deliver(tmp_path)
    assert records_of(read(f"file://{tmp_path}", files(), now=SOON), files()) == RECORDS


def test_files_are_left_as_they_are(tmp_path: Path) -> None:
    path = deliver(tmp_path)
    path.chmod(0o400)
    before = {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    digest = hashlib.sha256(path.read_bytes()).digest()
    read(tmp_path, files(), now=SOON)
    after = {entry.name: (entry.stat().st_mtime_ns, entry.stat().st_mode) for entry in os.scandir(tmp_path)}
    assert before == after
    assert hashlib.sha256(path.read_bytes()).digest() == digest


@pytest.mark.parametrize(
    "path",
    ["../{day}.csv", "a/../../{day}.csv", "/etc/{day}", "~/{day}", "s3://b/{day}", "a//{day}", "..\\{day}"],
)
def test_a_path_cannot_leave_the_folder(path: str) -> None:
    with pytest.raises(ConfigurationError, match="could leave the source's folder"):
        files(path)


def test_a_link_cannot_lead_out_of_the_folder(tmp_path: Path) -> None:
    outside = deliver(tmp_path / "elsewhere")
    (tmp_path / "drops").mkdir()
    (tmp_path / "drops" / NAME).symlink_to(outside)
    with pytest.raises(SourceError, match="leads out of the folder") as caught:
        read(tmp_path / "drops", files(), now=SOON)
    assert caught.value.failure_class is FailureClass.PERMANENT


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"path": "rates.csv"}, "several days the same files"),
        ({"path": "rates_{day:%Y-%m}.csv"}, "several days the same files"),
        ({"path": "rates_{day:%m-%d}.csv"}, "several days the same files"),
        ({"path": "{date}.csv"}, "no template"),
        ({"path": "{day}.csv", "marker": "done"}, "several days the same files"),
        ({"path": "{day}.csv", "header": False}, "need columns"),
        ({"path": "{day}.csv", "delimiter": "||"}, "one character"),
        ({"path": "{day}.csv", "encoding": "utf-9"}, "unknown encoding"),
        ({"path": "{day}.csv", "settle": timedelta(-1)}, "must not be negative"),
    ],
)
def test_declarations_that_make_no_sense(declared: dict[str, object], message: str) -> None:
    with pytest.raises(ConfigurationError, match=message):
        Files(format="csv", **declared)  # type: ignore[arg-type]


MEASURE = """
import resource, sys
from datetime import timedelta
from etl_assets_tests.sources.folders_of_files import DAY, files, open_folder
from etl_assets.landing.store import Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.sources.decode import decode
from pathlib import Path
folder = Path(sys.argv[1])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
declared = files("day_{day}.csv")
landing, window = Landing(folder / "landing"), declared.window_of(DAY)
with (
    open_folder(folder) as reader,
    LandingWriter(landing, "finance/fx_rates", DAY, run_id="r", window=window) as writer,
):
    for page in reader.pages(declared, DAY):
        writer.add(page.body, page.records)
    landed = writer.finish()
count = sum(len(batch) for batch in decode(landed.pages(), declared))
after = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
print(count, landed.records, (after - before) // 1024)
"""


@pytest.mark.parametrize("lines", [1_000_000, pytest.param(5_000_000, marks=pytest.mark.slow)])
def test_a_long_file_is_read_in_little_memory(tmp_path: Path, lines: int) -> None:
    with (tmp_path / f"day_{DAY}.csv").open("w") as file:
        file.write("number,name,note\n")
        for start in range(0, lines, 10_000):
            file.writelines(
                f'{number},"item, {number}",a note of middling length that says nothing at all\n'
                for number in range(start, start + 10_000)
            )
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        capture_output=True,
        text=True,
        check=True,
        timeout=300,
    )
    decoded, counted, mebibytes = map(int, done.stdout.splitlines()[-1].split())
    assert decoded == counted == lines
    assert mebibytes < 100


def test_a_host_that_cannot_be_reached_is_a_failure_of_its_days() -> None:
    """Some file systems connect as soon as they are made; opening the source must not fail for it."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        address = f"ftp://reader:pa55-w0rd@127.0.0.1:{probe.getsockname()[1]}/drops"
    with open_folder(address) as reader, pytest.raises(SourceError, match="cannot be reached") as caught:
        list(reader.pages(files(), DAY))
    assert caught.value.failure_class is FailureClass.TRANSIENT
    assert caught.value.affects_all
    assert "pa55" not in str(caught.value)
