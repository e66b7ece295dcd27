"""Study records in Redis: read in part or whole, written together with the Kafka offsets, listed for a slice."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import count, islice
from secrets import token_bytes
from types import MappingProxyType
from typing import Any, Final, NamedTuple, TypeVar

from msgspec import Struct, field

from state.comparison import Comparison
from state.connection import Arg, Connection, Meanwhile, ScriptCall
from state.debts import DebtMove
from state.errors import AnchorGone, OffsetConflict, RevConflict, StateError
from state.imports import FIELD
from state.keys import ShardKeys, shard_of
from state.packing import FIRST_CHUNK, GLIMPSE, HEAD, Glimpse, Packer, chunk_field
from state.record import CHUNK_TARGET, StudyRecord, chunk_of, split_source

NO_OFFSET: Final = -1
FIRST_GENERATION: Final = 1  # of a shard in which no cut was taken

T = TypeVar("T")


class PartsWanted(Struct):
    """Which part of a study a batch touches: these instances, or everything."""

    sop_instance_uids: set[str] = field(default_factory=set)
    everything: bool = False


@dataclass(frozen=True, slots=True)
class OffsetMove:
    """A shard's last applied offset of one partition goes from ``expected`` to ``new`` (-1: none yet).

    ``anchor`` is what has to be found beside it (:mod:`state.anchors`); empty: whatever is there.
    """

    partition: str
    expected: int
    new: int
    anchor: bytes = b""


@dataclass(frozen=True, slots=True)
class Written:
    """What a write came to.

    ``raised`` studies were moved up to the chain's start, ``late`` ones changed before the latest cut. ``conflicts``
    tells by shard what kept it from being written: :class:`ShardMoved` or :class:`RevConflict`. All other shards
    are written.
    """

    raised: int
    late: int
    conflicts: Mapping[int, StateError]


class ReadStudy(NamedTuple):
    """A whole record as it was read for an inventory, and when (UTC microseconds of the state server's clock)."""

    record: StudyRecord
    read_at: int


class Studies:
    """The study records of one repository. Not for use by several threads at once."""

    def __init__(
        self, connection: Connection, repository: str, shards: int, comparison: Comparison | None = None
    ) -> None:
        """``comparison``: the repository is compared with another one; each write moves studies to their places."""
        self._connection = connection
        self._packer = Packer()
        self._revs = Revs()
        self.repository = repository
        self.shards = shards
        self._keys = [ShardKeys(repository, shard) for shard in range(shards)]
        self._comparison = comparison
        self._applying = [_keys_of_shard(keys, comparison) for keys in self._keys]

    def shard_of(self, study_instance_uid: str) -> int:
        return shard_of(study_instance_uid, self.shards)

    def _study_key(self, study_instance_uid: str) -> str:
        return self._keys[self.shard_of(study_instance_uid)].study(study_instance_uid)

    # --- the event path ----------------------------------------------------------------------------------------

    def read_parts(self, wanted: Mapping[str, PartsWanted], meanwhile: Meanwhile = None) -> dict[str, StudyRecord]:
        """The touched parts of studies, those of each as they were at one moment.

        One round trip, a second one only for studies of more than one chunk. ``meanwhile`` as in
        :meth:`Connection.call`.
        """
        records = self._read_parts(wanted, meanwhile)
        while len(records) < len(wanted):
            records |= self._read_parts({uid: wanted[uid] for uid in wanted.keys() - records.keys()})
        return records

    def _read_parts(self, wanted: Mapping[str, PartsWanted], meanwhile: Meanwhile = None) -> dict[str, StudyRecord]:
        """The same without the studies that another writer has changed between the two round trips."""
        by_shard: dict[int, list[str]] = {}
        for uid in wanted:
            by_shard.setdefault(self.shard_of(uid), []).append(uid)
        calls = [
            ScriptCall("read_heads", [self._keys[shard].study(uid) for uid in uids], [*HEAD, FIRST_CHUNK])
            for shard, uids in by_shard.items()
        ]
        records = {}
        first_chunks: dict[str, bytes | None] = {}
        for uids, reply in zip(by_shard.values(), self._connection.call(calls, meanwhile), strict=True):
            for uid, found in zip(uids, reply, strict=True):
                if found is None:
                    records[uid] = StudyRecord(uid)
                    continue
                records[uid] = self._packer.unpack_head(uid, found)
                first_chunks[uid] = found[-1]
        for uid, record in records.items():
            if record.in_state.chunks:
                self._packer.unpack_chunk(record, 0, first_chunks[uid])
        for uid, (rev, chunks) in self._read_further(wanted, records).items():
            if rev != records[uid].in_state.rev:
                del records[uid]
                continue
            for index, packed in chunks.items():
                self._packer.unpack_chunk(records[uid], index, packed)
        return records

    def _read_further(
        self, wanted: Mapping[str, PartsWanted], records: Mapping[str, StudyRecord]
    ) -> dict[str, tuple[bytes, dict[int, bytes | None]]]:
        """By study its ``rev`` and the chunks beyond the first that are needed."""
        needed = {
            uid: sorted(indexes)
            for uid, record in records.items()
            if record.in_state.chunks > 1 and (indexes := _chunks_needed(record, wanted[uid]))
        }
        replies = self._connection.send(
            [("HMGET", self._study_key(uid), b"rev", *map(chunk_field, chunks)) for uid, chunks in needed.items()]
        )
        return {
            uid: (rev, dict(zip(needed[uid], found, strict=True)))
            for uid, (rev, *found) in zip(needed, replies, strict=True)
        }

    def glance(self, study_instance_uids: Iterable[str]) -> dict[str, Glimpse]:
        """What the state has of studies, told by little; those that it does not have are left out. One round trip."""
        uids = list(study_instance_uids)
        replies = self._connection.send([("HMGET", self._study_key(uid), *GLIMPSE) for uid in uids])
        return {
            uid: self._packer.unpack_glimpse(found)
            for uid, found in zip(uids, replies, strict=True)
            if found[0] is not None
        }

    def write(
        self,
        batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]],
        meanwhile: Meanwhile = None,
        debts: Mapping[int, Sequence[DebtMove]] = MappingProxyType({}),
    ) -> Written:
        """Write changed records and move offsets and debts, one script for each shard, each all or nothing.

        ``debts`` are by shard, of shards that are among ``batches``; ``meanwhile`` as in :meth:`Connection.call`.
        """
        return self.begin_write(batches, meanwhile, debts)(meanwhile)

    def begin_write(
        self,
        batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]],
        meanwhile: Meanwhile = None,
        debts: Mapping[int, Sequence[DebtMove]] = MappingProxyType({}),
    ) -> Callable[[Meanwhile], Written]:
        """As :meth:`write`, but what became of it is told by calling what this returns, once."""
        # One shard's records are packed while the server works on those before.
        calls = (
            self._apply_call(shard, moves, records, debts.get(shard, ())) for shard, (moves, records) in batches.items()
        )
        replies = self._connection.begin(calls, meanwhile)

        def written(meanwhile: Meanwhile) -> Written:
            return _written(batches, replies(meanwhile))

        return written

    def _apply_call(
        self,
        shard: int,
        moves: Sequence[OffsetMove],
        records: Sequence[StudyRecord],
        debts: Sequence[DebtMove],
    ) -> ScriptCall:
        keys, pack_head, next_rev = self._keys[shard], self._packer.pack_head, self._revs.next
        comparison = self._comparison
        args: list[Arg] = ["" if comparison is None else comparison.side, len(moves)]
        for move in moves:
            args += (move.partition, move.expected, move.new, move.anchor)
        keys_of_changed = []
        stem = keys.study("")
        for record in records:
            before, uid, time = record.in_state, record.study_instance_uid, record.update_time
            study, series = pack_head(record)
            if not _is_changed(record, time, study, series):
                if record.renewed:
                    keys_of_changed.append(stem + uid)
                    args += (uid, before.rev, 2, b"rev", next_rev(), 0)
                    if comparison is not None:
                        args.append("")
                continue
            keys_of_changed.append(stem + uid)
            rev = next_rev()
            words: list[Arg] = [b"rev", rev, b"time", time, b"study", study]
            gone: Sequence[bytes] = ()
            if record.note is not None:
                words += (FIELD, record.note.pack(rev))
            if series != before.series:
                words += (b"series", series)
            for index in sorted(record.changed_chunks):
                if index < len(record.chunks):
                    words += (chunk_field(index), self._packer.pack_chunk(record, index))
            if before.chunks > len(record.chunks):
                gone = [chunk_field(index) for index in range(len(record.chunks), before.chunks)]
            args += (uid, before.rev, len(words), *words, len(gone), *gone)
            if comparison is not None:
                args.append("" if comparison.is_elsewhere(uid) else comparison.summary(record))
        args.append(len(debts))
        for debt in debts:
            args += debt
        return ScriptCall(
            "apply",
            [*self._applying[shard], *keys_of_changed],
            args,
        )

    def offsets(self, partition: str) -> list[int]:
        """The last offset of a partition that each shard has applied, -1 for none."""
        replies = self._connection.send([("HGET", keys.offsets, partition) for keys in self._keys])
        return [NO_OFFSET if found is None else int(found) for found in replies]

    def lower_offsets(self, partition: str, last: int) -> int:
        """Let no shard's offset of a partition stand above ``last`` (-1: none); how many shards were lowered."""
        calls = [ScriptCall("lower_offsets", [keys.offsets], [partition, last]) for keys in self._keys]
        return sum(self._connection.call(calls))

    # --- the index ---------------------------------------------------------------------------------------------

    def count(self) -> int:
        """How many studies the state holds, removed ones included."""
        return sum(self._connection.send([("ZCARD", keys.updated) for keys in self._keys]))

    def newest_update(self) -> int | None:
        """The latest Study Update DateTime of all (UTC microseconds); None if there is no study."""
        replies = self._connection.send([("ZRANGE", keys.updated, -1, -1, "WITHSCORES") for keys in self._keys])
        return max((int(float(newest[0][1])) for newest in replies if newest), default=None)

    def owed(self) -> int:
        """How many studies have changed since they were last inventoried."""
        return sum(self._connection.send([("ZCARD", keys.changed) for keys in self._keys]))

    def oldest_debt(self) -> int | None:
        """How many cuts were taken since the oldest debt arose, None if nothing is owed.

        0: the next cut owes it. More than 1 for long: a study is passed over, which should not be.
        """
        replies = self._connection.send(
            [
                command
                for keys in self._keys
                for command in (("GET", keys.generation), ("ZRANGE", keys.changed, 0, 0, "WITHSCORES"))
            ]
        )
        ages = [
            int(generation or FIRST_GENERATION) - int(oldest[0][1])
            for generation, oldest in batches(replies, 2)
            if oldest
        ]
        return max(ages) if ages else None

    def changed(self, shard: int, up_to: int) -> list[str]:
        """The shard's studies that a cut up to generation ``up_to`` owes, by Study Instance UID."""
        return self._by_score(self._keys[shard].changed, "-inf", up_to)

    def updated(self, shard: int, begin: int | None, end: int | None) -> list[str]:
        """The shard's studies whose Study Update DateTime lies in [begin, end] (None: open), by Study Instance UID."""
        return self._by_score(
            self._keys[shard].updated, "-inf" if begin is None else begin, "+inf" if end is None else end
        )

    def _by_score(self, key: str, low: int | str, high: int | str) -> list[str]:
        [found] = self._connection.send([("ZRANGEBYSCORE", key, low, high)])
        return sorted(uid.decode("ascii") for uid in found)

    # --- reading whole records ---------------------------------------------------------------------------------

    def read(self, study_instance_uids: Iterable[str], page: int = 100) -> Iterator[ReadStudy]:
        """Whole records in the order asked for, a page at a time; a study that is not there is passed over."""
        unpack = self._packer.unpack
        for uids in batches(study_instance_uids, page):
            read_at = self._connection.now()
            found = self._connection.send([("HGETALL", self._study_key(uid)) for uid in uids])
            for uid, fields in zip(uids, found, strict=True):
                if fields:
                    yield ReadStudy(unpack(uid, fields), read_at)


def _keys_of_shard(keys: ShardKeys, comparison: Comparison | None) -> tuple[str, ...]:
    """What apply.lua wants of a shard, whatever the studies."""
    return (
        keys.offsets,
        keys.updated,
        keys.changed,
        keys.generation,
        keys.start,
        keys.cut,
        keys.anchors,
        keys.owed,
        keys.owed_due,
        keys.owed_tries,
        *(() if comparison is None else comparison.keys(keys.shard)),
    )


def _written(
    batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]], replies: Sequence[Any]
) -> Written:
    """What apply.lua has answered for each shard."""
    raised = late = 0
    conflicts: dict[int, StateError] = {}
    for (shard, (moves, _)), reply in zip(batches.items(), replies, strict=True):
        outcome = reply[0]
        if outcome == b"applied":
            raised += reply[1]
            late += reply[2]
        elif outcome == b"offset":
            move = moves[reply[1]]
            conflicts[shard] = OffsetConflict(move.partition, shard, move.expected, reply[2])
        elif outcome == b"anchor":
            conflicts[shard] = AnchorGone(moves[reply[1]].partition, shard)
        else:
            conflicts[shard] = RevConflict(shard)
    return Written(raised, late, conflicts)


def batches(found: Iterable[T], size: int) -> Iterator[list[T]]:
    """``found`` in lists of at most ``size``, reading no further ahead than one."""
    iterator = iter(found)
    while page := list(islice(iterator, size)):
        yield page


def _is_changed(record: StudyRecord, time: int, study: bytes, series: bytes) -> bool:
    """Whether there is anything to write: an event that came twice leaves a record as it was. ``time`` is its own."""
    before = record.in_state
    if not time:
        return False  # news of a patient whose study is not stored yet
    return bool(study != before.study or record.changed_chunks or series != before.series or time > before.time)


class Revs:
    """Values that no write ever had before: eight random bytes for each writer, and a count."""

    def __init__(self) -> None:
        self._writer = token_bytes(8)
        self._count = count()

    def next(self) -> bytes:
        return self._writer + next(self._count).to_bytes(5, "big")


def _chunks_needed(record: StudyRecord, wanted: PartsWanted) -> set[int]:
    """Chunks beyond the first that a batch may touch, those included that its new instances may split."""
    held = record.in_state.chunks
    removed = record.tombstone is not None or any(one.tombstone is not None for one in record.series.values())
    if wanted.everything or removed or record.rejected:
        # What a rejection note has removed comes back when the note goes.
        return set(range(1, held))
    needed = {chunk_of(uid, held) for uid in wanted.sop_instance_uids}
    most = record.known_instances + len(wanted.sop_instance_uids)
    sources = {split_source(count) for count in range(held, -(-most // CHUNK_TARGET))}
    needed |= {source for source in sources if source < held}
    needed.discard(0)
    return needed
