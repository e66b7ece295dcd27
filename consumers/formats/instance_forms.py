"""Messages of one series read by the form of one that came before: what is the same is not read again.

An archive writes all its messages alike. Two of one series differ in a few places: an id, the time, the SOP Instance
UID, the instance number. Which these are is learnt from messages that were read in full. A message with the same bytes
everywhere else, and in these places nothing but what can stand there, says the same but for them. Any other is read in
full. So a form never changes what a message comes to (docs/decisions/0013).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Final, NamedTuple, TypeAlias

from consumers.events import Entity, Event
from consumers.formats.datasets import READ_APART, Dataset, Slot
from consumers.formats.layout import Layout, NotPlain, Span
from state.attributes import SERIES_INSTANCE_UID, SOP_CLASS_UID, SOP_INSTANCE_UID
from state.values import Repairs
from state.vr import UID_LENGTH

_MOST_SERIES: Final = 1 << 11
_MOST_VARYING: Final = 32  # tags; with more of them, reading in full is as fast
_LEARN_EACH: Final = 4  # messages of a series; later ones that have to be read in full are learnt from ever more seldom
_PAYS: Final = 8  # messages that each form has read, then it is taken from the first message of a series
_HARDLY_PAYS: Final = 1  # fewer than these, and it is taken from the eighth; else from the second
_TRIED: Final = 16  # forms before that is known

_COMPARED: Final = READ_APART | {SOP_CLASS_UID}  # always: an event can follow from the form only if these are the same
_OWN: Final = 2  # depth of what is said of an instance itself
_MAY_BE: Final = {
    "": b"",
    "id": rb'(?:"[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*))',
    "time": rb"([0-9A-Za-z.:+\- ]+)",
}
_are_components: Final = re.compile(rb"[0-9]+(?:\.[0-9]+)*").fullmatch
_ONE_VALUE: Final = rb'(?:"[^\x00-\x1f"\\]*"|-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)'
_VALUES: Final = rb"%s(?:[ \t\n\r]*,[ \t\n\r]*%s)*" % (_ONE_VALUE, _ONE_VALUE)
_NO_VALUE: Final = b"\x00"  # stands in none
_are_values: Final = re.compile(rb"%s(?:\x00%s)*" % (_VALUES, _VALUES)).fullmatch


class _Recorded(NamedTuple):
    """An element that is recorded and differs from instance to instance, and what is around the differing part."""

    before: bytes
    after: bytes
    tag: str
    slot: Slot


# Bytes that are the same, how many, what closes the part after them that differs, and what that part is: the end of the
# SOP Instance UID (true), what is passed over (false), or within an element that is recorded.
_Piece: TypeAlias = tuple[bytes, int, bytes, _Recorded | bool]


class InstanceForm:
    """What the messages of one series have in common.

    Before and after the data set only an id and the time may differ. The data set is pieces of bytes, and between them
    are parts that may differ: the end of the SOP Instance UID, and what elements of the tags ``varying`` hold.

    It is taken from a message and the ``event`` that it came to; ``like`` is the form that did not fit.

    Raises:
        NotPlain: the message has no form.
    """

    def __init__(
        self,
        layout: Layout,
        event: Event,
        like: InstanceForm | None,
        varying: frozenset[str],
        slots: dict[str, Slot],
    ) -> None:
        message, (begin, end) = layout.message, layout.span
        [self._entity] = event.entities
        self.event = event
        self.dataset = layout.dataset
        self.root = _root_of(layout, like)
        time = layout.text(b'"time"')
        named = [(time, "time")]
        if b'"id"' in layout:
            named = sorted([*named, (layout.scalar(b'"id"'), "id")])
        self._head = _around(message, (0, begin), named).match
        fixed = named[-1][0][1] <= begin  # nothing after the data set may differ, as in most messages
        self._tail = None if fixed else _around(message, (end, len(message)), named).fullmatch
        self._time_first = time[1] <= begin
        uid_begin, uid_end = layout.uid(SOP_INSTANCE_UID)
        spans = {tag: layout.values(tag) for tag in layout.dataset if tag in varying}
        spans[SOP_INSTANCE_UID] = (uid_begin + len(self.root), uid_end)
        pieces: list[_Piece] = []
        at = begin
        for tag in sorted(spans, key=spans.__getitem__):
            inside, closing = spans[tag]
            what: _Recorded | bool = tag == SOP_INSTANCE_UID
            if tag in slots and not what:
                whole = layout.element(tag)
                what = _Recorded(message[whole[0] : inside], message[closing : whole[1]], tag, slots[tag])
            pieces.append((message[at:inside], inside - at, message[closing : closing + 1], what))
            at = closing
        self._pieces = tuple(pieces)
        self._last = message[at:] if fixed else message[at:end]
        self._same = {tag: value for tag, value in self._entity.instance.items() if tag not in spans}

    def read(self, message: bytes, repairs: Repairs) -> tuple[Event, str, Entity] | None:
        """The event that it is like, the time as it is written and the instance.

        None if the message has another form or has to be mended.
        """
        head = self._head(message)
        if head is None:
            return None
        at = head.end()
        instance, uid, passed = self._same.copy(), b"", []
        for piece, size, closing, what in self._pieces:
            if not message.startswith(piece, at):
                return None
            begin = at + size
            at = message.find(closing, begin)
            part = message[begin:at]  # all but the last byte if it is not closed: then the next piece does not fit
            if what is False:
                passed.append(part)
            elif what is True:
                uid = self.root + part
                if len(uid) > UID_LENGTH or not (part.isdigit() or _are_components(part)):
                    return None
            else:
                before, after, tag, slot = what
                text = before + part + after
                value = slot.known.get(text)
                if value is None:
                    value = slot.as_it_stands(text, repairs)
                    if value is None:
                        return None
                instance[tag] = value
        if passed and not _are_values(_NO_VALUE.join(passed)):
            return None
        if self._tail is None:
            if message[at:] != self._last:
                return None
            tail = head
        else:
            found = self._tail(message, at + len(self._last))
            if found is None or not message.startswith(self._last, at):
                return None
            tail = found
        like = self._entity
        entity = Entity(
            like.series_instance_uid,
            str(uid, "ascii"),
            like.study,
            like.series,
            instance,
            like.expected_series,
            like.expected_instances,
        )
        return self.event, str((head if self._time_first else tail)[1], "ascii"), entity


def _root_of(layout: Layout, like: InstanceForm | None) -> bytes:
    """The components of SOP Instance UIDs, each with its dot, that are the same: devices number what is in a series."""
    begin, end = layout.uid(SOP_INSTANCE_UID)
    root = _without_last(layout.message[begin:end]) if like is None else like.root
    while not layout.message.startswith(root, begin):
        root = _without_last(root)
    return root


def _without_last(uid: bytes) -> bytes:
    return uid[: uid.rfind(b".", 0, -1) + 1]


def _around(message: bytes, span: Span, named: Sequence[tuple[Span, str]]) -> re.Pattern[bytes]:
    """A pattern for this part of a message: as it is, but for what has a name (in order). The time is a group."""
    at, stop = span
    literals, names = [], []
    for (begin, end), name in named:
        if at <= begin and end <= stop:
            literals.append(message[at:begin])
            names.append(name)
            at = end
    return _pattern((*literals, message[at:stop]), (*names, ""))


@lru_cache(maxsize=64)  # an archive's are all the same
def _pattern(literals: tuple[bytes, ...], names: tuple[str, ...]) -> re.Pattern[bytes]:
    return re.compile(b"".join(re.escape(one) + _MAY_BE[name] for one, name in zip(literals, names, strict=True)))


class InstanceForms:
    """The forms of the series that came lately. ``slots`` are the attributes that are recorded, by tag."""

    def __init__(self, slots: dict[str, Slot]) -> None:
        self._slots = slots
        self._forms: dict[bytes, InstanceForm] = {}  # by Series Instance UID
        self._latest: dict[bytes, InstanceForm] = {}  # by the key of the message that had it
        self._read_in_full: dict[bytes, int] = {}  # messages of each series
        self._varying: frozenset[str] = frozenset()
        self._learnt = 1  # forms, and one more
        self._read = 0  # messages by their form
        self._opening = b"\x00"  # what stands before a Series Instance UID; at first, what is in no message

    def read(self, message: bytes, key: bytes | None, repairs: Repairs) -> tuple[Event, str, Entity] | None:
        """An event of the same form, the time as it is written, and the instance.

        None if the message has to be read in full. Its ``key`` is the study's, most often, and the next of a study are
        most often of the same series.
        """
        latest = None if key is None else self._latest.get(key)
        if latest is not None:
            found = latest.read(message, repairs)
            if found is not None:
                self._read += 1
                return found
        form = self._form_of(message)
        if form is None or form is latest:
            return None
        found = form.read(message, repairs)
        if found is None:
            return None
        self._read += 1
        if key is not None:
            if len(self._latest) >= _MOST_SERIES:
                self._latest.clear()
            self._latest[key] = form
        return found

    def _form_of(self, message: bytes) -> InstanceForm | None:
        """The form that a message may have, by what seems to be its Series Instance UID."""
        at = message.find(self._opening)
        if at < 0:
            return None
        begin = at + len(self._opening)
        return self._forms.get(message[begin : message.find(b'"', begin)])

    def learn(self, message: bytes, dataset: Dataset, event: Event) -> None:
        """Take the form of a message that was read in full, and in which nothing was mended, if that may pay.

        Its time is stated, and it has one data set and no ``prior``.
        """
        series_instance_uid = event.entities[0].series_instance_uid
        if series_instance_uid is None:
            return
        key = series_instance_uid.encode("ascii")
        count = self._read_in_full.get(key, 0) + 1
        if count == 1 and len(self._read_in_full) >= _MOST_SERIES:
            self._read_in_full.clear()
            self._forms.clear()
        self._read_in_full[key] = count
        if count < self._first_learnt_from() or (count > _LEARN_EACH and count & (count - 1)):
            return
        self._learnt += 1
        try:
            layout = Layout(message, dataset)
            begin, end = layout.uid(SERIES_INSTANCE_UID)
            before = self._forms.get(key)
            self._learn_varying(before, dataset)
            form = InstanceForm(layout, event, before, self._varying, self._slots)
        except NotPlain:
            return
        self._forms[message[begin:end]] = form
        self._opening = message[message.rindex(b'"%s"' % SERIES_INSTANCE_UID.encode("ascii"), 0, begin) : begin]

    def _first_learnt_from(self) -> int:
        """Which message of a series: to take a form costs as much as to read a message in full or two."""
        if self._read >= _PAYS * self._learnt:
            return 1
        return 2 if self._learnt < _TRIED or self._read >= _HARDLY_PAYS * self._learnt else 8

    def _learn_varying(self, before: InstanceForm | None, dataset: Dataset) -> None:
        """What differs within one series is left out of the comparison from now on, in all series.

        Only what is said of instances can be, and what is passed over.
        """
        if before is None:
            return
        differing = {tag for tag, raw in dataset.items() if raw != before.dataset.get(tag)} - _COMPARED
        found = self._varying | {tag for tag in differing if tag not in self._slots or self._slots[tag].depth == _OWN}
        if len(found) <= _MOST_VARYING:
            self._varying = found
