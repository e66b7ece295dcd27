"""All studies of an archive, listed with QIDO-RS so that none is passed over while others are stored or removed.

A number of studies to pass over is no place to go on at: the list moves. A Study Date is one. So:

1. Studies are listed by ranges of Study Date, each as long as one answer holds and doubled or halved as they come. Only
   a day with more studies than an answer holds is read in pages (:class:`consumers.archives.qido.Pages`).
2. No search finds the studies without a Study Date, or with one that is none. Then all are gone through in pages, and
   those are picked out: a request for each 200 studies. These pages notice when the list moves, and read back; but a
   server that gives no steady order can still hide one. Such a study is found by a search for its UID, or by an event.

Where a server does not search by dates (it finds studies of a day before all imaging), all are listed in the second
way. A study of which the date changes while it is listed may be left out; events or a bridge tell that it changed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from datetime import date, timedelta
from typing import Any, Final

from consumers.archives.archive import ArchiveRefused
from consumers.archives.elements import first_of
from consumers.archives.qido import LIMIT, Pages, Search

STUDY_DATE: Final = "00080020"

FIRST_DAY: Final = date(1900, 1, 1)
LAST_DAY: Final = date(2099, 12, 31)  # what lies outside is found with the undated
_NO_DAY: Final = date(1850, 1, 1)
_SPAN: Final = (LAST_DAY - FIRST_DAY).days + 1
_FIELDS: Final = {"includefield": STUDY_DATE}  # the UID is in every row
_PLACE: Final = re.compile(r"(?P<day>\d{8})\+(?P<span>\d{1,5})|(?P<kind>undated|all):(?P<offset>\d{1,18})", re.ASCII)
_DAY: Final = re.compile(r"\d{8}", re.ASCII)
_PATIENCE: Final = 10  # answers without a study to tell of, before the caller may look around


class Listing:
    """Lists one archive's studies; for several threads. Raises ArchiveError."""

    def __init__(self, search: Search) -> None:
        self._search = search
        self._all = Pages(search, _FIELDS)
        self._room = LIMIT  # what the server gave in one answer where it had more

    def page(self, place: str, size: int) -> tuple[list[str], str | None]:
        """Studies from a place on ("": the first), about ``size`` of them or none, and the next place.

        The place is None after the last. A study may be listed twice.
        """
        if not place:
            if self._search.studies(_FIELDS | study_dates(_NO_DAY, _NO_DAY), limit=1).came:
                return self._paged("all", 0, size)
            return self._dated(FIRST_DAY, _SPAN, size)
        match = _PLACE.fullmatch(place)
        if match is None or (match["day"] and parse_day(match["day"]) is None):
            raise ArchiveRefused(f"a list of the archive's studies cannot go on at {place!r}; list them from the first")
        if match["kind"]:
            return self._paged(match["kind"], int(match["offset"]), size)
        return self._dated(parse_day(match["day"]) or FIRST_DAY, max(1, int(match["span"])), size)

    def _dated(self, first: date, span: int, size: int) -> tuple[list[str], str | None]:
        while first <= LAST_DAY:
            last = min(first + timedelta(days=span - 1), LAST_DAY)
            pages = Pages(self._search, _FIELDS | study_dates(first, last))
            rows, following = pages.page(0, size)
            # Whether that was all is known by the next page alone: a server may give fewer rows than are asked for.
            given = len(rows)
            while following is not None:
                more, following = pages.page(following, size)
                if more:
                    self._room = min(self._room, given)
                rows = rows | more
                if more and span > 1:
                    break
            if following is not None:
                span = max(1, span // 2)
                continue
            first = last + timedelta(days=1)
            if 2 * len(rows) <= min(size, self._room):
                span = min(2 * span, _SPAN)
            if rows:
                return list(rows), f"{first:%Y%m%d}+{span}" if first <= LAST_DAY else "undated:0"
        return self._paged("undated", 0, size)

    def _paged(self, kind: str, offset: int, size: int) -> tuple[list[str], str | None]:
        following: int | None = offset
        found: list[str] = []
        for _ in range(_PATIENCE):
            if found or following is None:
                break
            rows, following = self._all.page(following, size)
            found = [uid for uid, row in rows.items() if kind == "all" or study_date(row) is None]
        return found, None if following is None else f"{kind}:{following}"


def study_dates(first: date, last: date) -> dict[str, str]:
    """The search for studies of those days and those between. Some servers know no range without an end."""
    return {"StudyDate": f"{first:%Y%m%d}-{last:%Y%m%d}"}


def study_date(row: Mapping[str, Any]) -> date | None:
    """The Study Date of a row; None if it has none by which it could be searched for."""
    text = first_of(row, STUDY_DATE)
    day = parse_day(text.strip(" \0")) if isinstance(text, str) else None
    return day if day is not None and FIRST_DAY <= day <= LAST_DAY else None


def parse_day(text: str) -> date | None:
    """The day of a DICOM DA, ``YYYYMMDD``."""
    if not _DAY.fullmatch(text):
        return None
    try:
        return date(int(text[:4]), int(text[4:6]), int(text[6:]))
    except ValueError:
        return None
