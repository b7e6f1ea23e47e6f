"""The drawings show what was counted, in colours that follow the page, and take in hostile names as text."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import timedelta
from xml.etree import ElementTree

from etl_assets.report import charts
from etl_assets.report.facts import CheckHistory, Facts, StageTime, TrendPoint
from etl_assets_tests.report.planted import DAYS, HOSTILE
from etl_assets_tests.warehouse.samples import LINES, day

SVG = "{http://www.w3.org/2000/svg}"


def drawn(svg: str) -> ElementTree.Element:
    """Read a drawing, which must be an image with a label, without addresses and without colours of its own."""
    root = ElementTree.fromstring(svg)
    assert root.tag == f"{SVG}svg"
    assert root.get("role") == "img"
    assert root.get("aria-label")
    colours = {
        value
        for element in root.iter()
        for name in ("fill", "stroke")
        if (value := element.get(name)) not in (None, "none")
    }
    assert colours
    assert all(str(colour).startswith("var(--") for colour in colours), colours
    assert not root.findall(f".//{SVG}image")
    assert [element.get("id") for element in root.iter() if element.get("id")] == [], (
        "ids would meet in one page"
    )
    return root


def marks(root: ElementTree.Element, colour: str) -> list[ElementTree.Element]:
    """Give the bars of a colour; the squares of a legend begin left of their place."""
    found = [element for element in root.iter(f"{SVG}path") if element.get("fill") == f"var(--{colour})"]
    return [element for element in found if re.match(r"M[\d.]+,[-\d.]+h", element.get("d") or "")]


def texts(root: ElementTree.Element) -> list[str]:
    """Give the texts of a drawing."""
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def height(mark: ElementTree.Element) -> float:
    """Give the height of a bar."""
    return float(re.findall(r"v(-?[\d.]+)h", mark.get("d") or "")[0])


def test_the_overview_has_a_bar_for_each_status_of_a_day(facts: Facts) -> None:
    root = drawn(charts.overview_chart(facts))
    label = str(root.get("aria-label"))
    assert "8 published, 1 published with warnings, 1 withheld, 1 failed, 9 missing; 70 rows" in label
    assert len(marks(root, "failed")) == 1
    assert {"published", "withheld", "failed", "missing"} <= set(texts(root))


def test_rows_are_drawn_to_scale(facts: Facts) -> None:
    lines = facts.streams[0]
    root = drawn(charts.volume_chart(lines, facts.first, facts.last))
    good = sorted(height(mark) for mark in marks(root, "published"))
    assert len(good) == 7
    assert good[0] / good[-1] == 2 / 10
    [withheld] = marks(root, "withheld")
    assert height(withheld) / good[-1] == 3 / 10
    assert sorted(round(height(mark) / good[-1], 2) for mark in marks(root, "warnings")) == [0.1, 0.2]
    assert "warns above 5%" in texts(root)


def test_long_periods_are_drawn_by_week(facts: Facts) -> None:
    one = facts.streams[0].days[0]
    days = tuple(replace(one, day=day(number)) for number in range(140))
    root = drawn(charts.volume_chart(replace(facts.streams[0], days=days), day(0), day(139)))
    weeks = [height(mark) for mark in marks(root, "published")]
    assert len(weeks) == 20
    assert len(set(weeks)) == 1


def test_checks_have_a_line_each_and_a_cross_for_failures(facts: Facts) -> None:
    lines = facts.streams[0]
    root = drawn(charts.checks_chart(lines.checks, lines.id, facts.first, facts.last))
    assert "volume: rows" in texts(root)
    assert "volume failed 1 of 7 days" in str(root.get("aria-label"))
    crosses = [element for element in root.iter(f"{SVG}path") if element.get("fill") == "var(--failed)"]
    failed = sum(point.failed > 0 for check in lines.checks for point in check.trend)
    assert len(crosses) == failed == 1


def test_no_number_no_chart() -> None:
    silent = CheckHistory("conservation", "conservation", True, 3, 0, None, "fine")
    assert charts.checks_chart([silent], LINES.id, day(0), day(2)) == ""
    assert charts.stages_chart([]) == ""


def test_hostile_names_are_text() -> None:
    trend = tuple(TrendPoint(day(number), float(number), 0) for number in range(3))
    check = CheckHistory(HOSTILE, "volume", False, 3, 1, day(1), "", HOSTILE, trend)
    root = drawn(charts.checks_chart([check], HOSTILE, day(0), day(2)))
    assert any(HOSTILE in text for text in texts(root))
    assert HOSTILE in str(root.get("aria-label"))
    assert root.findall(f".//{SVG}script") == []


def test_the_slowest_streams_are_drawn_first() -> None:
    stages = [
        StageTime(f"shop/s{number:02}", stage, 3, float(number), 1.0, 2.0, day(0))
        for number in range(20)
        for stage in ("extract", "stage")
    ]
    root = drawn(charts.stages_chart(stages))
    names = [text for text in texts(root) if text.startswith("shop/")]
    assert names == [f"shop/s{number:02}" for number in range(19, 19 - charts.SHOWN_STAGES, -1)]
    assert str(root.get("aria-label")).endswith("shop/s05 10.0 s")


def test_a_period_is_drawn_from_end_to_end(facts: Facts) -> None:
    root = drawn(charts.volume_chart(facts.streams[0], facts.first, facts.last + timedelta(days=0)))
    first, *_, last = marks(root, "published")
    begins = [float(re.findall(r"M([-\d.]+),", mark.get("d") or "")[0]) for mark in (first, last)]
    width = float(re.findall(r"h([-\d.]+)v", first.get("d") or "")[0])
    assert begins[0] == 0
    assert abs(begins[1] + width - charts.WIDTH) < 0.2
    assert abs(width * DAYS - charts.WIDTH) < 1
