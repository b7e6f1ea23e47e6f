"""Declaring where a REST source tells how many records a window has.

What belongs here: the declaration. What does not: asking (`etl_assets.sources.counts`).
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Mapping
from dataclasses import dataclass

from etl_assets.failures import ConfigurationError

_HEADER = re.compile(r"^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Count:
    """Where a source tells the number of records of a window, without sending them.

    It is asked for with the window's parameters: on the stream's own path with the smallest page, or on a path of its
    own. The number must be that of the very records that the stream reads.

    Args:
        field: Dotted path of the field that holds the number, such as `total`.
        header: Header that holds it, such as `X-Total-Count`.
        path: A path of its own that is asked instead; without `field` and `header`, its answer is the number itself.
        parameters: Request parameters beside the extraction's and the window's.

    Raises:
        ConfigurationError: If the parts do not make sense together.
    """

    field: str | None = None
    header: str | None = None
    path: str | None = None
    parameters: Mapping[str, str] = dataclasses.field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.field is not None and self.header is not None:
            raise ConfigurationError("a Count is told by a field or by a header, not by both")
        if self.field is None and self.header is None and self.path is None:
            raise ConfigurationError(
                "a Count needs a field, a header or a path", hint='for example Count(header="X-Total-Count")'
            )
        if self.header is not None and not _HEADER.match(self.header):
            raise ConfigurationError(f"a Count cannot be told by a header {self.header!r}")
        if self.path is not None and (not self.path.startswith("/") or "//" in self.path):
            raise ConfigurationError(f"a Count's path {self.path!r} must start with one slash")
