"""Lists of identifiers: read in order, each once; a bad one is named by its place."""

from __future__ import annotations

from pathlib import Path

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.settings import load_settings
from etl_assets.sources.identifiers import MAXIMUM_LENGTH, identifiers_of
from etl_assets.streams.base import Documents, listed_in
from etl_assets.streams.documents import Identifiers


def documents(identifiers: Identifiers) -> Documents:
    return Documents(path="/papers/{identifier}", identifiers=identifiers)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "list.txt"
    path.write_bytes(content)
    return path


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (b"a\nb\n", ["a", "b"]),
        (b"# papers\n\n a\t\r\nb # the second\n\r\n#c\na", ["a", "b"]),
        (b"\xef\xbb\xbfb\na\nb\n", ["b", "a"]),
        ("zażółć/日本\n../x\na#b\n?x=1\n".encode(), ["zażółć/日本", "../x", "a#b", "?x=1"]),
    ],
)
def test_a_file_is_read_in_order(tmp_path: Path, content: bytes, expected: list[str]) -> None:
    assert identifiers_of(documents(listed_in(written(tmp_path, content)))) == expected


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"a\n# one\nb c\n", "list.txt, line 3 holds white space or control characters"),
        (b"a\x00\n", "list.txt, line 1 holds white space or control characters"),
        ("a\u2028b\n".encode(), "list.txt, line 1 holds white space or control characters"),
        (b"a\n..\n", "list.txt, line 2 would lead to another path"),
        (b"x" * (MAXIMUM_LENGTH + 1), f"list.txt, line 1 is longer than {MAXIMUM_LENGTH} characters"),
        (b"# nothing yet\n\n", "list.txt is empty"),
        (b"\xff\xfe", "list.txt is not UTF-8"),
    ],
)
def test_a_bad_line_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    with pytest.raises(ConfigurationError) as caught:
        identifiers_of(documents(listed_in(written(tmp_path, content))))
    assert words in str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"none\.txt cannot be read: No such file"):
        identifiers_of(documents(listed_in(tmp_path / "none.txt")))


def test_a_setting_names_another_file(tmp_path: Path) -> None:
    path = written(tmp_path, b"other\n")
    variables = {"ETL_LIBRARY_URL": "http://127.0.0.1:1", "ETL_LIBRARY_IDENTIFIERS": str(path)}
    found = load_settings(variables).source("library").identifiers
    assert found == path
    assert identifiers_of(documents(listed_in("none.txt")), found) == ["other"]
    assert identifiers_of(documents(("mine",)), found) == ["mine"]
    assert load_settings({"ETL_LIBRARY_URL": "http://h"}).source("library").identifiers is None


def test_identifiers_from_code() -> None:
    assert identifiers_of(documents(("b", "a", "b"))) == ["b", "a"]
    assert identifiers_of(documents(lambda: (str(number) for number in range(3)))) == ["0", "1", "2"]
    with pytest.raises(ConfigurationError, match=r"'/papers/\{identifier\}': identifier 2 is no text"):
        identifiers_of(documents(("a", "")))
