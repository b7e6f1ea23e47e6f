"""The landing store: what went in comes out, byte for byte, or an error says so."""

from __future__ import annotations

import json
import os
import random
import shutil
import stat
import subprocess
import tempfile
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import ConfigurationError, FailureClass, LandingError
from etl_assets.landing.store import LandedPartition, Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.outcomes import FailedItem
from etl_assets.streams.base import Window

STREAM = "shop/orders"
DAY = date(2025, 1, 1)
WINDOW = Window.of_day(DAY)
BODIES = [b'[{"order_id": "1"}]', b"[]", b'[{"order_id": "2"}, {"order_id": "3"}]']


def land(
    landing: Landing,
    bodies: list[bytes],
    *,
    run_id: str = "0123abcd-rest",
    window: Window = WINDOW,
    day: date = DAY,
) -> LandedPartition:
    """Land one version with as many records per body as it has opening braces."""
    with LandingWriter(landing, STREAM, day, run_id=run_id, window=window) as writer:
        for body in bodies:
            writer.add(body, body.count(b"{"))
        return writer.finish()


def names(directory: Path) -> list[str]:
    """All names below a directory."""
    return sorted(str(path.relative_to(directory)) for path in directory.rglob("*"))


def test_what_went_in_comes_out(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    before = datetime.now(UTC)
    written = land(landing, BODIES)
    read = landing.latest(STREAM, DAY)
    assert read == written
    assert read is not None
    assert list(read.pages()) == BODIES
    assert list(read.pages()) == BODIES, "pages can be read again"
    assert (read.records, read.raw_bytes) == (3, sum(map(len, BODIES)))
    assert (read.stream_id, read.day, read.window) == (STREAM, DAY, WINDOW)
    assert before <= read.requested_at <= read.manifest.finished_at <= datetime.now(UTC)
    assert read.version.endswith("-0123abcd")
    assert read.path == tmp_path / "shop/orders/2025-01-01" / read.version


def test_nobody_else_may_look_into_landing(tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        land(Landing(tmp_path / "data" / "landing"), BODIES)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "data" / "landing").stat().st_mode) == 0o700
    (tmp_path / "shared").mkdir(mode=0o750)
    land(Landing(tmp_path / "shared"), BODIES)
    assert stat.S_IMODE((tmp_path / "shared").stat().st_mode) == 0o750, "what an administrator chose stays"


def test_a_partition_without_pages_is_still_landed(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    land(landing, [])
    read = landing.latest(STREAM, DAY)
    assert read is not None
    assert (list(read.pages()), read.records) == ([], 0)


def test_nothing_landed_is_none(tmp_path: Path) -> None:
    landing = Landing(tmp_path / "absent")
    assert landing.latest(STREAM, DAY) is None
    assert not (tmp_path / "absent").exists(), "asking makes nothing"


@settings(max_examples=30, deadline=None)
@given(bodies=st.lists(st.binary(max_size=2000), max_size=8))
def test_any_bytes_come_back_as_they_were(bodies: list[bytes]) -> None:
    with tempfile.TemporaryDirectory() as directory:
        landed = land(Landing(Path(directory)), bodies)
        assert list(landed.pages()) == bodies


def test_documents_and_failed_items_are_on_record(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    at = datetime(2025, 1, 1, 12, 0, 0, 123456, tzinfo=UTC)
    item = FailedItem("b", "extract", FailureClass.PERMANENT, "SourceError", "gone", at, 1)

    def write(*names: str, failed: FailedItem | None = None) -> LandedPartition:
        with LandingWriter(landing, STREAM, DAY, run_id="run", window=WINDOW) as writer:
            for name in names:
                writer.add(b"{}", 1, identifier=name, format="json")
            if failed is not None:
                writer.note_failed(failed)
            return writer.finish()

    first = write("a", "c", failed=item)
    assert landing.latest(STREAM, DAY) == first
    assert [(page.identifier, page.format) for page in first.manifest.pages] == [("a", "json"), ("c", "json")]
    assert first.manifest.failed_items == (item,)
    # Each attempt at an item is on record, and so is another document that has the same content.
    second = write("a", "c", failed=item)
    third = write("a", "c")
    assert write("a", "c").version == third.version
    assert write("a", "d").version > third.version > second.version > first.version


def test_the_manifest_can_be_read_by_people_and_other_programs(tmp_path: Path) -> None:
    landed = land(Landing(tmp_path), BODIES)
    manifest = json.loads((landed.path / "manifest.json").read_text())
    assert manifest["stream"] == STREAM
    assert manifest["partition"] == "2025-01-01"
    assert manifest["run_id"] == "0123abcd-rest"
    assert manifest["window"] == {"start": "2025-01-01T00:00:00+00:00", "end": "2025-01-02T00:00:00+00:00"}
    assert (manifest["records"], len(manifest["pages"])) == (3, 3)
    # What other kinds of sources do not have takes no space.
    assert set(manifest["pages"][0]) == {"offset", "compressed_bytes", "raw_bytes", "records", "crc32"}
    assert "failed_items" not in manifest


@pytest.mark.skipif(shutil.which("zstd") is None, reason="needs the zstd command")
def test_the_pages_can_be_read_without_this_program(tmp_path: Path) -> None:
    landed = land(Landing(tmp_path), BODIES)
    command = ["zstd", "-dc", str(landed.path / "pages.zst")]
    assert subprocess.run(command, capture_output=True, check=True).stdout == b"".join(BODIES)


def test_the_same_answers_again_take_no_space(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    first = land(landing, BODIES, run_id="first")
    before = names(tmp_path)
    assert land(landing, BODIES, run_id="second") == first
    assert names(tmp_path) == before


@pytest.mark.parametrize(
    ("bodies", "window"),
    [
        ([*BODIES, b"[]"], WINDOW),
        (BODIES[:2], WINDOW),
        ([BODIES[0] + BODIES[1], BODIES[2]], WINDOW),
        (list(reversed(BODIES)), WINDOW),
        (BODIES, WINDOW.widened(timedelta(minutes=5))),
        ([], WINDOW),
    ],
    ids=["one more", "one less", "other boundaries", "other order", "other window", "none"],
)
def test_other_answers_are_a_later_version(tmp_path: Path, bodies: list[bytes], window: Window) -> None:
    landing = Landing(tmp_path)
    first = land(landing, BODIES)
    second = land(landing, bodies, window=window)
    assert second.version > first.version
    assert landing.latest(STREAM, DAY) == second
    assert list(first.pages()) == BODIES, "the older version stays"
    assert land(landing, BODIES).version > second.version, "only the latest version is compared with"


def test_versions_sort_even_if_the_clock_was_set_back(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    first = land(landing, BODIES)
    future = first.path.with_name("29990101T000000.000000Z-0123abcd")
    first.path.rename(future)
    assert land(landing, [b"[]"]).version > future.name


def test_an_exception_leaves_nothing_behind(tmp_path: Path) -> None:
    def fail(writer: LandingWriter) -> None:
        writer.add(b"[]", 0)
        raise RuntimeError

    landing = Landing(tmp_path)
    with (
        pytest.raises(RuntimeError),
        LandingWriter(landing, STREAM, DAY, run_id="r", window=WINDOW) as writer,
    ):
        fail(writer)
    assert names(tmp_path) == ["shop", "shop/orders"]
    first = land(landing, BODIES)
    with (
        pytest.raises(RuntimeError),
        LandingWriter(landing, STREAM, DAY, run_id="r", window=WINDOW) as writer,
    ):
        fail(writer)
    assert landing.latest(STREAM, DAY) == first
    assert len(list(first.path.parent.iterdir())) == 1


def test_a_writer_that_is_not_finished_leaves_nothing_behind(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with LandingWriter(landing, STREAM, DAY, run_id="r", window=WINDOW) as writer:
        writer.add(b"[]", 0)
        assert landing.latest(STREAM, DAY) is None, "nothing is visible before it is finished"
    assert landing.latest(STREAM, DAY) is None
    assert names(tmp_path) == ["shop", "shop/orders"]


def test_two_writers_of_one_partition_do_not_disturb_each_other(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    with (
        LandingWriter(landing, STREAM, DAY, run_id="one", window=WINDOW) as one,
        LandingWriter(landing, STREAM, DAY, run_id="two", window=WINDOW) as two,
    ):
        one.add(b"[1]", 1)
        two.add(b"[2]", 1)
        first, second = one.finish(), two.finish()
    assert (list(first.pages()), list(second.pages())) == ([b"[1]"], [b"[2]"])
    assert landing.latest(STREAM, DAY) == second


def flip_byte(path: Path, position: int) -> None:
    """Damage a file."""
    content = bytearray(path.read_bytes())
    content[position] ^= 0xFF
    path.write_bytes(content)


@pytest.mark.parametrize("position", [0, 5, 30, -1])
def test_a_damaged_page_is_never_handed_out(tmp_path: Path, position: int) -> None:
    landing = Landing(tmp_path)
    body = b'[{"order_id": "%d"}]' * 3
    landed = land(landing, [body, body + b" "])
    flip_byte(landed.path / "pages.zst", position)
    with pytest.raises(
        LandingError, match=r"^landed answers of shop/orders 2025-01-01 are damaged; extract the day again$"
    ):
        assert list(landed.pages()) == [body, body + b" "]


def test_another_page_in_a_pages_place_is_never_handed_out(tmp_path: Path) -> None:
    dice = random.Random(1)
    landed = land(Landing(tmp_path), [dice.randbytes(1000), dice.randbytes(1000)])
    path = landed.path / "pages.zst"
    content = path.read_bytes()
    half = len(content) // 2
    path.write_bytes(content[half:] + content[:half])
    with pytest.raises(LandingError, match="extract the day again"):
        next(landed.pages())


@pytest.mark.parametrize("change", ["shorter", "longer", "gone"])
def test_a_pages_file_of_another_length_is_damage(tmp_path: Path, change: str) -> None:
    landed = land(Landing(tmp_path), BODIES)
    path = landed.path / "pages.zst"
    content = path.read_bytes()
    if change == "gone":
        path.unlink()
    else:
        path.write_bytes(content[:-1] if change == "shorter" else content + b"\0")
    with pytest.raises(LandingError, match="extract the day again"):
        list(landed.pages())
    assert not landed.is_intact()


def test_pages_that_were_swapped_are_damage(tmp_path: Path) -> None:
    landed = land(Landing(tmp_path), [b"[1]", b"[2]"])
    path = landed.path / "manifest.json"
    manifest = json.loads(path.read_text())
    manifest["pages"].reverse()
    del manifest["check"]  # as an earlier version wrote it, so that the pages themselves have to tell
    path.write_text(json.dumps(manifest))
    read = Landing(tmp_path).latest(STREAM, DAY)
    assert read is not None
    with pytest.raises(LandingError, match="extract the day again"):
        list(read.pages())


@pytest.mark.parametrize(
    "content",
    [
        None,
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"format": 99}',
        b'{"format": 1}',
        b'{"format": 1, "pages": 3}',
        b"\xff\xfe",
    ],
)
def test_a_damaged_manifest_is_a_one_line_error(tmp_path: Path, content: bytes | None) -> None:
    landing = Landing(tmp_path)
    path = land(landing, BODIES).path / "manifest.json"
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(LandingError, match=r"shop/orders 2025-01-01 .*extract the day again") as caught:
        landing.latest(STREAM, DAY)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    "change",
    [
        {"records": 4},
        {"stream": "shop/other"},
        {"partition": "2025-01-02"},
        {"version": "x"},
        {"window": None},
    ],
)
def test_a_manifest_that_contradicts_itself_is_damage(tmp_path: Path, change: dict[str, object]) -> None:
    landing = Landing(tmp_path)
    path = land(landing, BODIES).path / "manifest.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | change))
    with pytest.raises(LandingError, match="extract the day again"):
        landing.latest(STREAM, DAY)


@pytest.mark.parametrize("damaged", ["pages.zst", "manifest.json"])
def test_extracting_again_heals_damage(tmp_path: Path, damaged: str) -> None:
    landing = Landing(tmp_path)
    first = land(landing, BODIES)
    flip_byte(first.path / damaged, 0)
    second = land(landing, BODIES)
    assert second.version > first.version
    assert landing.latest(STREAM, DAY) == second
    assert list(second.pages()) == BODIES


@pytest.mark.parametrize(
    "stream_id", ["orders", "../orders", "shop/../x", "shop/orders/x", "Shop/Orders", ""]
)
def test_only_stream_ids_name_places(tmp_path: Path, stream_id: str) -> None:
    with pytest.raises(ConfigurationError, match="<source>/<name>"):
        Landing(tmp_path).latest(stream_id, DAY)


def test_a_run_id_cannot_lead_elsewhere(tmp_path: Path) -> None:
    landed = land(Landing(tmp_path), BODIES, run_id="../../x y")
    assert landed.path.parent == tmp_path / "shop/orders/2025-01-01"
    assert landed.version.endswith("Z-xy")


def test_a_place_that_cannot_be_written_is_a_one_line_error(tmp_path: Path) -> None:
    (tmp_path / "shop").write_text("a file where a directory should be")
    with pytest.raises(LandingError, match="ETL_DATA_DIR"):
        LandingWriter(Landing(tmp_path), STREAM, DAY, run_id="r", window=WINDOW)
