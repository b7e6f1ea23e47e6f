"""The shop's order lines: immutable events, though a corrected day may be sent again as a whole."""

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Count,
    Cursor,
    Decimal3,
    Field,
    ReplacePartition,
    Rest,
    Stream,
    Timestamp,
    WindowParameters,
    rule,
)
from etl_assets.streams.shop.source import SHOP


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
    write=ReplacePartition(),
    window_column="invoiced_at",
    business_date="invoiced_at",
)
