"""What is read from files of each format, whole, packed, odd and broken."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import itertools
import sys
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import ConfigurationError, SourceError
from etl_assets.sources.decode import decode
from etl_assets.streams.base import Files
from etl_assets_tests.sources.folders_of_files import (
    CONTENT,
    RECORDS,
    SOON,
    files,
    open_folder,
    read,
    records_of,
)

PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "": lambda content: content,
    ".gz": gzip.compress,
    ".bz2": bz2.compress,
    ".zst": lambda content: pa.Codec("zstd").compress(content, asbytes=True),
}


def read_content(folder: Path, content: bytes, declared: Files, **more: Any) -> list[Any]:
    (folder / declared.path_of(date(2025, 1, 31))).write_bytes(content)
    return records_of(read(folder, declared, now=SOON, **more), declared)


@pytest.mark.parametrize("ending", PACKERS)
@pytest.mark.parametrize("page_bytes", [1, 7, 1 << 20])
def test_packed_files_give_the_bytes_that_were_packed(tmp_path: Path, ending: str, page_bytes: int) -> None:
    declared = files("fx_{day:%Y-%m-%d}.csv" + ending)
    (tmp_path / f"fx_2025-01-31.csv{ending}").write_bytes(PACKERS[ending](CONTENT))
    pages = read(tmp_path, declared, page_bytes=page_bytes)
    assert b"".join(page.body for page in pages) == CONTENT
    assert records_of(pages, declared) == RECORDS


@pytest.mark.parametrize("ending", [".gz", ".zst"])
def test_files_packed_in_several_parts_are_read_to_the_end(tmp_path: Path, ending: str) -> None:
    head, tail = CONTENT[:30], CONTENT[30:]
    content = PACKERS[ending](head) + PACKERS[ending](tail)
    assert read_content(tmp_path, content, files("fx_{day}.csv" + ending)) == RECORDS


def test_a_compression_can_be_declared(tmp_path: Path) -> None:
    assert read_content(tmp_path, gzip.compress(CONTENT), files(compression="gzip")) == RECORDS


@pytest.mark.parametrize("ending", [".gz", ".bz2", ".zst"])
@pytest.mark.parametrize("damage", ["cut off", "other", "empty"])
def test_a_damaged_packed_file_is_told_and_not_read_in_part(tmp_path: Path, ending: str, damage: str) -> None:
    packed = PACKERS[ending](CONTENT * 100)
    content = {"cut off": packed[:-5], "other": CONTENT, "empty": b""}[damage]
    with pytest.raises(SourceError, match=f"finance: fx_2025-01-31.csv{ending} cannot be used"):
        read_content(tmp_path, content, files("fx_{day}.csv" + ending))


def test_a_bomb_stops_at_the_limit(tmp_path: Path) -> None:
    content = gzip.compress(b"a,b\n" + b"1,2\n" * 1_000_000)
    assert len(content) < 20_000
    with pytest.raises(SourceError, match="more than 100,000 bytes"):
        read_content(tmp_path, content, files("fx_{day}.csv.gz"), maximum_file_bytes=100_000, page_bytes=1000)


@pytest.mark.parametrize(
    ("encoding", "written"),
    [
        ("utf-8", "utf-8"),
        ("utf-8", "utf-8-sig"),
        ("latin-1", "latin-1"),
        ("cp1252", "cp1252"),
        ("utf-16", "utf-16"),
        ("utf-16-le", "utf-16-le"),
    ],
)
def test_encodings_and_byte_order_marks(tmp_path: Path, encoding: str, written: str) -> None:
    content = "näme;wert\r\nStraße;1\r\nça va;2\r\n".encode(written)
    found = read_content(tmp_path, content, files(encoding=encoding, delimiter=";"), page_bytes=3)
    assert found == [{"näme": "Straße", "wert": "1"}, {"näme": "ça va", "wert": "2"}]


@pytest.mark.parametrize(
    ("content", "records"),
    [
        (b'a,b\n1,"two\nlines"\n3,4\n', [{"a": "1", "b": "two\nlines"}, {"a": "3", "b": "4"}]),
        (b'a,b\r\n"say ""hi""",2\r\n', [{"a": 'say "hi"', "b": "2"}]),
        (b'a,b\n5" pipe,2\n3,4\n', [{"a": '5" pipe', "b": "2"}, {"a": "3", "b": "4"}]),
        (b"a,b\n1,2", [{"a": "1", "b": "2"}]),
        (b"a,b\n\n1,2\n\n", [{"a": "1", "b": "2"}]),
        (b" b , a \n2,1\n", [{"b": "2", "a": "1"}]),
        (b"a,\n1,2\n", [{"a": "1", "column_2": "2"}]),
        (b"a,b\n1\n1,2,3\n1,2\n", [["1"], ["1", "2", "3"], {"a": "1", "b": "2"}]),
        (b'a,b\n"x"y,2\n1,2\n', ['"x"y,2', {"a": "1", "b": "2"}]),
        (b"a,b\nStra\xdfe,2\n1,2\n", ["Stra\\udcdfe,2", {"a": "1", "b": "2"}]),
        (b"a,b\n", []),
    ],
)
def test_csv_as_it_comes(tmp_path: Path, content: bytes, records: list[Any]) -> None:
    for page_bytes in (1, 4, 1 << 20):
        assert read_content(tmp_path, content, files(), page_bytes=page_bytes) == records


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "empty, without even a header"),
        (b'a,b\n1,2\n3,"four\n5,6\n', "starts in line 3 has no end"),
        (b"a,b,a\n1,2,3\n", "names a more than once"),
        (b"\xff\xfe,b\n1,2\n", "header cannot be read as utf-8"),
    ],
)
def test_csv_that_cannot_be_used(tmp_path: Path, content: bytes, message: str) -> None:
    with pytest.raises(SourceError, match=message):
        read_content(tmp_path, content, files())


def test_a_field_of_a_megabyte_is_no_trouble(tmp_path: Path) -> None:
    content = b"a,b\n" + b"x" * 1_000_000 + b',"' + b"y\n" * 500_000 + b'"\n'
    (record,) = read_content(tmp_path, content, files())
    assert (len(record["a"]), len(record["b"])) == (1_000_000, 1_000_000)


def test_a_file_without_line_ends_does_not_fill_the_memory(tmp_path: Path) -> None:
    with (tmp_path / "fx_2025-01-31.csv").open("wb") as file:
        file.truncate(200 * 1024 * 1024)
    with pytest.raises(SourceError, match="line 1 is longer than"):
        read(tmp_path, files(), now=SOON)


CELLS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


@settings(max_examples=150, deadline=None)
@given(
    rows=st.integers(1, 4).flatmap(
        lambda width: st.lists(st.lists(CELLS, min_size=width, max_size=width), max_size=8)
    ),
    cut=st.integers(1, 40),
)
def test_what_a_csv_writer_writes_comes_back_wherever_it_is_cut(rows: list[list[str]], cut: int) -> None:
    header = [f"c{number}" for number in range(len(rows[0]) if rows else 1)]
    text = io.StringIO()
    csv.writer(text, quoting=csv.QUOTE_ALL).writerows([header, *rows])
    content = text.getvalue().encode()
    pages = [content[start : start + cut] for start in range(0, len(content), cut)]
    found = itertools.chain.from_iterable(decode(iter([*pages, b""]), files()))
    assert list(found) == [dict(zip(header, row, strict=True)) for row in rows]


def test_headers_may_be_reordered_and_grow_but_not_lose_a_column(tmp_path: Path) -> None:
    declared = files(columns=("day", "currency", "rate"))
    content = b"rate,note,day,currency\n1.0393,new,2025-01-31,USD\n"
    assert read_content(tmp_path, content, declared) == [{**RECORDS[0], "note": "new"}]
    with pytest.raises(SourceError, match="header lacks currency"):
        read_content(tmp_path, b"day,rate\n2025-01-31,1\n", declared)


def test_a_file_without_header_takes_its_names_from_the_declaration(tmp_path: Path) -> None:
    declared = files(header=False, columns=("day", "currency", "rate"))
    assert read_content(tmp_path, CONTENT.split(b"\n", 1)[1], declared) == RECORDS


@pytest.mark.parametrize("page_bytes", [1, 10, 1 << 20])
def test_ndjson_line_by_line(tmp_path: Path, page_bytes: int) -> None:
    content = (
        '\ufeff{"a": 1, "b": "ä\\n"}\r\n\n  \n{"a": NaN}\n{"a": 1e400}\n{"a": \n[1]\n"text"\n{"a": 2}'.encode()
        + b'\n{"a": "\xff"}\n'
    )
    expected = [
        {"a": 1, "b": "ä\n"},
        {"a": "NaN"},
        {"a": "1e400"},
        '{"a": ',
        [1],
        "text",
        {"a": 2},
        '{"a": "\\udcff"}',
    ]
    declared = files("fx_{day}.ndjson", format="ndjson")
    assert read_content(tmp_path, content, declared, page_bytes=page_bytes) == expected


def table() -> pa.Table:
    return pa.table(
        {
            "price": pa.array([Decimal("1.50"), None], pa.decimal128(38, 2)),
            "at": pa.array([datetime(2025, 1, 31, 12, tzinfo=UTC)] * 2, pa.timestamp("us", "Europe/Berlin")),
            "local": pa.array([datetime(2025, 1, 31, 12, 0, 0, 5)] * 2, pa.timestamp("us")),
            "day": pa.array([date(2025, 1, 31)] * 2),
            "raw": pa.array([b"\x00\xff", None]),
            "big": pa.array([2**64 - 1, 0], pa.uint64()),
            "ratio": pa.array([float("nan"), 0.5]),
            "nested": pa.array([[{"d": Decimal("0.10")}], []]),
        }
    )


@pytest.mark.parametrize("ending", ["", ".gz"])
def test_parquet_values_survive_exactly(tmp_path: Path, ending: str) -> None:
    buffer = io.BytesIO()
    pq.write_table(table(), buffer)
    declared = files("fx_{day}.parquet" + ending, format="parquet")
    found = read_content(tmp_path, PACKERS[ending](buffer.getvalue()), declared, page_bytes=100)
    first = {
        "price": "1.50",
        "at": "2025-01-31T12:00:00Z",
        "local": "2025-01-31T12:00:00.000005Z",
        "day": "2025-01-31",
        "raw": "AP8=",
        "big": 2**64 - 1,
        "ratio": "nan",
        "nested": [{"d": "0.10"}],
    }
    assert found[0] == first
    assert found[1] == {**first, "price": None, "raw": None, "big": 0, "ratio": 0.5, "nested": []}


@pytest.mark.parametrize("content", [b"", b"PAR1", CONTENT])
def test_what_is_no_parquet_is_told(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(SourceError, match="no Parquet file"):
        read_content(tmp_path, content, files("fx_{day}.parquet", format="parquet"))


def workbook() -> bytes:
    openpyxl = pytest.importorskip("openpyxl")
    book = openpyxl.Workbook()
    book.active.append(["day", "rate", None])
    book.active.append([date(2025, 1, 31), 1.5])
    book.active.append([None, None])
    book.active.append([datetime(2025, 1, 31, 12), "n/a"])
    book.active.append([1, 2, "beside the table"])
    book.create_sheet("other").append(["x"])
    buffer = io.BytesIO()
    book.save(buffer)
    return buffer.getvalue()


def test_excel_sheets(tmp_path: Path) -> None:
    declared = files("fx_{day}.xlsx", format="excel")
    assert read_content(tmp_path, workbook(), declared, page_bytes=100) == [
        {"day": "2025-01-31T00:00:00Z", "rate": 1.5},
        {"day": "2025-01-31T12:00:00Z", "rate": "n/a"},
        [1, 2, "beside the table"],
    ]
    assert read_content(tmp_path, workbook(), files("fx_{day}.xlsx", format="excel", sheet="other")) == []
    with pytest.raises(SourceError, match="no sheet 'third'"):
        read_content(tmp_path, workbook(), files("fx_{day}.xlsx", format="excel", sheet="third"))
    with pytest.raises(SourceError, match="no Excel workbook"):
        read_content(tmp_path, CONTENT, declared)


def test_excel_without_its_package_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "openpyxl", None)
    with pytest.raises(ConfigurationError, match=r"openpyxl.*etl_assets\[excel\]"):
        read_content(tmp_path, b"PK", files("fx_{day}.xlsx", format="excel"))


def test_an_address_that_needs_a_further_package_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(ConfigurationError, match=r"ETL_FINANCE_URL .*further package"):
        open_folder("s3://bucket/secret-folder")


def test_an_unusable_address_is_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="ETL_FINANCE_URL is not the address") as caught:
        open_folder("nonsense://user:pa55@host/drops")
    assert "pa55" not in str(caught.value)
