"""What the real day files must become, worked out from the files alone by SQL, without any code of the project.

What belongs here: an independent second way to the tables. What does not: comparing.
"""

from __future__ import annotations

import zlib
from pathlib import Path

import duckdb

_LINES = """
    CREATE TABLE files AS
    SELECT *, parse_filename(filename, true) AS day, row_number() OVER () AS position
    FROM read_csv('{folder}/*.csv', header = true, all_varchar = true, filename = true, parallel = false,
        quote = '"', escape = '"', strict_mode = false, null_padding = false);
    CREATE TABLE lines AS
    SELECT
        day || '-' || (position - min(position) OVER (PARTITION BY day)) AS line_id,
        position,
        InvoiceNo AS invoice_no,
        StockCode AS stock_code,
        nullif(trim(Description), '') AS description,
        CAST(Quantity AS BIGINT) AS quantity,
        CAST(UnitPrice AS DECIMAL(18, 3)) AS unit_price,
        CAST(UnitPrice AS DECIMAL(30, 6)) * CAST(Quantity AS BIGINT) AS exact_amount,
        CAST(InvoiceDate AS TIMESTAMP) AS invoiced_at,
        regexp_replace(CustomerID, '\\.0$', '') AS customer_id,
        Country AS country
    FROM files"""

_ORDER_LINES = """
    CREATE SCHEMA shop;
    CREATE TABLE shop.order_lines AS
    SELECT line_id, invoice_no, stock_code, description, quantity, unit_price,
        CAST(unit_price * quantity AS DECIMAL(18, 3)) AS amount, invoiced_at, customer_id, country,
        starts_with(invoice_no, 'C') AS is_cancellation, CAST(invoiced_at AS DATE) AS _partition
    FROM lines WHERE unit_price >= 0"""

_ORDERS = """
    CREATE TABLE shop.orders AS
    WITH invoices AS (
        SELECT invoice_no AS order_id, arg_min(customer_id, position) AS customer_id,
            CAST(round(sum(exact_amount), 2) AS DECIMAL(18, 2)) AS total_amount, count(*) AS item_count,
            arg_min(country, position) AS country, min(invoiced_at) AS created_at
        FROM lines GROUP BY 1
    ), settled AS (
        SELECT *, created_at + to_hours(coalesce(hours, 0)) AS updated_at FROM invoices LEFT JOIN waits USING (order_id)
    )
    SELECT order_id, customer_id, CASE WHEN hours IS NULL THEN 'cancelled' ELSE 'completed' END AS status,
        'GBP' AS currency, total_amount, item_count, country, created_at, updated_at,
        CAST(created_at AS DATE) AS order_date, strftime(created_at, '%Y-%m') AS order_month,
        total_amount > 1000 AS is_high_value, CAST(updated_at AS DATE) AS _partition
    FROM settled"""

_DAILY_SALES = """
    CREATE SCHEMA marts;
    CREATE TABLE marts.daily_sales AS
    SELECT _partition AS day,
        count(DISTINCT CASE WHEN NOT is_cancellation THEN invoice_no END) AS orders, count(*) AS lines,
        sum(quantity)::BIGINT AS units,
        sum(greatest(amount, 0))::DECIMAL(18, 3) AS gross_revenue,
        sum(greatest(-amount, 0))::DECIMAL(18, 3) AS refunds,
        sum(amount)::DECIMAL(18, 3) AS net_revenue, count(DISTINCT customer_id) AS customers,
        CASE WHEN orders > 0 THEN (gross_revenue / orders)::DECIMAL(18, 3) END AS average_order_value
    FROM shop.order_lines GROUP BY 1"""


def build_reference(folder: Path, target: Path) -> Path:
    """Make a DuckDB file with the tables that a full load of the day files must give, but for the stamps.

    Every order has settled, so the shop's clock must stand at least three days after the last file.

    Args:
        folder: The day files.
        target: The file to make.
    """
    with duckdb.connect(str(target)) as connection:
        connection.execute("SET preserve_insertion_order = true; SET memory_limit = '1GB'")
        connection.execute(_LINES.format(folder=folder))
        _add_waits(connection)
        for statement in (_ORDER_LINES, _ORDERS, _DAILY_SALES):
            connection.execute(statement)
    return target


def _add_waits(connection: duckdb.DuckDBPyConnection) -> None:
    """Give the hours from creation to completion of each invoice that is no cancellation; DuckDB has no CRC-32."""
    names = [name for (name,) in connection.execute("SELECT DISTINCT invoice_no FROM lines").fetchall()]
    kept = [name for name in names if not name.startswith("C")]
    hours = [1 + zlib.crc32(name.encode()) % 72 for name in kept]
    connection.execute(
        "CREATE TABLE waits AS SELECT unnest(CAST(? AS VARCHAR[])) AS order_id, "
        "unnest(CAST(? AS BIGINT[])) AS hours",
        [kept, hours],
    )
