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

from benchmarks.bench import Result, ratio_name
from benchmarks.peers.environment import HOW_TO_GET_THEM, Peers
from benchmarks.targets import judge
from benchmarks.workload import ROOT, Days

PACKAGES = ("dagster", "duckdb", "pandas", "pandera", "pyarrow", "httpx", "structlog")


def describe_setting(
    days: Days, runs: int, peers: Peers | None = None, *, is_quick: bool = False
) -> dict[str, Any]:
    """Say on what and with what is measured, without names of machines or people.

    Args:
        days: The days that are loaded.
        runs: How often.
        peers: What is compared with.
        is_quick: Whether sizes are too small for the targets to mean anything.
    """
    return {
        "measured_at": datetime.now(UTC).isoformat(timespec="seconds").replace("+00:00", "Z"),
        "commit": _commit(),
        "data": f"{days.label}, {days.first} to {days.last}",
        "runs": runs,
        "is_quick": is_quick,
        "machine": {
            "processor": _processor(),
            "cores": os.cpu_count(),
            "memory_gib": _memory_gib(),
            "system": f"{platform.system()} {platform.release().split('-')[0]}",
            "load_before": round(os.getloadavg()[0], 2),
        },
        "versions": {"python": platform.python_version(), **{name: version(name) for name in PACKAGES}},
        "peers": dict(peers.versions) if peers else {},
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
        f"{setting['data']}; {runs} each, twice as many of what takes only moments.",
        f"{machine['processor']}, {machine['cores']} cores, {machine['memory_gib']} GiB, {machine['system']}, load "
        f"{machine['load_before']} before; " + _listed(versions),
        "",
        "The source runs as a process of its own on the same machine. Times are of the whole command, from starting "
        "Python to its end; peak is the greatest resident memory of one of its processes, and all that of all of "
        "them together at one time, as far as looking twice a second shows it, what they share counted once.",
        f"Peers: {_listed(setting['peers'])}." if setting["peers"] else f"Peers: {HOW_TO_GET_THEM}.",
        "",
        *([] if setting["is_quick"] else _targets(results)),
    ]
    loads = [result for result in results if "extracted" in result.figures]
    if loads:
        lines += [*load_table(loads), ""]
    for result in results:
        if result.compared and "extracted" not in result.figures:
            lines += [f"- {result.what}: {result.compared}."]
    compared = [row for result in results for row in _large_table_rows(result)]
    if compared:
        sizes = _table_sizes(results)
        lines += [
            "| one more day, seconds by rows of the table | part | "
            + " | ".join(f"{rows:,}" for rows in sizes)
            + " | times |",
            "| --- | --- | " + "---: | " * len(sizes) + "---: |",
            *compared,
        ]
    return "\n".join(lines).rstrip() + "\n"


def load_table(loads: Sequence[Result]) -> list[str]:
    """Give the lines of a table of loads."""
    return [
        "| case | wall s (least to most) | CPU s | peak MiB | all MiB | rows | rows/s | compared |",
        "| --- | ---: | ---: | ---: | ---: | ---: | ---: | --- |",
        *(_load_row(result) for result in loads),
    ]


def _listed(versions: dict[str, str]) -> str:
    return ", ".join(f"{name} {held}" for name, held in versions.items())


def _targets(results: Sequence[Result]) -> list[str]:
    rows = [f"| {verdict.target.what} | {verdict.told} |" for verdict in judge(results)]
    return ["| target | measured | |", "| --- | ---: | --- |", *rows, ""] if rows else []


def _load_row(result: Result) -> str:
    figures = result.figures
    spread = f"{figures['wall_seconds']:.1f} ({min(result.walls):.1f} to {max(result.walls):.1f})"
    return (
        f"| {result.what} | {spread} | {figures['cpu_seconds']:.1f} | {figures['peak_mib']:.0f} "
        f"| {figures['all_mib']:.0f} | {figures['extracted']:,.0f} | {figures['rows_per_second']:,.0f} "
        f"| {result.compared} |"
    )


_PARTS = {
    "commit": "commit",
    "commit_cpu": "CPU of the commit",
    "session": "commit with opening and closing",
    "whole": "whole",
}


def _table_sizes(results: Sequence[Result]) -> list[int]:
    names = [name for result in results for name in result.figures if "_at_" in name]
    return sorted({int(name.rpartition("_at_")[2]) for name in names})


def _large_table_rows(result: Result) -> list[str]:
    figures, sizes = result.figures, _table_sizes([result])
    return [
        f"| {result.what} | {part} | "
        + " | ".join(f"{figures[f'{name}_at_{rows}']:.2f}" for rows in sizes)
        + f" | {figures[ratio_name(name, sizes)]:.2f} |"
        for name, part in _PARTS.items()
        if sizes and ratio_name(name, sizes) in figures
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
    targets = [
        {"target": verdict.target.what, "figure": verdict.rounded, "met": verdict.is_met}
        for verdict in ([] if setting["is_quick"] else judge(results))
    ]
    as_json.write_text(
        json.dumps({**setting, "targets": targets, "results": rounded}, indent=2) + "\n", encoding="utf-8"
    )
    page.write_text(as_markdown(setting, results), encoding="utf-8")
    return [as_json, page]
