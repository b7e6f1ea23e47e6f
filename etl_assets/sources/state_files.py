"""Small files that tell people how a source is doing; nothing in the program acts on them.

What belongs here: writing one whole. What does not: what is in it (`circuit_file`, `statistics_file`).
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import orjson


def write_state(path: Path, value: dict[str, Any]) -> None:
    """Write a file in place of the one before; its folder is made where needed.

    Several processes may write: each one its own file, and the last one counts.

    Raises:
        OSError: If it cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_suffix(f".{os.getpid()}.tmp")
    temporary.write_bytes(orjson.dumps(value, option=orjson.OPT_INDENT_2))
    temporary.replace(path)
