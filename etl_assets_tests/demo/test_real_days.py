"""The known facts of the real retail data, as the API serves them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from decimal import Decimal
from pathlib import Path

import pytest

from etl_assets.demo.clock import Clock
from etl_assets.demo.server import running_source
from etl_assets_tests.demo.conftest import Api

pytestmark = pytest.mark.real_data
FIRST, LAST = date(2010, 12, 1), date(2011, 12, 13)
AFTER = datetime(2012, 1, 1, tzinfo=UTC)


@pytest.fixture(scope="module")
def real(real_days: Path) -> Iterator[Api]:
    """A source of the real days, its clock standing after them."""
    with running_source(data=real_days, clock=Clock(fixed=AFTER)) as source:
        yield Api(source)


def windows() -> Iterator[tuple[str, str]]:
    """The window of each day."""
    day = FIRST
    while day <= LAST:
        yield f"{day}T00:00:00Z", f"{day + timedelta(days=1)}T00:00:00Z"
        day += timedelta(days=1)


def test_all_lines(real: Api) -> None:
    lines = units = missing_customer = missing_description = 0
    amount = Decimal(0)
    ids: set[object] = set()
    empty = 0
    for start, end in windows():
        day = real.all_lines(start, end)
        empty += not day
        lines += len(day)
        for line in day:
            quantity = line["quantity"]
            assert isinstance(quantity, int)
            units += quantity
            amount += quantity * Decimal(str(line["unit_price"]))
            missing_customer += line["customer_id"] is None
            missing_description += line["description"] is None
        ids.update(line["line_id"] for line in day)
    assert lines == len(ids) == 541_909
    assert units == 5_176_450
    assert amount == Decimal("9747747.934")
    assert (missing_customer, missing_description) == (135_080, 1_454)
    assert empty == 69 + 4


def test_all_orders(real: Api) -> None:
    orders = [order for start, end in windows() for order in real.all_orders(start, end)]
    assert len({order["order_id"] for order in orders}) == len(orders) == 25_900
    assert Counter(order["status"] for order in orders) == {"completed": 25_900 - 3_836, "cancelled": 3_836}
    counts = [order["item_count"] for order in orders]
    assert sum(count for count in counts if isinstance(count, int)) == 541_909
    total = sum(Decimal(str(order["total"])) for order in orders)
    assert abs(total - Decimal("9747747.934")) < 1


def test_customers_and_products(real: Api) -> None:
    assert real.get("/v1/customers").json()["total"] == 4_372
    changes, after = [], 0
    while True:
        page = real.get("/v1/products/changes", after_lsn=after, limit=5_000).json()
        changes += page["changes"]
        after = page["last_lsn"]
        if not page["has_more"]:
            break
    operations = Counter(change["op"] for change in changes)
    assert operations["I"] == 4_070
    assert operations["U"] > 650
