"""Whether the sources still have what was loaded: the days on which they have something else by now.

What belongs here: which days are asked about, with what they are compared, and what came of it. What does not: asking
(`etl_assets.sources`), and loading the days that drifted (`etl_assets.pipeline.run`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from datetime import date, datetime, timedelta

from etl_assets.failures import EtlError, LandingError, SourceError, describe_unexpected
from etl_assets.landing.store import LandedPartition, utc_now
from etl_assets.observability.progress import ProgressReporter
from etl_assets.pipeline.environment import Environment
from etl_assets.sources.base import Reader
from etl_assets.sources.comparison import Comparison, Held, Match
from etl_assets.streams.base import Source, Stream
from etl_assets.warehouse.history import DayLoaded, loads_of

STAGE = "compare"
"""As progress calls it."""


@dataclass(frozen=True, slots=True)
class ComparedDay:
    """A day that the source has something else for, or that it could not be asked about.

    Attributes:
        partition: The day.
        here: Records that were loaded from.
        there: Records at the source, where it tells a number.
        reason: What differs, or why it could not be asked.
    """

    partition: date
    here: int
    there: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class Reconciled:
    """What a source told of one stream.

    Attributes:
        stream: Stream id.
        equal: Days on which the source has what was loaded.
        drifted: Days on which it has something else, in order.
        unknown: Days of which it tells nothing.
        unknown_because: Why, one reason each.
        failed: Days that it could not be asked about, in order.
        missing: Days that were never loaded, and are none of reconciling's business.
    """

    stream: str
    equal: int = 0
    drifted: tuple[ComparedDay, ...] = ()
    unknown: int = 0
    unknown_because: tuple[str, ...] = ()
    failed: tuple[ComparedDay, ...] = ()
    missing: int = 0

    @property
    def asked(self) -> int:
        """Days that the source was asked about and could tell of, or should have."""
        return self.equal + len(self.drifted) + len(self.failed)


def reconcile(
    environment: Environment,
    streams: Sequence[Stream],
    days: Sequence[date],
    reporter: ProgressReporter,
    *,
    now: Callable[[], datetime] = utc_now,
) -> list[Reconciled]:
    """Ask the sources whether they still have what was loaded. Nothing is loaded.

    Args:
        environment: Where the bookkeeping and the landed answers are.
        streams: The streams.
        days: The days to look at, in order.
        reporter: Told of every day.
        now: The clock, for sources that show only the present.

    Raises:
        ConfigurationError: If a source's settings cannot be used.
        WarehouseBusyError: If another process held the warehouse for too long.
    """
    loads = _loads(environment, streams, days)
    found: dict[str, Reconciled] = {}
    by_source: dict[str, list[Stream]] = {}
    for stream in streams:
        if loads[stream.id]:
            by_source.setdefault(stream.source.name, []).append(stream)
        else:
            found[stream.id] = Reconciled(stream.id, missing=len(days))
    for sharing in by_source.values():
        source: Source = sharing[0].source
        with closing(environment.open_source(source)) as reader:
            for stream in sharing:
                comparing = _Comparing(environment, stream, reader, loads[stream.id], reporter, now)
                found[stream.id] = comparing.run(missing=len(days) - len(loads[stream.id]))
    return [found[stream.id] for stream in streams]


def loaded_records(
    environment: Environment, streams: Sequence[Stream], days: Sequence[date]
) -> dict[str, dict[date, int]]:
    """Give the records that the last published load of each day was made from, by stream id."""
    loads = _loads(environment, streams, days)
    return {name: {day: load.extracted for day, load in found.items()} for name, found in loads.items()}


def _loads(
    environment: Environment, streams: Sequence[Stream], days: Sequence[date]
) -> dict[str, dict[date, DayLoaded]]:
    if not environment.warehouse.exists():
        return {stream.id: {} for stream in streams}
    with environment.warehouse.read("reconcile") as connection:
        return {stream.id: loads_of(connection, stream.id, days) for stream in streams}


@dataclass
class _Comparing:
    """Compares the loaded days of one stream with its source.

    Attributes:
        hopeless: A failure, or the lack of an answer, that all further days share.
    """

    environment: Environment
    stream: Stream
    reader: Reader
    loads: Mapping[date, DayLoaded]
    reporter: ProgressReporter
    now: Callable[[], datetime]
    hopeless: Comparison | SourceError | None = None

    def run(self, *, missing: int) -> Reconciled:
        """Compare all days, the newest first: it tells most likely whether the source can tell at all."""
        days = sorted(self.loads, reverse=True)
        self.reporter.start(self.stream.id, (STAGE,), len(days))
        outcomes = dict(zip(days, self._outcomes(days), strict=True))
        self.reporter.end(self.stream.id)
        failed, drifted, equal, unknown = [], [], 0, []
        for day in sorted(outcomes):
            outcome, here = outcomes[day], self.loads[day].extracted
            if isinstance(outcome, str):
                failed.append(ComparedDay(day, here, None, outcome))
            elif outcome.match is Match.DRIFTED:
                drifted.append(ComparedDay(day, here, outcome.there, outcome.reason))
            elif outcome.match is Match.UNKNOWN:
                unknown.append(outcome.reason)
            else:
                equal += 1
        return Reconciled(
            stream=self.stream.id,
            equal=equal,
            drifted=tuple(drifted),
            unknown=len(unknown),
            unknown_because=tuple(dict.fromkeys(unknown)),
            failed=tuple(failed),
            missing=missing,
        )

    def _outcomes(self, days: Sequence[date]) -> Iterator[Comparison | str]:
        # The first day alone: what it shows to be in vain is not asked again for hundreds of others.
        yield self._outcome(days[0])
        with ThreadPoolExecutor(self.stream.source.concurrency, thread_name_prefix="reconcile") as pool:
            yield from pool.map(self._outcome, days[1:])

    def _outcome(self, day: date) -> Comparison | str:
        """Compare a day; gives one line where that cannot be done."""
        try:
            if isinstance(self.hopeless, SourceError):
                return _line(self.hopeless)
            compared = self.hopeless or self._unaskable(day) or self._compare(day)
            if compared.whole_stream:
                self.hopeless = compared
            return compared
        except EtlError as error:
            if isinstance(error, SourceError) and error.affects_all:
                self.hopeless = error
            return _line(error)
        except Exception as error:  # one day must not cost the others their answer
            return describe_unexpected(error)
        finally:
            self.reporter.item_stage(self.stream.id, day.isoformat(), STAGE)

    def _unaskable(self, day: date) -> Comparison | None:
        """Say so where what the source shows now is not about the day."""
        askable = self.stream.extract.askable(day)
        if askable is None:
            return None
        # Older days may still be asked for, but the present would flatten what is known of them.
        newest = min(askable.end, self.stream.extract.window_of(day).end + timedelta(days=1))
        if askable.start <= self.now() < newest:
            return None
        return Comparison.unknown("the source shows only the present")

    def _compare(self, day: date) -> Comparison:
        return self.reader.compare(self.stream.extract, day, self._held(day))

    def _held(self, day: date) -> Held:
        load = self.loads[day]
        landed = self._landed(day)
        if landed is None or landed.version != load.landing_version:
            return Held(load.extracted, load.began_at)
        pages = landed.manifest.pages
        return Held(
            records=load.extracted,
            read_at=landed.requested_at,
            page_bytes=[page.raw_bytes for page in pages],
            last_page=lambda: landed.body(pages[-1]) if pages else None,
        )

    def _landed(self, day: date) -> LandedPartition | None:
        try:
            return self.environment.landing.latest(self.stream.id, day)
        except LandingError:
            return None


def _line(error: EtlError) -> str:
    return " ".join(str(error).split())
