"""The native event: JSON that names an action, a level, a time and one or more data sets (docs/events.md).

.. code-block:: json

    {"id": "...", "action": "store", "level": "INSTANCE", "time": "2026-11-21T10:15:00.123456+01:00",
     "dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "...": {}}}

A data set is in the DICOM JSON Model (PS3.18 Annex F), as QIDO-RS or WADO-RS metadata return it for that level.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import tzinfo
from functools import cache
from typing import Any, Final

import orjson

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Entity, Event
from consumers.policy import ConsumerPolicy
from state.attributes import (
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    REASON_FOR_REMOVAL,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attribute,
    Level,
    item_attributes,
    recordable,
)
from state.times import MICROSECONDS, parse_time
from state.values import InvalidElement, Item, Repairs, flat_item, flat_value
from state.vr import is_uid

_DEPTH: Final = {Level.STUDY: 0, Level.SERIES: 1, Level.INSTANCE: 2}
_UIDS: Final = ((STUDY_INSTANCE_UID, "Study"), (SERIES_INSTANCE_UID, "Series"), (SOP_INSTANCE_UID, "SOP"))
_EARLIEST: Final = parse_time("1900-01-01T00:00:00+00:00")  # Redis keeps later times to the microsecond
_CODE: Final = frozenset({"00080100", "00080102", "00080104"})
_REASON: Final = {  # a code as PS3.3 Table 8.8-1 has it; keyword -> tag
    "CodeValue": "00080100",
    "CodingSchemeDesignator": "00080102",
    "CodingSchemeVersion": "00080103",
    "CodeMeaning": "00080104",
}


class NativeFormat:
    """Decodes native events. ``zone`` is that of times without an offset."""

    def __init__(self, policy: ConsumerPolicy, zone: tzinfo, counts: Counts) -> None:
        self._skew = round(policy.max_clock_skew * MICROSECONDS)
        self._zone = zone
        self._counts = counts

    def decode(self, value: bytes, timestamp: int) -> list[Event]:
        """The events of one message, one for each study that it names, in the order of its data sets.

        ``timestamp`` is the Kafka record's, in UTC microseconds.

        Raises:
            BadEvent: the message is no event.
        """
        try:
            message = orjson.loads(value)
        except orjson.JSONDecodeError as error:
            raise BadEvent(f"not JSON: {error.msg} at byte {error.pos}") from None
        except RecursionError:
            raise BadEvent("not JSON: nested too deeply") from None
        if type(message) is not dict:
            raise BadEvent("not a JSON object")
        action = _action(message.get("action"))
        datasets = _datasets(message)
        level = _level(message.get("level"), datasets[0])
        time = self._time(message.get("time"), timestamp)
        repairs = Repairs()
        reason = _reason(message.get("reason"), repairs)
        _refuse_changed_uids(message.get("prior"))
        entities: dict[str, list[Entity]] = {}
        for dataset in datasets:
            uids = _uids(dataset, level)
            try:
                entity = _entity(dataset, level, uids, repairs)
            except InvalidElement as error:
                raise BadEvent(str(error)) from None
            if action is Action.STORE and level is Level.INSTANCE and not entity.instance.get(SOP_CLASS_UID):
                raise BadEvent("SOPClassUID (00080016) is absent or no UID")
            entities.setdefault(uids[0], []).append(entity)
        self._counts["values_repaired"] += repairs.repaired
        self._counts["values_emptied"] += repairs.emptied
        return [Event(action, level, uid, time, tuple(found), reason) for uid, found in entities.items()]

    def _time(self, text: Any, timestamp: int) -> int:
        if text is None:
            self._counts["times_absent"] += 1
            return timestamp
        if not isinstance(text, str):
            raise BadEvent("time is not a text")
        try:
            time = parse_time(text, self._zone)
        except ValueError:
            raise BadEvent("time is neither ISO 8601 nor a DICOM DT") from None
        if time < _EARLIEST:
            raise BadEvent("time lies before 1900")
        if time > timestamp + self._skew:
            self._counts["times_ahead"] += 1
            return timestamp
        return time


def _action(text: Any) -> Action:
    try:
        return Action(text)
    except ValueError:
        raise BadEvent("action is not one of store, update, delete") from None


def _datasets(message: Mapping[str, Any]) -> list[dict[str, Any]]:
    one, many = message.get("dataset"), message.get("datasets")
    if (one is None) == (many is None):
        raise BadEvent("neither dataset nor datasets" if one is None else "both dataset and datasets")
    datasets = [one] if many is None else many
    if type(datasets) is not list or not datasets or not all(type(dataset) is dict for dataset in datasets):
        raise BadEvent("dataset is not an object, or datasets is not a list of at least one")
    return datasets


def _level(text: Any, dataset: Mapping[str, Any]) -> Level:
    if text is None:
        if SOP_INSTANCE_UID in dataset:
            return Level.INSTANCE
        return Level.SERIES if SERIES_INSTANCE_UID in dataset else Level.STUDY
    try:
        level = Level(text)
    except ValueError:
        raise BadEvent("level is not one of STUDY, SERIES, INSTANCE, PATIENT") from None
    if level is Level.PATIENT:
        raise BadEvent("PATIENT events are not handled by this version; send an update of each study")
    return level


def _uids(dataset: Mapping[str, Any], level: Level) -> list[str]:
    """The UIDs down to the level."""
    uids = []
    for tag, name in _UIDS[: _DEPTH[level] + 1]:
        element = dataset.get(tag)
        values = element.get("Value") if type(element) is dict else None
        if type(values) is not list or len(values) != 1:
            raise BadEvent(f"{name} Instance UID ({tag}) is absent")
        uid = values[0].strip(" \x00") if isinstance(values[0], str) else None
        if uid is None or not is_uid(uid):
            raise BadEvent(f"{name} Instance UID ({tag}) is no UID")
        uids.append(uid)
    return uids


@cache
def _allowed(event_level: Level) -> dict[str, tuple[int, Attribute]]:
    """What a data set of an event may say, and of which level (0: study); what is known at several is the event's."""
    allowed: dict[str, tuple[int, Attribute]] = {}
    for level, depth in _DEPTH.items():
        if depth <= _DEPTH[event_level]:
            of_level = {tag: (depth, attribute) for tag, attribute in recordable(level).items()}
            allowed = allowed | of_level if level is event_level else of_level | allowed
    return allowed


def _entity(dataset: Mapping[str, Any], level: Level, uids: list[str], repairs: Repairs) -> Entity:
    items: tuple[Item, Item, Item] = ({}, {}, {})
    allowed = _allowed(level)
    for tag, element in dataset.items():
        found = allowed.get(tag)
        if found is not None and element is not None:
            depth, attribute = found
            items[depth][tag] = flat_value(element, attribute, repairs)
    depth = _DEPTH[level]
    return Entity(
        uids[1] if depth > 0 else None,
        uids[2] if depth > 1 else None,
        *items,
        expected_series=_count(dataset.get(NUMBER_OF_STUDY_RELATED_SERIES)),
        expected_instances=_count(dataset.get(NUMBER_OF_STUDY_RELATED_INSTANCES)),
    )


def _count(element: Any) -> int | None:
    """A count that an event announces; one that cannot be read announces nothing."""
    values = element.get("Value") if type(element) is dict else None
    try:
        count = int(values[0]) if type(values) is list and values else -1
    except (TypeError, ValueError, OverflowError):
        return None
    return count if 0 <= count < 2**31 else None


def _reason(reason: Any, repairs: Repairs) -> Item:
    """The code Item of a reason for removal (CID 7031), empty if none is stated or its values cannot be kept."""
    if reason is None:
        return {}
    if type(reason) is not dict or not all(isinstance(reason.get(name, ""), str) for name in _REASON):
        raise BadEvent("reason is not an object of CodeValue, CodingSchemeDesignator, CodeMeaning")
    given = {tag: {"Value": [reason[name]]} for name, tag in _REASON.items() if reason.get(name)}
    if given and not given.keys() >= _CODE:
        raise BadEvent("reason lacks one of CodeValue, CodingSchemeDesignator, CodeMeaning")
    item = flat_item(given, item_attributes(Level.STUDY)[REASON_FOR_REMOVAL].children, repairs)
    return item if all(item.get(tag) for tag in _CODE) else {}


def _refuse_changed_uids(prior: Any) -> None:
    """``prior`` with patient identifiers needs nothing here: the data set holds the surviving ones."""
    if prior is None:
        return
    if type(prior) is not dict:
        raise BadEvent("prior is not an object")
    changed = [tag for tag, _ in _UIDS if tag in prior]
    if changed:
        tag = changed[0]
        raise BadEvent(f"prior names a changed UID ({tag}); this version does not follow changed UIDs")
