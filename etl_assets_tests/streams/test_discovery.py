"""Discovery is strict: every file is a stream that can be used, or an error that names the file."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from etl_assets.failures import ConfigurationError
from etl_assets.streams.discovery import StreamCatalogue, discover_streams

STREAM = """
from etl_assets.streams.base import (
    Contract, Cursor, Field, ReplacePartition, Rest, RestSource, Stream, Timestamp, WindowParameters
)

class Rows(Contract):
    at: Timestamp = Field()

STREAM = Stream(
    source=RestSource(name="{source}"),
    name="{name}",
    owner="team:x",
    extract=Rest(path="/rows", window=WindowParameters("from", "to"), paginator=Cursor()),
    contract=Rows,
    transform=lambda raw: raw,
    write=ReplacePartition(),
    window_column="at",
    business_date="at",
)
"""
Tree = Callable[[dict[str, str]], str]


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Tree]:
    """Writes a package of streams and gives its name."""
    monkeypatch.syspath_prepend(tmp_path)
    package = f"found_{tmp_path.name.replace('-', '_')}"

    def write(files: dict[str, str]) -> str:
        for name, text in ({"streams/__init__.py": "", "__init__.py": ""} | files).items():
            path = tmp_path / package / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
            (path.parent / "__init__.py").touch()
        return f"{package}.streams"

    yield write
    for name in [name for name in sys.modules if name.startswith(package)]:
        del sys.modules[name]


def stream_file(name: str, source: str = "till") -> str:
    """Write a stream file that can be used."""
    return STREAM.format(name=name, source=source)


def refused(package: str) -> str:
    """Discover, and give what is said."""
    with pytest.raises(ConfigurationError) as caught:
        discover_streams(package)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_every_file_below_a_source_is_a_stream(tree: Tree) -> None:
    package = tree(
        {
            "streams/till/source.py": "SOURCE = 1",
            "streams/till/sales.py": stream_file("sales"),
            "streams/till/returns.py": stream_file("returns"),
            "streams/web/__init__.py": "",
            "streams/web/deep/visits.py": stream_file("visits", "web"),
        }
    )
    catalogue = discover_streams(package)
    assert list(catalogue) == ["till/returns", "till/sales", "web/visits"]
    assert catalogue.files["till/sales"].name == "sales.py"
    assert len(set(catalogue.code_versions)) == 3


def test_no_file_no_stream(tree: Tree) -> None:
    assert len(discover_streams(tree({}))) == 0


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("import no_such_module", "ModuleNotFoundError: No module named 'no_such_module'"),
        ("def broken(:", "SyntaxError: "),
        ("1 / 0", "ZeroDivisionError: division by zero"),
        ("raise SystemError('two\\nlines')", "SystemError: two lines"),
        ("from etl_assets.streams.base import NoSuchWord", "ImportError: cannot import name 'NoSuchWord'"),
    ],
)
def test_file_that_does_not_import(tree: Tree, text: str, reason: str) -> None:
    said = refused(tree({"streams/till/good.py": stream_file("good"), "streams/till/sales.py": text}))
    assert said.startswith(f"streams/till/sales.py does not import: {reason}")


def test_file_without_a_stream(tree: Tree) -> None:
    said = refused(tree({"streams/till/sales.py": "STREEM = 1"}))
    assert said.startswith("streams/till/sales.py declares no STREAM (")


def test_file_whose_stream_is_something_else(tree: Tree) -> None:
    assert "sales.py declares no STREAM" in refused(tree({"streams/till/sales.py": "STREAM = 'sales'"}))


def test_name_that_is_taken(tree: Tree) -> None:
    files = {"streams/till/a.py": stream_file("sales"), "streams/till/b.py": stream_file("sales")}
    assert refused(tree(files)) == (
        "streams/till/b.py repeats stream till/sales, already in streams/till/a.py"
    )


def test_misdeclared_stream_names_its_file(tree: Tree) -> None:
    said = refused(tree({"streams/till/sales.py": stream_file("Sales")}))
    assert said.startswith("streams/till/sales.py: stream name 'Sales' must be")


@pytest.mark.parametrize(
    ("write", "reason"),
    [
        (
            'Merge(version="at")',
            "TypeError: Merge.__init__() missing 1 required keyword-only argument: 'key'",
        ),
        ('Merge(key=(), version="at")', "till/sales: merge needs a key"),
        ('Merge(key="sale", version="at")', "till/sales: key names 'sale', which its contract does not have"),
        ('Merge(key="place", version="at")', "till/sales: key column 'place' must not allow missing values"),
        (
            'Merge(key="till", version="changed")',
            "till/sales: version names 'changed', which its contract does not",
        ),
        (
            'Merge(key="till", version="place")',
            "till/sales: version column 'place' must not allow missing values",
        ),
        ('Merge(key=("till", "till"), version="at")', "till/sales: key names 'till' twice"),
        ('Merge(key="at", version="at")', "till/sales: version column 'at' is part of the key"),
    ],
)
def test_write_disposition_that_cannot_work_names_its_file(tree: Tree, write: str, reason: str) -> None:
    text = stream_file("sales").replace("ReplacePartition()", write).replace("ReplacePartition", "Merge")
    text = text.replace(
        "Field()", 'Field()\n    till: str = Field()\n    place: str = Field(missing="allow")', 1
    )
    said = refused(tree({"streams/till/sales.py": text}))
    assert said.startswith("streams/till/sales.py")
    assert reason in said


@pytest.mark.parametrize("where", ["streams/till/__init__.py", "streams/till/deep/__init__.py"])
def test_error_in_a_folder_is_no_silent_skip(tree: Tree, where: str) -> None:
    files = {"streams/till/sales.py": stream_file("sales"), where: "raise ValueError('broken folder')"}
    assert refused(tree(files)).startswith(f"{where} does not import: ValueError: broken folder")


def test_folder_that_is_no_package_is_no_silent_skip(tree: Tree) -> None:
    package = tree({"streams/till/__init__.py": "", "streams/till/deep/sales.py": stream_file("sales")})
    catalogue = discover_streams(package)
    assert list(catalogue) == ["till/sales"]
    (catalogue.files["till/sales"].parent / "__init__.py").unlink()
    assert refused(package) == (
        "streams/till/deep has no __init__.py (add an empty one, so that its streams are found)"
    )


def test_error_in_the_sources_own_file(tree: Tree) -> None:
    package = tree({"streams/till/source.py": "1 / 0"})
    sales = f"from {package}.till.source import SOURCE\n" + stream_file("sales")
    said = refused(tree({"streams/till/sales.py": sales}))
    assert said.startswith("streams/till/sales.py does not import: ZeroDivisionError")


def test_package_that_does_not_exist() -> None:
    assert refused("no_such_package").startswith("no_such_package does not import: ModuleNotFoundError")


def test_code_version_follows_the_file(tree: Tree) -> None:
    package = tree({"streams/till/sales.py": stream_file("sales")})
    catalogue = discover_streams(package)
    before = catalogue.code_versions["till/sales"]
    path = catalogue.files["till/sales"]
    path.write_text(path.read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    again = StreamCatalogue(catalogue.streams, catalogue.files)
    assert again.code_versions["till/sales"] != before
    assert catalogue.code_versions["till/sales"] == before, "read once, for the life of a process"


CATALOGUE = discover_streams()


@pytest.mark.parametrize(
    ("names", "wanted"),
    [
        (["shop/orders"], ["shop/orders"]),
        (["warehouse/shop/orders"], ["shop/orders"]),
        ([" shop/orders/ "], ["shop/orders"]),
        (["shop/orders", "shop/order_lines", "shop/orders"], ["shop/order_lines", "shop/orders"]),
    ],
)
def test_selection(names: list[str], wanted: list[str]) -> None:
    assert [stream.id for stream in CATALOGUE.select(names)] == wanted


def test_selection_of_a_source_and_of_everything() -> None:
    of_shop = [stream.id for stream in CATALOGUE.select(["shop"])]
    assert of_shop == [name for name in CATALOGUE if name.startswith("shop/")]
    assert [stream.id for stream in CATALOGUE.select([])] == list(CATALOGUE)


@pytest.mark.parametrize("name", ["shop/order", "orders", "", "shop/orders/x", "SHOP", "*"])
def test_selection_of_something_unknown(name: str) -> None:
    with pytest.raises(ConfigurationError, match=r"^unknown stream .*known: .*shop/orders"):
        CATALOGUE.select([name])


def test_every_stream_lies_where_its_id_says() -> None:
    for stream_id, path in CATALOGUE.files.items():
        assert f"{path.parent.name}/{path.stem}" == stream_id
