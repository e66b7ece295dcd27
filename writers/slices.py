"""Which studies an inventory's own records are, in its order: by shard, then by Study Instance UID."""

from __future__ import annotations

import heapq
from collections.abc import Iterator, Sequence
from itertools import groupby
from pathlib import Path

from state.studies import Studies
from writers.reader import InventoryFile

ShardedUid = tuple[int, str]


def changed(studies: Studies, cut: int) -> Iterator[ShardedUid]:
    """A delta's: every study that is owed up to the cut."""
    for shard in range(studies.shards):
        for uid in studies.changed(shard, cut):
            yield shard, uid


def everything(studies: Studies) -> Iterator[ShardedUid]:
    """A baseline's: the whole state."""
    yield from updated(studies, None, None)


def updated(studies: Studies, begin: int | None, end: int | None) -> Iterator[ShardedUid]:
    """A stand-alone delta's: studies updated in [begin, end], UTC microseconds, None for an open side."""
    for shard in range(studies.shards):
        for uid in studies.updated(shard, begin, end):
            yield shard, uid


def rolled_up(studies: Studies, cut: int, replaced: Sequence[Path]) -> Iterator[ShardedUid]:
    """A rollup's: the slice, and every study listed in the members that it replaces.

    Those are ordered as ours are, so they are merged as they are read.
    """
    listed = [_listed(studies, path) for path in replaced]
    for found, _ in groupby(heapq.merge(changed(studies, cut), *listed)):
        yield found


def _listed(studies: Studies, path: Path) -> Iterator[ShardedUid]:
    records = 0
    with InventoryFile(path) as inventory:
        for item in inventory.studies():
            yield studies.shard_of(item.study_instance_uid), item.study_instance_uid
            records += 1
        inventory.check_whole(records)
