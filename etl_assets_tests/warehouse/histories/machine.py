"""A history: days loaded, sent again, given up half-way, by old and by mended code, into one warehouse file.

What belongs here: the steps and what must hold after each. What does not: what a table ought to hold (`model`).
"""

from __future__ import annotations

import re
import tempfile
from collections import Counter
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition
from hypothesis.stateful import rule as step

from etl_assets.failures import WarehouseError
from etl_assets.marts.catalogue import Mart
from etl_assets.outcomes import Status
from etl_assets.warehouse.commit import CommitRequest, CommitResult, commit_partition
from etl_assets.warehouse.database import Session, Warehouse
from etl_assets.warehouse.ledger import Ledger
from etl_assets.warehouse.schema import ensure_table, layout_of
from etl_assets_tests.warehouse.histories.model import DAYS, Model, TableRow
from etl_assets_tests.warehouse.samples import LOADED_AT, Row, Stager, day, select

BAD = st.lists(st.sampled_from(["x", "y"]), max_size=2)
QUARANTINE = "SELECT partition, raw_payload FROM etl.quarantine WHERE state = 'pending'"
LOADS = "SELECT count(*), max(watermark) FROM etl.loads"
FAILED = "SELECT count(*) FROM etl.loads WHERE extracted <> loaded + unchanged + deduplicated + quarantined"

Load = tuple[int, list[Row], list[str]]
"""A day, its good rows, and the payloads of its bad ones."""


class History(RuleBasedStateMachine):
    """One stream's warehouse beside its model; `history_of` says which."""

    make_model: Callable[[], Model]

    def __init__(self) -> None:
        super().__init__()
        self.model = type(self).make_model()
        self.stream = self.model.stream
        self.code = 1
        self.loads: list[Load] = []
        self.versions: dict[int, tuple[str, str]] = {}
        self.last: dict[int, tuple[str, str, str]] = {}
        self.bad: dict[int, list[str]] = {}
        self.commits = 0
        self._stack = ExitStack()

    @initialize()
    def open_a_new_warehouse(self) -> None:
        """Make the file."""
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

    @step()
    def open_again(self) -> None:
        """Close the file and go on in a new session, as another process would."""
        self._open_session.close()
        self._open()

    @step()
    def mend_the_transform(self) -> None:
        """Load from now on by other code."""
        self.code += 1

    @precondition(lambda self: self.stream is not self.model.wide)
    @step()
    def add_a_column(self) -> None:
        """Load from now on by a contract with a column more."""
        self.stream = self.model.wide
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
        last = max((day(number + 1) for number in self.versions), default=None)
        ((commits, watermark),) = select(self._session.connection, LOADS)
        assert (commits, watermark and watermark.date()) == (self.commits, last)
        if self.commits:
            assert same_rows(self._found(), self.model.table())
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

    def _expect(self, load: Load, request: CommitRequest, result: CommitResult) -> None:
        """Change the model as a load ought to have changed the table, and compare what was said of it."""
        number, rows, bad = load
        versions = (request.contract_version, request.code_version)
        before, restates = self.model.table(), self.versions.get(number, versions) != versions
        if self.last.get(number) == (*versions, request.content_hash):
            expected = self.model.load_equal(number, self._as_read(rows))
        else:
            expected = self.model.load(number, self._as_read(rows), restates=restates)
        self.last[number] = (*versions, request.content_hash)
        assert result.status is Status.PUBLISHED
        assert result.counts == replace(
            expected, extracted=len(rows) + len(bad), staged=len(rows), quarantined=len(bad)
        )
        assert result.counts.conserved
        assert set(result.touched_dates) == self.model.touched(before, self.model.table())
        self.versions[number], self.bad[number] = versions, bad
        self.commits += 1

    def _request(self, number: int, rows: list[Row], bad: list[str]) -> CommitRequest:
        return self._stager.request(
            self.stream,
            number,
            rows,
            bad,
            contract_version="wide" if self.stream is self.model.wide else "narrow",
            code_version=f"v{self.code}",
            confirm_empty=True,
        )

    def _as_read(self, rows: Sequence[Row]) -> list[Row]:
        """Give the rows as the present contract reads them."""
        return [row if self.stream is self.model.wide else row | {"note": None} for row in rows]

    def _readable(self, query: str) -> str:
        """Ask for the note only where there is one: a column is added by the first load that brings it."""
        schema, table = re.findall(r"FROM (\w+)\.(\w+)", query)[0]
        noted = (
            f"SELECT 1 FROM information_schema.columns WHERE table_schema = '{schema}' "
            f"AND table_name = '{table}' AND column_name = 'note'"
        )
        return query if select(self._session.connection, noted) else query.replace("note", "NULL AS note")

    def _found(self) -> list[TableRow]:
        query = f"SELECT {self.model.columns} FROM shop.{self.stream.name}"
        return select(self._session.connection, self._readable(query))

    def _pending(self) -> list[TableRow]:
        return [(day(number), payload) for number, bad in self.bad.items() for payload in bad]

    def _open(self) -> None:
        self._open_session = ExitStack()
        self._session: Session = self._open_session.enter_context(self._warehouse.session("history"))

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
