"""Alerts: what is wrong is written down, told to its owner once, and once more when it is over.

    watchers --conditions--> outbox --problems--> messages --channels--> people

Plain Python, which a test runs with a clock of its own; the sensor that ticks it is in `etl_assets.orchestration`.
"""
