"""A repository's published files as they are given out: found by SOP Instance UID, listed newest first.

Nothing outside the folder is ever opened: names are made here from what matched a pattern, and no link is followed
below the folder itself.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple

import orjson

from writers.files import FolderUnusable
from writers.manifest import Manifest

UID: Final = r"^[0-9.]{1,64}$"  # what may be asked for; whether it is a good UID is not the question
_LARGEST_MANIFEST: Final = 64 << 20  # bytes


class Place(NamedTuple):
    """Where an inventory stands in the list: by the day of its Content Date (``yyyy/mm/dd``), then by sequence."""

    day: str
    sequence: int


class Shelf:
    """The files of one repository. Each method reads the folder as it is at that moment."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    @property
    def folder(self) -> Path:
        return self._folder

    def exists(self) -> bool:
        """Whether there is a folder, which a writer makes when it starts."""
        return self._folder.is_dir()

    def manifest(self, sop_instance_uid: str) -> Manifest | None:
        """The manifest of a published inventory, or of a part of one; None if there is none.

        Raises:
            FolderUnusable: the folder cannot be read.
        """
        if not re.fullmatch(UID, sop_instance_uid):
            return None
        for day in self._days(""):
            if (found := self._manifest(day, sop_instance_uid)) is not None:
                return found
        return None

    def newest_first(self, after: Place | None, most: int) -> Iterator[tuple[Place, Manifest]]:
        """Inventories, without parts, behind ``after`` in the list; at most ``most`` of them are read.

        Raises:
            FolderUnusable: the folder cannot be read.
        """
        for day in self._days("" if after is None else after.day):
            found = [one for uid in self._uids(day) if (one := self._manifest(day, uid)) is not None]
            for one in sorted(found, key=lambda one: -one.sequence):
                place = Place(day, one.sequence)
                if one.kind == "part" or (after is not None and place >= after):
                    continue
                if not most:
                    return
                most -= 1
                yield place, one

    def open(self, manifest: Manifest) -> BinaryIO | None:
        """The file of an inventory, to be closed by the caller; None if it is gone."""
        *day, name = manifest.file.split("/")
        return self._open("/".join(day), name)

    def path(self, manifest: Manifest) -> Path | None:
        """Its path, if there is a file of its own there and not a link to something; for who must have a path."""
        opened = self.open(manifest)
        if opened is None:
            return None
        opened.close()
        return self._folder / manifest.file

    def _days(self, until: str) -> Iterator[str]:
        """The days that have a folder, newest first, beginning with ``until`` if that is given."""
        try:
            for year in _names(self._folder, r"\d{4}"):
                for month in _names(self._folder / year, r"\d\d"):
                    for day in _names(self._folder / year / month, r"\d\d"):
                        found = f"{year}/{month}/{day}"
                        if not until or found <= until:
                            yield found
        except OSError as error:
            raise FolderUnusable(f"{self._folder} cannot be read: {error.strerror}") from None

    def _uids(self, day: str) -> list[str]:
        return [name.removesuffix(".json") for name in _names(self._folder / day, r"[0-9.]{1,64}\.json")]

    def _manifest(self, day: str, uid: str) -> Manifest | None:
        opened = self._open(day, f"{uid}.json")
        if opened is None:
            return None
        with opened:
            try:
                found = Manifest.from_json(orjson.loads(opened.read(_LARGEST_MANIFEST)))
            except (OSError, ValueError):
                return None
        # One that tells of another place is no manifest of this file.
        return found if (found.sop_instance_uid, found.file) == (uid, f"{day}/{uid}.dcm") else None

    def _open(self, day: str, name: str) -> BinaryIO | None:
        """A regular file in a day's folder; None if it is not there or any part of the way is a link."""
        if not re.fullmatch(r"\d{4}/\d\d/\d\d", day) or not re.fullmatch(r"[0-9.]{1,64}\.(dcm|json)", name):
            return None
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        at = -1
        try:
            at = os.open(self._folder, flags)
            for folder in day.split("/"):
                below = os.open(folder, flags | os.O_NOFOLLOW, dir_fd=at)
                os.close(at)
                at = below
            # Not to wait for somebody to write into what might be a pipe.
            file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
        except OSError:
            return None
        finally:
            if at >= 0:
                os.close(at)
        if not stat.S_ISREG(os.fstat(file).st_mode):
            os.close(file)
            return None
        return os.fdopen(file, "rb")


def _names(folder: Path, pattern: str) -> list[str]:
    """The names in a folder that match, the last first; none if the folder has just gone."""
    with suppress(FileNotFoundError, NotADirectoryError):
        return sorted((name for name in os.listdir(folder) if re.fullmatch(pattern, name)), reverse=True)
    return []
