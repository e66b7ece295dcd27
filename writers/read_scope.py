"""The Scope of Inventory (0008,0400) as it is read (PS3.3 C.38.2.1): universal, or a range of Study Update DateTime."""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import UTC, tzinfo
from typing import Final

from pydicom.dataset import Dataset

from state.times import parse_time
from writers.decoding import items_of

_DT: Final = re.compile(r"(\d{4,14})(?:\.(\d{1,6}))?([+-]\d{4})?", re.ASCII)
_LAST: Final = "99991231235959"  # of each part of a DT, but for the day


class InvalidScope(ValueError):
    """A Scope of Inventory Sequence that says nothing definite; the text tells why and holds no value."""


@dataclass(frozen=True, slots=True)
class Scope:
    """Which studies an Inventory is about.

    ``ranged``: there is a range of Study Update DateTime, from ``begin`` to ``end``, UTC microseconds, both
    inclusive, None where it is open. ``other_keys`` are the keywords of further keys: they limit the Scope in
    a way that is not evaluated here.
    """

    ranged: bool
    begin: int | None
    end: int | None
    other_keys: tuple[str, ...]

    @property
    def universal(self) -> bool:
        """Every study of the repository (an empty sequence, or one empty Item)."""
        return not self.ranged and not self.other_keys

    def holds(self, study_update_datetime: int | None) -> bool:
        """Whether a study last updated then lies in the range; one without a time lies in no range."""
        if not self.ranged:
            return True
        if study_update_datetime is None:
            return False
        after = self.begin is None or self.begin <= study_update_datetime
        return after and (self.end is None or study_update_datetime <= self.end)


def read_scope(header: Dataset, zone: tzinfo = UTC) -> Scope:
    """The Scope that an Inventory's header states; bounds without an offset are in ``zone``.

    Raises:
        InvalidScope: more than one Item, a range without exactly two Items, or a bound that is no DT.
    """
    listed = items_of(header, "ScopeOfInventorySequence")
    if len(listed) > 1:
        raise InvalidScope("more than one Item")
    if not listed:
        return Scope(False, None, None, ())
    item = listed[0]
    bounds = items_of(item, "RangeMatchingSequence")
    keys = {element.keyword for bound in bounds for element in bound} | {
        element.keyword
        for keyword in ("ListOfUIDMatchingSequence", "EmptyValueMatchingSequence", "GeneralMatchingSequence")
        for matching in items_of(item, keyword)
        for element in matching
    }
    others = tuple(sorted(keys - {"StudyUpdateDateTime", "SpecificCharacterSet"}))
    if not any("StudyUpdateDateTime" in bound for bound in bounds):
        return Scope(False, None, None, others)
    if len(bounds) != 2:
        raise InvalidScope(f"a range with {len(bounds)} Items; beginning and end are two")
    begin, end = (_text(bound) for bound in bounds)
    return Scope(True, _moment(begin, zone), _moment(_filled(end), zone), others)


def _text(bound: Dataset) -> str:
    value = bound.get("StudyUpdateDateTime")
    return "" if value is None else str(value).strip()


def _moment(text: str, zone: tzinfo) -> int | None:
    if not text:
        return None
    try:
        return parse_time(text, zone)
    except ValueError:
        raise InvalidScope("a bound of the range is no DT") from None


def _filled(end: str) -> str:
    """The last moment of a DT of lower precision: the end of a range is inclusive, so "20260131" is all that day."""
    match = _DT.fullmatch(end)
    if match is None:
        return end
    digits, fraction, offset = match[1], match[2] or "", match[3] or ""
    if len(digits) == 4:
        digits += "12"
    if len(digits) == 6 and "01" <= digits[4:] <= "12":
        digits += str(calendar.monthrange(max(int(digits[:4]), 1), int(digits[4:]))[1])
    return f"{digits}{_LAST[len(digits) :]}.{fraction.ljust(6, '9')}{offset}"
