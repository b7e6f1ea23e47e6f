"""How names are spelled: of sources, streams, tables and columns.

What belongs here: the one pattern. What does not: quoting names in SQL (`etl_assets.warehouse.identifiers`).
"""

from __future__ import annotations

import re

IDENTIFIER = re.compile(r"^[a-z][a-z0-9_]{0,62}$")
