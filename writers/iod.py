"""The Inventory IOD around its study Items: what stands before and after them (PS3.3 A.88, C.38).

Small and written once for each inventory, so pydicom encodes it; the Items in between come from our own encoder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import tzinfo
from typing import Final

from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset, write_file_meta_info
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian

from state.attributes import Level
from state.times import to_datetime, to_dt
from writers.policy import EndPoints, InventoryPolicy
from writers.terms import INVENTORY_STORAGE

TRANSFER_SYNTAXES: Final = {"EXPLICIT": str(ExplicitVRLittleEndian), "DEFLATED": str(DeflatedExplicitVRLittleEndian)}

# Item delimiters of a sequence of undefined length, PS3.5 7.5.2.
STUDIES_BEGIN: Final = b"\x08\x00\x23\x04SQ\x00\x00\xff\xff\xff\xff"
STUDIES_END: Final = b"\xfe\xff\xdd\xe0\x00\x00\x00\x00"

_IMPLEMENTATION_CLASS_UID: Final = "2.25.149716473251935124391364071866812021307"  # made once, for this software
_IMPLEMENTATION_VERSION: Final = "STOCKTAKE"
_ISO_IR_192: Final = "ISO_IR 192"  # UTF-8
_UTF_8: Final = "utf-8"


@dataclass(frozen=True, slots=True)
class Heading:
    """What an inventory says of itself before its records. Times are UTC microseconds.

    ``scope`` is the range of Study Update DateTime, None for an open side; ``incorporated`` the value of (0008,0422).
    """

    sop_instance_uid: str
    content: int
    scope: tuple[int | None, int | None]
    level: Level
    description: str
    incorporated: Sequence[Dataset]


def file_meta(sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and File Meta Information (PS3.10 7.1)."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = UID(INVENTORY_STORAGE)
    meta.MediaStorageSOPInstanceUID = UID(sop_instance_uid)
    meta.TransferSyntaxUID = UID(transfer_syntax_uid)
    meta.ImplementationClassUID = UID(_IMPLEMENTATION_CLASS_UID)
    meta.ImplementationVersionName = _IMPLEMENTATION_VERSION
    buffer = DicomBytesIO()
    write_file_meta_info(buffer, meta, enforce_standard=True)
    return b"\x00" * 128 + b"DICM" + buffer.getvalue()


def header(heading: Heading, policy: InventoryPolicy, zone: tzinfo) -> bytes:
    """Every element before Inventoried Studies Sequence."""
    content = to_datetime(heading.content, zone)
    data = Dataset()
    data.SpecificCharacterSet = _ISO_IR_192
    # SOP Common (C.12.1)
    data.SOPClassUID = INVENTORY_STORAGE
    data.SOPInstanceUID = heading.sop_instance_uid
    if policy.write_timezone:
        data.TimezoneOffsetFromUTC = content.strftime("%z")
    # General Equipment (C.7.5.1)
    data.Manufacturer = policy.manufacturer
    if policy.institution_name:
        data.InstitutionName = policy.institution_name
    # Inventory (C.38.1)
    data.ContentDate = content.strftime("%Y%m%d")
    data.ContentTime = content.strftime("%H%M%S.%f")
    data.ScopeOfInventorySequence = [_scope(*heading.scope)]
    data.InventoryPurpose = policy.purpose
    data.InventoryInstanceDescription = heading.description
    data.InventoryLevel = str(heading.level)
    if inventories := _end_points(policy.access.inventories):
        data.InventoryAccessEndPointsSequence = inventories
    if studies := _end_points(policy.access.studies):
        data.StudyAccessEndPointsSequence = studies
    data.IncorporatedInventoryInstanceSequence = list(heading.incorporated)
    return _encode(data)


def trailer(
    status: str,
    own_records: int,
    total_records: int,
    policy: InventoryPolicy,
    software: str,
    transaction_uid: str = "",
) -> bytes:
    """Every element after Inventoried Studies Sequence."""
    data = Dataset()
    if transaction_uid:
        data.TransactionUID = transaction_uid
    data.InventoryCompletionStatus = status
    data.NumberOfStudyRecordsInInstance = own_records
    data.TotalNumberOfStudyRecords = total_records
    if policy.station_name:
        data.StationName = policy.station_name
    data.ManufacturerModelName = "Stocktake"
    if policy.device_serial_number:
        data.DeviceSerialNumber = policy.device_serial_number
    data.SoftwareVersions = software
    return _encode(data)


@dataclass(frozen=True, slots=True)
class StoredFile:
    """A file of an inventory: where it is below the base URI, and what it is. ``sha256`` in hexadecimal digits."""

    relative: str
    bytes: int
    sha256: str
    transfer_syntax_uid: str


def reference(sop_instance_uid: str, incorporated: Sequence[Dataset], stored: StoredFile | None) -> Dataset:
    """An Item of (0008,0422): a reference to an inventory, with a copy of its own (0008,0422) (C.38.2.3).

    With ``stored`` it has the Stored File Access Macro (C.38.2.2). Container File Type is required beside a File Access
    URI, and no term for a file that is in no container is known: the file is a BLOB that the instance fills
    (docs/decisions/0014).
    """
    item = Dataset()
    item.ReferencedSOPClassUID = INVENTORY_STORAGE
    item.ReferencedSOPInstanceUID = sop_instance_uid
    if stored is not None:
        item.FileAccessURI = f"./{stored.relative}"
        item.ContainerFileType = "BLOB"
        item.FileOffsetInContainer = 0
        item.FileLengthInContainer = stored.bytes
        item.StoredInstanceTransferSyntaxUID = stored.transfer_syntax_uid
        item.MACAlgorithm = "SHA256"
        item.MAC = bytes.fromhex(stored.sha256)
    if incorporated:
        item.IncorporatedInventoryInstanceSequence = list(incorporated)
    return item


def _end_points(given: EndPoints) -> list[Dataset]:
    """The one Item of the Access End Points Macro (C.38.2.4), if there is anything to say."""
    item = Dataset()
    if given.ae_titles:
        item.RetrieveAETitle = list(given.ae_titles)
    if given.base_uri:
        item.StoredInstanceBaseURI = given.base_uri
    if given.retrieve_url:
        item.RetrieveURL = given.retrieve_url
    return [item] if item else []


def _scope(begin: int | None, end: int | None) -> Dataset:
    """A range of Study Update DateTime, inclusive: first Item its beginning, second its end (C.38.2.1.1.3).

    That the range takes two Items, and that an empty value leaves a side open, is recalled, not read in the standard.
    """
    bounds = []
    for bound in (begin, end):
        item = Dataset()
        item.StudyUpdateDateTime = None if bound is None else to_dt(bound)
        bounds.append(item)
    scope = Dataset()
    scope.RangeMatchingSequence = bounds
    return scope


def _encode(data: Dataset) -> bytes:
    buffer = DicomBytesIO()
    buffer.is_little_endian = True
    buffer.is_implicit_VR = False
    write_dataset(buffer, data, parent_encoding=_UTF_8)
    return buffer.getvalue()
