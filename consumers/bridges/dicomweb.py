"""The bridge for archives that have nothing but QIDO-RS: it asks them again and again, and tells what looks changed.

It publishes no more than "look at this study"; what the study holds is asked of the archive when the look is paid. It
needs ``archives.<repository>`` for both.

Each poll lists the studies whose Study Date lies in the last days (all that come, also those dated ahead) and compares
what the archive says of each (numbers of series and instances, modalities, the study's and patient's attributes, and
dcm4chee's time of update) with what it said at the last poll. New, changed and vanished studies are told. After each
poll one page of all studies is compared with what Stocktake knows of them, so that a change of older ones, and of those
without a Study Date, is found when its turn comes: with 200 studies a page and a poll a minute a million take 3.5 days.

What it cannot see:

- when something changed: only that it did between two polls;
- what was stored and removed again, or changed and changed back, between two polls;
- a change that leaves what the archive says of the study as it was, such as one instance put in another's place, or
  another description of a series; dcm4chee's time of update shows these;
- of studies older than the window: changes other than of the counts, modalities and dcm4chee's time of update, and that
  they are gone. Where that matters, run `stocktake crawl --absent` from time to time;
- anything beyond the rows that an archive gives at most (HealthImaging: 10,000 a search; make the window shorter), and
  counts that it does not give.

After a poll whose every message is confirmed, heartbeats tell that all up to its beginning was told, within these
bounds. Stopped, it goes on where it was; what changed in the meantime is found by the first poll, if it lies in the
window.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta, tzinfo
from hashlib import blake2b
from typing import Any, Final

import orjson

from consumers import messages
from consumers.archives.dicomweb import updated
from consumers.archives.elements import kept, number_of, of_study_alone, values_of
from consumers.archives.listing import LAST_DAY, study_date, study_dates
from consumers.archives.qido import Pages, Rows, Search
from consumers.bridges.heartbeat import Heartbeats, told_until
from consumers.publish import Publisher
from state.attributes import (
    MODALITIES_IN_STUDY,
    NUMBER_OF_STUDY_RELATED_INSTANCES,
    NUMBER_OF_STUDY_RELATED_SERIES,
)
from state.positions import Positions
from state.record import StudyRecord
from state.seen import Seen, Sight
from state.studies import PartsWanted, Studies
from state.times import to_datetime, to_iso

NAME: Final = "bridge:dicomweb"

_ALL: Final = {"includefield": "all"}
_DIGEST: Final = 8  # bytes


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """What is polled: studies dated in the last ``window`` days, and ``older`` of all studies after each poll.

    ``page`` is how many studies are asked for at once (200 at most, as for ``older``; 0 ``older``: none).
    ``heartbeat`` is how many seconds lie between heartbeats at least.
    """

    window: int
    page: int
    older: int
    heartbeat: float


class DicomwebFeed:
    """The :class:`consumers.bridges.bridge.Feed` of an archive that is polled; one step is one page.

    ``zone`` is that of the archive's times without offset, ``now`` gives UTC microseconds, ``monotonic`` seconds. It
    counts ``polls``, ``looks_new``, ``looks_changed``, ``looks_vanished``, ``looks_older`` and ``rounds`` (of older
    studies) in ``counts``.
    """

    def __init__(
        self,
        search: Search,
        studies: Studies,
        seen: Seen,
        positions: Positions,
        policy: PollPolicy,
        zone: tzinfo,
        counts: Counter[str],
        now: Callable[[], int],
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._search = search
        self._studies = studies
        self._seen = seen
        self._positions = positions
        self._policy = policy
        self._zone = zone
        self._counts = counts
        self._now = now
        self._monotonic = monotonic
        self._older_pages = Pages(search, _ALL)
        self._older = 0
        self._poll: _Poll | None = None
        self._publisher: Publisher | None = None
        self._heartbeats: Heartbeats | None = None

    def begin(self, publisher: Publisher) -> None:
        """Begin a poll anew; the round of older studies goes on where it was."""
        self._poll = None
        self._older = int((self._positions.read(NAME) or {}).get("older", 0))
        if publisher is not self._publisher:
            self._publisher = publisher
            self._heartbeats = Heartbeats(publisher, NAME, self._policy.heartbeat, self._monotonic)

    def step(self) -> bool:
        """Compare a page of the window; with the last one the poll ends, and a page of older studies follows."""
        poll = self._poll
        if poll is None:
            poll = self._poll = self._new_poll()
        rows, following = poll.pages.page(poll.begin, self._policy.page)
        self._compare(poll, rows)
        if following is not None:
            poll.begin = following
            return True
        self._end(poll)
        self._poll = None
        self._next_older()
        return False

    # --- the window --------------------------------------------------------------------------------------------

    def _new_poll(self) -> _Poll:
        began = self._now()
        day = to_datetime(began, self._zone).date() - timedelta(days=self._policy.window)
        first = f"{day:%Y%m%d}"
        pages = Pages(self._search, _ALL | study_dates(day, LAST_DAY))
        before = self._seen.read()
        return _Poll(began, first, pages, before, missing={uid for uid in before if before[uid].day >= first})

    def _compare(self, poll: _Poll, rows: Rows) -> None:
        fresh: dict[str, Sight] = {}
        for uid, row in rows.items():
            # A server that cannot search by dates lists all; those outside of the window are not to be kept.
            day = study_date(row)
            if day is None or (text := f"{day:%Y%m%d}") < poll.first:
                continue
            sight = Sight(text, digest(row, self._zone))
            poll.missing.discard(uid)
            before = poll.before.get(uid)
            if before != sight:
                fresh[uid] = poll.before[uid] = sight
                self._counts["looks_new" if before is None else "looks_changed"] += 1
        self._tell(fresh, poll.began)
        self._seen.note(fresh)

    def _end(self, poll: _Poll) -> None:
        """All of the window is listed: what was there and is not has vanished, or has another date now."""
        self._counts["looks_vanished"] += len(poll.missing)
        self._tell(sorted(poll.missing), poll.began)
        outside = {uid for uid, sight in poll.before.items() if sight.day < poll.first}
        self._seen.forget(poll.missing | outside)
        self._counts["polls"] += 1
        self._keep(polled=to_iso(poll.began))
        if self._heartbeats is not None:
            self._heartbeats.beat(told_until(poll.began))

    # --- older studies -----------------------------------------------------------------------------------------

    def _next_older(self) -> None:
        """Compare the next page of all studies with what the state knows of them."""
        if not self._policy.older:
            return
        began = self._now()
        rows, following = self._older_pages.page(self._older, self._policy.older)
        known = self._studies.read_parts({uid: PartsWanted() for uid in rows})
        polled = self._seen.read()  # those of the window are told by its polls
        odd = [uid for uid, row in rows.items() if uid not in polled and differs(row, known[uid], self._zone)]
        self._counts["looks_older"] += len(odd)
        self._tell(odd, began)
        self._older = following or 0
        self._counts["rounds"] += following is None
        self._keep(older=self._older)

    # --- what both do ------------------------------------------------------------------------------------------

    def _tell(self, study_instance_uids: Iterable[str], time: int) -> None:
        """Publish looks, and wait until they are confirmed."""
        if self._publisher is None:
            raise RuntimeError("a feed begins before its first step")
        for uid in study_instance_uids:
            self._publisher.send(*messages.look(uid, time))
        self._publisher.flush()

    def _keep(self, **what: Any) -> None:
        self._positions.write(NAME, (self._positions.read(NAME) or {}) | what)


@dataclass(slots=True)
class _Poll:
    """A poll on its way: when it began (UTC microseconds), the first day of its window, what is still missing."""

    began: int
    first: str
    pages: Pages
    before: dict[str, Sight]
    missing: set[str]
    begin: int = 0


def digest(row: Mapping[str, Any], zone: tzinfo) -> bytes:
    """Stands for what a row of QIDO-RS says of a study. Where and how it is kept is no part of it."""
    said = [kept(row, of_study_alone()), _figures(row), updated(row, zone)]
    text = orjson.dumps(said, option=orjson.OPT_SORT_KEYS)
    return blake2b(text, digest_size=_DIGEST).digest()


def differs(row: Mapping[str, Any], record: StudyRecord, zone: tzinfo) -> bool:
    """Whether a row of QIDO-RS says another thing than the state does. What either does not say is no difference."""
    if not record.own_time or record.is_removed:
        return True
    time = updated(row, zone)
    if time is not None and time > record.update_time:
        return True
    modalities = {text for text in record.modalities.split("\\") if text}
    known = (record.number_of_series, record.number_of_instances, sorted(modalities))
    return any(
        said is not None and known_one is not None and said != known_one
        for said, known_one in zip(_figures(row), known, strict=True)
    )


def _figures(row: Mapping[str, Any]) -> tuple[int | None, int | None, list[str] | None]:
    """Numbers of series and instances, and the modalities in order; None for what is not said."""
    modalities = {text.strip(" \0") for text in values_of(row, MODALITIES_IN_STUDY) if isinstance(text, str)} - {""}
    return (
        number_of(row, NUMBER_OF_STUDY_RELATED_SERIES),
        number_of(row, NUMBER_OF_STUDY_RELATED_INSTANCES),
        sorted(modalities) or None,
    )
