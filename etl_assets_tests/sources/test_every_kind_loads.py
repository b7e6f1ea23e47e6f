"""Files and databases all the way into the warehouse, as streams of their own."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from datetime import date, timedelta
from decimal import Decimal
from pathlib import Path
from typing import Any

import duckdb
import pandas as pd
import pytest

from etl_assets.failures import ConfigurationError, FailureClass
from etl_assets.observability.progress import SilentReporter
from etl_assets.outcomes import PartitionOutcome, Status
from etl_assets.pipeline.environment import Environment
from etl_assets.pipeline.partition import PartitionPipeline
from etl_assets.pipeline.prepared import Stage
from etl_assets.pipeline.run import run_partitions
from etl_assets.settings import load_settings
from etl_assets.streams import parse
from etl_assets.streams.base import (
    Contract,
    Field,
    Files,
    FileSource,
    ReplacePartition,
    Sql,
    SqlSource,
    Stream,
    Timestamp,
)
from etl_assets.streams.contract import Decimal3

DAYS = [date(2025, 1, 30), date(2025, 1, 31)]


class Rates(Contract):
    """One exchange rate of a day."""

    currency: str = Field(description="ISO 4217 code")
    rate: Decimal3 = Field(ge=Decimal(0), description="Units per euro")
    valid_at: Timestamp = Field(description="Start of the day that it is valid for, UTC")


def clean(raw: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame(
        {
            "currency": parse.text(raw["currency"]),
            "rate": parse.decimals(raw["rate"], places=3),
            "valid_at": parse.timestamps(raw["valid_at"]),
        }
    )


RATES = Stream(
    source=FileSource(name="finance"),
    name="fx_rates",
    owner="team:finance",
    extract=Files(path="fx_{day}.csv", format="csv", settle=timedelta(0)),
    contract=Rates,
    transform=clean,
    write=ReplacePartition(),
    window_column="valid_at",
    business_date="valid_at",
)
LEVELS = replace(
    RATES,
    source=SqlSource(name="erp"),
    extract=Sql(
        table="rates",
        columns=("currency", "rate", "valid_at"),
        key=("currency",),
        window_column="valid_at",
        page_size=2,
    ),
)


def load(stream: Stream, variables: dict[str, str], *stages: Stage) -> list[PartitionOutcome]:
    environment = Environment.of(load_settings(variables), {stream.id: "1"})
    with closing(environment.open_source(stream.source)) as reader:
        pipeline = PartitionPipeline(
            environment=environment,
            stream=stream,
            stages=frozenset(stages or Stage),
            run_id="run",
            client=reader,
        )
        outcomes = list(run_partitions(pipeline, DAYS, reporter=SilentReporter(), threads=2))
    return sorted(outcomes, key=lambda outcome: outcome.partition)


def rows(variables: dict[str, str], table: str) -> list[tuple[Any, ...]]:
    with duckdb.connect(
        str(Path(variables["ETL_DATA_DIR"]) / "warehouse.duckdb"), read_only=True
    ) as warehouse:
        query = f"SELECT _partition, currency, rate FROM {table} ORDER BY ALL"
        return warehouse.execute(query).fetchall()


EXPECTED = [
    (DAYS[0], "GBP", Decimal("0.836")),
    (DAYS[1], "GBP", Decimal("0.837")),
    (DAYS[1], "USD", Decimal("1.039")),
]


def test_a_folder_of_files(tmp_path: Path, environment_of: Callable[..., dict[str, str]]) -> None:
    drops = tmp_path / "drops"
    drops.mkdir()
    variables = environment_of(ETL_FINANCE_URL=str(drops))
    first, second = load(RATES, variables)
    assert (first.status, second.status) == (Status.FAILED, Status.FAILED)
    assert first.failure is not None
    assert first.failure.failure_class is FailureClass.PERMANENT
    assert "fx_2025-01-30.csv is not there, and its deadline has passed" in first.message
    (drops / "fx_2025-01-30.csv").write_text("currency,rate,valid_at\nGBP,0.836,2025-01-30\n")
    (drops / "fx_2025-01-31.csv").write_text(
        "valid_at,rate,currency\n2025-01-31,0.837,GBP\n2025-01-31,1.039,USD\n2025-01-31,1.5\n"
    )
    generous = replace(RATES, budget=replace(RATES.budget, warn=0.5, fail=0.5))
    first, second = load(generous, variables)
    assert (first.status.is_published, second.status.is_published) == (True, True)
    assert (second.counts.extracted, second.counts.loaded, second.counts.quarantined) == (3, 2, 1)
    assert second.violations == {"record.object": 1}
    assert rows(variables, "finance.fx_rates") == EXPECTED
    for path in drops.iterdir():
        path.unlink()
    load(generous, variables, Stage.STAGE, Stage.COMMIT)
    assert rows(variables, "finance.fx_rates") == EXPECTED


def test_a_database(tmp_path: Path, environment_of: Callable[..., dict[str, str]]) -> None:
    with closing(sqlite3.connect(tmp_path / "erp.db")) as database, database:
        database.execute("CREATE TABLE rates (currency TEXT, rate TEXT, valid_at TIMESTAMP)")
        database.executemany(
            "INSERT INTO rates VALUES (?, ?, ?)",
            [(currency, str(rate), f"{day} 00:00:00") for day, currency, rate in EXPECTED],
        )
    variables = environment_of(ETL_ERP_URL=f"sqlite:///{tmp_path / 'erp.db'}")
    for _ in range(2):
        assert all(outcome.status.is_published for outcome in load(LEVELS, variables))
        assert rows(variables, "erp.fx_rates") == EXPECTED


def test_a_database_that_is_down_stops_at_the_first_day(
    tmp_path: Path, environment_of: Callable[..., dict[str, str]]
) -> None:
    variables = environment_of(ETL_ERP_URL=f"sqlite:///{tmp_path / 'missing.db'}")
    for outcome in load(LEVELS, variables):
        assert outcome.failure is not None
        assert outcome.failure.failure_class is FailureClass.TRANSIENT
        assert outcome.failure.affects_all


@pytest.mark.parametrize(
    ("source", "extract"), [(RATES.source, LEVELS.extract), (LEVELS.source, RATES.extract)]
)
def test_a_source_takes_only_its_own_kind_of_extraction(source: Any, extract: Any) -> None:
    with pytest.raises(ConfigurationError, match="is read with"):
        replace(RATES, source=source, extract=extract)


def test_an_address_with_a_password_is_never_shown(environment_of: Callable[..., dict[str, str]]) -> None:
    variables = environment_of(ETL_ERP_URL="postgresql+psycopg://reader:pa55-w0rd@host/erp")
    settings = load_settings(variables)
    assert settings.source("erp").url.endswith("@host/erp")
    assert "pa55" not in repr(settings) + repr(settings.source("erp"))
