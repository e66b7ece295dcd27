"""The native event: JSON that names an action, a level, a time and one or more data sets (docs/events.md).

.. code-block:: json

    {"id": "...", "action": "store", "level": "INSTANCE", "time": "2026-11-21T10:15:00.123456+01:00",
     "dataset": {"0020000D": {"vr": "UI", "Value": ["1.2.3"]}, "...": {}}}

A data set is in the DICOM JSON Model (PS3.18 Annex F), as QIDO-RS or WADO-RS metadata return it for that level. Its
elements are taken apart in :mod:`consumers.formats.datasets`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import tzinfo
from enum import StrEnum
from typing import Any, Final

import msgspec
from msgspec import Raw, Struct

from consumers.counts import Counts
from consumers.events import Action, BadEvent, Entity, Event, Heartbeat, Look, PatientEvent, Settle, Told
from consumers.formats.datasets import Dataset, DatasetReader, as_json, uids_of
from consumers.formats.instance_forms import InstanceForms
from consumers.formats.rejection import KEY_OBJECT_SELECTION
from consumers.formats.study_forms import StudyForms
from consumers.policy import ConsumerPolicy
from state.attributes import (
    ISSUER_OF_PATIENT_ID,
    PATIENT_ID,
    REASON_FOR_REMOVAL,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    Level,
    item_attributes,
    patient_attributes,
)
from state.patient_news import patient_of
from state.times import MICROSECONDS, parse_time
from state.values import InvalidElement, Item, Repairs, flat_item
from state.vr import is_uid

_EARLIEST: Final = parse_time("1900-01-01T00:00:00+00:00")  # Redis keeps later times to the microsecond
_CODE: Final = frozenset({"00080100", "00080102", "00080104"})
_REASON: Final = {  # a code as PS3.3 Table 8.8-1 has it; keyword -> tag
    "CodeValue": "00080100",
    "CodingSchemeDesignator": "00080102",
    "CodingSchemeVersion": "00080103",
    "CodeMeaning": "00080104",
}


class _Verb(StrEnum):
    """What a message does: an archive's actions, and what Stocktake itself writes to a topic."""

    STORE = "store"
    UPDATE = "update"
    DELETE = "delete"
    LOOK = "look"
    SETTLE = "settle"
    HEARTBEAT = "heartbeat"


class _Message(Struct, gc=False):
    """What a message says, its data sets' elements left as they stand: most are the same as in the message before."""

    action: _Verb | None = None
    level: Level | None = None
    time: str | None = None
    reason: Any = None
    dataset: dict[str, Raw] | None = None
    datasets: list[dict[str, Raw]] | None = None
    prior: dict[str, Raw] | None = None
    lacking: bool = False
    answers: str = ""
    owed: str = ""


_ACTIONS: Final = frozenset({_Verb.STORE, _Verb.UPDATE, _Verb.DELETE})
_REFERENCE: Final = re.compile(r"[a-z]{1,16}:[!-~]{1,200}", re.ASCII)
_decode_message: Final = msgspec.json.Decoder(_Message).decode
_EXPECTED: Final = {  # by the place that msgspec names; the longer names first
    "$.action": "action is not one of store, update, delete",
    "$.level": "level is not one of STUDY, SERIES, INSTANCE, PATIENT",
    "$.time": "time is not a text",
    "$.datasets": "datasets is not a list of objects",
    "$.dataset": "dataset is not an object",
    "$.prior": "prior is not an object",
    "$.lacking": "lacking is neither true nor false",
    "$.answers": "answers is not a text",
    "$.owed": "owed is not a text",
}


class NativeFormat:
    """Decodes native events. ``zone`` is that of times without an offset; attributes below ``kept`` are left out.

    ``asks``: there is an archive that can be asked for what a rejection note names elsewhere.
    """

    def __init__(
        self, policy: ConsumerPolicy, zone: tzinfo, counts: Counts, kept: Level = Level.INSTANCE, *, asks: bool = True
    ) -> None:
        self._asks = asks
        self._skew = round(policy.max_clock_skew * MICROSECONDS)
        self._zone = zone
        self._counts = counts
        self._reader = DatasetReader(kept)
        self._instance_forms = InstanceForms(self._reader.slots[Level.INSTANCE])
        self._study_forms = StudyForms(self._reader.slots[Level.STUDY])
        self._repairs = Repairs()  # of one message

    def decode(
        self, value: bytes, timestamp: int, key: bytes | None = None, headers: Sequence[tuple[str, bytes | None]] = ()
    ) -> list[Told]:
        """The events of one message, one for each study that it names, in the order of its data sets.

        ``timestamp`` is the Kafka record's, in UTC microseconds. Its ``key`` tells only where to look first.

        Raises:
            BadEvent: the message is no event.
        """
        told = self.known(value, timestamp, key)
        return self._decode_in_full(value, timestamp) if told is None else told

    def known(self, value: bytes, timestamp: int, key: bytes | None = None) -> list[Told] | None:
        """As :meth:`decode`, of a message that has the form of one that came before; None if it has none of them."""
        repairs = self._repairs
        repairs.repaired = repairs.emptied = 0
        instance = self._instance_forms.read(value, key, repairs)
        if instance is not None:
            like, text, entity = instance
            uid = like.study_instance_uid
        else:
            study = self._study_forms.read(value, repairs)
            if study is None:
                return None
            like, text, uid, entity = study
        return [Event(like.action, like.level, uid, self.time_of(text, timestamp), (entity,), like.reason)]

    def read_dataset(self, dataset: Dataset, level: Level) -> tuple[str, Entity]:
        """The Study Instance UID and what a data set says, for other formats; counts values that had to be mended.

        Raises:
            BadEvent: a UID down to the level is absent or no UID, or an element is none of the DICOM JSON Model.
        """
        repairs = Repairs()
        try:
            found = self._reader.read(dataset, level, repairs)
        except InvalidElement as error:
            raise BadEvent(str(error)) from None
        if repairs.repaired or repairs.emptied:
            self._counts["values_repaired"] += repairs.repaired
            self._counts["values_emptied"] += repairs.emptied
        return found

    def _decode_in_full(self, value: bytes, timestamp: int) -> list[Told]:
        try:
            message = _decode_message(value)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
            raise BadEvent(_why(error)) from None
        verb, dataset = message.action, message.dataset
        if verb is None:
            raise BadEvent(_EXPECTED["$.action"])
        if verb not in _ACTIONS:
            return [_told_by_stocktake(verb, message, self.time_of(message.time, timestamp))]
        action = Action(verb)
        datasets = [dataset] if dataset is not None and message.datasets is None else _datasets(message)
        level = message.level or _lowest(datasets[0])
        time = self.time_of(message.time, timestamp)
        repairs = self._repairs
        repairs.repaired = repairs.emptied = 0
        try:
            if level is Level.PATIENT:
                told: list[Told] = [_patient_event(action, datasets, message.prior, time, repairs)]
            else:
                told = self._events(action, level, datasets, message, time, repairs)
        except InvalidElement as error:
            raise BadEvent(str(error)) from None
        if repairs.repaired or repairs.emptied:
            self._counts["values_repaired"] += repairs.repaired
            self._counts["values_emptied"] += repairs.emptied
        elif dataset is not None and message.prior is None and message.time is not None and not _is_special(message):
            event = told[0]
            if isinstance(event, Event) and level is Level.INSTANCE:
                # Of a Key Object Selection, more matters than what is recorded of it.
                if event.entities[0].instance.get(SOP_CLASS_UID) != KEY_OBJECT_SELECTION:
                    self._instance_forms.learn(value, dataset, event)
            elif isinstance(event, Event) and level is Level.STUDY:
                self._study_forms.learn(value, dataset, event)
        return told

    def _events(
        self, action: Action, level: Level, datasets: list[Dataset], message: _Message, time: int, repairs: Repairs
    ) -> list[Told]:
        reason = {} if message.reason is None else _reason(message.reason, repairs)
        moved = None if message.prior is None else _moved(message.prior, level, datasets, time)
        entities: dict[str, list[Entity]] = {}
        for dataset in datasets:
            uid, entity = self._reader.read(dataset, level, repairs)
            unnamed = level is Level.INSTANCE and not entity.instance.get(SOP_CLASS_UID)
            if unnamed and action is Action.STORE and not message.lacking:
                raise BadEvent("SOPClassUID (00080016) is absent or no UID")
            if moved is None and len(datasets) == 1 and entity.rejects is None:
                return [Event(action, level, uid, time, (entity,), reason, message.lacking, message.answers)]
            entities.setdefault(uid, []).append(entity)
        told: list[Told] = [
            Event(action, level, uid, time, tuple(found), reason, message.lacking, message.answers)
            for uid, found in entities.items()
        ]
        if (
            self._asks and not message.answers
        ):  # notes of two studies that name each other would be looked up without end
            told += [Look(uid, time) for uid in _also_rejected(entities)]
        return told if moved is None else [moved, *told]

    def time_of(self, text: str | None, timestamp: int) -> int:
        """An event's time (UTC microseconds), the record's ``timestamp`` if it states none or one too far ahead.

        Both are counted. Raises BadEvent if the text is no time, or one before 1900.
        """
        if text is None:
            self._counts["times_absent"] += 1
            return timestamp
        try:
            time = parse_time(text, self._zone)
        except ValueError:
            raise BadEvent("time is neither ISO 8601 nor a DICOM DT") from None
        if time < _EARLIEST:
            raise BadEvent("time lies before 1900")
        if time > timestamp + self._skew and timestamp >= 0:  # a record may have no timestamp
            self._counts["times_ahead"] += 1
            return timestamp
        return time


def _also_rejected(entities: Mapping[str, list[Entity]]) -> list[str]:
    """Studies that a rejection note of another one names: whoever holds them knows what has become of them."""
    rejections = (entity.rejects for found in entities.values() for entity in found)
    return sorted({uid for one in rejections if one is not None for uid in one.elsewhere})


def _is_special(message: _Message) -> bool:
    """Whether it says more than a form can: that something is owed or answered."""
    return message.lacking or message.answers != ""


def _told_by_stocktake(verb: _Verb, message: _Message, time: int) -> Told:
    """A look, a settlement or a heartbeat. A look names a study by its data set, or anything by ``owed``."""
    if verb is _Verb.HEARTBEAT:
        return Heartbeat(time)
    owed = message.owed
    if message.dataset is not None and not owed:
        [owed] = uids_of(message.dataset, Level.STUDY)
    if not (is_uid(owed) or _REFERENCE.fullmatch(owed)):
        raise BadEvent("it names neither a study nor a reference")
    if verb is _Verb.LOOK:
        return Look(owed, time)
    if not message.answers:
        raise BadEvent("answers is absent")
    return Settle(owed, message.answers, time)


def _why(error: Exception) -> str:
    """Why a message cannot be read. The parser's own text names a place such as ``$.dataset``, and no value."""
    if isinstance(error, RecursionError):
        return "not JSON: nested too deeply"
    if isinstance(error, msgspec.ValidationError):
        _, _, place = str(error).partition(" - at `")
        return next((text for start, text in _EXPECTED.items() if place.startswith(start)), "not a JSON object")
    return f"not JSON: {error}"


def _datasets(message: _Message) -> list[Dataset]:
    if message.dataset is not None:
        raise BadEvent("both dataset and datasets")
    if not message.datasets:
        raise BadEvent("neither dataset nor datasets" if message.datasets is None else "datasets is empty")
    return message.datasets


def _lowest(dataset: Dataset) -> Level:
    if SOP_INSTANCE_UID in dataset:
        return Level.INSTANCE
    return Level.SERIES if SERIES_INSTANCE_UID in dataset else Level.STUDY


def _reason(reason: Any, repairs: Repairs) -> Item:
    """The code Item of a reason for removal (CID 7031), empty if none is stated or its values cannot be kept."""
    if type(reason) is not dict or not all(isinstance(reason.get(name, ""), str) for name in _REASON):
        raise BadEvent("reason is not an object of CodeValue, CodingSchemeDesignator, CodeMeaning")
    given = {tag: {"Value": [reason[name]]} for name, tag in _REASON.items() if reason.get(name)}
    if given and not given.keys() >= _CODE:
        raise BadEvent("reason lacks one of CodeValue, CodingSchemeDesignator, CodeMeaning")
    item = flat_item(given, item_attributes(Level.STUDY)[REASON_FOR_REMOVAL].children, repairs)
    return item if all(item.get(tag) for tag in _CODE) else {}


def _moved(prior: Dataset, level: Level, datasets: list[Dataset], time: int) -> Event | None:
    """The removal of what had another UID before (docs/decisions/0010).

    Patient identifiers in ``prior`` need nothing here: the data set holds the surviving ones.
    """
    now = uids_of(datasets[0], level)
    before = uids_of(datasets[0] | prior, level)
    if before == now:
        return None
    if len(datasets) > 1:
        raise BadEvent("prior names a changed UID, and there are several datasets; send one event for each")
    _, series, instance = (*before, None, None)[:3]
    return Event(Action.DELETE, level, before[0], time, (Entity(series, instance, {}),))


def _patient_event(
    action: Action, datasets: list[Dataset], prior: Dataset | None, time: int, repairs: Repairs
) -> PatientEvent:
    if action is Action.DELETE:
        raise BadEvent("a patient cannot be deleted; send a delete of each study")
    if len(datasets) > 1:
        raise BadEvent("a PATIENT event has one dataset")
    attributes = flat_item(as_json(datasets[0], patient_attributes()), patient_attributes(), repairs)
    attributes.setdefault(ISSUER_OF_PATIENT_ID, "")  # none: also for who had another issuer before
    patient = patient_of(attributes)
    if patient is None:
        raise BadEvent("Patient ID (00100020) is absent or empty")
    given = flat_item(as_json(prior or {}, patient_attributes()), patient_attributes(), Repairs())
    before = patient_of({tag: attributes[tag] for tag in (PATIENT_ID, ISSUER_OF_PATIENT_ID)} | given)
    return PatientEvent(patient, None if before == patient else before, time, attributes)
