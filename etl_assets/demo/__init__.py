"""The demo source: a simulated shop behind a real HTTP API, with switchable faults.

What belongs here: making or reading the shop's records, serving them, breaking the service on purpose, for
demos, tests and benchmarks. What does not: anything that loads data; the project meets this room only through
HTTP and through `etl_assets.demo.server`.
"""
