"""Damaged files: staged ones are made again from landing, landed ones are an error; neither ever gives other rows."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from etl_assets.failures import LandingError
from etl_assets.landing.store import PAGES_FILE, LandedPartition, Landing
from etl_assets.pipeline.staged import MANIFEST_FILE, QUARANTINE_FILE, ROWS_FILE, StagedPartition
from etl_assets_tests.damage import DAMAGES, Damage
from etl_assets_tests.pipeline.landings import land, stage
from etl_assets_tests.quality.samples import DAY, ORDER_LINES, line

BAD = line("bad", quantity=0)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder for the landed and staged files of one day."""
    return tmp_path_factory.mktemp("damage")


@pytest.fixture(scope="module")
def landed(folder: Path) -> LandedPartition:
    """A landed day, of two pages."""
    return land(folder, [[line(f"a{number}") for number in range(40)], [BAD, line("b")]])


@pytest.fixture(scope="module")
def staged(folder: Path, landed: LandedPartition) -> StagedPartition:
    """The day as it is staged from answers that are intact."""
    return stage(folder, landed)


@settings(deadline=None, max_examples=30)
@given(name=st.sampled_from([ROWS_FILE, QUARANTINE_FILE, MANIFEST_FILE]), damage=DAMAGES)
def test_damaged_staged_files_are_made_again(
    folder: Path, landed: LandedPartition, staged: StagedPartition, name: str, damage: Damage
) -> None:
    whole = {path.name: path.read_bytes() for path in staged.directory.iterdir()}
    (staged.directory / name).write_bytes(damage(whole[name]))
    assert stage(folder, landed) == staged
    assert {path.name: path.read_bytes() for path in staged.directory.iterdir()} == whole


@settings(deadline=None, max_examples=60)
@given(name=st.sampled_from([PAGES_FILE, MANIFEST_FILE]), damage=DAMAGES)
def test_damaged_landed_files_are_an_error_or_read_as_they_came(
    folder: Path, landed: LandedPartition, name: str, damage: Damage
) -> None:
    whole, bodies = (landed.path / name).read_bytes(), list(landed.pages())
    (landed.path / name).write_bytes(damage(whole))
    told = f"landed answers of {ORDER_LINES.id} {DAY}: extract the day again"
    try:
        read = Landing(folder / "landing").latest(ORDER_LINES.id, DAY)
        assert read is not None
        assert read.manifest == landed.manifest
        assert list(read.pages()) == bodies
    except LandingError as error:
        told = str(error)
    finally:
        (landed.path / name).write_bytes(whole)
    assert told.startswith(f"landed answers of {ORDER_LINES.id} {DAY}")
    assert "extract the day again" in told
    assert "\n" not in told


@pytest.mark.parametrize("change", [lambda text: text.replace(b'"extracted": 42', b'"extracted": 43')])
def test_numbers_that_were_changed_in_a_manifest_are_not_believed(
    folder: Path, landed: LandedPartition, staged: StagedPartition, change: Callable[[bytes], bytes]
) -> None:
    manifest = staged.directory / MANIFEST_FILE
    whole = manifest.read_bytes()
    assert change(whole) != whole
    manifest.write_bytes(change(whole))
    assert stage(folder, landed).counts.extracted == 42
