"""The tree of Inventories that one root incorporates (PS3.3 C.38.1.1.5)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Final

import orjson

from writers.members import MissingMember, find_members, locate
from writers.reader import InvalidInventory, InventoryFile
from writers.references import outline, references

HEAD: Final = "head.json"


class NoRoot(Exception):
    """A folder in which no single Inventory is the root of the others."""


@dataclass(frozen=True, slots=True)
class Node:
    """A member of a tree. ``depth`` is 0 for the root, else the least number of references that lead to it."""

    sop_instance_uid: str
    path: Path
    depth: int


@dataclass(frozen=True, slots=True)
class Tree:
    """All members, each once: the root, then depth-first as the root's (0008,0422) lists them.

    ``level`` is the root's Inventory Level (0008,0403), which all shall have; empty if it states none.
    """

    nodes: tuple[Node, ...]
    level: str

    @property
    def root(self) -> Node:
        return self.nodes[0]


def load_tree(root: Path, folders: Sequence[Path] = (), zone: tzinfo = UTC) -> Tree:
    """The tree below an Inventory file or, for a folder, below its root (see :func:`find_root`).

    Members are looked for below ``folders`` (see ``writers.members``); by default :func:`default_folder`.

    Raises:
        InvalidInventory: the root cannot be read.
        MissingMember: a member's file is not found.
        NoRoot: a folder without a single root.
        OSError: a file cannot be read.
    """
    path = find_root(root) if root.is_dir() else root
    with InventoryFile(path, zone) as file:
        uid = file.sop_instance_uid
        level = str(file.header.get("InventoryLevel") or "")
        below = references(file.header, path)
    depths = {uid: 0} | outline(below)
    searched = tuple(folders) or (default_folder(path),)
    members, missing = locate(path, uid, below, searched)
    members[uid] = path
    for each in depths:
        if each not in members:
            raise MissingMember(each, searched, missing[each])
    return Tree(tuple(Node(each, members[each], depth) for each, depth in depths.items()), level)


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
