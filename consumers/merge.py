"""An event applied to a study record in memory: the rules of store, update and delete.

Events are applied in the order in which their partition gives them. Their times decide the Study Update DateTime, and
on which side of a removal they lie: a removal of a study or series as such ends a life, and what is told later but is
older than it belongs to that life and changes nothing any more (docs/decisions/0002). So applying the same suffix of
events again ends in the same record.
"""

from __future__ import annotations

from consumers.events import Action, Entity, Event
from state.attributes import SOP_CLASS_UID, Level
from state.record import InstanceRecord, LifeEnd, SeriesRecord, StudyRecord, Tombstone
from state.studies import PartsWanted


def parts_wanted(events: list[Event]) -> PartsWanted:
    """Which part of their study these events touch."""
    uids = {
        entity.sop_instance_uid for event in events for entity in event.entities if entity.sop_instance_uid is not None
    }
    # A store that follows a removal of the whole makes what the record held be dropped.
    removals = any(event.action is Action.DELETE and event.level is not Level.INSTANCE for event in events)
    return PartsWanted(uids, everything=removals and len(events) > 1)


def merge(record: StudyRecord, event: Event) -> int:
    """Apply one event; returns how many of its entities could not be applied (updates of unknown instances)."""
    before = record.update_time
    record.update_time = max(before, event.time)
    if _belongs_to_ended_life(event, record.ended):
        return 0
    unknown = 0
    for entity in event.entities:
        if event.action is Action.STORE:
            _store(record, event, entity)
        elif event.action is Action.UPDATE:
            unknown += not _update(record, event, entity)
        else:
            _delete(record, event, entity, before)
    return unknown


def _announce(record: StudyRecord, entity: Entity) -> None:
    if entity.expected_series is not None:
        record.expected_series = entity.expected_series
    if entity.expected_instances is not None:
        record.expected_instances = entity.expected_instances


def _store(record: StudyRecord, event: Event, entity: Entity) -> None:
    if record.tombstone is not None:
        record.tombstone = None
        if event.level is not Level.STUDY:
            _come_back_alone(record, event.level, _series_uid(entity))
    _announce(record, entity)
    if event.level is Level.STUDY:
        record.attributes = dict(entity.study)
        return
    record.attributes |= entity.study
    series_uid = _series_uid(entity)
    series = _touch_series(record, event, series_uid)
    if series is None:
        return
    series.stored = True
    removed = series.tombstone is not None
    series.tombstone = None
    if event.level is Level.SERIES:
        series.attributes = dict(entity.series)
        return
    series.attributes |= entity.series
    if removed:
        record.drop_instances(series_uid)
    sop_uid = _sop_uid(entity)
    before = record.instance(sop_uid)
    tombstone = None if before is None or _ends(event, before.tombstone) else before.tombstone
    record.put_instance(sop_uid, InstanceRecord(series_uid, dict(entity.instance), tombstone))


def _come_back_alone(record: StudyRecord, level: Level, series_uid: str) -> None:
    """The study comes back with what is stored now; what else it held, and was announced, is not known to be there."""
    record.drop_other_series(keep=series_uid)
    if level is Level.INSTANCE:
        record.drop_instances(series_uid)
    record.expected_series = record.expected_instances = None


def _update(record: StudyRecord, event: Event, entity: Entity) -> bool:
    """Overwrite what is given. False if it names an instance that is not known and cannot be told by this."""
    _announce(record, entity)
    record.attributes |= entity.study
    if event.level is Level.STUDY:
        return True
    series_uid = _series_uid(entity)
    if event.level is Level.INSTANCE:
        sop_uid = _sop_uid(entity)
        before = record.instance(sop_uid)
        if before is None and not entity.instance.get(SOP_CLASS_UID):
            return False
        if before is not None:
            series_uid = before.series_instance_uid  # only a store says where an instance is
    series = _touch_series(record, event, series_uid)
    if series is None:
        return True
    series.stored = True
    series.attributes = series.attributes | entity.series
    if event.level is Level.INSTANCE:
        attributes = entity.instance if before is None else before.attributes | entity.instance
        if before is not None and before.is_inventoried and not attributes.get(SOP_CLASS_UID):
            # Type 1 in an inventory: given empty, it stays what it was.
            attributes = attributes | {SOP_CLASS_UID: before.attributes[SOP_CLASS_UID]}
        record.put_instance(
            sop_uid, InstanceRecord(series_uid, attributes, before.tombstone if before is not None else None)
        )
    return True


def _delete(record: StudyRecord, event: Event, entity: Entity, updated: int) -> None:
    _announce(record, entity)
    record.attributes |= entity.study
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
        return
    attributes = before.attributes if before is not None else {}
    # A removal alone makes no instance known: its SOP Class is taken from stores and updates.
    given = {tag: value for tag, value in entity.instance.items() if value and tag != SOP_CLASS_UID}
    tombstone = _later(before.tombstone if before is not None else None, Tombstone(event.time, event.reason))
    record.put_instance(_sop_uid(entity), InstanceRecord(series_uid, attributes | given, tombstone))


def _touch_series(record: StudyRecord, event: Event, series_uid: str) -> SeriesRecord | None:
    """The series that an event names; None if the event belongs to a life of it that has ended."""
    series = record.series.setdefault(series_uid, SeriesRecord())
    if _belongs_to_ended_life(event, series.ended):
        return None
    series.updated = max(series.updated, event.time)
    return series


def _belongs_to_ended_life(event: Event, ended: LifeEnd | None) -> bool:
    return ended is not None and event.time < ended.until


def _is_known(event: Event, ended: LifeEnd | None) -> bool:
    """Whether a removal is told again: it may not end the life that began after it."""
    return ended is not None and event.time <= ended.at


def _life_end(event: Event, updated: int) -> LifeEnd:
    """``updated``: the newest event before the removal, 0 if there was none."""
    return LifeEnd(event.time, max(event.time, updated + 1) if updated else event.time)


def _ends(event: Event, tombstone: Tombstone | None) -> bool:
    """Whether a store ends an instance's removal: not if it is older."""
    return tombstone is not None and event.time >= tombstone.time


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
