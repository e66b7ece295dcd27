"""The bridge from Orthanc: what ``/changes`` tells of new instances, and what the plug-in's journal tells of deletions.

Each step asks for the journal, then for the changes. It publishes a store of each new instance that is still there, and
a delete of each journaled instance whose study does not have it any more. Orthanc knows one instance under two Patient
IDs as two: of the one that is left when the other goes, a store is published again. So whatever was renamed, merged,
deleted and stored again, and however often a step is repeated, the topic ends with what Orthanc lists.

- A store has the time of its change, a delete that of the journal, both in whole seconds as Orthanc gives them: a store
  in the second of a delete that comes after it in the topic ends the removal.
- Changes are read up to the Seq that the plug-in has mapped, no further: then it can tell of the deletion of all that
  was published.
- A study that has not changed for a while (StableStudy) is looked at, for what Orthanc's database does not say of it.
- Changes of metadata and attachments say nothing that an inventory holds.
"""

from __future__ import annotations

import logging
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final

from consumers import messages
from consumers.archives.archive import ArchiveBusy, ArchiveRefused, DicomJson
from consumers.archives.client import ArchiveClient
from consumers.archives.orthanc import PREFIX
from consumers.archives.orthanc_resources import (
    ListedStudy,
    OrthancInstance,
    OrthancResources,
    orthanc_time,
    study_elements,
    uid_of,
)
from consumers.bridges.heartbeat import Heartbeats, told_until
from consumers.bridges.orthanc_journal import Deletion, JournalPage, OrthancJournal
from consumers.events import Action
from consumers.messages import Message, uid_element
from consumers.publish import EventTooLarge, Publisher
from state.attributes import SERIES_INSTANCE_UID, SOP_INSTANCE_UID, STUDY_INSTANCE_UID, Level
from state.positions import Positions
from state.times import MICROSECONDS
from state.vr import is_uid

log = logging.getLogger(__name__)

NAME: Final = "bridge:orthanc"
_CHANGES: Final = 1000  # of one step
_DELETIONS: Final = 500
_STUDIES: Final = 8  # of whose deletions a step tells; each costs about five requests
_ALL: Final = 1 << 53  # deletions: more than there will ever be
_CRAWL: Final = "run `stocktake crawl --absent` to find what was deleted meanwhile"


@dataclass(frozen=True, slots=True)
class Position:
    """The last change and the last deletion that were told, of which database and which journal."""

    changes: int = 0
    deletions: int = 0
    database: str = ""
    journal: str = ""


class OrthancFeed:
    """One Orthanc's news; a :class:`consumers.bridges.bridge.Feed`.

    ``deletions`` false: it has no plug-in, and what is deleted there is not told. ``from_now``: without a position that
    was kept, what happened before is not told; a crawl finds it. ``heartbeat`` is the seconds between
    two heartbeats. ``now`` is UTC microseconds, used only without the plug-in: that tells Orthanc's own time.
    """

    def __init__(
        self,
        client: ArchiveClient,
        positions: Positions,
        heartbeat: float,
        counts: Counter[str],
        *,
        deletions: bool = True,
        from_now: bool = False,
        now: Callable[[], int] = lambda: time.time_ns() // 1000,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._client = client
        self._resources = OrthancResources(client)
        self._journal = OrthancJournal(client) if deletions else None
        self._from_now = from_now
        self._positions = positions
        self._heartbeat = heartbeat
        self._counts = counts
        self._now = now
        self._monotonic = monotonic
        self._position = Position()
        self._kept: Position | None = None
        self._publisher: Publisher | None = None
        self._heartbeats: Heartbeats | None = None

    def begin(self, publisher: Publisher) -> None:
        """Start at the position in the state; see :class:`consumers.bridges.bridge.Feed`."""
        kept = self._positions.read(NAME)
        if kept is None and self._from_now:
            kept = asdict(self._present())
            self._positions.write(NAME, kept)
        self._kept = None if kept is None else Position(**kept)
        self._position = self._kept or Position()
        if self._publisher is not publisher:
            self._publisher = publisher
            self._heartbeats = Heartbeats(publisher, NAME, self._heartbeat, self._monotonic)

    def step(self) -> bool:
        """Publish a page of changes and of deletions; whether there is more at once."""
        asked = self._now()
        journal = None if self._journal is None else self._journal_page(self._journal)
        changes, done = self._changes()
        known = [one for one in changes if journal is None or one["Seq"] <= journal.mapped]
        self._tell_changes(known)
        deletions, all_deletions = ([], True) if journal is None else _some(journal)
        self._tell_deletions(deletions)
        self._keep(known, deletions)
        if all_deletions and (known or not changes):
            until = asked if journal is None else journal.until
            if changes:  # others may have come since
                until = min(until, _time_of(known[-1]))
            self._beat(told_until(until))
        return not all_deletions or (len(known) == len(changes) and not done)

    # --- where it stands ---------------------------------------------------------------------------------------

    def _present(self) -> Position:
        """The position behind all that has happened. What happens while it is asked for lies after it."""
        answer = self._client.get("changes", {"last": ""})
        if not isinstance(answer, dict) or type(answer.get("Last")) is not int:
            raise ArchiveRefused("the answer to changes is none of Orthanc's; see archives.<repository>.url")
        if self._journal is None:
            return Position(answer["Last"])
        page = self._journal.page(_ALL, 1)
        # What went since Orthanc answered is told once more, which changes nothing: it is unknown, or gone.
        return Position(answer["Last"], page.last, page.database, page.journal)

    def _journal_page(self, source: OrthancJournal) -> JournalPage:
        page = source.page(self._position.deletions, _DELETIONS)
        if not page.ready:
            raise ArchiveBusy("Orthanc's plug-in is comparing its journal of deletions with what Orthanc lists")
        before = self._position
        changes, deletions = before.changes, before.deletions
        if before.database not in ("", page.database):
            log.warning("%s: Orthanc has another database: its changes are read from the beginning", NAME)
            changes = 0
        if before.journal not in ("", page.journal) or page.last < deletions:
            log.error("%s: Orthanc's plug-in has another journal of deletions; %s", NAME, _CRAWL)
            deletions = 0
        elif deletions < page.trimmed and before.journal:
            log.error("%s: Orthanc's plug-in has dropped deletions that were not read yet; %s", NAME, _CRAWL)
        deletions = max(deletions, page.trimmed)
        self._position = Position(changes, deletions, page.database, page.journal)
        return page if deletions == before.deletions else source.page(deletions, _DELETIONS)

    def _changes(self) -> tuple[list[dict[str, Any]], bool]:
        since = self._position.changes
        answer = self._client.get("changes", {"since": since, "limit": _CHANGES})
        if not isinstance(answer, dict) or not isinstance(answer.get("Changes"), list):
            raise ArchiveRefused("the answer to changes is none of Orthanc's; see archives.<repository>.url")
        changes: list[dict[str, Any]] = answer["Changes"]
        if not changes and answer.get("Last", since) < since:  # with nothing to list it is the last Seq ever given
            log.warning("%s: Orthanc's changes are numbered anew: they are read from the beginning", NAME)
            self._position = replace(self._position, changes=0)
            return self._changes()
        return changes, bool(answer.get("Done", True)) or not changes

    def _keep(self, changes: Sequence[dict[str, Any]], deletions: Sequence[Deletion]) -> None:
        """Keep the position, once the broker has confirmed what was told."""
        self._sender.flush()
        if changes:
            self._position = replace(self._position, changes=changes[-1]["Seq"])
        if deletions:
            self._position = replace(self._position, deletions=deletions[-1].seq)
        if self._position != self._kept:
            self._positions.write(NAME, asdict(self._position))
            self._kept = self._position

    def _beat(self, told: int) -> None:
        if self._heartbeats is not None and self._heartbeats.beat(told):
            self._counts["heartbeats"] += 1

    # --- what is new -------------------------------------------------------------------------------------------

    def _tell_changes(self, changes: Iterable[dict[str, Any]]) -> None:
        times = {}  # a resource that is stored again has its latest change only
        stable = {}
        for change in changes:
            if change["ChangeType"] == "NewInstance":
                times[change["ID"]] = _time_of(change)
            elif change["ChangeType"] == "StableStudy":
                stable[change["ID"]] = _time_of(change)
        found = self._resources.instances(times)
        self._counts["gone_already"] += len(times) - len(found)
        for one in found:
            self._store(one, times[one.id])
        for study in self._resources.bulk(stable):
            uid = uid_of(study, STUDY_INSTANCE_UID)
            if is_uid(uid):
                self._send("looks", messages.look(uid, stable[study["ID"]]))

    def _store(self, one: OrthancInstance, moment: int) -> None:
        if one.usable:
            for message in messages.events(Action.STORE, Level.INSTANCE, one.study_instance_uid, moment, [one.dataset]):
                self._send("stores", message)
        else:
            self._counts["unusable"] += 1

    # --- what is gone ------------------------------------------------------------------------------------------

    def _tell_deletions(self, deletions: Sequence[Deletion]) -> None:
        by_study: dict[str, list[Deletion]] = {}
        for one in deletions:
            if not one.study_instance_uid:
                # It was gone before the plug-in had seen it: the bridge has not told of it, but a look may have.
                self._send("looks_by_id", messages.look(PREFIX + one.id, _second(one.time)))
            elif all(map(is_uid, one.uids)):
                by_study.setdefault(one.study_instance_uid, []).append(one)
            else:
                self._counts["unusable"] += 1
        for uid, rows in by_study.items():
            self._tell_deletions_of(uid, rows, self._resources.listed(uid))

    def _tell_deletions_of(self, uid: str, rows: Sequence[Deletion], listed: ListedStudy | None) -> None:
        """Of one study, of which Orthanc has that now, or nothing."""
        there: dict[str, OrthancInstance] = {}
        for one in listed.instances if listed is not None else ():
            if one.usable:
                there[one.sop_instance_uid] = one
        gone: dict[int, list[DicomJson]] = {}
        for row in rows:
            left = there.get(row.sop_instance_uid)
            if left is None:
                gone.setdefault(_second(row.time), []).append(_identity(row))
            elif left.id == row.id:
                self._counts["stored_again"] += 1  # its own change tells of that
            else:
                self._store(left, _second(row.time))
        for moment, datasets in gone.items():
            for message in messages.events(Action.DELETE, Level.INSTANCE, uid, moment, datasets):
                self._send("deletes", message)
        if there and listed is not None:
            # What went may have been the patient's or study's that spoke last.
            moment = _second(rows[-1].time)
            for message in messages.events(Action.UPDATE, Level.STUDY, uid, moment, [study_elements(listed.newest)]):
                self._send("updates", message)

    # --- sending -----------------------------------------------------------------------------------------------

    @property
    def _sender(self) -> Publisher:
        if self._publisher is None:
            raise RuntimeError("begin() comes first")
        return self._publisher

    def _send(self, counted: str, message: Message) -> None:
        try:
            self._sender.send(message.key, message.value)
        except EventTooLarge:
            self._counts["too_large"] += 1
        else:
            self._counts[counted] += 1


def _some(page: JournalPage) -> tuple[list[Deletion], bool]:
    """The deletions to begin with, of a few studies; whether that is all."""
    studies: set[str] = set()
    some: list[Deletion] = []
    for one in page.deletions:
        studies.add(one.study_instance_uid)
        if len(studies) > _STUDIES:
            return some, False
        some.append(one)
    return some, page.done


def _time_of(change: dict[str, Any]) -> int:
    moment = orthanc_time(change["Date"])
    if moment is None:
        raise ArchiveRefused("a change of Orthanc has a Date that is none")
    return moment


def _identity(row: Deletion) -> DicomJson:
    tags = (STUDY_INSTANCE_UID, SERIES_INSTANCE_UID, SOP_INSTANCE_UID)
    return dict(zip(tags, map(uid_element, row.uids), strict=True))


def _second(moment: int) -> int:
    """The whole second: Orthanc tells no more of a change, and a store may follow a delete within it."""
    return moment - moment % MICROSECONDS
