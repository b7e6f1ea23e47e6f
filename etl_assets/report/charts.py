"""The charts of a report: what each of them shows, as a Vega-Lite specification, and what it is called.

The numbers of a chart stand in a table beside it. What belongs here: what a chart shows. What does not: drawing it
(`drawing`), adding up (`facts`), and where it stands (`page`).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date, timedelta
from itertools import groupby
from operator import itemgetter

from etl_assets.report.drawing import FAINT, INK, Spec, colour_scale, draw, middle, moment, time_axis
from etl_assets.report.facts import (
    Bucket,
    CheckHistory,
    DayStatus,
    Facts,
    StageTime,
    StreamFacts,
    bucket_width,
    buckets,
)
from etl_assets.streams.base import ErrorBudget

WIDTH = 940
BESIDE = 740
"""Width of a chart that has a small calendar beside it."""
LONGEST_LABEL = 190
SHOWN_STAGES = 15
STATUS_COLOURS = {
    DayStatus.PUBLISHED: "var(--published)",
    DayStatus.PUBLISHED_WITH_WARNINGS: "var(--warnings)",
    DayStatus.WITHHELD: "var(--withheld)",
    DayStatus.FAILED: "var(--failed)",
    DayStatus.MISSING: "var(--missing)",
    DayStatus.LOST: "var(--lost)",
}
ROW_COLOURS = {
    "published": "var(--published)",
    "not published": "var(--withheld)",
    "quarantined": "var(--warnings)",
}
STAGE_COLOURS = {"extract": "var(--first)", "stage": "var(--second)", "commit": "var(--third)"}
_SHORT = "abs(datum.value) >= 1000 ? format(datum.value, '~s') : format(datum.value, '~r')"
"""How numbers stand on an axis; Vega's own short form would write 10m for a hundredth."""

_EDGE = {"stroke": "var(--paper)", "strokeWidth": 0.5}


def overview_chart(facts: Facts) -> str:
    """Draw the days of all streams by status over time, above their rows."""
    found = buckets([day for stream in facts.streams for day in stream.days], facts.first, facts.last)
    statuses = [
        {**_span(bucket), "k": status.words, "v": bucket.counts[status]}
        for bucket in found
        for status in DayStatus
        if bucket.counts[status]
    ]
    used = [status for status in DayStatus if facts.counts[status]]
    colours = {status.words: STATUS_COLOURS[status] for status in used}
    each = "day" if facts.width == 1 else "week"
    rows = sum(stream.extracted for stream in facts.streams)
    label = (
        f"Days of all streams by status, and rows that came, by {each}, {facts.first} to {facts.last}: "
        + ", ".join(f"{facts.counts[status]:,} {status.words}" for status in used)
        + f"; {rows:,} rows"
    )
    spec = {
        "vconcat": [
            _bars(statuses, colours, facts.first, facts.last, "streams" if each == "day" else "days", 110),
            _rows(found, facts.first, facts.last, 90),
        ],
        "resolve": {"scale": {"color": "independent"}},
    }
    return draw(spec, label)


def volume_chart(stream: StreamFacts, first: date, last: date, width: int = WIDTH) -> str:
    """Draw the rows of a stream's days over time, above the share of quarantined ones and the budget for it."""
    found = buckets(stream.days, first, last)
    shares = [
        {"m": middle(bucket.first, bucket.end), "v": round(share, 6)}
        for bucket in found
        if (share := bucket.share) is not None
    ]
    label = (
        f"Rows of {stream.id} over time, {first} to {last}: {stream.extracted:,} rows came, of which "
        f"{stream.quarantined:,} were quarantined; below, their share against the budget"
    )
    spec = {
        "vconcat": [
            _rows(found, first, last, 110, width),
            _shares(shares, stream.stream.budget, first, last, width),
        ],
        "resolve": {"scale": {"color": "independent"}},
    }
    return draw(spec, label)


def checks_chart(checks: Sequence[CheckHistory], stream_id: str, first: date, last: date) -> str:
    """Draw the number of each check over time, with a cross where it failed; empty where none has a number."""
    shown = [check for check in checks if check.trend]
    if not shown:
        return ""
    width = bucket_width(first, last)
    values = [
        {
            "c": _title(check),
            "m": middle(point.first, min(point.first + timedelta(days=width), last + timedelta(days=1))),
            "v": round(point.value * (100 if _is_share(check) else 1), 6),
            "f": point.failed,
        }
        for check in shown
        for point in check.trend
    ]
    y = {
        "field": "v",
        "type": "quantitative",
        "title": None,
        "scale": {"zero": False, "nice": True},
        "axis": {"tickCount": 2, "labelExpr": _SHORT, "domain": False, "ticks": False},
    }
    spec = {
        "data": {"values": values},
        "facet": {
            "row": {
                "field": "c",
                "sort": [_title(check) for check in shown],
                "header": {
                    "title": None,
                    "labelOrient": "top",
                    "labelAnchor": "start",
                    "labelPadding": 2,
                    "labelLimit": WIDTH,
                },
            }
        },
        "spacing": 10,
        "spec": {
            "width": WIDTH,
            "height": 34,
            "layer": [
                {
                    "mark": {
                        "type": "line",
                        "color": "var(--published)",
                        "strokeWidth": 1.5,
                        # A line of one number could not be seen.
                        "point": {"size": 12, "color": "var(--published)"} if width == 1 else False,
                    },
                    "encoding": {"x": time_axis("m", first, last), "y": y},
                },
                {
                    "transform": [{"filter": "datum.f > 0"}],
                    "mark": {
                        "type": "point",
                        "shape": "cross",
                        "angle": 45,
                        "filled": True,
                        "opacity": 1,
                        "size": 70,
                        "color": "var(--failed)",
                    },
                    "encoding": {"x": time_axis("m", first, last), "y": y},
                },
            ],
        },
        "resolve": {"scale": {"y": "independent"}},
    }
    failed = [
        f"{check.name} failed {check.failed:,} of {check.days:,} days" for check in shown if check.failed
    ]
    label = f"Numbers of {len(shown)} checks of {stream_id} over time; " + (
        ", ".join(failed) or "none failed"
    )
    return draw(spec, label)


def stages_chart(stages: Sequence[StageTime]) -> str:
    """Draw the seconds that each stream took, by stage, the slowest streams first; empty where nothing was loaded."""
    totals: dict[str, float] = {}
    for one in stages:
        totals[one.stream] = totals.get(one.stream, 0.0) + one.total
    slowest = sorted(totals, key=lambda stream: (-totals[stream], stream))[:SHOWN_STAGES]
    if not slowest:
        return ""
    taken = {one.stage for one in stages}
    values = [
        {"s": one.stream, "k": one.stage, "v": round(one.total, 3)} for one in stages if one.stream in totals
    ]
    spec = {
        "data": {"values": [value for value in values if value["s"] in slowest]},
        "width": WIDTH - LONGEST_LABEL,
        "height": {"step": 22},
        "mark": {"type": "bar"},
        "encoding": {
            "y": {
                "field": "s",
                "sort": slowest,
                "title": None,
                "axis": {"labelLimit": LONGEST_LABEL, "domain": False, "ticks": False, "labelColor": INK},
            },
            "x": {
                "field": "v",
                "type": "quantitative",
                "title": "seconds of the last load of each day, added up",
            },
            "color": colour_scale({stage: STAGE_COLOURS[stage] for stage in STAGE_COLOURS if stage in taken}),
            "order": {"field": "k", "sort": "descending"},
        },
    }
    said = ", ".join(f"{stream} {totals[stream]:,.1f} s" for stream in slowest)
    return draw(spec, f"Seconds by stream and stage, the slowest streams first: {said}")


def _rows(found: Iterable[Bucket], first: date, last: date, height: int, width: int = WIDTH) -> Spec:
    values = [
        {**_span(bucket), "k": kind, "v": number}
        for bucket in found
        for kind, number in (
            ("published", bucket.published),
            ("not published", bucket.withheld),
            ("quarantined", bucket.quarantined),
        )
        if number
    ]
    used = {value["k"] for value in values}
    colours = {kind: colour for kind, colour in ROW_COLOURS.items() if kind in used}
    return _bars(values, colours, first, last, "rows", height) | {"width": width}


def _bars(
    values: Sequence[Spec], colours: dict[str, str], first: date, last: date, title: str, height: int
) -> Spec:
    """Stack bars that begin and end with the days that they stand for."""
    order = list(colours)
    stacked = []
    for _, together in groupby(sorted(values, key=itemgetter("m")), key=itemgetter("m")):
        top = 0
        for value in sorted(together, key=lambda value: order.index(value["k"])):
            stacked.append({**value, "l": top, "v": top + value["v"]})
            top += value["v"]
    return {
        "data": {"values": stacked},
        "width": WIDTH,
        "height": height,
        # Vega-Lite would lay bars that have a beginning and an end on their side.
        "mark": {"type": "rect", **(_EDGE if bucket_width(first, last) == 1 else {})},
        "encoding": {
            "x": time_axis("m", first, last),
            "x2": {"field": "e"},
            "y": {
                "field": "v",
                "type": "quantitative",
                "title": title,
                "axis": {"tickCount": 3, "labelExpr": _SHORT, "domain": False, "ticks": False},
            },
            "y2": {"field": "l"},
            "color": colour_scale(colours),
        },
    }


def _shares(values: Sequence[Spec], budget: ErrorBudget, first: date, last: date, width: int) -> Spec:
    axis = {"tickCount": 3, "format": ".1~%", "domain": False, "ticks": False}
    y = {"field": "v", "type": "quantitative", "title": "quarantined", "axis": axis}
    limits = (("warns", budget.warn), ("withholds", budget.fail))
    greatest = max((float(value["v"]) for value in values), default=0.0)
    # A budget far above all shares would press them to the ground.
    shown = [
        {"v": limit, "k": f"{name} above {limit:.0%}"}
        for name, limit in limits
        if limit <= max(4 * greatest, budget.warn)
    ]
    return {
        "width": width,
        "height": 60,
        "layer": [
            {
                "data": {"values": values},
                "mark": {
                    "type": "line",
                    "color": "var(--warnings)",
                    "strokeWidth": 1.5,
                    "point": {"size": 12, "color": "var(--warnings)"},
                },
                "encoding": {"x": time_axis("m", first, last), "y": y},
            },
            {
                "data": {"values": shown},
                "mark": {"type": "rule", "color": FAINT, "strokeDash": [4, 3]},
                "encoding": {"y": y},
            },
            {
                "data": {"values": shown},
                "mark": {"type": "text", "align": "right", "dy": -5, "color": FAINT, "fontSize": 10},
                "encoding": {"x": {"value": width}, "y": y, "text": {"field": "k"}},
            },
        ],
    }


def _is_share(check: CheckHistory) -> bool:
    return check.measure.endswith("_share")


def _title(check: CheckHistory) -> str:
    return f"{check.name}: {check.measure.replace('_', ' ')}{', %' if _is_share(check) else ''}"


def _span(bucket: Bucket) -> Spec:
    return {"m": moment(bucket.first), "e": moment(bucket.end)}
