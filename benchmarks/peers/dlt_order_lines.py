"""The order lines by dlt: its REST source, one window of all days, Parquet files, DuckDB; nothing is checked.

What belongs here: the pipeline as dlt's documentation has one write it, run by the peers' own Python. What does not:
measuring. Arguments: the folder to write to, first and last day; the source by `SHOP_URL` and `SHOP_TOKEN`.
"""

from __future__ import annotations

import json
import os
import sys
from datetime import date, timedelta

import dlt
from dlt.sources.rest_api import rest_api_source

PAGE_SIZE = 10_000


def main(folder: str, first: str, last: str) -> None:
    """Load the days and print how many rows it were."""
    source = rest_api_source(
        {
            "client": {
                "base_url": os.environ["SHOP_URL"],
                "auth": {"type": "bearer", "token": os.environ["SHOP_TOKEN"]},
                "paginator": {"type": "cursor", "cursor_path": "next_cursor", "cursor_param": "cursor"},
            },
            "resources": [
                {
                    "name": "order_lines",
                    "primary_key": "line_id",
                    "endpoint": {
                        "path": "v1/order-lines",
                        "params": {
                            "from": f"{first}T00:00:00Z",
                            "to": f"{date.fromisoformat(last) + timedelta(days=1)}T00:00:00Z",
                            "limit": PAGE_SIZE,
                        },
                        "data_selector": "data",
                    },
                }
            ],
        }
    )
    pipeline = dlt.pipeline(
        "shop",
        destination=dlt.destinations.duckdb(f"{folder}/warehouse.duckdb"),
        dataset_name="shop",
        pipelines_dir=f"{folder}/pipelines",
    )
    pipeline.run(source, loader_file_format="parquet").raise_on_failed_jobs()
    rows = pipeline.last_trace.last_normalize_info.row_counts.get("order_lines", 0)
    print(json.dumps({"rows": rows}))


if __name__ == "__main__":
    main(*sys.argv[1:])
