"""Faults of Inventories, each made on purpose, and what ``verify`` must say of it (docs/verify.md lists them)."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any, Final

from pydicom.dataset import Dataset

from tests.unit.inventories import change, inventory, reference, removed, save, scope, study, undefined_lengths

MODULE: Final = "PS3.3 Table C.38.1-1"
STORED_FILE: Final = "PS3.3 Table C.38.2-2"
REFERENCE: Final = "PS3.3 Table C.38.2-3"
INCORPORATION: Final = "PS3.3 C.38.1.1.5"
VALUES: Final = "PS3.5 6.2"
MANIFEST: Final = "Stocktake manifest"


@dataclass(frozen=True)
class Planted:
    """``plant`` writes files to a folder and returns the root; ``verify`` of it must say ``rule`` and ``section``."""

    what: str
    rule: str
    section: str
    plant: Callable[[Path], Path]
    warning: bool = False


def tree(folder: Path, *made: Dataset) -> Path:
    """Save inventories under their UIDs; the last is the root."""
    for each in made:
        path = save(folder / f"{each.SOPInstanceUID}.dcm", each)
    return path


def whole(**attributes: Any) -> Callable[[Path], Path]:
    """An inventory with these attributes, None for one that is left out."""
    return lambda folder: tree(folder, inventory("1.2.1", [study("1.5.1")], **attributes))


def record(**attributes: Any) -> Callable[[Path], Path]:
    """An inventory of one study with these attributes."""
    return lambda folder: tree(folder, inventory("1.2.1", [study("1.5.1", **attributes)]))


def spoilt(
    spoil: Callable[[Dataset], object], made: Callable[[], Dataset] = lambda: study("1.5.1")
) -> Callable[[Path], Path]:
    """An inventory of one study that something was done to."""

    def plant(folder: Path) -> Path:
        one = made()
        spoil(one)
        return tree(folder, inventory("1.2.1", [one]))

    return plant


def instance(one: Dataset) -> Dataset:
    found: Dataset = one.InventoriedSeriesSequence[0].InventoriedInstancesSequence[0]
    return found


def with_file(**attributes: Any) -> Callable[[Path], Path]:
    """An instance whose File Access Sequence has these attributes."""

    def spoil(one: Dataset) -> None:
        access = Dataset()
        change(access, attributes)
        instance(one).FileAccessSequence = [access]

    return spoilt(spoil)


def with_reason(**attributes: Any) -> Callable[[Path], Path]:
    """A removed study whose reason is a code with these attributes."""

    def spoil(one: Dataset) -> None:
        code = Dataset()
        change(code, attributes)
        one.ReasonForRemovalCodeSequence = [code]

    return spoilt(spoil, lambda: removed("1.5.1"))


def with_scope(**attributes: Any) -> Callable[[Path], Path]:
    """A scope with further attributes."""
    bounds = scope()
    change(bounds[0], attributes)
    return whole(ScopeOfInventorySequence=bounds)


def with_reference(**attributes: Any) -> Callable[[Path], Path]:
    """An inventory that incorporates another; the reference has these attributes."""

    def plant(folder: Path) -> Path:
        one = inventory("1.2.1", [study("1.5.1")])
        refers = reference(one)
        change(refers, attributes)
        return tree(folder, one, inventory("1.2.2", incorporates=[one], IncorporatedInventoryInstanceSequence=[refers]))

    return plant


def edited(before: bytes, after: bytes, *, undefined: bool = False) -> Callable[[Path], Path]:
    """A file in which bytes were replaced; ``undefined``: it has no lengths that would not fit any more."""

    def plant(folder: Path) -> Path:
        made = inventory("1.2.1", [study("1.5.1", StudyID="123456")])
        if undefined:
            undefined_lengths(made)
        path = tree(folder, made)
        data = path.read_bytes()
        assert before in data
        path.write_bytes(data.replace(before, after, 1))
        return path

    return plant


def with_manifest(change_it: Callable[[dict[str, Any]], object] | bytes) -> Callable[[Path], Path]:
    """A manifest beside the file, changed or of these bytes."""

    def plant(folder: Path) -> Path:
        path = tree(folder, inventory("1.2.1"))
        data = path.read_bytes()
        stated = {"sop_instance_uid": "1.2.1", "sha256": sha256(data).hexdigest(), "bytes": len(data)}
        if isinstance(change_it, bytes):
            path.with_suffix(".json").write_bytes(change_it)
        else:
            change_it(stated)
            path.with_suffix(".json").write_text(json.dumps(stated))
        return path

    return plant


def chain(spoil: Callable[[Dataset, Dataset, Dataset], object]) -> Callable[[Path], Path]:
    """Three inventories, each of which incorporates the one before, and something done to them."""

    def plant(folder: Path) -> Path:
        one = inventory("1.2.1", [study("1.5.1")])
        two = inventory("1.2.2", [study("1.5.2")], [one])
        three = inventory("1.2.3", [study("1.5.3")], [two])
        spoil(one, two, three)
        return tree(folder, one, two, three)

    return plant


def missing_member(folder: Path) -> Path:
    one = inventory("1.2.1")
    return tree(folder, inventory("1.2.2", incorporates=[one]))


def cycle(folder: Path) -> Path:
    itself = inventory("1.2.1")
    return tree(folder, inventory("1.2.1", IncorporatedInventoryInstanceSequence=[reference(itself)]))


def outside_what_incorporates_it(folder: Path) -> Path:
    one = inventory("1.2.1", [study("1.5.1", updated="20250601000000")], ScopeOfInventorySequence=[])
    narrow = scope("20260101000000+0000", "20260102000000+0000")
    return tree(folder, one, inventory("1.2.2", incorporates=[one], ScopeOfInventorySequence=narrow))


def half_a_range() -> list[Dataset]:
    bounds = scope()
    bounds[0].RangeMatchingSequence = bounds[0].RangeMatchingSequence[:1]
    return bounds


def duplicates(folder: Path) -> Path:
    return tree(folder, inventory("1.2.1", [study("1.5.1"), study("1.5.1")]))


def early(folder: Path) -> Path:
    made: dict[str, Any] = {"ContentDate": "20260102", "ContentTime": "120001", "TimezoneOffsetFromUTC": "+0000"}
    return tree(folder, inventory("1.2.1", [study("1.5.1", recorded="20260102120000+0000")], **made))


def nameless_reference(folder: Path) -> Path:
    one = inventory("1.2.1")
    path = tree(folder, one, inventory("1.2.2", incorporates=[one]))
    data = path.read_bytes()
    path.write_bytes(data.replace(b"\x08\0\x55\x11UI\x06\x001.2.1\0", b"\x08\0\x56\x11UI\x06\x001.2.1\0"))
    return path


def unexplained(folder: Path) -> Path:
    return tree(folder, inventory("1.2.1", Manufacturer="Grün", SpecificCharacterSet=None))


def level(one: Dataset, other: str) -> None:
    one.InventoryLevel = other
    for each in one.InventoriedStudiesSequence:
        del each.InventoriedSeriesSequence


def below(one: Dataset) -> Dataset:
    found: Dataset = one.IncorporatedInventoryInstanceSequence[0]
    return found


def value(keyword: str, text: str) -> Callable[[Path], Path]:
    return record(**{keyword: text})


FILE: Final = {"FileAccessURI": "./a", "ContainerFileType": "ZIP", "FilenameInContainer": "b"}

FAULTS: Final = [
    # The inventory itself
    Planted("a Type 1 attribute is missing", "type-1", MODULE, whole(InventoryLevel=None)),
    Planted("a Type 1 attribute is empty", "type-1", MODULE, whole(InventoryCompletionStatus="")),
    Planted("a Type 2 attribute is missing", "type-2", MODULE, whole(InventoryPurpose=None)),
    Planted("Inventoried Studies Sequence is missing", "type-2", MODULE, whole(InventoriedStudiesSequence=None)),
    Planted("Inventory Level has another value", "enumerated", MODULE, whole(InventoryLevel="IMAGE")),
    Planted(
        "Inventory Completion Status has another value",
        "enumerated",
        "PS3.3 C.38.1.1.3",
        whole(InventoryCompletionStatus="DONE"),
    ),
    Planted(
        "Number of Study Records in Instance is not theirs", "number", MODULE, whole(NumberOfStudyRecordsInInstance=2)
    ),
    Planted(
        "Total Number of Study Records is not the tree's", "total-number", MODULE, whole(TotalNumberOfStudyRecords=2)
    ),
    Planted("Content Date and Time are no time", "time", VALUES, whole(ContentDate="2026.1.1")),
    Planted("the Scope is not definite", "scope", "PS3.3 C.38.2.1", whole(ScopeOfInventorySequence=half_a_range())),
    Planted(
        "relational matching without its level",
        "type-1c",
        "PS3.3 Table C.38.2-1",
        with_scope(ExtendedMatchingMechanisms="RELATIONAL", QueryRetrieveLevel=None),
    ),
    Planted("a duplicate record", "duplicate", "PS3.17 YYYY.7.10", duplicates, warning=True),
    Planted(
        "another SOP Instance UID than the File Meta Information says",
        "file-meta",
        "PS3.10 7.1",
        edited(b"UI\x06\x001.2.1\0\x08\0#", b"UI\x06\x001.2.7\0\x08\0#"),
    ),
    Planted("no DICOM file", "unreadable", "PS3.5, PS3.10", edited(b"DICM", b"DICN")),
    # The records
    Planted("a record before the Content Date and Time", "item-time", "PS3.3 C.38.1.1 (0008,0404)", early),
    Planted("Item Inventory DateTime is no DT", "time", VALUES, value("ItemInventoryDateTime", "soon")),
    Planted("Study Update DateTime is no DT", "time", VALUES, value("StudyUpdateDateTime", "soon")),
    Planted(
        "a record outside the Scope",
        "scope",
        "PS3.3 C.38.2.1",
        record(StudyUpdateDateTime="20270101000000.000000+0000"),
    ),
    Planted(
        "Removed from Operational Use has another value", "enumerated", MODULE, value("RemovedFromOperationalUse", "X")
    ),
    Planted("Removed from Operational Use is empty", "type-1c", MODULE, value("RemovedFromOperationalUse", "")),
    Planted("a removal without Reason for Removal", "type-2c", MODULE, value("RemovedFromOperationalUse", "Y")),
    Planted(
        "a reason without a removal",
        "reason-without-removal",
        MODULE,
        spoilt(lambda one: setattr(one, "ReasonForRemovalCodeSequence", [])),
        warning=True,
    ),
    Planted("a code without a value", "type-1c", "PS3.3 Table 8.8-1", with_reason(CodeMeaning="Rejected")),
    Planted(
        "a code without its scheme",
        "type-1c",
        "PS3.3 Table 8.8-1",
        with_reason(CodeValue="113001", CodeMeaning="Rejected"),
    ),
    Planted(
        "the series are missing",
        "level-sequence",
        MODULE,
        spoilt(lambda one: delattr(one, "InventoriedSeriesSequence")),
    ),
    Planted("series below the level", "level-sequence", MODULE, whole(InventoryLevel="STUDY")),
    Planted(
        "an instance without its SOP Class", "type-1", MODULE, spoilt(lambda one: delattr(instance(one), "SOPClassUID"))
    ),
    # Files of instances
    Planted("a file without its transfer syntax", "type-1c", STORED_FILE, with_file(**FILE)),
    Planted(
        "a file without its container type",
        "type-1c",
        STORED_FILE,
        with_file(FileAccessURI="./a", StoredInstanceTransferSyntaxUID="1.2.840.10008.1.2.1"),
    ),
    Planted(
        "a container without the name in it",
        "type-1c",
        STORED_FILE,
        with_file(**FILE | {"FilenameInContainer": None, "StoredInstanceTransferSyntaxUID": "1.2.840.10008.1.2.1"}),
    ),
    Planted(
        "a BLOB without offset and length",
        "type-1c",
        STORED_FILE,
        with_file(**FILE | {"ContainerFileType": "BLOB", "StoredInstanceTransferSyntaxUID": "1.2.840.10008.1.2.1"}),
    ),
    Planted("a MAC without its algorithm", "type-1c", STORED_FILE, with_file(MAC=b"\x01\x02")),
    # The tree
    Planted("another level in the tree", "same-level", INCORPORATION, chain(lambda one, *_: level(one, "STUDY"))),
    Planted("an inventory that incorporates itself", "cycle", INCORPORATION, cycle),
    Planted("a member is missing", "missing-member", INCORPORATION, missing_member),
    Planted("a record outside the Scope of what incorporates it", "scope", INCORPORATION, outside_what_incorporates_it),
    Planted(
        "a reference to another SOP Class",
        "reference-class",
        REFERENCE,
        with_reference(ReferencedSOPClassUID="1.2.840.10008.5.1.4.1.1.2"),
    ),
    Planted("a reference without its UID", "unreadable", "PS3.5, PS3.10", nameless_reference),
    Planted(
        "a reference that is no true copy",
        "true-copy",
        REFERENCE,
        chain(lambda one, two, three: delattr(below(three), "IncorporatedInventoryInstanceSequence")),
    ),
    Planted(
        "a copy that differs in an attribute",
        "true-copy",
        REFERENCE,
        chain(
            lambda one, two, three: change(
                below(three).IncorporatedInventoryInstanceSequence[0], {"FilenameInContainer": "other"}
            )
        ),
        warning=True,
    ),
    Planted("a MAC that is not the file's", "mac", STORED_FILE, with_reference(MACAlgorithm="SHA256", MAC=b"\0" * 32)),
    Planted(
        "a transfer syntax that is not the file's",
        "stored-syntax",
        STORED_FILE,
        with_reference(StoredInstanceTransferSyntaxUID="1.2.840.10008.1.2"),
    ),
    # The encoding
    Planted("another VR", "vr", "PS3.6 chapter 6", edited(b"\x20\0\x10\0SH", b"\x20\0\x10\0LO")),
    Planted(
        "the VR UN",
        "vr",
        "PS3.6 chapter 6",
        edited(b"SH\x06\x00123456", b"UN\0\0\x02\0\0\x0012"),
        warning=True,
    ),
    Planted(
        "an odd length", "odd-length", "PS3.5 7.1.1", edited(b"SH\x06\x00123456", b"SH\x05\x0012345", undefined=True)
    ),
    Planted("elements out of order", "element-order", "PS3.5 7.1", edited(b"\x20\0\x10\0SH", b"\x20\0\x09\0SH")),
    Planted(
        "an element that goes past its Item",
        "malformed",
        "PS3.5 chapter 7",
        edited(b"\x08\0\x60\0CS\x02\0", b"\x08\0\x60\0CS\xff\x0f"),
    ),
    Planted("characters that no character set explains", "character-set", "PS3.3 C.12.1.1.2", unexplained),
    Planted(
        "a UID that is none",
        "uid",
        "PS3.5 9.1",
        spoilt(lambda one: instance(one).add_new("SOPInstanceUID", "UI", "1.02")),
    ),
    Planted("more values than the VM allows", "vm", "PS3.6 chapter 6", value("StudyID", "1\\2")),
    # Values
    Planted("AE", "value", VALUES, value("RetrieveAETitle", "A" * 17)),
    Planted("CS", "value", VALUES, value("ModalitiesInStudy", "ct")),
    Planted("DA", "value", VALUES, value("StudyDate", "2026.01.01")),
    Planted("DT", "value", VALUES, with_file(ExpirationDateTime="20261301")),
    Planted("IS", "value", VALUES, edited(b"\x20\0\x06\x12IS\x02\x001 ", b"\x20\0\x06\x12IS\x02\x00x ")),
    Planted("LO", "value", VALUES, value("StudyDescription", "x" * 65)),
    Planted("PN", "value", VALUES, value("PatientName", "a=b=c=d")),
    Planted("SH", "value", VALUES, value("AccessionNumber", "x" * 17)),
    Planted("TM", "value", VALUES, value("StudyTime", "10:15")),
    Planted("UR", "value", VALUES, value("RetrieveURL", "a b")),
    # The manifest beside it
    Planted("a manifest that is no JSON", "manifest", MANIFEST, with_manifest(b"{")),
    Planted(
        "a manifest of another", "manifest", MANIFEST, with_manifest(lambda one: one.update(sop_instance_uid="1.2.9"))
    ),
    Planted("another size than the manifest says", "bytes", MANIFEST, with_manifest(lambda one: one.update(bytes=1))),
    Planted(
        "another digest than the manifest says",
        "sha256",
        MANIFEST,
        with_manifest(lambda one: one.update(sha256="0" * 64)),
    ),
]
