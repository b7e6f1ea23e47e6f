"""The shop's customers: the whole present each day, with every version kept; who they are stays in landing."""

import pandas as pd

from etl_assets.streams import parse
from etl_assets.streams.base import Contract, Date, Field, OffsetLimit, Rest, Snapshot, Stream
from etl_assets.streams.shop.source import SHOP


class Customers(Contract):
    """One customer, as of the newest day that was read."""

    customer_id: str = Field(unique=True, personal="keep", description="Identifier, as on orders")
    name: str = Field(missing="allow", personal="mask", description="Name, its first letter only")
    email: str = Field(
        missing="warn",
        personal="hash",
        str_matches=r"^[^@\s]+@[^@\s]+$",
        description="E-mail address as a hash; equal addresses are equal hashes",
    )
    phone: str = Field(missing="allow", personal="drop", description="Always empty: nobody needs it here")
    country: str = Field(missing="warn", description="Country of the customer")
    first_seen_on: Date = Field(description="Day of the first order")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    """Type the fields and fold the case of addresses."""
    return pd.DataFrame(
        {
            "customer_id": parse.text(raw["customer_id"]),
            "name": parse.text(raw["name"]),
            "email": parse.text(raw["email"]).str.lower(),
            "phone": parse.text(raw["phone"]),
            "country": parse.text(raw["country"]),
            "first_seen_on": parse.days_of(parse.timestamps(raw["first_seen_on"])),
        }
    )


STREAM = Stream(
    source=SHOP,
    name="customers",
    owner="team:sales",
    description="The shop's customers, and in customers_history every version of them.",
    extract=Rest(
        path="/v1/customers",
        paginator=OffsetLimit(page_size=1_000, total="total"),
        records="items",
    ),
    contract=Customers,
    transform=clean,
    write=Snapshot(key="customer_id", removed="mark", history=True),
)
