"""What is said of each kind of problem: what happened, what the platform did by itself, and what to do next.

What belongs here: the sentences. What does not: facts and figures (`compose`), and how a message looks.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from etl_assets.alerts.conditions import Kind
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
    Kind.SCHEMA_CHANGED: "changed its columns or rules",
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
_KEPT = "Nothing visible changed: the table keeps what it had of these days. Other days were loaded as usual."
_DID: Mapping[Kind, str] = {
    Kind.PARTITION_WITHHELD: f"{_KEPT} The bad rows are in etl.quarantine, with rule and reason.",
    Kind.SNAPSHOT_GUARD: f"{_KEPT} No row was marked as gone.",
    Kind.CHECK_FAILED: "The result is recorded with its numbers; a check like this keeps no day from being published.",
    Kind.THRESHOLD: "The days were published; only the number is out of the ordinary.",
    Kind.PARTITION_LATE: "It goes on as soon as the day is loaded; nothing was skipped.",
    Kind.SCHEMA_CHANGED: "The load went through; what it noticed is in etl.schema_changes.",
    Kind.SOURCE_BROKEN: "It stopped asking, put the remaining days off, and tries again at every load.",
    Kind.SCHEDULE_FAILING: "Dagster tries again at the next tick.",
    Kind.SENSOR_FAILING: "Dagster tries again at the next tick.",
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
    if problem.kind is Kind.RUN_FAILED:
        return "It ended the run; whatever had been committed is safe. No repeat of the run is coming."
    return _DID.get(problem.kind, "")


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


def _look_at_quarantine(problem: Problem, ui: str) -> Sequence[Step]:
    source, _, stream = problem.subjects[0].partition("/") if problem.subjects else ("", "", "")
    first, last = span_of(problem)
    look = (
        'etl-assets query "SELECT rule, reason, count(*) FROM etl.quarantine '
        f"WHERE source = '{source}' AND stream = '{stream}' AND state = 'pending' "
        f"AND partition BETWEEN '{first}' AND '{last}' GROUP BY ALL\""
    )
    return (
        Step("Look at what broke the contract.", look, place_of(problem, ui)),
        Step(
            "Mend the source or the contract, then load the days again. An empty answer that is true is accepted "
            "with --confirm-empty.",
            _backfill(problem),
        ),
    )


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


def _look(text: str, command: str = "") -> Callable[[Problem, str], Sequence[Step]]:
    return lambda problem, ui: (Step(text, command, place_of(problem, ui)),)


_STEPS: Mapping[Kind, Callable[[Problem, str], Sequence[Step]]] = {
    Kind.RUN_FAILED: _look("Look at the run's log, mend the cause, and launch it again."),
    Kind.PARTITION_FAILED: _load_again,
    Kind.PARTITION_WITHHELD: _look_at_quarantine,
    Kind.SNAPSHOT_GUARD: _confirm_snapshot,
    Kind.CHECK_FAILED: _look("Look at the check's result and its numbers over time."),
    Kind.THRESHOLD: _look("Compare the day with those before it."),
    Kind.PARTITION_LATE: _load_late,
    Kind.SCHEMA_CHANGED: _look("See that whoever reads the table knows.", "etl-assets status"),
    Kind.SOURCE_BROKEN: _look(
        "Ask whoever runs the source; then load what was put off.", "etl-assets status"
    ),
    Kind.SCHEDULE_FAILING: _look("Look at its ticks; the last one's error says why."),
    Kind.SENSOR_FAILING: _look("Look at its ticks; the last one's error says why."),
    Kind.BACKFILL_FINISHED: _look("Look at its runs."),
    Kind.DAILY_SUMMARY: _look("See how every stream stands.", "etl-assets status"),
    Kind.DAEMON_STOPPED: _look("Start it again: dagster-daemon run, or its service.", "etl-assets watchdog"),
    Kind.ALERTS_STOPPED: _look("See what cannot be told, and why.", "etl-assets alerts list"),
}


def plural(number: int, unit: str) -> str:
    """Write a number of things: `1 day`, `1,000 days`."""
    return f"{number:,} {unit}{'' if number == 1 else 's'}"


def is_of_days(kind: Kind) -> bool:
    """Whether the keys of a kind are days of a stream."""
    return kind in _OF_A_DAY
