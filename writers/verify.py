"""A tree of Inventories checked against the standard, against itself and against its manifests.

Every file is read as a stream, one study Item at a time, and what cannot be read is a finding like any other.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import tzinfo
from pathlib import Path
from typing import Final

from writers.checks.attributes import AttributeCheck, study_table, top_table
from writers.checks.chain import copy_faults, level_faults, stored_file_faults, total_faults
from writers.checks.digests import Digests
from writers.checks.finding import Fault, Finding
from writers.checks.manifest import manifest_faults, read_manifest
from writers.checks.member import Member, incorporators, read_member
from writers.checks.records import RecordCheck
from writers.members import locate, not_found
from writers.reader import InvalidInventory, InventoryFile, StudyItem
from writers.references import outline
from writers.scanning import Malformed
from writers.terms import COMPLETE, FAILURE, PARTIAL
from writers.tree import default_folder

_MODULE: Final = "PS3.3 Table C.38.1-1"
_LEVELS: Final = ("STUDY", "SERIES", "INSTANCE")
_STATUSES: Final = (COMPLETE, PARTIAL, FAILURE)


def _nothing() -> None:
    """No progress is wanted."""


def verify(
    path: Path,
    folders: Sequence[Path] = (),
    zone: tzinfo | None = None,
    progress: Callable[[], None] = _nothing,
) -> Iterator[Finding]:
    """What is wrong with the Inventory at ``path`` and with all that it incorporates.

    Members are looked for below ``folders``, as ``load_tree`` does. ``progress`` is called for each study record.

    ``zone`` is that of times without an offset where a file states none. None: unknown; then a Content Date and Time is
    the moment that the manifest tells (``watermark``) or, without one, may mean any zone, and only what is wrong in all
    of them is a finding.

    Raises:
        OSError: a folder cannot be searched.
    """
    try:
        root = read_member(path, zone)
    except (InvalidInventory, OSError) as error:
        yield _unreadable(path, error)
        yield from _manifest(path, "", Digests())
        return
    members = {root.sop_instance_uid: root}
    digests = Digests()
    yield from _find_members(root, folders, zone, members, digests)
    above = incorporators(root)
    records: dict[str, int] = {}
    totals: dict[str, object] = {}
    for member in members.values():
        parents = [members[uid] for uid in sorted(above[member.sop_instance_uid]) if uid in members]
        for fault in (
            *level_faults(member, root),
            *copy_faults(member, members),
            *stored_file_faults(member, members, digests),
        ):
            yield fault.at(str(member.path))
        yield from _read_whole(member, parents, records, totals, progress)
        yield from _manifest(member.path, member.sop_instance_uid, digests)
    for uid, stated in totals.items():
        for fault in total_faults(members[uid], members, records, stated):
            yield fault.at(str(members[uid].path))


def _find_members(
    root: Member, folders: Sequence[Path], zone: tzinfo | None, members: dict[str, Member], digests: Digests
) -> Iterator[Finding]:
    if not root.references:
        return
    searched = tuple(folders) or (default_folder(root.path),)
    found, missing = locate(root.path, root.sop_instance_uid, root.references, searched)
    for uid in outline(root.references):
        if uid in members:
            continue
        if uid not in found:
            text = "its file " + not_found(searched, missing[uid])
            yield Fault("missing-member", "PS3.3 C.38.1.1.5", f"(0008,0422) {uid}", text).at(str(root.path))
            continue
        try:
            member = read_member(found[uid], zone)
        except (InvalidInventory, OSError) as error:
            yield _unreadable(found[uid], error)
            yield from _manifest(found[uid], uid, digests)
            continue
        if member.sop_instance_uid == uid:
            members[uid] = member
        else:
            text = f"the data set is {member.sop_instance_uid}, the File Meta Information says {uid}"
            yield Fault("file-meta", "PS3.10 7.1", "(0002,0003)", text).at(str(found[uid]))


def _read_whole(
    member: Member,
    parents: Sequence[Member],
    records: dict[str, int],
    totals: dict[str, object],
    progress: Callable[[], None],
) -> Iterator[Finding]:
    """Everything that the file itself shows; its number of records and stated total go into the mappings."""
    name = str(member.path)
    check = RecordCheck(member, parents)
    attributes = AttributeCheck(member.level)
    count = 0
    try:
        with InventoryFile(member.path, member.zone) as file:
            for item in file.studies():
                count += 1
                progress()
                around = f"study {item.study_instance_uid}" if item.study_instance_uid else f"record {count}"
                for fault in (*check.faults(item), *_item_faults(attributes, item)):
                    yield fault.at(name, around)
            records[member.sop_instance_uid] = count
            totals[member.sop_instance_uid] = file.trailer.get("TotalNumberOfStudyRecords")
            for fault in _file_faults(file, member, attributes, count):
                yield fault.at(name)
    except (InvalidInventory, OSError) as error:
        yield _unreadable(member.path, error)


def _item_faults(attributes: AttributeCheck, item: StudyItem) -> Iterator[Fault]:
    try:
        yield from attributes.faults(item.data, item.implicit, study_table(), item.character_sets)
    except Malformed as error:
        yield Fault("malformed", "PS3.5 chapter 7", f"offset {item.offset + error.offset}", str(error))


def _file_faults(file: InventoryFile, member: Member, attributes: AttributeCheck, count: int) -> Iterator[Fault]:
    around = file.header_data + file.trailer_data
    yield from attributes.faults(around, file.implicit, top_table(), file.character_sets)
    if not file.has_studies:
        text = "Inventoried Studies Sequence is missing (Type 2)"
        yield Fault("type-2", _MODULE, "(0008,0423)", text)
    if member.level and member.level not in _LEVELS:
        yield Fault("enumerated", _MODULE, "(0008,0403)", "Inventory Level is none of " + ", ".join(_LEVELS))
    status = file.trailer.get("InventoryCompletionStatus")
    if status and status not in _STATUSES:
        text = "Inventory Completion Status is none of " + ", ".join(_STATUSES)
        yield Fault("enumerated", "PS3.3 C.38.1.1.3", "(0008,0426)", text)
    stated = file.trailer.get("NumberOfStudyRecordsInInstance")
    if isinstance(stated, int) and stated != count:
        text = f"Number of Study Records in Instance is {stated}; there are {count}"
        yield Fault("number", _MODULE, "(0008,0427)", text)
    if member.scope_fault:
        yield Fault("scope", "PS3.3 C.38.2.1", "(0008,0400)", f"is not definite: {member.scope_fault}")
    if member.content_moment is None and file.header.get("ContentDate") and file.header.get("ContentTime"):
        yield Fault("time", "PS3.5 6.2", "(0008,0023)", "Content Date and Content Time are no time")
    for tag, in_meta, keyword in (
        ("(0002,0002)", file.meta.sop_class_uid, "SOPClassUID"),
        ("(0002,0003)", file.meta.sop_instance_uid, "SOPInstanceUID"),
    ):
        if in_meta != file.header.get(keyword, in_meta):
            yield Fault("file-meta", "PS3.10 7.1", tag, "differs from the data set's")


def _manifest(path: Path, sop_instance_uid: str, digests: Digests) -> Iterator[Finding]:
    try:
        for fault in manifest_faults(path, sop_instance_uid, read_manifest(path, sop_instance_uid), digests):
            yield fault.at(str(path))
    except OSError as error:
        yield _unreadable(path, error)


def _unreadable(path: Path, error: InvalidInventory | OSError) -> Finding:
    if isinstance(error, InvalidInventory):
        where = "" if error.offset is None else f"offset {error.offset}"
        return Fault("unreadable", "PS3.5, PS3.10", where, error.text).at(str(path))
    return Fault("unreadable", "", "", f"cannot be read: {error.strerror}").at(str(path))
