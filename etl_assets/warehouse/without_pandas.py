"""Asking DuckDB without pandas.

DuckDB imports pandas, and numpy and pyarrow with it, as soon as any value is bound to a statement: it might be pandas'
own missing value. That takes longer than all the rest of a command that only asks a few questions. What belongs
here: keeping it from that. What does not: anything that works with data frames.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def without_pandas() -> Iterator[None]:
    """Let pandas count as not installed for a while, unless it is imported already; for programs of one thread."""
    if "pandas" in sys.modules:
        yield
        return
    # What Python documents for a module that must not be imported. DuckDB looks again when it is gone.
    sys.modules["pandas"] = None  # type: ignore[assignment]
    try:
        yield
    finally:
        del sys.modules["pandas"]
