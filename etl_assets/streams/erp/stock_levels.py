"""Stock levels: what the ERP has on hand, read from the table to which it adds a row at each posting."""

from datetime import timedelta

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Field,
    Merge,
    Sql,
    SqlSource,
    Stream,
    Timestamp,
    rule,
)


class StockLevels(Contract):
    """What is on hand of one article in one warehouse."""

    stock_code: str = Field(description="Code of the article, as on order lines")
    warehouse_code: str = Field(str_matches=r"^[A-Z]{3}$", description="Code of the warehouse")
    quantity_on_hand: int = Field(description="Pieces; negative when issues were posted before receipts")
    stock_level_id: int = Field(gt=0, unique=True, description="Number of the posting that made it so")
    updated_at: Timestamp = Field(description="When it was posted, UTC")

    @rule("quantity_on_hand", severity="warn", reason="quantity_on_hand is negative")
    def not_negative(cls, quantity_on_hand: pd.Series) -> pd.Series:
        return quantity_on_hand >= 0


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields and fold the case of codes."""
    return pd.DataFrame(
        {
            "stock_code": parse.text(raw["stock_code"]),
            "warehouse_code": parse.text(raw["warehouse_code"]).str.upper(),
            "quantity_on_hand": parse.integers(raw["quantity_on_hand"]),
            "stock_level_id": parse.integers(raw["stock_level_id"]),
            "updated_at": parse.timestamps(raw["updated_at"]),
        }
    )


STREAM = Stream(
    source=SqlSource(name="erp"),
    name="stock_levels",
    owner="team:logistics",
    description="What is on hand of each article in each warehouse.",
    extract=Sql(
        table="stock_levels",
        columns=("stock_level_id", "stock_code", "warehouse_code", "quantity_on_hand", "updated_at"),
        key=("stock_level_id",),
        window_column="updated_at",
        page_size=5_000,
        overlap=timedelta(minutes=15),
    ),
    contract=StockLevels,
    transform=clean,
    # Who asks an ERP for stock means the stock of now: an older level is of no use once there is a newer one.
    write=Merge(key=("stock_code", "warehouse_code"), version="updated_at"),
    window_column="updated_at",
    business_date="updated_at",
)
