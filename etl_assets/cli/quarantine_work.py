"""Working the quarantine off, from the command line: choose rows, decide on them, load their days, say what came of it.

What belongs here: the order of that. What does not: options (`etl_assets.cli.quarantine`), output
(`etl_assets.cli.quarantine_output`) and each of the steps.
"""

from __future__ import annotations

import getpass
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import duckdb

from etl_assets.cli.backfill import run_backfill
from etl_assets.cli.days import days_between, parse_day
from etl_assets.failures import ConfigurationError
from etl_assets.pipeline.mending import lines_with_changes, read_lines
from etl_assets.quality.waivers import why_not_waivable
from etl_assets.settings import Settings, load_settings
from etl_assets.streams.base import Cdc, Merge, Stream
from etl_assets.streams.discovery import StreamCatalogue, discover_streams
from etl_assets.warehouse import quarantine_moves
from etl_assets.warehouse.decisions import Action, standing_decisions
from etl_assets.warehouse.opening import open_warehouse
from etl_assets.warehouse.quarantine import State
from etl_assets.warehouse.quarantine_moves import SETTLED, Who, chosen_rows
from etl_assets.warehouse.quarantined import Choice, QuarantinedRow, days_of, moves_of, rows_of

_AGE = re.compile(r"(\d{1,5})([hdw])")
_HOURS = {"h": 1, "d": 24, "w": 7 * 24}


@dataclass
class WorkResult:
    """What working on some rows came to.

    Attributes:
        action: What was done.
        states: The chosen rows by the state that they are in now.
        left_out: Rows that were chosen and could not be worked on.
        unfinished: Rows that were decided on and are not loaded.
        notes: One line each.
        problems: What went wrong with days, one line each.
        run_ids: Dagster runs that it took.
    """

    action: str
    states: Counter[str] = field(default_factory=Counter)
    left_out: int = 0
    unfinished: int = 0
    notes: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    run_ids: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 when all that was asked for was done, else 1."""
        return 1 if self.left_out or self.unfinished or self.problems else 0

    def as_json(self) -> dict[str, Any]:
        """Give everything as plain values."""
        return {
            "action": self.action,
            "rows": self.states.total(),
            "states": dict(sorted(self.states.items())),
            "left_out": self.left_out,
            "unfinished": self.unfinished,
            "notes": self.notes,
            "problems": self.problems,
            "run_ids": self.run_ids,
            "exit_code": self.exit_code,
        }


@dataclass(frozen=True)
class Work:
    """The quarantine of one project.

    Attributes:
        settings: Where everything is.
        catalogue: All streams.
        quiet: Whether loading shows no progress.
    """

    settings: Settings
    catalogue: StreamCatalogue
    quiet: bool = False

    def choice(
        self,
        selection: Sequence[str] | None = None,
        first: str = "",
        last: str = "",
        *,
        rules: Sequence[str] | None = None,
        rows: Sequence[str] | None = None,
        state: str = State.PENDING.value,
        named: bool = False,
    ) -> Choice:
        """Read which rows are meant.

        Args:
            selection: Streams or sources.
            first: First day.
            last: Last day.
            rules: Rules.
            rows: Ids of rows.
            state: A state, `settled` for all but pending, or `all`.
            named: Whether streams or rows must be named.

        Raises:
            ConfigurationError: If something of it cannot be read.
        """
        if named and not selection and not rows:
            raise ConfigurationError("no stream and no --row is named", hint="name what this is about")
        span = (
            parse_day(first, "--from") if first else date.min,
            parse_day(last, "--to") if last else date.max,
        )
        if span[0] > span[1]:
            raise ConfigurationError(f"--from {span[0]} is after --to {span[1]}", hint="swap them")
        return Choice(
            streams=tuple(stream.id for stream in self.catalogue.select(tuple(selection or ()))),
            first=span[0],
            last=span[1],
            rules=tuple(rules or ()),
            rows=tuple(dict.fromkeys(rows or ())),
            states=_states(state),
        )

    @contextmanager
    def reading(self) -> Iterator[duckdb.DuckDBPyConnection | None]:
        """Open the warehouse for reading; None where there is none yet."""
        warehouse = open_warehouse(self.settings)
        if not warehouse.exists():
            yield None
            return
        with warehouse.read("etl-assets quarantine") as connection:
            yield connection

    def replay(self, choice: Choice) -> WorkResult:
        """Load the days of the chosen rows again, from landing."""
        result = WorkResult("replay")
        with self.reading() as connection:
            rows = [] if connection is None else chosen_rows(connection, choice)
            days = {} if connection is None else days_of(connection, choice)
        self._load(days, result)
        self._look_again(rows, result)
        return result

    def waive(self, choice: Choice, who: Who) -> WorkResult:
        """Have the chosen rows loaded as they are."""
        result = WorkResult("waive")
        with self._changing("waive quarantined rows") as connection:
            rows = chosen_rows(connection, choice)
            waivable = [row for row in rows if not self._objections(row)]
            result.left_out = len(rows) - len(waivable)
            result.notes += self._refusals(rows)
            quarantine_moves.decide(connection, waivable, Action.WAIVE, who)
        self._carry_out(waivable, result)
        return result

    def import_lines(self, stream_id: str, file: Path, who: Who) -> WorkResult:
        """Have rows loaded as a file mends them.

        Raises:
            ConfigurationError: If anything in the file cannot be used; nothing was changed then.
        """
        stream = _one(self.catalogue.select([stream_id]), stream_id)
        lines = read_lines(stream, _text_of(file))
        result = WorkResult("import")
        with self._changing("import mended rows") as connection:
            rows = chosen_rows(connection, Choice(streams=(stream.id,), rows=tuple(lines)))
            mended = {row.id: (row, changes) for row, changes in lines_with_changes(stream, rows, lines)}
            chosen = [row for row, _ in mended.values()]
            quarantine_moves.decide(connection, chosen, Action.MEND, who, lambda row: mended[row.id][1])
        if unchanged := len(rows) - len(mended):
            result.notes.append(f"{unchanged:,} rows are as they were exported, and were left alone")
        self._carry_out(chosen, result)
        return result

    def discard(self, choice: Choice, who: Who) -> WorkResult:
        """Settle the chosen rows as not to be loaded."""
        result = WorkResult("discard")
        with self._changing("discard quarantined rows") as connection:
            rows = chosen_rows(connection, choice)
            quarantine_moves.discard(connection, rows, who)
        self._look_again(rows, result)
        return result

    def reopen(self, choice: Choice, who: Who) -> WorkResult:
        """Take back what was decided on the chosen rows, and load their days without it."""
        result = WorkResult("reopen")
        with self._changing("open quarantined rows again") as connection:
            rows = [row for row in chosen_rows(connection, choice) if _is_decided(connection, row)]
            result.left_out = len(choice.rows) - len(rows)
            quarantine_moves.reopen(connection, rows, who)
        if result.left_out:
            result.notes.append(f"{result.left_out:,} rows left out: nobody decided on them")
        for stream in sorted({row.stream for row in rows}):
            if isinstance(self.catalogue[stream].write, Merge | Cdc):
                result.notes.append(
                    f"{stream}: the table keeps what it has of the rows until it gets a newer version"
                )
        self._load(_days(row for row in rows if row.state != State.DISCARDED), result)
        self._look_again(rows, result)
        return result

    def purge(self, choice: Choice, age: timedelta, who: Who) -> WorkResult:
        """Remove the payloads of rows that are older than an age."""
        result = WorkResult("purge")
        with self._changing("purge the quarantine") as connection:
            result.states.update(quarantine_moves.purge(connection, choice, who.at - age, who))
        return result

    @contextmanager
    def _changing(self, doing: str) -> Iterator[duckdb.DuckDBPyConnection]:
        warehouse = open_warehouse(self.settings)
        if not warehouse.exists():
            raise ConfigurationError("there is no quarantine yet", hint="run `etl-assets backfill` first")
        with warehouse.session(doing) as session, session.change_quarantine(doing) as connection:
            yield connection

    def _carry_out(self, rows: Sequence[QuarantinedRow], result: WorkResult) -> None:
        """Load the days of rows that were decided on, and see whether they are in the tables now."""
        self._load(_days(iter(rows)), result)
        now = self._look_again(rows, result)
        waiting = [row for row in now if row.state == State.PENDING]
        result.unfinished = len(waiting)
        with self.reading() as connection:
            for row in waiting[:10] if connection is not None else []:
                assert connection is not None
                moves = moves_of(connection, row)
                told = (
                    moves[-1].reason
                    if moves
                    else "its day was not published, and the next load of it tries again"
                )
                result.notes.append(f"row {row.id} is still pending: {told}")

    def _load(self, days: Mapping[str, Sequence[date]], result: WorkResult) -> None:
        if not days:
            return
        every = sorted({day for each in days.values() for day in each})
        done = run_backfill(
            self.settings,
            self.catalogue,
            [self.catalogue[stream] for stream in days],
            days_between(every[0], every[-1]),
            quiet=self.quiet,
            replay=True,
            only={stream: set(each) for stream, each in days.items()},
        )
        result.run_ids += done.run_ids
        result.problems += done.problem_lines

    def _look_again(self, rows: Sequence[QuarantinedRow], result: WorkResult) -> list[QuarantinedRow]:
        """Count rows by the state that they are in now."""
        if not rows:
            return []
        choice = Choice(
            streams=tuple({row.stream for row in rows}), rows=tuple(row.id for row in rows), states=()
        )
        with self.reading() as connection:
            now = [] if connection is None else rows_of(connection, choice)
        result.states.update(row.state for row in now)
        return now

    def _objections(self, row: QuarantinedRow) -> list[tuple[str, str]]:
        """Give the rules of a row that cannot be waived, and why."""
        stream = self.catalogue[row.stream]
        return [(rule, why) for rule in row.rules if (why := why_not_waivable(stream, rule)) is not None]

    def _refusals(self, rows: Sequence[QuarantinedRow]) -> list[str]:
        found = Counter((row.stream, rule, why) for row in rows for rule, why in self._objections(row))
        return [
            f"{stream}: {number:,} rows left out: {rule} cannot be waived, {why}; mend them with export and import"
            for (stream, rule, why), number in found.items()
        ]


def opened(*, quiet: bool = False) -> Work:
    """Open the quarantine that the environment names."""
    return Work(load_settings(), discover_streams(), quiet)


def who(by: str, reason: str) -> Who:
    """Say who does something, and why.

    Raises:
        ConfigurationError: If no reason is given, or nobody knows who is logged in.
    """
    if not reason.strip():
        raise ConfigurationError(
            "--reason is missing", hint="say in a few words why; it is kept with the rows"
        )
    try:
        name = by.strip() or getpass.getuser()
    except (OSError, KeyError):
        raise ConfigurationError("nobody knows who is logged in", hint="name yourself with --by") from None
    return Who(by=name, reason=" ".join(reason.split()), at=datetime.now(UTC).replace(tzinfo=None))


def parse_age(text: str) -> timedelta:
    """Read an age.

    Raises:
        ConfigurationError: If it is none.
    """
    found = _AGE.fullmatch(text.strip())
    if found is None:
        raise ConfigurationError(f"--older-than {text!r} is no age", hint="write it as 90d, 12w or 36h")
    return timedelta(hours=int(found[1]) * _HOURS[found[2]])


def _states(name: str) -> tuple[State, ...]:
    if name == "all":
        return ()
    if name == "settled":
        return SETTLED
    try:
        return (State(name),)
    except ValueError:
        raise ConfigurationError(
            f"--state {name!r} is no state", hint=f"one of {', '.join(State)}, or all"
        ) from None


def _text_of(file: Path) -> str:
    try:
        return file.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise ConfigurationError(f"{file} is not in UTF-8", hint="save it as CSV in UTF-8") from None
    except OSError as error:
        raise ConfigurationError(f"{file} cannot be read: {error.strerror or error}") from None


def _one(streams: Sequence[Stream], name: str) -> Stream:
    if len(streams) != 1:
        raise ConfigurationError(f"{name!r} is {len(streams)} streams", hint="name one of them")
    return streams[0]


def _is_decided(connection: duckdb.DuckDBPyConnection, row: QuarantinedRow) -> bool:
    if row.state == State.DISCARDED:
        return True
    standing = standing_decisions(connection, row.stream, [row.partition]).get(row.partition, ())
    return (row.payload_hash, row.occurrence) in {(each.payload_hash, each.occurrence) for each in standing}


def _days(rows: Iterator[QuarantinedRow]) -> dict[str, list[date]]:
    found: dict[str, set[date]] = {}
    for row in rows:
        found.setdefault(row.stream, set()).add(row.partition)
    return {stream: sorted(days) for stream, days in sorted(found.items())}
