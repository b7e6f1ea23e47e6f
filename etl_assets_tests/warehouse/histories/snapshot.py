"""`snapshot`: what follows from the list of all days that were loaded, each as it was given last."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date
from typing import Literal

from hypothesis import strategies as st

from etl_assets.outcomes import Counts
from etl_assets.streams.base import Field
from etl_assets_tests.warehouse.feeds import Customers, customer, customers
from etl_assets_tests.warehouse.histories.model import Model, TableRow, noted, widened
from etl_assets_tests.warehouse.samples import Row, day

Version = tuple[Row, date, date | None]


class NotedCustomers(Customers):
    """Customers with a note."""

    note: str = Field(missing="allow")


class Snapshots(Model):
    """The days, each with its rows by key.

    Args:
        removed: What becomes of rows that are gone.
        history: Whether all versions are kept.
    """

    business_date = 3

    def __init__(self, removed: Literal["mark", "delete"], *, history: bool) -> None:
        self.stream = customers(removed, history=history)
        self.wide = widened(self.stream, NotedCustomers)
        mark = "_removed_on" if removed == "mark" else "NULL"
        self.columns = f"customer_id, name, points, since, note, extra, _partition, {mark}"
        self._removed, self._history = removed, history
        self._days: dict[date, dict[str, Row]] = {}

    def rows(self, number: int) -> st.SearchStrategy[list[Row]]:
        """See `Model`."""
        row = st.builds(
            customer,
            customer_id=st.sampled_from("abc"),
            points=st.integers(0, 1),
            name=st.sampled_from([None, "", "n"]),
            since=st.integers(0, 1).map(day),
        )
        return st.lists(noted(row), max_size=3, unique_by=lambda row: str(row["customer_id"]))

    def load(self, number: int, rows: Sequence[Row], *, restates: bool) -> Counts:
        """See `Model`: compared with what was known of the day, its own earlier load or the snapshot before it."""
        known = self._known(day(number))
        self._days[day(number)] = {row["customer_id"]: row for row in rows}
        new = [row for row in rows if known.get(row["customer_id"]) != row]
        return Counts(
            loaded=len(new),
            updated=len([row for row in new if row["customer_id"] in known]),
            unchanged=len(rows) - len(new),
            removed=len(known.keys() - {row["customer_id"] for row in rows}),
        )

    def table(self) -> list[TableRow]:
        """See `Model`."""
        last: dict[str, Version] = {}
        for version in sorted(self._versions(), key=lambda version: version[1]):
            last[version[0]["customer_id"]] = version
        return [
            (*row.values(), since, until)
            for row, since, until in last.values()
            if until is None or self._removed == "mark"
        ]

    def accounts(self) -> dict[str, list[TableRow]]:
        """See `Model`: the history."""
        if not self._history or not self._days:
            return {}
        columns = "customer_id, name, points, since, note, extra, valid_from, valid_to, is_current"
        versions = [(*row.values(), since, until, until is None) for row, since, until in self._versions()]
        return {f"SELECT {columns} FROM shop.customers_history": versions}

    def _known(self, today: date) -> Mapping[str, Row]:
        earlier = [known for known in self._days if known <= today]
        return self._days[max(earlier)] if earlier else {}

    def _versions(self) -> list[Version]:
        """Runs of equal rows over the loaded days, for each key."""
        ordered, versions = sorted(self._days), list[Version]()
        for key in sorted({key for rows in self._days.values() for key in rows}):
            since: date | None = None
            for number, today in enumerate(ordered):
                row = self._days[today].get(key)
                if row is None:
                    continue
                since = since or today
                following = ordered[number + 1] if number + 1 < len(ordered) else None
                if following is None or self._days[following].get(key) != row:
                    versions.append((row, since, following))
                    since = None
        return versions
