"""The study records of one member held to its own header, and to those that incorporate it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Final

from state.times import to_iso
from writers.checks.finding import Fault, Severity
from writers.checks.member import Member
from writers.reader import StudyItem
from writers.scanning import Malformed, elements

_UPDATED: Final = 0x0008041F
_RECORDED: Final = 0x00080404


class RecordCheck:
    """Holds the records of ``member`` to its times and to the Scopes of it and of its ``incorporators``."""

    def __init__(self, member: Member, incorporators: Sequence[Member]) -> None:
        self._content = member.content_moment
        self._own = member.sop_instance_uid
        self._scopes = [
            (each.sop_instance_uid, each.scope)
            for each in (member, *incorporators)
            if each.scope is not None and each.scope.ranged
        ]
        self._seen: set[str] = set()

    def faults(self, item: StudyItem) -> Iterator[Fault]:
        """What is wrong with one record, apart from its attributes."""
        yield from self._scope_faults(item)
        yield from self._time_faults(item)
        if item.study_instance_uid in self._seen:
            text = "the study has several records in this Inventory"
            yield Fault("duplicate", "PS3.17 YYYY.7.10", "", text, Severity.WARNING)
        elif item.study_instance_uid:
            self._seen.add(item.study_instance_uid)

    def _scope_faults(self, item: StudyItem) -> Iterator[Fault]:
        updated = item.study_update_datetime
        for uid, scope in self._scopes:
            if scope.holds(updated):
                continue
            whose = "this Inventory" if uid == self._own else f"{uid}, which incorporates it"
            section = "PS3.3 C.38.2.1" if uid == self._own else "PS3.3 C.38.1.1.5"
            when = "no Study Update DateTime" if updated is None else f"updated {to_iso(updated)}"
            yield Fault("scope", section, "(0008,041F)", f"{when}: outside the Scope of {whose}")

    def _time_faults(self, item: StudyItem) -> Iterator[Fault]:
        recorded = item.item_inventory_datetime
        if recorded is None and _has_value(item, _RECORDED):
            yield Fault("time", "PS3.5 6.2", "(0008,0404)", "Item Inventory DateTime is no DT")
        if item.study_update_datetime is None and _has_value(item, _UPDATED):
            yield Fault("time", "PS3.5 6.2", "(0008,041F)", "Study Update DateTime is no DT")
        if recorded is not None and self._content is not None and recorded < self._content:
            text = f"recorded {to_iso(recorded)}, before the Content Date and Time of this Inventory"
            yield Fault("item-time", "PS3.3 C.38.1.1 (0008,0404)", "(0008,0404)", text)


def _has_value(item: StudyItem, tag: int) -> bool:
    try:
        return any(
            element.tag == tag and item.data[element.start : element.stop].strip(b" \0")
            for element in elements(item.data, 0, len(item.data), item.implicit, 1)
        )
    except Malformed:
        return False  # the attribute check tells
