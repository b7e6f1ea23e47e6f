"""Taking personal data away: hashed, masked or dropped, after the rules have seen it and before anything is written.

What belongs here: what becomes of a value, in the columns of good rows and in the payloads of quarantined ones. What
does not: where the key comes from (`etl_assets.pipeline.pseudonyms`), and how values are shown
(`etl_assets.quality.preview`).
"""

from __future__ import annotations

import hashlib
import hmac
import re
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

from etl_assets.failures import ConfigurationError
from etl_assets.quality.preview import MASK
from etl_assets.quality.rules import CompiledContract
from etl_assets.settings import Secret
from etl_assets.streams import parse
from etl_assets.streams.contract import Personal

_KEY_ID_OF = b"etl-assets key id"
_KEY_ID_DIGITS = 8
_SHORTEST_WITH_HINT = 3
_EMAIL = re.compile(r"([^@\s]+)@[^@\s]+")
_FIELD_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,62}", re.ASCII)
_STRICTEST_LAST = (Personal.HASH, Personal.MASK, Personal.DROP)


class Pseudonymiser:
    """Takes the personal data of one stream away.

    Args:
        contract: The stream's compiled contract; its fields' tags say what becomes of them.
        key: What hashes are made with; needed if any column is hashed.
        lists: What takes the personal data of lists within records away, by the lists' fields.

    Raises:
        ConfigurationError: If a column is to be hashed and there is no key.
    """

    def __init__(
        self,
        contract: CompiledContract,
        key: Secret | None,
        lists: Mapping[str, Pseudonymiser] | None = None,
    ) -> None:
        self._key = key.get_secret_value().encode() if key is not None else b""
        self._columns: dict[str, Personal] = {}
        self._fields: dict[str, Personal] = {}
        self._known = frozenset(contract.raw_fields)
        for kind in _STRICTEST_LAST:
            tagged = [column for column in contract.columns if column.notes.personal is kind]
            self._columns |= {column.name: kind for column in tagged}
            self._fields |= {column.raw_field: kind for column in tagged}
        hashes = Personal.HASH in self._columns.values()
        if hashes and not self._key:
            raise ConfigurationError("personal columns cannot be hashed without a key")
        self._contract_version = f"{contract.version}-{self._key_id()}" if hashes else contract.version
        self.lists = dict(lists or {})
        if self.lists:
            versions = {name: one.contract_version for name, one in sorted(self.lists.items())}
            described = f"{self._contract_version} {versions}"
            self._contract_version = hashlib.sha256(described.encode()).hexdigest()[:12]

    @property
    def contract_version(self) -> str:
        """Version of the contract and, where it hashes, of the key: with another one, all is staged anew."""
        return self._contract_version

    @property
    def alters(self) -> bool:
        """Whether anything of a record, or of a list in it, is taken away."""
        return bool(self._columns) or any(one.alters for one in self.lists.values())

    def rows(self, table: pa.Table) -> pa.Table:
        """Take personal data out of good rows.

        Args:
            table: Rows in the contract's schema.

        Returns:
            The same rows and schema, with each tagged column hashed, masked or empty. Missing values stay missing.
        """
        for name, kind in self._columns.items():
            place = table.schema.get_field_index(name)
            table = table.set_column(
                place, table.schema.field(place), self._column(kind, table.column(place))
            )
        return table

    def payload(self, record: Any) -> Any:
        """Take personal data out of a raw record that goes to the quarantine.

        The fields behind tagged columns are treated as their columns are; blank ones stay. Where there is any such
        field, only plain values of the contract's other fields stay: whatever the contract does not know may be a
        personal field under another name, and is masked whole.
        """
        if not self.alters:
            return record
        if not isinstance(record, dict):
            return _unknown(record)
        return {
            self._name(name, place): self._field(name, value)
            for place, (name, value) in enumerate(record.items())
        }

    def _column(self, kind: Personal, column: pa.ChunkedArray) -> pa.Array:
        if kind is Personal.DROP:
            return pa.nulls(len(column), column.type)
        encoded = column.combine_chunks().dictionary_encode()
        become = self._becomes(kind)
        # Each distinct value once; a missing one has no place in the dictionary and stays missing.
        values = [become(value) for value in encoded.dictionary.to_pylist()]
        return pa.array(values, column.type).take(encoded.indices)

    def _becomes(self, kind: Personal) -> Callable[[str], str]:
        return self._hash if kind is Personal.HASH else masked

    def _hash(self, text: str) -> str:
        return hmac.digest(self._key, text.encode(), "sha256").hex()

    def _key_id(self) -> str:
        return hmac.digest(self._key, _KEY_ID_OF, "sha256").hex()[:_KEY_ID_DIGITS]

    def _name(self, name: str, place: int) -> str:
        # Where a header is missing or has slipped, values stand in the place of names.
        return name if name in self._known or _FIELD_NAME.fullmatch(name) else f"{MASK}{place}"

    def _field(self, name: str, value: Any) -> Any:
        kind = self._fields.get(name)
        if kind is None and name in self.lists and isinstance(value, list):
            return [self.lists[name].payload(one) for one in value]
        if kind is None:
            is_plain = not isinstance(value, dict | list)
            return value if name in self._known and is_plain else _unknown(value)
        if value is None or kind is Personal.DROP:
            return None
        # As a transform would read it, so that hash and column agree unless the transform does more than trim.
        text = parse.spell(value)
        if text is None:
            return MASK
        return self._becomes(kind)(text.strip()) if text.strip() else value


def masked(text: str) -> str:
    """Shorten a text beyond recovery; how long it was cannot be seen.

    Returns:
        Its first character, if that is a letter or a digit, and `***`; of an e-mail address `a***@***`. Of what has
        less than three characters, before the @ if it is an address, not even the first one is shown.
    """
    address = _EMAIL.fullmatch(text)
    hinted = address[1] if address else text
    hint = hinted[0] if len(hinted) >= _SHORTEST_WITH_HINT and hinted[0].isalnum() else ""
    return f"{hint}{MASK}@{MASK}" if address else f"{hint}{MASK}"


def _unknown(value: Any) -> Any:
    """Give what may be kept of a value that the contract does not know: whether it is there, and a yes or no."""
    return value if value is None or isinstance(value, bool) else MASK
