"""The shop's orders: their current state, found in the window of their latest update."""

from datetime import timedelta
from decimal import Decimal

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Agreement,
    Categories,
    Contract,
    Date,
    Decimal2,
    Field,
    Freshness,
    LinkHeader,
    MeanDrift,
    Merge,
    NullShare,
    Rest,
    Stream,
    Timestamp,
    Volume,
    WindowParameters,
    row_rule,
)
from etl_assets.streams.shop.source import SHOP

HIGH_VALUE = Decimal(1000)


class Orders(Contract):
    """One order in its newest known state."""

    order_id: str = Field(description="Identifier of the order")
    customer_id: str = Field(missing="allow", personal="keep", description="Customer, where known")
    status: str = Field(
        isin=["pending", "completed", "cancelled", "refunded"], description="State, lower case"
    )
    currency: str = Field(default="GBP", str_matches=r"^[A-Z]{3}$", description="ISO 4217 code")
    total_amount: Decimal2 = Field(raw="total", description="Sum of the order, in its currency")
    item_count: int = Field(missing="allow", description="Number of lines")
    country: str = Field(missing="allow", description="Country of the customer")
    created_at: Timestamp = Field(description="When the order was made, UTC")
    updated_at: Timestamp = Field(description="When the order last changed, UTC")
    order_date: Date = Field(description="UTC day of created_at")
    order_month: str = Field(description="UTC month of created_at, YYYY-MM")
    is_high_value: bool = Field(description="Whether total_amount is above 1000")

    @row_rule(reason="updated_at is before created_at")
    def updated_after_created(cls, rows: pd.DataFrame) -> pd.Series:
        return ~(rows["updated_at"] < rows["created_at"])


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields, fold case, and work out date, month and value class."""
    total_amount = parse.decimals(raw["total"], places=2)
    created_at = parse.timestamps(raw["created_at"])
    return pd.DataFrame(
        {
            "order_id": parse.text(raw["order_id"]),
            "customer_id": parse.text(raw["customer_id"]),
            "status": parse.text(raw["status"]).str.lower(),
            "currency": parse.text(raw["currency"]).str.upper(),
            "total_amount": total_amount,
            "item_count": parse.integers(raw["item_count"]),
            "country": parse.text(raw["country"]),
            "created_at": created_at,
            "updated_at": parse.timestamps(raw["updated_at"]),
            "order_date": parse.days_of(created_at),
            "order_month": parse.months_of(created_at),
            "is_high_value": (total_amount > HIGH_VALUE).fillna(False),
        }
    )


STREAM = Stream(
    source=SHOP,
    name="orders",
    owner="team:sales",
    description="The shop's orders in their newest known state.",
    extract=Rest(
        path="/v1/orders",
        window=WindowParameters("updated_from", "updated_to"),
        paginator=LinkHeader(page_size=1000),
        overlap=timedelta(minutes=5),
    ),
    contract=Orders,
    transform=clean,
    row_by_row=True,
    write=Merge(key="order_id", version="updated_at"),
    window_column="updated_at",
    business_date="created_at",
    # Thresholds as the retail year asks for them: see docs/audits.md.
    audits=(
        # Few orders settle on the day after a holiday.
        Volume(threshold=8.0),
        NullShare("customer_id", maximum=0.95, severity="withhold"),
        Categories("currency", expected=("GBP",), maximum_unexpected=0.05, severity="withhold"),
        # A day of refunds has a mean far below the usual one.
        MeanDrift("total_amount", factor=20.0),
        Agreement(
            key="order_id",
            total="total_amount",
            stream="shop/order_lines",
            stream_key="invoice_no",
            stream_total="amount",
            tolerance=0.01,
            late_days=3,
        ),
        Freshness(),
    ),
)
