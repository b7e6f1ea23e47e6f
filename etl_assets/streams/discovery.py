"""Finding the streams: every module below a folder of sources, strictly.

A file that does not import, has no STREAM or repeats an identifier is an error that names the file, never a silent
skip. `source.py` (the source's own declaration) and `__init__.py` declare no stream, and neither does the vocabulary
that lies beside the sources' folders.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.util
import inspect
import pkgutil
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import ModuleType

from etl_assets.failures import ConfigurationError
from etl_assets.importing import importing
from etl_assets.streams.base import Documents, Stream
from etl_assets.streams.selection import selected_ids

DEFAULT_PACKAGE = "etl_assets.streams"
NOT_A_STREAM = frozenset({"source"})


@dataclass(frozen=True)
class StreamCatalogue(Mapping[str, Stream]):
    """The discovered streams by identifier, in order."""

    streams: dict[str, Stream]
    files: dict[str, Path]

    def __getitem__(self, stream_id: str) -> Stream:
        return self.streams[stream_id]

    def __iter__(self) -> Iterator[str]:
        return iter(self.streams)

    def __len__(self) -> int:
        return len(self.streams)

    @cached_property
    def code_versions(self) -> dict[str, str]:
        """A short hash of each stream's file and its parsers: changes when their author changed anything."""
        return {name: _version(self.files[name], stream) for name, stream in self.streams.items()}

    def select(self, names: list[str] | tuple[str, ...]) -> list[Stream]:
        """Pick streams by identifier, or by source name for all of a source; all of them when none is named.

        Raises:
            ConfigurationError: If a name fits no stream; lists those that exist.
        """
        return [self.streams[stream_id] for stream_id in selected_ids(self.streams, names)]


def discover_streams(package: str = DEFAULT_PACKAGE) -> StreamCatalogue:
    """Import every stream file below a package.

    Args:
        package: Dotted name of a package whose sub-packages are sources and whose modules are streams.

    Raises:
        ConfigurationError: Names the file and the reason, for the first file that cannot be used.
    """
    with importing():
        from etl_assets.streams.audit_columns import check_references

        modules = [_import(name) for name in _stream_modules(package)]
    streams: dict[str, Stream] = {}
    files: dict[str, Path] = {}
    for module in modules:
        path = Path(module.__file__ or module.__name__)
        stream = getattr(module, "STREAM", None)
        if stream is None and _is_vocabulary(module):
            continue
        if not isinstance(stream, Stream):
            raise ConfigurationError(
                f"{_short(path)} declares no STREAM", hint="assign a Stream to STREAM, or move it"
            )
        if stream.id in streams:
            raise ConfigurationError(
                f"{_short(path)} repeats stream {stream.id}, already in {_short(files[stream.id])}"
            )
        streams[stream.id] = stream
        files[stream.id] = path
    check_references(streams)
    _check_tables(streams, files)
    return StreamCatalogue(streams, files)


def _check_tables(streams: dict[str, Stream], files: dict[str, Path]) -> None:
    """Refuse a child table that has the name of a stream's own table."""
    for stream in streams.values():
        for child in stream.children:
            if (other := f"{stream.id}_{child.name}") in streams:
                raise ConfigurationError(
                    f"{_short(files[stream.id])}: child table {child.name!r} has the name of stream {other}"
                )


def _version(file: Path, stream: Stream) -> str:
    digest = hashlib.sha256(file.read_bytes())
    for other in sorted(_parser_files(stream) - {file}):
        digest.update(other.read_bytes())
    return digest.hexdigest()[:12]


def _parser_files(stream: Stream) -> set[Path]:
    """Give the files of a stream's parsers: with the file of each, those beside it that it may rely on."""
    files: set[Path] = set()
    for form in stream.extract.formats if isinstance(stream.extract, Documents) else ():
        module = inspect.getmodule(form.parse) if form.parse is not None else None
        if module is None or module.__file__ is None:
            continue
        home = Path(module.__file__)
        # Beside a stream's own file lie other streams, which are none of its business.
        files |= {home} if stream.source.name == home.parent.name else set(home.parent.glob("*.py"))
    return files


def _stream_modules(package: str) -> list[str]:
    root = _import(package)
    names = []
    for found in pkgutil.walk_packages(root.__path__, prefix=f"{package}.", onerror=_raise_import):
        if not (found.ispkg or found.name.rpartition(".")[2] in NOT_A_STREAM):
            names.append(found.name)
    for folder in root.__path__:
        _check_folders(Path(folder))
    return sorted(names)


def _check_folders(root: Path) -> None:
    """Refuse a folder of Python files that is no package: walking packages passes it over without a word."""
    for file in sorted(root.rglob("*.py")):
        for folder in file.relative_to(root).parents:
            if not (root / folder / "__init__.py").exists():
                raise ConfigurationError(
                    f"{_short(root / folder)} has no __init__.py",
                    hint="add an empty one, so that its streams are found",
                )


def _is_vocabulary(module: ModuleType) -> bool:
    """Whether a module beside the sources' folders holds nothing that a stream file would."""
    from etl_assets.streams.contract import Contract

    if module.__name__.rpartition(".")[0] != DEFAULT_PACKAGE:
        return False
    return not any(
        isinstance(value, Stream)
        or (isinstance(value, type) and issubclass(value, Contract) and value is not Contract)
        for value in vars(module).values()
    )


def _raise_import(name: str) -> None:
    _import(name)


def _import(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ConfigurationError as error:
        raise ConfigurationError(f"{_location(name)}: {error.message}", hint=error.hint) from error
    except Exception as error:
        reason = " ".join(str(error).split())
        raise ConfigurationError(
            f"{_location(name)} does not import: {type(error).__name__}: {reason}"
        ) from error


def _location(name: str) -> str:
    try:
        spec = importlib.util.find_spec(name)
    except Exception:  # the parent may be the one that is broken; its name is worth giving
        spec = None
    return _short(Path(spec.origin)) if spec and spec.origin else name


def _short(path: Path) -> str:
    parts = path.parts
    return "/".join(parts[parts.index("streams") :]) if "streams" in parts else path.name
