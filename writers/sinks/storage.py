"""Object storage or a file system elsewhere, by fsspec: ``s3://`` and whatever else has a package for it.

The target gets the layout of the inventory folder: each file, then its manifest, and ``head.json`` after an inventory
that is whole. A file without its manifest is on its way. Readers find all of a tree by ``head.json``.
"""

from __future__ import annotations

from pathlib import PurePosixPath
from typing import Any, Final

import fsspec
import orjson

from writers.files import HEAD
from writers.policy import SinkPolicy
from writers.sinks.sink import Parcel, SinkRefused, SinkUnreachable

# Elsewhere there are none to be made, and asking for one would make the bucket.
_WITH_FOLDERS: Final = ("file", "local", "ftp", "sftp", "ssh", "smb", "hdfs", "webhdfs")
_REFUSALS: Final = (FileNotFoundError, PermissionError, FileExistsError, IsADirectoryError, NotADirectoryError)


class StorageSink:
    """Copies files below the URL, in a folder for each repository."""

    def __init__(self, policy: SinkPolicy) -> None:
        self._where = f"sinks.{policy.name}: {policy.url}"
        try:
            # A listing that is kept would tell of files that are gone.
            options = {"use_listings_cache": False, "skip_instance_cache": True} | dict(policy.storage_options)
            self._files, self._root = fsspec.core.url_to_fs(policy.url, **options)
            self._has_folders = policy.scheme in _WITH_FOLDERS
        except ImportError as error:
            raise SinkRefused(f"{self._where}: {error}; for s3:// install stocktake[s3]") from error
        except (ValueError, TypeError) as error:
            raise SinkRefused(f"{self._where}: cannot be used: {error}") from error

    def deliver(self, parcel: Parcel) -> None:
        """See :class:`writers.sinks.sink.Sink`."""
        try:
            self._deliver(parcel)
        except _REFUSALS as error:
            raise SinkRefused(
                f"{self._where}: {_why(error)}; does the target exist, and may we write there?"
            ) from error
        except SinkUnreachable:
            raise
        except Exception as error:  # each kind of storage has exceptions of its own, which nothing names
            raise SinkUnreachable(f"{self._where}: {_why(error)}") from error

    def _deliver(self, parcel: Parcel) -> None:
        manifest = parcel.manifest
        folder = PurePosixPath(self._root, manifest.repository)
        file, beside = (str(folder / name) for name in (manifest.file, _beside(manifest.file)))
        text = orjson.dumps(manifest.to_json(), option=orjson.OPT_INDENT_2)
        if self._read(beside) != text or self._size(file) != manifest.bytes:
            if self._has_folders:
                self._files.makedirs(str(PurePosixPath(file).parent), exist_ok=True)
            self._files.put_file(str(parcel.path), file)
            if (size := self._size(file)) != manifest.bytes:
                raise SinkUnreachable(f"{self._where}: {manifest.file} has {size} bytes there, not {manifest.bytes}")
            self._files.pipe_file(beside, text)
        if not parcel.is_part:
            self._move_head(str(folder / HEAD), manifest.sequence, text)

    def _move_head(self, head: str, sequence: int, text: bytes) -> None:
        """Never over a higher sequence, for a sink that begins anew sends again what it has."""
        found = self._read(head)
        if found is None or orjson.loads(found)["sequence"] < sequence:
            self._files.pipe_file(head, text)

    def _read(self, path: str) -> bytes | None:
        try:
            found: bytes = self._files.cat_file(path)
        except FileNotFoundError:
            return None
        return found

    def _size(self, path: str) -> int | None:
        try:
            size: int | None = self._files.info(path)["size"]
        except FileNotFoundError:
            return None
        return size

    def close(self) -> None:
        """Nothing is held open that has to be closed."""


def _beside(file: str) -> str:
    return str(PurePosixPath(file).with_suffix(".json"))


def _why(error: Any) -> str:
    """The kind of error and, of the system's own, its meaning: other texts may hold what they were sent."""
    return getattr(error, "strerror", None) or type(error).__name__
