"""Decoded messages applied to the state: steps 2 to 5 of the order that everything rests on (design, section 4).

State and Kafka offsets move together, by shard, in one script. So what was applied is known to the state itself, and a
message that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, TypeAlias

from consumers.counts import CountName, Counts
from consumers.events import Action, Event
from consumers.merge import merge, parts_wanted
from state.errors import OffsetConflict
from state.record import StudyRecord
from state.studies import OffsetMove, Studies

ShardEvents: TypeAlias = "dict[str, list[Event]]"  # by Study Instance UID

_COUNT_OF: Final[dict[Action, CountName]] = {
    Action.STORE: "events_store",
    Action.UPDATE: "events_update",
    Action.DELETE: "events_delete",
}


@dataclass(frozen=True, slots=True)
class Decoded:
    """One Kafka record of a partition (``<topic id>:<partition>``) and its events; none if it had no good ones."""

    partition: str
    offset: int
    events: Sequence[Event]


class Applier:
    """Applies messages of the partitions that were assigned to it. Not for several threads at once."""

    def __init__(self, studies: Studies, counts: Counts) -> None:
        self._studies = studies
        self._counts = counts
        self._applied: dict[str, list[int]] = {}  # partition -> last offset applied, by shard

    @property
    def partitions(self) -> frozenset[str]:
        return frozenset(self._applied)

    def assign(self, partition: str) -> int:
        """Read the partition's offsets from all shards; returns the lowest: what was applied everywhere (-1: none)."""
        self._applied[partition] = self._studies.offsets(partition)
        return min(self._applied[partition])

    def revoke(self, partition: str) -> None:
        """Forget a partition that is no longer this consumer's."""
        self._applied.pop(partition, None)

    def apply(self, batch: Sequence[Decoded]) -> None:
        """Apply a batch: records of assigned partitions, each partition's in rising order.

        Raises:
            OffsetConflict: the shard is not where this consumer left it; :meth:`assign` the partition again and seek.
            StateUnreachable: the batch may be applied in part; applying it again is safe.
        """
        last = {record.partition: record.offset for record in batch}
        pending = self._by_shard(batch)
        # 2. read the touched parts, 3. merge, 4. write; again for the shards where another writer came between
        while pending:
            pending = self._apply_once(pending, last)
        self._counts["batches"] += 1

    def advance(self, positions: dict[str, int]) -> None:
        """5. Move the offset of shards that had nothing in the latest batches up to ``positions`` (last offsets)."""
        batches = {}
        for shard in range(self._studies.shards):
            moves = self._moves(shard, positions)
            if moves:
                batches[shard] = (moves, ())
        self._write(batches)

    def check(self) -> None:
        """Compare every shard's offsets with what this consumer believes.

        On a quiet stream nothing else would show that a shard lost its tail, or that its offsets were lowered.

        Raises:
            OffsetConflict: one differs.
        """
        for partition, applied in self._applied.items():
            for shard, found in enumerate(self._studies.offsets(partition)):
                if found != applied[shard]:
                    raise OffsetConflict(partition, shard, applied[shard], found)

    def _by_shard(self, batch: Sequence[Decoded]) -> dict[int, ShardEvents]:
        """Events grouped by shard and study in their order, without those that their shard already covers."""
        pending: dict[int, ShardEvents] = {}
        shard_of = self._studies.shard_of
        for record in batch:
            applied = self._applied[record.partition]
            for event in record.events:
                shard = shard_of(event.study_instance_uid)
                if record.offset > applied[shard]:
                    self._counts[_COUNT_OF[event.action]] += 1
                    pending.setdefault(shard, {}).setdefault(event.study_instance_uid, []).append(event)
        return pending

    def _apply_once(self, pending: dict[int, ShardEvents], last: dict[str, int]) -> dict[int, ShardEvents]:
        wanted = {uid: parts_wanted(events) for studies in pending.values() for uid, events in studies.items()}
        records = self._studies.read_parts(wanted)
        unknown = 0
        for studies in pending.values():
            for uid, events in studies.items():
                for event in events:
                    unknown += merge(records[uid], event)
        self._counts["updates_unknown"] += unknown
        conflicting = self._write(
            {shard: (self._moves(shard, last), [records[uid] for uid in studies]) for shard, studies in pending.items()}
        )
        self._counts["conflicts"] += len(conflicting)
        return {shard: pending[shard] for shard in conflicting}

    def _moves(self, shard: int, last: Mapping[str, int]) -> list[OffsetMove]:
        return [
            OffsetMove(partition, self._applied[partition][shard], offset)
            for partition, offset in last.items()
            if offset > self._applied[partition][shard]
        ]

    def _write(self, batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]]) -> list[int]:
        """Write by shard; returns the shards where another writer came between."""
        raised, conflicts = self._studies.write(batches)
        self._counts["times_raised"] += raised
        for shard, (moves, _) in batches.items():
            if shard not in conflicts:
                for move in moves:
                    self._applied[move.partition][shard] = move.new
        for conflict in conflicts.values():
            if isinstance(conflict, OffsetConflict):
                raise conflict
        return list(conflicts)
