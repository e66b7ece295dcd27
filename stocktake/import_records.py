"""A study record of an Inventory, of any writer, as events: what would have built it.

All events of a record carry its Study Update DateTime. What is stored comes first, then what is removed: the rules of
:mod:`consumers.merge` make of them a record that says what the Item says.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Final

from consumers.events import Action, Entity, Event
from consumers.merge import merge
from state.attributes import (
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    REASON_FOR_REMOVAL,
    REMOVED_FROM_OPERATIONAL_USE,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Level,
    item_attributes,
    recordable,
)
from state.record import StudyRecord
from state.values import Item, Repairs
from state.vr import is_uid
from stocktake.import_values import read_item
from writers.canonical import INSTANCES, SERIES, EncodedDataSet
from writers.reader import InvalidInventory, StudyItem
from writers.scanning import Malformed
from writers.terms import REMOVED

_UID: Final = {
    Level.STUDY: STUDY_INSTANCE_UID,
    Level.SERIES: SERIES_INSTANCE_UID,
    Level.INSTANCE: SOP_INSTANCE_UID,
}
_BELOW: Final = {  # the sequence of what lies below, and its level
    Level.STUDY: (SERIES, Level.SERIES),
    Level.SERIES: (INSTANCES, Level.INSTANCE),
    Level.INSTANCE: (0, Level.INSTANCE),
}
_STATED: Final = frozenset(  # what is not kept as it stands, but is made into events
    {
        *_UID.values(),
        REMOVED_FROM_OPERATIONAL_USE,
        REASON_FOR_REMOVAL,
        NUMBER_OF_STUDY_RELATED_SERIES,
        NUMBER_OF_STUDY_RELATED_INSTANCES,
    }
)
_TABLES: Final = {
    level: {
        int(tag, 16): row for tag, row in item_attributes(level).items() if tag in _STATED or tag in recordable(level)
    }
    for level in _UID
}


@dataclass(slots=True)
class Faults:
    """What an Inventory says that the state cannot take as it stands.

    ``parts`` are series and instances that lack their UID or SOP Class and were left out.
    """

    repairs: Repairs = field(default_factory=Repairs)
    parts: int = 0


@dataclass(frozen=True, slots=True)
class _Part:
    """A study, series or instance as its Item tells of it; ``stated`` holds the attributes of :data:`_STATED`."""

    uid: str
    attributes: Item
    stated: Item
    below: tuple[_Part, ...]

    @property
    def removed(self) -> bool:
        return self.stated.get(REMOVED_FROM_OPERATIONAL_USE) == REMOVED

    @property
    def reason(self) -> Item:
        """The reason of a removal, a code Item; empty if none is stated."""
        reasons = self.stated.get(REASON_FOR_REMOVAL)
        return reasons[0] if isinstance(reasons, list) and reasons else {}

    def count(self, tag: str) -> int | None:
        """A count (IS) that the Item announces; None where it has none."""
        text = self.stated.get(tag)
        count = int(text) if isinstance(text, str) and text else -1
        return count if count >= 0 else None


def imported_record(item: StudyItem, time: int, faults: Faults) -> StudyRecord:
    """The record that a study Item tells of, with ``time`` (UTC microseconds) as its Study Update DateTime.

    The Study Instance UID must be one. Counts that the Item announces are kept as expected.

    Raises:
        InvalidInventory: something inside the Item is no Data Element.
    """
    encoded = EncodedDataSet(item.data, 0, len(item.data), item.implicit, item.character_sets, 1)
    try:
        study = _read(encoded, Level.STUDY, faults)
    except Malformed as error:
        raise InvalidInventory(item.path, str(error), item.offset + error.offset) from None
    record = StudyRecord(item.study_instance_uid)
    merge(record, [(event, "", 0) for event in _events(study, item.study_instance_uid, time)])
    return record


def _read(item: EncodedDataSet, level: Level, faults: Faults) -> _Part:
    table = _TABLES[level]
    sequence, level_below = _BELOW[level]
    flat, children = read_item(item, table, sequence, faults.repairs)
    stated = {tag: flat.pop(tag) for tag in _STATED & flat.keys()}
    below = []
    for child in children:
        part = _read(child, level_below, faults)
        if is_uid(part.uid) and (level_below is not Level.INSTANCE or part.attributes.get(SOP_CLASS_UID)):
            below.append(part)
        else:
            faults.parts += 1
    return _Part(
        uid=str(stated.get(_UID[level], "")),
        attributes=flat,
        stated=stated,
        below=tuple(below),
    )


def _events(study: _Part, study_instance_uid: str, time: int) -> Iterator[Event]:
    def event(action: Action, level: Level, *entities: Entity, reason: Item | None = None) -> Event:
        return Event(action, level, study_instance_uid, time, entities, reason or {})

    whole = Entity(
        None,
        None,
        study.attributes,
        expected_series=study.count(NUMBER_OF_STUDY_RELATED_SERIES),
        expected_instances=study.count(NUMBER_OF_STUDY_RELATED_INSTANCES),
    )
    yield event(Action.STORE, Level.STUDY, whole)
    for series in study.below:
        if not _known_by_removal_alone(series, study):
            yield event(Action.STORE, Level.SERIES, _series(series))
            yield event(Action.STORE, Level.INSTANCE, *(_instance(series, each) for each in series.below))
    for series in study.below:
        for each in series.below:
            if each.removed:
                yield event(Action.DELETE, Level.INSTANCE, _instance(series, each), reason=each.reason)
        if series.removed:
            yield event(Action.DELETE, Level.SERIES, _series(series), reason=series.reason)
    if study.removed:
        yield event(Action.DELETE, Level.STUDY, Entity(None, None, {}), reason=study.reason)


def _known_by_removal_alone(series: _Part, study: _Part) -> bool:
    """Whether storing the series would, with its removal, remove a study that is not said to be removed."""
    return (
        not study.removed
        and all(one.removed for one in study.below)
        and all(instance.removed for instance in series.below)
    )


def _series(series: _Part) -> Entity:
    return Entity(series.uid, None, {}, series.attributes)


def _instance(series: _Part, instance: _Part) -> Entity:
    return Entity(series.uid, instance.uid, {}, {}, instance.attributes)
