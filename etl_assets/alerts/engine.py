"""One tick of the alerts: look, write down, compose, deliver.

What belongs here: the order of these, and that none of them stops the others. What does not: any single watcher, and
who calls this how often (the sensor, `etl-assets watchdog`).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from functools import cached_property

import structlog
from filelock import FileLock, Timeout

from etl_assets.alerts.channels.registry import open_channel
from etl_assets.alerts.compose import compose
from etl_assets.alerts.conditions import Condition, Kind, Report
from etl_assets.alerts.delivery import OpenChannel, deliver
from etl_assets.alerts.outbox import Outbox
from etl_assets.alerts.problems import write_down
from etl_assets.alerts.rules import Rules
from etl_assets.alerts.scrub import first_line, secrets_in
from etl_assets.failures import EtlError, describe_unexpected, is_disk_full
from etl_assets.settings import Settings
from etl_assets.streams.base import Stream

log = structlog.get_logger(__name__)

LOOKING_SECONDS = 20.0
DELIVERING_SECONDS = 15.0
"""Together with one attempt begun at the last moment they stay below the minute that Dagster gives a sensor."""

PATIENCE = timedelta(minutes=15)
"""A watcher that fails for longer than this is itself told of."""

HISTORY = timedelta(days=1)
"""What happened longer than this before the outbox was made is nobody's news."""

KEPT = timedelta(days=30)
TICK_BEAT = "tick"


@dataclass(frozen=True)
class Scene:
    """What a watcher looks at, and by which clock.

    Attributes:
        settings: Where everything is.
        rules: What is expected.
        streams: All streams by identifier.
        outbox: Where watchers keep their cursors; they only read it.
        now: The time.
        deadline: When to stop looking, by `time.monotonic`; what is left is for the next tick.
        owners: Whose other things are, such as marts, by name.
        is_over: Tells whether a run has ended and no repeat of it is coming.
    """

    settings: Settings
    rules: Rules
    streams: Mapping[str, Stream]
    outbox: Outbox
    now: datetime
    deadline: float = field(default_factory=lambda: time.monotonic() + LOOKING_SECONDS)
    owners: Mapping[str, str] = field(default_factory=dict)
    is_over: Callable[[str], bool] = lambda run_id: True

    @property
    def horizon(self) -> datetime:
        """What happened before is nobody's news."""
        return self.outbox.begun_at() - HISTORY

    @cached_property
    def secrets(self) -> frozenset[str]:
        """What no message may show."""
        return secrets_in(self.settings.environment, self.rules.secret_variables)

    def owner_of(self, subject: str) -> str:
        """Give whose a stream, or another thing, is; empty where nobody is declared."""
        stream = self.streams.get(subject)
        return stream.owner if stream else self.owners.get(subject, "")


Watch = Callable[[Scene], Report]


@dataclass(frozen=True, slots=True)
class Watcher:
    """Something that looks for conditions.

    Attributes:
        name: Its name, under which its cursor is kept.
        watch: Looks, and reports.
    """

    name: str
    watch: Watch


@dataclass(frozen=True, slots=True)
class Tick:
    """What a tick did.

    Attributes:
        new: Conditions that were written down.
        written: Messages that were written.
        sent: Messages that were acknowledged.
        failed: Watchers that could not look, with the reason.
        is_busy: Whether another process was at it, so that nothing was done.
    """

    new: int = 0
    written: int = 0
    sent: int = 0
    failed: Mapping[str, str] = field(default_factory=dict)
    is_busy: bool = False

    @property
    def is_idle(self) -> bool:
        """Whether nothing happened."""
        return not (self.new or self.written or self.sent or self.failed)


def tick(
    scene: Scene,
    watchers: Sequence[Watcher],
    *,
    open_with: OpenChannel | None = None,
    beat: str = TICK_BEAT,
    delivering_seconds: float = DELIVERING_SECONDS,
    patience: float = 0.0,
) -> Tick:
    """Look, write down, compose and deliver, unless another process is at it.

    Args:
        scene: What is looked at.
        watchers: Who looks, in this order.
        open_with: Opens a channel by name; as the rules say by default.
        beat: Under which name to note that alerts are alive.
        delivering_seconds: When to stop beginning to send.
        patience: Seconds to wait for another process that is at it.

    Raises:
        OutboxError: If the outbox cannot be used.
        StorageFullError: If the disk is full.
    """
    with _alone(scene.outbox, patience) as is_alone:
        if not is_alone:
            return Tick(is_busy=True)
        new, failed = _look(scene, watchers)
        written = compose(scene.outbox, scene.rules, scene.settings.ui_url, scene.now)

        def open_default(name: str) -> object:
            return open_channel(scene.settings, scene.rules, name)

        sent = deliver(
            scene.outbox,
            scene.rules,
            open_with or open_default,  # type: ignore[arg-type]  # any of the channels
            scene.now,
            seconds=delivering_seconds,
        )
        with scene.outbox.transaction():
            # Together: each commit waits for the disk, and most ticks have nothing else to write.
            scene.outbox.beat(beat, scene.now)
            for watcher in watchers:
                if watcher.name not in failed:
                    scene.outbox.beat(f"watcher {watcher.name}", scene.now)
        _tidy(scene)
        return Tick(new, written, sent, failed)


@contextmanager
def _alone(outbox: Outbox, patience: float) -> Iterator[bool]:
    """Be the only one, as long as the block lasts; the system ends it with the process."""
    lock = FileLock(str(outbox.path.with_name(outbox.path.name + ".lock")))
    try:
        lock.acquire(timeout=patience, poll_interval=0.1)
    except Timeout:
        yield False
        return
    try:
        yield True
    finally:
        lock.release()


def _look(scene: Scene, watchers: Sequence[Watcher]) -> tuple[int, dict[str, str]]:
    new = 0
    failed: dict[str, str] = {}
    blind: list[Condition] = []
    for watcher in watchers:
        try:
            report = watcher.watch(scene)
        except Exception as error:
            # None may keep the others from looking; what it could not see, it sees next time.
            if is_disk_full(error):
                raise
            failed[watcher.name] = _why(scene, error)
            log.warning("alert_watcher_failed", watcher=watcher.name, reason=failed[watcher.name])
            blind += _blind(scene, watcher.name, failed[watcher.name])
            continue
        blind += [condition for condition in report.conditions if condition.kind is Kind.ALERTS_STOPPED]
        new += write_down(scene.outbox, watcher.name, report, scene.now)
    new += write_down(
        scene.outbox, "engine", Report(conditions=blind, complete=frozenset({Kind.ALERTS_STOPPED})), scene.now
    )
    return new, failed


def _why(scene: Scene, error: Exception) -> str:
    text = str(error) if isinstance(error, EtlError) else describe_unexpected(error)
    return first_line(text, scene.secrets)


def _blind(scene: Scene, watcher: str, reason: str) -> Iterator[Condition]:
    """Tell of a watcher that has not been able to look for too long."""
    last = scene.outbox.last_beat(f"watcher {watcher}")
    since = last[0] if last else scene.outbox.begun_at()
    if scene.now - since > PATIENCE:
        yield Condition(
            kind=Kind.ALERTS_STOPPED,
            subject=f"alerts ({watcher})",
            key="",
            ref=since.isoformat(),
            at=since,
            error=reason,
        )


def _tidy(scene: Scene) -> None:
    last = scene.outbox.last_beat("tidied")
    if last is None or scene.now - last[0] > timedelta(days=1):
        scene.outbox.forget(scene.now - KEPT)
        scene.outbox.beat("tidied", scene.now)
