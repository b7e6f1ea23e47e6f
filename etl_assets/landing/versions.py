"""Names of landed versions: by the time that they were finished, and the run that made them.

What belongs here: telling such names from others, and making one that sorts last. What does not: what a version holds.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime, timedelta

_VERSION = re.compile(r"^(\d{8}T\d{6}\.\d{6})Z-[0-9A-Za-z]{1,8}$")
_TIME = "%Y%m%dT%H%M%S.%f"


def is_version(name: str) -> bool:
    """Tell the name of a version from others."""
    return _VERSION.match(name) is not None


def name_version(older: str | None, now: datetime, run_id: str) -> str:
    """Name a version so that it sorts last, even if the clock was set back meanwhile.

    Args:
        older: Name of the newest version so far.
        now: The time, in UTC.
        run_id: The run that makes it.
    """
    match = _VERSION.match(older) if older else None
    if match:
        last = datetime.strptime(match[1], _TIME).replace(tzinfo=UTC)
        now = max(now, last + timedelta(microseconds=1))
    suffix = re.sub(r"[^0-9A-Za-z]", "", run_id)[:8] or "run"
    return f"{now.strftime(_TIME)}Z-{suffix}"
