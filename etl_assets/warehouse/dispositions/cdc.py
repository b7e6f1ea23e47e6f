"""`cdc`: a change feed applied by sequence, in whichever order days are loaded.

What is known of a key is two things: its newest change, and its newest change that brought values (an insert or an
update). Each is the greatest one ever given, by a total order that depends on the changes alone, so the order and the
number of loads cannot matter. A key whose newest change is a delete is marked and keeps its newest values (`soft`), or
leaves the table and is remembered as a tombstone (`hard`); either way an older change does not bring it back, and a
newer one does.

Order of changes to one key: by sequence; then a delete after what brings values; then, for malformed feeds that number
two changes alike, values by their columns from first to last, deletes by their time. One thing comes before that: what
a mended contract or transform makes of a change takes the place of what the former one made of it, once the day is
loaded again. If it makes a change of another key of it, what is known of the former key is wrong, and what that key was
before is not known: such a day is withheld until confirmed. What belongs here: that. What does not: missing numbers
(`etl_assets.warehouse.sequences`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl_assets.failures import PartitionWithheld
from etl_assets.streams.write import Cdc
from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.feed import Feed
from etl_assets.warehouse.dispositions.feed_days import FeedDays
from etl_assets.warehouse.dispositions.together import RUN_OF_LOAD, TIME_OF_LOAD, bring_in_together
from etl_assets.warehouse.sequences import account_for

_EVENTS = "_etl_events"
_STATES = "_etl_states"
_KNOWN = "_etl_known"
_CHANGES = "_etl_changes"
_STRAYS = "_etl_strays"


class ApplyChanges:
    """A load applies inserts, updates and deletes.

    Args:
        write: The declaration.
    """

    def __init__(self, write: Cdc) -> None:
        self._write = write

    def objection(self, load: Load) -> str | None:
        """See `Disposition`: a load without changes changes nothing."""
        return None

    def still_holds(self, load: Load, staged: int) -> bool:
        """See `Disposition`: later loads only bring newer changes, unless mended code or someone emptied the tables.

        Mended code may have taken out a key that this day brought.
        """
        if staged == 0:
            return True
        if load.restated_since:
            return False
        sql = (
            f"SELECT EXISTS (SELECT 1 FROM {load.layout.name}) OR EXISTS "
            "(SELECT 1 FROM etl.tombstones WHERE source = $source AND stream = $stream)"
        )
        return load.one(sql, load.of_stream)[0] is True

    def look_ahead(self, loads: Sequence[Load], *, bring_in: bool, are_first: bool) -> dict[date, Ahead]:
        """See `Disposition`: days in their order are brought in together; changes of a mended transform never are."""
        if not bring_in or not are_first:
            return {}
        return bring_in_together(loads, lambda given: FeedDays(given, self._write).bring_in())

    def apply(self, load: Load) -> Applied:
        """See `Disposition`."""
        return _Application(Feed(load, self._write)).apply()


class _Application:
    """One load of changes.

    Args:
        feed: The load's feed.
    """

    def __init__(self, feed: Feed) -> None:
        self._feed = feed
        self._load = feed.load

    def apply(self) -> Applied:
        """Bring the changes in; see `Disposition`."""
        feed, load = self._feed, self._load
        staged = int(load.one(f"CREATE OR REPLACE TEMP TABLE {_EVENTS} AS {load.staged}", load.parameters)[0])
        if not staged:
            load.drop(_EVENTS)
            return Applied(0, 0, 0, 0, ())
        strays, dates_of_strays = self._take_out_strays() if load.restates else (0, [])
        if feed.write.contiguous:
            account_for(load, f"SELECT {feed.sequence} AS number FROM {_EVENTS}")
        states = load.count_keys(_EVENTS, feed.key)
        if states == staged:
            self._take_as_states()
        else:
            self._rank_into_states()
        feed.find_known(_STATES, _KNOWN)
        self._find_changes()
        changed, known, removed = load.one(
            f"SELECT count(*), count(*) FILTER (_is_known), count(*) FILTER (_was_there AND _is_delete) "
            f"FROM {_CHANGES}"
        )
        dates = sorted_dates(dates_of_strays, self._touched_dates() if changed else [])
        if known:
            feed.forget(f"(SELECT * FROM {_CHANGES} WHERE _is_known)")
        if changed:
            feed.write_down(_CHANGES)
        load.drop(_CHANGES, _KNOWN, _STATES, _EVENTS)
        return Applied(
            int(changed),
            int(known),
            states - int(changed),
            staged - states,
            dates,
            removed=int(removed) + strays,
        )

    def _take_out_strays(self) -> tuple[int, list[date]]:
        """Take out keys whose newest known change is, by its number, another key's by now; count rows, give dates.

        Raises:
            PartitionWithheld: If there are any, and nobody has confirmed it.
        """
        feed, load = self._feed, self._load
        now = f"SELECT {feed.sequence} AS number, {feed.key_json('e')} AS _key_json FROM {_EVENTS} AS e"
        found = load.one(
            f"CREATE OR REPLACE TEMP TABLE {_STRAYS} AS WITH now AS ({now}), known AS ("
            f"SELECT old.rowid AS _row, {feed.key_json('old')} AS _key_json, old.{feed.sequence} AS number, "
            f"old.{feed.operation} <> 'D' AS _was_there, {feed.date_of('old')} AS _before "
            f"FROM {load.layout.name} AS old WHERE old.{feed.sequence} IN (SELECT number FROM now) "
            "UNION ALL SELECT NULL, key_json, sequence, false, NULL FROM etl.tombstones "
            "WHERE source = $source AND stream = $stream AND sequence IN (SELECT number FROM now)) "
            "SELECT * FROM known WHERE NOT EXISTS (SELECT 1 FROM now "
            "WHERE now.number = known.number AND now._key_json = known._key_json)",
            load.of_stream,
        )[0]
        if found and not load.confirmed:
            raise PartitionWithheld(
                f"its mended transform makes changes of other keys of {int(found)} that are applied already; run again "
                "with --confirm-empty to take the former keys out, then load the days before it with --replay"
            )
        rows, dates = load.one(
            f"SELECT count(*) FILTER (_was_there), list(DISTINCT _before) FILTER (_before IS NOT NULL) FROM {_STRAYS}"
        )
        feed.forget(_STRAYS)
        load.drop(_STRAYS)
        return int(rows), list(dates or ())

    def _take_as_states(self) -> None:
        """Take the staged changes as what they amount to, one for each key, into a table of the form of ranked ones."""
        feed, load = self._feed, self._load
        columns = [*feed.key, feed.sequence, feed.operation, load.window_column, *feed.values]
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_STATES} AS SELECT {', '.join(columns)}, "
            f"{feed.operation} = 'D' AS _is_delete, {feed.key_json('e')} AS _key_json, "
            f"CASE WHEN {feed.operation} <> 'D' THEN {feed.sequence} END AS _values_sequence FROM {_EVENTS} AS e"
        )

    def _rank_into_states(self) -> None:
        """Work out, per key, what several staged changes of it amount to."""
        feed, load = self._feed, self._load
        keys, window = ", ".join(feed.key), load.window_column
        picked = [*feed.key, feed.sequence, feed.operation, window]
        values, rest = feed.content("e"), f"{window} DESC, {feed.operation} DESC"
        columns = [f"newest.{name}" for name in picked] + [
            f"CASE WHEN valued._is_delete THEN newest.{name} ELSE valued.{name} END AS {name}"
            for name in feed.values
        ]
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_STATES} AS WITH e AS (SELECT *, "
            f"{feed.operation} = 'D' AS _is_delete FROM {_EVENTS}), "
            "ranked AS (SELECT *, "
            f"row_number() OVER (PARTITION BY {keys} ORDER BY {feed.sequence} DESC, _is_delete DESC, "
            f"CASE WHEN _is_delete THEN {window} END DESC, {values} DESC, {rest}) AS _rank, "
            f"row_number() OVER (PARTITION BY {keys} ORDER BY _is_delete, {feed.sequence} DESC, "
            f"{values} DESC, {rest}) AS _rank_of_values FROM e) "
            f"SELECT {', '.join(columns)}, newest._is_delete, {feed.key_json('newest')} AS _key_json, "
            f"CASE WHEN NOT valued._is_delete THEN valued.{feed.sequence} END AS _values_sequence "
            f"FROM ranked AS newest JOIN ranked AS valued ON {feed.same_key('newest', 'valued')} "
            "WHERE newest._rank = 1 AND valued._rank_of_values = 1"
        )

    def _find_changes(self) -> None:
        """Unite what was known and what is staged, and keep the keys of which more is known now."""
        feed, load = self._feed, self._load
        window = load.window_column
        of_values = "_values_are_newer" if feed.is_soft else "false"
        columns = [f"new.{name}" for name in feed.key]
        for name in (feed.sequence, feed.operation, window, "_is_delete"):
            columns.append(f"CASE WHEN _is_newer THEN new.{name} ELSE old.{name} END AS {name}")
        for name in feed.values:
            columns.append(
                f"CASE WHEN _values_are_newer THEN new.{name} WHEN old._values_sequence IS NOT NULL "
                f"THEN old.{name} WHEN _is_newer THEN new.{name} ELSE old.{name} END AS {name}"
            )
        load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_CHANGES} AS WITH compared AS (SELECT new.*, "
            f"old.{feed.sequence} IS NOT NULL AS _is_known, "
            f"old.{feed.sequence} IS NULL OR {self._newer()} AS _is_newer, "
            f"new._values_sequence IS NOT NULL AND (old._values_sequence IS NULL "
            "OR new._values_sequence > old._values_sequence OR (new._values_sequence = old._values_sequence "
            f"AND {self._beats(feed.content('new'), feed.content('old'))})) "
            "AS _values_are_newer "
            f"FROM {_STATES} AS new LEFT JOIN {_KNOWN} AS old ON {feed.same_key('new', 'old')}) "
            f"SELECT {', '.join(columns)}, new._key_json, new._is_known, "
            "CASE WHEN _values_are_newer THEN new._values_sequence ELSE old._values_sequence END "
            "AS _values_sequence, new._is_known AND NOT old._is_delete AS _was_there, old._before, old._row, "
            f"$run_id AS {RUN_OF_LOAD}, CAST($loaded_at AS TIMESTAMP) AS {TIME_OF_LOAD} "
            f"FROM compared AS new LEFT JOIN {_KNOWN} AS old ON {feed.same_key('new', 'old')} "
            f"WHERE _is_newer OR {of_values}",
            {"run_id": load.run_id, "loaded_at": load.loaded_at},
        )

    def _newer(self) -> str:
        """Whether the staged newest change of a key comes after the known one, as SQL."""
        feed, window = self._feed, self._load.window_column
        values = (feed.content("new"), feed.content("old"))
        deletes = self._beats(f"new.{window}", f"old.{window}")
        if feed.is_soft:
            # What a delete itself brought is seen only as long as nothing else brought values.
            no_values = "new._values_sequence IS NULL AND old._values_sequence IS NULL"
            deletes += f" OR (new.{window} = old.{window} AND {no_values} AND {self._beats(*values)})"
        whole = [
            f"row({content}, {side}.{window}, {side}.{feed.operation})"
            for content, side in zip(values, ("new", "old"), strict=True)
        ]
        return (
            f"CASE WHEN new.{feed.sequence} <> old.{feed.sequence} "
            f"THEN new.{feed.sequence} > old.{feed.sequence} "
            "WHEN new._is_delete <> old._is_delete THEN new._is_delete "
            f"WHEN new._is_delete THEN {deletes} ELSE {self._beats(*whole)} END"
        )

    def _beats(self, new: str, old: str) -> str:
        """Whether what is staged of a change takes the place of what is known of the same one, as SQL."""
        return f"({new} > {old} OR {old} > {new})" if self._load.restates else f"{new} > {old}"

    def _touched_dates(self) -> list[date]:
        """Give the business dates of changed rows, as they were and as they will be."""
        load = self._load
        if load.stream.business_date is None:
            return []
        stays = "true" if self._feed.is_soft else "NOT _is_delete"
        found = load.connection.execute(
            f"SELECT CAST({load.business_date} AS DATE) FROM {_CHANGES} WHERE {stays} "
            f"UNION SELECT _before FROM {_CHANGES}"
        ).fetchall()
        return [day for (day,) in found if day is not None]
