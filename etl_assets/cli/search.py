"""The command `etl-assets search`: finds rows by what their texts mean.

What belongs here: its options and its table. What does not: searching (`etl_assets.pipeline.embedding`).
"""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from etl_assets.streams.base import Stream
    from etl_assets.streams.discovery import StreamCatalogue
    from etl_assets.warehouse.embeddings import Found


def search(
    query: Annotated[str, typer.Argument(help="What is looked for, in plain words.")],
    stream_id: Annotated[
        str,
        typer.Option("--stream", metavar="STREAM", help="Where. \\[default: the stream that is embedded]"),
    ] = "",
    limit: Annotated[int, typer.Option(min=1, max=1000, help="Rows at most.")] = 10,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")
    ] = False,
) -> int:
    """Find the rows whose texts are nearest in meaning, best first; needs the extra embed.

    The score is the cosine of the angle between the vectors: 1 for the same meaning, about 0 for nothing in common.
    """
    from etl_assets.cli.terminal import make_console
    from etl_assets.failures import ConfigurationError
    from etl_assets.pipeline.embedding import search as find
    from etl_assets.settings import load_settings
    from etl_assets.streams.discovery import discover_streams
    from etl_assets.warehouse.opening import open_warehouse

    if not query.strip():
        raise ConfigurationError("there is nothing to look for", hint='for example: search "peatland carbon"')
    settings = load_settings()
    stream = _stream(discover_streams(), stream_id)
    found = find(open_warehouse(settings), stream, settings.embed_model, query, limit)
    if as_json:
        typer.echo(json.dumps([asdict(one) for one in found], indent=2))
    else:
        make_console().print(_table(found))
    return 0


def _stream(catalogue: StreamCatalogue, stream_id: str) -> Stream:
    from etl_assets.failures import ConfigurationError

    embedded = {stream.id: stream for stream in catalogue.values() if stream.embed}
    if stream_id:
        (chosen, *more) = catalogue.select([stream_id])
        if more or chosen.id not in embedded:
            raise ConfigurationError(
                f"{stream_id} cannot be searched", hint=f"those that can: {', '.join(embedded) or 'none'}"
            )
        return chosen
    if len(embedded) != 1:
        raise ConfigurationError("which stream is to be searched?", hint=f"--stream {' or '.join(embedded)}")
    return next(iter(embedded.values()))


def _table(found: Sequence[Found]) -> Any:
    from rich.table import Table
    from rich.text import Text

    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("score", justify="right")
    table.add_column("key", no_wrap=True)
    table.add_column("title")
    for one in found:
        table.add_row(f"{one.score:.3f}", Text(one.key), Text(one.title))
    return table
