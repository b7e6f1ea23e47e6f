"""Progress of long work, told through a small callback interface.

What belongs here: the interface, a reporter that does nothing, and one that tells several others. What does not:
drawing bars (`etl_assets.cli`) or writing log lines about single happenings.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from etl_assets.outcomes import PartitionOutcome


class ProgressReporter(Protocol):
    """Told of every step. Calls may come from several threads at once."""

    def start(self, stream: str, stages: Sequence[str], total: int) -> None:
        """A stream begins: the stages every partition goes through, and the number of partitions."""
        ...

    def stage_done(self, stream: str, partition: str, stage: str) -> None:
        """One partition finished one stage."""
        ...

    def partition_done(self, outcome: PartitionOutcome) -> None:
        """One partition ended, well or not."""
        ...

    def end(self, stream: str) -> None:
        """The stream ended."""
        ...


class SilentReporter:
    """Tells nobody."""

    def start(self, stream: str, stages: Sequence[str], total: int) -> None:
        """See `ProgressReporter`."""

    def stage_done(self, stream: str, partition: str, stage: str) -> None:
        """See `ProgressReporter`."""

    def partition_done(self, outcome: PartitionOutcome) -> None:
        """See `ProgressReporter`."""

    def end(self, stream: str) -> None:
        """See `ProgressReporter`."""
