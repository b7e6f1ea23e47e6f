"""The catalogue of marts: every SQL file of this folder, read strictly.

What belongs here: finding the files and reading their front matter. What does not: running their SQL
(`etl_assets.warehouse`).
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path

from etl_assets.failures import ConfigurationError

_KEYS = ("mart", "owner", "business_date", "reads", "description")
_LINE = re.compile(r"^--\s*([a-z_]+)\s*:\s*(.*?)\s*$")
_NAME = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
_TABLE = re.compile(r"^([a-z][a-z0-9_]{0,62})\.([a-z][a-z0-9_]{0,62})$")
_OWNER = re.compile(r"^(team:\S+|[^@\s]+@[^@\s]+)$")


@dataclass(frozen=True, slots=True)
class Mart:
    """A table derived from loaded tables.

    Attributes:
        name: The table's name in schema `marts`, and the file's.
        owner: Who answers for it, `team:<name>` or an e-mail address.
        business_date: Its DATE column; a rebuild replaces whole days of it.
        reads: Ids of the streams that it reads, `<source>/<name>`.
        description: One sentence for the Dagster UI and the data dictionary.
        sql: One SELECT. It reads a relation `touched_dates(business_date)`: the dates to give rows for. The first and
            the last of them are `first_touched_date()` and `last_touched_date()`; a range of a column between these
            constants keeps a large table from being read whole.
    """

    name: str
    owner: str
    business_date: str
    reads: tuple[str, ...]
    description: str
    sql: str

    @property
    def sql_version(self) -> str:
        """Changes when the SQL does."""
        return hashlib.sha256(self.sql.encode()).hexdigest()[:16]


def discover_marts(folder: Path | None = None) -> tuple[Mart, ...]:
    """Read all marts, by name.

    Args:
        folder: Where the SQL files are; by default the folder of this module.

    Raises:
        ConfigurationError: Naming the file that is not as it should be.
    """
    return tuple(read_mart(path) for path in sorted((folder or Path(__file__).parent).glob("*.sql")))


def read_mart(path: Path) -> Mart:
    """Read one mart's file.

    Raises:
        ConfigurationError: If a line of the front matter is missing, unknown, repeated or unusable, if the
            mart's name is not the file's, or if there is no SQL.
    """
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"{path.name}: cannot be read ({type(error).__name__})") from error
    matter, length = _front_matter(path, lines)
    sql = "\n".join(lines[length:]).strip().rstrip(";").rstrip()
    if not sql:
        raise ConfigurationError(f"{path.name}: has no SQL after its front matter")
    if not re.search(r"\btouched_dates\b", sql):
        raise ConfigurationError(
            f"{path.name}: its SQL does not read touched_dates, so each rebuild would read everything",
            hint="add `WHERE <date> IN (SELECT business_date FROM touched_dates)`",
        )
    return Mart(
        name=matter["mart"],
        owner=matter["owner"],
        business_date=matter["business_date"],
        reads=_streams(path, matter["reads"]),
        description=matter["description"],
        sql=sql,
    )


def _front_matter(path: Path, lines: list[str]) -> tuple[dict[str, str], int]:
    """Read `-- key: value` lines from the top; also give their number."""
    matter: dict[str, str] = {}
    length = 0
    for line in lines:
        found = _LINE.match(line)
        if found is None:
            break
        key, value = found.groups()
        if key not in _KEYS:
            raise ConfigurationError(
                f"{path.name}: unknown front matter {key!r}; known are {', '.join(_KEYS)}"
            )
        if key in matter:
            raise ConfigurationError(f"{path.name}: front matter {key!r} stands there twice")
        matter[key] = value
        length += 1
    missing = [key for key in _KEYS if not matter.get(key)]
    if missing:
        raise ConfigurationError(f"{path.name}: begins without `-- {missing[0]}: ...`")
    _check(path, matter)
    return matter, length


def _check(path: Path, matter: dict[str, str]) -> None:
    if matter["mart"] != path.stem:
        raise ConfigurationError(f"{path.name}: says it is mart {matter['mart']!r}; name and file must agree")
    for key in ("mart", "business_date"):
        if not _NAME.match(matter[key]):
            raise ConfigurationError(f"{path.name}: {key} must be lower-case letters, digits and underscores")
    if not _OWNER.match(matter["owner"]):
        raise ConfigurationError(f"{path.name}: owner must be team:<name> or an e-mail address")


def _streams(path: Path, reads: str) -> tuple[str, ...]:
    streams = []
    for table in reads.split(","):
        found = _TABLE.match(table.strip())
        if found is None:
            raise ConfigurationError(f"{path.name}: reads {table.strip()!r}, which is not <source>.<stream>")
        streams.append("/".join(found.groups()))
    return tuple(streams)
