"""Days of a change feed brought in together, where each day's changes of a key are newer than what is known before it.

That is how days come in that are loaded for the first time and in their order: a set of statements does for all of them
what it would take for each. What the days did is told of each apart, as if one had followed the other. Where any change
is older than one before it, or numbers are missing, nothing is done, and each day is applied by itself.

What belongs here: that. What does not: a day by itself (`cdc`).
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from etl_assets.streams.write import Cdc
from etl_assets.warehouse.dispositions.base import Applied, Load, sorted_dates
from etl_assets.warehouse.dispositions.feed import Feed
from etl_assets.warehouse.dispositions.together import PLACE, RUN_OF_LOAD, TIME_OF_LOAD, staged_together
from etl_assets.warehouse.sequences import extend_the_range

_EVENTS = "_etl_events"
_WANTED = "_etl_wanted"
_KNOWN = "_etl_known"
_STEPS = "_etl_steps"


class FeedDays:
    """Loads of one stream on their way into its table.

    Args:
        loads: The loads in their order, of days that were never loaded before; all have files.
        write: The declaration.
    """

    def __init__(self, loads: Sequence[Load], write: Cdc) -> None:
        self._loads = loads
        # All are of one stream and one table.
        self._load = loads[0]
        self._feed = Feed(self._load, write)

    def bring_in(self) -> dict[date, Applied] | None:
        """Bring the changes in, if each is newer than those before it, and no number is missing.

        Returns:
            What each of the days did; None if nothing was done.
        """
        staged, parameters = staged_together(self._loads)
        self._load.connection.execute(f"CREATE OR REPLACE TEMP TABLE {_EVENTS} AS {staged}", parameters)
        self._find_known()
        applied = None
        if self._is_in_order() and self._accounts_for_numbers():
            self._find_steps()
            applied = self._count()
            self._feed.forget(_KNOWN)
            self._feed.write_down(f"(SELECT * FROM {_STEPS} WHERE {PLACE} >= 0 AND _is_newest)")
            self._load.drop(_STEPS)
        self._load.drop(_KNOWN, _EVENTS)
        return applied

    def _find_known(self) -> None:
        keys = ", ".join(self._feed.key)
        self._load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_WANTED} AS SELECT *, {self._feed.key_json('e')} AS _key_json "
            f"FROM (SELECT DISTINCT {keys} FROM {_EVENTS}) AS e"
        )
        self._feed.find_known(_WANTED, _KNOWN)
        self._load.drop(_WANTED)

    def _is_in_order(self) -> bool:
        """Whether the changes of each key are numbered in the order of their days, from what is known of it on."""
        keys, sequence = ", ".join(self._feed.key), self._feed.sequence
        (late,) = self._load.one(
            f"SELECT EXISTS (SELECT 1 FROM (SELECT {keys}, {sequence}, {PLACE} FROM {_EVENTS} "
            f"UNION ALL SELECT {keys}, {sequence}, -1 FROM {_KNOWN}) "
            f"QUALIFY {sequence} <= lag({sequence}) OVER (PARTITION BY {keys} ORDER BY {PLACE}, {sequence}))"
        )
        return not late

    def _accounts_for_numbers(self) -> bool:
        if not self._feed.write.contiguous:
            return True
        return extend_the_range(self._load, f"SELECT {self._feed.sequence} AS number FROM {_EVENTS}")

    def _find_steps(self) -> None:
        """Put what is known of each key before the days, and after each that changes it, into a table.

        A delete keeps the newest values that an insert or an update brought; where there were none, it has its own.
        """
        feed, keys = self._feed, ", ".join(self._feed.key)
        picked = ", ".join((*feed.key, feed.sequence, feed.operation, self._load.window_column))
        own = ", ".join((picked, *feed.values))
        kept = ", ".join(f"{name} := {name}" for name in (*feed.values, "_values_sequence"))
        values = "".join(
            f"CASE WHEN _kept IS NULL THEN {name} ELSE _kept.{name} END AS {name}, " for name in feed.values
        )
        stamps = f"{RUN_OF_LOAD}, {TIME_OF_LOAD}"
        self._load.connection.execute(
            f"CREATE OR REPLACE TEMP TABLE {_STEPS} AS WITH e AS ("
            f"SELECT {own}, {PLACE}, {stamps}, {feed.operation} = 'D' AS _is_delete, "
            f"CASE WHEN {feed.operation} <> 'D' THEN {feed.sequence} END AS _values_sequence, NULL AS _before "
            f"FROM {_EVENTS} "
            f"UNION ALL SELECT {own}, -1, NULL, NULL, _is_delete, _values_sequence, _before FROM {_KNOWN}), "
            f"steps AS (SELECT *, last_value(CASE WHEN _values_sequence IS NOT NULL THEN struct_pack({kept}) END "
            f"IGNORE NULLS) OVER numbered AS _kept FROM e "
            f"WINDOW numbered AS (PARTITION BY {keys} ORDER BY {feed.sequence}) "
            f"QUALIFY lead({PLACE}) OVER numbered IS DISTINCT FROM {PLACE}) "
            f"SELECT {picked}, {values}{PLACE}, {stamps}, _is_delete, _kept._values_sequence AS _values_sequence, "
            f"_before, {feed.key_json('steps')} AS _key_json, "
            f"lead({PLACE}) OVER (PARTITION BY {keys} ORDER BY {PLACE}) IS NULL AS _is_newest FROM steps"
        )

    def _count(self) -> dict[date, Applied]:
        """Say what each day did."""
        staged = dict(
            self._load.connection.execute(f"SELECT {PLACE}, count(*) FROM {_EVENTS} GROUP BY 1").fetchall()
        )
        keys, stays = ", ".join(self._feed.key), "true" if self._feed.is_soft else "NOT _is_delete"
        found = self._load.connection.execute(
            f"WITH steps AS (SELECT *, CASE WHEN {PLACE} < 0 THEN _before WHEN {stays} "
            f"THEN {self._feed.date_of('step')} END AS _date FROM {_STEPS} AS step), "
            f"compared AS (SELECT *, lag({PLACE}) OVER earlier IS NOT NULL AS _is_known, "
            "coalesce(NOT lag(_is_delete) OVER earlier, false) AS _was_there, lag(_date) OVER earlier AS _date_before "
            f"FROM steps WINDOW earlier AS (PARTITION BY {keys} ORDER BY {PLACE})) "
            f"SELECT {PLACE}, count(*), count(*) FILTER (_is_known), count(*) FILTER (_was_there AND _is_delete), "
            "list(DISTINCT _date) FILTER (_date IS NOT NULL), "
            "list(DISTINCT _date_before) FILTER (_date_before IS NOT NULL) "
            f"FROM compared WHERE {PLACE} >= 0 GROUP BY 1"
        ).fetchall()
        applied = {load.partition: Applied(0, 0, 0, 0, ()) for load in self._loads}
        for place, changed, known, removed, dates, dates_before in found:
            applied[self._loads[place].partition] = Applied(
                changed,
                known,
                0,
                staged[place] - changed,
                sorted_dates(dates, dates_before),
                removed=removed,
            )
        return applied
