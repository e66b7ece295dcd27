"""An Inventory tree loaded into the state, so that the chain goes on from it with a baseline of our own (section 6).

A study record of an Inventory is complete, so it takes the place of what an older record of the state says. One that is
as new or newer stays, and is completed where the latest events are all that it is made of. Studies are written with the
check of their ``rev``: a consumer may run at the same time.

An import that was interrupted is made again from its beginning, and asks the state of each study whether it is there.
So nothing is passed over that a shard has lost since. What makes that cheap is a note that stands with each imported
record, in the same slot: by it an Item that is there already is known without being decoded.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Mapping, Set
from dataclasses import asdict, dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from state.anchors import Anchors
from state.attributes import Level
from state.errors import RevConflict
from state.imports import Covered, Note, item_digest
from state.patients import Patients
from state.record import StudyRecord
from state.studies import PartsWanted, Studies
from state.times import parse_time
from state.vr import is_uid
from stocktake.import_merge import complete
from stocktake.import_records import Faults, imported_record
from writers.read_scope import InvalidScope, read_scope
from writers.reader import InvalidInventory, InventoryFile, StudyItem
from writers.resolve import Effective, resolve
from writers.study_items import StudyItems
from writers.terms import COMPLETE
from writers.tree import Tree

log = logging.getLogger(__name__)

BATCH: Final = 200  # studies read and written together ...
_BATCH_BYTES: Final = 1 << 26  # ... or fewer, if their Items are large

_LEVELS: Final = (Level.STUDY, Level.SERIES, Level.INSTANCE)
_DATE: Final = re.compile(r"\d{8}", re.ASCII)


class ImportRefused(Exception):
    """A tree that is sound but may not be imported as asked; the text says why. Nothing was written."""


@dataclass(frozen=True, slots=True)
class Source:
    """What is known of a tree before it is imported.

    ``content`` is each member's Content Date/Time in UTC microseconds, by SOP Instance UID; None where it states none.
    ``whole``: it holds every study of its repository, or every one updated up to some moment. ``complete``: what it
    holds is all that was known when its root was begun. ``records`` are those of all its members, as the root states.
    """

    tree: Tree
    zone: tzinfo
    content: dict[str, int | None]
    whole: bool
    complete: bool
    records: int

    @property
    def told(self) -> int | None:
        """Up to when (UTC microseconds) its records have in them all that was told; None if that is not known."""
        return self.content[self.tree.root.sop_instance_uid] if self.complete else None


@dataclass(slots=True)
class ImportCounts:
    """Study records of a tree by what became of them, and what was seen on the way.

    ``imported``, ``completed`` (newer in the state, but the tree knew more of what came before), ``unchanged`` (the
    state says the same), ``newer_in_state`` and ``unusable`` (no valid Study Instance UID) add up to the tree's
    studies. ``removed`` are among ``imported``; ``times_assumed`` are records with Content Date/Time as update time,
    ``times_raised`` written studies moved up to the chain's start, ``parts_unusable`` series and instances without UID
    or SOP Class, left out; values count in all records.
    """

    imported: int = 0
    completed: int = 0
    unchanged: int = 0
    newer_in_state: int = 0
    removed: int = 0
    unusable: int = 0
    parts_unusable: int = 0
    times_assumed: int = 0
    times_raised: int = 0
    values_repaired: int = 0
    values_emptied: int = 0

    def to_json(self) -> dict[str, int]:
        """The same as a JSON object."""
        return asdict(self)


def examine(tree: Tree, level: Level, zone: tzinfo, *, partial: bool, progress: Callable[[], None]) -> Source:
    """Read what the members say of themselves, before anything is written.

    ``level`` is the state's; ``zone`` that of times without an offset where a file states none. With ``partial`` a tree
    that is not COMPLETE is taken. ``progress`` is called for each record of the root.

    Raises:
        ImportRefused: the tree has a lower Inventory Level than the state, or is not COMPLETE.
        InvalidInventory: a file is malformed.
        OSError: a file cannot be read.
    """
    content = {}
    for node in tree.nodes:
        with InventoryFile(node.path, zone) as file:
            _check_level(file.header, file.path, level)
            content[node.sop_instance_uid] = _content(file)
    with InventoryFile(tree.root.path, zone) as file:
        for _ in file.studies():
            progress()
        status = str(file.trailer.get("InventoryCompletionStatus") or "")
        stated = file.trailer.get("TotalNumberOfStudyRecords")
        open_beginning = _has_open_beginning(file)
    if status != COMPLETE and not partial:
        raise ImportRefused(
            f"{tree.root.path}: Inventory Completion Status is {status or 'absent'}, so studies may be missing; "
            "use --partial to import what there is"
        )
    complete = status == COMPLETE
    records = stated if isinstance(stated, int) else 0
    return Source(tree, zone, content, complete and open_beginning, complete, records)


def _check_level(header: Dataset, path: Path, level: Level) -> None:
    stated = str(header.get("InventoryLevel") or "")
    if stated not in _LEVELS:
        raise InvalidInventory(path, "Inventory Level (0008,0403) is not one of STUDY, SERIES, INSTANCE")
    if _LEVELS.index(Level(stated)) < _LEVELS.index(level):
        raise ImportRefused(
            f"{path}: its Inventory Level is {stated}, the state's (inventory.level) is {level}: its records would be "
            f"incomplete; import an Inventory of level {level}"
        )


def _content(file: InventoryFile) -> int | None:
    date, time = (str(file.header.get(keyword) or "").strip(" \0") for keyword in ("ContentDate", "ContentTime"))
    if not _DATE.fullmatch(date):
        return None
    try:
        return parse_time(date + time, file.zone)
    except ValueError:
        return None


def _has_open_beginning(file: InventoryFile) -> bool:
    try:
        scope = read_scope(file.header, file.zone)
    except InvalidScope:
        return False
    return scope.universal or (scope.begin is None and not scope.other_keys)


@dataclass(slots=True)
class _Found:
    """The record that prevails of a study, not decoded yet, and the update time that it is imported with."""

    item: StudyItem
    time: int

    @property
    def digest(self) -> bytes:
        return item_digest(self.item.data, self.time)


class Importer:
    """Imports trees into the state of one repository; ``counts`` is right at any moment, also after an error."""

    def __init__(self, studies: Studies, patients: Patients, level: Level) -> None:
        self._studies = studies
        self._patients = patients
        self._items = StudyItems(level)
        self.counts = ImportCounts()

    def run(self, source: Source, progress: Callable[[], None]) -> bool:
        """Import every study of the tree; whether no record or part of one had to be left out.

        All files are read once before the first study is written. ``progress`` is called for each record read, and
        never in the middle of a write: what it raises ends the import between two batches.

        Raises:
            InvalidInventory: a file is malformed or cut off, or has no Content Date/Time where a study needs it.
            OSError: a file cannot be read.
            StateUnreachable: the last batch may be written in part; importing again is safe.
        """
        for found in self._batches(source, progress):
            self._import(found, source.told)
        return not self.counts.unusable and not self.counts.parts_unusable

    def _batches(self, source: Source, progress: Callable[[], None]) -> Iterator[dict[str, _Found]]:
        batch: dict[str, _Found] = {}
        size = 0
        for effective in resolve(source.tree, source.zone, progress):
            uid = effective.item.study_instance_uid
            if not is_uid(uid):
                self.counts.unusable += 1
                log.warning("%s: at offset %d: no valid Study UID", effective.item.path, effective.item.offset)
                continue
            batch[uid] = self._found(effective, source)
            size += len(effective.item.data)
            if len(batch) >= BATCH or size >= _BATCH_BYTES:
                yield batch
                batch, size = {}, 0
        if batch:
            yield batch

    def _found(self, effective: Effective, source: Source) -> _Found:
        item = effective.item
        time = item.study_update_datetime
        if time is None:
            time = source.content[effective.sop_instance_uid]
            self.counts.times_assumed += 1
        if time is None:
            raise InvalidInventory(
                item.path, "a study without Study Update DateTime, and no Content Date and Time to take for it"
            )
        return _Found(item, time)

    def _import(self, batch: Mapping[str, _Found], told: int | None) -> None:
        known = self._studies.glance(batch)
        # Again, since a shard that lost its latest writes may have lost that alone.
        self._patients.enter({uid: held.patient for uid, held in known.items() if held.patient is not None}, Anchors())
        pending: dict[str, StudyRecord] = {}
        for uid, found in batch.items():
            held = known.get(uid)
            newer = held is not None and held.time >= max(found.time, 1)
            if newer and held is not None and held.note is not None and held.note.digest == found.digest:
                self._count_faults(found.item, held.note)
                self.counts.unchanged += 1
            else:
                pending[uid] = self._decoded(found, told)
        self._write(pending, known.keys())

    def _decoded(self, found: _Found, told: int | None) -> StudyRecord:
        faults = Faults()
        record = imported_record(found.item, found.time, faults)
        if told is not None:
            record.covered = Covered(record.own_time, told)
        record.note = Note(found.digest, faults.repairs.repaired, faults.repairs.emptied, faults.parts)
        self._count_faults(found.item, record.note)
        return record

    def _count_faults(self, item: StudyItem, note: Note) -> None:
        if note.parts:
            log.warning("%s: at offset %d: %d series or instances without UID", item.path, item.offset, note.parts)
        self.counts.parts_unusable += note.parts
        self.counts.values_repaired += note.repaired
        self.counts.values_emptied += note.emptied

    def _write(self, pending: dict[str, StudyRecord], known: Set[str]) -> None:
        """Write records; of those that are ``known`` the state may have older, newer or the same.

        Again for the shards where another writer came between.
        """
        while pending:
            held = self._studies.read_parts({uid: PartsWanted(everything=True) for uid in pending.keys() & known})
            records: dict[str, StudyRecord] = {}
            completed: set[str] = set()
            for uid, record in pending.items():
                if uid in held and _is_newer(held[uid], record):
                    if self._says_the_same(held[uid], record):
                        self.counts.unchanged += 1
                    elif complete(held[uid], record):
                        records[uid] = held[uid]
                        completed.add(uid)
                    else:
                        self.counts.newer_in_state += 1
                else:
                    if uid in held:
                        _replace(held[uid], record)
                    records[uid] = record
            conflicts = self._write_once(records, completed)
            pending = {uid: pending[uid] for uid in records if self._studies.shard_of(uid) in conflicts}
            known = pending.keys()

    def _write_once(self, records: Mapping[str, StudyRecord], completed: Set[str]) -> Set[int]:
        """Write and count; which shards could not be written."""
        by_shard: dict[int, list[StudyRecord]] = {}
        for uid, record in records.items():
            by_shard.setdefault(self._studies.shard_of(uid), []).append(record)
        self._patients.lay_news(records.values(), Anchors())
        for record in records.values():
            if record.laid_over.time:
                record.note = None  # it says something else than its Item
        written = self._studies.write({shard: ((), some) for shard, some in by_shard.items()})
        self.counts.times_raised += written.raised
        for shard, some in by_shard.items():
            if shard not in written.conflicts:
                imported = [record for record in some if record.study_instance_uid not in completed]
                self.counts.completed += len(some) - len(imported)
                self.counts.imported += len(imported)
                self.counts.removed += sum(record.is_removed for record in imported)
        for conflict in written.conflicts.values():
            if not isinstance(conflict, RevConflict):
                raise conflict
        return written.conflicts.keys()

    def _says_the_same(self, held: StudyRecord, record: StudyRecord) -> bool:
        """Whether an inventory would say the same of both but for the update time."""
        own, record.own_time = record.own_time, held.update_time
        same = self._items.encode(record, 0) == self._items.encode(held, 0)
        record.own_time = own
        return same


def _is_newer(held: StudyRecord, record: StudyRecord) -> bool:
    return bool(held.in_state.rev) and held.update_time >= record.update_time


def _replace(held: StudyRecord, record: StudyRecord) -> None:
    """Let ``record`` be written over what the state holds, all of its chunks too."""
    record.in_state = held.in_state
    if held.in_state.chunks:
        record.changed_chunks = set(range(len(record.chunks)))
