"""Files of a repository's inventories: written aside, synced, then renamed into their place, never changed after.

``<dir>/<repository>/<yyyy>/<mm>/<dd>/<SOP Instance UID>.dcm``, its manifest ``.json`` beside it, and ``head.json``.
What is being written stands in ``<dir>/<repository>/.partial`` under the SOP Instance UID.
"""

from __future__ import annotations

import logging
import os
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any, BinaryIO, Final
from uuid import uuid4

import orjson

from writers.manifest import Manifest

log = logging.getLogger(__name__)

HEAD: Final = "head.json"
_PARTIAL: Final = ".partial"
_BLOCK: Final = 1 << 20
_DEFLATE_LEVEL: Final = 1  # records are alike: higher levels cost three times as much for a few percent


class FolderUnusable(Exception):
    """The inventory folder cannot be written or read; the text names it and says why."""


@dataclass(frozen=True, slots=True)
class Written:
    """A whole file under its temporary name."""

    path: Path
    bytes: int
    sha256: str


class InventoryFolder:
    """One repository's folder of inventories."""

    def __init__(self, inventory_dir: Path, repository: str) -> None:
        self.path = inventory_dir / repository
        self._partial = self.path / _PARTIAL

    def prepare(self) -> None:
        """Make the folder.

        Raises:
            FolderUnusable: it cannot be made or written to.
        """
        try:
            self._partial.mkdir(parents=True, exist_ok=True)
            probe = self._partial / ".writable"
            probe.write_bytes(b"")
            probe.unlink()
        except OSError as error:
            raise FolderUnusable(
                f"inventory.dir: {self.path} cannot be written: {error.strerror}; "
                "make it a folder that this user may write, or set another"
            ) from None

    def place(self, sop_instance_uid: str, content: datetime) -> str:
        """Where an inventory belongs, relative to the folder; ``content`` is its Content Date in the local zone."""
        return f"{content:%Y/%m/%d}/{sop_instance_uid}.dcm"

    def make(self) -> None:
        """Make it, if it is not there: the volume may be another than at the start."""
        self._partial.mkdir(parents=True, exist_ok=True)

    def has(self, file: str) -> bool:
        """Whether an inventory of that place is there, whole or not."""
        return (self.path / file).is_file()

    @property
    def temporary(self) -> Path:
        """The folder of what is being produced; names begin with the SOP Instance UID that it is for."""
        return self._partial

    def partial(self, sop_instance_uid: str, kind: str) -> Path:
        """A temporary file of an inventory that is being produced."""
        return self._partial / f"{sop_instance_uid}.{kind}"

    def partials(self, sop_instance_uid: str, kind: str) -> list[Path]:
        """All such files of one kind, by name."""
        return sorted(self._partial.glob(f"{sop_instance_uid}.*.{kind}"))

    def discard_partial(self, *sop_instance_uids: str) -> None:
        """Remove what a production left behind."""
        for uid in sop_instance_uids:
            for path in self._partial.glob(f"{uid}.*"):
                path.unlink(missing_ok=True)

    def discard_partials(self) -> None:
        """Remove whatever anybody left behind. For who holds the lease: nobody else produces here."""
        for path in self._partial.iterdir():
            path.unlink(missing_ok=True)

    def publish(self, written: Written, manifest: Manifest) -> None:
        """Give a whole file its final name, and its manifest beside it. In this order, each durable before the next."""
        final = self.path / manifest.file
        final.parent.mkdir(parents=True, exist_ok=True)
        if final.exists():
            raise FolderUnusable(f"{final} exists already; a SOP Instance UID is never written twice")
        os.replace(written.path, final)
        _sync_folder(final.parent)
        self._write_json(final.with_suffix(".json"), manifest.to_json())

    def manifest(self, file: str) -> Manifest | None:
        """What stands beside an inventory; None if it is not there or cannot be read."""
        try:
            return Manifest.from_json(orjson.loads((self.path / file).with_suffix(".json").read_bytes()))
        except (OSError, ValueError):
            return None

    def published(self, file: str) -> Manifest | None:
        """The manifest of a published inventory, if both are there and the file is whole by its digest."""
        manifest = self.manifest(file)
        if manifest is None:
            return None
        try:
            with (self.path / file).open("rb") as opened:
                return manifest if _digest(opened) == manifest.sha256 else None
        except OSError:
            return None

    def whole(self, files: Iterable[str]) -> Manifest | None:
        """The last one's manifest, if all of these are :meth:`published`."""
        found = [self.published(file) for file in files]
        return found[-1] if None not in found else None

    def remove(self, files: Sequence[str]) -> None:
        """Remove what never was published as a whole, with its manifests: the last first, lest it be seen alone."""
        for file in reversed(files):
            for path in ((self.path / file).with_suffix(".json"), self.path / file):
                path.unlink(missing_ok=True)

    def remove_published(self, manifest: Manifest) -> None:
        """Remove an inventory and its parts. Its manifest goes last: if that is still there, it can be done again."""
        itself = manifest.members[-1]
        (self.path / itself.file).unlink(missing_ok=True)
        self.remove(itself.parts)
        (self.path / itself.file).with_suffix(".json").unlink(missing_ok=True)

    def manifests(self, since: str = "") -> list[Manifest]:
        """All that stand beside inventories and can be read; others are told in the log.

        ``since``: only those of that day's folder, ``yyyy/mm/dd``, and later ones.
        """
        found = []
        for path in sorted(self.path.glob("[0-9]*/[0-9]*/[0-9]*/*.json")):
            if str(path.parent.relative_to(self.path)) < since:
                continue
            try:
                manifest = Manifest.from_json(orjson.loads(path.read_bytes()))
            except (OSError, ValueError) as error:
                log.warning("%s is no manifest: %s", path, error)
                continue
            files = [manifest.file, *(part for one in manifest.members[-1:] for part in one.parts)]
            if {(self.path / file).parent for file in files} == {path.parent} and Path(files[0]).stem == path.stem:
                found.append(manifest)
            else:
                log.warning("%s is the manifest of another place: %s", path, manifest.file)
        return found

    def remove_empty_days(self) -> None:
        """Remove folders of days, months and years that hold nothing any more."""
        for depth in (3, 2, 1):
            for path in self.path.glob("/".join(["[0-9]*"] * depth)):
                with suppress(OSError):  # it is not empty
                    path.rmdir()

    def head(self) -> Manifest | None:
        """What head.json says; None if there is none.

        Raises:
            FolderUnusable: it is there and cannot be read.
        """
        path = self.path / HEAD
        try:
            return Manifest.from_json(orjson.loads(path.read_bytes()))
        except FileNotFoundError:
            return None
        except (OSError, ValueError) as error:
            raise FolderUnusable(f"{path} cannot be read: {error}; restore it from the head's own manifest") from None

    def write_head(self, manifest: Manifest) -> None:
        """Make head.json say this manifest, unless it names a higher sequence already."""
        found = self.head()
        if found is None or found.sequence < manifest.sequence:
            self._write_json(self.path / HEAD, manifest.to_json())

    def _write_json(self, path: Path, value: dict[str, Any]) -> None:
        # A name of its own: a writer that sleeps here past its lease must not put another's unfinished file in place.
        temporary = self._partial / f"{path.name}.{uuid4().hex}.tmp"
        with temporary.open("wb") as opened:
            opened.write(orjson.dumps(value, option=orjson.OPT_INDENT_2))
            _sync(opened)
        os.replace(temporary, path)
        _sync_folder(path.parent)


def assemble(
    path: Path,
    meta: bytes,
    before: bytes,
    bodies: Sequence[Path],
    after: bytes,
    *,
    deflated: bool,
    each_block: Callable[[], None] = lambda: None,
) -> Written:
    """Write the whole file: meta as it is, then the data set (before, bodies, after), deflated if asked for.

    It is on disk, under its temporary name, when this returns.
    """
    digest = sha256()
    size = 0
    with path.open("wb") as opened:
        for block in _encoded(_dataset(before, bodies, after), meta, deflated=deflated):
            opened.write(block)
            digest.update(block)
            size += len(block)
            each_block()
        _sync(opened)
    return Written(path, size, digest.hexdigest())


def _dataset(before: bytes, bodies: Sequence[Path], after: bytes) -> Iterator[bytes]:
    yield before
    for body in bodies:
        with body.open("rb") as opened:
            while block := opened.read(_BLOCK):
                yield block
    yield after


def _encoded(dataset: Iterable[bytes], meta: bytes, *, deflated: bool) -> Iterator[bytes]:
    yield meta
    if not deflated:
        yield from dataset
        return
    # PS3.5 A.5: the data set in the "deflate" format of RFC 1951, without header, padded to an even length
    deflate = zlib.compressobj(_DEFLATE_LEVEL, zlib.DEFLATED, -zlib.MAX_WBITS)
    size = 0
    for block in dataset:
        if packed := deflate.compress(block):
            size += len(packed)
            yield packed
    rest = deflate.flush()
    yield rest
    if (size + len(rest)) & 1:
        yield b"\x00"


def _digest(opened: BinaryIO) -> str:
    digest = sha256()
    while block := opened.read(_BLOCK):
        digest.update(block)
    return digest.hexdigest()


def _sync(opened: BinaryIO) -> None:
    opened.flush()
    os.fsync(opened.fileno())


def _sync_folder(path: Path) -> None:
    """Make a rename durable: it is the folder that remembers names."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        # Some network file systems refuse to sync a folder; the rename is then as durable as they make it.
        with suppress(OSError):
            os.fsync(descriptor)
    finally:
        os.close(descriptor)
