"""Child tables through the commit: with their record or not at all, in whichever order days are loaded."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from etl_assets.failures import WarehouseError
from etl_assets.outcomes import Counts, Status
from etl_assets.streams.base import Children, Contract, Field, Stream
from etl_assets.warehouse.children import out_of_step
from etl_assets.warehouse.database import Warehouse
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.papers import (
    CHILDREN,
    DELETED,
    MARKED,
    MERGED,
    authors,
    derived,
    found,
    paper,
)
from etl_assets_tests.warehouse.samples import Row, Stager, everything, select

ADA: dict[str, Any] = {"name": "Ada", "born": "1815-12-10", "cited": 7}
BOB: dict[str, Any] = {"name": "Bob"}
BOTH = {"authors": [ADA, BOB], "cites": [{"target": "b"}, {"target": "nowhere"}]}
KINDS = {"merge": MERGED, "mark": MARKED, "delete": DELETED}


def load(
    session: Session, stager: Stager, stream: Stream, number: int, rows: list[Row], **changes: Any
) -> Any:
    """Commit the papers of a day."""
    return session.commit(stager.request(stream, number, rows, **changes))


@pytest.mark.parametrize("stream", KINDS.values(), ids=KINDS)
def test_child_rows_come_with_their_record(session: Session, stager: Stager, stream: Stream) -> None:
    result = load(session, stager, stream, 0, [paper("a", lists=BOTH), paper("b")])
    assert result.counts == Counts(extracted=2, staged=2, loaded=2)
    assert authors(session.connection) == [
        ("a", 1, "Ada", date(1815, 12, 10), 7),
        ("a", 2, "Bob", None, None),
    ]
    assert found(session.connection) == derived(session.connection)
    marks = "SELECT DISTINCT _partition, _run_id, _loaded_at FROM"
    assert select(session.connection, f"{marks} shop.papers_authors") == select(
        session.connection, f"{marks} shop.papers"
    )


@pytest.mark.parametrize("stream", KINDS.values(), ids=KINDS)
def test_child_rows_are_replaced_when_their_record_changes(
    session: Session, stager: Stager, stream: Stream
) -> None:
    load(session, stager, stream, 0, [paper("a", lists=BOTH), paper("b", lists={"authors": [BOB]})])
    fewer = paper("a", 1, lists={"authors": [BOB]})
    load(session, stager, stream, 1, [fewer, paper("b", lists={"authors": [BOB]})], run_id="run-2")
    assert [row[:3] for row in authors(session.connection)] == [("a", 1, "Bob"), ("b", 1, "Bob")]
    assert found(session.connection) == derived(session.connection)
    # What has not changed has not been written again.
    runs = "SELECT paper_id, _run_id FROM shop.papers_authors ORDER BY 1"
    assert select(session.connection, runs) == [("a", "run-2"), ("b", "run-1")]


@pytest.mark.parametrize("stream", KINDS.values(), ids=KINDS)
def test_an_equal_load_writes_no_child_row(session: Session, stager: Stager, stream: Stream) -> None:
    load(session, stager, stream, 0, [paper("a", lists=BOTH)])
    before = everything(session.connection)
    result = load(session, stager, stream, 0, [paper("a", lists=BOTH)], run_id="run-2")
    assert result.counts.unchanged == 1
    after = everything(session.connection)
    changed = {name for name in after if after[name] != before[name]}
    assert changed == {
        f"etl.{name}" for name in ("loads", "partitions", "check_results", "partition_statistics")
    }


def test_child_rows_of_a_record_that_is_gone(session: Session, stager: Stager) -> None:
    load(session, stager, DELETED, 0, [paper("a", lists=BOTH), paper("b", lists=BOTH)])
    load(session, stager, DELETED, 1, [paper("b", lists=BOTH)])
    assert {row[0] for row in authors(session.connection)} == {"b"}


def test_child_rows_of_a_record_that_is_marked_stay_with_it(session: Session, stager: Stager) -> None:
    load(session, stager, MARKED, 0, [paper("a", lists=BOTH), paper("b")])
    load(session, stager, MARKED, 1, [paper("b")])
    assert {row[0] for row in authors(session.connection)} == {"a"}
    assert found(session.connection) == derived(session.connection)
    assert select(
        session.connection, "SELECT count(*) FROM shop.papers_history WHERE _children IS NOT NULL"
    ) == [(1,)]


def test_a_withheld_load_changes_no_child_row(session: Session, stager: Stager) -> None:
    load(session, stager, MERGED, 0, [paper("a", lists=BOTH)])
    before = authors(session.connection)
    load(session, stager, MERGED, 1, [paper("a", 1)], verdict=Status.WITHHELD, message="too bad")
    assert authors(session.connection) == before


def test_an_error_takes_record_and_child_rows_back(session: Session, stager: Stager) -> None:
    load(session, stager, MERGED, 0, [paper("a", lists=BOTH)])
    before = everything(session.connection)
    with pytest.raises(WarehouseError):
        load(session, stager, MERGED, 1, [paper("a", 1)], counts=Counts(extracted=9, staged=1))
    assert everything(session.connection) == before


def test_child_rows_that_someone_deleted_come_back(session: Session, stager: Stager) -> None:
    load(session, stager, MERGED, 0, [paper("a", lists=BOTH)])
    before = authors(session.connection)
    session.connection.execute("DELETE FROM shop.papers_authors")
    load(session, stager, MERGED, 1, [paper("b", 1)])
    assert authors(session.connection) == before


@pytest.mark.parametrize(
    ("damage", "tables"),
    [
        ("DELETE FROM shop.papers_authors WHERE position = 2", {"shop.papers_authors": 1}),
        (
            "UPDATE shop.papers SET _children = '{}' WHERE paper_id = 'a'",
            {"shop.papers_authors": 1, "shop.papers_cites": 1},
        ),
        ("DELETE FROM shop.papers", {"shop.papers_authors": 2, "shop.papers_cites": 1}),
        ("DROP TABLE shop.papers_cites", {}),
    ],
    ids=["lost", "changed", "orphaned", "no table"],
)
def test_child_rows_that_do_not_follow_are_noticed(
    session: Session, stager: Stager, damage: str, tables: dict[str, int]
) -> None:
    load(
        session, stager, MERGED, 0, [paper("a", lists=BOTH), paper("b", lists={"authors": [BOB]}), paper("c")]
    )
    assert out_of_step(session.connection, MERGED) == {}
    session.connection.execute(damage)
    assert out_of_step(session.connection, MERGED) == tables


def test_a_day_that_is_loaded_again_brings_child_rows_back(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("first") as session:
        load(session, stager, MERGED, 0, [paper("a", lists=BOTH)])
        before = authors(session.connection)
        session.connection.execute("DELETE FROM shop.papers_authors")
    with warehouse.session("second") as session:
        assert load(session, stager, MERGED, 0, [paper("a", lists=BOTH)]).unchanged_content
        assert authors(session.connection) == before


class Wider(Contract):
    """Authors, with a column more."""

    name: str = Field()
    orcid: str = Field(missing="allow")


def test_a_new_child_table_and_a_new_column(warehouse: Warehouse, stager: Stager) -> None:
    with warehouse.session("without") as session:
        load(session, stager, replace(MERGED, children=()), 0, [paper("a")])
    with warehouse.session("with") as session:
        load(session, stager, MERGED, 0, [paper("a", lists={"authors": [ADA]})], contract_version="c2")
        assert [row[2] for row in authors(session.connection)] == ["Ada"]
    wider = replace(MERGED, children=(Children(name="authors", contract=Wider), *CHILDREN[1:]))
    with warehouse.session("wider") as session:
        load(session, stager, wider, 1, [paper("b", 1, lists={"authors": [{"name": "Cy", "orcid": "0"}]})])
        rows = "SELECT paper_id, name, orcid FROM shop.papers_authors ORDER BY 1"
        assert select(session.connection, rows) == [("a", "Ada", None), ("b", "Cy", "0")]


lists = st.fixed_dictionaries(
    {},
    optional={
        "authors": st.lists(st.sampled_from([ADA, BOB, {"name": "Cy", "cited": 0}]), min_size=1, max_size=3),
        "cites": st.lists(st.sampled_from("abcd").map(lambda name: {"target": name}), min_size=1, max_size=2),
    },
)
contents = st.dictionaries(st.sampled_from("abc"), lists, max_size=3)
histories = st.lists(st.tuples(st.integers(0, 2), contents), min_size=1, max_size=6)


@pytest.mark.parametrize("stream", KINDS.values(), ids=KINDS)
@settings(max_examples=4, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(history=histories)
def test_child_tables_always_follow_from_the_streams_own(
    tmp_path_factory: pytest.TempPathFactory, stream: Stream, history: list[tuple[int, dict[str, Any]]]
) -> None:
    folder = tmp_path_factory.mktemp("history")
    with Warehouse(folder / "w.duckdb").session("history") as session:
        for number, content in history:
            rows = [paper(name, number, lists=lists) for name, lists in content.items()]
            load(session, Stager(folder / f"{number}"), stream, number, rows, confirm_empty=True)
            assert found(session.connection) == derived(session.connection)


@pytest.mark.parametrize("stream", [MERGED, MARKED], ids=["merge", "mark"])
def test_any_order_of_days_gives_the_same_child_tables(tmp_path: Path, stream: Stream) -> None:
    days = {
        0: [paper("a", 0, lists=BOTH), paper("b", 0, lists={"authors": [BOB]})],
        1: [paper("a", 1, lists={"authors": [BOB, ADA]}), paper("c", 1, lists=BOTH)],
        2: [paper("a", 2, lists={"authors": [BOB, ADA]}), paper("b", 2)],
    }
    results = []
    for place, order in enumerate([(0, 1, 2), (2, 1, 0), (1, 2, 0)]):
        folder = tmp_path / str(place)
        with Warehouse(folder / "w.duckdb").session("order") as session:
            for number in order:
                load(session, Stager(folder / f"{number}"), stream, number, days[number])
            results.append((authors(session.connection), found(session.connection)))
    assert all(result == results[0] for result in results)
    assert results[0][0]
