"""Exchange rates: one CSV file a day, dropped into a folder after the day."""

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Date,
    Decimal6,
    Field,
    Files,
    FileSource,
    ReplacePartition,
    Stream,
    Timestamp,
    row_rule,
)

ISO_4217 = r"^[A-Z]{3}$"


class FxRates(Contract):
    """The rate of one currency against another on one day."""

    rate_date: Date = Field(description="Day that the rate is valid for")
    base_currency: str = Field(str_matches=ISO_4217, description="ISO 4217 code; one unit of it ...")
    quote_currency: str = Field(str_matches=ISO_4217, description="ISO 4217 code; ... costs rate units of it")
    rate: Decimal6 = Field(gt=0, description="Units of quote_currency for one of base_currency")
    currency_pair: str = Field(unique=True, description="Both codes, EUR/USD")
    valid_from: Timestamp = Field(description="Start of rate_date, UTC; says which day's file the rate is of")

    @row_rule(reason="base_currency and quote_currency are the same")
    def two_currencies(cls, rows: pd.DataFrame) -> pd.Series:
        return rows["base_currency"] != rows["quote_currency"]


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields, fold case, and put the pair together."""
    valid_from = parse.timestamps(raw["rate_date"])
    base_currency = parse.text(raw["base_currency"]).str.upper()
    quote_currency = parse.text(raw["quote_currency"]).str.upper()
    return pd.DataFrame(
        {
            "rate_date": parse.days_of(valid_from),
            "base_currency": base_currency,
            "quote_currency": quote_currency,
            "rate": parse.decimals(raw["rate"], places=6),
            "currency_pair": base_currency + "/" + quote_currency,
            "valid_from": valid_from,
        }
    )


STREAM = Stream(
    source=FileSource(name="finance"),
    name="fx_rates",
    owner="team:finance",
    description="Daily exchange rates of the euro.",
    extract=Files(
        path="fx_rates/{day:%Y}/fx_rates_{day:%Y-%m-%d}.csv",
        format="csv",
        columns=("rate_date", "base_currency", "quote_currency", "rate"),
    ),
    contract=FxRates,
    transform=clean,
    # A corrected file is delivered whole, under the same name, and takes the place of the day's rates.
    write=ReplacePartition(),
    window_column="valid_from",
    business_date="rate_date",
)
