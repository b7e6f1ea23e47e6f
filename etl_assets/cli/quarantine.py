"""The command `etl-assets quarantine`: looking at bad rows, and working them off.

What belongs here: its options. What does not: the work (`etl_assets.cli.quarantine_work`) and its output
(`etl_assets.cli.quarantine_output`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

quarantine = typer.Typer(
    no_args_is_help=True,
    help="Look at rows that broke their contract, and work them off: replay, waive, mend, discard, purge.",
)

_SELECTION_HELP = "Streams or sources; all when none is named."
Selection = Annotated[list[str] | None, typer.Argument(help=_SELECTION_HELP)]
First = Annotated[str, typer.Option("--from", metavar="DAY", help="First day. \\[default: any]")]
Last = Annotated[str, typer.Option("--to", metavar="DAY", help="Last day, included. \\[default: any]")]
Rules = Annotated[
    list[str] | None,
    typer.Option("--rule", metavar="RULE", help="Only rows that break this rule; may be repeated."),
]
Rows = Annotated[
    list[str] | None, typer.Option("--row", metavar="ID", help="Only this row; may be repeated.")
]
Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON, and nothing else.")]
Reason = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Why; kept with the row. Name nobody in it.")
]
By = Annotated[str, typer.Option("--by", metavar="NAME", help="Who decides. \\[default: who is logged in]")]


@quarantine.command("list")
def list_rows(
    selection: Selection = None,
    first: First = "",
    last: Last = "",
    rule: Rules = None,
    state: Annotated[
        str, typer.Option(help="pending, replayed, waived, discarded, superseded, or all.")
    ] = "pending",
    by_day: Annotated[bool, typer.Option("--by-day", help="Count each day by itself.")] = False,
    as_json: Json = False,
) -> int:
    """Count rows by stream, rule and day, each with an example; no personal field is shown in clear."""
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened()
    choice = work.choice(selection, first, last, rules=rule, state=state)
    return quarantine_output.print_counts(work, choice, by_day=by_day, as_json=as_json)


@quarantine.command()
def show(
    rows: Annotated[list[str], typer.Argument(metavar="ID...", help="Rows, as `list` names them.")],
    as_json: Json = False,
) -> int:
    """Show rows with all that is known of them: fields, rules, and every move with its reason."""
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened()
    return quarantine_output.print_rows(work, work.choice([], rows=rows, state="all"), as_json=as_json)


@quarantine.command()
def replay(
    selection: Selection = None,
    first: First = "",
    last: Last = "",
    rule: Rules = None,
    row: Rows = None,
    as_json: Json = False,
) -> int:
    """Load the days of pending rows again from landing, by the present contract and transform.

    Rows that pass now are loaded with their days, the others count another attempt. Exit code 0 when every day was
    published, 1 when some were not.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    return quarantine_output.print_result(
        work.replay(work.choice(selection, first, last, rules=rule, rows=row)), as_json=as_json
    )


@quarantine.command()
def waive(
    selection: Selection = None,
    first: First = "",
    last: Last = "",
    rule: Rules = None,
    row: Rows = None,
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> int:
    """Load pending rows as they are, marked in the table's column `_waived`; holds for every later load.

    A stream or --row must be named. Rules of the contract's author can be waived, those without which a row cannot be
    loaded cannot: such rows are left out, with a note. Exit code 0 when all of the rows were loaded.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    who = quarantine_work.who(by, reason)
    choice = work.choice(selection, first, last, rules=rule, rows=row, named=True)
    return quarantine_output.print_result(work.waive(choice, who), as_json=as_json)


@quarantine.command()
def discard(
    selection: Selection = None,
    first: First = "",
    last: Last = "",
    rule: Rules = None,
    row: Rows = None,
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> int:
    """Settle pending rows as not to be loaded. A stream or --row must be named.

    They stay among the quarantined rows of their days, and count in the error budget.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    who = quarantine_work.who(by, reason)
    choice = work.choice(selection, first, last, rules=rule, rows=row, named=True)
    return quarantine_output.print_result(work.discard(choice, who), as_json=as_json)


@quarantine.command()
def reopen(
    rows: Annotated[list[str], typer.Argument(metavar="ID...", help="Rows, as `show` names them.")],
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> int:
    """Take back that rows were waived, mended or discarded, and load their days without that.

    A table that keeps the newest version of a key (Merge, Cdc) keeps the row until it gets a newer one.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    who = quarantine_work.who(by, reason)
    return quarantine_output.print_result(
        work.reopen(work.choice([], rows=rows, state="all"), who), as_json=as_json
    )


@quarantine.command("export")
def export_rows(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    first: First = "",
    last: Last = "",
    rule: Rules = None,
    row: Rows = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", metavar="FILE", help="Where to. \\[default: standard output]"),
    ] = None,
) -> int:
    """Write pending rows of a stream as CSV, to mend them by hand: one column for each raw field.

    Change cells and give the file to `import`; a cell that is left as it is keeps its landed value. Personal fields are
    masked.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened()
    return quarantine_output.write_export(
        work, work.choice([stream], first, last, rules=rule, rows=row), output
    )


@quarantine.command("import")
def import_rows(
    stream: Annotated[str, typer.Argument(help="The stream.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="CSV of `export`, with changed cells.")],
    reason: Reason = "",
    by: By = "",
    as_json: Json = False,
) -> int:
    """Load rows that were mended by hand: by transform and contract, as any other; holds for every later load.

    Lines without a change are left alone. A row that still breaks a rule stays pending and counts another attempt. A
    file with any mistake in it changes nothing. Exit code 0 when all of the rows were loaded.
    """
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    who = quarantine_work.who(by, reason)
    return quarantine_output.print_result(work.import_lines(stream, file, who), as_json=as_json)


@quarantine.command()
def purge(
    selection: Selection = None,
    older_than: Annotated[
        str, typer.Option("--older-than", metavar="AGE", help="Age, such as 90d; of the last load or move.")
    ] = "",
    pending: Annotated[
        bool, typer.Option("--pending", help="Pending rows as well, which are discarded by that.")
    ] = False,
    reason: Annotated[str, typer.Option("--reason", metavar="TEXT", help="Why; needed with --pending.")] = "",
    by: By = "",
    as_json: Json = False,
) -> int:
    """Remove the payloads of rows that were settled long ago; what became of them stays on record."""
    from etl_assets.cli import quarantine_output, quarantine_work

    work = quarantine_work.opened(quiet=as_json)
    age = quarantine_work.parse_age(older_than)
    who = quarantine_work.who(by, reason or ("" if pending else "older than " + older_than))
    choice = work.choice(selection, state="all" if pending else "settled")
    return quarantine_output.print_result(work.purge(choice, age, who), as_json=as_json)
