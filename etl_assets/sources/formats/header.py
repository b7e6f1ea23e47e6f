"""The header of a table-like file: which field is which, whatever the order, and what has changed.

What belongs here: names of columns. What does not: reading files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import structlog

from etl_assets.sources.formats.text import FileFormatError
from etl_assets.streams.base import Files

log = structlog.get_logger(__name__)


def checked_header(names: Sequence[str], extract: Files) -> list[str]:
    """Give the names of a file's columns, trimmed.

    Args:
        names: The header as it stands in the file.
        extract: Says which columns there must be.

    Raises:
        FileFormatError: If a wanted column is not there, or a name is there twice.
    """
    header = [name.strip() or f"column_{number}" for number, name in enumerate(names, 1)]
    # First of all: where the header is missing, the names are values, and values are not told.
    missing = [name for name in extract.columns if name not in header]
    if missing:
        raise FileFormatError(
            f"its header lacks {', '.join(missing)}", hint="compare the stream's columns with the file"
        )
    repeated = [name for name, count in Counter(header).items() if count > 1]
    if repeated:
        raise FileFormatError(f"its header names {', '.join(repeated)} more than once")
    surplus = [name for name in header if name not in extract.columns]
    if extract.columns and surplus:
        log.warning("header_drifted", added=surplus)
    return header
