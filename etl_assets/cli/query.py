"""The command `etl-assets query`: the warehouse, asked with SQL.

What belongs here: its options, and the forms that rows are shown in. What does not: running the statement
(`etl_assets.warehouse.query`).
"""

from __future__ import annotations

import shutil
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    import pyarrow as pa
    from rich.table import Table

SHOWN_ROWS = 100


class RowFormat(StrEnum):
    """A form that rows are written in."""

    TABLE = "table"
    CSV = "csv"
    PARQUET = "parquet"


def query(
    sql: Annotated[str, typer.Argument(help="One statement that reads; - takes it from standard input.")],
    form: Annotated[
        RowFormat | None,
        typer.Option("--format", help="How rows are written. [default: by the output's ending, else table]"),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Write to a .csv or .parquet file instead."),
    ] = None,
    limit: Annotated[int, typer.Option("--limit", min=1, help="Rows that a table shows.")] = SHOWN_ROWS,
) -> int:
    """Ask the warehouse with SQL; it is opened for reading only, and loads wait meanwhile."""
    from etl_assets.cli.terminal import make_console
    from etl_assets.settings import load_settings
    from etl_assets.warehouse.opening import open_warehouse
    from etl_assets.warehouse.query import rows_of

    chosen = form or _form_of(output)
    _check(chosen, output)
    warehouse, text = open_warehouse(load_settings()), sys.stdin.read() if sql == "-" else sql
    if chosen is RowFormat.TABLE:
        with rows_of(warehouse, text) as rows:
            table, note = _table_of(rows, limit)
        make_console().print(table)
        make_console(stderr=True).print(note, highlight=False)
        return 0
    with _opened(output) as file, rows_of(warehouse, text) as rows:
        (_write_csv if chosen is RowFormat.CSV else _write_parquet)(rows, file)
    return 0


def _form_of(output: Path | None) -> RowFormat:
    endings = {f".{form.value}": form for form in (RowFormat.CSV, RowFormat.PARQUET)}
    return endings.get(output.suffix.lower(), RowFormat.TABLE) if output is not None else RowFormat.TABLE


def _check(form: RowFormat, output: Path | None) -> None:
    from etl_assets.failures import ConfigurationError

    if form is RowFormat.TABLE and output is not None:
        raise ConfigurationError("a table is for people", hint="add --format csv or --format parquet")
    if form is RowFormat.PARQUET and output is None and sys.stdout.isatty():
        raise ConfigurationError("Parquet is not for a terminal", hint="name a file with --output")


def _table_of(rows: pa.RecordBatchReader, limit: int) -> tuple[Table, str]:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    for field in rows.schema:
        table.add_column(Text(field.name), justify="right" if _is_number(field.type) else "left")
    total = 0
    for batch in rows:
        for row in batch.slice(0, max(limit - total, 0)).to_pylist():
            table.add_row(*(Text("" if value is None else str(value)) for value in row.values()))
        total += batch.num_rows
    shown = f"{total:,} row{'' if total == 1 else 's'}"
    return table, shown if total <= limit else f"the first {limit:,} of {shown}; see --limit"


def _is_number(kind: pa.DataType) -> bool:
    import pyarrow.types as kinds

    return bool(kinds.is_integer(kind) or kinds.is_floating(kind) or kinds.is_decimal(kind))


def _write_csv(rows: pa.RecordBatchReader, file: IO[bytes]) -> None:
    import pyarrow as pa
    import pyarrow.csv

    def plain(kind: pa.DataType) -> pa.DataType:
        return pa.string() if pa.types.is_nested(kind) else kind

    schema = pa.schema([(field.name, plain(field.type)) for field in rows.schema])
    options = pyarrow.csv.WriteOptions(quoting_style="needed")
    with pyarrow.csv.CSVWriter(file, schema, write_options=options) as writer:
        for batch in rows:
            columns = [_as_text(column) if pa.types.is_nested(column.type) else column for column in batch]
            writer.write_batch(pa.RecordBatch.from_arrays(columns, schema=schema))


def _as_text(column: pa.Array) -> pa.Array:
    """Write lists and structs, which CSV does not know, as JSON."""
    import json

    import pyarrow as pa

    def written(value: Any) -> str | None:
        return None if value is None else json.dumps(value, default=str, ensure_ascii=False)

    return pa.array([written(value) for value in column.to_pylist()], pa.string())


def _write_parquet(rows: pa.RecordBatchReader, file: IO[bytes]) -> None:
    import pyarrow.parquet as pq

    with pq.ParquetWriter(file, rows.schema, compression="zstd") as writer:
        for batch in rows:
            writer.write_batch(batch)


@contextmanager
def _opened(output: Path | None) -> Iterator[IO[bytes]]:
    """Open where rows go: a file that is there in full or not at all, or a copy for standard output.

    Whoever reads standard output may take their time, and must not keep loads waiting.
    """
    from etl_assets.failures import ConfigurationError

    if output is None:
        with tempfile.TemporaryFile(prefix="etl-assets-") as copy:
            yield copy
            copy.seek(0)
            shutil.copyfileobj(copy, sys.stdout.buffer)
            sys.stdout.buffer.flush()
        return
    draft = output.with_name(f".{output.name}.part")
    try:
        with draft.open("wb") as file:
            yield file
        draft.replace(output)
    except OSError as error:
        raise ConfigurationError(f"{output} cannot be written: {error.strerror or error}") from error
    finally:
        draft.unlink(missing_ok=True)
