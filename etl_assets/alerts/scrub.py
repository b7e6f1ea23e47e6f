"""Taking out of a text what no message may hold: secrets, and values that may be somebody's data.

What belongs here: the last look at every text that leaves. What does not: personal data in tables (`quality.personal`).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from urllib.parse import quote, quote_plus, urlsplit

LONGEST_LINE = 300
_ADDRESS = re.compile(r"[\w.+%-]+@[\w-]+(\.[\w-]+)+")
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]+@")
_QUOTED = re.compile(r"""(["'])(?:(?!\1).)*\1""", re.DOTALL)
_SECRET_ENDS = (
    "_TOKEN",
    "_PASSWORD",
    "_SECRET",
    "_KEY",
    "_WEBHOOK_URL",
    "_SMTP_URL",
    "_APPRISE_URL",
    "_CLIENT_ID",
    "_USER",
)
_SHORTEST_SECRET = 5


def secrets_in(environment: Mapping[str, str], more: Iterable[str] = ()) -> frozenset[str]:
    """Give every value of the environment that may not be shown, passwords within addresses included.

    Args:
        environment: The variables.
        more: Names of further variables that hold a secret.
    """
    named = frozenset(more)
    found: set[str] = set()
    for name, value in environment.items():
        if not name.startswith("ETL_") and name not in named:
            continue
        if name in named or name.endswith(_SECRET_ENDS):
            found.add(value.strip())
        found.update(_within(value))
    spelled = {
        way(secret) for secret in found for way in (str, quote_plus, lambda text: quote(text, safe=""))
    }
    return frozenset(secret for secret in spelled if len(secret) >= _SHORTEST_SECRET)


def _within(value: str) -> Iterable[str]:
    try:
        parts = urlsplit(value.strip())
        return [parts.password] if parts.password else []
    except ValueError:
        return []


def first_line(text: str, secrets: Iterable[str] = (), *, foreign: bool = False) -> str:
    """Give the first line of a text, without secrets, credentials in addresses, and e-mail addresses.

    Args:
        text: Any text.
        secrets: What may not be shown.
        foreign: Whether it comes from code that is not ours, which may quote values of rows: what stands in quotes is
            left out.
    """
    lines = [line for line in text.strip().splitlines() if line.strip()]
    line = " ".join(lines[0].split()) if lines else ""
    for secret in secrets:
        line = line.replace(secret, "***")
    line = _CREDENTIALS.sub("***@", line)
    line = _ADDRESS.sub("***@***", line)
    if foreign:
        line = _QUOTED.sub("'...'", line)
    return line if len(line) <= LONGEST_LINE else line[: LONGEST_LINE - 1] + "…"
