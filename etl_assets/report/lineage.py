"""The picture of where tables come from: sources, streams, tables, marts, each in a column, joined by lines.

What belongs here: where a box stands. What does not: drawing it (`templates`).
"""

from __future__ import annotations

from dataclasses import dataclass

from etl_assets.report.facts import Facts, StreamFacts
from etl_assets.report.problems import stream_slug
from etl_assets.streams.base import FileSource, RestSource, Source, SqlSource

COLUMNS = ("sources", "streams", "tables", "marts")
BOX_WIDTH = 190
BOX_HEIGHT = 38
_GAP = 12
_TOP = 26
_STEP = BOX_WIDTH + 60


@dataclass(frozen=True, slots=True)
class Box:
    """A box of the picture: where it stands, what it says, and the id that it leads to."""

    x: int
    y: float
    name: str
    note: str
    kind: str
    target: str


@dataclass(frozen=True, slots=True)
class Line:
    """A line between two boxes, by their names."""

    start: str
    end: str
    path: str


@dataclass(frozen=True, slots=True)
class Lineage:
    """The picture."""

    boxes: tuple[Box, ...]
    lines: tuple[Line, ...]
    width: int
    height: int
    heads: tuple[tuple[int, str], ...]


def lineage(facts: Facts) -> Lineage:
    """Lay out where the tables of a report come from."""
    boxes: list[Box] = []
    lines: list[Line] = []
    rows: dict[str, float] = {
        stream.id: _TOP + number * (BOX_HEIGHT + _GAP) for number, stream in enumerate(facts.streams)
    }
    streams, tables = {}, {}
    for stream in facts.streams:
        slug, y = stream_slug(stream.id), rows[stream.id]
        streams[stream.id] = Box(_STEP, y, stream.id, stream.stream.owner, "stream", f"s-{slug}")
        written = type(stream.stream.write).__name__
        tables[stream.id] = Box(2 * _STEP, y, stream.id.replace("/", "."), written, "table", f"t-{slug}")
        lines.append(_line(streams[stream.id], tables[stream.id]))
    for name, fed in _by_source(facts).items():
        y = (rows[fed[0].id] + rows[fed[-1].id]) / 2
        source = Box(0, y, name, _kind(fed[0].stream.source), "source", f"s-{stream_slug(fed[0].id)}")
        boxes.append(source)
        lines += [_line(source, streams[stream.id]) for stream in fed]
    y = float(_TOP)
    for found in facts.marts:
        read = [rows[stream] for stream in found.mart.reads if stream in rows]
        y = max(y, sum(read) / len(read))
        mart = Box(3 * _STEP, y, f"marts.{found.mart.name}", found.mart.owner, "mart", f"m-{found.mart.name}")
        boxes.append(mart)
        lines += [_line(tables[stream], mart) for stream in found.mart.reads if stream in tables]
        y += BOX_HEIGHT + _GAP
    bottom = max([*(row + BOX_HEIGHT + _GAP for row in rows.values()), y])
    shown = COLUMNS if facts.marts else COLUMNS[:3]
    return Lineage(
        boxes=(*boxes, *streams.values(), *tables.values()),
        lines=tuple(lines),
        width=(len(shown) - 1) * _STEP + BOX_WIDTH + 2,
        height=round(bottom),
        heads=tuple((number * _STEP, name) for number, name in enumerate(shown)),
    )


def _by_source(facts: Facts) -> dict[str, list[StreamFacts]]:
    found: dict[str, list[StreamFacts]] = {}
    for stream in facts.streams:
        found.setdefault(stream.stream.source.name, []).append(stream)
    return found


def _kind(source: Source) -> str:
    match source:
        case RestSource():
            return "HTTP API"
        case FileSource():
            return "files"
        case SqlSource():
            return "SQL database"


def _line(start: Box, end: Box) -> Line:
    """Join two boxes by a curve that leaves and arrives level."""
    x, y, to_x, to_y = start.x + BOX_WIDTH, start.y + BOX_HEIGHT / 2, end.x, end.y + BOX_HEIGHT / 2
    middle = (x + to_x) / 2
    return Line(start.name, end.name, f"M{x:g},{y:g} C{middle:g},{y:g} {middle:g},{to_y:g} {to_x:g},{to_y:g}")
