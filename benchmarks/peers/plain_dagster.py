"""The order lines by plain Dagster: three chained assets with a partition a day, handed on by the DuckDB I/O manager.

What belongs here: definitions as most people write them, loaded by the peers' own Python with
`dagster asset materialize`. What does not: anything of this project, and measuring. The source is named by `SHOP_URL`
and `SHOP_TOKEN`, the database by `PEER_DATABASE`, the first day by `PEER_START_DATE`.
"""

import os
from datetime import date, timedelta

import dagster as dg
import pandas as pd
import requests
from dagster_duckdb_pandas import DuckDBPandasIOManager

DAYS = dg.DailyPartitionsDefinition(os.environ["PEER_START_DATE"])
PAGE_SIZE = 10_000


@dg.asset(partitions_def=DAYS, metadata={"partition_expr": "CAST(invoiced_at AS TIMESTAMP)"})
def raw_order_lines(context: dg.AssetExecutionContext) -> pd.DataFrame:
    """All lines of a day, as the API gives them."""
    day = date.fromisoformat(context.partition_key)
    parameters: dict[str, str | int] = {
        "from": f"{day}T00:00:00Z",
        "to": f"{day + timedelta(days=1)}T00:00:00Z",
        "limit": PAGE_SIZE,
    }
    records = []
    with requests.Session() as session:
        session.headers["Authorization"] = f"Bearer {os.environ['SHOP_TOKEN']}"
        while True:
            answer = session.get(f"{os.environ['SHOP_URL']}/v1/order-lines", params=parameters, timeout=60)
            answer.raise_for_status()
            page = answer.json()
            records += page["data"]
            if not page["next_cursor"]:
                return pd.DataFrame(records)
            parameters["cursor"] = page["next_cursor"]


@dg.asset(partitions_def=DAYS, metadata={"partition_expr": "invoiced_at"})
def staged_order_lines(raw_order_lines: pd.DataFrame) -> pd.DataFrame:
    """The lines with types, and what a line is worth; a number that is none is left out."""
    lines = raw_order_lines.copy()
    lines["invoiced_at"] = pd.to_datetime(lines["invoiced_at"]).dt.tz_localize(None)
    lines["quantity"] = pd.to_numeric(lines["quantity"], errors="coerce")
    lines["unit_price"] = pd.to_numeric(lines["unit_price"], errors="coerce")
    lines["amount"] = lines["quantity"] * lines["unit_price"]
    return lines


@dg.asset(partitions_def=DAYS, metadata={"partition_expr": "day"})
def daily_sales(staged_order_lines: pd.DataFrame) -> pd.DataFrame:
    """Revenue and number of lines of a day, by country."""
    lines = staged_order_lines.assign(day=staged_order_lines["invoiced_at"].dt.normalize())
    return lines.groupby(["day", "country"], as_index=False).agg(
        revenue=("amount", "sum"), lines=("line_id", "count")
    )


defs = dg.Definitions(
    assets=[raw_order_lines, staged_order_lines, daily_sales],
    resources={"io_manager": DuckDBPandasIOManager(database=os.environ["PEER_DATABASE"], schema="shop")},
)
