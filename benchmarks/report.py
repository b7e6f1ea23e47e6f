"""Writing results down: JSON for machines, Markdown for people, both with what they were measured on.

What belongs here: the machine's description and the two forms. What does not: measuring.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.cases import Result
from benchmarks.workload import Days

PACKAGES = ("dagster", "duckdb", "pandas", "pandera", "pyarrow", "httpx", "structlog")
ROOT = Path(__file__).resolve().parents[1]


def describe_setting(days: Days, runs: int) -> dict[str, Any]:
    """Say on what and with what is measured, without names of machines or people."""
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": _commit(),
        "data": f"{days.label}, {days.first} to {days.last}",
        "runs": runs,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": _memory_gib(),
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
    }


def _commit() -> str:
    git = shutil.which("git")
    if git is None or not (ROOT / ".git").exists():
        return "unknown"
    head = _said(git, "rev-parse", "--short", "HEAD")
    changed = _said(git, "status", "--porcelain", "--", "etl_assets")
    return f"{head} with uncommitted changes" if changed else head


def _said(*command: str) -> str:
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False).stdout.strip()


def _processor() -> str:
    try:
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            name, _, value = line.partition(":")
            if name.strip() == "model name":
                return value.strip()
    except OSError:
        pass
    return platform.processor() or platform.machine()


def _memory_gib() -> int:
    return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30)


def as_markdown(setting: dict[str, Any], results: Sequence[Result]) -> str:
    """Give the results as a page."""
    machine, versions = setting["machine"], setting["versions"]
    runs = f"medians of {setting['runs']} runs" if setting["runs"] > 1 else "one run"
    lines = [
        "# Benchmark results",
        "",
        f"Measured {setting['measured_at']} by `python -m benchmarks` at commit {setting['commit']}, on "
        f"{setting['data']}; {runs} each, twice as many of the imports.",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, load "
        f"{machine['load_before']} before; " + ", ".join(f"{name} {held}" for name, held in versions.items()),
        "",
        "The source runs as a process of its own on the same machine. Times are of the whole command, from starting "
        "Python to its end; peak is its greatest resident memory.",
        "",
    ]
    loads = [_load_row(result) for result in results if "extracted" in result.figures]
    if loads:
        lines += [
            "| case | wall s (least to most) | CPU s | peak MiB | rows | rows/s | compared |",
            "| --- | ---: | ---: | ---: | ---: | ---: | --- |",
            *loads,
        ]
    for result in results:
        if "added_seconds" in result.figures:
            lines += ["", _imports_sentence(result)]
    compared = [row for result in results for row in _large_table_rows(result)]
    if compared:
        lines += [
            "| what is loaded | part | small table, s | large table, s | times |",
            "| --- | --- | ---: | ---: | ---: |",
            *compared,
        ]
    return "\n".join(lines) + "\n"


def _load_row(result: Result) -> str:
    figures = result.figures
    compared = ""
    if "share_of_first_load" in figures:
        compared = f"{figures['share_of_first_load']:.2f} of the first load's time"
    if "quality_share_of_wall" in figures:
        compared = (
            f"rules and audits take {figures['quality_share_of_wall']:.0%} of the time of a load that has them, by "
            f"turns with this one, and {figures['quality_share_of_cpu']:.0%} of its CPU"
        )
    if "peak_to_tenth_of_the_day" in figures:
        compared = f"{figures['peak_to_tenth_of_the_day']:.2f} times the memory of a tenth of the day"
    spread = f"{figures['wall_seconds']:.1f} ({min(result.walls):.1f} to {max(result.walls):.1f})"
    return (
        f"| {result.what} | {spread} | {figures['cpu_seconds']:.1f} | {figures['peak_mib']:.0f} "
        f"| {figures['extracted']:,.0f} | {figures['rows_per_second']:,.0f} | {compared} |"
    )


def _imports_sentence(result: Result) -> str:
    figures = result.figures
    return (
        f"{result.what}: {figures['definitions_seconds']:.2f} s against {figures['dagster_seconds']:.2f} s in fresh "
        f"processes, {figures['added_seconds']:.2f} s more ({figures['times_dagster']:.2f} times)."
    )


_PARTS = {
    "commit": "commit",
    "commit_cpu": "CPU of the commit",
    "session": "commit with opening and closing",
    "whole": "whole",
}


def _large_table_rows(result: Result) -> list[str]:
    figures = result.figures
    return [
        f"| {result.what} | {part} | {figures[f'small_{name}']:.2f} | {figures[f'large_{name}']:.2f} "
        f"| {figures[f'{name}_to_small']:.2f} |"
        for name, part in _PARTS.items()
        if f"{name}_to_small" in figures
    ]


def write_results(folder: Path, name: str, setting: dict[str, Any], results: Sequence[Result]) -> list[Path]:
    """Write both forms.

    Args:
        folder: Where to; made if needed.
        name: File name without its ending.
        setting: From `describe_setting`.
        results: The results.

    Returns:
        The files.
    """
    folder.mkdir(parents=True, exist_ok=True)
    rounded = [asdict(result) for result in results]
    for result in rounded:
        result["figures"] = {key: round(value, 4) for key, value in result["figures"].items()}
        result["walls"] = [round(wall, 3) for wall in result["walls"]]
    as_json, page = folder / f"{name}.json", folder / f"{name}.md"
    as_json.write_text(json.dumps({**setting, "results": rounded}, indent=2) + "\n", encoding="utf-8")
    page.write_text(as_markdown(setting, results), encoding="utf-8")
    return [as_json, page]
