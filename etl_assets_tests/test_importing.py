"""Importing without looking for garbage, which goes on as before afterwards."""

from __future__ import annotations

import ctypes
import gc
import importlib
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from etl_assets.importing import SHARED_HEAPS, importing


@pytest.fixture(autouse=True)
def collecting() -> Iterator[None]:
    """Garbage is looked for, before and after each test, and nothing is left out."""
    frozen = gc.get_freeze_count()
    assert gc.isenabled()
    yield
    gc.enable()
    if not frozen:
        gc.unfreeze()


@pytest.fixture
def fresh(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[str]:
    """Name of a module that has not been imported yet."""
    (tmp_path / "fresh_module.py").write_text("KEPT = [[] for _ in range(1000)]")
    monkeypatch.syspath_prepend(tmp_path)
    yield "fresh_module"
    sys.modules.pop("fresh_module", None)


def test_nothing_is_collected_while_importing_and_what_was_imported_never(fresh: str) -> None:
    before = gc.get_freeze_count()
    with importing():
        assert not gc.isenabled()
        importlib.import_module(fresh)
    assert gc.isenabled()
    assert gc.get_freeze_count() >= before + 1000


def test_nothing_is_left_out_where_nothing_was_imported() -> None:
    before = gc.get_freeze_count()
    with importing():
        pass
    assert gc.isenabled()
    # Some of what was left out before may have been given up meanwhile.
    assert gc.get_freeze_count() <= before


def test_one_within_another_leaves_it_to_the_outer_one(fresh: str) -> None:
    with importing():
        with importing():
            importlib.import_module(fresh)
        assert not gc.isenabled()
    assert gc.isenabled()


def test_it_goes_on_after_a_failure() -> None:
    with pytest.raises(ImportError), importing():
        importlib.import_module("no_such_module_anywhere")
    assert gc.isenabled()


def test_who_does_without_collecting_still_does() -> None:
    gc.disable()
    with importing():
        pass
    assert not gc.isenabled()


COUNT_HEAPS = """
import ctypes, threading
from etl_assets.importing import SHARED_HEAPS, importing
with importing():
    pass
together = threading.Barrier(9)
def work():
    held = [bytes(1000) for _ in range(100)]
    together.wait()
threads = [threading.Thread(target=work) for _ in range(8)]
for thread in threads:
    thread.start()
together.wait()
library = ctypes.CDLL(None)
library.fdopen.restype = ctypes.c_void_p
out = ctypes.c_void_p(library.fdopen(1, b"w"))
library.malloc_info(0, out)
library.fflush(out)
"""


@pytest.mark.skipif(not hasattr(ctypes.CDLL(None), "malloc_info"), reason="another C library than glibc")
@pytest.mark.parametrize(("setting", "heaps"), [({}, SHARED_HEAPS), ({"MALLOC_ARENA_MAX": "1"}, 1)])
def test_threads_share_heaps(setting: dict[str, str], heaps: int) -> None:
    environment = {name: value for name, value in os.environ.items() if name != "MALLOC_ARENA_MAX"}
    told = subprocess.run(
        [sys.executable, "-c", COUNT_HEAPS],
        env=environment | setting,
        capture_output=True,
        text=True,
        check=True,
    )
    assert told.stdout.count("<heap nr=") == heaps
