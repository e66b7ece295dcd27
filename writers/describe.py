"""One Inventory in a few words: what it is, what it holds and what it incorporates, without patient attributes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, tzinfo
from pathlib import Path
from typing import Any

from pydicom.dataset import Dataset
from pydicom.uid import UID

from state.times import to_iso
from writers.members import locate
from writers.read_scope import InvalidScope, Scope, read_scope
from writers.reader import InventoryFile
from writers.references import Reference, references
from writers.tree import default_folder


@dataclass(frozen=True, slots=True)
class Member:
    """An incorporated Inventory: ``file`` is its path, None where it is not found.

    ``said_to_be_at`` is then the URI that a reference states, empty if none does.
    """

    sop_instance_uid: str
    file: str | None
    said_to_be_at: str
    incorporates: tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class Description:
    """What ``show`` tells. Texts are as the file has them, empty where it has none; ``bytes`` is the file's size.

    ``study_records`` are the Items there are; ``number_of_study_records`` and
    ``total_number_of_study_records`` what the file states, (0008,0427) and (0008,0428).
    """

    file: str
    bytes: int
    sop_instance_uid: str
    transfer_syntax: str
    inventory_level: str
    inventory_completion_status: str
    content_date: str
    content_time: str
    timezone_offset_from_utc: str
    scope: str
    inventory_purpose: str
    inventory_instance_description: str
    manufacturer: str
    study_records: int
    removed_study_records: int
    number_of_study_records: int | None
    total_number_of_study_records: int | None
    incorporates: tuple[Member, ...]

    def to_json(self) -> dict[str, Any]:
        """The same as a JSON object."""
        return asdict(self)


def describe(path: Path, folders: Sequence[Path] = (), zone: tzinfo = UTC) -> Description:
    """Read one Inventory to its end, and look for its members below ``folders`` (see ``load_tree``).

    Raises:
        InvalidInventory: the file is malformed.
        OSError: a file or folder cannot be read.
    """
    with InventoryFile(path, zone) as file:
        studies = gone = 0
        for item in file.studies():
            studies += 1
            gone += item.removed
        below = references(file.header, path)
        found, missing = locate(path, file.sop_instance_uid, below, tuple(folders) or (default_folder(path),))
        header, trailer = file.header, file.trailer
        return Description(
            file=str(path),
            bytes=path.stat().st_size,
            sop_instance_uid=file.sop_instance_uid,
            transfer_syntax=UID(file.meta.transfer_syntax_uid).name,
            inventory_level=_text(header, "InventoryLevel"),
            inventory_completion_status=_text(trailer, "InventoryCompletionStatus"),
            content_date=_text(header, "ContentDate"),
            content_time=_text(header, "ContentTime"),
            timezone_offset_from_utc=_text(header, "TimezoneOffsetFromUTC"),
            scope=_scope(header, zone),
            inventory_purpose=_text(header, "InventoryPurpose"),
            inventory_instance_description=_text(header, "InventoryInstanceDescription"),
            manufacturer=_text(header, "Manufacturer"),
            study_records=studies,
            removed_study_records=gone,
            number_of_study_records=_count(trailer, "NumberOfStudyRecordsInInstance"),
            total_number_of_study_records=_count(trailer, "TotalNumberOfStudyRecords"),
            incorporates=_members(below, found, missing),
        )


def to_lines(description: Description) -> Iterator[str]:
    """The description for people, the incorporated tree as indented lines."""
    for name, value in description.to_json().items():
        if name != "incorporates" and value not in ("", None):
            yield f"{name.replace('_', ' '):<32}{_printable(str(value))}"
    if description.incorporates:
        yield "incorporates"
        yield from _tree_lines(description.incorporates, "  ")


def _tree_lines(members: Sequence[Member], indent: str) -> Iterator[str]:
    for member in members:
        place = f"not found; said to be at {member.said_to_be_at}" if member.said_to_be_at else "not found"
        yield f"{indent}{_printable(member.sop_instance_uid)}  {member.file or place}"
        yield from _tree_lines(member.incorporates, indent + "  ")


def _members(below: Sequence[Reference], found: Mapping[str, Path], missing: Mapping[str, str]) -> tuple[Member, ...]:
    members = []
    for reference in below:
        uid = reference.sop_instance_uid
        file = str(found[uid]) if uid in found else None
        members.append(Member(uid, file, missing.get(uid, ""), _members(reference.incorporates, found, missing)))
    return tuple(members)


def _scope(header: Dataset, zone: tzinfo) -> str:
    try:
        scope = read_scope(header, zone)
    except InvalidScope as error:
        return f"not definite: {error}"
    return "; ".join(_scope_parts(scope)) or "universal: every study"


def _scope_parts(scope: Scope) -> Iterator[str]:
    if scope.ranged:
        begin = "open" if scope.begin is None else to_iso(scope.begin)
        end = "open" if scope.end is None else to_iso(scope.end)
        yield f"Study Update DateTime from {begin} to {end}"
    if scope.other_keys:
        # Their values are left out: a key may be a patient attribute.
        yield "matching on " + ", ".join(scope.other_keys)


def _text(dataset: Dataset, keyword: str) -> str:
    value = dataset.get(keyword)
    return "" if value is None else str(value)


def _count(dataset: Dataset, keyword: str) -> int | None:
    value = dataset.get(keyword)
    return value if isinstance(value, int) else None


def _printable(text: str) -> str:
    """Nothing that a terminal would take for a command: the file is somebody else's."""
    return "".join(letter if letter.isprintable() else " " for letter in text)
