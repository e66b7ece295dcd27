"""One Item of the Inventoried Studies Sequence as it stands in a file, and the error of a file that has none."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo
from pathlib import Path
from typing import Final

from pydicom.dataset import Dataset

from state.times import parse_time
from writers.decoding import decode, python_encodings
from writers.scanning import Malformed, elements
from writers.terms import REMOVED

_STUDY_INSTANCE_UID: Final = 0x0020000D
_ITEM_INVENTORY_DATETIME: Final = 0x00080404
_REMOVED_FROM_OPERATIONAL_USE: Final = 0x00080405
_STUDY_UPDATE_DATETIME: Final = 0x0008041F
_WANTED: Final = frozenset(
    {_STUDY_INSTANCE_UID, _ITEM_INVENTORY_DATETIME, _REMOVED_FROM_OPERATIONAL_USE, _STUDY_UPDATE_DATETIME}
)


class InvalidInventory(Exception):
    """A file that cannot be read as an Inventory. The text names the file, the fault and the offset if known.

    ``offset`` counts bytes of the file; of the inflated data set for the part of a file that is deflated.
    """

    def __init__(self, path: Path, text: str, offset: int | None = None) -> None:
        super().__init__(f"{path}: {text}" if offset is None else f"{path}: at offset {offset}: {text}")
        self.path = path
        self.text = text
        self.offset = offset


@dataclass(frozen=True, slots=True)
class StudyItem:
    """One Item of the Inventoried Studies Sequence (0008,0423).

    ``item_inventory_datetime`` and ``study_update_datetime`` are UTC microseconds, None when empty, absent or
    no DT; one without an offset is in the zone of the file. ``study_instance_uid`` is empty if the Item has
    none. ``removed`` is Removed from Operational Use = Y at study level. ``data`` is the Item's elements as
    encoded, without tag and length of the Item, ``offset`` where they begin, ``character_sets`` what the Item
    inherits from the file (0008,0005).
    """

    study_instance_uid: str
    item_inventory_datetime: int | None
    study_update_datetime: int | None
    removed: bool
    data: bytes
    implicit: bool
    path: Path
    offset: int
    character_sets: tuple[str, ...]

    def dataset(self) -> Dataset:
        """The Item decoded, all of it. A value that breaks its VR is kept as text or bytes.

        Raises:
            InvalidInventory: something inside the Item is no Data Element.
        """
        try:
            return decode(self.data, self.implicit, python_encodings(self.character_sets))
        except Malformed as error:
            raise InvalidInventory(self.path, str(error), self.offset + error.offset) from None


def read_study_item(
    data: bytes, implicit: bool, zone: tzinfo, path: Path, offset: int, character_sets: tuple[str, ...]
) -> StudyItem:
    """The Item whose encoded elements are ``data``; only their headers are scanned.

    Raises:
        Malformed: they do not fit.
    """
    found: dict[int, str] = {}
    for element in elements(data, 0, len(data), implicit, depth=1):
        if element.tag in _WANTED:
            found[element.tag] = data[element.start : element.stop].decode("ascii", "replace").strip(" \0")
    return StudyItem(
        study_instance_uid=found.get(_STUDY_INSTANCE_UID, ""),
        item_inventory_datetime=_moment(found.get(_ITEM_INVENTORY_DATETIME), zone),
        study_update_datetime=_moment(found.get(_STUDY_UPDATE_DATETIME), zone),
        removed=found.get(_REMOVED_FROM_OPERATIONAL_USE) == REMOVED,
        data=data,
        implicit=implicit,
        path=path,
        offset=offset,
        character_sets=character_sets,
    )


def _moment(text: str | None, zone: tzinfo) -> int | None:
    if not text:
        return None
    try:
        return parse_time(text, zone)
    except ValueError:
        return None
