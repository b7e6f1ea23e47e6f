"""What a step writes to standard output and error, kept for the UI and still shown where it would have gone.

Dagster's own keeper starts four processes for each step: a `tail` for each of both, and a Python for each `tail`, to
end it should the run be killed. Here a thread for each does the same, and ends with its process. Files and places are
those of Dagster's own class. What belongs here: keeping and showing. What does not: what is written.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from dagster._core.execution.compute_logs import redirect_to_file
from dagster._core.storage.compute_log_manager import CapturedLogContext, ComputeIOType
from dagster._core.storage.local_compute_log_manager import IO_TYPE_EXTENSION, LocalComputeLogManager
from dagster._serdes import ConfigurableClassData
from dagster._utils import ensure_file, touch_file

SHOWN_EVERY = 0.1
"""Seconds after which what was written is shown at the latest."""

_CHUNK = 64 * 1024


class ThreadedComputeLogManager(LocalComputeLogManager):
    """Dagster's files of what steps write, shown by threads instead of processes.

    Args:
        base_dir: Folder of the files, ``$DAGSTER_HOME/storage`` by default in Dagster.
        polling_timeout: Seconds after which the UI looks for more.
        inst_data: Dagster's record of how this was configured.
    """

    @classmethod
    def from_config_value(
        cls, inst_data: ConfigurableClassData | None, config_value: Mapping[str, Any]
    ) -> ThreadedComputeLogManager:
        return cls(
            os.path.join(config_value["base_dir"], "storage"), config_value.get("polling_timeout"), inst_data
        )

    @contextmanager
    def capture_logs(self, log_key: Sequence[str]) -> Iterator[CapturedLogContext]:
        """Keep what is written to standard output and error, by this process and those that it starts.

        Args:
            log_key: What names the files.
        """
        out, err = (
            self.get_captured_local_path(log_key, IO_TYPE_EXTENSION[kind])
            for kind in (ComputeIOType.STDOUT, ComputeIOType.STDERR)
        )
        with kept(sys.stdout, Path(out)), kept(sys.stderr, Path(err)):
            yield CapturedLogContext(log_key)
        # Whoever reads them knows by this file that there is no more to come.
        touch_file(self.complete_artifact_path(log_key))  # type: ignore[no-untyped-call]


@contextmanager
def kept(stream: IO[str], path: Path) -> Iterator[None]:
    """Write to a file what is written to a stream, and show it where the stream leads as well.

    Args:
        stream: One of this process's own; one that is no file of the system is left alone.
        path: The file; what it holds already is shown, too.
    """
    ensure_file(str(path))
    try:
        target = os.dup(stream.fileno())
    except (OSError, ValueError):
        yield
        return
    done = threading.Event()
    shown_by = threading.Thread(
        target=_show, args=(path, target, done), daemon=True, name=f"show {path.name}"
    )
    try:
        shown_by.start()
        with redirect_to_file(stream, str(path)):
            yield
    finally:
        done.set()
        shown_by.join()
        os.close(target)


def _show(path: Path, target: int, done: threading.Event) -> None:
    """Copy a file that grows, to its end when it is done."""
    with path.open("rb", buffering=0) as file:
        while True:
            last = done.wait(SHOWN_EVERY)
            while chunk := file.read(_CHUNK):
                try:
                    _write_all(target, chunk)
                except OSError:
                    # Nobody reads it any more; the file has it all.
                    return
            if last:
                return


def _write_all(target: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(target, view) :]
