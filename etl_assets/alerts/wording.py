"""What is said of each kind of problem: what happened, what the platform did by itself, and what to do next.

What belongs here: the sentences. What does not: facts and figures (`compose`), and how a message looks.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence

from etl_assets.alerts.conditions import FAILED_AUDITS, OFF, QUARANTINED, Kind, Severity
from etl_assets.alerts.notice import Step
from etl_assets.alerts.problems import Problem
from etl_assets.failures import FailureClass

HAPPENED: Mapping[Kind, str] = {
    Kind.RUN_FAILED: "failed",
    Kind.PARTITION_FAILED: "failed to load",
    Kind.PARTITION_WITHHELD: "withheld",
    Kind.SNAPSHOT_GUARD: "withheld: the snapshot would remove too many rows",
    Kind.CHECK_FAILED: "failed a check",
    Kind.THRESHOLD: "beyond a threshold",
    Kind.PARTITION_LATE: "late",
    Kind.SCHEMA_CHANGED: "changed its fields, columns or rules",
    Kind.SOURCE_BROKEN: "does not answer",
    Kind.SCHEDULE_FAILING: "fails or lags",
    Kind.SENSOR_FAILING: "fails or lags",
    Kind.BACKFILL_FINISHED: "finished",
    Kind.DAILY_SUMMARY: "",
    Kind.DAEMON_STOPPED: "has stopped",
    Kind.ALERTS_STOPPED: "stopped",
}
UNITS: Mapping[Kind, str] = {
    Kind.RUN_FAILED: "run",
    Kind.PARTITION_FAILED: "day",
    Kind.PARTITION_WITHHELD: "day",
    Kind.SNAPSHOT_GUARD: "day",
    Kind.CHECK_FAILED: "result",
    Kind.THRESHOLD: "day",
    Kind.PARTITION_LATE: "day",
}
CLASSES: Mapping[str, str] = {
    FailureClass.TRANSIENT.value: "transient: may pass by itself",
    FailureClass.RATE_LIMITED.value: "rate limited: the source asked for patience",
    FailureClass.PERMANENT.value: "permanent: the same request will fail again",
    FailureClass.WITHHELD.value: "withheld: nothing broke, but the audit keeps the day from being published",
}
_OF_A_DAY = frozenset(
    {Kind.PARTITION_FAILED, Kind.PARTITION_WITHHELD, Kind.SNAPSHOT_GUARD, Kind.PARTITION_LATE, Kind.THRESHOLD}
)
_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}$")
_NEXT_TICK = "Dagster tries again at the next tick."
_KEPT = "Nothing visible changed: the table keeps what it had of these days. Other days were loaded as usual."
_DID: Mapping[Kind, str] = {
    Kind.SNAPSHOT_GUARD: f"{_KEPT} No row was marked as gone.",
    Kind.THRESHOLD: "The days were published; only the number is out of the ordinary.",
    Kind.PARTITION_LATE: "Nothing: there was no attempt that it could have repeated. The table has no rows of the day.",
    Kind.SCHEMA_CHANGED: "The load went through; what it noticed is in etl.schema_changes.",
    Kind.SOURCE_BROKEN: "It stopped asking, put the remaining days off, and tries again at every load.",
    Kind.DAEMON_STOPPED: "Nothing: without the daemon no schedule, backfill or sensor runs. "
    "This message comes from the watchdog.",
    Kind.ALERTS_STOPPED: "What is wrong stays on record and is told when alerts run again.",
}


def did(problem: Problem) -> str:
    """Say what the platform did by itself."""
    classes = {occurrence.failure_class for occurrence in problem.occurrences}
    passing = classes & {FailureClass.TRANSIENT.value, FailureClass.RATE_LIMITED.value}
    if problem.kind is Kind.PARTITION_FAILED:
        return f"It repeated requests and steps until they were used up. {_KEPT}" if passing else _KEPT
    if problem.kind is Kind.PARTITION_WITHHELD:
        bad_rows = " The bad rows are in etl.quarantine, with rule and reason."
        return f"{_KEPT}{bad_rows if _has(problem, QUARANTINED) else ''}"
    if problem.kind is Kind.RUN_FAILED:
        return "It ended the run; whatever had been committed is safe. No repeat of the run is coming."
    if problem.kind is Kind.CHECK_FAILED:
        mild = problem.severity.rank < Severity.ERROR.rank
        return f"The result is recorded with its numbers{'; it keeps no day from being published' if mild else ''}."
    if problem.kind in _TICKING:
        return "Nothing: nothing is launched while it is off." if _is_off(problem) else _NEXT_TICK
    return _DID.get(problem.kind, "")


def _is_off(problem: Problem) -> bool:
    return any(occurrence.key == OFF for occurrence in problem.occurrences)


def steps(problem: Problem, ui: str) -> Sequence[Step]:
    """Say what to do next.

    Args:
        problem: The problem, with its conditions.
        ui: Address of Dagster's UI.
    """
    make = _STEPS.get(problem.kind)
    return make(problem, ui) if make else ()


def place_of(problem: Problem, ui: str) -> str:
    """Give the address where a problem is best looked at."""
    link = next((occurrence.link for occurrence in reversed(problem.occurrences) if occurrence.link), "")
    return f"{ui}{link}" if link else ui


def span_of(problem: Problem) -> tuple[str, str]:
    """Give the first and last day of a problem whose keys are days."""
    days = sorted(occurrence.key[:10] for occurrence in problem.occurrences)
    return (days[0], days[-1]) if days else ("", "")


def _backfill(problem: Problem, *more: str) -> str:
    first, last = span_of(problem)
    streams = " ".join(problem.subjects[:5])
    return " ".join(["etl-assets backfill", streams, "--from", first, "--to", last, *more])


def _load_again(problem: Problem, ui: str) -> Sequence[Step]:
    classes = {occurrence.failure_class for occurrence in problem.occurrences}
    if classes <= {FailureClass.TRANSIENT.value, FailureClass.RATE_LIMITED.value}:
        advice = "When the source answers again, load the days again; only what changed is written."
    else:
        advice = "Mend the cause that the error names, then load the days again."
    return (Step(advice, _backfill(problem, "--failed"), place_of(problem, ui)),)


def _has(problem: Problem, detail: str) -> bool:
    return any(detail in occurrence.details for occurrence in problem.occurrences)


def _query(problem: Problem, columns: str, table: str, condition: str) -> str:
    source, _, stream = problem.subjects[0].partition("/") if problem.subjects else ("", "", "")
    first, last = span_of(problem)
    return (
        f"etl-assets query \"SELECT {columns} FROM {table} WHERE source = '{source}' AND stream = '{stream}' "
        f"AND {condition} AND partition BETWEEN '{first}' AND '{last}' GROUP BY ALL\""
    )


def _mend_withheld(problem: Problem, ui: str) -> Sequence[Step]:
    audited, quarantined = _has(problem, FAILED_AUDITS), _has(problem, QUARANTINED)
    found = []
    if quarantined:
        look = _query(problem, "rule, reason, count(*)", "etl.quarantine", "state = 'pending'")
        found.append(Step("Look at what broke the contract.", look, place_of(problem, ui)))
    if audited:
        look = _query(problem, "partition, check_name, message", "etl.check_results", "NOT passed")
        found.append(Step("Look at what the audits found.", look, place_of(problem, ui)))
    if not found:
        found.append(Step("Ask the source whether its answer is right.", url=place_of(problem, ui)))
    found.append(Step("Mend the source or the stream's file, then load the days again.", _backfill(problem)))
    if audited:
        found.append(
            Step("If they are right as they are, publish them.", _backfill(problem, "--confirm-audits"))
        )
    elif not quarantined:
        found.append(Step("If it is, accept it.", _backfill(problem, "--confirm-empty")))
    return tuple(found)


def _confirm_snapshot(problem: Problem, ui: str) -> Sequence[Step]:
    return (
        Step("Ask the source whether so many rows are really gone.", url=place_of(problem, ui)),
        Step("If they are, accept it.", _backfill(problem, "--confirm-empty")),
    )


def _load_late(problem: Problem, ui: str) -> Sequence[Step]:
    return (
        Step("See whether the schedule ran.", "etl-assets watchdog", f"{ui}/runs"),
        Step("Load what is missing.", _backfill(problem, "--missing"), place_of(problem, ui)),
    )


def _compare(problem: Problem, ui: str) -> Sequence[Step]:
    if _threshold(problem) == "error_rate":
        look = _query(problem, "rule, reason, count(*)", "etl.quarantine", "state = 'pending'")
        return (Step("Look at what broke the contract.", look, place_of(problem, ui)),)
    source, _, stream = problem.subjects[0].partition("/") if problem.subjects else ("", "", "")
    look = (
        'etl-assets query "SELECT partition, extracted, quarantined, seconds_total, loaded_at FROM etl.loads WHERE '
        f"source = '{source}' AND stream = '{stream}' ORDER BY loaded_at DESC LIMIT 30\""
    )
    return (Step("Compare the load with those before it.", look, place_of(problem, ui)),)


def _wait_for_source(problem: Problem, ui: str) -> Sequence[Step]:
    source = problem.scope.rpartition(" ")[2]
    return (
        Step("Ask whoever runs the source.", "etl-assets status", place_of(problem, ui)),
        Step("When it answers again, load what was put off.", f"etl-assets backfill {source} --failed"),
    )


def _look_at_ticks(problem: Problem, ui: str) -> Sequence[Step]:
    off = _is_off(problem)
    said = "Switch it on again, unless it is off for good." if off else "Look at its ticks and their errors."
    return (Step(said, url=place_of(problem, ui)),)


def _look_at_runs(problem: Problem, ui: str) -> Sequence[Step]:
    found = [Step("Look at its runs.", url=place_of(problem, ui))]
    if problem.severity.rank >= Severity.ERROR.rank:
        found.append(Step("See which days are to be loaded again, and why.", "etl-assets plan"))
    return tuple(found)


def _look(text: str, command: str = "") -> Callable[[Problem, str], Sequence[Step]]:
    return lambda problem, ui: (Step(text, command, place_of(problem, ui)),)


_STEPS: Mapping[Kind, Callable[[Problem, str], Sequence[Step]]] = {
    Kind.RUN_FAILED: _look("Look at the run's log, mend the cause, and launch it again."),
    Kind.PARTITION_FAILED: _load_again,
    Kind.PARTITION_WITHHELD: _mend_withheld,
    Kind.SNAPSHOT_GUARD: _confirm_snapshot,
    Kind.CHECK_FAILED: _look("Look at the check's result and its numbers over time."),
    Kind.THRESHOLD: _compare,
    Kind.PARTITION_LATE: _load_late,
    Kind.SCHEMA_CHANGED: _look("See that whoever reads the table knows.", "etl-assets status"),
    Kind.SOURCE_BROKEN: _wait_for_source,
    Kind.SCHEDULE_FAILING: _look_at_ticks,
    Kind.SENSOR_FAILING: _look_at_ticks,
    Kind.BACKFILL_FINISHED: _look_at_runs,
    Kind.DAILY_SUMMARY: _look("See how every stream stands.", "etl-assets status"),
    Kind.DAEMON_STOPPED: _look("Start it again: dagster-daemon run, or its service.", "etl-assets watchdog"),
    Kind.ALERTS_STOPPED: _look("See what cannot be told, and why.", "etl-assets alerts list"),
}
_TICKING = frozenset({Kind.SCHEDULE_FAILING, Kind.SENSOR_FAILING})
_TICKS = {"failing": "fails", "lag": "lags", OFF: "is switched off"}
_THRESHOLDS = {"error_rate": "share of bad rows", "seconds": "time of the load", "rows": "number of rows"}


def happened(problem: Problem) -> str:
    """Say what happened."""
    if problem.kind is Kind.THRESHOLD and problem.occurrences:
        return f"{HAPPENED[problem.kind]}: {_THRESHOLDS.get(_threshold(problem), 'a number')}"
    if problem.kind in _TICKING and problem.occurrences:
        return _TICKS.get(problem.occurrences[0].key, HAPPENED[problem.kind])
    if problem.kind is Kind.BACKFILL_FINISHED and problem.severity.rank >= Severity.ERROR.rank:
        return "finished with failures"
    return HAPPENED[problem.kind]


def _threshold(problem: Problem) -> str:
    return problem.occurrences[0].key.rpartition(" ")[2]


def plural(number: int, unit: str) -> str:
    """Write a number of things: `1 day`, `1,000 days`."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def number_of(problem: Problem) -> str:
    """Say of how many things a problem tells, in its own unit; empty where there is only one of it."""
    unit = UNITS.get(problem.kind)
    number = problem.runs if problem.kind is Kind.RUN_FAILED else problem.total
    return plural(number, unit) if unit and number else ""


def is_of_days(problem: Problem) -> bool:
    """Whether the keys of a problem are days of a stream."""
    if problem.kind is Kind.RUN_FAILED:
        return all(_DAY.match(occurrence.key) for occurrence in problem.occurrences)
    return problem.kind in _OF_A_DAY
