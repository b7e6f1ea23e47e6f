"""The shop's order lines: immutable events, though a corrected day may be sent again as a whole."""

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Agreement,
    Categories,
    Contract,
    Count,
    Cursor,
    Decimal3,
    Field,
    ForeignKey,
    Freshness,
    MeanDrift,
    NullShare,
    Outliers,
    ReplacePartition,
    Rest,
    Stream,
    Timestamp,
    UniqueInTable,
    Volume,
    WindowParameters,
    rule,
)
from etl_assets.streams.shop.source import SHOP

SOME_INVOICES = 200
"""Lines below which a day may be a handful of invoices, whose lines share customer, country and sign."""


class OrderLines(Contract):
    """One line of an invoice."""

    line_id: str = Field(unique=True, description="Identifier of the line")
    invoice_no: str = Field(description="Number of the invoice; starts with C on a cancellation")
    stock_code: str = Field(description="Code of the article")
    description: str = Field(missing="warn", description="Name of the article, trimmed")
    quantity: int = Field(ne=0, description="Pieces; negative when returned")
    unit_price: Decimal3 = Field(ge=0, description="Price of a piece, GBP")
    amount: Decimal3 = Field(description="quantity x unit_price, GBP")
    invoiced_at: Timestamp = Field(description="When the invoice was made, UTC")
    customer_id: str = Field(missing="warn", personal="keep", description="Customer, where known")
    country: str = Field(description="Country of the customer")
    is_cancellation: bool = Field(description="Whether the line stands on a cancelled invoice")

    @rule("unit_price", severity="warn", reason="unit_price is 0")
    def price_zero(cls, unit_price: pd.Series) -> pd.Series:
        return unit_price != 0


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type and trim the fields, and work out amount and cancellation."""
    quantity = parse.integers(raw["quantity"])
    unit_price = parse.decimals(raw["unit_price"], places=3)
    invoice_no = parse.text(raw["invoice_no"])
    return pd.DataFrame(
        {
            "line_id": parse.text(raw["line_id"]),
            "invoice_no": invoice_no,
            "stock_code": parse.text(raw["stock_code"]),
            "description": parse.text(raw["description"]),
            "quantity": quantity,
            "unit_price": unit_price,
            "amount": parse.product(quantity, unit_price, places=3),
            "invoiced_at": parse.timestamps(raw["invoiced_at"]),
            "customer_id": parse.text(raw["customer_id"]),
            "country": parse.text(raw["country"]),
            "is_cancellation": invoice_no.str.startswith("C", na=False),
        }
    )


STREAM = Stream(
    source=SHOP,
    name="order_lines",
    owner="team:sales",
    description="Lines of the shop's invoices.",
    extract=Rest(
        path="/v1/order-lines",
        window=WindowParameters("from", "to"),
        paginator=Cursor(page_size=10_000),
        records="data",
        # More than the API's contract promises: where the header is not sent, nothing can be told.
        count=Count(header="X-Total-Count"),
    ),
    contract=OrderLines,
    transform=clean,
    row_by_row=True,
    write=ReplacePartition(),
    window_column="invoiced_at",
    business_date="invoiced_at",
    # Thresholds as the retail year asks for them: see docs/audits.md.
    audits=(
        Volume(),
        NullShare("customer_id", maximum=0.95, least_rows=SOME_INVOICES, severity="withhold"),
        NullShare("description", maximum=0.5, severity="withhold"),
        # Among fewer invoices most countries come and go by chance.
        Categories("country", drift=2.0, least_rows=4 * SOME_INVOICES),
        Outliers("unit_price", maximum_share=0.03),
        MeanDrift("unit_price", factor=4.0, severity="withhold"),
        # On some days wholesale customers buy hundreds, on others all buy single pieces.
        MeanDrift("quantity", factor=6.0, least_rows=SOME_INVOICES),
        UniqueInTable("line_id", severity="withhold"),
        # A customer who left between two snapshots is never seen in one.
        ForeignKey(
            "customer_id", references="shop/customers", key="customer_id", maximum_share=0.10, grace_days=1
        ),
        # Orders are found when they settle, three days after they were made at the latest.
        Agreement(
            key="invoice_no",
            total="amount",
            stream="shop/orders",
            stream_key="order_id",
            stream_total="total_amount",
            tolerance=0.01,
            stream_late_days=3,
        ),
        Freshness(),
    ),
)
