"""A folder of files behind an fsspec address: what is there, and the bytes of one file.

What belongs here: looking and opening, and what goes wrong with that. What does not: when a file may be read
(`etl_assets.sources.files`), and formats.
"""

from __future__ import annotations

import glob
import os
import posixpath
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from typing import Any, BinaryIO, cast

import fsspec
from fsspec import AbstractFileSystem
from fsspec.implementations.local import LocalFileSystem
from fsspec.utils import get_protocol

from etl_assets.failures import ConfigurationError, FailureClass, SourceError


@dataclass(frozen=True, slots=True)
class FoundFile:
    """A file as it was when it was looked at.

    Attributes:
        path: Its whole path, as the file system knows it.
        name: Its path below the folder, for people.
        size: Bytes.
        modified_at: When it was last written to, in UTC, where the file system says so.
    """

    path: str
    name: str
    size: int
    modified_at: datetime | None


class Folder:
    """The folder that a source's address names.

    Args:
        source: Name of the source.
        address: A path, or an address of fsspec. It may hold a password and is never shown.
        variable: The environment variable that it comes from.

    Raises:
        ConfigurationError: If the address cannot be used.
    """

    def __init__(self, source: str, address: str, variable: str) -> None:
        self._source = source
        self._variable = variable
        self._address = address
        try:
            # Some file systems connect as soon as they are made, which is left to the first look: a host that cannot be
            # reached is a failure that may pass, not a wrong address.
            self._is_local = issubclass(_kind_of(address), LocalFileSystem)
        except ImportError as error:
            raise ConfigurationError(
                f"{variable} is an address that needs a further package: {_needed(error)}",
                hint="for s3://, gs:// and sftp:// install 'etl_assets[s3]', '[gs]' or '[sftp]'",
            ) from error
        except ValueError as error:
            raise ConfigurationError(
                f"{variable} is not the address of a folder", hint="example: /srv/drops or s3://bucket/drops"
            ) from error

    @property
    def _files(self) -> Any:
        return self._opened[0]

    @property
    def _root(self) -> str:
        return self._opened[1]

    @cached_property
    def _opened(self) -> tuple[Any, str]:
        """The file system, and the folder in it."""
        try:
            files, root = fsspec.core.url_to_fs(self._address)
        except (
            Exception
        ) as error:  # every file system has errors of its own kind, and they may quote the address
            raise SourceError(
                f"{self._source} cannot be reached: {getattr(error, 'strerror', None) or type(error).__name__}",
                source=self._source,
                affects_all=True,
                hint=f"check {self._variable}",
            ) from None
        return files, str(root).rstrip("/")

    @property
    def address(self) -> str:
        """Path of the folder, without host and password."""
        return self._root

    def find(self, path: str) -> list[FoundFile]:
        """Find the files that a path stands for, in order of name.

        Args:
            path: Path below the folder; may hold `*` and `?`.

        Raises:
            SourceError: If the folder cannot be looked into.
        """
        with self._reading(path):
            self._files.invalidate_cache()
            if self._is_local and not os.path.isdir(self._root or "/"):
                raise self._folder_missing()
            if any(sign in path for sign in "*?["):
                names = sorted(str(name) for name in self._files.glob(f"{glob.escape(self._root)}/{path}"))
            else:
                names = [f"{self._root}/{path}"]
            return [found for name in names if (found := self._look(name)) is not None]

    def look_again(self, file: FoundFile) -> FoundFile | None:
        """Give a file as it is now; None if it is gone.

        Raises:
            SourceError: If it cannot be looked at.
        """
        with self._reading(file.name):
            self._files.invalidate_cache()
            return self._look(file.path)

    @contextmanager
    def open(self, file: FoundFile) -> Iterator[BinaryIO]:
        """Open a file for reading.

        Raises:
            SourceError: If it cannot be opened, or a symbolic link leads out of the folder.
        """
        self._check_inside(file)
        with self._reading(file.name):
            opened = self._files.open(file.path, "rb")
        try:
            yield cast(BinaryIO, _Reads(opened, self, file.name))
        finally:
            opened.close()

    def failure(self, name: str, error: Exception) -> SourceError:
        """Say what an exception of the file system means."""
        if isinstance(error, PermissionError):
            return SourceError(
                f"{self._source}: {name} may not be read",
                source=self._source,
                failure_class=FailureClass.PERMANENT,
                hint="check its permissions, and those of the folder",
            )
        reason = getattr(error, "strerror", None) or type(error).__name__
        return SourceError(
            f"{self._source}: {name} cannot be read: {reason}",
            source=self._source,
            hint=f"check {self._variable}",
        )

    def _look(self, path: str) -> FoundFile | None:
        try:
            info = self._files.info(path)
        except FileNotFoundError:
            return None
        if info.get("type") != "file":
            return None
        return FoundFile(path, self._name(path), int(info.get("size") or 0), self._modified_at(path, info))

    def _modified_at(self, path: str, info: dict[str, Any]) -> datetime | None:
        moment = info.get("mtime")
        if isinstance(moment, int | float):
            return datetime.fromtimestamp(moment, UTC)
        if not isinstance(moment, datetime):
            try:
                moment = self._files.modified(path)
            except (NotImplementedError, KeyError, AttributeError):
                return None
        if not isinstance(moment, datetime):
            return None
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)

    def _name(self, path: str) -> str:
        return posixpath.relpath(path, self._root or "/")

    def _check_inside(self, file: FoundFile) -> None:
        if not self._is_local:
            return
        root, target = os.path.realpath(self._root or "/"), os.path.realpath(file.path)
        if os.path.commonpath([root, target]) != root:
            raise SourceError(
                f"{self._source}: {file.name} is a link that leads out of the folder",
                source=self._source,
                failure_class=FailureClass.PERMANENT,
                hint="put the file itself into the folder",
            )

    def _folder_missing(self) -> SourceError:
        return SourceError(
            f"{self._source} cannot be reached: its folder is not there",
            source=self._source,
            affects_all=True,
            hint=f"is it mounted? check {self._variable}",
        )

    @contextmanager
    def _reading(self, name: str) -> Iterator[None]:
        try:
            yield
        except SourceError:
            raise
        except Exception as error:  # every file system has errors of its own kind
            raise self.failure(name, error) from error


class _Reads:
    """A file whose read errors are told from those of what is made of its bytes."""

    def __init__(self, file: Any, folder: Folder, name: str) -> None:
        self._file = file
        self._folder = folder
        self._name = name
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        try:
            return bytes(self._file.read(size))
        except Exception as error:
            raise self._folder.failure(self._name, error) from error

    def readable(self) -> bool:
        return True


def _kind_of(address: str) -> type[AbstractFileSystem]:
    """Give the file system that an address is of; of a chain such as `simplecache::s3://bucket`, the outermost."""
    kind: type[AbstractFileSystem] = fsspec.get_filesystem_class(get_protocol(address))
    return kind


def _needed(error: ImportError) -> str:
    return error.name or " ".join(str(error).split())[:80]
