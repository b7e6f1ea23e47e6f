"""What the nursery's children do: load, load again, look.

What belongs here: work that needs a database or threads, and so a process of its own; each answer can be written as
JSON. What does not: what the answers mean (`etl_assets_tests.crash.nursery`).
"""

from __future__ import annotations

import json
import os
import traceback
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import duckdb

from etl_assets_tests.crash.aftermath import aftermath, content_of
from etl_assets_tests.crash.workloads import Workload, day


def fork(work: Callable[[], dict[str, Any]], answer: Path) -> int:
    """Do something in a child, which leaves its answer in a file."""
    # Opened here, as the child may be somebody else when it answers.
    descriptor = os.open(answer, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
    child = os.fork()
    if child:
        os.close(descriptor)
        return child
    status = 1
    try:
        os.write(descriptor, json.dumps(work()).encode())
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def load_days(
    workload: Workload,
    variables: dict[str, str],
    days: Sequence[int] | None = None,
    threads: int = 1,
) -> dict[str, Any]:
    """Load days, those that are to be struck unless others are named; gives what went wrong."""
    wanted = workload.days if days is None else [day(number) for number in days]
    try:
        outcomes = workload.load(variables, wanted, threads=threads)
    except Exception as error:
        return {"problems": [f"{type(error).__name__}: {error}"]}
    return {"problems": [each.message for each in outcomes if not each.status.is_published]}


def load_one_by_one(workload: Workload, variables: dict[str, str]) -> dict[str, Any]:
    """Load one day after the other, and the mart; gives what the tables may hold in between."""
    folder = Path(variables["ETL_DATA_DIR"])
    states = [content_of(folder)]
    without_mart = replace(workload, mart=None)
    for number in range(len(workload.days)):
        without_mart.load(variables, [workload.days[number]])
        states.append(content_of(folder))
    workload.load(variables, [])
    return {"states": [*states, content_of(folder)]}


def run_again(workload: Workload, variables: dict[str, str], states: frozenset[str]) -> dict[str, Any]:
    """Look whether the tables are in one of some states, load plainly, and look again."""
    problems = []
    try:
        if content_of(Path(variables["ETL_DATA_DIR"])) not in states:
            problems.append("a part of a commit can be seen")
    except duckdb.Error as error:
        problems.append(f"the warehouse cannot be read: {error}")
    problems += [f"running again: {problem}" for problem in load_days(workload, variables)["problems"]]
    if problems:
        return {"problems": problems}
    return {"problems": problems, **look(workload, variables)}


def look(workload: Workload, variables: dict[str, str]) -> dict[str, Any]:
    """Give what the data folder holds, see `Aftermath`."""
    return {"aftermath": asdict(aftermath(variables, workload.stream))}
