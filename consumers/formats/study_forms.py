"""Messages about whole studies read by the form of one that came before: one look tells all values.

An archive says of each study the same attributes, written in the same way. What is around the values is learnt from
messages that were read in full, and made into a pattern whose groups take values that are right as they stand (see
``PLAIN_TEXT`` in :mod:`state.vr`). A message that the pattern fits says what its groups say. Any other is read in full.
So a form never changes what a message comes to (docs/decisions/0013).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from operator import itemgetter
from typing import Any, Final

import orjson

from consumers.events import Entity, Event
from consumers.formats.datasets import Dataset, Slot, announced
from consumers.formats.layout import Layout, NotPlain, Span
from state.attributes import NUMBER_OF_STUDY_RELATED_INSTANCES, NUMBER_OF_STUDY_RELATED_SERIES, STUDY_INSTANCE_UID
from state.values import Item, Repairs
from state.vr import PLAIN_TEXT

_MOST_FORMS: Final = 8
_MOST_ELEMENTS: Final = 200  # of a message; a pattern for more takes long to be made
_FORGET: Final = 1 << 14  # messages that had no form: then all are learnt anew, since other ones may be usual by now

_MOMENT: Final = r"([0-9A-Za-z.:+\- ]+)"
_ID: Final = r'("[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*))'
_ELEMENT: Final = r"(\{.*?\})"  # of any kind; whether it is one is looked at
_VALUE: Final = r'(?:"[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?)'
_NOTHING: Final[Item] = {}
_COUNTS: Final = (NUMBER_OF_STUDY_RELATED_SERIES, NUMBER_OF_STUDY_RELATED_INSTANCES)


class StudyForm:
    """What messages about whole studies have in common: a pattern, with one group for each part that may differ.

    It is taken from a message and the ``event`` that it came to.

    Raises:
        NotPlain: the message has no form.
    """

    def __init__(self, layout: Layout, event: Event, slots: dict[str, Slot]) -> None:
        if len(layout.dataset) > _MOST_ELEMENTS:
            raise NotPlain
        parts = {layout.text(b'"time"'): ("time", _MOMENT)}
        if b'"id"' in layout:
            parts[layout.scalar(b'"id"')] = ("id", _ID)
        for tag, raw in layout.dataset.items():
            parts[layout.element(tag)] = (tag, _element(tag, bytes(raw), slots.get(tag), layout))
        spans = sorted(parts)
        names = [parts[span][0] for span in spans]
        self.pattern = _pattern(layout.message, spans, [parts[span][1] for span in spans])
        self._tags = tuple(tag for tag in layout.dataset if tag in slots)
        if len(self._tags) <= 1:
            raise NotPlain
        self.event = event
        self._fullmatch = re.compile(self.pattern, re.DOTALL).fullmatch
        self._time, self._uid = names.index("time"), names.index(STUDY_INSTANCE_UID)
        self._series, self._instances = (names.index(tag) if tag in names else None for tag in _COUNTS)
        self._values = itemgetter(*(names.index(tag) for tag in self._tags))
        self._separator = f'"{layout.comma.decode()}"'
        self._elements = tuple(
            (place, slots[tag]) for place, tag in enumerate(self._tags) if parts[layout.element(tag)][1] == _ELEMENT
        )
        whole = {place for place, _ in self._elements}
        self._several = tuple(
            place for place, tag in enumerate(self._tags) if slots[tag].attribute.vm != "1" and place not in whole
        )

    def read(self, message: str, repairs: Repairs) -> tuple[Event, str, str, Entity] | None:
        """The event that it is like, the time as it is written, the Study Instance UID and what is said of the study.

        None if the message has another form or has to be mended.
        """
        found = self._fullmatch(message)
        if found is None:
            return None
        groups = found.groups("")  # an element without a value is empty
        values = list(self._values(groups))
        for place in self._several:
            values[place] = values[place].replace(self._separator, "\\")
        for place, slot in self._elements:
            text = values[place].encode()
            value = slot.known.get(text)
            if value is None:
                value = slot.as_it_stands(text, repairs)
                if value is None:
                    return None
            values[place] = value
        item = dict(zip(self._tags, values, strict=True))
        series = None if self._series is None else _count(groups[self._series])
        instances = None if self._instances is None else _count(groups[self._instances])
        entity = Entity(None, None, item, _NOTHING, _NOTHING, series, instances)
        return self.event, groups[self._time], groups[self._uid], entity


class StudyForms:
    """The forms that are usual. ``slots`` are the attributes that are recorded, by tag."""

    def __init__(self, slots: dict[str, Slot]) -> None:
        self._slots = slots
        self._forms: list[StudyForm] = []
        self._read_in_full = 0

    def read(self, message: bytes, repairs: Repairs) -> tuple[Event, str, str, Entity] | None:
        """What :meth:`StudyForm.read` of the form that it has gives; None if it has to be read in full."""
        if not self._forms:
            return None
        try:
            text = str(message, "utf-8")
        except UnicodeDecodeError:
            return None
        for form in self._forms:
            found = form.read(text, repairs)
            if found is not None:
                return found
        return None

    def learn(self, message: bytes, dataset: Dataset, event: Event) -> None:
        """Take the form of a message that was read in full, and in which nothing was mended, if that may pay.

        Its time is stated, and it has one data set and no ``prior``.
        """
        self._read_in_full += 1
        if self._read_in_full == _FORGET:
            self._read_in_full = 1
            self._forms.clear()
        # To make a pattern costs as much as to read a hundred messages, so it is not done for each.
        if self._read_in_full & (self._read_in_full - 1) or len(self._forms) == _MOST_FORMS:
            return
        try:
            form = StudyForm(Layout(message, dataset), event, self._slots)
        except (NotPlain, UnicodeDecodeError):
            return
        fits = form.read(str(message, "utf-8"), Repairs()) is not None
        if fits and all(form.pattern != one.pattern for one in self._forms):
            self._forms.append(form)


def _count(text: str) -> int | None:
    """What an event announces, of a number or of the whole element."""
    return int(text) if text.isdecimal() else announced(text.encode())


def _is_plain_count(element: dict[str, Any]) -> bool:
    match element.get("Value"):
        case [int()]:
            return [*element] == ["vr", "Value"]
    return False


def _pattern(message: bytes, spans: Sequence[Span], patterns: Sequence[str]) -> str:
    """What is between the spans as it stands, and a pattern in place of each."""
    found = ""
    at = 0
    between = [*pairwise([0, *(place for span in spans for place in span), len(message)])][::2]
    for (begin, end), pattern in zip(between, ["", *patterns], strict=True):
        if begin < at or end < begin:
            raise NotPlain  # one is within the other
        literal = re.escape(str(message[begin:end], "utf-8"))
        # Where an element of any kind ends is where first it can: no message takes long to be found another one.
        found += f"(?>{pattern}{literal})" if pattern == _ELEMENT else pattern + literal
        at = end
    return found


def _element(tag: str, raw: bytes, slot: Slot | None, layout: Layout) -> str:
    """A pattern with one group for an element written as this one is; its values are as the attribute takes them."""
    try:
        element: Any = orjson.loads(raw)
    except (orjson.JSONDecodeError, RecursionError):
        raise NotPlain from None  # it is passed over, so nobody has looked at it
    if not isinstance(element, dict):
        raise NotPlain
    vr = element.get("vr")
    comma, colon = layout.comma.decode(), layout.colon.decode()
    head, value = rf'\{{"vr"{colon}"{vr}"', rf'{comma}"Value"{colon}'
    if tag == STUDY_INSTANCE_UID:
        if vr != "UI":
            raise NotPlain
        return rf'{head}{value}\["({PLAIN_TEXT["UI"]})"\]\}}'
    if tag in _COUNTS and _is_plain_count(element):
        return rf"{head}{value}\[(0|[1-9][0-9]{{0,8}})\]\}}"
    if slot is None:
        return rf'(\{{"vr"{colon}"[A-Z][A-Z]"(?:{value}\[(?:{_VALUE}(?:{comma}{_VALUE})*)?\])?\}})'
    if vr not in PLAIN_TEXT or vr != slot.attribute.vr:
        return _ELEMENT
    text = PLAIN_TEXT[vr]
    if slot.attribute.vm != "1":
        text = rf'{text}(?:"{comma}"{text})*'
    inside = rf'\{{"Alphabetic"{colon}"({text})"\}}' if vr == "PN" else f'"({text})"'
    return rf"{head}(?:{value}\[{inside}\])?\}}"
