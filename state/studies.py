"""Study records in Redis: read in part or whole, written together with the Kafka offsets, listed for a slice."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import islice
from secrets import token_bytes
from typing import Final, TypeVar

from state.connection import Arg, Connection, ScriptCall
from state.errors import OffsetConflict, RevConflict, StateError
from state.keys import ShardKeys, shard_of
from state.packing import FIRST_CHUNK, HEAD, Packer, chunk_field
from state.record import CHUNK_TARGET, StudyRecord, chunk_of, split_source
from state.times import MICROSECONDS

NO_OFFSET: Final = -1

T = TypeVar("T")


@dataclass(slots=True)
class PartsWanted:
    """Which part of a study a batch touches: these instances, or everything."""

    sop_instance_uids: set[str] = field(default_factory=set)
    everything: bool = False


@dataclass(frozen=True, slots=True)
class OffsetMove:
    """A shard's last applied offset of one partition goes from ``expected`` to ``new`` (-1: none yet)."""

    partition: str
    expected: int
    new: int


@dataclass(frozen=True, slots=True)
class ReadStudy:
    """A whole record as it was read for an inventory, and when (UTC microseconds of the state server's clock)."""

    record: StudyRecord
    read_at: int


class Studies:
    """The study records of one repository. Not for use by several threads at once."""

    def __init__(self, connection: Connection, repository: str, shards: int) -> None:
        self._connection = connection
        self._packer = Packer()
        self.repository = repository
        self.shards = shards
        self._keys = [ShardKeys(repository, shard) for shard in range(shards)]

    def shard_of(self, study_instance_uid: str) -> int:
        return shard_of(study_instance_uid, self.shards)

    def _study_key(self, study_instance_uid: str) -> str:
        return self._keys[self.shard_of(study_instance_uid)].study(study_instance_uid)

    # --- the event path ----------------------------------------------------------------------------------------

    def read_parts(self, wanted: Mapping[str, PartsWanted]) -> dict[str, StudyRecord]:
        """The touched parts of studies; one round trip, a second one only for studies of more than one chunk."""
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for uid in wanted:
                pipeline.hmget(self._study_key(uid), [*HEAD, FIRST_CHUNK])
            records = {}
            first_chunks: dict[str, bytes | None] = {}
            for uid, found in zip(wanted, pipeline.execute(), strict=True):
                records[uid] = self._packer.unpack_head(uid, found[:-1])
                first_chunks[uid] = found[-1]
            further = self._read_further(wanted, records)
        for uid, record in records.items():
            if record.in_state.chunks:
                self._packer.unpack_chunk(record, 0, first_chunks[uid])
            for index, packed in further.get(uid, {}).items():
                self._packer.unpack_chunk(record, index, packed)
        return records

    def _read_further(
        self, wanted: Mapping[str, PartsWanted], records: Mapping[str, StudyRecord]
    ) -> dict[str, dict[int, bytes | None]]:
        needed = {
            uid: sorted(indexes)
            for uid, record in records.items()
            if record.in_state.chunks > 1 and (indexes := _chunks_needed(record, wanted[uid]))
        }
        if not needed:
            return {}
        pipeline = self._connection.pipeline()
        for uid, chunks in needed.items():
            pipeline.hmget(self._study_key(uid), [chunk_field(index) for index in chunks])
        replies = pipeline.execute()
        return {uid: dict(zip(needed[uid], found, strict=True)) for uid, found in zip(needed, replies, strict=True)}

    def write(
        self, batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]]
    ) -> tuple[int, dict[int, StateError]]:
        """Write changed records and move offsets, one script for each shard, each all or nothing.

        Returns:
            How many studies were moved up to the chain's start, and by shard the conflict that kept it from being
            written: :class:`OffsetConflict` or :class:`RevConflict`. Shards without one are written.
        """
        calls = [self._apply_call(shard, moves, records) for shard, (moves, records) in batches.items()]
        moved = 0
        conflicts: dict[int, StateError] = {}
        for (shard, (moves, _)), reply in zip(batches.items(), self._connection.call(calls), strict=True):
            outcome = reply[0]
            if outcome == b"applied":
                moved += reply[1]
            elif outcome == b"offset":
                move = moves[reply[1]]
                conflicts[shard] = OffsetConflict(move.partition, shard, move.expected, reply[2])
            else:
                conflicts[shard] = RevConflict(shard)
        return moved, conflicts

    def _apply_call(self, shard: int, moves: Sequence[OffsetMove], records: Sequence[StudyRecord]) -> ScriptCall:
        keys = self._keys[shard]
        args: list[Arg] = [len(moves)]
        for move in moves:
            args += (move.partition, move.expected, move.new)
        changed: list[Arg] = []
        keys_of_changed = []
        for record in records:
            study, series = self._packer.pack_head(record)
            if not _is_changed(record, study, series):
                continue
            keys_of_changed.append(keys.study(record.study_instance_uid))
            fields: list[Arg] = [b"study", study, b"series", series]
            for index in sorted(record.changed_chunks):
                if index < len(record.chunks):
                    fields += (chunk_field(index), self._packer.pack_chunk(record, index))
            gone = [chunk_field(index) for index in range(len(record.chunks), record.in_state.chunks)]
            changed += (record.study_instance_uid, record.in_state.rev, new_rev(), record.update_time)
            changed += (len(fields) // 2, *fields, len(gone), *gone)
        args += (len(keys_of_changed), *changed)
        return ScriptCall(
            "apply",
            [
                keys.offsets,
                keys.updated,
                keys.changed,
                keys.generation,
                keys.start,
                *keys_of_changed,
            ],
            args,
        )

    def offsets(self, partition: str) -> list[int]:
        """The last offset of a partition that each shard has applied, -1 for none."""
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.hget(keys.offsets, partition)
            return [NO_OFFSET if found is None else int(found) for found in pipeline.execute()]

    def lower_offsets(self, partition: str, last: int) -> int:
        """Let no shard's offset of a partition stand above ``last`` (-1: none); how many shards were lowered."""
        calls = [ScriptCall("lower_offsets", [keys.offsets], [partition, last]) for keys in self._keys]
        return sum(self._connection.call(calls))

    # --- the index ---------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many studies the state holds, removed ones included."""
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.zcard(keys.updated)
            return sum(pipeline.execute())

    def owed(self) -> int:
        """How many studies have changed since they were last inventoried."""
        with self._connection.errors():
            pipeline = self._connection.pipeline()
            for keys in self._keys:
                pipeline.zcard(keys.changed)
            return sum(pipeline.execute())

    def changed(self, shard: int, up_to: int) -> list[str]:
        """The shard's studies that a cut up to generation ``up_to`` owes, by Study Instance UID."""
        return self._by_score(self._keys[shard].changed, "-inf", up_to)

    def updated(self, shard: int, begin: int | None, end: int | None) -> list[str]:
        """The shard's studies whose Study Update DateTime lies in [begin, end] (None: open), by Study Instance UID."""
        return self._by_score(
            self._keys[shard].updated, "-inf" if begin is None else begin, "+inf" if end is None else end
        )

    def _by_score(self, key: str, low: int | str, high: int | str) -> list[str]:
        with self._connection.errors():
            found: list[bytes] = self._connection.client.zrangebyscore(key, low, high)  # type: ignore[assignment]
        return sorted(uid.decode("ascii") for uid in found)

    # --- reading whole records ---------------------------------------------------------------------------------

    def read(self, study_instance_uids: Iterable[str], page: int = 100) -> Iterator[ReadStudy]:
        """Whole records in the order asked for, a page at a time; a study that is not there is passed over."""
        for uids in batches(study_instance_uids, page):
            with self._connection.errors():
                pipeline = self._connection.pipeline()
                pipeline.time()
                for uid in uids:
                    pipeline.hgetall(self._study_key(uid))
                (seconds, micros), *found = pipeline.execute()
            for uid, fields in zip(uids, found, strict=True):
                if fields:
                    yield ReadStudy(self._packer.unpack(uid, fields), seconds * MICROSECONDS + micros)


def batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """``found`` in lists of at most ``size``, reading no further ahead than one."""
    iterator = iter(found)
    while page := list(islice(iterator, size)):
        yield page


def _is_changed(record: StudyRecord, study: bytes, series: bytes) -> bool:
    """Whether there is anything to write: an event that came twice leaves a record as it was."""
    before = record.in_state
    return bool(
        record.changed_chunks or study != before.study or series != before.series or record.update_time > before.time
    )


def new_rev() -> bytes:
    """A value that no write ever had before: 12 random bytes."""
    return token_bytes(12)


def _chunks_needed(record: StudyRecord, wanted: PartsWanted) -> set[int]:
    """Chunks beyond the first that a batch may touch, those included that its new instances may split."""
    held = record.in_state.chunks
    removed = record.tombstone is not None or any(one.tombstone is not None for one in record.series.values())
    if wanted.everything or removed:
        return set(range(1, held))
    needed = {chunk_of(uid, held) for uid in wanted.sop_instance_uids}
    most = record.known_instances + len(wanted.sop_instance_uids)
    sources = {split_source(count) for count in range(held, -(-most // CHUNK_TARGET))}
    needed |= {source for source in sources if source < held}
    needed.discard(0)
    return needed
