"""Made-up personal data of customers, a fixed function of the customer's id.

What belongs here: names, addresses and numbers that belong to nobody. What does not: which customers there
are. Addresses are under example.com; numbers are from the range that the British regulator reserves for
fiction.
"""

from __future__ import annotations

import zlib


def words(text: str, separator: str | None = None) -> tuple[str, ...]:
    """Split a text that lists words."""
    return tuple(text.split(separator))


FIRST_NAMES = words(
    "Ada Alan Amir Anna Ben Beth Carla Chen Dora Elif Emil Fatima Femi Grace Hana Hugo Ines Ivan Jade Jonas "
    "Kofi Lena Liam Mara Mina Nadia Noor Olga Omar Priya Rosa Sami Sara Tariq Tess Uma Vera Wei Yara Zoe"
)
LAST_NAMES = words(
    "Adams Ahmed Baker Becker Castro Cohen Costa Davies Dubois Evans Fischer Garcia Green Haddad Ito Jansen "
    "Jones Khan Kowalski Larsen Lopez Martin Meyer Moreau Novak Okafor Olsen Patel Pereira Quinn Rossi Sato "
    "Schmidt Silva Singh Smith Tanaka Weber Wilson Young"
)


def contact(customer_id: str, revision: int = 0) -> dict[str, str]:
    """Name, e-mail address and telephone number of a customer.

    Args:
        customer_id: Any text.
        revision: How often the customer has moved to a new e-mail address so far.
    """
    number = zlib.crc32(customer_id.encode())
    first = FIRST_NAMES[number % len(FIRST_NAMES)]
    last = LAST_NAMES[number // len(FIRST_NAMES) % len(LAST_NAMES)]
    mailbox = f"{first}.{last}.{customer_id}".lower().replace(" ", "_")
    suffix = f"+{revision}" if revision else ""
    return {
        "name": f"{first} {last}",
        "email": f"{mailbox}{suffix}@example.com",
        "phone": f"+44 7700 900{number % 1000:03d}",
    }
