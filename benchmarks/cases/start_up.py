"""What is paid each time: importing, `etl-assets status`, and a tick of a sensor that finds nothing to do.

What belongs here: work of a moment. What does not: loads of a day, which are mostly the same cost (`spans`).
"""

from __future__ import annotations

import json
import sys
from statistics import median

from benchmarks.bench import Bench, Result
from benchmarks.measure import BenchmarkError, Measurement, measure, medians
from benchmarks.workload import COMMAND_LINE, LINES, ROOT, backfill, clean_environment, served, settings_of

IMPORTS = ("import dagster", "import etl_assets.definitions")
STATUS = "status"
ROUNDS = 2
"""As many times as other things are measured, since they take only moments."""


def imports(bench: Bench) -> list[Result]:
    """Import dagster, and the project's definitions, each in fresh processes, by turns."""
    environment = clean_environment(ETL_DATA_DIR=str(bench.scratch / "imports"))
    runs: dict[str, list[Measurement]] = {statement: [] for statement in IMPORTS}
    # One round that does not count: it writes byte code and fills the system's file cache.
    for number in range(bench.runs * ROUNDS + 1):
        for statement in IMPORTS:
            run = measure([sys.executable, "-c", statement], environment)
            if number:
                runs[statement].append(run)
    alone, ours = (medians(runs[statement]) for statement in IMPORTS)
    figures = {
        "dagster_seconds": alone["wall_seconds"],
        "definitions_seconds": ours["wall_seconds"],
        "added_seconds": ours["wall_seconds"] - alone["wall_seconds"],
        "times_dagster": ours["wall_seconds"] / alone["wall_seconds"],
        "definitions_peak_mib": ours["peak_mib"],
    }
    walls = [run.wall for run in runs[IMPORTS[1]]]
    sentence = (
        f"{figures['definitions_seconds']:.2f} s against {figures['dagster_seconds']:.2f} s in fresh processes, "
        f"{figures['added_seconds']:.2f} s more ({figures['times_dagster']:.2f} times)"
    )
    what = "`import etl_assets.definitions` against `import dagster`"
    return [Result("imports", what, figures, walls, sentence)]


def status_and_ticks(bench: Bench) -> list[Result]:
    """Ask for the status of a warehouse with all days in it, and let the sensors look at it when nothing is new."""
    days, folder = bench.days, bench.scratch / "order_lines_0"
    with served(days) as source:
        # The year's own case may have been before.
        if not folder.exists():
            backfill(source, folder, LINES, days.first, days.last)
        environment = clean_environment(**settings_of(source, folder, days.first))
        # Named, since the days from then to yesterday are no part of the question.
        span = ["--from", days.first.isoformat(), "--to", days.last.isoformat()]
        command = [sys.executable, *COMMAND_LINE, STATUS, *span]
        # The first one does not count, as with imports.
        asked = [measure(command, environment) for _ in range(bench.runs * ROUNDS + 1)][1:]
        ticked = measure([sys.executable, "-m", "benchmarks.sensor_ticks"], environment, ROOT)
    medians_of_ticks = _ticks(ticked)
    walls = [run.wall for run in asked]
    figures = {
        "status_seconds": median(walls),
        "status_cpu_seconds": median(run.cpu for run in asked),
        "status_peak_mib": median(run.peak_mib for run in asked),
    }
    sentence = (
        f"{figures['status_seconds']:.2f} s in fresh processes ({min(walls):.2f} to {max(walls):.2f}), "
        f"{figures['status_peak_mib']:.0f} MiB"
    )
    status = Result("status", f"`etl-assets status` of {days.count} loaded days", figures, walls, sentence)
    what = f"A tick that finds nothing to do, beside {days.count} days, without Dagster's way to it"
    told = ", ".join(f"sensor {name} {seconds * 1000:.0f} ms" for name, seconds in medians_of_ticks.items())
    ticks = {f"tick_seconds_{name}": seconds for name, seconds in medians_of_ticks.items()}
    return [status, Result("sensor_ticks", what, ticks, [], told)]


def _ticks(run: Measurement) -> dict[str, float]:
    try:
        return {str(name): float(seconds) for name, seconds in json.loads(run.output).items()}
    except (ValueError, AttributeError) as error:
        raise BenchmarkError(f"the sensors did not print their ticks: {run.output[:200]!r}") from error
