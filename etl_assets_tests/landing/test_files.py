"""Files that are there in full or not at all, also after crashes and on full disks."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from datetime import date
from pathlib import Path

import pytest

from etl_assets.landing.files import (
    ABANDONED_AFTER_SECONDS,
    atomic_directory,
    make_temporary,
    remove_leftovers,
    write_json_atomic,
)
from etl_assets.landing.store import Landing
from etl_assets.landing.writer import LandingWriter
from etl_assets.streams.base import Window

DAY = date(2025, 1, 1)


def run_python(
    code: str, *arguments: str, launcher: tuple[str, ...] = ()
) -> subprocess.CompletedProcess[str]:
    """Run a program in a process of its own."""
    command = [*launcher, sys.executable, "-c", textwrap.dedent(code), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False, timeout=60)


def test_a_directory_appears_complete(tmp_path: Path) -> None:
    target = tmp_path / "a" / "b"
    with atomic_directory(target) as temporary:
        (temporary / "file").write_text("content")
        assert not target.exists()
    assert (target / "file").read_text() == "content"
    assert os.listdir(target.parent) == ["b"]


def test_an_exception_leaves_no_directory(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "file").write_text("content")
        raise RuntimeError

    with pytest.raises(RuntimeError), atomic_directory(tmp_path / "b") as temporary:
        fail(temporary)
    assert os.listdir(tmp_path) == []


def test_what_exists_is_not_replaced_unless_asked(tmp_path: Path) -> None:
    target = tmp_path / "b"
    for content in ("first", "second"):
        with atomic_directory(target, replace=True) as temporary:
            (temporary / content).touch()
    with pytest.raises(FileExistsError), atomic_directory(target) as temporary:
        (temporary / "third").touch()
    assert os.listdir(target) == ["second"]
    assert os.listdir(tmp_path) == ["b"]


def test_json_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "state.json"
    write_json_atomic(path, {"a": 1})
    write_json_atomic(path, {"b": 2})
    assert path.read_text() == '{\n  "b": 2\n}'
    with pytest.raises(TypeError):
        write_json_atomic(path, {"c": object()})
    assert path.read_text() == '{\n  "b": 2\n}'
    assert os.listdir(tmp_path) == ["state.json"]


WRITE_AND_DIE = """
    import os, signal, sys
    from datetime import date
    from pathlib import Path
    from etl_assets.landing.store import Landing
    from etl_assets.landing.writer import LandingWriter
    from etl_assets.streams.base import Window

    day = date(2025, 1, 1)
    writer = LandingWriter(Landing(Path(sys.argv[1])), "shop/orders", day, run_id="killed", window=Window.of_day(day))
    writer.add(b"[1]" * 100_000, 1)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_a_killed_writer_is_never_seen_and_cleared_away_by_the_next(tmp_path: Path) -> None:
    landing = Landing(tmp_path)
    assert run_python(WRITE_AND_DIE, str(tmp_path)).returncode == -signal.SIGKILL
    home = tmp_path / "shop/orders/2025-01-01"
    (left_behind,) = os.listdir(home)
    assert left_behind.startswith(".tmp-")
    assert landing.latest("shop/orders", DAY) is None
    with LandingWriter(landing, "shop/orders", DAY, run_id="next", window=Window.of_day(DAY)) as writer:
        landed = writer.finish()
    assert os.listdir(home) == [landed.version]


def age(directory: Path, seconds: float) -> None:
    """Make a directory and its files look older."""
    moment = time.time() - seconds
    for path in (*directory.iterdir(), directory):
        os.utime(path, (moment, moment))


def test_the_living_keep_their_temporary_directories(tmp_path: Path) -> None:
    mine = make_temporary(tmp_path)
    age(mine, ABANDONED_AFTER_SECONDS + 60)
    assert remove_leftovers(tmp_path) == 0
    assert mine.is_dir()


def test_a_reused_process_id_does_not_protect_for_ever(tmp_path: Path) -> None:
    host, _, process, rest = make_temporary(tmp_path).name.removeprefix(".tmp-").split("-")
    of_parent = tmp_path / f".tmp-{host}-{os.getppid()}-{process}-{rest}"
    of_parent.mkdir()
    (of_parent / "file").touch()
    assert remove_leftovers(tmp_path) == 0
    age(of_parent, ABANDONED_AFTER_SECONDS + 60)
    assert remove_leftovers(tmp_path) == 1
    assert not of_parent.exists()


def test_a_restarted_container_with_the_same_process_id_is_someone_else(tmp_path: Path) -> None:
    host, pid, _, rest = make_temporary(tmp_path).name.removeprefix(".tmp-").split("-")
    (tmp_path / f".tmp-{host}-{pid}-00000000-{rest}").mkdir()
    assert remove_leftovers(tmp_path) == 1


def test_another_machines_directories_are_left_alone_while_they_are_young(tmp_path: Path) -> None:
    foreign = tmp_path / ".tmp-00000000-1-00000000-00000000"
    foreign.mkdir()
    assert remove_leftovers(tmp_path) == 0
    age(foreign, ABANDONED_AFTER_SECONDS + 60)
    assert remove_leftovers(tmp_path) == 1


FILL_THE_DISK = """
    import os, resource, sys
    from datetime import date
    from pathlib import Path
    from etl_assets.failures import StorageFullError
    from etl_assets.landing.store import Landing
    from etl_assets.landing.writer import LandingWriter
    from etl_assets.streams.base import Window

    root, limit = Path(sys.argv[1]), int(sys.argv[2])
    day, window = date(2025, 1, 1), Window.of_day(date(2025, 1, 1))
    landing = Landing(root)
    with LandingWriter(landing, "shop/orders", day, run_id="fits", window=window) as writer:
        writer.add(b"[1]", 1)
        kept = writer.finish()
    if limit:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        with LandingWriter(landing, "shop/orders", day, run_id="full", window=window) as writer:
            for _ in range(int(sys.argv[3])):
                writer.add(os.urandom(1000), 1)
            writer.finish()
    except StorageFullError as error:
        print(error, file=sys.stderr)
    assert landing.latest("shop/orders", day) == kept and list(kept.pages()) == [b"[1]"]
    print(os.listdir(kept.path.parent) == [kept.version], file=sys.stderr)
"""
SAID = (
    "no room left on the disk while writing landed answers of shop/orders 2025-01-01; everything committed so far"
    " is safe (free some space and run the same command again)\nTrue\n"
)


# 5 pages stay in the buffer until the version is finished, 500 do not.
@pytest.mark.parametrize("pages", ["5", "500"])
def test_a_limit_on_disk_space_is_said_in_one_line_and_loses_nothing(tmp_path: Path, pages: str) -> None:
    ended = run_python(FILL_THE_DISK, str(tmp_path), "2000", pages)
    assert (ended.returncode, ended.stderr) == (0, SAID)


def test_a_really_full_disk_is_said_in_one_line_and_loses_nothing(tmp_path: Path) -> None:
    mount = f'mount -t tmpfs -o size=256k none {tmp_path} && exec "$@"'
    launcher = ("unshare", "-rm", "sh", "-c", mount, "sh")
    can_mount = shutil.which("unshare") and not subprocess.run([*launcher, "true"], check=False).returncode
    if not can_mount:
        pytest.skip("a small file system cannot be mounted here")
    ended = run_python(FILL_THE_DISK, str(tmp_path), "0", "500", launcher=launcher)
    assert (ended.returncode, ended.stderr) == (0, SAID)
