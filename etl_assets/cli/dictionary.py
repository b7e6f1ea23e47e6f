"""The command `etl-assets dictionary`: the data dictionary, printed or written to a file.

What belongs here: its options. What does not: the words (`etl_assets.quality.dictionary`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def dictionary(
    to: Annotated[
        Path | None, typer.Option("--to", metavar="FILE", help="Write it there instead of printing it.")
    ] = None,
) -> int:
    """Describe every table as Markdown: columns, types, rules, personal data, audits. Nothing is opened or loaded."""
    from etl_assets.failures import ConfigurationError
    from etl_assets.quality.dictionary import data_dictionary
    from etl_assets.streams.discovery import discover_streams

    text = data_dictionary(discover_streams().values())
    if to is None:
        typer.echo(text, nl=False)
        return 0
    try:
        to.write_text(text, encoding="utf-8")
    except OSError as error:
        raise ConfigurationError(f"{to} cannot be written: {error.strerror}") from error
    typer.echo(f"written: {to}")
    return 0
