"""How the text of a setting is read: numbers, seconds, addresses.

What belongs here: readers that raise a `ValueError` which says what the text must be. What does not: which setting is
read how (`settings`).
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from urllib.parse import urlsplit

LOOPBACK_HOSTS = frozenset({"127.0.0.1", "localhost", "::1"})

_MEMORY = re.compile(r"^\d+(\.\d+)?\s*([KMGT]i?)?B$", re.IGNORECASE)


def positive(text: str) -> int:
    """Read a whole number from 1 on."""
    return _whole_number(text, 1, 1_000_000)


def count(text: str) -> int:
    """Read a whole number from 0 to 20."""
    return _whole_number(text, 0, 20)


def processes(text: str) -> int:
    """Read a whole number from 0 to 64; nothing stands for one less than there are cores, four at most."""
    return _whole_number(text, 0, 64) if text else min((os.cpu_count() or 1) - 1, 4)


def _whole_number(text: str, least: int, most: int) -> int:
    if not (text.isascii() and text.isdigit() and least <= int(text) <= most):
        raise ValueError(f"must be a whole number from {least} to {most}")
    return int(text)


def seconds(text: str) -> float:
    """Read a number of seconds, less than a day."""
    return _number(
        text, "must be a number of seconds above 0 and below 86400", lambda number: 0 < number < 86_400
    )


def rate(text: str) -> float:
    """Read a number of requests a second."""
    return _number(
        text,
        "must be a number of requests a second from 0.001 to 100000",
        lambda number: 0.001 <= number <= 100_000,
    )


def _number(text: str, problem: str, is_allowed: Callable[[float], bool]) -> float:
    try:
        number = float(text)
    except ValueError:
        raise ValueError(problem) from None
    if not is_allowed(number):
        raise ValueError(problem)
    return number


def log_format(text: str) -> str:
    """Read how log lines look."""
    if text not in ("console", "json"):
        raise ValueError("must be console or json")
    return text


def memory_limit(text: str) -> str:
    """Read an amount of memory, as DuckDB spells it."""
    if not _MEMORY.match(text):
        raise ValueError("must look like 1GB or 512MiB")
    return text


def is_http_on_loopback(url: str) -> bool:
    """Whether a text is the HTTP address of this very machine."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and parts.hostname in LOOPBACK_HOSTS
    except ValueError:
        return False


def http_address(text: str) -> str:
    """Read an HTTP address; gives it without user, password and trailing slash, as people may see it."""
    problem = "must be an address that begins with http:// or https://"
    try:
        parts = urlsplit(text)
    except ValueError:
        raise ValueError(problem) from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError(problem)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl().rstrip("/")


def log_level(text: str) -> str:
    """Read a level of logging."""
    if text.upper() not in ("DEBUG", "INFO", "WARNING", "ERROR"):
        raise ValueError("must be DEBUG, INFO, WARNING or ERROR")
    return text.upper()
