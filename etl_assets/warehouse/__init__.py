"""The warehouse: the one commit, write dispositions, load log, quarantine, marts.

The front door is `etl_assets.warehouse.database`. What belongs in this room: everything that writes to or
reads from the warehouse file. What does not: fetching, cleaning and judging rows, which are done before a
commit starts.
"""
