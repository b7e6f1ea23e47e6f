"""What the API says about hand-written day files, field by field."""

from __future__ import annotations

import os
import zlib
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from etl_assets.demo.retail import RetailShop, read_day
from etl_assets.demo.server import running_source
from etl_assets.failures import ConfigurationError
from etl_assets_tests.demo.conftest import DAY_TWO, HEADER, Api

DAY = ("2010-12-01T00:00:00Z", "2010-12-02T00:00:00Z")
ALL = ("2010-01-01T00:00:00Z", "2011-12-31T00:00:00Z")


def completion(order_id: str, created: str) -> str:
    """When an order is completed, as the contract says."""
    done = datetime.fromisoformat(created) + timedelta(hours=1 + zlib.crc32(order_id.encode()) % 72)
    return done.isoformat().replace("+00:00", "Z")


def test_lines_pass_unchanged_in_order(small: Api) -> None:
    lines = small.all_lines(*DAY)
    assert [line["line_id"] for line in lines] == [f"2010-12-01-{n}" for n in (0, 1, 3, 2, 4)]
    assert lines[0] == {
        "line_id": "2010-12-01-0",
        "invoice_no": "536365",
        "stock_code": "85123A",
        "description": " WHITE HEART ",
        "quantity": 6,
        "unit_price": "2.55",
        "invoiced_at": "2010-12-01T08:26:00Z",
        "customer_id": "17850",
        "country": "United Kingdom",
    }
    assert lines[1]["description"] == 'LAMP, "OLD"'
    assert lines[1]["unit_price"] == "3.390"
    assert lines[1]["customer_id"] is None
    assert lines[2]["description"] is None
    assert lines[3]["quantity"] == -1
    assert lines[4]["quantity"] == "x"


def test_orders_are_derived_from_lines(small: Api) -> None:
    orders = {order["order_id"]: order for order in small.all_orders(*ALL)}
    assert set(orders) == {"536365", "C536366", "536367", "536368", "536369"}
    created = "2010-12-01T08:26:00Z"
    assert orders["536365"] == {
        "order_id": "536365",
        "customer_id": "17850",
        "status": "completed",
        "currency": "GBP",
        "total": "35.64",
        "item_count": 2,
        "country": "United Kingdom",
        "created_at": created,
        "updated_at": completion("536365", created),
    }
    assert orders["C536366"]["status"] == "cancelled"
    assert orders["C536366"]["updated_at"] == orders["C536366"]["created_at"] == "2010-12-01T09:00:00Z"
    assert orders["536368"]["total"] == "0.00"
    assert orders["536369"]["total"] == "1.01"


def test_an_order_stands_in_the_window_of_its_latest_update_only(small: Api) -> None:
    done = datetime.fromisoformat(completion("536365", "2010-12-01T08:26:00Z"))
    for moment, window, status in (
        (done - timedelta(seconds=1), "2010-12-01T08:26:00Z", "pending"),
        (done, completion("536365", "2010-12-01T08:26:00Z"), "completed"),
    ):
        small.source.clock.set_fixed(moment)
        found = [order for order in small.all_orders(*ALL) if order["order_id"] == "536365"]
        assert [(order["status"], order["updated_at"]) for order in found] == [(status, window)]


def test_customers_as_of_now(small: Api) -> None:
    small.source.clock.set_fixed(datetime(2010, 12, 1, 8, 59, 59, tzinfo=UTC))
    [first] = small.get("/v1/customers").json()["items"]
    assert (first["customer_id"], first["country"]) == ("17850", "United Kingdom")
    assert first["first_seen_on"] == "2010-12-01"
    assert first["name"]
    assert first["email"].endswith("@example.com")
    assert first["phone"].startswith("+44 7700 900")
    small.source.clock.set_fixed(datetime(2010, 12, 4, tzinfo=UTC))
    page = small.get("/v1/customers").json()
    assert [(c["customer_id"], c["country"]) for c in page["items"]] == [
        ("12345", "Italy"),
        ("17850", "France"),
    ]
    assert page["total"] == 2
    assert [c["customer_id"] for c in small.get("/v1/customers", offset=1, limit=1).json()["items"]] == [
        "17850"
    ]


def test_product_changes(small: Api) -> None:
    feed = small.get("/v1/products/changes").json()
    assert [(c["lsn"], c["op"], c["product_id"], c["after"]["description"]) for c in feed["changes"]] == [
        (1, "I", "85123A", "WHITE HEART"),
        (2, "I", "71053", 'LAMP, "OLD"'),
        (3, "I", "POST", None),
        (4, "U", "71053", "?"),
        (5, "U", "85123A", "RED HEART"),
    ]
    assert (feed["last_lsn"], feed["has_more"]) == (5, False)
    page = small.get("/v1/products/changes", after_lsn=1, limit=2).json()
    assert ([c["lsn"] for c in page["changes"]], page["last_lsn"], page["has_more"]) == ([2, 3], 3, True)
    window = small.get("/v1/products/changes", from_="2010-12-02T00:00:00Z", to="2010-12-04T00:00:00Z").json()
    assert [c["lsn"] for c in window["changes"]] == [5]
    assert small.get("/v1/products/changes", after_lsn=5).json() == {
        "changes": [],
        "last_lsn": 5,
        "has_more": False,
    }


def test_corrected_and_added_files_are_served(small_days: Path) -> None:
    with running_source(data=small_days) as source:
        change_files_while_serving(Api(source), small_days)


def change_files_while_serving(small: Api, small_days: Path) -> None:
    """Add a file and change another, and look for both."""
    assert len(small.all_lines(*ALL)) == 7
    assert len(small.all_orders(*ALL)) == 5
    (small_days / "2010-12-02.csv").write_text(
        DAY_TWO.replace("2010-12-03", "2010-12-02").replace("536369", "9")
    )
    corrected = small_days / "2010-12-03.csv"
    corrected.write_text(DAY_TWO + "536370,A,B,1,2010-12-03 11:00:00,1,1.0,Spain\n")
    os.utime(small_days, (1, 1))
    assert len(small.all_lines(*ALL)) == 10
    assert {order["order_id"] for order in small.all_orders(*ALL)} >= {"9", "536370"}


def test_a_line_of_another_day_is_given_out_with_its_file(tmp_path: Path) -> None:
    row = "1,A,B,1,2010-12-09 10:00:00,1,,Spain\n2,A,B,1,yesterday,1,,Spain\n"
    (tmp_path / "2010-12-01.csv").write_text(f"{HEADER}\n{row}")
    with running_source(data=tmp_path) as source:
        lines = Api(source).all_lines(*DAY)
    assert [line["invoiced_at"] for line in lines] == ["2010-12-09T10:00:00Z", "yesterday"]


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    path = tmp_path / "2010-12-01.csv"
    path.write_text(
        "Country,CustomerID,UnitPrice,InvoiceDate,Quantity,Description,StockCode,InvoiceNo,Extra\n,,,,,,,7,x\n"
    )
    assert read_day(path) == [("2010-12-01-0", "7", *[None] * 7)]
    path.write_text(HEADER)
    assert read_day(path) == []


@pytest.mark.parametrize(
    "content", [b"", b"a,b\n1,2\n", HEADER.encode() + b"\n1,2\n", HEADER.encode() + b"\n\xff\n"]
)
def test_a_broken_day_file_is_named(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "2010-12-01.csv").write_bytes(content)
    with running_source(data=tmp_path) as source:
        answer = Api(source).get("/v1/order-lines", from_=DAY[0], to=DAY[1])
    assert answer.status_code == 500
    message = answer.json()["error"]["message"]
    assert "2010-12-01.csv" in message
    assert "\n" not in message


def test_a_folder_without_days_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="no day files in"):
        RetailShop(tmp_path)
    with pytest.raises(ConfigurationError, match="no such folder"):
        RetailShop(tmp_path / "absent")
