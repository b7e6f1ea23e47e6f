"""Importing much at once.

What belongs here: keeping Python from looking for garbage meanwhile, and memory small. What does not: what is imported.
"""

from __future__ import annotations

import ctypes
import gc
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress

_ARENA_MAX = -8
"""Name of that option to glibc's `mallopt`."""

SHARED_HEAPS = 2


@contextmanager
def importing() -> Iterator[None]:
    """Import, and build what stays, without looking for garbage; and never look through it later.

    Nearly everything that importing makes is there to stay. Python looks through all of it for garbage whenever there
    is a quarter more of it, which takes a sixth of the time of importing pandas and Dagster; and through all of it
    again, whenever a load has made as much. What is there at the end of the block is left out of that for good.
    """
    if not gc.isenabled():
        yield
        return
    _share_heaps()
    known = len(sys.modules)
    gc.disable()
    try:
        yield
    finally:
        # What was left over by other work would stay for good as well: not where nothing was imported after all.
        if len(sys.modules) > known:
            gc.freeze()
        gc.enable()


def _share_heaps() -> None:
    """Let threads share heaps: glibc makes up to eight for each core, and what was once used there stays in them."""
    if "MALLOC_ARENA_MAX" not in os.environ:
        # Another C library has no such option, and no such heaps.
        with suppress(OSError, AttributeError):
            ctypes.CDLL(None).mallopt(_ARENA_MAX, SHARED_HEAPS)
