"""Whether a chain of inventories is one line: what stands in its folder, looked at again and again and at the end."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Final

import orjson

from writers.files import HEAD, InventoryFolder
from writers.manifest import Manifest

_EACH: Final = 0.2  # seconds between two looks


@dataclass
class ChainWatch:
    """``faults``: files that changed after they had their final names, and heads that went back."""

    folder: Path
    faults: list[str] = field(default_factory=list)
    sequence: int = 0
    _seen: dict[Path, tuple[int, int, int]] = field(default_factory=dict)
    _next: float = 0.0

    def look(self) -> None:
        """Look once, if the last look is some time ago. A file that is gone was never published as a whole."""
        if time.monotonic() < self._next:
            return
        self._next = time.monotonic() + _EACH
        for path in [*self.folder.glob("[0-9]*/*/*/*.dcm"), *self.folder.glob("[0-9]*/*/*/*.json")]:
            try:
                found = path.stat()
            except FileNotFoundError:
                continue
            now = (found.st_ino, found.st_size, found.st_mtime_ns)
            if self._seen.setdefault(path, now) != now:
                self.faults.append(f"{path.name} was changed after it had its final name")
                self._seen[path] = now
        head = self.folder / HEAD
        if not head.exists():
            return
        try:
            sequence = Manifest.from_json(orjson.loads(head.read_bytes())).sequence
        except ValueError as error:
            self.faults.append(f"head.json cannot be read: {error}")
            return
        if sequence < self.sequence:
            self.faults.append(f"head.json went back from {self.sequence} to {sequence}")
        self.sequence = max(sequence, self.sequence)


def line_faults(folder: Path) -> list[str]:
    """Where the inventories of a folder are not one line, each upon the one before it; nobody writes any more.

    Nothing may have been removed by retention.
    """
    inventories = InventoryFolder(folder.parent, folder.name)
    head = inventories.head()
    found = inventories.manifests()
    roots = sorted((one for one in found if one.kind != "part"), key=lambda one: one.sequence)
    sequences = [one.sequence for one in roots]
    faults = []
    if head is None or sequences != list(range(1, head.sequence + 1)) or roots[-1] != head:
        faults.append(f"head.json says {head and head.sequence}, there are {sequences}")
    faults += [problem for before, after in pairwise(roots) for problem in _upon(before, after)]
    files = {one.file for one in found}
    for path in folder.glob("[0-9]*/*/*/*.dcm"):
        if str(path.relative_to(folder)) not in files:
            faults.append(f"{path.name} has no manifest")
    for one in found:
        path = folder / one.file
        if not path.exists():
            faults.append(f"sequence {one.sequence}: there is no {one.file}")
        elif sha256(path.read_bytes()).hexdigest() != one.sha256:
            faults.append(f"sequence {one.sequence}: {one.file} is not what its manifest says")
    return faults


def _upon(before: Manifest, after: Manifest) -> list[str]:
    """Why an inventory is not made upon the one before it."""
    faults = []
    kept = after.members[:-1]
    if before.members[: len(kept)] != kept:
        faults.append("its members are not those of the one before it")
    if after.kind == "delta" and kept != before.members:
        faults.append("it does not incorporate the one before it")
    if kept and kept[-1].sop_instance_uid not in after.incorporated:
        faults.append("it does not incorporate the newest of its members")
    if (after.slice_from, after.cut > before.cut) != (before.cut, True):
        faults.append(f"it goes from cut {after.slice_from} to {after.cut}, the one before it ends with {before.cut}")
    if after.watermark < before.watermark:
        faults.append("its moment is before that of the one before it")
    return [f"sequence {after.sequence} ({after.kind}): {fault}" for fault in faults]
