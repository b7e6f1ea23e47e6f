"""Staging: every landed record once, the same files from the same input, and a stage that heals itself."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path
from typing import Any

import orjson
import pandas as pd
import pyarrow.parquet as pq
import pytest

from etl_assets.failures import EtlError, LandingError, TransformError
from etl_assets.landing.store import PAGES_FILE
from etl_assets.outcomes import Counts
from etl_assets.pipeline import staging
from etl_assets.pipeline.staged import MANIFEST_FILE, QUARANTINE_FILE, ROWS_FILE, StagedPartition
from etl_assets.quality.rules import compile_contract
from etl_assets.streams.shop.order_lines import clean
from etl_assets_tests.pipeline.landings import land, land_body, quarantine_of, rows_of, stage, with_transform
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, ORDERS, line

BAD = line("bad", quantity=0, unit_price="-1")


def test_every_record_is_staged_or_quarantined_with_its_place(tmp_path: Path) -> None:
    pages: list[list[Any]] = [[line("a"), "no object", BAD], [], [line("b"), None, line("a")]]
    staged = stage(tmp_path, land(tmp_path, pages))
    assert [(row["line_id"], row["_row"]) for row in rows_of(staged)] == [("a", 0), ("b", 3)]
    assert [(row["row_number"], row["rules"]) for row in quarantine_of(staged)] == [
        (1, ["record.object"]),
        (2, ["quantity.not_equal_to", "unit_price.greater_than_or_equal_to"]),
        (4, ["record.object"]),
        (5, ["line_id.unique"]),
    ]
    assert quarantine_of(staged)[0]["reasons"] == ["the record is not a JSON object"]
    assert staged.counts == Counts(extracted=6, staged=2, quarantined=4, warned=0)
    assert staged.violations == {
        "line_id.unique": 1,
        "quantity.not_equal_to": 1,
        "record.object": 2,
        "unit_price.greater_than_or_equal_to": 1,
    }


@pytest.mark.parametrize(
    "record",
    [
        BAD | {"extra": {"deep": [1, None]}},
        BAD | {"description": "\u00e9\u2028\U0001f600"},
        BAD | {"quantity": 2**64 - 1, "unit_price": "x"},
        ["a", "list"],
        "text",
        None,
        5,
    ],
)
def test_quarantine_keeps_the_record_as_it_came(tmp_path: Path, record: Any) -> None:
    staged = stage(tmp_path, land(tmp_path, [[line("a"), record]]))
    (row,) = quarantine_of(staged)
    assert json.loads(row["raw_payload"]) == record


def test_record_too_deep_to_be_written_costs_only_itself(tmp_path: Path) -> None:
    body = b'{"data":[%s,{"line_id":%s1%s}]}' % (orjson.dumps(line("a")), b"[" * 1000, b"]" * 1000)
    landed = land_body(tmp_path, body, 2)
    staged = stage(tmp_path, landed)
    assert (staged.counts.staged, staged.counts.quarantined) == (1, 1)
    assert json.loads(quarantine_of(staged)[0]["raw_payload"])


@pytest.mark.parametrize("stream", [ORDER_LINES, ORDERS], ids=lambda stream: str(stream.id))
@pytest.mark.parametrize("pages", [[], [[]], [[], []]])
def test_day_without_records(tmp_path: Path, stream: Any, pages: list[Any]) -> None:
    staged = stage(tmp_path, land(tmp_path, pages, stream), stream)
    assert staged.counts == Counts()
    assert pq.read_schema(staged.rows).names == [*compile_contract(stream.contract).schema.names, "_row"]
    assert (rows_of(staged), quarantine_of(staged), staged.preview) == ([], [], "")


MIXED = [
    *(line(f"{number}") for number in range(4)),
    BAD,
    line("1"),
    line("4", customer_id=None),
    "no object",
    line("bad"),
    line("4"),
    line("5", unit_price="0", description=""),
    line("1", quantity="x"),
]


@pytest.mark.parametrize("size", [1, 2, 3, 5, 11, 12])
def test_chunks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int) -> None:
    landed = land(tmp_path, [MIXED[:7], MIXED[7:]])
    whole = stage(tmp_path, landed)
    rows, quarantined = rows_of(whole), quarantine_of(whole)
    assert [row["line_id"] for row in rows] == ["0", "1", "2", "3", "4", "bad", "5"]
    monkeypatch.setattr(staging, "CHUNK_ROWS", size)
    cut = stage(tmp_path, landed, code_version="v2")
    assert rows_of(cut) == rows
    assert quarantine_of(cut) == quarantined
    assert (cut.counts, cut.violations, cut.warnings) == (whole.counts, whole.violations, whole.warnings)


def test_several_chunks_without_a_good_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(staging, "CHUNK_ROWS", 2)
    staged = stage(tmp_path, land(tmp_path, [[BAD] * 5]))
    assert staged.counts == Counts(extracted=5, quarantined=5)
    assert (rows_of(staged), staged.preview) == ([], "")


def files_of(staged: StagedPartition) -> dict[str, bytes]:
    """Read a staged partition's files."""
    return {path.name: path.read_bytes() for path in staged.directory.iterdir()}


def test_same_input_gives_the_same_files(tmp_path: Path) -> None:
    staged = []
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        staged.append(stage(tmp_path / name, land(tmp_path / name, [MIXED])))
    assert files_of(staged[0]) == files_of(staged[1])
    assert staged[0].content_hash == staged[1].content_hash
    (tmp_path / "other").mkdir()
    other = stage(tmp_path / "other", land(tmp_path / "other", [[*MIXED, line("more")]]))
    assert other.content_hash != staged[0].content_hash


def test_what_is_staged_is_not_staged_again(tmp_path: Path) -> None:
    calls = []

    def counted(raw: pd.DataFrame) -> pd.DataFrame:
        calls.append(len(raw))
        return clean(raw)

    stream = with_transform(counted)
    landed = land(tmp_path, [MIXED])
    first, second = stage(tmp_path, landed, stream), stage(tmp_path, landed, stream)
    assert first == second
    assert len(calls) == 1
    stage(tmp_path, landed, stream, code_version="v2")
    assert len(calls) == 2


def cut_short(path: Path) -> None:
    """Take the last bytes off a file."""
    path.write_bytes(path.read_bytes()[:-5])


def flip(path: Path) -> None:
    """Change one bit in the middle of a file."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


@pytest.mark.parametrize("name", [ROWS_FILE, QUARANTINE_FILE, MANIFEST_FILE])
@pytest.mark.parametrize("damage", [cut_short, flip, Path.unlink, lambda path: path.write_bytes(b"{}")])
def test_damaged_files_are_made_again(tmp_path: Path, name: str, damage: Callable[[Path], Any]) -> None:
    landed = land(tmp_path, [MIXED])
    before = stage(tmp_path, landed)
    sound = files_of(before)
    damage(before.directory / name)
    again = stage(tmp_path, landed)
    # A changed bit in the manifest may still leave a manifest; what it says of the files is checked against them.
    assert {**files_of(again), MANIFEST_FILE: b""} == {**sound, MANIFEST_FILE: b""}
    assert again.content_hash == before.content_hash


def test_older_versions_are_removed(tmp_path: Path) -> None:
    landed = land(tmp_path, [MIXED])
    old = stage(tmp_path, landed)
    new = stage(tmp_path, landed, code_version="v2")
    assert old.directory != new.directory
    assert [path for path in new.directory.parent.iterdir() if path.is_dir()] == [new.directory]


def test_days_have_folders_of_their_own(tmp_path: Path) -> None:
    first = stage(tmp_path, land(tmp_path, [MIXED]))
    later = stage(tmp_path, land(tmp_path, [[]], day=DAY + timedelta(days=1)))
    assert first.directory.exists()
    assert later.directory.exists()


def test_preview_of_the_first_good_rows(tmp_path: Path) -> None:
    records = [BAD, *(line(f"line-{number}", customer_id=f"who-{number}") for number in range(9))]
    staged = stage(tmp_path, land(tmp_path, [records]))
    lines = staged.preview.splitlines()
    assert lines[0].startswith("| line_id | invoice_no | stock_code |")
    assert [row.split(" | ")[0] for row in lines[2:]] == [f"| line-{number}" for number in range(5)]
    assert "who-" not in staged.preview
    assert stage(tmp_path, land(tmp_path, [records])).preview == staged.preview, "also when it is found again"


def drop_a_row(raw: pd.DataFrame) -> pd.DataFrame:
    """Lose a row."""
    return clean(raw).iloc[1:]


def add_a_column(raw: pd.DataFrame) -> pd.DataFrame:
    """Invent a column."""
    return clean(raw).assign(weather="fine")


def turn_values_into_columns(raw: pd.DataFrame) -> pd.DataFrame:
    """Make columns of what the rows hold."""
    return clean(raw).assign(**{"Ada Lovelace": "here", "weather": "fine"})


def lose_a_column(raw: pd.DataFrame) -> pd.DataFrame:
    """Forget a column."""
    return clean(raw).drop(columns="country")


def fail(raw: pd.DataFrame) -> pd.DataFrame:
    """Stumble over a value."""
    return raw.assign(x=int("17850 Ada\nLovelace"))


def miss_a_field(raw: pd.DataFrame) -> pd.DataFrame:
    """Rely on a field that nobody promised."""
    return raw[["colour"]]


def refuse(raw: pd.DataFrame) -> pd.DataFrame:
    """Say it in one's own words."""
    raise TransformError("the currency table is missing", hint="load it first")


def give_nothing(raw: pd.DataFrame) -> pd.DataFrame:
    """Forget to return."""
    return None  # type: ignore[return-value]


@pytest.mark.parametrize(
    ("transform", "message"),
    [
        (drop_a_row, "the transform made 1 rows of 2 (keep every row"),
        (add_a_column, "the transform's result adds weather"),
        (turn_values_into_columns, "the transform's result adds ***, weather"),
        (lose_a_column, "the transform's result misses country"),
        (fail, "shop/order_lines: the transform failed: ValueError at test_staging.py:"),
        (miss_a_field, "shop/order_lines: the transform failed: KeyError at "),
        (refuse, "the currency table is missing (load it first)"),
        (give_nothing, "the transform returned NoneType"),
    ],
)
def test_transform_that_breaks_its_promises(
    tmp_path: Path, transform: Callable[[pd.DataFrame], pd.DataFrame], message: str
) -> None:
    landed = land(tmp_path, [[line("a"), line("b")]])
    with pytest.raises(TransformError) as caught:
        stage(tmp_path, landed, with_transform(transform))
    said = str(caught.value)
    assert said.startswith(message)
    assert "\n" not in said
    assert "Ada" not in said, "values must not get into messages"
    assert list((tmp_path / "staged").rglob("*.parquet")) == [], "nothing half done stays"


def test_damaged_landing_is_told(tmp_path: Path) -> None:
    landed = land(tmp_path, [MIXED])
    flip(landed.path / PAGES_FILE)
    with pytest.raises(LandingError, match="are damaged; extract the day again"):
        stage(tmp_path, landed)


def test_answer_of_another_shape_is_told(tmp_path: Path) -> None:
    with pytest.raises(EtlError) as caught:
        stage(tmp_path, land_body(tmp_path, b'{"rows": []}', 0))
    assert "\n" not in str(caught.value)


MEASURE = """
import resource, sys
from pathlib import Path
from etl_assets.landing.store import Landing
from etl_assets_tests.pipeline.landings import stage
from etl_assets_tests.quality.samples import DAY, ORDER_LINES

def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024

folder = Path(sys.argv[1])
small, large = (Landing(folder / name / "landing").latest(ORDER_LINES.id, DAY) for name in ("small", "large"))
assert stage(folder / "small", small).counts.staged == 20_000
before = peak()
assert stage(folder / "large", large).counts.staged == 200_000
print(peak() - before)
"""


def test_large_day_takes_little_more_memory_than_a_small_one(tmp_path: Path) -> None:
    for name, pages in (("small", 2), ("large", 20)):
        (tmp_path / name).mkdir()
        numbers = range(pages)
        land(tmp_path / name, [[line(f"{page}-{row}") for row in range(10_000)] for page in numbers])
    root = Path(__file__).parents[2]
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, str(tmp_path)],
        cwd=root,
        env={**os.environ, "PYTHONPATH": str(root)},
        capture_output=True,
        text=True,
        check=True,
    )
    grown = int(done.stdout.split()[-1])
    # All 200,000 records at once take more than 300 MB as Python objects alone.
    assert grown < 120, f"{grown} MB more for ten times the rows"
