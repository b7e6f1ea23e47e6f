"""Finding a field in a decoded answer by its dotted path.

What belongs here: the one meaning of a path such as `result.items`. What does not: what the field is for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def field_at(body: Any, path: str) -> Any:
    """Give the value at a path of field names.

    Args:
        body: The decoded answer.
        path: Names parted by dots. A name that has dots itself, such as `@odata.nextLink`, is found as well: at each
            level the whole rest of the path is looked for before it is taken apart.

    Raises:
        LookupError: If there is no such field; its text is the part of the path that was not found.
    """
    name, dot, rest = path.partition(".")
    if isinstance(body, Mapping):
        if path in body:
            return body[path]
        if dot and name in body:
            return field_at(body[name], rest)
    raise LookupError(name)
