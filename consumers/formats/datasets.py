"""Data sets of the DICOM JSON Model (PS3.18 Annex F) read into entities, as fast as an archive's stream asks for.

An archive says of each instance all that it said of the one before: the study's and the series' elements come again,
byte for byte. They are compared as bytes and worked out once. An element that came before, anywhere, is looked up by
its bytes. So what is worked out for an instance is most often its SOP Instance UID alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, NamedTuple, TypeAlias

import orjson
from msgspec import Raw

from consumers.events import BadEvent, Entity
from state.attributes import (
    MODALITY,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    STUDY_INSTANCE_UID,
    Attribute,
    Level,
    recordable,
)
from state.values import InvalidElement, Item, Repairs, Value, flat_value
from state.vr import PLAIN, is_uid

Dataset: TypeAlias = "dict[str, Raw]"

_DEPTH: Final = {Level.STUDY: 0, Level.SERIES: 1, Level.INSTANCE: 2}
_UIDS: Final = ((STUDY_INSTANCE_UID, "Study"), (SERIES_INSTANCE_UID, "Series"), (SOP_INSTANCE_UID, "SOP"))
_NEEDED: Final = {1: frozenset({MODALITY}), 2: frozenset({SOP_CLASS_UID})}  # what counts and modalities follow from
_PLAIN_UID: Final = re.compile(rb'{"vr":"UI","Value":\["([0-9.]{1,64})"\]}')  # as most write it
_LONGEST_KEPT: Final = 160  # bytes of an element's JSON; longer ones seldom come twice
_LONGEST_ITEMS_KEPT: Final = 1000  # the same of a sequence: codes do come again
_MOST_VALUES: Final = 1 << 12  # of one attribute
_MOST_SERIES: Final = 1 << 12
_MOST_VARYING: Final = 1 << 8  # tags
_READ_APART: Final = frozenset(  # what is read though it is no attribute of a record
    {tag for tag, _ in _UIDS} | {NUMBER_OF_STUDY_RELATED_SERIES, NUMBER_OF_STUDY_RELATED_INSTANCES}
)


@cache
def _plain(vr: str) -> re.Pattern[bytes]:
    """One value as most write it: nothing to mend and nothing escaped, of a person's name the first group alone."""
    if vr not in PLAIN:
        return re.compile(rb"(?!)")
    value = '{"Alphabetic":"(%s)"}' if vr == "PN" else '"(%s)"'
    return re.compile(rf'{{"vr":"{vr}","Value":\[{value % PLAIN[vr]}\]}}'.encode("ascii"))


class _Slot:
    """An attribute that is recorded, of which level (0: study), and the values of it that came lately."""

    __slots__ = ("_attribute", "_kept", "_plain", "depth", "known")

    def __init__(self, attribute: Attribute, depth: int) -> None:
        self.depth = depth
        self.known: dict[bytes, Value] = {}
        self._attribute = attribute
        self._plain = _plain(attribute.vr)
        self._kept = _LONGEST_ITEMS_KEPT if attribute.vr == "SQ" else _LONGEST_KEPT

    def work_out(self, text: bytes, repairs: Repairs) -> Value | None:
        """The flat value of an element, None for a null; raises InvalidElement."""
        value: Value
        plain = self._plain.fullmatch(text)
        if plain is not None:
            value = str(plain[1], "ascii")
        elif text == b"null":
            return None
        else:
            mended = repairs.repaired + repairs.emptied
            value = flat_value(_loads(text, self._attribute), self._attribute, repairs)
            if mended != repairs.repaired + repairs.emptied:
                return value  # what had to be mended is counted each time
        if len(text) <= self._kept:
            if len(self.known) >= _MOST_VALUES:
                self.known.clear()
            self.known[text] = value
        return value


class _Seen(NamedTuple):
    """An instance of a series that was read in full: what the next ones most often say again, and what it came to.

    ``same`` are its elements without its UID and those that ``varying`` names; ``instance`` the flat values of those
    that are the instance's.
    """

    same: Dataset
    varying: tuple[str, ...]
    study_instance_uid: str
    entity: Entity
    instance: Item


class DatasetReader:
    """Reads data sets; it remembers what it has seen, and what it remembers never changes what is read."""

    def __init__(self, kept: Level = Level.INSTANCE) -> None:
        self._slots = {
            level: {tag: _Slot(attribute, depth) for tag, (depth, attribute) in _allowed(level, kept).items()}
            for level in _DEPTH
        }
        self._seen: dict[bytes, _Seen] = {}
        self._varying: set[str] = set()

    def read(self, dataset: Dataset, level: Level, repairs: Repairs) -> tuple[str, Entity]:
        """The Study Instance UID and what a data set of that level says; counts repaired and emptied values.

        The data set is used up.

        Raises:
            BadEvent: a UID down to the level is absent or no UID.
            InvalidElement: an element is none of the DICOM JSON Model.
        """
        series = dataset.get(SERIES_INSTANCE_UID) if level is Level.INSTANCE else None
        if series is None:
            return self._read(dataset, level, repairs)
        key = bytes(series)
        seen = self._seen.get(key)
        if seen is not None:
            uid = dataset.pop(SOP_INSTANCE_UID, None)
            others = {tag: raw for tag in seen.varying if (raw := dataset.pop(tag, None)) is not None}
            if dataset == seen.same:
                return seen.study_instance_uid, self._like(seen.entity, seen.instance, uid, others, repairs)
            dataset |= others
            if uid is not None:
                dataset[SOP_INSTANCE_UID] = uid
        found = self._read(dataset, level, repairs)
        if not repairs.repaired and not repairs.emptied:
            self._remember(key, dataset, *found)
        return found

    def _like(self, before: Entity, same: Item, uid: Raw | None, others: Dataset, repairs: Repairs) -> Entity:
        """An instance of which the same is said as of the one before, but for its UID and some others."""
        item = same.copy()
        sop_instance_uid = _uid(uid, SOP_INSTANCE_UID, "SOP")
        for tag, raw in others.items():
            slot = self._slots[Level.INSTANCE].get(tag)
            if slot is not None:
                text = bytes(raw)
                value = slot.known.get(text)
                if value is None:
                    value = slot.work_out(text, repairs)
                if value is not None:
                    item[tag] = value
        return Entity(
            before.series_instance_uid,
            sop_instance_uid,
            before.study,
            before.series,
            item,
            before.expected_series,
            before.expected_instances,
        )

    def _remember(self, key: bytes, dataset: Dataset, study_instance_uid: str, entity: Entity) -> None:
        if len(self._seen) >= _MOST_SERIES:
            self._seen.clear()
        slots = self._slots[Level.INSTANCE]
        seen = self._seen.get(key)
        if seen is not None:
            # What differs within one series is left out of the comparison from now on, in all series: what is said of
            # instances, and what is passed over.
            differing = {tag for tag, raw in dataset.items() if raw != seen.same.get(tag)} - _READ_APART
            self._varying |= {tag for tag in differing if tag not in slots or slots[tag].depth == 2}
            if len(self._varying) > _MOST_VARYING:
                self._varying.clear()
        apart = self._varying | {SOP_INSTANCE_UID}
        self._seen[key] = _Seen(
            {tag: raw.copy() for tag, raw in dataset.items() if tag not in apart},  # a copy lets go of the message
            tuple(sorted(self._varying)),
            study_instance_uid,
            entity,
            {tag: value for tag, value in entity.instance.items() if tag not in apart},
        )

    def _read(self, dataset: Dataset, level: Level, repairs: Repairs) -> tuple[str, Entity]:
        uids = uids_of(dataset, level)
        items: tuple[Item, Item, Item] = ({}, {}, {})
        slots = self._slots[level]
        try:
            for tag, raw in dataset.items():
                slot = slots.get(tag)
                if slot is not None:
                    text = bytes(raw)
                    value = slot.known.get(text)
                    if value is None and (value := slot.work_out(text, repairs)) is None:
                        continue
                    items[slot.depth][tag] = value
        except InvalidElement:
            # The first fault is the same one whatever was looked at before, and in whatever order.
            for tag in sorted(dataset):
                if tag in slots:
                    slots[tag].work_out(bytes(dataset[tag]), repairs)
            raise
        _, series, instance = (*uids, None, None)[:3]
        counts = (
            _count(bytes(dataset.get(NUMBER_OF_STUDY_RELATED_SERIES, b""))),
            _count(bytes(dataset.get(NUMBER_OF_STUDY_RELATED_INSTANCES, b""))),
        )
        return uids[0], Entity(series, instance, *items, *counts)


def uids_of(dataset: Dataset, level: Level) -> list[str]:
    """The UIDs down to the level.

    Raises:
        BadEvent: one is absent or no UID.
    """
    return [_uid(dataset.get(tag), tag, name) for tag, name in _UIDS[: _DEPTH[level] + 1]]


def as_json(dataset: Dataset, wanted: Mapping[str, Attribute]) -> dict[str, Any]:
    """The wanted elements of a data set; raises InvalidElement where one is no JSON."""
    return {tag: _loads(bytes(dataset[tag]), row) for tag, row in wanted.items() if tag in dataset}


def _loads(text: bytes, attribute: Attribute) -> Any:
    try:
        return orjson.loads(text)
    except (orjson.JSONDecodeError, RecursionError):
        raise InvalidElement(f"{attribute.keyword} ({attribute.tag}) is not JSON") from None


def _uid(raw: Raw | None, tag: str, name: str) -> str:
    if raw is not None and (plain := _PLAIN_UID.fullmatch(raw)) is not None:
        found = str(plain[1], "ascii")
        if found[0] != "." and found[-1] != "." and ".." not in found:
            return found
    try:
        element = None if raw is None else orjson.loads(bytes(raw))
    except (orjson.JSONDecodeError, RecursionError):
        element = None
    values = element.get("Value") if type(element) is dict else None
    if type(values) is not list or len(values) != 1:
        raise BadEvent(f"{name} Instance UID ({tag}) is absent")
    uid = values[0].strip(" \x00") if isinstance(values[0], str) else ""
    if not is_uid(uid):
        raise BadEvent(f"{name} Instance UID ({tag}) is no UID")
    return uid


@cache
def _allowed(event_level: Level, kept: Level) -> dict[str, tuple[int, Attribute]]:
    """What a data set of an event may say, and of which level (0: study); what is known at several is the event's.

    Below the level that is kept, what says nothing of counts and modalities is left out.
    """
    allowed: dict[str, tuple[int, Attribute]] = {}
    for level, depth in _DEPTH.items():
        if depth <= _DEPTH[event_level]:
            of_level = {tag: (depth, attribute) for tag, attribute in recordable(level).items()}
            allowed = allowed | of_level if level is event_level else of_level | allowed
    return {
        tag: (depth, attribute)
        for tag, (depth, attribute) in allowed.items()
        if depth <= _DEPTH[kept] or tag in _NEEDED[depth]
    }


@lru_cache(maxsize=1 << 12)
def _count(text: bytes) -> int | None:
    """A count that an event announces; one that cannot be read announces nothing."""
    try:
        element = orjson.loads(text) if text else None
        values = element.get("Value") if type(element) is dict else None
        count = int(values[0]) if type(values) is list and values else -1
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return count if 0 <= count < 2**31 else None
