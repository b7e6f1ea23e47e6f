"""The staged rows of several loads of one stream as one relation, for dispositions that bring days in together.

What belongs here: reading their files by one statement, each row with what it is recorded with. What does not: what is
done with the rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from etl_assets.warehouse.dispositions.base import Load

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
    parts: list[str] = []
    parameters: dict[str, Any] = {}
    for evolves in (False, True):
        chosen = {place: load for place, load in enumerate(loads) if load.evolves is evolves}
        if not chosen:
            continue
        values = {
            "files": [str(load.rows) for load in chosen.values()],
            "places": list(chosen),
            "days": [load.partition for load in chosen.values()],
            "runs": [load.run_id for load in chosen.values()],
            "times": [load.loaded_at for load in chosen.values()],
        }
        files, places, days, runs, times = (f"{name}_{evolves:d}" for name in values)
        parameters |= {f"{name}_{evolves:d}": value for name, value in values.items()}
        parts.append(
            f"SELECT {next(iter(chosen.values())).staged_columns}, {', '.join(STAMPS)} "
            f"FROM read_parquet(${files}, filename = '{_FILE}') JOIN (SELECT unnest(${files}) AS {_FILE}, "
            f"unnest(CAST(${places} AS INTEGER[])) AS {PLACE}, unnest(CAST(${days} AS DATE[])) AS {DAY_OF_LOAD}, "
            f"unnest(${runs}) AS {RUN_OF_LOAD}, unnest(CAST(${times} AS TIMESTAMP[])) AS {TIME_OF_LOAD}) "
            f"USING ({_FILE})"
        )
    return " UNION ALL ".join(parts), parameters
