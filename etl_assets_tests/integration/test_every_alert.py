"""Each kind of alert, raised by a real cause through Dagster's real daemon, to a real webhook and a real mail server.

It takes some minutes, so it is asked for: python -m pytest -m slow etl_assets_tests/integration/test_every_alert.py
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from time import sleep

import pytest

from etl_assets.alerts.conditions import Kind
from etl_assets.alerts.messages import messages_in
from etl_assets.alerts.outbox import Outbox, outbox_path
from etl_assets.alerts.problems import problems_in
from etl_assets.cli.days import last_full_day
from etl_assets.cli.deliveries import demo_deliveries
from etl_assets.demo.faults import Faults
from etl_assets.demo.server import RunningSource
from etl_assets.orchestration.instance import opened_instance
from etl_assets.settings import Settings
from etl_assets.streams.discovery import discover_streams
from etl_assets_tests.alerts.desk import write_rules
from etl_assets_tests.integration import own_definitions
from etl_assets_tests.integration.alert_post import SECRET, Post, post_office, rules_by_kind
from etl_assets_tests.integration.conftest import Etl, Use
from etl_assets_tests.integration.daemons import running_daemon, wait_for_none
from etl_assets_tests.integration.launching import launch_backfill
from etl_assets_tests.integration.shops import LINES, ORDERS, PRODUCTS, ScriptedShop

CUSTOMERS, STOCK = "shop/customers", "erp/stock_levels"
OWN_DEFINITIONS = ("-f", str(own_definitions.__file__), "-a", "defs")
SLOW_ANSWER, TOO_SLOW = 6.0, 5
PATIENCE = 600.0
"""A dozen runs start one after the other, each in a process of its own."""
HEAD = """
group_wait = "1s"
look_every = "5s"
breaker_open = "1s"
daily_summary = "{due:%H:%M}"

[owners."team:sales"]
slack = "<@U123SALES>"
"""
TAIL = """
[streams."*"]
deadline = "never"

[streams."erp/stock_levels"]
deadline = "{due:%H:%M}"

[streams."shop/orders"]
rows = {{ error_below = 1 }}

[streams."shop/products"]
seconds = {{ warning = {seconds} }}
"""
NEWS = frozenset(kind for kind in Kind if kind.is_news)


@dataclass(frozen=True)
class Trouble:
    """Everything that can go wrong, and being mended again.

    Attributes:
        source: The shop's server.
        shop: The shop.
        settings: Of the project.
        etl: The command.
        file: Is there while the user's own jobs are to break.
        last: The newest full day.
        due: When a day of stock levels is due, and the summary.
    """

    source: RunningSource
    shop: ScriptedShop
    settings: Settings
    etl: Etl
    file: Path
    last: date
    due: datetime

    def day(self, before: int) -> date:
        """Give a day some days before the last one."""
        return self.last - timedelta(days=before)

    def load(self, stream: str, first: int, last: int) -> None:
        """Load days of a stream by the command, each given by how long before the last one it was."""
        days = ("--from", str(self.day(first)), "--to", str(self.day(last)))
        done = self.etl("backfill", stream, *days)
        assert done.exit_code in (0, 1), done.err

    def begin(self) -> None:
        """Have things go wrong, each in a way of its own; the source is down in the end."""
        self.file.touch()
        self.source.faults.set_to(Faults(fail_days=[str(self.day(3))], fail_path="/v1/orders"))
        self.shop.spoiled.add(self.day(2))
        self.shop.tainted.add(self.day(1))
        self.shop.hollow.add((ORDERS, self.day(4)))
        self.shop.added[self.day(0)] = {"loyalty_level": "gold"}
        self.load(LINES, 4, 0)
        self.load(ORDERS, 4, 0)
        self.load(CUSTOMERS, 0, 0)
        self.shop.left = 5
        self.load(CUSTOMERS, 0, 0)
        self.source.faults.set_to(Faults(latency=SLOW_ANSWER))
        self.load(PRODUCTS, 0, 0)
        self.source.faults.set_to(Faults(down=True))
        self._launch_backfill()

    def end(self) -> None:
        """Mend all of it, and load again."""
        self.file.unlink()
        self.source.faults.set_to(Faults())
        for days in (self.shop.spoiled, self.shop.tainted, self.shop.hollow):
            days.clear()
        self.shop.left = None
        late = self.due.date() - timedelta(days=1)
        demo_deliveries(self.settings).deliver([late])
        self.load(LINES, 4, 0)
        self.load(ORDERS, 4, 0)
        self.load(CUSTOMERS, 0, 0)
        self.load(PRODUCTS, 2, 0)
        self.etl("backfill", STOCK, "--from", str(late), "--to", str(late))

    def _launch_backfill(self) -> None:
        """Ask for two days of products, as the UI does."""
        with opened_instance(self.settings) as instance:
            launch_backfill(self.settings, instance, "products", [PRODUCTS], [self.day(2), self.day(1)])


def expected(trouble: Trouble) -> Mapping[Kind, Mapping[str, tuple[str, ...]]]:
    """Give what has to be told: of each kind the first lines, and what must stand below each."""
    day, late = trouble.day, trouble.due.date() - timedelta(days=1)
    backfill = "etl-assets backfill {} --from {} --to {}"
    return {
        Kind.DAEMON_STOPPED: {
            "[critical] the Dagster daemon has stopped": (
                "it has never run here",
                "dagster-daemon run",
                "/health",
            )
        },
        Kind.ALERTS_STOPPED: {
            "[critical] alerts (sensor alerts) stopped": ("it has never looked", "etl-assets alerts list")
        },
        Kind.PARTITION_FAILED: {
            f"[error] shop/orders {day(3)} failed to load": (
                "422",
                "permanent",
                "team:sales",
                f"{backfill.format(ORDERS, day(3), day(3))} --failed",
            ),
            "[error] shop/products: 2 days failed to load": (
                "transient",
                "repeated requests and steps",
                f"{backfill.format(PRODUCTS, day(2), day(1))} --failed",
            ),
        },
        Kind.PARTITION_WITHHELD: {
            f"[error] shop/order_lines {day(2)} withheld": (
                "broke the contract, more than the budget of 10%",
                "unit_price",
                "60 rows",
                "FROM etl.quarantine",
                backfill.format(LINES, day(2), day(2)),
            )
        },
        Kind.SNAPSHOT_GUARD: {
            f"[error] {CUSTOMERS} {day(0)} withheld: the snapshot would remove too many rows": (
                "more than the guard of 20%",
                "Still in the table",
                f"{backfill.format(CUSTOMERS, day(0), day(0))} --confirm-empty",
            )
        },
        Kind.CHECK_FAILED: {
            "[warning] exports/stock: 1 result failed a check": (
                "balanced",
                "pieces of '...' are missing",
                "team:exports",
            )
        },
        Kind.THRESHOLD: {
            f"[warning] shop/order_lines {day(1)} beyond a threshold: share of bad rows": (
                "the share of quarantined rows is 8.3%, above 5%",
                "FROM etl.quarantine",
            ),
            f"[error] shop/orders {day(4)} beyond a threshold: number of rows": (
                "the number of rows is 0, below 1",
                "FROM etl.loads",
            ),
            f"[warning] shop/products {day(0)} beyond a threshold: time of the load": (
                f"above {TOO_SLOW} s",
                "FROM etl.loads",
            ),
        },
        Kind.PARTITION_LATE: {
            f"[error] {STOCK} {late} late": (
                f"was due by {trouble.due:%Y-%m-%d %H:%M} UTC",
                "team:logistics",
                f"{backfill.format(STOCK, late, late)} --missing",
            )
        },
        Kind.SCHEMA_CHANGED: {
            "[warning] shop/orders changed its fields, columns or rules": (
                "unknown field loyalty_level was set aside",
                "etl.schema_changes",
            )
        },
        Kind.SOURCE_BROKEN: {
            "[error] source shop does not answer": (
                "Failures in a row",
                "shop/customers, shop/order_lines, shop/orders, shop/products",
                "etl-assets backfill shop --failed",
            )
        },
        Kind.SCHEDULE_FAILING: {
            "[error] schedule every_minute fails": (
                "RuntimeError: the calendar cannot be read",
                "/locations/own_definitions.py%3Adefs/schedules/every_minute",
            ),
        },
        Kind.SENSOR_FAILING: {
            "[error] sensor inbox fails": (
                "RuntimeError: the inbox cannot be opened",
                "/locations/own_definitions.py%3Adefs/sensors/inbox",
            )
        },
        Kind.RUN_FAILED: {
            "[error] job nightly_export: 1 run failed": (
                "ValueError: cannot write to '...', ***@***",
                "send",
            ),
            "[error] exports/ledger, exports/people: 1 run failed": (
                "was terminated by signal 9 (SIGKILL)",
                "team:exports",
                "No repeat of the run is coming",
            ),
        },
        Kind.BACKFILL_FINISHED: {
            "[error] Backfill products finished with failures": (
                "some runs failed, after ",
                "1 failed",
                "0 of 6 made, 6 failed",
                PRODUCTS,
            )
        },
        Kind.DAILY_SUMMARY: {
            f"[info] Summary of {late}: 0 of 1 stream published": ("not loaded",),
            f"[info] Summary of {late}: 3 of 4 streams published": (
                "withheld: 5 rows, 0 quarantined",
                "published with warnings: 3 rows, 0 quarantined",
                "team:sales",
            ),
        },
    }


@pytest.fixture
def post() -> Iterator[Post]:
    """Where everything arrives."""
    with post_office() as opened:
        yield opened
        opened.keep()


@pytest.fixture
def trouble(
    scripted: RunningSource, shop: ScriptedShop, use: Use, etl: Etl, post: Post, tmp_path: Path
) -> Trouble:
    """A fresh project in which nothing has gone wrong yet, with a deadline in the next minute but one at most."""
    scripted.clock.set_real()
    due = (datetime.now(UTC) + timedelta(seconds=85)).replace(second=0, microsecond=0)
    file, last = tmp_path / "trouble", last_full_day()
    rules = rules_by_kind(HEAD.format(due=due), TAIL.format(due=due, seconds=TOO_SLOW))
    settings = use(
        scripted,
        **post.variables,
        **write_rules(tmp_path, rules),
        ETL_START_DATE=str(last - timedelta(days=6)),
        ETL_STEP_RETRIES="1",
        **{own_definitions.TROUBLE_VARIABLE: str(file)},
    )
    return Trouble(scripted, shop, settings, etl, file, last, due)


@pytest.mark.slow
def test_each_kind_is_told_and_each_that_lasts_is_over_once_it_is_mended(
    trouble: Trouble, post: Post, tmp_path: Path
) -> None:
    for _ in range(2):
        # As cron does, before anybody has started the daemon: noticed by the first, and ripe for the second.
        assert trouble.etl("watchdog").exit_code == 1
        sleep(1.1)
    trouble.begin()
    wanted = expected(trouble)
    assert set(wanted) == set(Kind)
    log = tmp_path / "daemon.log"
    with running_daemon(trouble.settings, log, OWN_DEFINITIONS) as problem:
        wait_for_none(lambda: lacking(post, wanted), problem, seconds=PATIENCE)
        for kind, messages in wanted.items():
            for title, parts in messages.items():
                for text in post.told(kind)[title]:
                    for part in parts:
                        assert part in text, (title, part, text)
        trouble.end()
        # Three thresholds were told: what is over of them has one more message within ten minutes.
        over = {
            kind: {"[over] " + title.partition("] ")[2] for title in messages}
            for kind, messages in wanted.items()
            if kind not in {*NEWS, Kind.THRESHOLD}
        }
        wait_for_none(lambda: lacking(post, over) | still_open(trouble.settings), problem, seconds=PATIENCE)
    assert any(title.startswith("[over] ") for title in post.titles(Kind.THRESHOLD))
    owners_of_one = [*Counter(stream.owner for stream in discover_streams().values()).values()].count(1)
    for kind, messages in wanted.items():
        assert len(post.titles(kind)) == len(post.subjects(kind)) <= 4, kind
        for title in messages:
            # Owners of one stream each have a summary of the same words.
            alike = owners_of_one if "0 of 1 stream" in title else 1
            assert post.titles(kind).count(title) == alike
    assert (
        "<@U123SALES>" in post.told(Kind.PARTITION_WITHHELD)[next(iter(wanted[Kind.PARTITION_WITHHELD]))][0]
    )
    with Outbox(outbox_path(trouble.settings)) as outbox:
        assert messages_in(outbox, "pending", "undelivered", "diverted") == []
    said = f"{post.everything()}\n{log.read_text(errors='replace')}"
    assert SECRET not in said
    assert "Ada" not in post.everything()


def lacking(post: Post, wanted: Mapping[Kind, Mapping[str, object] | set[str]]) -> set[str]:
    """Give the first lines that have not arrived by both ways."""
    arrived: Callable[[Kind], set[str]] = lambda kind: {*post.titles(kind)} & {*post.subjects(kind)}  # noqa: E731
    return {title for kind, titles in wanted.items() for title in titles if title not in arrived(kind)}


def still_open(settings: Settings) -> set[str]:
    """Give what is not over yet."""
    with Outbox(outbox_path(settings)) as outbox:
        return {f"{problem.kind} of {problem.scope} is open" for problem in problems_in(outbox, "open")}
