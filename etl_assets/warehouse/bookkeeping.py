"""The `etl` schema: the tables in which the warehouse keeps account of itself, and their versions.

What belongs here: definitions and the steps from one version to the next; a step, once released, is never
changed. What does not: writing to these tables (`ledger`, `quarantine`, `marts`).
"""

from __future__ import annotations

from datetime import UTC, datetime

import duckdb

from etl_assets.failures import WarehouseError
from etl_assets.warehouse.schema import table_columns
from etl_assets.warehouse.transaction import transaction

_VERSION_1 = (
    """CREATE TABLE etl.loads (
        load_id BIGINT, source VARCHAR, stream VARCHAR, partition DATE, run_id VARCHAR, verdict VARCHAR,
        extracted BIGINT, staged BIGINT, loaded BIGINT, updated BIGINT, unchanged BIGINT, deduplicated BIGINT,
        quarantined BIGINT, warned BIGINT, warnings VARCHAR, violations VARCHAR, content_hash VARCHAR,
        landing_version VARCHAR, watermark TIMESTAMP, contract_version VARCHAR, code_version VARCHAR,
        seconds VARCHAR, seconds_total DOUBLE, loaded_at TIMESTAMP)""",
    """CREATE TABLE etl.quarantine (
        source VARCHAR, stream VARCHAR, partition DATE, row_number BIGINT, rule VARCHAR, rules VARCHAR[],
        reason VARCHAR, raw_payload VARCHAR, payload_hash VARCHAR, occurrence BIGINT, first_seen TIMESTAMP,
        last_seen TIMESTAMP, attempts BIGINT, state VARCHAR, run_id VARCHAR, contract_version VARCHAR)""",
    """CREATE TABLE etl.watermarks (
        source VARCHAR, stream VARCHAR, watermark TIMESTAMP, updated_at TIMESTAMP, run_id VARCHAR)""",
    "CREATE TABLE etl.touched_dates (load_id BIGINT, source VARCHAR, stream VARCHAR, business_date DATE)",
    """CREATE TABLE etl.partitions (
        source VARCHAR, stream VARCHAR, partition DATE, status VARCHAR, message VARCHAR,
        failure_stage VARCHAR, failure_class VARCHAR, error_type VARCHAR, run_id VARCHAR, extracted BIGINT,
        staged BIGINT, loaded_rows BIGINT, quarantined BIGINT, warned BIGINT, warnings VARCHAR, violations
        VARCHAR, seconds VARCHAR, landing_version VARCHAR, updated_at TIMESTAMP, published_at TIMESTAMP)""",
    """CREATE TABLE etl.mart_builds (
        mart VARCHAR, load_id BIGINT, dates BIGINT, rows BIGINT, run_id VARCHAR, built_at TIMESTAMP,
        sql_version VARCHAR)""",
    "COMMENT ON TABLE etl.loads IS 'One row per committed load of a partition.'",
    "COMMENT ON TABLE etl.quarantine IS 'Rows that broke a rule: pending, or superseded by a later load.'",
    "COMMENT ON TABLE etl.watermarks IS 'How far each stream has been read, UTC.'",
    "COMMENT ON TABLE etl.touched_dates IS 'Business dates whose rows a load changed.'",
    "COMMENT ON TABLE etl.partitions IS 'Last outcome of each partition, and when it was last published.'",
    "COMMENT ON TABLE etl.mart_builds IS 'Builds of marts, each up to a load.'",
    "COMMENT ON COLUMN etl.partitions.loaded_rows IS 'Rows that its last published load has in the table.'",
)
_VERSION_2 = (
    "ALTER TABLE etl.loads ADD COLUMN removed BIGINT DEFAULT 0",
    """CREATE TABLE etl.tombstones (
        source VARCHAR, stream VARCHAR, key_json VARCHAR, sequence BIGINT, partition DATE, run_id VARCHAR,
        deleted_at TIMESTAMP)""",
    """CREATE TABLE etl.sequence_ranges (
        source VARCHAR, stream VARCHAR, first_sequence BIGINT, last_sequence BIGINT)""",
    """CREATE TABLE etl.sequence_gaps (
        source VARCHAR, stream VARCHAR, after_sequence BIGINT, before_sequence BIGINT, partition DATE,
        run_id VARCHAR, noticed_at TIMESTAMP, closed_at TIMESTAMP)""",
    """CREATE TABLE etl.snapshots (
        source VARCHAR, stream VARCHAR, partition DATE, rows BIGINT, run_id VARCHAR, loaded_at TIMESTAMP)""",
    "COMMENT ON TABLE etl.tombstones IS 'Keys of deleted rows, so that an older change does not revive them.'",
    "COMMENT ON TABLE etl.sequence_ranges IS 'Numbers of a change feed that have been loaded, without gaps.'",
    "COMMENT ON TABLE etl.sequence_gaps IS 'Missing numbers of a change feed, between the two given ones.'",
    "COMMENT ON TABLE etl.snapshots IS 'Days whose snapshot has been loaded.'",
)
_VERSION_3 = (
    "ALTER TABLE etl.loads ADD COLUMN failed_items BIGINT DEFAULT 0",
    "ALTER TABLE etl.partitions ADD COLUMN failed_items BIGINT DEFAULT 0",
    """CREATE TABLE etl.failed_items (
        source VARCHAR, stream VARCHAR, partition DATE, identifier VARCHAR, stage VARCHAR, error_type VARCHAR,
        failure_class VARCHAR, message VARCHAR, attempts BIGINT, first_attempt_at TIMESTAMP,
        last_attempt_at TIMESTAMP, state VARCHAR, run_id VARCHAR)""",
    "COMMENT ON TABLE etl.failed_items IS 'Documents that could not be had or read: pending, or resolved since.'",
)
_VERSION_4 = (
    "ALTER TABLE etl.loads ADD COLUMN restores BIGINT",
    "ALTER TABLE etl.loads ADD COLUMN restates BOOLEAN",
    "COMMENT ON COLUMN etl.loads.restores IS 'Of a rollback: the load whose effect was brought back.'",
    "COMMENT ON COLUMN etl.loads.restates IS 'Whether other code or another contract had loaded the day before.'",
)
_VERSION_5 = (
    """CREATE TABLE etl.schema_changes (
        source VARCHAR, stream VARCHAR, partition DATE, change VARCHAR, field VARCHAR, column_name VARCHAR,
        before VARCHAR, after VARCHAR, rows BIGINT, reason VARCHAR, policy VARCHAR, run_id VARCHAR,
        noticed_at TIMESTAMP)""",
    """CREATE TABLE etl.known_fields (
        source VARCHAR, stream VARCHAR, field VARCHAR, column_name VARCHAR, use VARCHAR, kinds VARCHAR[],
        present BOOLEAN, kept_out_on DATE, moved_on DATE)""",
    "COMMENT ON TABLE etl.schema_changes IS 'What loads noticed of the schemas of their streams, once each.'",
    "COMMENT ON TABLE etl.known_fields IS 'Raw fields that were seen, and whether the newest day has them.'",
)
_VERSION_6 = (
    "ALTER TABLE etl.quarantine ADD COLUMN landing_version VARCHAR",
    "ALTER TABLE etl.loads ADD COLUMN decisions VARCHAR DEFAULT ''",
    """CREATE TABLE etl.quarantine_decisions (
        decision_id BIGINT, source VARCHAR, stream VARCHAR, partition DATE, payload_hash VARCHAR,
        occurrence BIGINT, landing_version VARCHAR, row_number BIGINT, action VARCHAR, rules VARCHAR[],
        changes VARCHAR, decided_by VARCHAR, reason VARCHAR, decided_at TIMESTAMP, ended_at TIMESTAMP,
        ended_by VARCHAR, ended_reason VARCHAR)""",
    """CREATE TABLE etl.quarantine_moves (
        source VARCHAR, stream VARCHAR, partition DATE, payload_hash VARCHAR, occurrence BIGINT,
        from_state VARCHAR, to_state VARCHAR, action VARCHAR, moved_by VARCHAR, reason VARCHAR, run_id VARCHAR,
        moved_at TIMESTAMP)""",
    "COMMENT ON TABLE etl.quarantine IS "
    "'Rows that broke a rule: pending, replayed, waived, discarded, or superseded by newer answers.'",
    "COMMENT ON TABLE etl.quarantine_decisions IS "
    "'Rows that people waived or mended; applied in every load of their day until they are ended.'",
    "COMMENT ON TABLE etl.quarantine_moves IS 'Each change of state in the quarantine: when, by whom, and why.'",
    "COMMENT ON COLUMN etl.loads.decisions IS 'Which decisions on quarantined rows the load was made with.'",
)
_VERSION_7 = (
    """CREATE TABLE etl.check_results (
        source VARCHAR, stream VARCHAR, partition DATE, check_name VARCHAR, kind VARCHAR, severity VARCHAR,
        passed BOOLEAN, message VARCHAR, numbers VARCHAR, run_id VARCHAR, evaluated_at TIMESTAMP)""",
    """CREATE TABLE etl.partition_statistics (
        source VARCHAR, stream VARCHAR, partition DATE, statistics VARCHAR, run_id VARCHAR, loaded_at TIMESTAMP)""",
    "COMMENT ON TABLE etl.check_results IS 'What each check said of a partition, each time it was evaluated.'",
    "COMMENT ON TABLE etl.partition_statistics IS 'Numbers of each published partition that audits compare with.'",
)
_VERSION_8 = ("ALTER TABLE etl.failed_items ADD COLUMN traceback VARCHAR",)
_STEPS = (
    _VERSION_1,
    _VERSION_2,
    _VERSION_3,
    _VERSION_4,
    _VERSION_5,
    _VERSION_6,
    _VERSION_7,
    _VERSION_8,
)


def ensure_bookkeeping(connection: duckdb.DuckDBPyConnection) -> None:
    """Bring the `etl` schema to this code's version; nothing is done when it is there already.

    Raises:
        WarehouseError: If the file was written by a newer version of this code.
    """
    version = 0
    if table_columns(connection, "etl", "schema_version"):
        found = connection.execute("SELECT coalesce(max(version), 0) FROM etl.schema_version").fetchone()
        version = int(found[0]) if found else 0
    if version > len(_STEPS):
        raise WarehouseError(
            f"the warehouse has bookkeeping version {version}, this code knows {len(_STEPS)}",
            hint="update etl_assets",
        )
    if version == len(_STEPS):
        return
    with transaction(connection):
        connection.execute("CREATE SCHEMA IF NOT EXISTS etl")
        connection.execute(
            "CREATE TABLE IF NOT EXISTS etl.schema_version (version INTEGER, applied_at TIMESTAMP)"
        )
        for number, statements in enumerate(_STEPS[version:], start=version + 1):
            for statement in statements:
                connection.execute(statement)
            now = datetime.now(UTC).replace(tzinfo=None)
            connection.execute(
                "INSERT INTO etl.schema_version (version, applied_at) VALUES (?, ?)", [number, now]
            )
