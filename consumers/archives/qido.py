"""Searches with QIDO-RS (PS3.18 10.6), and lists of studies page by page on whatever servers make of them.

What servers do, and what is done about it:

- A server may answer fewer rows than were asked for (Azure: at most 200; Google, HealthImaging and dcm4chee have other
  limits; some count rows that they then leave out). So the next page begins behind what came, and only an empty page
  is the last.
- QIDO-RS promises no order. Servers keep one; but a study that is removed or stored meanwhile moves others over the
  edge of a page. So each page has to hold a study of those before it, and what comes after that is new; where none
  is found, it is looked for further ahead in the list. One that stays is left out only if more than ten pages of
  studies were removed between two pages, or if the server gives another order each time.
- Some ignore ``offset`` (dicomweb-server) and would be read for ever: that is found out by asking for single rows.
- HealthImaging gives no row beyond the ten-thousandth.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final, NamedTuple, TypeAlias

from consumers.archives.archive import ArchiveRefused, DicomJson
from consumers.archives.client import ArchiveClient
from consumers.archives.elements import uid_of
from state.attributes import STUDY_INSTANCE_UID

DICOM_JSON: Final = "application/dicom+json"
_BACK: Final = 10  # pages
_REMEMBERED: Final = 1000  # studies
LIMIT: Final = 200  # rows in an answer: the least that a known server takes as the most

Rows: TypeAlias = "dict[str, DicomJson]"  # by UID, in the order in which they came


class Answer(NamedTuple):
    """The rows of one answer that have a UID, each UID once, and how many rows came."""

    rows: Rows
    came: int


class Search:
    """Searches of one archive; for several threads. All may raise ArchiveError (:mod:`consumers.archives.archive`)."""

    def __init__(self, client: ArchiveClient) -> None:
        self._client = client

    def studies(self, params: Mapping[str, str], offset: int = 0, limit: int = LIMIT) -> Answer:
        """Studies that match. A server that knows no such resource has not "no studies": it is refused."""
        answer = self._rows("studies", params, STUDY_INSTANCE_UID, offset, limit)
        if answer is None and offset == 0 and self._rows("studies", {}, STUDY_INSTANCE_UID, 0, 1) is None:
            raise ArchiveRefused(
                f"{self._client.where}: answers 404 to studies; set the archive's url to that of its DICOMweb service"
            )
        return answer or Answer({}, 0)

    def everything(self, path: str, tag: str, expected: int | None) -> Rows:
        """All rows of a resource below a study, by the UID in ``tag``: pages of :data:`LIMIT` until one is empty.

        So ``n / LIMIT + 2`` requests. ``expected``: with so many rows a server that repeats them has given all.
        """
        found: Rows = {}
        offset = 0
        while answer := self._rows(path, {"includefield": "all"}, tag, offset, LIMIT):
            if not answer.came:
                break
            if offset and not answer.rows.keys() - found.keys():
                if len(found) == expected:
                    break
                raise ArchiveRefused(f"{self._client.where}: repeats what studies hold; its QIDO-RS ignores offset")
            offset += answer.came
            found = answer.rows | found
        return found

    def ignores_offset(self, params: Mapping[str, str]) -> bool:
        """Whether the server gives the same studies wherever it is asked to begin: not by chance, as the list moves."""
        answers = [list(self.studies(params, offset, 2).rows)[:2] for offset in (0, 1, 2, 1, 0)]
        return bool(answers[0]) and all(answer == answers[0] for answer in answers)

    def refusal_of_repeats(self) -> ArchiveRefused:
        """The error for a server that ignores where a page is to begin."""
        return ArchiveRefused(
            f"{self._client.where}: its QIDO-RS ignores offset and lists the same studies again and again, so they "
            "cannot be listed page by page; see whether a newer version of the archive does"
        )

    def _rows(self, path: str, params: Mapping[str, str], tag: str, offset: int, limit: int) -> Answer | None:
        """One answer; None for 404."""
        asked: dict[str, Any] = {**params, "limit": limit, "offset": offset}
        answer = self._client.get(path, asked, accept=DICOM_JSON)
        if answer is None:
            return None
        if not isinstance(answer, list):
            raise ArchiveRefused(f"{self._client.where}: its answer to studies is no list of data sets")
        rows: Rows = {}
        for row in answer:
            if isinstance(row, dict) and (uid := uid_of(row, tag)) is not None:
                rows.setdefault(uid, row)
        return Answer(rows, len(answer))


class Pages:
    """The studies that match ``params``, page by page. Any page may be asked for, best one after another.

    Which studies the latest pages held is remembered, for one reader.
    """

    def __init__(self, search: Search, params: Mapping[str, str]) -> None:
        self._search = search
        self._params = params
        self._begin = 0  # where the page after the latest begins
        self._latest: list[str] = []
        self._before: dict[str, None] = {}  # what the latest pages held, the oldest first
        self._most = 0  # rows in an answer

    def page(self, begin: int, size: int) -> tuple[Rows, int | None]:
        """Studies from about the ``begin``-th on, and where to go on; None: these are the last.

        About ``size`` of them, at most :data:`LIMIT`, and some that came before where the list has moved. Mostly one
        request.
        """
        size = max(2, min(size, LIMIT))
        if begin and begin == self._begin and self._before:
            return self._linked(begin, size)
        # Nobody knows how the list has moved since that page was told of: some are told of again.
        self._latest, self._before = [], {}
        rows, following = self._plain(max(0, begin - _BACK * size), size)
        while following is not None and following <= begin:
            more, following = self._linked(following, size)
            rows = rows | more
        return rows, following

    def _linked(self, begin: int, size: int) -> tuple[Rows, int | None]:
        """What comes after the studies of the latest page, wherever these are now."""
        at, back = begin - 1, 0
        while back <= _BACK:
            answer = self._search.studies(self._params, at, size)
            rows = list(answer.rows)
            known = [place for place, uid in enumerate(rows) if uid in self._before]
            if not known:
                if not at:
                    break
                at, back = max(0, at - max(1, (answer.came or self._most) - 1)), back + 1
            elif rest := rows[known[-1] + 1 :]:
                return self._turned(answer, at, rest)
            elif answer.came > 1:
                if self._search.ignores_offset(self._params):
                    raise self._search.refusal_of_repeats()
                at += answer.came - 1
            elif self._most > 1:
                return {}, None  # the last one, alone in an answer that could hold more
            else:
                return self._plain(at + 1, size)
        return self._plain(begin, size)

    def _plain(self, begin: int, size: int) -> tuple[Rows, int | None]:
        answer = self._search.studies(self._params, begin, size)
        is_repeated = bool(begin and answer.rows) and list(answer.rows) == self._latest
        if is_repeated and self._search.ignores_offset(self._params):
            raise self._search.refusal_of_repeats()
        return self._turned(answer, begin, list(answer.rows))

    def _turned(self, answer: Answer, at: int, fresh: list[str]) -> tuple[Rows, int | None]:
        """The page is told of; the next one has to hold some of it."""
        self._begin, self._latest = at + answer.came, list(answer.rows)
        self._most = max(self._most, answer.came)
        for uid in answer.rows:
            self._before.pop(uid, None)
            self._before[uid] = None
        while len(self._before) > _REMEMBERED:
            del self._before[next(iter(self._before))]
        return {uid: answer.rows[uid] for uid in fresh}, self._begin if answer.came else None
