"""Inventories made with plain pydicom, as another writer would make them: the tests' independent source."""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterable, Sequence
from pathlib import Path

import pydicom
from pydicom.config import disable_value_validation
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian

INVENTORY_STORAGE = "1.2.840.10008.5.1.4.1.1.201.1"
CT = "1.2.840.10008.5.1.4.1.1.2"
SYNTAXES = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)


def instance(uid: str, number: str = "1") -> Dataset:
    """An Item of Inventoried Instances Sequence."""
    item = Dataset()
    item.SOPClassUID = CT
    item.SOPInstanceUID = uid
    item.InstanceNumber = number
    return item


def series(uid: str, instances: Iterable[str] = (), modality: str = "CT") -> Dataset:
    """An Item of Inventoried Series Sequence, at level INSTANCE."""
    item = Dataset()
    item.Modality = modality
    item.SeriesInstanceUID = uid
    item.SeriesNumber = "1"
    item.InventoriedInstancesSequence = [instance(each) for each in instances]
    return item


def study(
    uid: str,
    recorded: str = "20260102120000.000000+0000",
    updated: str = "20260101000000.000000+0000",
    parts: Sequence[Dataset] | None = None,
    **attributes: object,
) -> Dataset:
    """An Item of Inventoried Studies Sequence; ``attributes`` by keyword, None takes one out."""
    item = Dataset()
    if parts is None:
        parts = [series(f"{uid}.1", [f"{uid}.1.1", f"{uid}.1.2"])]
    item.StudyDate = "20260101"
    item.StudyTime = "101500"
    item.AccessionNumber = "A1"
    item.ModalitiesInStudy = "CT"
    item.StudyDescription = "Head"
    item.PatientName = "Doe^Jane"
    item.PatientID = "P1"
    item.PatientBirthDate = "19700101"
    item.PatientSex = "F"
    item.StudyInstanceUID = uid
    item.StudyID = "1"
    item.NumberOfStudyRelatedSeries = str(len(parts))
    item.NumberOfStudyRelatedInstances = str(sum(len(part.InventoriedInstancesSequence) for part in parts))
    item.InventoriedSeriesSequence = list(parts)
    change(item, {"ItemInventoryDateTime": recorded, "StudyUpdateDateTime": updated} | attributes)
    return item


def removed(uid: str, **attributes: object) -> Dataset:
    """A tombstone: the record of a removed study."""
    item = study(uid, **attributes)  # type: ignore[arg-type]
    item.RemovedFromOperationalUse = "Y"
    item.ReasonForRemovalCodeSequence = []
    return item


def change(dataset: Dataset, attributes: dict[str, object]) -> None:
    """Set attributes by keyword; None takes one out."""
    with disable_value_validation():
        for keyword, value in attributes.items():
            if keyword in dataset:
                delattr(dataset, keyword)
            if value is not None:
                setattr(dataset, keyword, value)


def scope(begin: str = "", end: str = "20260102000000.000000+0000") -> list[Dataset]:
    """Scope of Inventory Sequence: a range of Study Update DateTime, each end empty or inclusive."""
    bounds = [Dataset(), Dataset()]
    change(bounds[0], {"StudyUpdateDateTime": begin})
    change(bounds[1], {"StudyUpdateDateTime": end})
    item = Dataset()
    item.RangeMatchingSequence = bounds
    return [item]


def reference(inventory: Dataset) -> Dataset:
    """An Item of Incorporated Inventory Instance Sequence for an Inventory, with the copy of its own."""
    item = Dataset()
    item.ReferencedSOPClassUID = INVENTORY_STORAGE
    item.ReferencedSOPInstanceUID = inventory.SOPInstanceUID
    if inventory.IncorporatedInventoryInstanceSequence:
        item.IncorporatedInventoryInstanceSequence = [
            copy.deepcopy(part) for part in inventory.IncorporatedInventoryInstanceSequence
        ]
    return item


def inventory(
    uid: str, studies: Sequence[Dataset] = (), incorporates: Sequence[Dataset] = (), **attributes: object
) -> Dataset:
    """An Inventory of level INSTANCE that keeps every rule; ``attributes`` by keyword, None takes one out."""
    made = Dataset()
    made.SOPClassUID = INVENTORY_STORAGE
    made.SOPInstanceUID = uid
    made.SpecificCharacterSet = "ISO_IR 192"
    made.ContentDate = "20260102"
    made.ContentTime = "000000"
    made.Manufacturer = "Test"
    made.ScopeOfInventorySequence = scope()
    made.InventoryPurpose = ""
    made.InventoryLevel = "INSTANCE"
    made.IncorporatedInventoryInstanceSequence = [reference(each) for each in incorporates]
    made.InventoriedStudiesSequence = list(studies)
    made.InventoryCompletionStatus = "COMPLETE"
    made.NumberOfStudyRecordsInInstance = len(studies)
    made.TotalNumberOfStudyRecords = len(studies) + sum(each.TotalNumberOfStudyRecords for each in incorporates)
    change(made, attributes)
    return made


def undefined_lengths(dataset: Dataset, sequences: bool = True, items: bool = True) -> None:
    """Give the sequences, their Items or both undefined lengths, at every depth."""
    for element in dataset:
        if element.VR == "SQ":
            element.is_undefined_length = sequences
            for item in element.value:
                item.is_undefined_length_sequence_item = items
                undefined_lengths(item, sequences, items)


def save(path: Path, made: Dataset, syntax: str = ExplicitVRLittleEndian) -> Path:
    """Write a DICOM file, without pydicom's opinion about the values."""
    made.file_meta = FileMetaDataset()
    made.file_meta.MediaStorageSOPClassUID = UID(made.get("SOPClassUID") or INVENTORY_STORAGE)
    made.file_meta.MediaStorageSOPInstanceUID = made.get("SOPInstanceUID", "1.2.3")
    made.file_meta.TransferSyntaxUID = UID(syntax)
    path.parent.mkdir(parents=True, exist_ok=True)
    with disable_value_validation(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        pydicom.dcmwrite(path, made, enforce_file_format=True)
    return path
