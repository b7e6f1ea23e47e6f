"""Drawing a Vega-Lite specification as SVG, in this process, by vl-convert.

Colours are named as CSS variables, so that one drawing serves light and dark, and a printer. A chart is one image to a
screen reader, with a label that says what it shows. What belongs here: what all drawings have in common. What does
not: what a chart shows (`charts`).
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from datetime import UTC, date, datetime, timedelta
from typing import Any

import vl_convert

VEGA_LITE = "5.21"
"""The grammar's version, of those that vl-convert knows."""
INK, FAINT, LINE = "var(--ink)", "var(--faint)", "var(--line)"
_CONFIG: dict[str, Any] = {
    "font": "system-ui, sans-serif",
    # The whole chart has a label; descriptions of single marks would be the most of its size.
    "aria": False,
    "view": {"stroke": None},
    "axis": {
        "labelColor": FAINT,
        "titleColor": FAINT,
        "gridColor": LINE,
        "domainColor": LINE,
        "tickColor": LINE,
        "labelFontSize": 11,
        "titleFontSize": 11,
        "titleFontWeight": "normal",
    },
    "header": {"labelColor": INK, "labelFontSize": 11},
    "legend": {
        "labelColor": INK,
        "titleColor": FAINT,
        "labelFontSize": 11,
        "orient": "top",
        "title": None,
        "symbolType": "square",
        "offset": 4,
        "labelLimit": 300,
        "columnPadding": 24,
    },
}

_PLACES = re.compile(r' (?:d|transform)="[^"<]*"')
_LONG = re.compile(r"-?\d+\.\d\d+")
_IDLE = re.compile(
    r'<path class="background"[^>]*/>| (?:aria-\w+|role|class|opacity|pointer-events|stroke-miterlimit|font-family)='
    r'"(?:true|1|10|none|graphics-\w+|[-\w]+ mark container|mark[-\w ]+|system-ui, sans-serif)"'
)
"""What Vega writes of each mark beyond its looks; fonts are in the style sheet."""

Spec = dict[str, Any]


def draw(spec: Spec, label: str) -> str:
    """Draw a specification as one image with a label, as an SVG element.

    Args:
        spec: What to draw.
        label: What a screen reader says of it.
    """
    svg = vl_convert.vegalite_to_svg(
        {"background": None, "padding": 4, "config": _CONFIG, **spec},
        vl_version=VEGA_LITE,
        # All data is in the specification; nothing may be fetched, whatever a name looks like.
        allowed_base_urls=[],
    )
    return _slim(svg).replace("<svg ", f'<svg role="img" aria-label="{html.escape(label)}" ', 1)


def _slim(svg: str) -> str:
    """Leave out what changes nothing to the eye, and what is of no use within an image that has one label."""
    svg = _PLACES.sub(lambda found: _LONG.sub(lambda number: f"{float(number[0]):.1f}", found[0]), svg)
    return _IDLE.sub("", svg)


def colour_scale(colours: Mapping[str, str]) -> Spec:
    """Colour marks by the field `k`, in the order given."""
    return {
        "field": "k",
        "type": "nominal",
        "scale": {"domain": list(colours), "range": list(colours.values())},
    }


def time_axis(field: str, first: date, last: date) -> Spec:
    """Lay a field out over the whole period, to the end of its last day."""
    return {
        "field": field,
        "type": "temporal",
        "title": None,
        "scale": {"type": "utc", "domain": [moment(first), moment(last + timedelta(days=1))]},
        "axis": {"grid": False, "tickCount": 8},
    }


def middle(first: date, end: date) -> int:
    """Give the middle of some days, where a number stands that is of all of them."""
    return (moment(first) + moment(end)) // 2


def moment(day: date) -> int:
    """Give a day's beginning in milliseconds, as Vega counts time."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp() * 1000)
