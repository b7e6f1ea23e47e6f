"""A Parquet file that is written table by table.

What belongs here: opening it when there is something to write, and letting go of it when it cannot be written. What
does not: what it holds (`etl_assets.pipeline.staging_files`).
"""

from __future__ import annotations

from functools import lru_cache
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

# A staged file is read a few times and then replaced: what is quick to write and to read serves best. Of the small
# tables that most days are, dictionaries and statistics take longer than they save.
_OPTIONS = {"compression": "lz4", "use_dictionary": False, "write_statistics": False}


class ParquetFile:
    """One file; it exists once it is closed, with or without rows.

    Args:
        path: Where it is.
        schema: Of its rows.
    """

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self.path = path
        self.schema = schema
        self._writer: pq.ParquetWriter | None = None

    def write(self, table: pa.Table) -> None:
        """Append rows."""
        if not table.num_rows:
            return
        if self._writer is None:
            self._writer = pq.ParquetWriter(self.path, self.schema, **_OPTIONS)
        self._writer.write_table(table)

    def close(self) -> None:
        """Complete the file."""
        if self._writer is None:
            self.path.write_bytes(_without_rows(self.schema))
            return
        try:
            self._writer.close()
        except BaseException:
            # Its destructor would try again, and print why it cannot.
            self._writer.is_open = False
            raise


@lru_cache(maxsize=64)
def _without_rows(schema: pa.Schema) -> bytes:
    sink = pa.BufferOutputStream()
    pq.write_table(schema.empty_table(), sink, **_OPTIONS)
    content: bytes = sink.getvalue().to_pybytes()
    return content
