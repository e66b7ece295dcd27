"""Decoded messages applied to the state: steps 2 to 5 of the order that everything rests on (design, section 4).

State and Kafka offsets move together, by shard, in one script. So what was applied is known to the state itself, and a
message that comes again changes nothing.

Events of patients concern studies of any shard (docs/decisions/0010). They are kept before anything else of the batch,
then the studies that they concern are written, and offsets move with the batch's own studies after that. One that any
shard has not covered is applied again as a whole, which changes nothing where it was.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from time import perf_counter_ns
from types import MappingProxyType
from typing import Final

from msgspec import Struct

from consumers.counts import CountName, Counts
from consumers.events import Action, Event, Heartbeat, PatientEvent, Told
from consumers.merge import Placed, merge, parts_wanted
from consumers.owing import Mixed, Owing, Pending, ShardEvents
from state.anchors import Anchors
from state.attributes import ISSUER_OF_PATIENT_ID, PATIENT_ID
from state.connection import Meanwhile
from state.debts import DebtMove
from state.errors import OffsetConflict, ShardMoved
from state.patient_news import News, Patient
from state.patients import Patients
from state.record import StudyRecord
from state.studies import OffsetMove, PartsWanted, Studies, batches

_PAGE: Final = 2000  # studies
_BACKFILL: Final = 500  # studies of a batch; fewer tell nothing of what comes next
_KNOWN_SHARE: Final = 500  # one in so many studies of a backfill may be known
_UNKNOWN: Final = 1 << 63
_COUNT_OF: Final[dict[Action, CountName]] = {
    Action.STORE: "events_store",
    Action.UPDATE: "events_update",
    Action.DELETE: "events_delete",
}


class Decoded(Struct, gc=False):
    """One Kafka record of a partition (``<topic id>:<partition>``) and what it tells; nothing if it was no event.

    ``timestamp`` is the record's in UTC microseconds; one that is not known is later than any.
    """

    partition: str
    offset: int
    told: Sequence[Told]
    timestamp: int = _UNKNOWN


@dataclass(frozen=True, slots=True)
class _Concerned:
    """Studies that a batch concerns whether or not it has events of theirs.

    ``by_news``: something was told of their patient. ``named_again``: an event that their own shard covers, and another
    does not, says whose they are: if that is the patient's shard, it has lost their index entry.
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
        self._told_at = _ToldAt(())

    @property
    def partitions(self) -> frozenset[str]:
        return frozenset(self._applied)

    def assign(self, partition: str) -> int:
        """Read the partition's offsets from all shards; returns the lowest: what was applied everywhere (-1: none)."""
        self._anchors.forget(partition)
        self._applied[partition] = self._studies.offsets(partition)
        return min(self._applied[partition])

    def revoke(self, partition: str) -> None:
        """Forget a partition that is no longer this consumer's."""
        self._applied.pop(partition, None)
        self._anchors.forget(partition)

    def apply(self, batch: Sequence[Decoded], meanwhile: Meanwhile = None) -> None:
        """Apply a batch: records of assigned partitions, each partition's in rising order.

        ``meanwhile`` is other work, a part of which is done at each call, while the state's servers do theirs.

        Raises:
            ShardMoved: the shard is not where this consumer left it; :meth:`assign` the partition again and seek.
            StateUnreachable: the batch may be applied in part; applying it again is safe.
        """
        begun = perf_counter_ns()
        last = {record.partition: record.offset for record in batch}
        self._anchors.begin(last)
        self._told_at = _ToldAt(batch)
        pending, concerned = self._by_shard(batch)
        # Studies without events of their own, some at a time: a patient may have very many. No offset moves with them.
        for uids in batches(concerned.studies.difference(*pending.by_shard.values()), _PAGE):
            others = Pending()
            for uid in uids:
                others.by_shard.setdefault(self._studies.shard_of(uid), {})[uid] = []
            self._apply_all(others, {}, concerned)
        self._apply_all(pending, last, concerned, meanwhile)
        self._counts["batches"] += 1
        self._counts["apply_microseconds"] += (perf_counter_ns() - begun) // 1000

    def advance(self, positions: dict[str, int]) -> None:
        """5. Move the offset of shards that had nothing in the latest batches up to ``positions`` (last offsets)."""
        moving = {}
        for shard in range(self._studies.shards):
            moves = self._moves(shard, positions)
            if moves:
                moving[shard] = (moves, ())
        self._write(moving)

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

    def _by_shard(self, batch: Sequence[Decoded]) -> tuple[Pending, _Concerned]:
        """What is told grouped by shard and study in its order, without what its shard already covers.

        Also the studies that have to be worked out anew for their patient, with events or without.
        """
        pending = Pending()
        store, stores, others = Action.STORE, 0, dict.fromkeys(Action, 0)  # most are stores, and a look-up is slow
        of_patients: list[PatientEvent] = []
        named_again: set[str] = set()
        groups: dict[str, tuple[int, list[Mixed]]] = {}
        shard_of = self._studies.shard_of
        everywhere = {partition: min(applied) for partition, applied in self._applied.items()}
        for record in batch:
            partition, offset = record.partition, record.offset
            applied = self._applied[partition]
            for told in record.told:
                counted: Action | None = None
                if isinstance(told, Event):
                    uid, owing = told.study_instance_uid, told.lacking
                    if told.answers:
                        owing = True
                    else:
                        counted = told.action
                elif isinstance(told, PatientEvent):
                    if offset > everywhere[partition]:
                        of_patients.append(told)
                    continue
                elif isinstance(told, Heartbeat):
                    continue
                else:
                    uid, owing = told.owed, True
                group = groups.get(uid)
                if group is None:
                    group = groups[uid] = (shard_of(uid), [])
                if offset > applied[group[0]]:
                    if owing:
                        pending.owing = True
                    if counted is store:
                        stores += 1
                    elif counted is not None:
                        others[counted] += 1
                    group[1].append((told, partition, offset))
                elif offset > everywhere[partition] and isinstance(told, Event) and _names_patient(told):
                    named_again.add(uid)
        for uid, (shard, mixed) in groups.items():
            if mixed:
                pending.by_shard.setdefault(shard, {})[uid] = mixed
        for action, count in (others | {store: stores}).items():
            self._counts[_COUNT_OF[action]] += count
        return pending, _Concerned(self._keep(of_patients), named_again)

    def _keep(self, events: Collection[PatientEvent]) -> set[str]:
        """Keep what was told of patients; the studies that it concerns."""
        self._counts["events_patient"] += len(events)
        if not events:
            return set()
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

    def _apply_all(
        self, pending: Pending, last: dict[str, int], concerned: _Concerned, meanwhile: Meanwhile = None
    ) -> None:
        """2. Read the touched parts, 3. merge, 4. write; again for the shards where a study was not as it was read.

        While an archive's past comes in, every study is new. Then nothing is read: all are taken for new, and writing
        finds out where one is not.
        """
        left = pending.by_shard
        studies = sum(map(len, left.values()))
        many = studies >= _BACKFILL and not concerned.studies
        known, read = 0, not (self._backfill and many)
        while left:
            decided = self._owing.decide(left, owing=pending.owing)
            events = decided.events
            records = self._read(events, meanwhile) if read else _as_if_new(events)
            known += sum(bool(record.in_state.rev) for record in records.values())
            conflicting = self._apply_once(events, decided.debts, records, last, concerned, meanwhile)
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

    def _apply_once(
        self,
        events: Mapping[int, ShardEvents],
        debts: Mapping[int, Sequence[DebtMove]],
        records: Mapping[str, StudyRecord],
        last: dict[str, int],
        concerned: _Concerned,
        meanwhile: Meanwhile,
    ) -> list[int]:
        """Steps 3 and 4; the shards that were not written."""
        new_to = self._told_at.new_to
        unknown = {
            shard: sum([merge(records[uid], new_to(records[uid], placed)) for uid, placed in studies.items()])
            for shard, studies in events.items()
        }
        for uid in concerned.by_news & records.keys():
            # Who is about to write one of these may have read the news before it was kept: let it read again.
            records[uid].renewed = True
        self._patients.lay_news(records.values(), self._anchors, concerned.named_again, meanwhile)
        conflicting = self._write(
            {shard: (self._moves(shard, last), [records[uid] for uid in studies]) for shard, studies in events.items()},
            meanwhile,
            debts,
        )
        self._counts["updates_unknown"] += sum(unknown[shard] for shard in events.keys() - {*conflicting})
        return conflicting

    def _moves(self, shard: int, last: Mapping[str, int]) -> list[OffsetMove]:
        return [
            OffsetMove(partition, self._applied[partition][shard], offset, self._anchors.left(shard, partition))
            for partition, offset in last.items()
            if offset > self._applied[partition][shard]
        ]

    def _write(
        self,
        batches: Mapping[int, tuple[Sequence[OffsetMove], Sequence[StudyRecord]]],
        meanwhile: Meanwhile = None,
        debts: Mapping[int, Sequence[DebtMove]] = MappingProxyType({}),
    ) -> list[int]:
        """Write by shard; returns the shards where another writer came between."""
        written = self._studies.write(batches, meanwhile, debts)
        self._counts["times_raised"] += written.raised
        self._counts["studies_late"] += written.late
        conflicts = written.conflicts
        for shard, (moves, _) in batches.items():
            if shard not in conflicts:
                for move in moves:
                    self._applied[move.partition][shard] = move.new
                    self._anchors.lift(shard, move.partition)
        for conflict in conflicts.values():
            if isinstance(conflict, ShardMoved):
                raise conflict
        return list(conflicts)


def _as_if_new(events: Mapping[int, ShardEvents]) -> dict[str, StudyRecord]:
    return {uid: StudyRecord(uid) for by_uid in events.values() for uid in by_uid}


def _names_patient(event: Event) -> bool:
    return any(PATIENT_ID in one.study or ISSUER_OF_PATIENT_ID in one.study for one in event.entities)
