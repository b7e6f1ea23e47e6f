"""The demo's sources: a shop behind a real HTTP API with switchable faults, a folder of files, an ERP's database.

What belongs here: making or reading their records, serving and delivering them, breaking the service on purpose, for
demos, tests and benchmarks. What does not: anything that loads data; the project meets this room only through
HTTP, files, SQLite, and through `etl_assets.demo.server` and `deliveries`.
"""
