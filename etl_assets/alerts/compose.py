"""From problems to messages: once per problem, once per cool-down if it happens again, and once more when it is over.

What belongs here: who is told what, when, and in how many messages. What does not: sending them (`delivery`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta

from etl_assets.alerts.conditions import Severity, hardest
from etl_assets.alerts.messages import enqueue, written_since
from etl_assets.alerts.notice import Fact, Notice, Step
from etl_assets.alerts.outbox import Outbox, moment, stamp
from etl_assets.alerts.problems import Problem, problems_in, with_conditions
from etl_assets.alerts.routing import Decision, decide, is_muted, route_of
from etl_assets.alerts.rules import Rules
from etl_assets.alerts.story import notice_of, summary_line

SINGLE_MESSAGES = 3
"""More things that are wrong, told at once, become one message; news, such as summaries for each owner, do not."""
DIGEST_ENTRIES = 15
FLOOD_WINDOW = timedelta(minutes=10)
MESSAGES_PER_WINDOW = 4
URGENT_MESSAGES_PER_WINDOW = 5
"""One is kept for what is critical."""


@dataclass(frozen=True, slots=True)
class _Tale:
    """Something that a channel is to be told."""

    problem: Problem
    status: str
    told_times: int = 0


def compose(outbox: Outbox, rules: Rules, ui: str, now: datetime) -> int:
    """Write the messages that are due; gives how many.

    Args:
        outbox: What is known.
        rules: Who is told of what.
        ui: Address of Dagster's UI.
        now: The time.
    """
    problems = problems_in(outbox, "open", "closed")
    if not problems:
        return 0
    due = [problem for problem in problems if _is_ripe(problem, rules, now)]
    muted = [mute.selection for mute in outbox.mutes(now)]
    tellings = _tellings(outbox)
    waiting: set[int] = set()
    written = 0
    with outbox.transaction():
        for channel in rules.channels:
            tales = []
            for problem in due:
                telling = tellings.get((problem.id, channel))
                tale = _tale(outbox, rules, problem, channel, telling, muted, now)
                if tale == Decision.WAIT:
                    waiting.add(problem.id)
                elif isinstance(tale, _Tale):
                    tales.append(tale)
            told, number = _write(outbox, rules, channel, tales, ui, now)
            written += number
            waiting.update(tale.problem.id for tale in tales if tale not in told)
        _settle(outbox, due, waiting, now)
    return written


def _is_ripe(problem: Problem, rules: Rules, now: datetime) -> bool:
    """Whether what belongs together had the time to come together, since the first of it happened."""
    return problem.state == "closed" or now >= problem.opened_at + rules.group_wait


def _tellings(outbox: Outbox) -> dict[tuple[int, str], tuple[datetime, int, bool]]:
    found = outbox.rows(
        "SELECT t.* FROM tellings AS t JOIN problems AS p ON p.id = t.problem_id WHERE p.state IN ('open', 'closed')"
    )
    return {
        (row["problem_id"], row["channel"]): (moment(row["told_at"]), row["told_times"], bool(row["is_over"]))
        for row in found
    }


def _tale(
    outbox: Outbox,
    rules: Rules,
    problem: Problem,
    channel: str,
    telling: tuple[datetime, int, bool] | None,
    muted: Sequence[str],
    now: datetime,
) -> _Tale | Decision:
    """Say what a channel is to be told of a problem now, or why nothing."""
    status = _status(rules, problem, telling, now)
    if status is None:
        return Decision.LEAVE
    subjects = _subjects(outbox, problem)
    if not subjects:
        # All of it is told by other problems.
        return Decision.LEAVE
    route = route_of(rules, problem.owner, problem.severity, problem.kind, subjects)
    decision = decide(route, channel, problem.severity, now)
    if status == "recovered":
        # Whoever was told must hear of its end, wherever the routes lead by now.
        return Decision.WAIT if decision is Decision.WAIT else _Tale(problem, status)
    if decision is Decision.TELL and is_muted(muted, problem.id, problem.owner, problem.kind, subjects):
        return Decision.LEAVE
    return _Tale(problem, status, telling[1] if telling else 0) if decision is Decision.TELL else decision


def _status(
    rules: Rules, problem: Problem, telling: tuple[datetime, int, bool] | None, now: datetime
) -> str | None:
    if telling is None:
        return ("news" if problem.kind.is_news else "new") if problem.state == "open" else None
    told_at, told_times, is_over = telling
    if problem.state == "closed":
        return None if is_over else "recovered"
    happened_again = problem.times > told_times and not problem.acked_by
    return "again" if happened_again and now >= told_at + rules.cool_down else None


def _subjects(outbox: Outbox, problem: Problem) -> list[str]:
    chosen = "state = 'open'" if problem.state == "open" else "state <> 'absorbed'"
    found = outbox.rows(
        f"SELECT DISTINCT subject FROM occurrences WHERE problem_id = ? AND {chosen} ORDER BY subject",
        problem.id,
    )
    return [row["subject"] for row in found]


def _write(
    outbox: Outbox, rules: Rules, channel: str, tales: Sequence[_Tale], ui: str, now: datetime
) -> tuple[Sequence[_Tale], int]:
    """Write a channel's messages, as far as it may get any more; gives what was told, and in how many."""
    if not tales:
        return (), 0
    urgent = any(tale.problem.severity is Severity.CRITICAL for tale in tales)
    most = URGENT_MESSAGES_PER_WINDOW if urgent else MESSAGES_PER_WINDOW
    left = most - written_since(outbox, channel, now - FLOOD_WINDOW)
    if left <= 0:
        return (), 0
    # Only what is shown in full is read in full.
    wrong = sum(tale.status != "news" for tale in tales)
    single = wrong <= SINGLE_MESSAGES and len(tales) <= left
    shown = tales if single else sorted(tales, key=lambda tale: -tale.problem.severity.rank)[:DIGEST_ENTRIES]
    full = {tale.problem.id: replace(tale, problem=with_conditions(outbox, tale.problem)) for tale in shown}
    if single:
        notices = [notice_of(tale.problem, tale.status, ui, now, tale.told_times) for tale in full.values()]
    else:
        notices = [_digest(tales, list(full.values()), ui, now)]
    for notice in notices:
        enqueue(outbox, channel, notice, now, rules.give_up)
    for tale in tales:
        outbox.run(
            "INSERT OR REPLACE INTO tellings (problem_id, channel, told_at, told_times, is_over) "
            "VALUES (?, ?, ?, ?, ?)",
            *(tale.problem.id, channel, stamp(now), tale.problem.times, tale.status in ("recovered", "news")),
        )
    return tales, len(notices)


def _digest(tales: Sequence[_Tale], shown: Sequence[_Tale], ui: str, now: datetime) -> Notice:
    """Tell of many problems in one message."""
    over = sum(tale.status == "recovered" for tale in tales)
    happened = sum(tale.problem.times for tale in tales if tale.status != "recovered")
    parts = [f"{len(tales) - over:,} problems ({happened:,} failures)" if over < len(tales) else ""]
    if over:
        parts.append(
            f"{over:,} {'is' if over == 1 else 'are'} over" if parts[0] else f"{over:,} problems are over"
        )
    entries = [summary_line(tale.problem, tale.status, ui) for tale in shown]
    if len(tales) > len(shown):
        entries.append(Fact("", f"and {len(tales) - len(shown):,} more: etl-assets alerts list", ui))
    return Notice(
        status="digest" if over < len(tales) else "recovered",
        severity=hardest([tale.problem.severity for tale in tales]) if over < len(tales) else Severity.INFO,
        title="; ".join(filter(None, parts)),
        facts=(Fact("As of", f"{now:%Y-%m-%d %H:%M:%S} UTC"),),
        steps=(Step("See all of them.", "etl-assets alerts list", ui),) if over < len(tales) else (),
        entries=tuple(entries),
        owners=tuple(sorted({tale.problem.owner for tale in tales if tale.problem.owner})),
        problems=tuple(tale.problem.id for tale in tales),
    )


def _settle(outbox: Outbox, due: Sequence[Problem], waiting: set[int], now: datetime) -> None:
    """Put aside what is over and of which nobody has to hear any more."""
    for problem in due:
        if problem.id in waiting or not (problem.state == "closed" or problem.kind.is_news):
            continue
        outbox.run(
            "UPDATE occurrences SET state = 'over', over_at = ? WHERE problem_id = ? AND state = 'open'",
            *(stamp(now), problem.id),
        )
        outbox.run(
            "UPDATE problems SET state = 'settled', closed_at = coalesce(closed_at, ?) WHERE id = ?",
            *(stamp(now), problem.id),
        )
