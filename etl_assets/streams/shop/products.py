"""The shop's products: a feed of inserts, updates and deletes, applied by sequence number."""

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    AfterSequence,
    Cdc,
    Contract,
    Decimal3,
    Field,
    Rest,
    Stream,
    Timestamp,
    WindowParameters,
    row_rule,
)
from etl_assets.streams.shop.source import SHOP


class Products(Contract):
    """The newest known change of one product; a deleted one keeps its last values."""

    product_id: str = Field(description="Identifier of the product")
    stock_code: str = Field(missing="allow", description="Code of the article, as on order lines")
    description: str = Field(missing="allow", description="Name of the article, trimmed")
    # A delete brings no values; where values came, the price must be among them and be a number.
    unit_price: Decimal3 = Field(missing="allow", raw="after", description="Price of a piece, GBP")
    lsn: int = Field(gt=0, unique=True, description="Sequence number of the change")
    op: str = Field(isin=["I", "U", "D"], description="Insert, update or delete")
    changed_at: Timestamp = Field(raw="ts", description="When the product changed, UTC")

    @row_rule(reason="an insert or update without a stock_code")
    def values_unless_deleted(cls, rows: pd.DataFrame) -> pd.Series:
        return rows["op"].eq("D") | rows["stock_code"].notna()

    @row_rule(severity="warn", reason="unit_price is negative")
    def price_not_negative(cls, rows: pd.DataFrame) -> pd.Series:
        return ~(rows["unit_price"] < 0).fillna(False)


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Take the values out of `after` and type them."""
    return pd.DataFrame(
        {
            "product_id": parse.text(raw["product_id"]),
            "stock_code": parse.text(parse.member(raw["after"], "stock_code")),
            "description": parse.text(parse.member(raw["after"], "description")),
            "unit_price": parse.decimals(parse.member(raw["after"], "unit_price"), places=3),
            "lsn": parse.integers(raw["lsn"]),
            "op": parse.text(raw["op"]).str.upper(),
            "changed_at": parse.timestamps(raw["ts"]),
        }
    )


STREAM = Stream(
    source=SHOP,
    name="products",
    owner="team:sales",
    description="The shop's products as their newest change left them.",
    extract=Rest(
        path="/v1/products/changes",
        window=WindowParameters("from", "to"),
        paginator=AfterSequence(page_size=5_000),
        records="changes",
    ),
    contract=Products,
    transform=clean,
    row_by_row=True,
    # The feed is ordered by time and number alike, so that a day's numbers follow on from those of the day before.
    write=Cdc(key="product_id", sequence="lsn", operation="op", contiguous=True),
    window_column="changed_at",
)
