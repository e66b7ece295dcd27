"""A tree of Inventories compared with the live state: with what an inventory would say of it now.

Each study of the tree is looked up in the state as the tree is read, so the two records of it meet once and need not be
kept. What came of it lies on disk until the tree is at its end, in parts by shard; then, part by part, what is in the
state only is added, and all is told in the order of our own inventories: by shard, then by Study Instance UID.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from datetime import UTC, tzinfo
from operator import attrgetter
from tempfile import SpooledTemporaryFile
from typing import Final

import orjson

from state.attributes import REMOVED_FROM_OPERATIONAL_USE, Level
from state.studies import Studies
from state.vr import is_uid
from writers.canonical import EncodedDataSet
from writers.diff import Counts, StudyDifference, difference_of, digest_of
from writers.records import encoded_together, page_of
from writers.resolve import resolve
from writers.study_item import StudyItem
from writers.study_items import StudyItems
from writers.terms import REMOVED
from writers.tree import Tree

_TOGETHER: Final = 200  # studies looked up together ...
_TOGETHER_BYTES: Final = 1 << 26  # ... or fewer, if their Items are large
_PARTS: Final = 64
_IN_MEMORY: Final = 1 << 13  # bytes of each part; more of it lies on disk
_ITEM_HEADER: Final = 8  # bytes: an Item's tag and length
_UTF_8: Final = ("ISO_IR 192",)  # what our own Items are written in
_REMOVED: Final = int(REMOVED_FROM_OPERATIONAL_USE, 16)


def _nothing() -> None:
    """No progress is wanted."""


def diff_with_state(
    tree: Tree,
    studies: Studies,
    level: Level,
    counts: Counts,
    zone: tzinfo = UTC,
    progress: Callable[[], None] = _nothing,
) -> Iterator[StudyDifference]:
    """The studies that the tree (A) and the state (B) do not agree on, by shard, then by Study Instance UID.

    ``level`` is the tree's, and not below the state's. What does not count is as in ``writers.diff``. Each study of the
    state is read once, so a consumer may be at work: each is compared as it was at one moment, which is not the same
    moment for all.

    Kept in memory: the UIDs of one shard, and of one part of the tree's studies what differs. ``counts`` is complete
    when this is exhausted. ``progress`` is called for each record read of the tree or of the state.

    Raises:
        InvalidInventory: a file of the tree is malformed or cut off.
        OSError: a file cannot be read, or no temporary file be written.
        StateUnreachable: the state cannot be read.
    """
    with ExitStack() as stack:
        parts = [stack.enter_context(SpooledTemporaryFile(max_size=_IN_MEMORY)) for _ in range(_PARTS)]
        lookup = _Lookup(studies, level, counts, progress)
        for items in _together(tree, zone, progress):
            for uid, difference in lookup.compare(items):
                found = None if difference is None else difference.to_json()
                parts[_part(_shard(uid, studies), studies)].write(
                    orjson.dumps([uid, found], option=orjson.OPT_APPEND_NEWLINE)
                )
        for number, part in enumerate(parts):
            part.seek(0)
            shards: dict[int, _Shard] = {}
            for line in part:
                uid, found = orjson.loads(line)
                shard = shards.setdefault(_shard(uid, studies), _Shard())
                shard.known.add(uid)
                if found is not None:
                    shard.differences.append(StudyDifference.from_json(found))
            for each in range(studies.shards + 1):
                if _part(each, studies) == number:
                    yield from _merged(each, shards.get(each, _Shard()), lookup)


@dataclass(slots=True)
class _Shard:
    """The tree's studies of one shard, and those of them that the state does not agree on."""

    known: set[str] = field(default_factory=set)
    differences: list[StudyDifference] = field(default_factory=list)


class _Lookup:
    """Reads studies of the state and compares them, encoded as they would be written at ``level``."""

    def __init__(self, studies: Studies, level: Level, counts: Counts, progress: Callable[[], None]) -> None:
        self._studies = studies
        self._level = level
        self._items = StudyItems(level)
        self._brief = StudyItems(Level.STUDY)
        self._counts = counts
        self._progress = progress

    def compare(self, items: Sequence[StudyItem]) -> Iterator[tuple[str, StudyDifference | None]]:
        """Each study of the tree with what differs, None if nothing does."""
        left = {item.study_instance_uid: item for item in items}
        self._counts.in_a += len(left)
        uids = [uid for uid in left if is_uid(uid)]
        for page in encoded_together(self._studies.read(uids, page_of(self._level))):
            pairs = [(left.pop(read.record.study_instance_uid), read.record) for read in page]
            moments = [(record, max(item.item_inventory_datetime or 0, 0)) for item, record in pairs]
            for (item, _), encoded in zip(pairs, self._items.encode_all(moments), strict=True):
                self._progress()
                yield item.study_instance_uid, self._difference(item, encoded[_ITEM_HEADER:])
        for uid, item in left.items():
            self._counts.missing += 1
            yield uid, StudyDifference(uid, "missing", item.removed, None)

    def only_in_state(self, shard: int, known: set[str]) -> Iterator[StudyDifference]:
        """The studies of a shard that are not known."""
        if shard == self._studies.shards:
            return  # no shard: see _shard
        uids = [uid for uid in self._studies.updated(shard, None, None) if uid not in known]
        for read in self._studies.read(uids, page_of(self._level)):
            self._progress()
            self._counts.in_b += 1
            self._counts.extra += 1
            data = self._brief.encode(read.record, read.read_at)[_ITEM_HEADER:]
            removed = _is_removed(_ours(data))
            yield StudyDifference(read.record.study_instance_uid, "extra", None, removed)

    def _difference(self, item: StudyItem, data: bytes) -> StudyDifference | None:
        self._counts.in_b += 1
        b = _ours(data)
        # An inventory of our own that tells nothing else is equal byte by byte, which costs nothing to see.
        if (item.data == data and item.character_sets == _UTF_8) or digest_of(item) == b.digest():
            self._counts.same += 1
            return None
        removed = _is_removed(b)
        self._counts.different += 1
        self._counts.removed_in_one += item.removed != removed
        return difference_of(item, b, removed)


def _together(tree: Tree, zone: tzinfo, progress: Callable[[], None]) -> Iterator[list[StudyItem]]:
    items: list[StudyItem] = []
    size = 0
    for effective in resolve(tree, zone, progress):
        items.append(effective.item)
        size += len(effective.item.data)
        if len(items) >= _TOGETHER or size >= _TOGETHER_BYTES:
            yield items
            items, size = [], 0
    if items:
        yield items


def _merged(shard: int, found: _Shard, lookup: _Lookup) -> Iterator[StudyDifference]:
    by_uid = attrgetter("study_instance_uid")
    found.differences.sort(key=by_uid)
    extra = lookup.only_in_state(shard, found.known)
    return heapq.merge(found.differences, extra, key=by_uid)


def _shard(uid: str, studies: Studies) -> int:
    """The shard of a study; one behind all shards for what can be no study of the state."""
    return studies.shard_of(uid) if is_uid(uid) else studies.shards


def _part(shard: int, studies: Studies) -> int:
    return shard * _PARTS // (studies.shards + 1)


def _ours(data: bytes) -> EncodedDataSet:
    return EncodedDataSet(data, 0, len(data), False, _UTF_8, 1)


def _is_removed(item: EncodedDataSet) -> bool:
    return item.text(_REMOVED) == REMOVED
