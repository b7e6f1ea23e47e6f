"""The local Dagster instance: its folder, its `dagster.yaml`, and opening it from the command line.

What belongs here: what must be there before Dagster starts. What does not: anything about assets.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from filelock import FileLock

from etl_assets.failures import EtlError, is_disk_full
from etl_assets.orchestration.event_batches import enable_event_batches
from etl_assets.settings import Settings

if TYPE_CHECKING:
    import dagster as dg


def prepare_dagster_home(settings: Settings) -> Path:
    """Make Dagster's folder, with our `dagster.yaml` unless it has one, and name it in the environment.

    Returns:
        The folder.

    Raises:
        EtlError: If the folder cannot be written.
    """
    home = settings.dagster_home
    try:
        home.mkdir(parents=True, exist_ok=True)
        target = home / "dagster.yaml"
        if not target.exists():
            # Under a name of its own first: another process may start at this moment and read the file.
            draft = home / f".dagster.yaml.{os.getpid()}"
            draft.write_bytes(files("etl_assets.orchestration").joinpath("dagster.yaml").read_bytes())
            draft.replace(target)
    except OSError as error:
        if is_disk_full(error):
            raise
        raise EtlError(
            f"the folder {home} cannot be written: {error.strerror}",
            hint="check ETL_DATA_DIR and DAGSTER_HOME",
        ) from error
    os.environ["DAGSTER_HOME"] = str(home)
    enable_event_batches()
    return home


@contextmanager
def opened_instance(settings: Settings) -> Iterator[dg.DagsterInstance]:
    """Open the instance that the UI shows.

    Args:
        settings: Where it is.

    Raises:
        EtlError: If it cannot be opened.
    """
    home = prepare_dagster_home(settings)
    # The UI's own processes import Dagster; who only prepares its folder for them does not.
    import dagster as dg

    try:
        # Two processes that open a new instance at once would both make its tables, and one of them would fail.
        with FileLock(home / ".opening.lock", timeout=settings.lock_timeout):
            instance = dg.DagsterInstance.get()
    except Exception as error:
        if is_disk_full(error):
            raise
        reason = " ".join(str(error).split())[:200]
        raise EtlError(
            f"the Dagster instance in {settings.dagster_home} cannot be opened: {reason}",
            hint="look at its dagster.yaml",
        ) from error
    with instance:
        yield instance
