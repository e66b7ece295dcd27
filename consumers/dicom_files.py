"""DICOM files as native store events.

A dataset holds only what an Inventory can hold, in the DICOM JSON Model (PS3.18 Annex F).
"""

from __future__ import annotations

import base64
import math
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, Final
from uuid import uuid4

from pydicom import Dataset, FileDataset, dcmread
from pydicom.dataelem import RawDataElement
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag, Tag
from pydicom.uid import MediaStorageDirectoryStorage

from state.attributes import (
    SERIES_INSTANCE_UID,
    SOP_CLASS_UID,
    SOP_INSTANCE_UID,
    SPECIFIC_CHARACTER_SET,
    STUDY_INSTANCE_UID,
    Attribute,
    Level,
    recordable,
)
from state.times import to_iso

_REQUIRED: Final = {
    STUDY_INSTANCE_UID: "Study Instance UID",
    SERIES_INSTANCE_UID: "Series Instance UID",
    SOP_INSTANCE_UID: "SOP Instance UID",
    SOP_CLASS_UID: "SOP Class UID",
}
_WHOLE: Final = frozenset({"IS", "SL", "SS", "SV", "UL", "US", "UV"})
_REAL: Final = frozenset({"DS", "FD", "FL"})
_BINARY: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW", "UN"})
_MOST_BYTES: Final = 4096  # of one binary value: an Inventory is no place for bulk data
_TEXT_OR_NUMBER_TEXT: Final = frozenset({"AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "SH", "TM", "UC", "UI"})


class UnusableFile(Exception):
    """A file that cannot be told of as a stored instance. ``reason`` names no attribute's value."""

    def __init__(self, path: Path, reason: str) -> None:
        super().__init__(f"{path}: {reason}")
        self.path = path
        self.reason = reason


def find_files(sources: Iterable[Path]) -> Iterator[Path]:
    """The files named, and all files in the folders named, recursively, each folder sorted by name.

    Links to folders are not followed. What cannot be read as a file (a folder without permission, a socket,
    a name that does not exist) is yielded like a file, so that reading it gives the reason.
    """
    for source in sources:
        if source.is_dir():
            yield from _walk(source)
        else:
            yield source


def _walk(folder: Path) -> Iterator[Path]:
    try:
        entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
    except OSError:
        yield folder
        return
    for entry in entries:
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        else:
            yield Path(entry.path)


def store_event(path: Path, time: int | None = None) -> dict[str, Any]:
    """One native INSTANCE-level store event for a DICOM file.

    The dataset holds the three UIDs and those of the file's attributes that an Inventory can hold
    (PS3.3 C.38.1), as Unicode; pixel data is never read. A text that breaks its VR is passed on as it stands.

    Args:
        path: a DICOM file; one without preamble is taken if it has what a stored instance needs.
        time: Study Update DateTime in UTC microseconds; without it the event has no time of its own.

    Raises:
        UnusableFile: it cannot be read, is not DICOM, is a DICOMDIR, or lacks its SOP Class UID or one of the
            three UIDs.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # about values, which are for the consumer to judge
        file = _read(path)
        if file.file_meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
            raise UnusableFile(path, "is a DICOMDIR, not a stored instance")
        dataset = _json_dataset(file, _recorded())
    for tag, name in _REQUIRED.items():
        values = dataset.get(tag, {}).get("Value", [])
        if len(values) != 1 or not values[0]:
            raise UnusableFile(path, f"has no {name}" if not values else f"has more than one {name}")
        if not values[0].isascii():
            raise UnusableFile(path, f"its {name} holds characters that no UID has")
    event: dict[str, Any] = {"id": str(uuid4()), "action": "store", "level": Level.INSTANCE.value}
    if time is not None:
        event["time"] = to_iso(time)
    return event | {"dataset": dataset}


@cache
def _recorded() -> dict[str, Attribute]:
    uids = {tag: Attribute(name, tag, "UI", "1", "1") for tag, name in _REQUIRED.items()}
    return uids | recordable(Level.STUDY) | recordable(Level.SERIES) | recordable(Level.INSTANCE)


def _read(path: Path) -> FileDataset:
    if not path.exists():
        raise UnusableFile(path, "does not exist")
    if not path.is_file():
        raise UnusableFile(path, "cannot be listed" if path.is_dir() else "is not a regular file")
    wanted: list[Any] = [Tag(int(tag, 16)) for tag in _recorded()]
    try:
        try:
            return dcmread(path, stop_before_pixels=True, specific_tags=wanted)
        except InvalidDicomError:
            file = dcmread(path, stop_before_pixels=True, specific_tags=wanted, force=True)
            if not all(Tag(int(tag, 16)) in file for tag in _REQUIRED):
                raise
            return file
    except InvalidDicomError:
        raise UnusableFile(path, "is not a DICOM file") from None
    except OSError as error:
        raise UnusableFile(path, f"cannot be read: {error.strerror or type(error).__name__}") from error
    except Exception as error:  # pydicom raises nearly any type on damaged data
        raise UnusableFile(path, f"cannot be read as DICOM ({type(error).__name__})") from error


def _json_dataset(dataset: Dataset, table: Mapping[str, Attribute]) -> dict[str, Any]:
    """The dataset's attributes that the table has. An empty table stands for an Item of free content."""
    converted = {}
    for tag in dataset.keys():  # noqa: SIM118 - iterating a Dataset converts its values, which may raise
        name = f"{tag:08X}"
        row = table.get(name)
        known = row is not None if table else not tag.is_private and name != SPECIFIC_CHARACTER_SET
        if known and (element := _json_element(dataset, tag, row)) is not None:
            converted[name] = element
    return converted


def _json_element(dataset: Dataset, tag: BaseTag, row: Attribute | None) -> dict[str, Any] | None:
    """One attribute in the DICOM JSON Model with the table's VR; None when its value has no form there."""
    try:
        element = dataset[tag]
        vr = row.vr if row else element.VR
        if (vr == "SQ") != (element.VR == "SQ"):
            return None
        if vr == "SQ":
            values: list[Any] = [_json_dataset(item, row.children if row else {}) for item in element.value]
        elif vr in _BINARY:
            return _json_binary(vr, element.value)
        else:
            values = [_json_value(vr, value) for value in _listed(element.value)]
    except Exception:  # pydicom raises nearly any type for a value that breaks its VR
        text = _raw_text(dataset, tag)
        if row is None or row.vr not in _TEXT_OR_NUMBER_TEXT or text is None:
            return None
        vr = row.vr
        values = [value.strip(" \0") or None for value in text.split("\\")]
    while values and values[-1] is None:
        values.pop()
    return {"vr": vr, "Value": values} if values else {"vr": vr}


def _listed(value: Any) -> list[Any]:
    if value is None:
        return []
    return list(value) if isinstance(value, MultiValue | list | tuple) else [value]


def _json_value(vr: str, value: Any) -> Any:
    if value is None or value == "":
        return None
    if isinstance(value, bytes):
        raise TypeError("bytes are neither text nor number")
    if isinstance(value, str):  # also a number that could not be read as one
        return str(value)
    if vr == "PN":
        groups = zip(("Alphabetic", "Ideographic", "Phonetic"), str(value).split("="), strict=False)
        return {group: text for group, text in groups if text} or None
    if vr == "AT":
        return f"{int(value):08X}"
    if vr in _WHOLE:
        return int(value)
    if vr not in _REAL:
        return str(value)
    if not math.isfinite(value):
        raise ValueError("JSON has no such number")
    return float(value)


def _json_binary(vr: str, value: bytes | None) -> dict[str, Any] | None:
    if not value:
        return {"vr": vr}
    if len(value) > _MOST_BYTES:
        return None
    return {"vr": vr, "InlineBinary": base64.b64encode(value).decode("ascii")}


def _raw_text(dataset: Dataset, tag: BaseTag) -> str | None:
    """What the file holds for an attribute that pydicom could not convert."""
    raw: object = dataset.get_item(tag)
    if not isinstance(raw, RawDataElement) or not raw.value:
        return None
    return raw.value.decode("ascii", errors="replace")
