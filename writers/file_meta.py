"""The File Meta Information of a DICOM file (PS3.10 7.1), read without what follows it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import BinaryIO, Final

from writers.scanning import Malformed, elements, show

_START: Final = 128 + 4 + 12  # preamble, prefix, and the Group Length element, which comes first
_LONGEST: Final = 1 << 16


@dataclass(frozen=True, slots=True)
class FileMeta:
    """What identifies a DICOM file: three UIDs, empty where absent, and the elements (Explicit VR)."""

    sop_class_uid: str
    sop_instance_uid: str
    transfer_syntax_uid: str
    data: bytes


def read_file_meta(file: BinaryIO) -> FileMeta:
    """Read from the file's beginning up to the data set, by the Group Length: what follows may be deflated.

    Raises:
        Malformed: no DICOM file.
    """
    start = file.read(_START)
    if start[128:140] != b"DICM\x02\x00\x00\x00UL\x04\x00" or len(start) < _START:
        raise Malformed(0, "not a DICOM file: no File Meta Information with its Group Length")
    length = int.from_bytes(start[140:], "little")
    if length > _LONGEST:
        raise Malformed(140, f"File Meta Information of {length} bytes")
    data = file.read(length)
    if len(data) < length:
        raise Malformed(_START + len(data), "ends within the File Meta Information")
    try:
        uids = _uids(data)
    except Malformed as error:
        raise Malformed(_START + error.offset, str(error)) from None
    return FileMeta(uids.get(0x00020002, ""), uids.get(0x00020003, ""), uids.get(0x00020010, ""), data)


def _uids(data: bytes) -> dict[int, str]:
    uids: dict[int, str] = {}
    for element in elements(data, 0, len(data), implicit=False):
        if element.tag >> 16 != 2:
            raise Malformed(element.start, f"{show(element.tag)} in the File Meta Information")
        if element.tag in (0x00020002, 0x00020003, 0x00020010):
            uids[element.tag] = data[element.start : element.stop].decode("ascii", "replace").rstrip(" \0")
    return uids
