"""What a tree of Inventories says of each study: the newest of its records (design: "Reading").

The standard leaves reconciliation to the reader (PS3.17 YYYY.7.10). Here the newest Item Inventory DateTime
wins; then the newer Study Update DateTime, then the record nearer the root, then the one that stands first. A
record without a time is older than any with one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from writers.reader import InvalidInventory, InventoryFile, StudyItem
from writers.tree import Node, Tree

# Compared as bytes, so greater is better: both times, then smaller depth, place of the node, place in the
# file.
_RANK: Final = struct.Struct(">QQHII")
_BIAS: Final = 1 << 63


@dataclass(frozen=True, slots=True)
class Effective:
    """The record of a study that counts, the Inventory that holds it, and how far that is from the root."""

    item: StudyItem
    sop_instance_uid: str
    depth: int


def _nothing() -> None:
    """No progress is wanted."""


def resolve(tree: Tree, zone: tzinfo = UTC, progress: Callable[[], None] = _nothing) -> Iterator[Effective]:
    """Each study of the tree once, removed ones too, in the order of ``tree.nodes`` and of the records in each file.

    Every file is read twice; what is kept is some 300 bytes a study. ``progress`` is called for each record
    read.

    Raises:
        InvalidInventory: a file is malformed or cut off, or a record has no Study Instance UID.
        OSError: a file cannot be read.
    """
    best: dict[str, bytes] = {}
    for index, node in enumerate(tree.nodes):
        for rank, item in _ranked(node, index, zone):
            progress()
            held = best.get(item.study_instance_uid)
            if held is None or rank > held:
                best[item.study_instance_uid] = rank
    for index, node in enumerate(tree.nodes):
        for rank, item in _ranked(node, index, zone):
            progress()
            if best.get(item.study_instance_uid) == rank:
                del best[item.study_instance_uid]
                yield Effective(item, node.sop_instance_uid, node.depth)


def _ranked(node: Node, index: int, zone: tzinfo) -> Iterator[tuple[bytes, StudyItem]]:
    with InventoryFile(node.path, zone) as file:
        if file.sop_instance_uid != node.sop_instance_uid:
            raise InvalidInventory(node.path, f"is {file.sop_instance_uid} inside: its file meta differs")
        records = 0
        for item in file.studies():
            if not item.study_instance_uid:
                raise InvalidInventory(node.path, "a study record without Study Instance UID", item.offset)
            rank = _RANK.pack(
                _biased(item.item_inventory_datetime),
                _biased(item.study_update_datetime),
                0xFFFF - node.depth,
                0xFFFFFFFF - index,
                0xFFFFFFFF - records,
            )
            records += 1
            yield rank, item
        file.check_whole(records)


def _biased(moment: int | None) -> int:
    return 0 if moment is None else moment + _BIAS
