"""An event applied to a study record in memory: the rules of store, update and delete.

Events are applied in the order in which their partition gives them; their times decide only the Study Update DateTime
and whether a store ends a removal. Applying the same suffix of events again therefore ends in the same record.
"""

from __future__ import annotations

from consumers.events import Action, Entity, Event
from state.attributes import SOP_CLASS_UID, Level
from state.record import InstanceRecord, SeriesRecord, StudyRecord, Tombstone
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
    record.update_time = max(record.update_time, event.time)
    unknown = 0
    for entity in event.entities:
        _announce(record, entity)
        if event.action is Action.STORE:
            _store(record, event, entity)
        elif event.action is Action.UPDATE:
            unknown += not _update(record, event, entity)
        else:
            _delete(record, event, entity)
    return unknown


def _announce(record: StudyRecord, entity: Entity) -> None:
    if entity.expected_series is not None:
        record.expected_series = entity.expected_series
    if entity.expected_instances is not None:
        record.expected_instances = entity.expected_instances


def _store(record: StudyRecord, event: Event, entity: Entity) -> None:
    if event.level is Level.STUDY:
        record.attributes = dict(entity.study)
        if _ends(event, record.tombstone):
            record.tombstone = None
        return
    record.attributes |= entity.study
    series_uid = _series_uid(entity)
    if _ends(event, record.tombstone):
        # The study comes back with what is stored now; what else it held is not known to have come back.
        record.tombstone = None
        record.drop_other_series(keep=series_uid)
        if event.level is Level.INSTANCE:
            record.drop_instances(series_uid)
    series = record.series.setdefault(series_uid, SeriesRecord())
    series.stored = True
    if event.level is Level.SERIES:
        series.attributes = dict(entity.series)
        if _ends(event, series.tombstone):
            series.tombstone = None
        return
    series.attributes |= entity.series
    if _ends(event, series.tombstone):
        series.tombstone = None
        record.drop_instances(series_uid)
    sop_uid = _sop_uid(entity)
    before = record.instance(sop_uid)
    tombstone = None if before is None or _ends(event, before.tombstone) else before.tombstone
    record.put_instance(sop_uid, InstanceRecord(series_uid, dict(entity.instance), tombstone))


def _update(record: StudyRecord, event: Event, entity: Entity) -> bool:
    """Overwrite what is given. False if it names an instance that is not known and cannot be told by this."""
    record.attributes |= entity.study
    if event.level is Level.STUDY:
        return True
    series_uid = _series_uid(entity)
    known = record.series.get(series_uid)
    if event.level is Level.INSTANCE:
        sop_uid = _sop_uid(entity)
        before = record.instance(sop_uid)
        if before is None and not entity.instance.get(SOP_CLASS_UID):
            return False
    series = known if known is not None else record.series.setdefault(series_uid, SeriesRecord())
    series.stored = True
    series.attributes = series.attributes | entity.series
    if event.level is Level.INSTANCE:
        attributes = entity.instance if before is None else before.attributes | entity.instance
        if before is not None and not attributes.get(SOP_CLASS_UID) and before.is_inventoried:
            # Type 1 in an inventory: given empty, it stays what it was.
            attributes = attributes | {SOP_CLASS_UID: before.attributes[SOP_CLASS_UID]}
        record.put_instance(
            sop_uid, InstanceRecord(series_uid, attributes, before.tombstone if before is not None else None)
        )
    return True


def _delete(record: StudyRecord, event: Event, entity: Entity) -> None:
    record.attributes |= entity.study
    tombstone = Tombstone(event.time, event.reason)
    if event.level is Level.STUDY:
        record.tombstone = _later(record.tombstone, tombstone)
        return
    series_uid = _series_uid(entity)
    series = record.series.setdefault(series_uid, SeriesRecord())
    series.attributes = series.attributes | entity.series
    if event.level is Level.SERIES:
        series.tombstone = _later(series.tombstone, tombstone)
        return
    sop_uid = _sop_uid(entity)
    before = record.instance(sop_uid)
    known = before.attributes if before is not None else {}
    given = {tag: value for tag, value in entity.instance.items() if value}
    record.put_instance(
        sop_uid,
        InstanceRecord(series_uid, known | given, _later(before.tombstone if before is not None else None, tombstone)),
    )


def _ends(event: Event, tombstone: Tombstone | None) -> bool:
    """Whether a store ends a removal: not if it is older."""
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
