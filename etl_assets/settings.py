"""Every environment variable of the project, typed, in one place.

What belongs here: names, defaults, parsing and descriptions of settings. What does not: using them. Nothing is read at
import time; `load_settings` reads the environment when it is called.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from datetime import date
from pathlib import Path
from typing import Any

from etl_assets import setting_values
from etl_assets.failures import ConfigurationError

DEMO_TOKEN = "demo-token"
"""Opens the demo source on loopback, nothing else."""

PSEUDONYM_KEY_VARIABLE = "ETL_PSEUDONYM_KEY"
SHORTEST_PSEUDONYM_KEY = 16
"""Characters; what `secrets.token_hex(32)` gives has 64."""
MAKE_A_KEY = 'make one with: python -c "import secrets; print(secrets.token_hex(32))"'

FURTHER_SECRETS = ("USER", "PASSWORD", "CLIENT_ID", "CLIENT_SECRET")
"""Ends of the names of the variables, `ETL_<SOURCE>_PASSWORD` say, that hold what a source is opened with."""

ALERTS_FILE_VARIABLE = "ETL_ALERTS_FILE"
SLACK_VARIABLE = "ETL_SLACK_WEBHOOK_URL"
SMTP_VARIABLE = "ETL_SMTP_URL"

DATA_DIR = "$ETL_DATA_DIR"
"""Stands for the data folder in the default of an address; in an address that is set it has no meaning."""

_DAY = re.compile(r"^\d{4}-\d{2}-\d{2}$", re.ASCII)


class Secret:
    """A value that never shows itself in logs, errors or representations."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def get_secret_value(self) -> str:
        """Give the value, for the one place that sends it."""
        return self._value

    def __repr__(self) -> str:
        return "Secret('***')"

    __str__ = __repr__


@dataclass(frozen=True, slots=True)
class SourceSettings:
    """Where a source is and how to open it.

    Attributes:
        url: Address; it may hold a password, and is checked by the source's reader. An HTTP address has no trailing
            slash.
        token: The secret to authenticate with, if one is set.
        url_variable: The environment variable that the address comes from.
        token_variable: The environment variable that the token comes from.
        state_path: File that tells people how the source is doing; None to keep none.
        secrets: Further secrets by the end of their variable's name, such as `PASSWORD`.
        identifiers: File of identifiers to use instead of the one that a stream of documents names.
        rate: Requests a second in the long run, instead of those that an API's source declares.
    """

    url: str = field(repr=False)
    token: Secret | None
    url_variable: str
    token_variable: str
    state_path: Path | None = None
    secrets: Mapping[str, Secret] = field(default_factory=dict)
    identifiers: Path | None = None
    rate: float | None = None

    def secret(self, suffix: str) -> Secret | None:
        """Look up a further secret by the end of its variable's name, such as `PASSWORD`; None where it is unset."""
        return self.secrets.get(suffix)


@dataclass(frozen=True, slots=True)
class Variable:
    """One environment variable: its default as text, its meaning and how it is read."""

    name: str
    default: str | None
    description: str
    parse: Callable[[str], Any] = str


def parse_iso_day(text: str) -> date:
    """Read a day written YYYY-MM-DD, and in no other of the ways that ISO 8601 knows.

    Raises:
        ValueError: If it is not one.
    """
    if not _DAY.match(text):
        raise ValueError("must be a day, YYYY-MM-DD")
    return date.fromisoformat(text)


VARIABLES: tuple[Variable, ...] = (
    Variable(
        "ETL_DATA_DIR",
        "data",
        "Folder for landing, staged, warehouse.duckdb and, unless set, DAGSTER_HOME",
        Path,
    ),
    Variable("ETL_SHOP_URL", "http://127.0.0.1:8765", "Address of the shop's API"),
    Variable(
        "ETL_SHOP_TOKEN", None, "Bearer token of the shop's API; on loopback the demo's token when unset"
    ),
    Variable(
        "ETL_FINANCE_URL",
        f"{DATA_DIR}/demo/finance",
        "Folder of the finance department's files; unless set, the demo's own",
    ),
    Variable(
        "ETL_ERP_URL",
        f"sqlite:///{DATA_DIR}/demo/erp.db",
        "Database of the ERP, as SQLAlchemy spells addresses; unless set, the demo's own",
    ),
    Variable("ETL_EIDC_URL", "https://catalogue.ceh.ac.uk", "Address of the EIDC's catalogue"),
    Variable(
        "ETL_EIDC_RATE",
        "1",
        "Requests a second to the EIDC's catalogue, in the long run",
        setting_values.rate,
    ),
    Variable(
        "ETL_EIDC_IDENTIFIERS",
        None,
        "List of the EIDC datasets to ask for, one identifier a line; unless set, the project's own",
    ),
    Variable(
        "ETL_EMBED_MODEL",
        "sentence-transformers/all-MiniLM-L6-v2",
        "Model that texts are embedded with: a folder, or a name that sentence-transformers looks up",
    ),
    Variable("ETL_START_DATE", "2025-01-01", "First partition of every stream (YYYY-MM-DD)", parse_iso_day),
    Variable(
        "ETL_PARTITIONS_PER_RUN", "400", "Days of a backfill that go into one run", setting_values.positive
    ),
    Variable("ETL_LOG_FORMAT", "console", "How log lines look: console or json", setting_values.log_format),
    Variable(
        "ETL_LOG_LEVEL",
        "INFO",
        "Least severe log line shown: DEBUG, INFO, WARNING or ERROR",
        setting_values.log_level,
    ),
    Variable(
        "ETL_LOCK_TIMEOUT",
        "300",
        "Seconds to wait for another process to finish writing the warehouse",
        setting_values.seconds,
    ),
    Variable(
        "ETL_STEP_RETRIES",
        "3",
        "How often a step is repeated after a failure that may pass",
        setting_values.count,
    ),
    Variable(
        "ETL_STEP_RETRY_DELAY",
        "5",
        "Seconds before the first repeat of a step; then exponential",
        setting_values.seconds,
    ),
    Variable(
        "ETL_MEMORY_LIMIT",
        "1GB",
        "Memory that DuckDB may use before it spills to disk, as DuckDB spells it",
        setting_values.memory_limit,
    ),
    Variable(
        "ETL_STAGING_PROCESSES",
        None,
        "Processes that stage beside the one that extracts and commits; one less than there are cores, four at most, "
        "if it is not set",
        setting_values.processes,
    ),
    Variable(
        PSEUDONYM_KEY_VARIABLE,
        None,
        "Secret key, at least 16 characters, that personal columns are hashed with; only the demo does without",
    ),
    Variable(
        "ETL_UI_URL",
        "http://127.0.0.1:3000",
        "Address of Dagster's UI, as people reach it",
        setting_values.http_address,
    ),
    Variable(
        ALERTS_FILE_VARIABLE,
        None,
        "File that says who is told of what, and how (TOML); see docs/alerts.md",
        Path,
    ),
    Variable(SLACK_VARIABLE, None, "Incoming webhook of Slack; a secret. Without a file it gets all alerts"),
    Variable(
        SMTP_VARIABLE,
        None,
        "Mail server for alerts, smtp://user:password@host:587 (STARTTLS) or smtps://...; a secret",
    ),
)
_BY_NAME = {variable.name: variable for variable in VARIABLES}


@dataclass(frozen=True, slots=True)
class Settings:
    """All settings, typed.

    Attributes:
        data_dir: Folder that holds everything the project writes, absolute.
        dagster_home: Dagster's own folder.
        start_date: First partition.
        partitions_per_run: Days that one run of a backfill takes at most.
        log_format: `console` or `json`.
        log_level: Least severe level that is shown.
        lock_timeout: Seconds to wait for the warehouse.
        step_retries: How often a step is repeated.
        step_retry_delay: Seconds before the first repeat.
        memory_limit: Memory limit handed to DuckDB.
        staging_processes: Processes that a long run stages in; 0 for none.
        pseudonym_key: Key that personal columns are hashed with, if one is set.
        ui_url: Address of Dagster's UI, without a trailing slash.
        alerts_file: File that says who is told of what, if there is one.
        embed_model: Name or folder of the model that texts are embedded with.
        environment: Where the settings of single sources are looked up.
    """

    data_dir: Path
    dagster_home: Path
    start_date: date
    partitions_per_run: int
    log_format: str
    log_level: str
    lock_timeout: float
    step_retries: int
    step_retry_delay: float
    memory_limit: str
    staging_processes: int
    pseudonym_key: Secret | None
    ui_url: str
    alerts_file: Path | None
    embed_model: str
    environment: Mapping[str, str] = field(repr=False)

    @property
    def warehouse_path(self) -> Path:
        """The DuckDB file."""
        return self.data_dir / "warehouse.duckdb"

    @property
    def landing_dir(self) -> Path:
        """Root of the landed answers."""
        return self.data_dir / "landing"

    @property
    def staged_dir(self) -> Path:
        """Root of the staged rows."""
        return self.data_dir / "staged"

    @property
    def state_dir(self) -> Path:
        """Files that tell people how each source is doing."""
        return self.data_dir / "state"

    def secret(self, name: str) -> Secret | None:
        """Look up a secret by the name of its variable; None where it is unset."""
        value = _read(self.environment, name)
        return Secret(value) if value else None

    def is_on_loopback(self, source: str) -> bool:
        """Whether a source is an HTTP API on this machine, as the demo's is; false where no address is set."""
        return setting_values.is_http_on_loopback(_read(self.environment, f"ETL_{source.upper()}_URL") or "")

    def with_address(self, source: str, url: str) -> Settings:
        """Give the same settings, with another address for one source."""
        return replace(self, environment={**self.environment, f"ETL_{source.upper()}_URL": url})

    def has_demo_address(self, name: str) -> bool:
        """Whether a source is where the demo keeps it, because no address of its own is set.

        Args:
            name: The source's name, lower case.
        """
        variable = _BY_NAME.get(f"ETL_{name.upper()}_URL")
        if variable is None or self.environment.get(variable.name, "").strip():
            return False
        default = variable.default or ""
        return DATA_DIR in default or setting_values.is_http_on_loopback(default)

    def source(self, name: str) -> SourceSettings:
        """Look up where a source is and how to open it: `ETL_<NAME>_URL`, `ETL_<NAME>_TOKEN` and further secrets.

        Args:
            name: The source's name, lower case.

        Raises:
            ConfigurationError: If no address is set.
        """
        url_name, token_name = f"ETL_{name.upper()}_URL", f"ETL_{name.upper()}_TOKEN"
        url = _read(self.environment, url_name)
        if url and self.has_demo_address(name):
            url = url.replace(DATA_DIR, str(self.data_dir))
        if not url:
            raise ConfigurationError(f"{url_name} is not set", hint=f"set it to the address of source {name}")
        token = _read(self.environment, token_name)
        if token is None and setting_values.is_http_on_loopback(url):
            token = DEMO_TOKEN
        values = {
            suffix: _read(self.environment, f"ETL_{name.upper()}_{suffix}") for suffix in FURTHER_SECRETS
        }
        list_name, rate_name = f"ETL_{name.upper()}_IDENTIFIERS", f"ETL_{name.upper()}_RATE"
        identifiers, rate = _read(self.environment, list_name), _read(self.environment, rate_name)
        return SourceSettings(
            url=url.rstrip("/") if url.startswith(("http://", "https://")) else url,
            token=Secret(token) if token else None,
            url_variable=url_name,
            token_variable=token_name,
            state_path=self.state_dir / f"{name}.json",
            secrets={suffix: Secret(value) for suffix, value in values.items() if value},
            identifiers=_folder(list_name, identifiers) if identifiers else None,
            rate=_parsed(self.environment, rate_name, setting_values.rate) if rate else None,
        )


def _read(environment: Mapping[str, str], name: str) -> str | None:
    """Read a variable; an empty one counts as unset, as in most tools."""
    variable = _BY_NAME.get(name)
    return environment.get(name, "").strip() or (variable.default if variable else None)


def _parsed(environment: Mapping[str, str], name: str, parse: Callable[[str], Any] | None = None) -> Any:
    text = _read(environment, name)
    try:
        return (parse or _BY_NAME[name].parse)(text or "")
    except ValueError as error:
        reason = "must be a day, YYYY-MM-DD" if name == "ETL_START_DATE" else str(error)
        raise ConfigurationError(f"{name}={text!r} cannot be used: {reason}") from None


def _pseudonym_key(environment: Mapping[str, str]) -> Secret | None:
    key = _read(environment, PSEUDONYM_KEY_VARIABLE)
    if key is not None and len(key) < SHORTEST_PSEUDONYM_KEY:
        reason = f"must have at least {SHORTEST_PSEUDONYM_KEY} characters"
        raise ConfigurationError(f"{PSEUDONYM_KEY_VARIABLE} cannot be used: {reason}", hint=MAKE_A_KEY)
    return None if key is None else Secret(key)


def _folder(name: str, text: str) -> Path:
    try:
        return Path(text).expanduser().absolute()
    except RuntimeError:
        raise ConfigurationError(f"{name}={text!r} cannot be used: there is no such user") from None


def load_settings(environment: Mapping[str, str] | None = None) -> Settings:
    """Read the settings from the environment.

    Args:
        environment: Where to read from; the process's own environment by default.

    Raises:
        ConfigurationError: If a variable cannot be used; names the variable and says what it must be.
    """
    environment = dict(os.environ if environment is None else environment)
    data_dir = _folder("ETL_DATA_DIR", str(_parsed(environment, "ETL_DATA_DIR")))
    home = environment.get("DAGSTER_HOME", "").strip()
    _parsed(environment, "ETL_EIDC_RATE")  # used by its source alone, but told of at once
    alerts_file = _read(environment, ALERTS_FILE_VARIABLE)
    return Settings(
        data_dir=data_dir,
        dagster_home=_folder("DAGSTER_HOME", home) if home else data_dir / "dagster_home",
        start_date=_parsed(environment, "ETL_START_DATE"),
        partitions_per_run=_parsed(environment, "ETL_PARTITIONS_PER_RUN"),
        log_format=_parsed(environment, "ETL_LOG_FORMAT"),
        log_level=_parsed(environment, "ETL_LOG_LEVEL"),
        lock_timeout=_parsed(environment, "ETL_LOCK_TIMEOUT"),
        step_retries=_parsed(environment, "ETL_STEP_RETRIES"),
        step_retry_delay=_parsed(environment, "ETL_STEP_RETRY_DELAY"),
        memory_limit=_parsed(environment, "ETL_MEMORY_LIMIT"),
        staging_processes=_parsed(environment, "ETL_STAGING_PROCESSES"),
        pseudonym_key=_pseudonym_key(environment),
        ui_url=_parsed(environment, "ETL_UI_URL"),
        alerts_file=_folder(ALERTS_FILE_VARIABLE, alerts_file) if alerts_file else None,
        embed_model=_parsed(environment, "ETL_EMBED_MODEL"),
        environment=environment,
    )
