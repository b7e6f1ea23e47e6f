"""Whether a day's files are still those that were read, by what can be seen without opening them.

What belongs here: comparing what a folder shows with what was landed. What does not: looking into the folder
(`etl_assets.sources.folders`).
"""

from __future__ import annotations

from collections.abc import Sequence

from etl_assets.sources.comparison import Comparison, Held, Match
from etl_assets.sources.compression import compression_of
from etl_assets.sources.folders import FoundFile
from etl_assets.streams.base import Files


def compare_files(found: Sequence[FoundFile], files: Files, held: Held) -> Comparison:
    """Compare the files of a day with what was landed of it.

    Args:
        found: The files, of which there is at least one.
        files: How they are read.
        held: What is here of the day. Each landed file ends with an empty page.
    """
    sizes = held.page_bytes
    if sizes is not None:
        landed = sum(size == 0 for size in sizes)
        if landed != len(found):
            return _drifted(f"{_files(len(found))} instead of {landed:,}")
        packed = any(compression_of(file.name, files.compression) != "none" for file in found)
        size = sum(file.size for file in found)
        if not packed and size != sum(sizes):
            return _drifted(f"{size:,} bytes instead of {sum(sizes):,}")
    changed = [file for file in found if file.modified_at is not None and file.modified_at >= held.read_at]
    if changed:
        return _drifted(f"{_files(len(changed))} written to since")
    if sizes is None and any(file.modified_at is None for file in found):
        return Comparison.unknown("neither the folder nor landing tells anything of its files")
    return Comparison(Match.EQUAL)


def _drifted(reason: str) -> Comparison:
    return Comparison(Match.DRIFTED, reason=reason)


def _files(number: int) -> str:
    return "1 file" if number == 1 else f"{number:,} files"
