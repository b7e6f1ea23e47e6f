"""A small disk that can be filled up, and that is gone when the tests are, however they end.

What belongs here: mounting, filling, emptying. What does not: what is done on it.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

_HOLD = 'mount -t tmpfs -o "size=$2" tmpfs "$1" && echo mounted && exec cat'


@dataclass(frozen=True, slots=True)
class SmallDisk:
    """A disk in a mount namespace of its own, which a process holds that ends with this one.

    Attributes:
        path: Where the disk is for commands that run `within`.
        within: The command to run other commands with.
        seen: Where this process finds the disk.
    """

    path: Path
    within: tuple[str, ...]
    seen: Path

    def call(self, *command: str) -> None:
        """Run a command where the disk is mounted."""
        subprocess.run([*self.within, *command], check=True)

    def take(self, folder: Path) -> None:
        """Copy a folder onto the disk, under the name `data`."""
        shutil.copytree(folder, self.seen / "data")

    def give(self, target: Path) -> Path:
        """Copy `data` off the disk, to look into it: DuckDB opens no file by the way this process sees it."""
        return Path(shutil.copytree(self.seen / "data", target, dirs_exist_ok=True))

    def fill(self, *, leaving: int) -> None:
        """Take all room but some bytes."""
        free = os.statvfs(self.seen).f_bavail * os.statvfs(self.seen).f_frsize
        (self.seen / "ballast").write_bytes(bytes(max(free - leaving, 0)))

    def make_room(self) -> None:
        """Undo `fill`."""
        (self.seen / "ballast").unlink()


@contextmanager
def mounted_disk(place: Path, *, megabytes: int) -> Iterator[SmallDisk | None]:
    """Mount a disk for the time of a ``with`` block; gives None where that is not possible.

    Args:
        place: The folder to mount it on; made here.
        megabytes: Its size.
    """
    place.mkdir()
    if not (shutil.which("unshare") and shutil.which("nsenter")):
        yield None
        return
    command = ["unshare", "--mount", "sh", "-c", _HOLD, "sh", str(place), f"{megabytes}m"]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    ) as holder:
        assert holder.stdout is not None
        if holder.stdout.readline() == "mounted\n":
            within = ("nsenter", f"--target={holder.pid}", "--mount")
            yield SmallDisk(place, within, Path(f"/proc/{holder.pid}/root{place}"))
        else:
            yield None
