"""What the demo's other systems leave behind day by day: files of exchange rates, postings in the ERP.

What belongs here: which days are due, now and as time goes on. What does not: what a day brings (see `finance` and
`erp`).
"""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import date, timedelta
from pathlib import Path

import structlog

from etl_assets.demo.clock import Clock
from etl_assets.demo.erp import post_stock_levels
from etl_assets.demo.finance import deliver_rates

log = structlog.get_logger(__name__)

LOOK_SECONDS = 0.5
"""How often the clock is looked at for a day that has ended."""


@dataclass(frozen=True, slots=True)
class Deliveries:
    """Where days are delivered to.

    Attributes:
        finance: Folder of the exchange rates; None to deliver none.
        erp: SQLite file of the ERP; None to post nothing.
        seed: Another seed makes other days.
    """

    finance: Path | None
    erp: Path | None
    seed: int = 0

    def deliver(self, days: Sequence[date]) -> None:
        """Deliver days; what is there already is left as it is.

        Raises:
            OSError: If a file cannot be written.
            sqlite3.Error: If the database cannot be.
        """
        if self.finance is not None:
            for day in days:
                deliver_rates(self.finance, day, seed=self.seed)
        if self.erp is not None:
            post_stock_levels(self.erp, days, seed=self.seed)


@contextmanager
def delivering(deliveries: Deliveries, clock: Clock, first: date) -> Iterator[None]:
    """Deliver all days that are over, and for the time of a ``with`` block each further one once it is.

    Args:
        deliveries: Where to.
        clock: What time it is; may be changed meanwhile.
        first: The first day.
    """
    next_day = _deliver_due(deliveries, clock, first)
    ended = threading.Event()
    thread = threading.Thread(
        target=_keep_delivering,
        args=(deliveries, clock, next_day, ended),
        name="demo-deliveries",
        daemon=True,
    )
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def _keep_delivering(deliveries: Deliveries, clock: Clock, next_day: date, ended: threading.Event) -> None:
    while not ended.wait(LOOK_SECONDS):
        try:
            next_day = _deliver_due(deliveries, clock, next_day)
        except Exception as error:  # a full disk, say: tried again at the next look
            log.error("delivery_failed", day=next_day.isoformat(), error=type(error).__name__)


def _deliver_due(deliveries: Deliveries, clock: Clock, next_day: date) -> date:
    """Deliver the days that have ended; gives the day that is next."""
    today = clock.now().date()
    if next_day < today:
        deliveries.deliver([next_day + timedelta(days=number) for number in range((today - next_day).days)])
        log.info("delivered", first=next_day.isoformat(), before=today.isoformat())
        return today
    return next_day
