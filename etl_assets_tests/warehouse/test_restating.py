"""A mended transform or contract: what it makes of rows that were loaded before takes their place."""

from __future__ import annotations

import pytest

from etl_assets.warehouse.database import Session
from etl_assets_tests.warehouse.samples import ORDERS, Stager, at, order, select


@pytest.mark.parametrize("changed", [{"code_version": "v2"}, {"contract_version": "c2"}])
def test_a_mended_transform_replaces_rows_of_the_same_version(
    session: Session, stager: Stager, changed: dict[str, str]
) -> None:
    wrong = order("a", at(0, 9), status="wrong")
    mended = order("a", at(0, 9), status="good")
    assert mended["status"] < wrong["status"], "by content alone the wrong row would win"
    session.commit(stager.request(ORDERS, 0, [wrong]))
    result = session.commit(stager.request(ORDERS, 0, [mended], **changed))
    assert (result.counts.loaded, result.counts.updated) == (1, 1)
    assert select(session.connection, "SELECT status FROM shop.orders") == [("good",)]


def test_a_mended_transform_does_not_bring_an_older_version_back(session: Session, stager: Stager) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="old")]))
    session.commit(stager.request(ORDERS, 1, [order("a", at(1, 9), status="new")]))
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="mended")], code_version="v2"))
    assert select(session.connection, "SELECT status FROM shop.orders") == [("new",)]


def test_without_a_change_of_code_the_order_of_loads_does_not_matter(
    session: Session, stager: Stager
) -> None:
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="b")]))
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="a")]))
    assert select(session.connection, "SELECT status FROM shop.orders") == [("b",)]


def test_a_mended_transform_restates_even_when_it_makes_what_the_last_load_made(
    session: Session, stager: Stager
) -> None:
    last = [order("a", at(0, 9), status="a")]
    session.commit(stager.request(ORDERS, 0, [order("a", at(0, 9), status="b")]))
    session.commit(stager.request(ORDERS, 0, last))
    result = session.commit(stager.request(ORDERS, 0, last, code_version="v2"))
    assert (result.unchanged_content, result.counts.updated) == (False, 1)
    assert select(session.connection, "SELECT status FROM shop.orders") == [("a",)]
    again = session.commit(stager.request(ORDERS, 0, last, code_version="v2"))
    assert again.unchanged_content
