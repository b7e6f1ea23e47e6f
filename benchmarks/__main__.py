"""`python -m benchmarks`: measures the main job on this machine.

What belongs here: its options and the order of its work. What does not: cases and measuring.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from benchmarks.bench import TABLE_ROWS, Bench, Result
from benchmarks.cases import CASES, ONLY_BY_NAME
from benchmarks.measure import BenchmarkError
from benchmarks.peers.environment import ENVIRONMENT, HOW_TO_GET_THEM, Peers, find_peers
from benchmarks.readme import with_figures
from benchmarks.report import as_markdown, describe_setting, write_results
from benchmarks.workload import ROOT, compile_byte_code, find_days
from etl_assets.failures import EtlError
from etl_assets.observability.logging import configure_logging

RESULTS = Path(__file__).parent / "results"
README = ROOT / "README.md"


def main(
    quick: Annotated[
        bool, typer.Option("--quick", help="A month instead of a year, one run each; writes quick.*.")
    ] = False,
    case: Annotated[
        list[str] | None,
        typer.Option(metavar="NAME", help=f"Only this case; may be repeated: {', '.join(CASES)}."),
    ] = None,
    runs: Annotated[int, typer.Option(min=1, help="Runs of each thing; the median counts.")] = 3,
    table_rows: Annotated[
        list[int] | None,
        typer.Option(
            min=10_000,
            help="Rows of a table of the case large-tables; may be repeated. [default: 1, 10 and 100 million]",
        ),
    ] = None,
    peers: Annotated[Path, typer.Option(help="Virtual environment of what is compared with.")] = ENVIRONMENT,
    into_readme: Annotated[
        bool, typer.Option("--readme", help="Take the figures of all cases over into the README as well.")
    ] = False,
    results: Annotated[Path, typer.Option(help="Folder for the results, as JSON and Markdown.")] = RESULTS,
) -> None:
    """Measure the main job.

    Results of all cases are written down, and those of large-tables by itself; those of other single ones only shown.
    """
    unknown = sorted(set(case or []) - set(CASES))
    if unknown:
        raise typer.BadParameter(f"unknown case {', '.join(unknown)}; known: {', '.join(CASES)}")
    configure_logging("console", "ERROR")
    found_peers = peers_or_note(peers)
    compile_byte_code(
        Path(sys.executable), ROOT / "etl_assets", ROOT / "benchmarks", Path(sys.prefix) / "lib"
    )
    with tempfile.TemporaryDirectory(prefix="etl_assets_bench_") as scratch:
        bench = Bench(
            days=find_days(Path(scratch), quick=quick),
            scratch=Path(scratch),
            runs=1 if quick else runs,
            quick=quick,
            peers=found_peers,
            table_rows=tuple(table_rows or TABLE_ROWS),
        )
        setting = describe_setting(bench.days, bench.runs, found_peers, is_quick=quick)
        found: list[Result] = []
        for name in case or [name for name in CASES if name not in ONLY_BY_NAME]:
            typer.echo(f"{name} ...", err=True)
            try:
                found += CASES[name](bench)
            except (BenchmarkError, EtlError) as error:
                typer.echo(f"error: case {name}: {error}", err=True)
                sys.exit(1)
    typer.echo(as_markdown(setting, found))
    if name_of := page_of(case or [], quick=quick):
        for path in write_results(results, name_of, setting, found):
            typer.echo(f"written: {path}", err=True)
        if into_readme and name_of == "latest":
            README.write_text(with_figures(README.read_text(encoding="utf-8"), found), encoding="utf-8")
            typer.echo(f"written: {README}", err=True)


def peers_or_note(folder: Path) -> Peers | None:
    """Find what is compared with, or say how to get it; ends with an error where it cannot be used.

    Args:
        folder: Its virtual environment.
    """
    try:
        found = find_peers(folder)
    except BenchmarkError as error:
        typer.echo(f"error: {error}", err=True)
        sys.exit(1)
    if found is None:
        typer.echo(f"note: {HOW_TO_GET_THEM}", err=True)
    return found


def page_of(cases: list[str], *, quick: bool) -> str:
    """Name the page that results go to: one for all cases, and one for each that is only measured when asked for."""
    if not cases:
        return "quick" if quick else "latest"
    (first, *others) = cases
    return first.replace("-", "_") if first in ONLY_BY_NAME and not others and not quick else ""


if __name__ == "__main__":
    typer.run(main)
