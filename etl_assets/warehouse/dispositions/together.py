"""The staged rows of several loads of one stream as one relation, for dispositions that bring days in together.

What belongs here: reading their files by one statement, each row with what it is recorded with. What does not: what is
done with the rows.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from typing import Any

from etl_assets.warehouse.dispositions.base import Ahead, Applied, Load

PLACE = "_etl_place"
"""The place of a row's load among the others. No contract has a column that begins with an underscore."""

DAY_OF_LOAD = "_etl_day"
RUN_OF_LOAD = "_etl_run"
TIME_OF_LOAD = "_etl_at"

STAMPS = (PLACE, DAY_OF_LOAD, RUN_OF_LOAD, TIME_OF_LOAD)

_FILE = "_etl_file"


def staged_together(loads: Sequence[Load]) -> tuple[str, dict[str, Any]]:
    """Give the staged rows of some loads.

    Args:
        loads: Loads of one stream and contract, all of which have files.

    Returns:
        A SELECT of the contract's columns, those beside it, and `STAMPS`, without a row whose file is not known again;
        and its parameters.
    """
    parameters: dict[str, Any] = {
        "files": [str(load.rows) for load in loads],
        "days": [load.partition for load in loads],
        "runs": [load.run_id for load in loads],
        "times": [load.loaded_at for load in loads],
    }
    parts = []
    for evolves in (False, True):
        alike = [load for load in loads if load.evolves is evolves]
        if alike:
            name = f"files_{evolves:d}"
            parameters[name] = [str(load.rows) for load in alike]
            parts.append(
                f"SELECT {alike[0].staged_columns}, {', '.join(STAMPS)} "
                f"FROM read_parquet(${name}, filename = '{_FILE}') JOIN stamped USING ({_FILE})"
            )
    stamped = (
        f"SELECT unnest($files) AS {_FILE}, unnest(range(len($files))) AS {PLACE}, "
        f"unnest(CAST($days AS DATE[])) AS {DAY_OF_LOAD}, unnest($runs) AS {RUN_OF_LOAD}, "
        f"unnest(CAST($times AS TIMESTAMP[])) AS {TIME_OF_LOAD}"
    )
    return f"WITH stamped AS ({stamped}) {' UNION ALL '.join(parts)}", parameters


def bring_in_together(
    loads: Sequence[Load], bring_in: Callable[[Sequence[Load]], dict[date, Applied] | None]
) -> dict[date, Ahead]:
    """Bring in those loads that have files, if there are several.

    Args:
        loads: The loads.
        bring_in: Says what each of them did, by day; None if nothing was done.

    Returns:
        What is known, by day.
    """
    given = [load for load in loads if load.rows is not None]
    applied = bring_in(given) if len(given) > 1 else None
    return {day: Ahead(of_day) for day, of_day in (applied or {}).items()}
