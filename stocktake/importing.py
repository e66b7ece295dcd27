"""An Inventory tree loaded into the state, so that the chain goes on from it with a baseline of our own (section 6).

A study record of an Inventory is complete, so it takes the place of what an older record of the state says; a record
that is as new or newer is left alone. Studies are written whole, each with the check of its ``rev``: a consumer may run
at the same time, and an import that was interrupted is made again from its beginning.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from state.anchors import Anchors
from state.attributes import Level
from state.errors import RevConflict
from state.patient_news import patient_of
from state.patients import Patients
from state.record import StudyRecord
from state.studies import PartsWanted, Studies
from state.times import parse_time
from state.vr import is_uid
from stocktake.import_records import Faults, imported_record
from writers.read_scope import InvalidScope, read_scope
from writers.reader import InvalidInventory, InventoryFile
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
    ``whole``: it holds every study of its repository, or every one updated up to some moment.
    """

    tree: Tree
    zone: tzinfo
    content: dict[str, int | None]
    whole: bool


@dataclass(slots=True)
class ImportCounts:
    """Study records of a tree by what became of them, and what was seen on the way.

    ``imported``, ``unchanged`` (the state says the same), ``newer_in_state`` and ``unusable`` (no valid Study Instance
    UID) add up to the tree's studies. ``removed`` are among ``imported``; ``times_assumed`` are records with Content
    Date/Time as update time, ``times_raised`` written studies moved up to the chain's start, ``parts_unusable`` series
    and instances without UID or SOP Class, left out; values count in all records.
    """

    imported: int = 0
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
        open_beginning = _has_open_beginning(file)
    if status != COMPLETE and not partial:
        raise ImportRefused(
            f"{tree.root.path}: Inventory Completion Status is {status or 'absent'}, so studies may be missing; "
            "use --partial to import what there is"
        )
    return Source(tree, zone, content, status == COMPLETE and open_beginning)


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


class Importer:
    """Imports trees into the state of one repository; ``counts`` is right at any moment, also after an error."""

    def __init__(self, studies: Studies, patients: Patients, level: Level) -> None:
        self._studies = studies
        self._patients = patients
        self._items = StudyItems(level)
        self.counts = ImportCounts()

    def run(self, source: Source, progress: Callable[[], None]) -> bool:
        """Import every study of the tree; whether no record or part of one had to be left out.

        All files are read once before the first study is written. ``progress`` is called for each record read.

        Raises:
            InvalidInventory: a file is malformed or cut off, or has no Content Date/Time where a study needs it.
            OSError: a file cannot be read.
            StateUnreachable: the last batch may be written in part; importing again is safe.
        """
        for records in self._batches(source, progress):
            self._import(records)
        return not self.counts.unusable and not self.counts.parts_unusable

    def _batches(self, source: Source, progress: Callable[[], None]) -> Iterator[dict[str, StudyRecord]]:
        records: dict[str, StudyRecord] = {}
        size = 0
        for effective in resolve(source.tree, source.zone, progress):
            uid = effective.item.study_instance_uid
            if not is_uid(uid):
                self.counts.unusable += 1
                log.warning("%s: at offset %d: no valid Study UID", effective.item.path, effective.item.offset)
                continue
            records[uid] = self._record(effective, source)
            size += len(effective.item.data)
            if len(records) >= BATCH or size >= _BATCH_BYTES:
                yield records
                records, size = {}, 0
        if records:
            yield records

    def _record(self, effective: Effective, source: Source) -> StudyRecord:
        item = effective.item
        time = item.study_update_datetime
        if time is None:
            time = source.content[effective.sop_instance_uid]
            self.counts.times_assumed += 1
        if time is None:
            raise InvalidInventory(
                item.path, "a study without Study Update DateTime, and no Content Date and Time to take for it"
            )
        faults = Faults()
        record = imported_record(item, time, faults)
        if faults.parts:
            log.warning("%s: at offset %d: %d series or instances without UID", item.path, item.offset, faults.parts)
        self.counts.parts_unusable += faults.parts
        self.counts.values_repaired += faults.repairs.repaired
        self.counts.values_emptied += faults.repairs.emptied
        return record

    def _import(self, pending: dict[str, StudyRecord]) -> None:
        """Write a batch; again for the shards where another writer came between."""
        while pending:
            known = self._studies.read_parts({uid: PartsWanted() for uid in pending})
            newer = [uid for uid, held in known.items() if _is_newer(held, pending[uid])]
            self._leave({uid: pending.pop(uid) for uid in newer})
            by_shard: dict[int, list[StudyRecord]] = {}
            for uid, record in pending.items():
                _replace(known[uid], record)
                by_shard.setdefault(self._studies.shard_of(uid), []).append(record)
            self._patients.lay_news(pending.values(), Anchors())
            written = self._studies.write({shard: ((), records) for shard, records in by_shard.items()})
            self.counts.times_raised += written.raised
            for shard, records in by_shard.items():
                if shard not in written.conflicts:
                    self.counts.imported += len(records)
                    self.counts.removed += sum(record.is_removed for record in records)
            for conflict in written.conflicts.values():
                if not isinstance(conflict, RevConflict):
                    raise conflict
            pending = {
                uid: record for uid, record in pending.items() if self._studies.shard_of(uid) in written.conflicts
            }

    def _leave(self, newer: dict[str, StudyRecord]) -> None:
        """Count records that the state has as new or newer, by whether an inventory would say the same of them.

        They enter the index of patients again: a shard that lost its latest writes may have lost that.
        """
        patients = {}
        unchanged = 0
        for read in self._studies.read(newer):
            record = newer[read.record.study_instance_uid]
            record.own_time = read.record.update_time
            if (patient := patient_of(read.record.attributes)) is not None:
                patients[read.record.study_instance_uid] = patient
            unchanged += self._items.encode(record, 0) == self._items.encode(read.record, 0)
        self._patients.enter(patients, Anchors())
        self.counts.unchanged += unchanged
        self.counts.newer_in_state += len(newer) - unchanged


def _is_newer(held: StudyRecord, record: StudyRecord) -> bool:
    return bool(held.in_state.rev) and held.update_time >= record.update_time


def _replace(held: StudyRecord, record: StudyRecord) -> None:
    """Let ``record`` be written over what the state holds, all of its chunks too."""
    record.in_state = held.in_state
    if held.in_state.chunks:
        record.changed_chunks = set(range(len(record.chunks)))
