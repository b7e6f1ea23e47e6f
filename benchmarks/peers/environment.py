"""The peers: other ways to load the same order lines, in a Python environment of their own.

What belongs here: finding that environment, and running the peers out of it. What does not: their programs, which
import what is only there.
"""

from __future__ import annotations

import json
import subprocess
from dataclasses import dataclass, field
from datetime import date
from pathlib import Path

import duckdb

from benchmarks.measure import BenchmarkError, Measurement, measure
from benchmarks.workload import ROOT, clean_environment, compile_byte_code
from etl_assets.demo.server import SpawnedSource

ENVIRONMENT = ROOT / ".venv" / "peers"
PROGRAMS = Path(__file__).parent
PACKAGES = ("dlt", "dagster", "dagster-duckdb-pandas", "duckdb", "pandas")
HOW_TO_GET_THEM = (
    "dlt and plain Dagster are not compared with: make peers installs them beside the environment"
)
_VERSIONS = """
import json, sys
from importlib.metadata import version
print(json.dumps({name: version(name) for name in sys.argv[1:]}))
"""


@dataclass(frozen=True, slots=True)
class Peers:
    """The installed peers.

    Attributes:
        python: Their Python.
        versions: What is installed, by package.
    """

    python: Path
    versions: dict[str, str] = field(default_factory=dict)

    def load_by_dlt(self, source: SpawnedSource, folder: Path, first: date, last: date) -> Measurement:
        """Load days of order lines by dlt; `rows_of_dlt` gives how many rows it were.

        Args:
            source: The shop.
            folder: Where to, a new one.
            first: First day.
            last: Last day, included.

        Raises:
            BenchmarkError: If dlt failed.
        """
        folder.mkdir(parents=True)
        environment = clean_environment(
            SHOP_URL=source.url,
            SHOP_TOKEN=source.token,
            RUNTIME__DLTHUB_TELEMETRY="false",
            DLT_DATA_DIR=str(folder / "dlt"),
        )
        program = str(PROGRAMS / "dlt_order_lines.py")
        command = [str(self.python), program, str(folder), first.isoformat(), last.isoformat()]
        return measure(command, environment, folder)

    def load_by_plain_dagster(
        self, source: SpawnedSource, folder: Path, start: date, day: date
    ) -> Measurement:
        """Load a day of order lines by plain Dagster, in a run of its own.

        Args:
            source: The shop.
            folder: Where to; the days before may be there.
            start: First partition.
            day: The day.

        Raises:
            BenchmarkError: If the run failed.
        """
        home = folder / "dagster_home"
        if not home.exists():
            home.mkdir(parents=True)
            # Nothing else is set: storage, executor and launcher are what Dagster takes by itself.
            (home / "dagster.yaml").write_text("telemetry: {enabled: false}\n", encoding="utf-8")
        environment = clean_environment(
            SHOP_URL=source.url,
            SHOP_TOKEN=source.token,
            DAGSTER_HOME=str(home),
            PEER_DATABASE=str(folder / "warehouse.duckdb"),
            PEER_START_DATE=start.isoformat(),
        )
        command = [str(self.python), "-m", "dagster", "asset", "materialize"]
        command += ["-f", str(PROGRAMS / "plain_dagster.py"), "--select", "*", "--partition", day.isoformat()]
        return measure(command, environment, folder)


def find_peers(folder: Path = ENVIRONMENT) -> Peers | None:
    """Find the peers' environment; None where there is none.

    Args:
        folder: The virtual environment.

    Raises:
        BenchmarkError: If something is missing in it.
    """
    python = folder / "bin" / "python"
    if not python.is_file():
        return None
    compile_byte_code(python, folder / "lib")
    asked = subprocess.run(
        [str(python), "-c", _VERSIONS, *PACKAGES],
        env=clean_environment(),
        capture_output=True,
        text=True,
        check=False,
    )
    if asked.returncode:
        reason = asked.stderr.strip().splitlines()[-1:] or ["it said nothing"]
        raise BenchmarkError(f"the peers in {folder} cannot be used: {reason[0]}")
    return Peers(python, json.loads(asked.stdout))


def rows_of_dlt(run: Measurement) -> int:
    """Read from what dlt's program printed how many rows it loaded.

    Raises:
        BenchmarkError: If the output is not that program's.
    """
    try:
        return int(json.loads(run.output.splitlines()[-1])["rows"])
    except (IndexError, ValueError, KeyError, TypeError) as error:
        raise BenchmarkError(f"dlt did not print its rows: {run.output[-200:]!r}") from error


def rows_of_plain_dagster(folder: Path, day: date) -> int:
    """Count what plain Dagster has staged of a day."""
    with duckdb.connect(str(folder / "warehouse.duckdb"), read_only=True) as connection:
        counted = connection.execute(
            "SELECT count(*) FROM shop.staged_order_lines WHERE CAST(invoiced_at AS DATE) = ?", [day]
        )
        (rows,) = counted.fetchone() or (0,)
    return int(rows)
