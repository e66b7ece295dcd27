"""Events applied to a study record in memory: the rules of store, update and delete.

Events are applied in the order in which their partition gives them. Their times decide the Study Update DateTime, and
on which side of a removal they lie: a removal of a study or series as such ends a life, and what is told later but is
older than it belongs to that life and changes nothing any more (docs/decisions/0002). So applying the same suffix of
events again ends in the same record.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Final, TypeAlias

from consumers.events import Action, Entity, Event
from consumers.rejections import is_rejected, reject, restore
from state.attributes import PATIENT_ID, SOP_CLASS_UID, Level, patient_tags
from state.record import InstanceRecord, LifeEnd, SeriesRecord, StudyRecord, Tombstone
from state.studies import PartsWanted
from state.values import Item

# To look up an enumeration's member costs as much as to take an instance into its chunk.
_STORE: Final = Action.STORE
_STUDY: Final = Level.STUDY
_INSTANCE: Final = Level.INSTANCE

# An event and where it stands: its partition (``<topic id>:<partition>``) and Kafka offset.
Placed: TypeAlias = tuple[Event, str, int]


def parts_wanted(placed: Sequence[Placed]) -> PartsWanted:
    """Which part of their study these events touch."""
    entities = (entity for event, _, _ in placed for entity in event.entities)
    uids: set[str] = set()
    for entity in entities:
        if entity.sop_instance_uid is not None:
            uids.add(entity.sop_instance_uid)
        if entity.rejects is not None:
            uids.update(uid for _, uid in entity.rejects.instances)
    # A store that follows a removal of the whole makes what the record held be dropped.
    removals = (event.level for event, _, _ in placed if event.action is Action.DELETE)
    return PartsWanted(uids, everything=len(placed) > 1 and any(level is not Level.INSTANCE for level in removals))


class _Said:
    """What a run of stores said of the study and series last: the next says most often the same, and says it later.

    ``store_into`` is the series that takes further instances as they are: study and series are there and not removed,
    and no life of the series has ended; ``series_instance_uid`` is its UID.
    """

    def __init__(self, record: StudyRecord) -> None:
        self._record = record
        self._tags: Set[str] = frozenset()
        self.study: Item | None = None
        self.time = 0
        self.series: Item | None = None
        self.series_instance_uid = ""
        self.store_into: SeriesRecord | None = None

    def of_study(self, study: Item, time: int, *, replace: bool = False) -> None:
        """Let the record's own attributes be overlaid with these, or replaced by them."""
        self.end()
        record = self._record
        record.said_at = {} if replace else record.said_by_tag
        record.attributes = record.attributes | study if record.attributes and not replace else dict(study)
        self.study, self.time, self._tags = study, time, patient_tags(tuple(study))

    def end(self) -> None:
        """Note when the patient's attributes were said; whatever is said next is taken over."""
        if self._tags:
            self._record.said_at = self._record.said_by_tag | dict.fromkeys(self._tags, self.time)
            self._tags = frozenset()
        self.study = self.series = self.store_into = None


def merge(record: StudyRecord, placed: Sequence[Placed]) -> int:
    """Apply events; returns how many updates of instances there were whose SOP Class nobody has said."""
    if len(placed) == 1 and not record.own_time and _is_store_of_a_study(placed[0][0]):
        _store_the_first(record, placed[0][0])
        return 0
    unknown = 0
    said = _Said(record)
    for event, partition, offset in placed:
        if record.dropped_at and offset <= record.dropped_at.get(partition, -1):
            continue
        time, before = event.time, record.own_time
        if time > before:
            record.own_time = time
        elif not before:
            record.own_time = 1  # 0 is none: what is told to be from before 1970 counts as from its first moment
        if record.ended is not None and _belongs_to_ended_life(event, record.ended):
            continue
        if event.action is _STORE:
            for entity in event.entities:
                series = said.store_into
                if (
                    series is not None
                    and entity.series is said.series
                    and entity.study is said.study
                    and entity.series_instance_uid == said.series_instance_uid
                    and event.level is _INSTANCE
                ):
                    # Another instance of the same, of which nothing is said that is new.
                    if entity.expected_series is not None or entity.expected_instances is not None:
                        _announce(record, entity)
                    said.time = time
                    if time > series.updated:
                        series.updated = time
                    into = said.series_instance_uid
                    if entity.rejects is None and record.add_instance(
                        _sop_uid(entity), InstanceRecord(into, entity.instance)
                    ):
                        continue
                    dropped = _put(record, event, into, entity)
                else:
                    dropped = _store(record, event, entity, said)
                if dropped:
                    record.dropped_at = record.dropped_at | {partition: offset}
            continue
        said.end()
        for entity in event.entities:
            said.of_study(entity.study, event.time)
            if event.action is Action.UPDATE:
                unknown += not _update(record, event, entity)
            else:
                _delete(record, event, entity, before)
        said.end()
    said.end()
    return unknown


def _is_store_of_a_study(event: Event) -> bool:
    return event.action is _STORE and event.level is _STUDY and len(event.entities) == 1


def _store_the_first(record: StudyRecord, event: Event) -> None:
    """What the rest comes to for the first event of a study, if it stores the study as such: in a backfill, most do."""
    [entity] = event.entities
    time, study = event.time, entity.study
    record.own_time = time if time > 0 else 1
    record.attributes = study
    record.said_at = time if PATIENT_ID in study else dict.fromkeys(patient_tags(tuple(study)), time)
    record.expected_series, record.expected_instances = entity.expected_series, entity.expected_instances


def _announce(record: StudyRecord, entity: Entity) -> None:
    if entity.expected_series is not None:
        record.expected_series = entity.expected_series
    if entity.expected_instances is not None:
        record.expected_instances = entity.expected_instances


def _store(record: StudyRecord, event: Event, entity: Entity, said: _Said) -> bool:
    """Whether something that the record held was dropped."""
    dropped = False
    if record.tombstone is not None:
        record.tombstone = None
        if event.level is not Level.STUDY:
            _come_back_alone(record, event.level, _series_uid(entity))
            dropped = True
    _announce(record, entity)
    level = event.level
    if entity.study is said.study and level is not Level.STUDY:
        said.time = event.time
    else:
        said.of_study(entity.study, event.time, replace=level is Level.STUDY and not event.lacking)
        if level is Level.STUDY:
            return dropped
    series_uid = _series_uid(entity)
    series = _touch_series(record, event, series_uid)
    if series is None:
        return dropped
    whole = level is Level.SERIES or bool(entity.instance.get(SOP_CLASS_UID))
    series.stored = series.stored or whole  # else its instance is in no inventory, and perhaps gone again
    removed = series.tombstone is not None
    series.tombstone = None
    if level is Level.SERIES:
        series.attributes = series.attributes | entity.series if event.lacking else dict(entity.series)
        said.series = None
        return dropped
    if said.series is not entity.series:
        series.attributes |= entity.series
        said.series = entity.series
    said.store_into, said.series_instance_uid = series if series.ended is None and whole else None, series_uid
    if removed:
        record.drop_instances(series_uid)
        dropped = True
    return _put(record, event, series_uid, entity) or dropped


def _put(record: StudyRecord, event: Event, series_uid: str, entity: Entity) -> bool:
    """Put a stored instance into its series; whether it is gone from another one."""
    sop_uid = _sop_uid(entity)
    if record.add_instance(sop_uid, InstanceRecord(series_uid, entity.instance)):
        if entity.rejects is not None:
            record.rejected.pop(sop_uid, None)  # of a life that has ended
            reject(record, event.time, series_uid, sop_uid, entity.rejects)
        return False
    before = record.instance(sop_uid)
    if before is None:
        raise LookupError(f"instance {sop_uid} is there and is not")
    tombstone = before.tombstone
    if _ends(event.time, tombstone) and not _completes(record, sop_uid, before, event.time):
        tombstone = None
    # Of an archive that says little, perhaps for the second time: what is known stays.
    lacking = event.lacking or not entity.instance.get(SOP_CLASS_UID)
    attributes = before.attributes | entity.instance if lacking else entity.instance
    record.put_instance(sop_uid, InstanceRecord(series_uid, attributes, tombstone))
    if entity.rejects is not None and tombstone is None:
        if before.tombstone is not None:
            record.rejected.pop(sop_uid, None)
        reject(record, event.time, series_uid, sop_uid, entity.rejects)
    # Read again, earlier events would find it here and not there.
    return before.series_instance_uid != series_uid


def _completes(record: StudyRecord, sop_uid: str, before: InstanceRecord, time: int) -> bool:
    """Whether a store only says what an instance is that a rejection note of the same moment has named before it."""
    tombstone = before.tombstone
    if tombstone is None or before.is_inventoried or time != tombstone.time:
        return False
    return is_rejected(record, sop_uid, tombstone)


def _come_back_alone(record: StudyRecord, level: Level, series_uid: str) -> None:
    """The study comes back with what is stored now; what else it held, and was announced, is not known to be there."""
    record.drop_other_series(keep=series_uid)
    if level is Level.INSTANCE:
        record.drop_instances(series_uid)
    record.expected_series = record.expected_instances = None


def _update(record: StudyRecord, event: Event, entity: Entity) -> bool:
    """Overwrite what is given. False if it names an instance whose SOP Class nobody has said: it is kept, but is in no
    inventory, and does not make its series one that is stored.
    """
    _announce(record, entity)
    if event.level is Level.STUDY:
        return True
    series_uid = _series_uid(entity)
    if event.level is Level.INSTANCE:
        sop_uid = _sop_uid(entity)
        before = record.instance(sop_uid)
        if before is not None:
            series_uid = before.series_instance_uid  # only a store says where an instance is
    series = _touch_series(record, event, series_uid)
    if series is None:
        return True
    series.attributes = series.attributes | entity.series
    if event.level is Level.SERIES:
        series.stored = True
        return True
    attributes = entity.instance if before is None else before.attributes | entity.instance
    if before is not None and before.is_inventoried and not attributes.get(SOP_CLASS_UID):
        # Type 1 in an inventory: given empty, it stays what it was.
        attributes = attributes | {SOP_CLASS_UID: before.attributes[SOP_CLASS_UID]}
    found = InstanceRecord(series_uid, attributes, before.tombstone if before is not None else None)
    record.put_instance(sop_uid, found)
    if entity.rejects is not None and found.tombstone is None:
        reject(record, event.time, series_uid, sop_uid, entity.rejects)
    series.stored = series.stored or found.is_inventoried
    return found.is_inventoried


def _delete(record: StudyRecord, event: Event, entity: Entity, updated: int) -> None:
    _announce(record, entity)
    if event.level is Level.STUDY:
        if not _is_known(event, record.ended):
            record.ended = _life_end(event, updated)
            record.tombstone = Tombstone(record.ended.until, event.reason)
        return
    series_uid = _series_uid(entity)
    before = record.instance(_sop_uid(entity)) if event.level is Level.INSTANCE else None
    if before is not None:
        series_uid = before.series_instance_uid  # only a store says where an instance is
    known = record.series.get(series_uid)
    updated = known.updated if known is not None else 0
    series = _touch_series(record, event, series_uid)
    if series is None:
        return
    series.attributes = series.attributes | entity.series
    if event.level is Level.SERIES:
        if not _is_known(event, series.ended):
            series.ended = _life_end(event, updated)
            series.tombstone = Tombstone(series.ended.until, event.reason)
            for note_uid in [uid for uid, note in record.rejected.items() if note.series_instance_uid == series_uid]:
                restore(record, note_uid)
        return
    attributes = before.attributes if before is not None else {}
    # A removal alone makes no instance known: its SOP Class is taken from stores and updates.
    given = {tag: value for tag, value in entity.instance.items() if value and tag != SOP_CLASS_UID}
    tombstone = _later(before.tombstone if before is not None else None, Tombstone(event.time, event.reason))
    record.put_instance(_sop_uid(entity), InstanceRecord(series_uid, attributes | given, tombstone))
    if _sop_uid(entity) in record.rejected:
        restore(record, _sop_uid(entity))


def _touch_series(record: StudyRecord, event: Event, series_uid: str) -> SeriesRecord | None:
    """The series that an event names; None if the event belongs to a life of it that has ended."""
    series = record.series.get(series_uid)
    if series is None:
        series = record.series[series_uid] = SeriesRecord()
    elif series.ended is not None and _belongs_to_ended_life(event, series.ended):
        return None
    if event.time > series.updated:
        series.updated = event.time
    return series


def _belongs_to_ended_life(event: Event, ended: LifeEnd | None) -> bool:
    return ended is not None and event.time < ended.until


def _is_known(event: Event, ended: LifeEnd | None) -> bool:
    """Whether a removal is told again: it may not end the life that began after it."""
    return ended is not None and event.time <= ended.at


def _life_end(event: Event, updated: int) -> LifeEnd:
    """``updated``: the newest event before the removal, 0 if there was none."""
    return LifeEnd(event.time, max(event.time, updated + 1) if updated else event.time)


def _ends(time: int, tombstone: Tombstone | None) -> bool:
    """Whether a store of that time ends an instance's removal: not if it is older."""
    return tombstone is not None and time >= tombstone.time


def _later(before: Tombstone | None, now: Tombstone) -> Tombstone:
    return now if before is None or now.time >= before.time else before


def _series_uid(entity: Entity) -> str:
    if entity.series_instance_uid is None:
        raise ValueError("an event below STUDY level names its series")
    return entity.series_instance_uid


def _sop_uid(entity: Entity) -> str:
    if entity.sop_instance_uid is None:
        raise ValueError("an event of INSTANCE level names its instance")
    return entity.sop_instance_uid
