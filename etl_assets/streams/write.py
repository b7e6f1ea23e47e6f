"""Declaring a write disposition: how rows enter the table.

What belongs here: one declaration per disposition. What does not: the SQL (`etl_assets.warehouse.dispositions`).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal


@dataclass(frozen=True, slots=True)
class ReplacePartition:
    """A load replaces all rows of its day."""

    builds_on_earlier_days: ClassVar[bool] = False
    """Whether what a day does depends on the days before it, so that days are best committed in their order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merge:
    """A load adds new keys and updates known ones; the newest version wins, in whichever order days are loaded.

    A day that is loaded again by a mended contract or transform first takes back what the former one made of it; what
    other days brought of these keys shows again.

    Args:
        key: Columns that identify a row.
        version: Column that orders the versions of a row.
    """

    builds_on_earlier_days: ClassVar[bool] = True

    key: str | tuple[str, ...]
    version: str

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key as a tuple of column names."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)


@dataclass(frozen=True, slots=True)
class Append:
    """A load adds its rows; a row that the table already has, equal in every column, is not added again.

    A day that is loaded again by a mended contract or transform first takes back what the former one made of it, unless
    another day brought the same row.
    """

    builds_on_earlier_days: ClassVar[bool] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Cdc:
    """A load applies a change feed: inserts, updates and deletes, in the order of their sequence numbers.

    Deletes leave tombstones, so that an older event that arrives late does not bring a row back. A day whose mended
    transform makes other keys of changes that are applied already is withheld until confirmed.

    Args:
        key: Columns that identify a row.
        sequence: Integer column that orders the changes; the greatest one of a key wins, in whichever order days are
            loaded.
        operation: Text column that says what happened: `I`, `U` or `D`.
        delete: `soft` keeps deleted rows, marked by `_deleted_at`; `hard` removes them from the table.
        contiguous: Whether the source numbers its changes without gaps. If so, a missing number means a missing
            change, and is recorded in `etl.sequence_gaps`.
    """

    builds_on_earlier_days: ClassVar[bool] = True

    key: str | tuple[str, ...]
    sequence: str
    operation: str
    delete: Literal["soft", "hard"] = "soft"
    contiguous: bool = True

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key as a tuple of column names."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """A load brings the whole present: rows are inserted, updated, or found to be gone.

    The newest day wins: loading an older day after a newer one changes the history only.

    Args:
        key: Columns that identify a row.
        removed: What happens to rows that are gone: `mark` keeps them, marked by `_removed_on`; `delete` removes them.
        history: Whether every version is kept in `<table>_history` as a slowly changing dimension of type 2, with
            `valid_from`, `valid_to` and `is_current`.
        guard: Share of the present rows that one snapshot may remove; above it the day is withheld until confirmed.
    """

    builds_on_earlier_days: ClassVar[bool] = True

    key: str | tuple[str, ...]
    removed: Literal["mark", "delete"] = "mark"
    history: bool = False
    guard: float = 0.20

    @property
    def key_columns(self) -> tuple[str, ...]:
        """The key as a tuple of column names."""
        return (self.key,) if isinstance(self.key, str) else tuple(self.key)


WriteDisposition = Append | ReplacePartition | Merge | Cdc | Snapshot
