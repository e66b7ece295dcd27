"""What a tree of Inventories says of each study: the newest of its records (design: "Reading").

The standard leaves reconciliation to the reader (PS3.17 YYYY.7.10). Here the newest Item Inventory DateTime
wins; then the newer Study Update DateTime, then the record nearer the root, then the one that stands first. A
record without a time is older than any with one.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import UTC, tzinfo
from hashlib import blake2b
from tempfile import SpooledTemporaryFile
from typing import Final

from writers.reader import InvalidInventory, InventoryFile, StudyItem
from writers.tree import Node, Tree

# Compared as bytes, so greater is better: both times, then smaller depth, place of the node, place in the
# file.
_RANK: Final = struct.Struct(">QQHII")
_BIAS: Final = 1 << 63
_LAST: Final = 0xFFFFFFFF
_DIGEST: Final = 16  # bytes that stand for a Study Instance UID
_PARTS: Final = 64
_IN_MEMORY: Final = 1 << 13  # bytes of each part; more of it lies on disk


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

    Every file is read twice. Between, ranks lie on disk, and memory holds a bit for each record and a part of the
    studies. ``progress`` is called for each record read.

    Raises:
        InvalidInventory: a file is malformed or cut off, or a record has no Study Instance UID.
        OSError: a file cannot be read, or no temporary file be written.
    """
    prevailing = _prevailing(tree, zone, progress)
    for index, node in enumerate(tree.nodes):
        for number, item in enumerate(_items(node, zone)):
            progress()
            if prevailing[index].holds(number):
                yield Effective(item, node.sop_instance_uid, node.depth)


class _Marks:
    """Numbers, a bit for each up to the largest."""

    def __init__(self) -> None:
        self._bits = bytearray()

    def add(self, number: int) -> None:
        place = number >> 3
        if place >= len(self._bits):
            self._bits.extend(bytes(place + 1 - len(self._bits)))
        self._bits[place] |= 1 << (number & 7)

    def holds(self, number: int) -> bool:
        place = number >> 3
        return place < len(self._bits) and bool(self._bits[place] & 1 << (number & 7))


def _prevailing(tree: Tree, zone: tzinfo, progress: Callable[[], None]) -> list[_Marks]:
    """By node the records that prevail: of each study the one with the highest rank.

    Studies are dealt out to parts by their UIDs, so that a part at a time is compared.
    """
    marks = [_Marks() for _ in tree.nodes]
    with ExitStack() as stack:
        parts = [stack.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY)) for _ in range(_PARTS)]
        for index, node in enumerate(tree.nodes):
            for number, item in enumerate(_items(node, zone)):
                progress()
                rank = _RANK.pack(
                    _biased(item.item_inventory_datetime),
                    _biased(item.study_update_datetime),
                    0xFFFF - node.depth,
                    _LAST - index,
                    _LAST - number,
                )
                study = blake2b(item.study_instance_uid.encode("utf-8"), digest_size=_DIGEST).digest()
                parts[study[0] % _PARTS].write(rank + study)
        for part in parts:
            best: dict[bytes, bytes] = {}
            part.seek(0)
            while entry := part.read(_RANK.size + _DIGEST):
                rank, study = entry[: _RANK.size], entry[_RANK.size :]
                if rank > best.get(study, b""):
                    best[study] = rank
            for rank in best.values():
                *_, index, number = _RANK.unpack(rank)
                marks[_LAST - index].add(_LAST - number)
    return marks


def _items(node: Node, zone: tzinfo) -> Iterator[StudyItem]:
    with InventoryFile(node.path, zone) as file:
        if file.sop_instance_uid != node.sop_instance_uid:
            raise InvalidInventory(node.path, f"is {file.sop_instance_uid} inside: its file meta differs")
        records = 0
        for item in file.studies():
            if not item.study_instance_uid:
                raise InvalidInventory(node.path, "a study record without Study Instance UID", item.offset)
            records += 1
            yield item
        file.check_whole(records)


def _biased(moment: int | None) -> int:
    return 0 if moment is None else moment + _BIAS
