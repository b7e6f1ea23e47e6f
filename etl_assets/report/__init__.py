"""The quality report: how good every table is, per day, in one HTML page that opens offline.

What belongs here: reading what the warehouse keeps of days, checks, quarantine and schemas, and making a page of it.
What does not: keeping account of these (`etl_assets.warehouse`), and deciding when a report is made
(`etl_assets.cli`, `etl_assets.orchestration`).
"""

from __future__ import annotations
