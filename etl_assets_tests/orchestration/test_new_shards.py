"""A run's file is made as Dagster makes it, whoever else makes it at the same moment."""

from __future__ import annotations

import sqlite3
import threading
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from dagster._core.storage.event_log.sqlite.sqlite_event_log import SqliteEventLogStorage

from etl_assets.orchestration import new_shards
from etl_assets.orchestration.event_log import BatchingSqliteEventLogStorage

RUN = "11111111-run"
Storage = type[SqliteEventLogStorage]
CLASSES: list[Storage] = [SqliteEventLogStorage, BatchingSqliteEventLogStorage]


def make_shard(kind: Storage, folder: Path, run_id: str = RUN) -> None:
    log = kind(str(folder))
    with log.run_connection(run_id):
        pass
    log.dispose()


def made(file: Path) -> dict[str, Any]:
    """Give all that a file has been given at its making."""
    with closing(sqlite3.connect(file)) as connection:
        return {
            "schema": set(connection.execute("SELECT type, name, tbl_name, sql FROM sqlite_master")),
            "version": connection.execute("SELECT version_num FROM alembic_version").fetchall(),
            "mode": connection.execute("PRAGMA journal_mode").fetchone(),
            "rows": connection.execute("SELECT count(*) FROM event_logs").fetchone(),
        }


def test_files_are_those_that_dagster_makes(tmp_path: Path) -> None:
    for kind in CLASSES:
        make_shard(kind, tmp_path / kind.__name__)
    theirs, ours = (tmp_path / kind.__name__ for kind in CLASSES)
    names = {file.name for file in theirs.glob("*.db")}
    assert names == {"index.db", f"{RUN}.db"}
    for name in names:
        expected = made(theirs / name)
        assert made(ours / name) == expected, name
        assert expected["mode"] == ("wal",)


@pytest.mark.parametrize("other", CLASSES, ids=["Dagster's", "ours"])
def test_the_same_files_are_made_by_many_at_once(tmp_path: Path, other: Storage) -> None:
    make_shard(BatchingSqliteEventLogStorage, tmp_path)
    runs = [f"{number:08}-run" for number in range(10)]
    failures: list[BaseException] = []
    together = threading.Barrier(4)

    def work(kind: Storage) -> None:
        log = kind(str(tmp_path))
        try:
            for run_id in runs:
                together.wait()
                with log.run_connection(run_id):
                    pass
        except BaseException as error:
            failures.append(error)
            together.abort()
        finally:
            log.dispose()

    kinds = [BatchingSqliteEventLogStorage, other] * 2
    threads = [threading.Thread(target=work, args=(kind,)) for kind in kinds]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert not failures
    expected = made(tmp_path / f"{RUN}.db")
    assert all(made(tmp_path / f"{run_id}.db") == expected for run_id in runs)


def test_a_file_without_a_version_is_left_to_dagster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make_shard(BatchingSqliteEventLogStorage, tmp_path)
    file = tmp_path / f"{RUN}.db"
    expected = made(file)
    with closing(sqlite3.connect(file)) as connection:
        connection.execute("DROP TABLE alembic_version")
    monkeypatch.setattr(new_shards, "_make", lambda connection: pytest.fail("it has tables already"))
    make_shard(BatchingSqliteEventLogStorage, tmp_path)
    assert made(file) == expected
