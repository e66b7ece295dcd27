"""The folder of inventories: there, writable and durable, with room for a baseline, its head whole and the state's."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from contextlib import closing, suppress
from hashlib import sha256
from pathlib import Path
from typing import Final
from uuid import uuid4

from state.chain import Chain
from state.connection import Connection
from state.errors import StateError
from stocktake.doctor.finding import Examined, Finding, Limits, Reporter
from writers.files import FolderUnusable, InventoryFolder
from writers.manifest import Manifest

_REPORT: Final = Reporter("folder")
_BLOCK: Final = 1 << 20
_FIRST: Final = 100_000_000  # bytes that a first baseline may need, before any is there to be measured
_LITTLE: Final = 10_000_000  # bytes that a delta may need, likewise


def check(examined: Examined) -> Iterator[Finding]:
    """The folder, and in it that of each repository."""
    path = examined.settings.inventory.dir
    if not path.is_dir():
        yield _REPORT.fail("dir", f"inventory.dir {path} is no folder", "make it, or mount the volume that holds it")
        return
    yield (written := _writes(path))
    if written.judged == "ok":
        yield _temporary(Path(tempfile.gettempdir()))
    deadline = time.monotonic() + examined.limits.digest
    for name in examined.repositories:
        folder = InventoryFolder(path, name)
        head: Manifest | None = None
        try:
            head = folder.head()
        except FolderUnusable as error:
            yield _REPORT.fail(f"{name}.head", str(error))
        yield _agrees(examined, name, head)
        if head is not None:
            yield whole(name, folder, head, deadline)
        free = shutil.disk_usage(path).free
        baseline, delta = (newest(folder, head, tier) for tier in (None, 0))
        yield room(name, free, baseline, delta, examined.limits)


def _writes(path: Path) -> Finding:
    """Do what a writer does with each file: write, sync, rename, sync the folder; and remove it."""
    first, second = path / f".doctor-{uuid4().hex}", path / f".doctor-{uuid4().hex}"
    step = "written"
    try:
        with first.open("wb") as opened:
            opened.write(b"doctor")
            opened.flush()
            step = "synced (fsync)"
            os.fsync(opened.fileno())
        step = "renamed in"
        first.replace(second)
    except OSError as error:
        return _REPORT.fail(
            "dir", f"inventory.dir {path} cannot be {step}: {error.strerror}", "make it one that this user may write"
        )
    finally:
        for one in (first, second):
            with suppress(OSError):
                one.unlink(missing_ok=True)
    return _REPORT.ok("dir", f"inventory.dir {path} can be written, synced and renamed in")


def _temporary(path: Path) -> Finding:
    """Inventories are made beside their final place; the folder for temporary files is for what reads them."""
    if os.access(path, os.W_OK):
        return _REPORT.ok("temporary", f"temporary files go to {path}")
    return _REPORT.warn("temporary", f"{path} cannot be written", "`resolve` and `verify` need it: set TMPDIR")


def _agrees(examined: Examined, name: str, head: Manifest | None) -> Finding:
    """head.json beside what Redis has for the head."""
    at = f"{name}.head"
    try:
        with closing(Connection(examined.redis)) as connection:
            found = Chain(connection, name).head()
    except StateError as error:
        return _REPORT.skip(at, f"the state's head is not known: {error}")
    return agrees(name, head, None if found is None else Manifest.from_json(found))


def agrees(name: str, on_disk: Manifest | None, in_redis: Manifest | None) -> Finding:
    """The writer goes on from the one of the higher sequence."""
    at = f"{name}.head"
    if on_disk is None and in_redis is None:
        return _REPORT.ok(at, "no inventory yet")
    if in_redis is None and on_disk is not None:
        return _REPORT.warn(
            at,
            f"head.json has sequence {on_disk.sequence}, Redis none",
            "the next writer goes on from it if the state knows of the chain, and else waits until it is imported: see "
            "docs/runbook/redis-lost.md",
        )
    if on_disk is None or in_redis is None:
        return _REPORT.warn(
            at,
            f"Redis has sequence {0 if in_redis is None else in_redis.sequence}, head.json none",
            "is this the volume that the writer wrote to? see docs/runbook.md",
        )
    if on_disk.sequence != in_redis.sequence:
        return _REPORT.warn(
            at,
            f"head.json is at sequence {on_disk.sequence}, Redis at {in_redis.sequence}",
            "the next writer goes on from the higher one; if that is not what you want, see docs/runbook.md",
        )
    if on_disk.sop_instance_uid != in_redis.sop_instance_uid:
        return _REPORT.fail(
            at,
            f"head.json and Redis name two inventories of sequence {on_disk.sequence}",
            "two writers have worked on different volumes or servers; see docs/runbook.md",
        )
    return _REPORT.ok(at, f"sequence {on_disk.sequence}, as in Redis")


def whole(name: str, folder: InventoryFolder, head: Manifest, deadline: float) -> Finding:
    """Whether the head's file, and those that it incorporates, are there; its own bytes are as published.

    ``deadline`` on the monotonic clock: a file that is not read by then is compared by its size alone.
    """
    at = f"{name}.files"
    missing = [file for member in head.members for file in member.files if not folder.has(file)]
    if missing:
        return _REPORT.fail(
            at,
            f"{len(missing)} files that the head reaches are missing, such as {missing[0]}",
            "restore them, or produce a baseline (`stocktake baseline --ask`)",
        )
    path = folder.path / head.file
    size = path.stat().st_size
    if size != head.bytes:
        return _REPORT.fail(at, f"{head.file} has {size:,} bytes, its manifest says {head.bytes:,}", "restore it")
    digest = _digest(path, deadline)
    if digest is None:
        return _REPORT.ok(
            at,
            f"{head.file} has its size, and all that it reaches is there; it takes too long to be read here, "
            "`stocktake verify` does it",
        )
    if digest != head.sha256:
        return _REPORT.fail(at, f"{head.file} is not what was published: its SHA-256 is another", "restore it")
    return _REPORT.ok(at, f"{head.file} has its size and digest, and all that it reaches is there")


def _digest(path: Path, deadline: float) -> str | None:
    digest = sha256()
    with path.open("rb") as opened:
        while block := opened.read(_BLOCK):
            if time.monotonic() > deadline:
                return None
            digest.update(block)
    return digest.hexdigest()


def newest(folder: InventoryFolder, head: Manifest | None, tier: int | None) -> int | None:
    """The bytes of the newest inventory of a tier (None: baseline) that the head reaches; None if there is none."""
    members = [] if head is None else [one for one in head.members if one.tier == tier]
    found = 0
    for file in members[-1].files if members else ():
        with suppress(OSError):
            found += (folder.path / file).stat().st_size
    return found or None


def room(name: str, free: int, baseline: int | None, delta: int | None, limits: Limits) -> Finding:
    """Whether another delta fits, and a new baseline, which stands beside its own parts while it is written."""
    at = f"{name}.room"
    advice = "make the volume larger, or set inventory.retention"
    least = round(limits.room * (delta or 0)) or _LITTLE
    if free < least:
        return _REPORT.fail(
            at, f"{free / 1e9:.3f} GB free, the next delta takes about {least / 1e9:.3f} GB while it is written", advice
        )
    needed = round(limits.room * baseline) if baseline else _FIRST
    told = f"{free / 1e9:.2f} GB free, a new baseline takes about {needed / 1e9:.2f} GB while it is written"
    return _REPORT.warn(at, told, advice) if free < needed else _REPORT.ok(at, told)
