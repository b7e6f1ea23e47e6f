"""A history: days loaded, sent again, given up half-way, by old and by mended code, and rolled back, in one warehouse.

What belongs here: the steps and what must hold after each. What does not: what a table ought to hold (`model`).
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition
from hypothesis.stateful import rule as step

from etl_assets.failures import WarehouseError
from etl_assets.marts.catalogue import Mart
from etl_assets.outcomes import Status
from etl_assets.streams.base import SchemaPolicy
from etl_assets.streams.children import CHILDREN_COLUMN
from etl_assets.streams.observed import Kind, kinds_of, text_of
from etl_assets.warehouse.children import out_of_step
from etl_assets.warehouse.commit import commit_partition
from etl_assets.warehouse.commit_request import CommitRequest, CommitResult
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.past_loads import Target, cut_of
from etl_assets.warehouse.rollback import Rollback
from etl_assets.warehouse.schema import ensure_table, layout_of
from etl_assets.warehouse.session import Session
from etl_assets.warehouse.types import canonical_text, type_of
from etl_assets_tests.warehouse.evolving import request_with
from etl_assets_tests.warehouse.histories.model import DAYS, Model, TableRow, parts_of
from etl_assets_tests.warehouse.samples import LOADED_AT, Row, Stager, day, select

BAD = st.lists(st.sampled_from(["x", "y"]), max_size=2)
ADDED = (
    "SELECT count(*) FROM etl.schema_changes WHERE change = 'added' AND field = 'extra' HAVING count(*) > 0"
)
TYPE = (
    "SELECT data_type FROM information_schema.columns WHERE table_schema = 'shop' AND table_name = '{}' "
    "AND column_name = 'extra'"
)
QUARANTINE = "SELECT partition, raw_payload FROM etl.quarantine WHERE state = 'pending'"
LOADS = "SELECT count(*) FROM etl.loads WHERE verdict <> 'rolled_back' AND restores IS NULL"
WATERMARK = "SELECT CAST(max(watermark) AS DATE) FROM etl.watermarks"
PUBLISHED = "SELECT partition FROM etl.partitions WHERE published_at IS NOT NULL"
FAILED = "SELECT count(*) FROM etl.loads WHERE extracted <> loaded + unchanged + deduplicated + quarantined"

Load = tuple[int, list[Row], list[str]]
"""A day, its good rows, and the payloads of its bad ones."""


@dataclass(frozen=True)
class Counting:
    """A load that counts: its number, what it brought, its rows as they were read, by what, and whether it restated."""

    load_id: int
    load: Load
    read: list[Row]
    versions: tuple[str, str]
    restates: bool


@dataclass(frozen=True)
class Remembered:
    """What was there right after a load: the loads that counted, and the tables where they were seen."""

    counting: tuple[Counting, ...]
    tables: list[list[TableRow]] | None


class History(RuleBasedStateMachine):
    """One stream's warehouse beside its model; `history_of` says which."""

    make_model: Callable[[], Model]

    def __init__(self) -> None:
        super().__init__()
        self.model = type(self).make_model()
        self.stream = self.model.stream
        self.is_wide = False
        self.code = 1
        self.loads: list[Load] = []
        self.counting: tuple[Counting, ...] = ()
        self.past: dict[int, Remembered] = {}
        self.commits = 0
        self.kinds: set[Kind] = set()
        self._stack = ExitStack()

    @initialize(policy=st.sampled_from([SchemaPolicy.EVOLVE, SchemaPolicy.FREEZE]))
    def open_a_new_warehouse(self, policy: SchemaPolicy) -> None:
        """Make the file; the source sends a field that no contract knows."""
        self.stream = replace(self.stream, schema_changes=policy)
        folder = Path(self._stack.enter_context(tempfile.TemporaryDirectory()))
        self._stager = Stager(folder / "staged")
        self._warehouse = Warehouse(folder / "w.duckdb")
        self._open()

    @step(number=DAYS, bad=BAD, data=st.data())
    def load(self, number: int, bad: list[str], data: st.DataObject) -> None:
        """Load a day with what the source sends this time."""
        rows = data.draw(self.model.rows(number), label="rows")
        self.loads.append((number, rows, bad))
        self._commit((number, rows, bad))

    @step(numbers=st.lists(DAYS, min_size=2, max_size=4, unique=True), bad=BAD, data=st.data())
    def load_together(self, numbers: list[int], bad: list[str], data: st.DataObject) -> None:
        """Load some days in one transaction."""
        loads = [(number, data.draw(self.model.rows(number), label="rows"), bad) for number in numbers]
        self.loads += loads
        self._commit(*loads)

    @precondition(lambda self: self.loads)
    @step(data=st.data())
    def load_again(self, data: st.DataObject) -> None:
        """Load a day with what was sent at some time before."""
        self._commit(data.draw(st.sampled_from(self.loads), label="load"))

    @step(number=DAYS, data=st.data(), how=st.sampled_from(["fails", "dies", "is withheld"]))
    def load_in_vain(self, number: int, data: st.DataObject, how: str) -> None:
        """Begin to load a day, and leave nothing of it behind."""
        request = self._request(number, data.draw(self.model.rows(number), label="rows"), [])
        if how == "fails":
            # The rows are in the table when it is noticed that one is missing.
            lost = replace(request.counts, extracted=request.counts.extracted + 1)
            with pytest.raises(WarehouseError, match="rows extracted, but"):
                self._session.commit(replace(request, counts=lost))
        elif how == "dies":
            self._session.connection.execute("BEGIN TRANSACTION")
            layout = layout_of(self.stream)
            ensure_table(self._session.connection, layout)
            commit_partition(self._session.connection, Ledger(self._session.connection), layout, request)
            self.open_again()
        else:
            result = self._session.commit(replace(request, verdict=Status.WITHHELD, message="too bad"))
            assert (result.status, result.load_id) == (Status.WITHHELD, None)

    @precondition(lambda self: self.past)
    @step(data=st.data(), some=st.none() | st.sets(DAYS, min_size=1, max_size=2))
    def roll_back(self, data: st.DataObject, some: set[int] | None) -> None:
        """Go back to right after some load, with all days or with some."""
        target = data.draw(st.sampled_from(sorted(self.past)), label="after load")
        then = self.past[target]
        days = None if some is None else {day(number) for number in some}
        cut = cut_of(self._session.connection, self.stream, Target(target, LOADED_AT), self._made_by, days)
        given = {each.load_id: each.load for each in (*then.counting, *self.counting)}
        requests = {load.load_id: self._request(*given[load.load_id]) for load in cut.loads}
        before = self.model.table()
        [done] = self._session.roll_back([Rollback(self.stream, cut, requests)], "undo", LOADED_AT)
        if cut.changed:
            self._go_back(then, {(each - day(0)).days for each in cut.changed}, whole=cut.whole)
        assert set(done.touched_dates) == self.model.touched(before, self.model.table())
        same_contract = all(each.versions[0] == self._made_by[0] for each in then.counting)
        if some is None and same_contract and then.tables is not None:
            assert all(map(same_rows, self._tables(), then.tables))
        self._remember()

    def _go_back(self, then: Remembered, changed: set[int], *, whole: bool) -> None:
        """Have the model be what the loads that count make of an empty table."""
        back = [self._made_anew(each) for each in then.counting if each.load[0] in changed]
        stay = [each for each in self.counting if each.load[0] not in changed]
        counting = sorted(
            [*back, *(map(self._made_anew, stay) if whole else stay)], key=lambda each: each.load_id
        )
        self.counting = tuple(counting)
        self.model = type(self).make_model()
        held: dict[int, Load] = {}
        for each in counting:
            number = each.load[0]
            if held.get(number) != each.load or each.restates:
                self.model.load(number, each.read, restates=each.restates)
            held[number] = each.load

    def _made_anew(self, each: Counting) -> Counting:
        """Give a load as it is made by the present code."""
        return replace(each, read=self._as_read(each.load[1]), versions=self._made_by)

    @step()
    def open_again(self) -> None:
        """Close the file and go on in a new session, as another process would."""
        self._open_session.close()
        self._open()

    @step()
    def mend_the_transform(self) -> None:
        """Load from now on by other code."""
        self.code += 1

    @precondition(lambda self: not self.is_wide)
    @step()
    def add_a_column(self) -> None:
        """Load from now on by a contract with a column more."""
        self.stream = replace(self.model.wide, schema_changes=self.stream.schema_changes)
        self.is_wide = True
        self.open_again()

    @step()
    def build_the_mart(self) -> None:
        """Rebuild the mart for the dates touched since it was built last."""
        self._session.rebuild_mart(self._mart, "run", LOADED_AT)
        if self.commits:
            found = select(self._session.connection, f"SELECT * FROM marts.{self._mart.name}")
            dates = "SELECT CAST(unnest(range(DATE '2024-12-01', DATE '2025-02-01', INTERVAL 1 DAY)) AS DATE)"
            whole = self._mart.sql.replace("SELECT business_date FROM touched_dates", dates)
            assert same_rows(found, select(self._session.connection, whole))

    @invariant()
    def table_is_what_it_ought_to_be(self) -> None:
        """The table, what is kept beside it, and the bookkeeping."""
        assert select(self._session.connection, FAILED) == [(0,)]
        assert same_rows(select(self._session.connection, QUARANTINE), self._pending())
        last = self._last_of_days()
        assert select(self._session.connection, LOADS) == [(self.commits,)]
        watermark = max((day(number + 1) for number in last), default=None)
        assert select(self._session.connection, WATERMARK) == [(watermark,)]
        assert same_rows(select(self._session.connection, PUBLISHED), [(day(number),) for number in last])
        assert select(self._session.connection, ADDED) == ([(1,)] if self.kinds else [])
        if self.commits:
            assert select(self._session.connection, TYPE.format(self.stream.name)) == (
                [(type_of(self.kinds),)] if self.kinds else []
            )
            assert same_rows(self._found(), self.model.table())
            assert out_of_step(self._session.connection, self.stream) == {}
            for query, rows in self.model.accounts().items():
                assert same_rows(select(self._session.connection, self._readable(query)), rows)

    def teardown(self) -> None:
        """Build the mart a last time, and clean up."""
        try:
            self.build_the_mart()
        finally:
            self._open_session.close()
            self._stack.close()

    def _commit(self, *loads: Load) -> None:
        requests = [self._request(*load) for load in loads]
        results = self._session.commit_group(requests)
        for load, request, result in zip(loads, requests, results, strict=True):
            self._expect(load, request, result)
        self._remember()

    def _remember(self) -> None:
        """Remember what is there after the last row of the load log."""
        ((last,),) = select(self._session.connection, "SELECT max(load_id) FROM etl.loads")
        self.past[last] = Remembered(self.counting, self._tables())

    def _expect(self, load: Load, request: CommitRequest, result: CommitResult) -> None:
        """Change the model as a load ought to have changed the table, and compare what was said of it."""
        number, rows, bad = load
        versions = (request.contract_version, request.code_version)
        last = self._last_of_days().get(number)
        before, restates = self.model.table(), last is not None and last.versions != versions
        read = self._as_read(rows)
        expected = self.model.load(number, read, restates=restates)
        assert result.status.is_published
        if self._evolves:
            self.kinds |= kinds_of(row["extra"] for row in rows if row["extra"] is not None)
        assert result.counts == replace(
            expected, extracted=len(rows) + len(bad), staged=len(rows), quarantined=len(bad)
        )
        assert result.counts.conserved
        assert set(result.touched_dates) == self.model.touched(before, self.model.table())
        assert result.load_id is not None
        self.counting = (*self.counting, Counting(result.load_id, load, read, versions, restates))
        self.past[result.load_id] = Remembered(self.counting, None)
        self.commits += 1

    def _request(self, number: int, rows: list[Row], bad: list[str]) -> CommitRequest:
        contract_version, code_version = self._made_by
        names = tuple(self.model.stream.contract.to_schema().columns)
        listed = [row | {CHILDREN_COLUMN: parts_of(row, names)} for row in rows]
        return request_with(
            self._stager,
            self.stream,
            number,
            listed if self.stream.children else rows,
            [{"extra": row["extra"]} if row["extra"] is not None else {} for row in rows],
            bad=bad,
            run_id=f"run-{self.commits}",
            landing_version=hashlib.sha256(repr((rows, bad)).encode()).hexdigest(),
            contract_version=contract_version,
            code_version=code_version,
            confirm_empty=True,
        )

    @property
    def _made_by(self) -> tuple[str, str]:
        return "wide" if self.is_wide else "narrow", f"v{self.code}"

    def _last_of_days(self) -> dict[int, Counting]:
        return {each.load[0]: each for each in self.counting}

    def _tables(self) -> list[list[TableRow]]:
        """Give the stream's table with its stamps, and what is kept beside it."""
        if not self.commits:
            return []
        table = f"SELECT {self.model.columns}, COLUMNS('^_') FROM shop.{self.stream.name}"
        queries = [self._readable(query) for query in (table, *self.model.accounts())]
        return [[(repr(row),) for row in select(self._session.connection, query)] for query in queries]

    def _as_read(self, rows: Sequence[Row]) -> list[Row]:
        """Give the rows as the present contract reads them, and as the table spells what it does not read."""
        return [
            row
            | {
                "note": row["note"] if self.is_wide else None,
                "extra": text_of(row["extra"]) if self._evolves and row["extra"] is not None else None,
            }
            for row in rows
        ]

    def _readable(self, query: str) -> str:
        """Ask for note and extra only where they are: a column is added by the first load that brings it."""
        schema, table = re.findall(r"FROM (\w+)\.(\w+)", query)[0]
        types = dict(
            select(
                self._session.connection,
                "SELECT column_name, data_type FROM information_schema.columns "
                f"WHERE table_schema = '{schema}' AND table_name = '{table}'",
            )
        )
        if "note" not in types:
            query = query.replace("note", "NULL AS note")
        extra = canonical_text("extra", types["extra"]) if "extra" in types else "NULL"
        return query.replace("extra", f"{extra} AS extra", 1)

    def _found(self) -> list[TableRow]:
        query = f"SELECT {self.model.columns} FROM shop.{self.stream.name}"
        return select(self._session.connection, self._readable(query))

    def _pending(self) -> list[TableRow]:
        return [
            (day(number), payload)
            for number, each in self._last_of_days().items()
            for payload in each.load[2]
        ]

    def _open(self) -> None:
        self._open_session = ExitStack()
        self._session: Session = self._open_session.enter_context(self._warehouse.session("history"))

    @property
    def _evolves(self) -> bool:
        return self.stream.schema_changes == SchemaPolicy.EVOLVE

    @property
    def _hashed(self) -> str:
        """The contract's columns that were there from the beginning."""
        return ", ".join(self.model.stream.contract.to_schema().columns)

    @property
    def _mart(self) -> Mart:
        stream, date = self.stream, f"CAST({self.stream.business_date} AS DATE)"
        return Mart(
            name="per_day",
            owner="team:sales",
            business_date="day",
            reads=(stream.id,),
            description="Rows by day.",
            sql=(
                f"SELECT {date} AS day, count(*) AS n, sum(hash({self._hashed})) AS digest "
                f"FROM shop.{stream.name} WHERE {date} IN (SELECT business_date FROM touched_dates) GROUP BY 1"
            ),
        )


def history_of(make: Callable[[], Model]) -> type[History]:
    """Give the histories of a model.

    Args:
        make: Makes the model of an empty table.
    """

    class Histories(History):
        make_model = staticmethod(make)

    return Histories


def same_rows(found: Sequence[TableRow], expected: Sequence[TableRow]) -> bool:
    """Compare rows, each as often as it is there, in no order."""
    return Counter(found) == Counter(expected)
