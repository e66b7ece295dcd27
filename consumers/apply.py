"""Decoded messages applied to the state: steps 2 to 5 of the order that everything rests on (design, section 4).

State and Kafka offsets move together, by shard, in one script. So what was applied is known to the state itself, and a
message that comes again changes nothing.

What has become of a batch's last write is asked when the next batch is about to touch the state: while the servers do
it, the next batch is decoded and merged (docs/decisions/0013).

Events of patients concern studies of any shard (docs/decisions/0010). They are kept before anything else of the batch,
then the studies that they concern are written, and offsets move with the batch's own studies after that. One that any
shard has not covered is applied again as a whole, which changes nothing where it was.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from time import perf_counter_ns
from types import MappingProxyType
from typing import Final, TypeAlias

from consumers.counts import Counts
from consumers.events import PatientEvent
from consumers.grouping import Decoded, group
from consumers.merge import Placed, merge, parts_wanted
from consumers.owing import Owing, Pending, ShardEvents
from state.anchors import Anchors
from state.connection import Meanwhile
from state.debts import DebtMove
from state.errors import OffsetConflict, ShardMoved
from state.patient_news import News, Patient
from state.patients import Patients
from state.record import StudyRecord
from state.studies import OffsetMove, PartsWanted, Studies, batches

_Applying: TypeAlias = "Generator[None, Meanwhile, None]"

_PAGE: Final = 2000  # studies
_BACKFILL: Final = 500  # studies of a batch; fewer tell nothing of what comes next
_KNOWN_SHARE: Final = 500  # one in so many studies of a backfill may be known


@dataclass(frozen=True, slots=True)
class _Concerned:
    """Studies that a batch concerns whether or not it has events of theirs.

    ``by_news``: something was told of their patient. ``named_again`` as in :class:`Grouped`.
    """

    by_news: set[str]
    named_again: set[str]

    @property
    def studies(self) -> set[str]:
        return self.by_news | self.named_again


class _ToldAt:
    """When the events of a batch were told; looked up only for studies that were imported."""

    def __init__(self, batch: Sequence[Decoded]) -> None:
        self._batch = batch
        self._timestamps: dict[tuple[str, int], int] = {}

    def new_to(self, record: StudyRecord, placed: Sequence[Placed]) -> Sequence[Placed]:
        """Those of a study's events that the Inventory it was imported from did not have in it."""
        covered = record.covered
        if covered is None:
            return placed
        if not self._timestamps:
            self._timestamps = {(one.partition, one.offset): one.timestamp for one in self._batch}
        told = self._timestamps
        return [one for one in placed if not covered.covers(one[0].time, told[one[1], one[2]])]


@dataclass(frozen=True, slots=True)
class _Batch:
    """What holds for all studies of a batch; ``last`` is by partition its last offset."""

    last: Mapping[str, int]
    told_at: _ToldAt
    concerned: _Concerned


class _Wanted(Mapping[str, PartsWanted]):
    """Which part of each study its events touch, worked out when asked for: of most studies there is one part only."""

    def __init__(self, placed: Mapping[str, Sequence[Placed]]) -> None:
        self._placed = placed

    def __getitem__(self, study_instance_uid: str) -> PartsWanted:
        return parts_wanted(self._placed[study_instance_uid])

    def __iter__(self) -> Iterator[str]:
        return iter(self._placed)

    def __len__(self) -> int:
        return len(self._placed)


class Applier:
    """Applies messages of the partitions that were assigned to it. Not for several threads at once."""

    def __init__(self, studies: Studies, patients: Patients, owing: Owing, counts: Counts) -> None:
        self._studies = studies
        self._patients = patients
        self._owing = owing
        self._counts = counts
        self._applied: dict[str, list[int]] = {}  # partition -> last offset applied, by shard
        self._anchors = Anchors()
        self._backfill = False  # of the latest batch hardly any study was known
        self._begun: _Applying | None = None  # what is left of the batch that was begun last

    @property
    def partitions(self) -> frozenset[str]:
        return frozenset(self._applied)

    def assign(self, partition: str) -> int:
        """Read the partition's offsets from all shards; returns the lowest: what was applied everywhere (-1: none)."""
        self.settle()
        self._anchors.forget(partition)
        self._applied[partition] = self._studies.offsets(partition)
        return min(self._applied[partition])

    def revoke(self, partition: str) -> None:
        """Forget a partition that is no longer this consumer's."""
        self.settle()
        self._applied.pop(partition, None)
        self._anchors.forget(partition)

    def apply(self, batch: Sequence[Decoded], meanwhile: Meanwhile = None) -> None:
        """Apply a batch: records of assigned partitions, each partition's in rising order.

        ``meanwhile`` is other work, a part of which is done at each call, while the state's servers do theirs.

        Raises:
            ShardMoved: the shard is not where this consumer left it; :meth:`assign` the partition again and seek.
            StateUnreachable: the batch may be applied in part; applying it again is safe.
        """
        self.begin(batch, meanwhile)
        self.settle(meanwhile)

    def begin(self, batch: Sequence[Decoded], meanwhile: Meanwhile = None) -> None:
        """As :meth:`apply`, but the last write of the batch is only sent: whatever is called next waits for it.

        So every method, this one too, may raise what concerns the batch before; then nothing of its own was done.
        """
        with self._timed():
            last = {record.partition: record.offset for record in batch}
            grouped = group(batch, self._applied, self._studies.shard_of)
            self._counts.update(grouped.counts)
            pending = grouped.pending
            if grouped.of_patients or not pending.by_shard:
                self._finish(meanwhile)
            concerned = _Concerned(self._keep(grouped.of_patients, last), grouped.named_again)
            told = _Batch(last, _ToldAt(batch), concerned)
            # Studies without events of their own, some at a time: a patient may have very many. No offset moves.
            for uids in batches(concerned.studies.difference(*pending.by_shard.values()), _PAGE):
                others = Pending()
                for uid in uids:
                    others.by_shard.setdefault(self._studies.shard_of(uid), {})[uid] = []
                for _ in self._applying(others, told, {}, None):
                    pass
            applying = self._applying(pending, told, last, meanwhile)
            next(applying, None)
            self._begun = applying
        self._counts["batches"] += 1

    def settle(self, meanwhile: Meanwhile = None) -> None:
        """Wait until what was begun is written; raises as :meth:`apply`."""
        if self._begun is not None:
            with self._timed():
                self._finish(meanwhile)

    def advance(self, positions: dict[str, int]) -> None:
        """5. Move the offset of shards that had nothing in the latest batches up to ``positions`` (last offsets)."""
        self.settle()
        moving = {}
        for shard in range(self._studies.shards):
            moves = self._moves(shard, positions)
            if moves:
                moving[shard] = (moves, ())
        self._begin_write(moving)(None)

    def check(self) -> None:
        """Compare every shard's offsets with what this consumer believes.

        On a quiet stream nothing else would show that a shard lost its tail, or that its offsets were lowered.

        Raises:
            OffsetConflict: one differs.
        """
        self.settle()
        for partition, applied in self._applied.items():
            for shard, found in enumerate(self._studies.offsets(partition)):
                if found != applied[shard]:
                    raise OffsetConflict(partition, shard, applied[shard], found)

    @contextmanager
    def _timed(self) -> Iterator[None]:
        begun = perf_counter_ns()
        yield
        self._counts["apply_microseconds"] += (perf_counter_ns() - begun) // 1000

    def _finish(self, meanwhile: Meanwhile) -> None:
        left, self._begun = self._begun, None
        if left is not None:
            with suppress(StopIteration):
                while True:
                    left.send(meanwhile)

    def _keep(self, events: Collection[PatientEvent], last: Mapping[str, int]) -> set[str]:
        """Keep what was told of patients; the studies that it concerns."""
        self._counts["events_patient"] += len(events)
        if not events:
            return set()
        self._anchors.begin(last)
        news: list[tuple[Patient, News]] = []
        merged: list[tuple[Patient, Patient]] = []
        for event in events:
            told = News.of(event.time, event.attributes)
            news.append((event.patient, told))
            if event.prior is not None:
                news.append((event.prior, told))
                merged.append((event.prior, event.patient))
        self._patients.keep(news, merged, self._anchors)
        return self._patients.studies({patient for patient, _ in news})

    def _applying(self, pending: Pending, told: _Batch, moving: Mapping[str, int], meanwhile: Meanwhile) -> _Applying:
        """2. Read the touched parts, 3. merge, 4. write; again for the shards where a study was not as it was read.

        Stops whenever a write was sent; goes on with the answers. Offsets move up to ``moving``.

        While an archive's past comes in, every study is new. Then nothing is read: all are taken for new, and writing
        finds out where one is not.
        """
        left = pending.by_shard
        studies = sum(map(len, left.values()))
        many = studies >= _BACKFILL and not told.concerned.studies
        known, read = 0, not (self._backfill and many)
        while left:
            if read or self._owing.is_asked(owing=pending.owing):
                self._finish(meanwhile)
            decided = self._owing.decide(left, owing=pending.owing)
            events = decided.events
            records = self._read(events, meanwhile) if read else _as_if_new(events)
            known += sum(bool(record.in_state.rev) for record in records.values())
            written = self._begin_once(events, decided.debts, records, told, moving, meanwhile)
            if not read:  # only here: else much is held, which is better forgotten before the next is fetched
                meanwhile = yield
            conflicting = written(meanwhile)
            for shard in events.keys() - {*conflicting}:
                self._counts["answers"] += decided.answers[shard]
                self._counts["answers_outdated"] += decided.outdated[shard]
            left = {shard: left[shard] for shard in conflicting}
            self._counts["conflicts"] += len(left) if read else 0
            read = True
        if studies:
            self._backfill = many and known * _KNOWN_SHARE <= studies

    def _read(self, events: Mapping[int, ShardEvents], meanwhile: Meanwhile) -> dict[str, StudyRecord]:
        placed = {uid: some for by_uid in events.values() for uid, some in by_uid.items()}
        return self._studies.read_parts(_Wanted(placed), meanwhile)

    def _begin_once(
        self,
        events: Mapping[int, ShardEvents],
        debts: Mapping[int, Sequence[DebtMove]],
        records: Mapping[str, StudyRecord],
        told: _Batch,
        moving: Mapping[str, int],
        meanwhile: Meanwhile,
    ) -> Callable[[Meanwhile], list[int]]:
        """Steps 3 and 4; what it returns tells the shards that were not written."""
        new_to = told.told_at.new_to
        unknown = {
            shard: sum([merge(records[uid], new_to(records[uid], placed)) for uid, placed in studies.items()])
            for shard, studies in events.items()
        }
        for uid in told.concerned.by_news & records.keys():
            # Who is about to write one of these may have read the news before it was kept: let it read again.
            records[uid].renewed = True
        self._finish(meanwhile)
        self._anchors.begin(told.last)
        self._patients.lay_news(records.values(), self._anchors, told.concerned.named_again, meanwhile)
        moves = {shard: self._moves(shard, moving) for shard in events}
        writes = {shard: (moves[shard], [records[uid] for uid in studies]) for shard, studies in events.items()}
        finish = self._begin_write(writes, meanwhile, debts)

        def written(meanwhile: Meanwhile) -> list[int]:
            conflicting = finish(meanwhile)
            self._counts["updates_unknown"] += sum(unknown[shard] for shard in events.keys() - {*conflicting})
            return conflicting

        return written

    def _moves(self, shard: int, last: Mapping[str, int]) -> list[OffsetMove]:
        return [
            OffsetMove(partition, self._applied[partition][shard], offset, self._anchors.left(shard, partition))
            for partition, offset in last.items()
            if offset > self._applied[partition][shard]
        ]

    def _begin_write(
        self,
        batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]],
        meanwhile: Meanwhile = None,
        debts: Mapping[int, Sequence[DebtMove]] = MappingProxyType({}),
    ) -> Callable[[Meanwhile], list[int]]:
        """Write by shard; what it returns tells the shards where another writer came between."""
        finish = self._studies.begin_write(batches, meanwhile, debts)

        def written(meanwhile: Meanwhile) -> list[int]:
            found = finish(meanwhile)
            self._counts["times_raised"] += found.raised
            self._counts["studies_late"] += found.late
            for shard, (moves, _) in batches.items():
                if shard not in found.conflicts:
                    for move in moves:
                        self._applied[move.partition][shard] = move.new
                        self._anchors.lift(shard, move.partition)
            for conflict in found.conflicts.values():
                if isinstance(conflict, ShardMoved):
                    raise conflict
            return list(found.conflicts)

        return written


def _as_if_new(events: Mapping[int, ShardEvents]) -> dict[str, StudyRecord]:
    return {uid: StudyRecord(uid) for by_uid in events.values() for uid in by_uid}
