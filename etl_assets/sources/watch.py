"""What all readers of one REST source share during a run: its circuit breaker and its counters.

What belongs here: keeping the two together, and telling people. What does not: either of them (`circuit`,
`statistics`), and their files (`circuit_file`, `statistics_file`).
"""

from __future__ import annotations

import time
from pathlib import Path

import structlog

from etl_assets.sources.circuit import Circuit
from etl_assets.sources.circuit_file import CircuitFile
from etl_assets.sources.statistics import RequestStatistics
from etl_assets.sources.statistics_file import write_counts
from etl_assets.streams.base import RestSource

log = structlog.get_logger(__name__)


class SourceWatch:
    """Watches how a source does, over all streams and step retries of a run.

    Args:
        source: The source.
        state_path: File that tells people about its circuit; the counters' file goes beside it. None to keep none.

    Attributes:
        circuit: Decides whether the source is asked.
        statistics: Counts what it is asked.
    """

    def __init__(self, source: RestSource, state_path: Path | None = None) -> None:
        self._source = source.name
        self._path = state_path
        self.statistics = RequestStatistics()
        self.circuit = Circuit(
            source.name,
            source.breaker,
            patience=source.retry.total,
            on_change=CircuitFile(state_path).record if state_path else None,
        )

    def wait(self) -> None:
        """Wait, where the circuit is open, until a request may try again.

        A step's repeat that came sooner would be spent on putting off the same days.
        """
        seconds = self.circuit.seconds_open()
        if seconds > 0:
            log.info("source_waited_for", source=self._source, seconds=round(seconds, 3))
            time.sleep(seconds)

    def record(self) -> None:
        """Log the counters, and keep them for people who ask; a source that was not asked yet leaves no trace."""
        counts = self.statistics.read()
        if not counts.requests:
            return
        log.info(
            "requests_counted",
            source=self._source,
            requests=counts.requests,
            retries=counts.retries,
            failures=counts.failures,
            **{f"failures_{name}": number for name, number in sorted(counts.failures_by_class.items())},
            bytes=counts.bytes,
            seconds_waited=round(counts.seconds_waited, 3),
        )
        if self._path is not None:
            write_counts(self._path.parent, self._source, counts)
