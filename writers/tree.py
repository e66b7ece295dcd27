"""The tree of Inventories that one root incorporates (PS3.3 C.38.1.1.5), and where the files of its members are."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

import orjson
from pydicom.dataset import Dataset

from writers.decoding import items_of
from writers.file_meta import read_file_meta
from writers.reader import InvalidInventory, InventoryFile
from writers.scanning import Malformed
from writers.terms import INVENTORY_STORAGE

HEAD: Final = "head.json"


class MissingMember(Exception):
    """An incorporated Inventory whose file is in none of the folders searched."""

    def __init__(self, sop_instance_uid: str, folders: Sequence[Path]) -> None:
        searched = ", ".join(map(str, folders))
        super().__init__(f"the incorporated Inventory {sop_instance_uid} is not in {searched}")
        self.sop_instance_uid = sop_instance_uid
        self.folders = tuple(folders)


class NoRoot(Exception):
    """A folder in which no single Inventory is the root of the others."""


@dataclass(frozen=True, slots=True)
class Reference:
    """One Item of Incorporated Inventory Instance Sequence (0008,0422), with the copy of the member's own."""

    sop_instance_uid: str
    incorporates: tuple[Reference, ...]


@dataclass(frozen=True, slots=True)
class Node:
    """A member of a tree. ``depth`` is 0 for the root, else the least number of references that lead to it."""

    sop_instance_uid: str
    path: Path
    depth: int


@dataclass(frozen=True, slots=True)
class Tree:
    """All members, each once: the root, then depth-first as the root's (0008,0422) lists them."""

    nodes: tuple[Node, ...]

    @property
    def root(self) -> Node:
        return self.nodes[0]


def find_members(folder: Path) -> dict[str, Path]:
    """The Inventories among the ``*.dcm`` files below a folder, by SOP Instance UID; other files are passed over.
    Hidden folders and files are not searched.

    Only the File Meta Information is read. Of two files with one UID the first by path counts.

    Raises:
        OSError: a folder or file cannot be read.
    """
    found: dict[str, Path] = {}
    for path in _dicom_files(folder):
        try:
            with path.open("rb") as file:
                meta = read_file_meta(file)
        except (Malformed, FileNotFoundError):
            continue  # somebody else's file, or one that retention took since it was listed
        if meta.sop_class_uid == INVENTORY_STORAGE:
            found.setdefault(meta.sop_instance_uid, path)
    return found


def load_tree(root: Path, folders: Sequence[Path] = (), zone: tzinfo = UTC) -> Tree:
    """The tree below an Inventory file or, for a folder, below its root (see :func:`find_root`).

    Members are looked for below ``folders``; by default :func:`default_folder`.

    Raises:
        InvalidInventory: the root cannot be read.
        MissingMember: a member's file is not found.
        NoRoot: a folder without a single root.
        OSError: a file cannot be read.
    """
    path = find_root(root) if root.is_dir() else root
    with InventoryFile(path, zone) as file:
        uid = file.sop_instance_uid
        below = references(file.header, path)
    depths = {uid: 0} | outline(below)
    searched = tuple(folders) or (default_folder(path),)
    members = search(searched) if below else {}
    members[uid] = path
    for each in depths:
        if each not in members:
            raise MissingMember(each, searched)
    return Tree(tuple(Node(each, members[each], depth) for each, depth in depths.items()))


def search(folders: Sequence[Path]) -> dict[str, Path]:
    """:func:`find_members` of several folders; the first that has a UID counts."""
    members: dict[str, Path] = {}
    for folder in folders:
        members = find_members(folder) | members
    return members


def outline(below: Sequence[Reference]) -> dict[str, int]:
    """The UIDs in depth-first order, each with the least depth at which it stands; the first level is 1."""
    depths: dict[str, int] = {}
    for reference, depth in _walk(below, 1):
        known = depths.setdefault(reference.sop_instance_uid, depth)
        depths[reference.sop_instance_uid] = min(known, depth)
    return depths


def _walk(below: Sequence[Reference], depth: int) -> Iterator[tuple[Reference, int]]:
    for reference in below:
        yield reference, depth
        yield from _walk(reference.incorporates, depth + 1)


def references(header: Dataset, path: Path) -> tuple[Reference, ...]:
    """What an Inventory's header says it incorporates, recursively.

    Raises:
        InvalidInventory: a reference without Referenced SOP Instance UID.
    """
    found = []
    for item in items_of(header, "IncorporatedInventoryInstanceSequence"):
        uid = item.get("ReferencedSOPInstanceUID")
        if not isinstance(uid, str) or not uid:
            raise InvalidInventory(path, "a reference in (0008,0422) without Referenced SOP Instance UID")
        found.append(Reference(str(uid), references(item, path)))
    return tuple(found)


def default_folder(path: Path) -> Path:
    """The repository's inventory folder, which is the nearest one above with a ``head.json``; else the file's own."""
    own = path.resolve().parent
    for folder in (own, *own.parents):
        if (folder / HEAD).is_file():
            return folder
    return own


def find_root(folder: Path) -> Path:
    """The head that ``head.json`` names or, without one, the only Inventory that no other below incorporates.

    Raises:
        InvalidInventory: ``head.json`` or an Inventory cannot be read.
        NoRoot: none, or several.
        OSError: a file cannot be read.
    """
    if (folder / HEAD).is_file():
        return _head(folder)
    members = find_members(folder)
    incorporated: set[str] = set()
    for path in members.values():
        with InventoryFile(path) as file:
            incorporated |= outline(references(file.header, path)).keys()
    roots = [path for uid, path in members.items() if uid not in incorporated]
    if not roots:
        raise NoRoot(f"{folder}: no Inventory here that is the root of a tree")
    if len(roots) > 1:
        named = ", ".join(path.name for path in roots[:5]) + (", ..." if len(roots) > 5 else "")
        raise NoRoot(f"{folder}: {len(roots)} Inventories that no other incorporates; name one: {named}")
    return roots[0]


def _head(folder: Path) -> Path:
    manifest = folder / HEAD
    try:
        head = orjson.loads(manifest.read_bytes())
        uid, name = head["sop_instance_uid"], str(head["file"])
        path = folder.joinpath(name)
    except (ValueError, TypeError, KeyError):
        raise InvalidInventory(manifest, "no manifest with sop_instance_uid and file") from None
    if not path.is_file():
        raise InvalidInventory(manifest, f"names {name}, which is not there")
    with InventoryFile(path) as file:
        if file.sop_instance_uid != uid:
            raise InvalidInventory(manifest, f"names {uid}, but {name} is {file.sop_instance_uid}")
    return path


def _dicom_files(folder: Path) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    for parent, folders, names in os.walk(folder, onerror=fail):
        # What is hidden is not published: a writer at work keeps its temporary files there.
        folders[:] = sorted(each for each in folders if not each.startswith("."))
        for name in sorted(names):
            if name.lower().endswith(".dcm") and not name.startswith("."):
                yield Path(parent, name)
