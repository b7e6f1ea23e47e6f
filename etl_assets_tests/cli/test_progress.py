"""Progress: bars on a terminal, plain lines elsewhere, nothing for machines."""

from __future__ import annotations

import io
import re
import threading
from datetime import timedelta

import pytest
from rich.console import Console

from etl_assets.cli.progress import BarReporter, CollectingReporter, LineReporter, make_reporter
from etl_assets.observability.progress import tell_outcome
from etl_assets.outcomes import Status
from etl_assets_tests.cli.outcomes import FIRST, outcome

STAGES = ["extract", "stage", "commit"]
TOTALS = {"shop/orders": 3, "shop/order_lines": 2}


def terminal() -> tuple[Console, io.StringIO]:
    """Make a console that takes itself for a terminal."""
    output = io.StringIO()
    return Console(
        file=output, force_terminal=True, width=120, color_system=None, legacy_windows=False
    ), output


def plain() -> tuple[Console, io.StringIO]:
    """Make a console that writes to a file."""
    output = io.StringIO()
    return Console(file=output, width=40), output


def tell(reporter: CollectingReporter, *statuses: Status, first: int = 0) -> None:
    """Tell of one day per status, as a run does."""
    reporter.start("shop/orders", STAGES, len(statuses))
    for number, status in enumerate(statuses, first):
        day = (FIRST + timedelta(days=number)).isoformat()
        for stage in STAGES[:2]:
            reporter.item_stage("shop/orders", day, stage)
        tell_outcome(reporter, outcome(number, status))
    reporter.end("shop/orders")


def bars(text: str) -> dict[str, str]:
    """Read how far each bar got at last."""
    bare = re.sub(r"\x1b\[[0-9;?]*[A-Za-z]", "\n", text)
    return {match[1]: match[2] for match in re.finditer(r"^(shop/\S+ \w+)\s.*?(\d+/\d+)", bare, re.MULTILINE)}


def test_bar_per_stream_and_stage() -> None:
    console, output = terminal()
    reporter = BarReporter(console, TOTALS)
    tell(reporter, Status.PUBLISHED, Status.PUBLISHED_WITH_WARNINGS)
    reporter.start("shop/order_lines", STAGES[:1], 2)
    reporter.item_stage("shop/order_lines", FIRST.isoformat(), "extract")
    reporter.close()
    assert bars(output.getvalue()) == {
        "shop/orders extract": "2/3",
        "shop/orders stage": "2/3",
        "shop/orders commit": "2/3",
        "shop/order_lines extract": "1/2",
    }


def test_bars_go_on_over_several_runs_of_a_command() -> None:
    console, output = terminal()
    reporter = BarReporter(console, TOTALS)
    tell(reporter, Status.PUBLISHED)
    tell(reporter, Status.PUBLISHED, Status.PUBLISHED, first=1)
    reporter.close()
    assert set(bars(output.getvalue()).values()) == {"3/3"}


def test_bars_count_a_day_that_is_told_of_again_once() -> None:
    console, output = terminal()
    reporter = BarReporter(console, TOTALS)
    tell(reporter, Status.FAILED, Status.PUBLISHED)
    tell(reporter, Status.PUBLISHED)
    reporter.close()
    assert set(bars(output.getvalue()).values()) == {"2/3"}


def test_bars_say_what_went_wrong_once_per_cause() -> None:
    console, output = terminal()
    reporter = BarReporter(console, TOTALS)
    tell(reporter, Status.FAILED, Status.FAILED, Status.WITHHELD)
    reporter.close()
    shown = output.getvalue()
    assert shown.count("failed: shop answered 422") == 1
    assert "shop/orders 2025-03-10 failed: shop answered 422" in shown
    assert "shop/orders 2025-03-12 withheld: 2 of 10 rows broke the contract" in shown


def test_bars_do_not_mind_an_unknown_stage_or_markup() -> None:
    console, output = terminal()
    reporter = BarReporter(console, {})
    reporter.item_stage("shop/orders", "2025-03-10", "extract")
    tell_outcome(reporter, outcome(status=Status.FAILED, message="[bold]x[/nonsense] [/]"))
    reporter.close()
    assert "[bold]x[/nonsense] [/]" in output.getvalue()


def test_lines_say_how_far_it_is_at_the_end() -> None:
    console, output = plain()
    reporter = LineReporter(console, TOTALS)
    tell(reporter, Status.PUBLISHED, Status.DONE, Status.PUBLISHED)
    reporter.close()
    assert output.getvalue().splitlines()[-1] == "shop/orders 3/3 days, now 2025-03-12"
    assert "\x1b" not in output.getvalue()


def test_lines_say_what_went_wrong_once_per_cause_and_unwrapped() -> None:
    console, output = plain()
    reporter = LineReporter(console, TOTALS)
    tell(reporter, Status.FAILED, Status.FAILED, Status.WITHHELD)
    lines = output.getvalue().splitlines()
    assert lines == [
        "shop/orders 2025-03-10 failed: shop answered 422",
        "shop/orders 2025-03-12 withheld: 2 of 10 rows broke the contract",
        "shop/orders 3/3 days, now 2025-03-12",
    ]


@pytest.mark.parametrize("kind", [BarReporter, LineReporter])
def test_last_outcome_of_a_day_counts(kind: type[BarReporter] | type[LineReporter]) -> None:
    reporter = kind(terminal()[0], TOTALS)
    tell(reporter, Status.FAILED)
    tell(reporter, Status.PUBLISHED)
    reporter.close()
    (last,) = reporter.outcomes.values()
    assert last.status is Status.PUBLISHED


def test_many_threads_may_tell_at_once() -> None:
    console, output = terminal()
    reporter = BarReporter(console, {"shop/orders": 200})
    reporter.start("shop/orders", STAGES, 200)

    def work(first: int) -> None:
        for number in range(first, first + 50):
            reporter.item_stage("shop/orders", str(number), "extract")

    threads = [threading.Thread(target=work, args=(first,)) for first in (0, 50, 100, 150)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    reporter.close()
    assert bars(output.getvalue())["shop/orders extract"] == "200/200"


def test_reporter_fits_where_the_output_goes() -> None:
    on_terminal, elsewhere = terminal()[0], plain()[0]
    chosen = make_reporter(on_terminal, TOTALS, quiet=False)
    chosen.close()
    assert isinstance(chosen, BarReporter)
    assert isinstance(make_reporter(elsewhere, TOTALS, quiet=False), LineReporter)
    assert type(make_reporter(on_terminal, TOTALS, quiet=True)) is CollectingReporter


def test_nothing_is_said_to_machines() -> None:
    console, output = terminal()
    tell(make_reporter(console, TOTALS, quiet=True), Status.FAILED, Status.PUBLISHED)
    assert output.getvalue() == ""
