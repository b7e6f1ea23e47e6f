"""Looking keys up apart finds each row once, however many keys there are and wherever they are."""

from __future__ import annotations

import random
from itertools import pairwise

import pytest

from etl_assets.outcomes import Counts
from etl_assets.warehouse.dispositions.lookup import _stretches
from etl_assets.warehouse.session import Session
from etl_assets_tests.warehouse.samples import ORDERS, Stager, at, order, select

ROWS = 3000


@pytest.mark.parametrize("count", [0, 1, 399, 400, 401, 499, 500, 501, 5000, 100_000, 100_001])
def test_every_place_is_in_one_stretch(count: int) -> None:
    stretches = _stretches(count)
    assert stretches[0][0] == 0
    assert stretches[-1][1] == count
    assert all(end == start for (_, end), (start, _) in pairwise(stretches))
    assert len(stretches) <= 3


@pytest.mark.parametrize("count", [1, 51, 400, 450, 501, 2000])
def test_each_known_row_is_updated_once(session: Session, stager: Stager, count: int) -> None:
    names = [f"o{number:05}" for number in range(ROWS)]
    session.commit(stager.request(ORDERS, 0, [order(name, at(0)) for name in names]))
    chosen = random.Random(count).sample(names, count)
    new = [f"{name}-new" for name in chosen[::2]]
    rows = [order(name, at(1), status="done") for name in [*chosen, *new]]
    result = session.commit(stager.request(ORDERS, 1, rows))
    loaded = count + len(new)
    assert result.counts == Counts(extracted=loaded, staged=loaded, loaded=loaded, updated=count)
    found = "SELECT count(*), count(DISTINCT order_id), count(*) FILTER (status = 'done') FROM shop.orders"
    assert select(session.connection, found) == [(ROWS + len(new), ROWS + len(new), loaded)]
