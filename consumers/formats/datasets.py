"""Data sets of the DICOM JSON Model (PS3.18 Annex F) read into entities, as fast as an archive's stream asks for.

An element that came before, in whatever message, is looked up by its bytes: its value follows from them alone.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache, lru_cache
from typing import Any, Final, TypeAlias

import orjson
from msgspec import Raw

from consumers.events import BadEvent, Entity
from consumers.formats.rejection import KEY_OBJECT_SELECTION, rejection
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
READ_APART: Final = frozenset(  # what is read though it is no attribute of a record
    {tag for tag, _ in _UIDS} | {NUMBER_OF_STUDY_RELATED_SERIES, NUMBER_OF_STUDY_RELATED_INSTANCES}
)


@cache
def _plain(vr: str) -> re.Pattern[bytes]:
    """One value as most write it: nothing to mend and nothing escaped, of a person's name the first group alone."""
    if vr not in PLAIN:
        return re.compile(rb"(?!)")
    value = '{"Alphabetic":"(%s)"}' if vr == "PN" else '"(%s)"'
    return re.compile(rf'{{"vr":"{vr}","Value":\[{value % PLAIN[vr]}\]}}'.encode("ascii"))


class Slot:
    """An attribute that is recorded, of which level (0: study), and the values of it that came lately."""

    __slots__ = ("_kept", "_plain", "attribute", "depth", "known")

    def __init__(self, attribute: Attribute, depth: int) -> None:
        self.depth = depth
        self.known: dict[bytes, Value] = {}
        self.attribute = attribute
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
            value = flat_value(_loads(text, self.attribute), self.attribute, repairs)
            if mended != repairs.repaired + repairs.emptied:
                return value  # what had to be mended is counted each time
        if len(text) <= self._kept:
            if len(self.known) >= _MOST_VALUES:
                self.known.clear()
            self.known[text] = value
        return value

    def as_it_stands(self, text: bytes, repairs: Repairs) -> Value | None:
        """The value of an element; None if it is none, has no value, or has to be mended (then ``repairs`` say so)."""
        try:
            value = self.work_out(text, repairs)
        except InvalidElement:
            return None
        return None if repairs.repaired or repairs.emptied else value


class DatasetReader:
    """Reads data sets; it remembers what it has seen, and what it remembers never changes what is read."""

    def __init__(self, kept: Level = Level.INSTANCE) -> None:
        self.slots = {
            level: {tag: Slot(attribute, depth) for tag, (depth, attribute) in _allowed(level, kept).items()}
            for level in _DEPTH
        }

    def read(self, dataset: Dataset, level: Level, repairs: Repairs) -> tuple[str, Entity]:
        """The Study Instance UID and what a data set of that level says; counts repaired and emptied values.

        Raises:
            BadEvent: a UID down to the level is absent or no UID.
            InvalidElement: an element is none of the DICOM JSON Model.
        """
        uids = uids_of(dataset, level)
        items: tuple[Item, Item, Item] = ({}, {}, {})
        slots = self.slots[level]
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
            announced(bytes(dataset.get(NUMBER_OF_STUDY_RELATED_SERIES, b""))),
            announced(bytes(dataset.get(NUMBER_OF_STUDY_RELATED_INSTANCES, b""))),
        )
        rejects = rejection(dataset, uids[0]) if items[2].get(SOP_CLASS_UID) == KEY_OBJECT_SELECTION else None
        return uids[0], Entity(series, instance, *items, *counts, rejects)


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
def announced(text: bytes) -> int | None:
    """A count that an event announces; one that cannot be read announces nothing."""
    try:
        element = orjson.loads(text) if text else None
        values = element.get("Value") if type(element) is dict else None
        count = int(values[0]) if type(values) is list and values else -1
    except (TypeError, ValueError, OverflowError, RecursionError):
        return None
    return count if 0 <= count < 2**31 else None
